"""Turns one block of Markdown into sanitised HTML: markdown-it for structure, Pygments for code, nh3 last."""

import re
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_block.table import getLine, table
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES

BRACKETS = 256  # markdown-it's inline rules are quadratic in "["; a block with more in one piece is shown as text.
HIGHLIGHT_CHARS = 8 * 1024  # Pygments does about 300 KB/s; longer code stays plain, and so does code with …
TABLE_COLUMNS = 32  # A wider table is shown as text.
MISSING_CELLS = 64  # Short rows are padded to the head's width; a table that needs more of it ends there.
NESTING = 24  # markdown-it drops what is nested deeper; we show such a block as the text it is.

# Well-worn lexers only, since the language's name comes from whoever wrote the text, and each tried with 57 kinds of
# nasty code. Pygments' own for Java and C# need minutes for "a a a a"; JavaScript's knows most of their words.
_SAFE = """
    bash c c++ cpp css diff docker dockerfile go golang graphql haskell html http ini javascript js json jsx kotlin lua
    nginx php py python python3 r rb ruby rs rust scala sh shell sql swift toml ts tsx typescript xml yaml yml zig zsh
"""
LANGUAGES = {name: name for name in _SAFE.split()} | dict.fromkeys(["java", "c#", "cs", "csharp"], "javascript")
TAGS = frozenset(
    [
        "a",
        "blockquote",
        "br",
        "code",
        "div",
        "em",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "li",
        "ol",
        "p",
        "pre",
        "s",
        "span",
        "strong",
        "table",
        "tbody",
        "td",
        "th",
        "thead",
        "tr",
        "ul",
    ]
)
ALIGNMENTS = {"left", "center", "right"}

_SURROGATE = re.compile("[\ud800-\udfff]")
_DIRECTION = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])  # Controls that reorder what is read.
_LABEL = re.compile(r"[\w+#.-]{1,24}\Z", re.ASCII)
_RULER = re.compile(r"[ \t|:-]+\Z")  # The line under a table's head
_SLOW = re.compile(r"[^\n]{240}|\s{80}")  # … long lines or long gaps: many of its patterns are quadratic in those.
_LINK = re.compile(r"(?:https?://|mailto:)", re.IGNORECASE)


def blocks_of(source: str) -> list[Token]:
    """Return the block tokens of `source`, its inline content not looked at."""
    tokens: list[Token] = []
    _markdown.block.parse(_characters(source), _markdown, {}, tokens)
    return tokens


def rich(source: str) -> str:
    """Return `source` as HTML; as its own text where Markdown would cost too much or drop something."""
    tokens = blocks_of(source)
    too_deep = any(token.nesting == 1 and token.level + 1 >= NESTING for token in tokens)
    tangled = any(token.type == "inline" and token.content.count("[") > BRACKETS for token in tokens)
    if too_deep or tangled:
        return plain(source)
    state = StateCore(_characters(source), _markdown, {}, tokens)
    for rule in _markdown.core.ruler.getRules(""):
        rule(state)
    return _cleaner.clean(_markdown.renderer.render(state.tokens, _markdown.options, {}))


def plain(source: str) -> str:
    """Return `source` as text in a box of its own."""
    text = _characters(source).strip("\r\n")
    return f'<div class="text">{escape(text)}</div>\n' if text else ""


def _characters(text: str) -> str:
    """Replace what no page can show, lone surrogates and NUL, and make every line end the same."""
    return _SURROGATE.sub("\ufffd", text).replace("\0", "\ufffd").replace("\r\n", "\n").replace("\r", "\n")


class _Renderer(RendererHTML):
    """markdown-it's renderer with our code blocks, and with classes where it would write inline styles."""

    def fence(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        label = (tokens[index].info.split() or [""])[0]
        attribute = f' data-lang="{label}"' if _LABEL.match(label) else ""
        return f"<pre{attribute}><code>{_code(tokens[index].content, label.lower())}</code></pre>\n"

    def code_block(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        return f"<pre><code>{_code(tokens[index].content)}</code></pre>\n"

    def code_inline(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        return f"<code>{_code(tokens[index].content)}</code>"

    def table_open(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        return '<div class="table"><table>\n'

    def table_close(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        return "</table></div>\n"


def _code(code: str, language: str = "") -> str:
    code = code.translate(_DIRECTION)
    if language not in LANGUAGES or len(code) > HIGHLIGHT_CHARS or _SLOW.search(code):
        return escape(code)
    return str(highlight(code, _lexer(language), _formatter))


@lru_cache(maxsize=len(LANGUAGES))
def _lexer(language: str) -> Lexer:
    return get_lexer_by_name(LANGUAGES[language], stripnl=False, ensurenl=False)


def _narrow_table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Take a table as far as it is worth its length: a few short rows under a wide head make a huge one."""
    if silent or start + 1 >= end or not _RULER.match(getLine(state, start + 1)):
        return table(state, start, end, silent)
    columns = getLine(state, start + 1).count("|")
    if not 0 < columns <= TABLE_COLUMNS:
        # A row of dashes looks like a table's ruler; looking down to the end for each of many would be quadratic.
        return columns == 0 and table(state, start, start + 2, silent)
    missing = 0
    for line in range(start + 2, end):
        missing += max(0, columns - 1 - getLine(state, line).count("|"))
        if missing > MISSING_CELLS or state.isEmpty(line):
            end = line
            break
    return table(state, start, end, silent)


def _images_to_links(state: StateCore) -> None:
    """Show an image as a link to it: a picture would tell its server who reads this."""
    for token in state.tokens:
        if token.children:
            token.children = _without_images(token.children)


def _without_images(children: Sequence[Token]) -> list[Token]:
    kept: list[Token] = []
    links = 0
    for child in children:
        links += child.nesting if child.type.startswith("link_") else 0
        if child.type != "image":
            kept.append(child)
            continue
        source = child.attrGet("src")
        text = Token("text", "", 0, content=child.content or str(source))
        if links:
            kept.append(text)
        else:
            kept += [Token("link_open", "a", 1, attrs={"href": source or ""}), text, Token("link_close", "a", -1)]
    return kept


def _classes_for_styles(state: StateCore) -> None:
    """Say a table cell's alignment with a class: the page's policy forbids style attributes."""
    for token in state.tokens:
        style = str(token.attrs.pop("style", ""))
        if style:
            token.attrs["class"] = style.removeprefix("text-align:")


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "xhtmlOut": False, "maxNesting": NESTING}, renderer_cls=_Renderer)
    parser.enable(["table", "strikethrough"]).disable(["reference", "block", "normalize"])
    parser.block.ruler.at("table", _narrow_table, {"alt": ["paragraph", "reference"]})
    parser.core.ruler.push("images_to_links", _images_to_links)
    parser.core.ruler.push("classes_for_styles", _classes_for_styles)
    parser.validateLink = lambda url: bool(_LINK.match(url))  # type: ignore[method-assign] # its own hook
    return parser


_markdown = _parser()
_formatter: HtmlFormatter[str] = HtmlFormatter(nowrap=True)
_cleaner = nh3.Cleaner(
    tags=TAGS,
    attributes={"*": set(), "a": {"href"}, "ol": {"start"}, "pre": {"data-lang"}},
    allowed_classes={
        "span": {name for name in STANDARD_TYPES.values() if name},
        "div": {"table", "text"},
        "td": ALIGNMENTS,
        "th": ALIGNMENTS,
    },
    url_schemes={"http", "https", "mailto"},
    url_relative="deny",
    link_rel="noopener noreferrer nofollow",
    set_tag_attribute_values={"a": {"target": "_blank"}},
)
