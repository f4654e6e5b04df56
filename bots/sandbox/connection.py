"""One WebSocket at the gateway: hello, heartbeats, identify or resume, and the closing codes (docs: events/gateway)."""

import asyncio
import json
import zlib
from collections import deque
from typing import Any, Final

from aiohttp import WSMsgType, web

from bots.sandbox import gateway as gw
from bots.sandbox.compression import Stream, stream
from bots.sandbox.faults import Kind
from bots.sandbox.records import Application
from bots.sandbox.session import Session
from bots.sandbox.world import WORLD, World

VERSIONS: Final = ("9", "10")
MOST_BYTES: Final = 4096
"""A payload from a client may be no longer (docs: events/gateway, Sending Events)."""
MOST_SENT: Final = 120
"""Payloads a client may send in a minute (docs: events/gateway, Rate Limiting)."""
MAX_CONCURRENCY: Final = 1
GRACE: Final = 1.5
"""Heartbeat intervals without a heartbeat after which a connection counts as dead."""
DAY: Final = 24 * 3600.0
ACK_SECONDS: Final = 0.05
"""A heartbeat is answered no sooner, as over a real network: discord.py notes when it sent one only after it has, and
takes an answer that is there before that for one to the heartbeat before, which it then calls 41.3 s behind."""


class Closed(Exception):
    """The connection is to be closed with a code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


async def connect(request: web.Request) -> web.StreamResponse:
    """Serve a client until one of the two has enough."""
    world = request.app[WORLD]
    if world.faults.gateway(Kind.REFUSE_CONNECT, None):
        return web.Response(status=503, text="no healthy upstream")
    # Two seconds for a client to say goodbye: one that hangs must not hold up who drops it.
    socket = web.WebSocketResponse(timeout=2.0, compress=False, max_msg_size=1 << 20)
    await socket.prepare(request)
    connection = Connection(world, socket, request)
    world.connections.add(connection)
    try:
        await connection.run()
    finally:
        world.connections.discard(connection)
    return socket


class Connection:
    """A client's WebSocket with the session that talks through it."""

    def __init__(self, world: World, socket: web.WebSocketResponse, request: web.Request) -> None:
        self._world = world
        self._socket = socket
        self._request = request
        self._outgoing: asyncio.Queue[str] = asyncio.Queue()
        self._stream: Stream | None = None
        self._inflate_each = False
        self._sent: deque[float] = deque()
        self._beat = 0.0
        self._dropped = False
        self.session: Session | None = None
        self.silent_until = 0.0

    def send(self, text: str) -> None:
        """Send a payload after those before it."""
        self._outgoing.put_nowait(text)

    async def run(self) -> None:
        """Talk until the end."""
        writer = asyncio.create_task(self._write())
        try:
            await self._talk()
        except Closed as closed:
            await self._socket.close(code=closed.code, message=str(closed).encode())
        except ConnectionError:
            # The client is gone without a word; its session stays.
            self._dropped = True
        finally:
            writer.cancel()
            self._leave()

    async def drop(self, code: int | None) -> None:
        """Lose this client: with a closing code, or, for None, without a word."""
        self._dropped = True
        if code is None:
            if self._request.transport is not None:
                self._request.transport.abort()
            return
        await self._socket.close(code=code)

    async def _talk(self) -> None:
        query = self._request.query
        if query.get("v", "10") not in VERSIONS:
            raise Closed(4012, "Invalid API version")
        if query.get("encoding", "json") != "json":
            raise Closed(4002, "This sandbox speaks JSON only")
        if kind := query.get("compress"):
            self._stream = stream(kind)
            if self._stream is None:
                raise Closed(4002, f"No {kind} here")
        interval = self._world.config.heartbeat_seconds
        self._tell(10, {"heartbeat_interval": int(interval * 1000), "_trace": ["sandbox"]})
        loop = asyncio.get_running_loop()
        self._beat = loop.time()
        while True:
            left = self._beat + interval * GRACE - loop.time()
            try:
                message = await self._socket.receive(timeout=max(0.01, left))
            except TimeoutError:
                raise Closed(4009, "Session timed out.") from None
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return
            await self._take(message.data)

    async def _take(self, raw: str | bytes) -> None:
        loop = asyncio.get_running_loop()
        self._sent.append(loop.time())
        while self._sent[0] < loop.time() - 60.0:
            self._sent.popleft()
        if len(self._sent) > MOST_SENT and self._world.limits.on:
            raise Closed(4008, "You are being rate limited.")
        if len(raw) > MOST_BYTES:
            raise Closed(4002, "Payload too large")
        try:
            payload = json.loads(raw)
            op, data = payload["op"], payload.get("d")
        except (ValueError, TypeError, KeyError):
            raise Closed(4002, "Error while decoding payload.") from None
        match op:
            case 1:
                self._beat = loop.time()
                loop.call_later(ACK_SECONDS, self._tell, 11, None)
            case 2:
                self._identify(data)
            case 6:
                await self._resume(data)
            case 3 | 4 | 8 if self.session is None:
                raise Closed(4003, "Not authenticated.")
            case 3 | 4:
                # Presence and voice: taken, and shown to nobody.
                return
            case 8:
                self._chunk(data)
            case _:
                raise Closed(4001, "Unknown opcode.")

    def _identify(self, data: Any) -> None:
        world = self._world
        if self.session is not None:
            raise Closed(4005, "Already authenticated.")
        try:
            token, intents, shard = data["token"], int(data["intents"]), data.get("shard") or [0, 1]
        except (TypeError, KeyError, ValueError):
            raise Closed(4002, "Error while decoding payload.") from None
        application = world.by_token(token)
        if application is None:
            raise Closed(4004, "Authentication failed.")
        if not 0 <= shard[0] < shard[1]:
            raise Closed(4010, "Invalid shard.")
        if intents & ~gw.KNOWN:
            raise Closed(4013, "Invalid intent(s).")
        if intents & gw.PRIVILEGED & ~application.intents:
            raise Closed(4014, "Disallowed intent(s).")
        if not self._may_start(application):
            self._tell(9, False)
            return
        self._inflate_each = self._stream is None and bool(data.get("compress"))
        session = Session(bot=application.id, intents=intents, shard=(shard[0], shard[1]), link=self)
        world.gateway.sessions[session.id] = self.session = session
        self._ready(application, session)

    def _may_start(self, application: Application) -> bool:
        """Count an identify; too many in a day end every session and the token (docs: events/gateway, Identifying)."""
        world = self._world
        now = world.clock.time()
        started = application.identified = [one for one in application.identified if one > now - DAY]
        if not world.limits.on:
            return True
        if len(started) >= world.config.identify_limit:
            others = [one for one in world.connections if one.session and one.session.bot == application.id]
            world.reset_token(application)
            for one in others:
                world.spawn(one.drop(4004))
            raise Closed(4004, "Authentication failed.")
        if len([one for one in started if one > now - world.config.identify_seconds]) >= MAX_CONCURRENCY:
            return False
        started.append(now)
        world.store.changed()
        return True

    def _ready(self, application: Application, session: Session) -> None:
        world = self._world
        guilds = [
            one for one in world.store.guilds if world.store.member(one, application.id) and session.has_guild(one)
        ]
        flags = world.shapes.application(application)["flags"]
        data = {
            "v": 10,
            "user": world.shapes.user(world.store.users[application.id]),
            "guilds": [{"id": str(one), "unavailable": True} for one in guilds],
            "session_id": session.id,
            "resume_gateway_url": world.gateway_url,
            "shard": list(session.shard),
            "application": {"id": str(application.id), "flags": flags},
            "private_channels": [],
            "_trace": ["sandbox"],
        }
        session.dispatch("READY", data)
        if session.intents & gw.GUILDS:
            for guild in guilds:
                world.gateway.welcome(session, guild)
        world.store.changed()

    async def _resume(self, data: Any) -> None:
        world = self._world
        try:
            token, session_id, sequence = data["token"], data["session_id"], int(data["seq"] or 0)
        except (TypeError, KeyError, ValueError):
            raise Closed(4002, "Error while decoding payload.") from None
        application = world.by_token(token)
        if application is None:
            raise Closed(4004, "Authentication failed.")
        refused = world.faults.gateway(Kind.REFUSE_RESUME, application.id)
        session = None if refused else world.gateway.resumable(session_id, application.id)
        if session is None:
            if refused:
                world.gateway.sessions.pop(session_id, None)
            self._tell(9, False)
            return
        if sequence > session.sequence:
            raise Closed(4007, "Invalid seq.")
        missed = session.missed(sequence)
        if missed is None:
            del world.gateway.sessions[session.id]
            self._tell(9, False)
            return
        old = session.link
        session.link, session.left, self.session = self, None, session
        if isinstance(old, Connection):
            # Half open: the session moves on to the connection that speaks.
            old.session = None
            await old.drop(4000)
        for text in missed:
            self.send(text)
        session.dispatch("RESUMED", {"_trace": ["sandbox"]})

    def _chunk(self, data: Any) -> None:
        """Answer Request Guild Members in chunks of 1000 (docs: events/gateway-events)."""
        world, session = self._world, self.session
        assert session is not None
        guild = int(data["guild_id"][0] if isinstance(data["guild_id"], list) else data["guild_id"])
        if world.store.member(guild, session.bot) is None:
            return
        found = world.store.members(guild)
        if wanted := data.get("user_ids"):
            ids = {int(one) for one in (wanted if isinstance(wanted, list) else [wanted])}
            found = [one for one in found if one.user in ids]
        elif query := data.get("query"):
            found = [one for one in found if world.store.users[one.user].name.lower().startswith(query.lower())]
            found = found[: min(100, data.get("limit") or 100)]
        elif not session.intents & gw.GUILD_MEMBERS:
            # The whole list needs the intent.
            found = []
        pieces = [found[start : start + 1000] for start in range(0, len(found), 1000)] or [[]]
        for index, piece in enumerate(pieces):
            chunk: dict[str, Any] = {
                "guild_id": str(guild),
                "members": [world.shapes.member(one) for one in piece],
                "chunk_index": index,
                "chunk_count": len(pieces),
            }
            if data.get("nonce"):
                chunk["nonce"] = data["nonce"]
            session.dispatch("GUILD_MEMBERS_CHUNK", chunk)

    def reconnect(self) -> None:
        """Ask the client to come back (opcode 7)."""
        self._tell(7, None)

    def invalidate(self, *, resumable: bool) -> None:
        """Tell the client that its session is no good (opcode 9)."""
        if not resumable and self.session is not None:
            self._world.gateway.sessions.pop(self.session.id, None)
        self._tell(9, resumable)

    def _tell(self, op: int, data: Any) -> None:
        self.send(json.dumps({"op": op, "d": data, "s": None, "t": None}))

    async def _write(self) -> None:
        while True:
            text = await self._outgoing.get()
            if asyncio.get_running_loop().time() < self.silent_until:
                # A zombie swallows what it should send; a resume brings it.
                continue
            try:
                if self._stream is not None:
                    await self._socket.send_bytes(self._stream.pack(text))
                elif self._inflate_each and len(text) > MOST_BYTES:
                    await self._socket.send_bytes(zlib.compress(text.encode()))
                else:
                    await self._socket.send_str(text)
            except (ConnectionError, RuntimeError):
                # Closing; the reader sees it too.
                return

    def _leave(self) -> None:
        session = self.session
        if session is None or session.link is not self:
            return
        session.link, session.left = None, self._world.clock.time()
        if self._socket.close_code in (1000, 1001) and not self._dropped:
            # A client that says goodbye does not come back (docs: events/gateway, Initiating a Disconnect).
            self._world.gateway.sessions.pop(session.id, None)
        self._world.store.changed()
