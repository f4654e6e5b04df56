"""The document names every way in, and what it says of each is what the code asks for."""

from app.services.rights import RIGHTS, Rank, Right, may
from tests.roles import ways


def test_the_rights_are_those_of_the_code() -> None:
    part = ways.DOCUMENT.read_text().split("\n## Rights\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("| `")]
    told = {row[0].strip("`"): {rank for rank, cell in zip(Rank, row[1:5], strict=True) if cell == "yes"} for row in rows}
    assert told == {right.value: {rank for rank in Rank if right in RIGHTS[rank]} for right in Right}


def test_every_route_is_there_with_its_right() -> None:
    found = ways.routes()
    # Asked for inside: a socket's close code can be read only once it is open, and a page lets guests become one.
    for way in ("WEBSOCKET /ws/sessions/{session}", "GET /", "GET /s/{session}"):
        assert found[way] == ways.ANYONE
        found[way] = Right.CHAT.value
    assert ways.documented("Pages and routes") == found


def test_every_socket_message_is_there() -> None:
    told = ways.documented("Messages on the chat socket")
    assert set(told) == ways.socket_messages()
    assert set(told.values()) == {Right.CHAT.value}


async def test_every_slash_command_is_there_with_its_right() -> None:
    found = await ways.slash_commands()
    assert ways.documented("Commands in Discord") == {name: right for name, (right, _) in found.items()}
    for name, (right, hidden) in found.items():
        assert hidden == (right != ways.ANYONE and not may(Rank.MEMBER, Right(right))), name


def test_every_verb_is_there() -> None:
    assert set(ways.documented("The command line")) == ways.verbs()
