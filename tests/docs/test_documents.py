"""Links lead somewhere, paths exist, decisions are whole, and nothing of the workshop is left in them."""

import ast
import re
import xml.etree.ElementTree as ElementTree

import pytest

from tests.docs import markdown

DECISIONS = sorted((markdown.REPOSITORY / "docs/decisions").glob("*.md"))
MAKEFILE = markdown.text("Makefile")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


@pytest.mark.parametrize("document", markdown.DOCUMENTS, ids=lambda path: str(path.relative_to(markdown.REPOSITORY)))
def test_every_link_leads_somewhere(document):
    for link in markdown.links(document):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        path = (document.parent / target).resolve() if target else document
        assert path.exists(), link
        assert path.is_relative_to(markdown.REPOSITORY), link
        assert not anchor or anchor in markdown.anchors(path), link


@pytest.mark.parametrize("document", markdown.DOCUMENTS, ids=lambda path: str(path.relative_to(markdown.REPOSITORY)))
def test_every_path_and_make_target_that_is_named_exists(document):
    name = str(document.relative_to(markdown.REPOSITORY))
    for word in markdown.quoted(name):
        if re.fullmatch(r"(app|workers|bots|alembic|docker|docs|tests|requirements)/[\w./-]*", word):
            # Made by new-env.sh and invite.py, and kept out of the repository.
            assert word in ("docker/platform.env", "docker/node.env") or (markdown.REPOSITORY / word).exists(), word
        elif re.fullmatch(r"[a-z][\w-]*\.(py|toml|md|sh|svg)", word):
            assert list(markdown.REPOSITORY.glob(word)) or list((markdown.REPOSITORY / "docker").glob(word)), word
        elif word.startswith("make "):
            assert word.split()[1] in TARGETS, word


def test_the_readme_has_its_two_commands_and_its_picture():
    fence = markdown.FENCE.search(markdown.text("README.md"))[0]
    assert re.findall(r"^make (\w+)", fence, re.MULTILINE) == ["run", "test"]
    assert {"run", "test"} <= TARGETS
    assert len(markdown.text("README.md").splitlines()) <= 64
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", markdown.text("README.md"))
    assert pictures == ["docs/picture.svg"]
    picture = ElementTree.parse(markdown.REPOSITORY / pictures[0]).getroot()
    assert picture.tag.endswith("svg")
    style = "".join(part.text or "" for part in picture.iter() if part.tag.endswith("style"))
    assert "prefers-color-scheme: dark" in style


def test_contributing_names_every_make_target_people_use_and_every_folder():
    words = markdown.quoted("CONTRIBUTING.md")
    assert {f"make {target}" for target in ("setup", "run", "check", "test", "bench", "lock")} <= words
    packages = {f"app/{path.parent.name}/" for path in (markdown.REPOSITORY / "app").glob("*/__init__.py")}
    assert packages <= words
    assert {"workers/", "workers/inference/", "bots/", "alembic/", "docker/", "tests/"} <= words


def test_decisions_are_numbered_once_and_whole():
    assert len({path.name[:5] for path in DECISIONS}) == len(DECISIONS)
    for path in DECISIONS:
        body = path.read_text(encoding="utf-8")
        assert body.startswith(f"# {path.name[:4]} "), path.name
        assert re.search(r"^\*\*Status:\*\* (proposed|accepted|superseded)", body, re.MULTILINE), path.name
        for heading in ("## Context", "## Decision", "## Consequences"):
            assert f"\n{heading}\n" in body, (path.name, heading)
        assert len(body.splitlines()) <= 80, path.name


def test_every_celery_setting_has_its_reason():
    tree = ast.parse(markdown.text("celeryconfig.py"))
    wanted = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name == "broker_transport_options":
                assert isinstance(node.value, ast.Dict)
                wanted |= {key.value for key in node.value.keys if isinstance(key, ast.Constant)}
            elif name.islower():
                wanted.add(name)
    assert wanted
    assert wanted <= markdown.quoted("docs/decisions/0003-celery-on-redis.md")


def test_every_test_that_a_decision_leans_on_is_there():
    named = {found for path in DECISIONS for found in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", path.read_text(encoding="utf-8"))}
    assert named
    missing = [f"{file}::{test}" for file, test in sorted(named) if not re.search(rf"^(async )?def {test}\(", markdown.text(file), re.M)]
    assert missing == []


def test_the_changelog_keeps_its_form():
    body = markdown.text("CHANGELOG.md")
    assert "## [Unreleased]" in body
    headings = set(re.findall(r"^### (.*)$", body, re.MULTILINE))
    assert headings <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_licence_is_the_one_that_is_declared():
    assert 'license = "MIT"' in markdown.text("pyproject.toml")
    assert markdown.text("LICENSE").startswith("MIT License")
    assert "The MeatLizard developers" in markdown.text("LICENSE")
