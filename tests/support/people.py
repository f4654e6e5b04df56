"""People and their conversations, made without ceremony."""

from dataclasses import dataclass
from uuid import UUID, uuid4

from app.core.db import transaction
from app.services import accounts, logins, sessions, tokens, turns
from app.services.turns import Accepted
from app.wire.states import Door


@dataclass(frozen=True)
class Member:
    """An account with a token for programs and a browser's login."""

    id: str
    name: str
    token: str
    login: str

    def session(self) -> str:
        return sessions.create(self.id).id

    def ask(self, session: str, words: str = "Why is the sky blue?", parent: str | None = None) -> Accepted:
        return turns.submit(self.id, session, str(uuid4()), words, parent, Door.WEB)


def member(name: str = "ada", role: str = "member") -> Member:
    """Make one; the login comes without a password, which costs a tenth of a second."""
    identity = accounts.add(name, None, role, "test", Door.CLI)
    token = tokens.new(name, "", tokens.DEFAULT, None, "test", Door.CLI)
    with transaction() as tx:
        login = logins.begin(tx, UUID(identity), "password", "tests", "127.0.0.1")
    return Member(identity, name, token, login)
