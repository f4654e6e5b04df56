"""Splitting: nothing lost, nothing too long, every block of code whole in each message, parts that stay."""

import re

from hypothesis import given
from hypothesis import strategies as st

from bots.server.commands.split import LIMIT, ROOM, Part, split, units

CODE = "```python\n" + "".join(f"print({number})  # 光🌈\n" for number in range(400)) + "```\n"
PIECES = st.sampled_from(
    ["word ", "\n", "\n\n", "```py\n", "```", "\n```\n", "`", "🌈", "👩‍👩‍👧", "é", "x" * 300, "    indented\n", "``````", "```c++ ", "~~~\n", "@everyone "]
)
TEXTS = st.lists(PIECES | st.text(max_size=30), max_size=120).map("".join)


def fences(content: str) -> int:
    return len(re.findall("`{3,}", content))


def test_short_texts_stay_as_they_are():
    assert split("") == [Part(0, 0, "")]
    assert [one.content for one in split("Hello\n\nyou")] == ["Hello\n\nyou"]


def test_a_block_goes_on_with_its_language():
    parts = split("See:\n" + CODE + "That is all.")
    assert len(parts) == 4
    for one in parts[1:-1]:
        assert one.content.startswith("```python\nprint(")
        assert one.content.endswith(")  # 光🌈\n```")
    assert parts[-1].content.endswith("```\nThat is all.")
    whole = "".join(one.content.removeprefix("```python\n").removesuffix("```") for one in parts)
    assert [f"print({number})" in whole for number in range(400)] == [True] * 400


def test_words_are_not_broken():
    text = "supercalifragilistic " * 500
    for one in split(text):
        assert set(one.content.split()) == {"supercalifragilistic"}


def test_a_part_that_ends_with_a_block_leaves_no_empty_one():
    for length in range(ROOM - 60, ROOM + 10):
        text = "a\n```js\n" + "x" * (length - 30) + "\n```\n" + "after " * 40
        assert not [one.content for one in split(text) if re.search(r"```(js)?\n?\s*```", one.content)]


@given(TEXTS, st.sampled_from([60, 200, ROOM]))
def test_nothing_is_lost_too_long_or_left_open(text, room):
    parts = split(text, room)
    assert [one.start for one in parts] == [0, *[one.end for one in parts[:-1]]]
    assert parts[-1].end == len(text)
    for one in parts:
        assert units(one.content) <= room <= LIMIT
        assert one.end > one.start or text == ""
        kept = re.sub(r"[`\s]", "", text[one.start : one.end])
        assert kept in re.sub(r"[`\s]", "", one.content)
        assert fences(one.content) % 2 == 0, one


@given(TEXTS)
def test_what_is_posted_stays_while_the_text_grows(text):
    whole = split(text, 200)
    for length in range(0, len(text), max(1, len(text) // 20)):
        early = split(text[:length], 200)
        assert [one.content for one in early[:-1]] == [one.content for one in whole[: len(early) - 1]]
