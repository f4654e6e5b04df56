"""Markdown: what it may never let through, that pieces make the whole, and that no text costs more than its length."""

import re
import sys
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from app.services import markdown, markup
from app.services.markdown import (
    BLOCK_BYTES,
    RICH_BYTES,
    TOKEN_WORK,
    WORK_FREE,
    WORK_PER_BYTE,
    Block,
    Blocks,
    render,
)

ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<iframe src=javascript:alert(1)>",
    "<style>*{display:none}</style>",
    "<a href='javascript:alert(1)'>x</a>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](javascript&colon;alert(1))",
    "[x](vbscript:msgbox(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](file:///etc/passwd)",
    "[x](//evil.example/x)",
    "[x](/api/logout)",
    '[x](http://a "onmouseover=alert(1)")',
    "[x](http://a\"onmouseover='alert(1))",
    "![x](javascript:alert(1))",
    "![x](http://evil.example/pixel.png)",
    '![x" onerror="alert(1)](http://a/b.png)',
    "[![x](http://a/b.png)](javascript:alert(1))",
    "<http://a/'onclick='alert(1)>",
    "<javascript:alert(1)>",
    '```"><script>alert(1)</script>\nx\n```',
    "```python onload=alert(1)\n'</code></pre><script>alert(1)</script>'\n```",
    "```html\n<script>alert(1)</script>\n```",
    "`</code><script>alert(1)</script>`",
    "    </pre><script>alert(1)</script>",
    "| <script>alert(1)</script> | b |\n|---|:-:|\n| <img src=x onerror=alert(1)> | ` | ` |",
    "[x]: javascript:alert(1)\n\n[x]",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<!--><script>alert(1)</script>-->",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
]


class Reader(HTMLParser):
    """Collects the tags, attributes and text that a browser would see."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def safe(html: str) -> None:
    """Fail unless the HTML holds nothing but what we hand out ourselves."""
    for tag, attributes in Reader(html).tags:
        assert tag in markup.TAGS, tag
        assert set(attributes) <= {"href", "rel", "target", "class", "start", "data-lang"}, attributes
        if tag == "a" and "href" in attributes:
            assert re.match(r"(https?|mailto):", attributes["href"] or ""), attributes
            assert attributes["rel"] == "noopener noreferrer nofollow"
            assert attributes["target"] == "_blank"


def streamed(text: str, sizes: list[int]) -> list[Block]:
    """Feed `text` in pieces of these sizes, over and over, and return the blocks."""
    blocks, found, at, turn = Blocks(), list[Block](), 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        found += blocks.feed(text[at : at + size])
        at += size
        turn += 1
    return found + blocks.finish()


def contiguous(found: list[Block], text: str) -> None:
    size = len(text.encode("utf-8", "surrogatepass"))
    assert [block.start for block in found[:1]] == ([0] if size else [])
    assert all(one.end == two.start for one, two in pairwise(found))
    assert (found[-1].end if found else 0) == size


WORDS = """
a word é 𝄞 # - 1. > ``` ~~~ ```py --- === * ** _ ` ~~ [ ](http://x) ![ <b> &amp; \\ | |-|-| *** + [r]: http://x
"""
SPACES = [" ", "  ", "    ", "\t", "\n", "\n\n", "\r\n", "\r", "\0", "\ud800", "\u202e", "\u2028"]
PIECES = st.one_of(st.sampled_from(WORDS.split()), st.sampled_from(SPACES), st.just("| a | b |\n|---|---|\n"))
TEXTS = st.lists(PIECES, max_size=60).map("".join)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("around", ["{}", "> - {}", "# {}\n\nand {}", "| {} |\n|---|", "*{}*"])
def test_lets_no_script_through(attack: str, around: str) -> None:
    safe(render(around.replace("{}", attack)))


@given(st.one_of(TEXTS, st.text(), st.lists(st.sampled_from(ATTACKS)).map(" ".join)))
def test_lets_nothing_through_that_is_not_allowed(text: str) -> None:
    html = render(text)
    safe(html)
    html.encode()
    assert "\0" not in html


@given(TEXTS, st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_blocks_make_the_whole_however_the_text_comes(text: str, sizes: list[int]) -> None:
    found = streamed(text, sizes)
    contiguous(found, text)
    assert "".join(block.html for block in found) == render(text)


@given(TEXTS, TEXTS, st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_the_whole_is_rendered_as_at_once(text: str, other: str, sizes: list[int]) -> None:
    for whole in (text, other):
        blocks, at, turn = Blocks(), 0, 0
        while at < len(text):
            blocks.feed(text[at : at + sizes[turn % len(sizes)]])
            at, turn = at + sizes[turn % len(sizes)], turn + 1
        assert blocks.whole(whole) == render(whole)


def test_what_is_finished_is_not_rendered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = Blocks()
    assert blocks.feed("# Head\n\none\n\n")
    shown: list[str] = []
    monkeypatch.setattr(markdown, "rich", lambda text: shown.append(text) or text)
    blocks.feed("two")
    assert blocks.whole("# Head\n\none\n\ntwo").endswith("two")
    assert [text.strip() for text in shown] == ["two"]


@pytest.mark.parametrize(
    ("before", "text", "light"),
    [("", "one\n", True), ("one", " two\n", True), ("```py\n", "x\n", False), ("x\n", "~~~\n", False), ("``", "`\n", False), ("x" * 2000, "\n", False)],
)
def test_only_a_short_text_without_code_is_light(before: str, text: str, light: bool) -> None:
    blocks = Blocks()
    blocks.feed(before)
    assert blocks.light(text) is light


@given(TEXTS)
def test_blocks_are_what_the_parser_makes_of_the_whole(text: str) -> None:
    plain = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("reference")
    whole = text.replace("\ud800", "\ufffd")
    structure = [t.type for t in plain.parse(whole) if t.block and t.type != "inline" and not t.type.startswith("t")]
    pieces = [t.type for block in streamed(text, [3]) for t in plain.parse(_source(whole, block))]
    assert [kind for kind in pieces if kind != "inline" and not kind.startswith("t")] == structure


def _source(text: str, block: Block) -> str:
    return text.encode("utf-8", "surrogatepass")[block.start : block.end].decode("utf-8", "surrogatepass")


@given(TEXTS, TEXTS, st.integers(0, 200), st.integers(1, 7))
def test_a_text_cut_short_goes_on_as_if_it_had_never_been_longer(first: str, then: str, keep: int, size: int) -> None:
    kept = first[:keep]
    at = len(kept.encode("utf-8", "surrogatepass"))
    blocks = Blocks()
    found = [block for i in range(0, len(first), size) for block in blocks.feed(first[i : i + size])]
    blocks.truncate(at)
    again = blocks.feed(then) + blocks.finish()
    start = again[0].start if again else at
    whole = [block for block in found if block.end <= start] + again
    contiguous(whole, kept + then)
    assert "".join(block.html for block in whole) == render(kept + then)


@pytest.mark.parametrize(
    ("text", "finished"),
    [
        ("# Head\n", 1),
        ("one line", 0),
        ("one line\n", 0),
        ("one line\n\n", 1),
        ("line\n- item\n", 1),
        ("- item\n\n", 0),
        ("- item\n\n- item\n\nafter\n", 1),
        ("```\ncode\n\ncode\n", 0),
        ("```\ncode\n```\n", 1),
        ("````\n```\n````\n", 1),
        ("| a |\n|---|\n| b |\n\n", 1),
        ("> quote\n\n", 1),
        ("---\n", 1),
        ("    code\n\n", 0),
    ],
)
def test_a_block_is_handed_out_once_nothing_can_change_it(text: str, finished: int) -> None:
    blocks = Blocks()
    assert len(blocks.feed(text)) == finished


def test_code_is_coloured_by_class_and_names_its_language() -> None:
    html = render("```python\ndef f(): return '<b>'\n```\n")
    assert html.startswith('<pre data-lang="python"><code><span class="k">def</span>')
    assert "&lt;b&gt;" in html
    assert "style=" not in html


def test_each_language_has_a_lexer() -> None:
    for name in markup.LANGUAGES:
        assert f'data-lang="{name}"' in render(f"```{name}\nx = 1\n```")


def test_an_image_is_a_link_and_inside_a_link_its_words() -> None:
    link = 'href="http://a/b.png" target="_blank" rel="noopener noreferrer nofollow">cat</a>'
    assert link in render("![cat](http://a/b.png)")
    assert render("[![cat](http://a/b.png)](http://c)").count("<a ") == 1
    assert "<img" not in render("![cat](http://a/b.png)")


def test_a_cell_is_aligned_by_class() -> None:
    assert '<td class="right">1</td>' in render("| a |\n|--:|\n| 1 |\n")


def test_code_cannot_be_reordered_by_direction_controls() -> None:
    for text in ("`a\u202eb`", "```\na\u2066b\n```", "    a\u202db"):
        assert not re.search("[\u202a-\u202e\u2066-\u2069]", render(text))


def test_nothing_is_dropped_that_is_nested_too_deep() -> None:
    assert "needle" in render(">" * 60 + " needle")
    assert "needle" in render("".join("  " * depth + "- x\n" for depth in range(60)) + "  " * 60 + "- needle")


def test_what_is_too_long_is_shown_as_it_is() -> None:
    line = "a *b* " * BLOCK_BYTES
    assert Reader(render(line)).text.strip() == line.strip()
    many = "*x*\n\n" * (RICH_BYTES // 2)
    assert Reader(render(many)).text.count("*x*") > RICH_BYTES // 4


BOMBS = {
    "quotes": ">" * 10_000,
    "lists": "- " * 10_000,
    "brackets": "[" * 10_000,
    "images": "![" * 10_000,
    "links": "[a](" * 10_000,
    "emphasis": "*a **a" * 10_000,
    "backticks": "".join("`" * n + " " for n in range(250)),
    "wide table": "|a" * 5_000 + "\n" + "|-" * 5_000 + "\n" + "|b" * 5_000,
    "tall table": "|a|b|\n|-|-|\n" + "|c|d|\n" * 2_000,
    "gaping table": "|a" * 31 + "\n" + "|-" * 31 + "\n" + "|\n" * 5_000,
    "newlines": "\n" * 40_000,
    "one line": "a" * 1_000_000,
    "one paragraph": "hello world\n" * 20_000,
    "one list": "- hello world\n" * 15_000,
    "loose list": "- hello\n\n" * 15_000,
    "open fence": "```\n" + "hello world\n" * 40_000,
    "paragraphs": "Some *text* with `code`.\n\n" * 5_000,
    "fences in a fence": "````\n" + "```\n" * 30_000,
    "brackets in a list": ("- " + "![" * 3_900 + "\n") * 4,
    "tables": ("|a" * 31 + "\n" + "|-" * 31 + "\n" + "|\n" * 40 + "\n") * 60,
}


@pytest.mark.parametrize("name", BOMBS)
def test_the_search_for_block_ends_stays_in_proportion(name: str) -> None:
    text = BOMBS[name]
    blocks = Blocks()
    found = [block for i in range(0, len(text), 97) for block in blocks.feed(text[i : i + 97])] + blocks.finish()
    contiguous(found, text)
    # What is searched on credit, overdrawn by one look, and once more where a window is full or the text ends.
    look = 1 + TOKEN_WORK  # per byte: no text has more tokens than bytes
    assert blocks.work <= (WORK_PER_BYTE + 3 * look) * len(text) + WORK_FREE


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_makes_no_page_that_is_out_of_proportion(name: str) -> None:
    text = BOMBS[name]
    html = render(text)
    safe(html[:200_000])
    assert len(html) < 30 * len(text) + 1_000


@pytest.mark.parametrize("text", ["a a " * 4_000, "\n" * 8_000, " " * 8_000, "{" * 8_000])
@pytest.mark.parametrize("language", ["java", "c", "cpp", "c#", "yaml", "typescript", "xml"])
def test_code_that_lexers_choke_on_stays_plain(language: str, text: str) -> None:
    assert "<span" not in render(f"```{language}\n{text}\n```\n")


def test_rows_of_dashes_are_looked_at_once() -> None:
    """A prompt of nothing but rulers, as long as a prompt may be, took half a minute."""
    few, many = (_calls("---\n" * rulers) for rulers in (500, 2_000))
    assert many < 5 * few, "four times the text may not take sixteen times the work"


def _calls(text: str) -> int:
    """Count the functions called, Python's own among them, while `text` is rendered: work that no load changes."""
    counted = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        html = render(text)
    finally:
        sys.setprofile(None)
    assert html.count("<hr") == text.count("\n")
    return counted
