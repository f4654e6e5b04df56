"""Every route, really tried as owner, admin, member, guest and nobody: each is let in or refused as the document says."""

from uuid import UUID, uuid4

import pytest
from httpx import Response

from app.core.db import transaction
from app.core.models import User, new_id
from app.services import accounts, logins, tokens
from app.services.rights import RIGHTS, Rank, Right
from app.web.deps import cookie_name
from app.wire.states import Door
from tests.roles import ways
from tests.support.website import Site

NOBODY = "nobody"
REFUSED = {401, 403}
FILLED = {"session": str(uuid4()), "turn": str(uuid4()), "login": str(uuid4()), "token": str(uuid4()), "provider": "discord"}
FILLED |= {"invitation": str(uuid4()), "model": "none", "path:path": "", "model:path": "none"}
ROUTES = {way: right for way, right in ways.documented("Pages and routes").items() if not way.startswith("WEBSOCKET")}


@pytest.fixture
def people(servers: object) -> dict[str, str]:
    """Somebody of each rank; a second owner, so that one may go."""
    accounts.add("other-owner", None, "owner", "test", Door.CLI)
    found = {rank.value: accounts.add(f"a-{rank}", None, rank.value, "test", Door.CLI) for rank in Rank if rank is not Rank.GUEST}
    with transaction() as tx:
        guest = User(id=new_id(), name="guest-1", role="guest", password_hash=None)
        tx.add(guest)
    return found | {Rank.GUEST.value: str(guest.id)}


def headers(way: str, who: str, people: dict[str, str]) -> tuple[dict[str, str], str]:
    """What one comes with: a login of its own for each try, since some routes end it; a token where only that is taken."""
    if who == NOBODY:
        return {}, ""
    if " /v1/" in way:
        return {"authorization": f"Bearer {tokens.new(f'a-{who}', '', ['chat', 'read', 'admin'], None, 'test', Door.CLI)}"}, ""
    with transaction() as tx:
        return {}, logins.begin(tx, UUID(people[who]), "test", "tests", "127.0.0.1")


@pytest.mark.parametrize("who", [*Rank, NOBODY])
async def test_each_is_let_in_or_refused(site: Site, people: dict[str, str], who: str) -> None:
    wrong = []
    for way, right in ROUTES.items():
        if who == Rank.GUEST and " /v1/" in way:
            continue  # A guest has no account, and so no token.
        method, path = way.split(" ")
        for name, value in FILLED.items():
            path = path.replace(f"{{{name}}}", value)
        assert "{" not in path, f"say what stands for the parameter of {way}"
        more, login = headers(way, who, people)
        async with site.browser(follow_redirects=False) as browser:
            cookies = {"cookie": f"{cookie_name()}={login}"} if login else {}
            answer = await browser.request(method, path, headers=more | cookies | {"accept": "application/json"}, json=None if method == "GET" else {})
        welcome = right == ways.ANYONE or who != NOBODY and Right(right) in RIGHTS[Rank(who)]
        refused = answer.status_code in REFUSED or answer.status_code == 303 and "/login" in answer.headers["location"]
        if welcome == refused and not _own(way, answer):
            wrong.append(f"{way}: {answer.status_code} {answer.text[:80]}")
        assert answer.status_code < 500 or answer.status_code == 503, f"{way}: {answer.text}"
    assert not wrong


def _own(way: str, answer: Response) -> bool:
    """Say whether a refusal is of another kind: a sign-in that fits nobody, Prometheus' own token, Flower that only shows."""
    if way.startswith("POST /flower"):
        return "Flower is for looking" in answer.text
    return answer.status_code == 401 and way in {"POST /api/login", "GET /metrics"}
