"""The tables of settings and commands say what the classes and the command say."""

import re

import pytest
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from app.core.config import Settings
from bots.client.config import ClientSettings
from tests.docker import files
from tests.docs import markdown
from workers.inference.settings import NodeSettings


def table(heading: str) -> dict[str, str]:
    """Setting and default, as one part of docs/settings.md has them."""
    part = markdown.text("docs/settings.md").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(MEATLIZARD_\w+)` \| ([^|]+) \|", part, re.MULTILINE))


@pytest.mark.parametrize(("heading", "settings"), [("The platform", Settings), ("A node", NodeSettings), ("A node on Discord", ClientSettings)])
def test_every_setting_is_there_with_its_default(heading, settings):
    told = table(heading)
    assert set(told) == {f"MEATLIZARD_{name.upper()}" for name in settings.model_fields}
    for name, field in settings.model_fields.items():
        value = field.default
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        words = told[f"MEATLIZARD_{name.upper()}"].replace(" (*made*)", "")
        if value is PydanticUndefined:
            assert words == "must be set", name
        elif value is None:
            assert words == ("as `REDIS_URL`" if name == "broker_url" else "unset"), name
        else:
            assert words == (f"`{value}`" if value != "" else "empty"), name


def test_every_variable_that_the_code_names_is_told():
    named = set()
    for folder in ("app", "workers", "bots"):
        for path in (markdown.REPOSITORY / folder).rglob("*.py"):
            named |= set(re.findall(r"MEATLIZARD_[A-Z0-9_]*[A-Z0-9]", path.read_text(encoding="utf-8")))
    told = set(re.findall(r"`(MEATLIZARD_\w+)`", markdown.text("docs/settings.md")))
    assert named <= told
    for document in markdown.DOCUMENTS:
        assert set(re.findall(r"MEATLIZARD_[A-Z0-9_]*[A-Z0-9]", document.read_text())) - {"MEATLIZARD_NAME"} <= told


def commands() -> dict[str, set[str]]:
    """Each command with its options and arguments, as the program has them."""
    found = {}
    for name, command in files.verbs().items():
        below_it = dict(getattr(command, "commands", {"": command}))
        if getattr(command, "invoke_without_command", False):
            # A group that does something by itself.
            below_it[""] = command
        for below, one in below_it.items():
            words = {
                parameter.name.upper() if parameter.param_type_name == "argument" else parameter.opts[0]
                for parameter in one.params
            }
            found[f"meatlizard {name} {below}".strip()] = words
    return found


def test_every_command_is_there_with_its_options():
    told = {
        cells[0].strip("`"): set(re.findall(r"`([^`]+)`", cells[1]))
        for cells in markdown.rows("docs/commands.md")
        if cells[0].startswith("`")
    }
    assert told == commands()


def test_documents_and_scripts_use_commands_and_options_that_exist():
    known = commands()
    sources = [*markdown.DOCUMENTS, *files.DOCKER.iterdir()]
    for path in sources:
        if not path.is_file() or path.suffix == ".env":
            continue
        for line in re.findall(r"(?<![\w/.])meatlizard ([a-z][^`|#\n)\"]*)", path.read_text(encoding="utf-8")):
            words = line.split()
            name = next((one for one in (" ".join(words[:2]), words[0]) if f"meatlizard {one}" in known), None)
            if name is None:
                assert words[0] in files.verbs(), f"{path.name}: {line}"
                continue
            given = {word for word in words if re.fullmatch(r"--[a-z]+", word)}
            assert given <= known[f"meatlizard {name}"], f"{path.name}: {line}"
