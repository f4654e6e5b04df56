"""The one line with which a node joins: whole or refused, and never more than it may say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.wire import invitation
from app.wire.errors import BadInput

SETTINGS = {"NODE": "attic", "NODE_KEYS": "a;b", "SLOTS": "2", "REDIS_URL": "redis://node-attic:p@h:1/0"}


def test_it_comes_over_as_it_was() -> None:
    line = invitation.dump(SETTINGS)
    assert invitation.parse(line) == SETTINGS
    assert len(line.split()) == 1
    # As a mail program or a narrow terminal may break it.
    assert invitation.parse(f"  {line[:40]}\n{line[40:]}  \n") == SETTINGS


@given(st.data())
def test_one_that_was_cut_or_altered_is_refused(data: st.DataObject) -> None:
    line = invitation.dump(SETTINGS)
    at = data.draw(st.integers(len(invitation.HEAD), len(line) - 1))
    other = data.draw(st.sampled_from([letter for letter in "abcXYZ019-_" if letter != line[at]]))
    for bad in (line[:at], line[:at] + other + line[at + 1 :]):
        try:
            found = invitation.parse(bad)
        except BadInput:
            continue
        # Base64's last character has bits that say nothing.
        assert found == SETTINGS


@pytest.mark.parametrize("line", ["", "hello", "meatlizard-node-1.", "meatlizard-node-2.abc", "meatlizard-node-1." + "A" * 10_000])
def test_what_is_none_is_refused(line: str) -> None:
    with pytest.raises(BadInput):
        invitation.parse(line)


@pytest.mark.parametrize("extra", [{"LLAMA_SERVER": "/bin/sh"}, {"KEYS": "x"}, {"NODE": "a\nMEATLIZARD_LLAMA_SERVER=/bin/sh"}, {"NODE": "../../.profile"}])
def test_a_strangers_line_runs_no_program(monkeypatch: pytest.MonkeyPatch, extra: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="not for a node") if set(extra) - invitation.SETTINGS else _nothing():
        invitation.dump(SETTINGS | extra)
    monkeypatch.setattr(invitation, "SETTINGS", invitation.SETTINGS | set(extra))
    line = invitation.dump(SETTINGS | extra)
    monkeypatch.undo()
    with pytest.raises(BadInput, match="carries what no invitation does"):
        invitation.parse(line)


class _nothing:  # noqa: N801 - read as a word
    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass
