"""Everything a sandbox is made of, in one place that requests and connections share."""

import asyncio
import base64
import secrets
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from bots.sandbox.clock import Clock
from bots.sandbox.config import Config
from bots.sandbox.desk import Desk
from bots.sandbox.faults import Faults
from bots.sandbox.gateway import Gateway
from bots.sandbox.journal import Journal
from bots.sandbox.ratelimits import Limits
from bots.sandbox.records import Application
from bots.sandbox.shapes import Shapes
from bots.sandbox.signing import Signer
from bots.sandbox.snowflake import Snowflakes
from bots.sandbox.store import Store

if TYPE_CHECKING:
    from bots.sandbox.connection import Connection


class World:
    """The guild and its people, the gateway, the limits and what is to go wrong."""

    def __init__(self, config: Config, clock: Clock | None = None) -> None:
        self.config = config.prepared()
        self.clock = clock or Clock()
        self.ids = Snowflakes(self.clock)
        self.store = Store(self.config.state)
        self.ids.last = self.store.state.last_id
        state = self.store.state
        state.signing_key = state.signing_key or secrets.token_hex(32)
        state.control_token = self.config.control_token or state.control_token or secrets.token_urlsafe(32)
        self.url = ""
        self.signer = Signer(state.signing_key, self.clock, lambda: self.url)
        self.shapes = Shapes(self.store, self.signer)
        self.faults = Faults(self.clock)
        self.limits = Limits(self.clock, on=self.config.limits == "discord", buckets=self.config.buckets)
        self.gateway = Gateway(self.store, self.shapes, self.faults, self.clock, self.config.resume_seconds)
        self.desk = Desk(self.clock)
        self.journal = Journal()
        self.connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def gateway_url(self) -> str:
        """Where clients connect and resume."""
        return self.url.replace("http", "ws", 1) + "/gateway/"

    def new_id(self) -> int:
        """An id of now; remembered, so that none is given twice after a restart."""
        self.store.state.last_id = self.ids.new()
        return self.store.state.last_id

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let something happen beside."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def by_token(self, token: str) -> Application | None:
        """The application a bot token belongs to."""
        for one in self.store.applications.values():
            if secrets.compare_digest(one.token.encode(), str(token).encode()):
                return one
        return None

    def reset_token(self, application: Application) -> None:
        """Give a bot a new token; every session it has ends."""
        application.token = new_token(application.id)
        application.identified.clear()
        for session in [one for one in self.gateway.sessions.values() if one.bot == application.id]:
            del self.gateway.sessions[session.id]
        self.store.changed()


def new_token(user: int) -> str:
    """A bot token of the form Discord's have: the id in base64, a dot, and secrets."""
    owner = base64.urlsafe_b64encode(str(user).encode()).decode().rstrip("=")
    return f"{owner}.{secrets.token_urlsafe(4)}.{secrets.token_urlsafe(28)}"


WORLD: Final = web.AppKey("WORLD", World)
