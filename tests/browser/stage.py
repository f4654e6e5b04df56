"""A stand-in of the web process that plays what a test tells it to: the real templates and files, a scripted server."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiohttp import WSMsgType, web
from jinja2 import Environment, FileSystemLoader

from app.services import markdown
from app.web.security import CSP
from tests.support.waiting import PATIENCE

WEB = Path(__file__).resolve().parents[2] / "app" / "web"
# Stricter than the server's: the page must also live with Trusted Types.
POLICY = CSP

Json = dict[str, Any]
Play = Callable[["Stage", Json], Awaitable[None]]


class Stage:
    """Holds one person's sessions in memory and tells open pages what the test wants them to hear."""

    def __init__(self) -> None:
        self.user: Json | None = {"name": "ada", "role": "admin", "guest": False}
        self.sessions: dict[str, Json] = {}
        self.nodes: list[Json] = [
            {"name": "home", "lane": "queue", "slots": 2, "busy": 0, "model": "SmolLM2", "state": "up"}
        ]
        self.sockets: dict[str, list[web.WebSocketResponse]] = {}
        self.heard: list[Json] = []  # What pages said on sockets
        self.page = 100  # sessions that the list shows at once
        self.asked: list[str] = []  # REST requests: "GET /api/sessions"
        self.prompts: dict[str, Json] = {}  # Accepted, by the page's own id
        self.on_resume: Play | None = None
        self.refuses_sockets: int | None = None  # A close code for every new socket
        self.fails: dict[str, int] = {}  # "POST /api/sessions" -> how many more times it answers 503
        self.url = ""
        self._runner: web.AppRunner | None = None
        self._pages = Environment(loader=FileSystemLoader(WEB / "templates"), autoescape=True)

    async def start(self) -> "Stage":
        app = web.Application(middlewares=[self._with_policy])
        app.router.add_get("/", self._page)
        app.router.add_get("/s/{session}", self._page)
        app.router.add_get("/login", self._login_page)
        app.router.add_static("/static", WEB / "static")
        app.router.add_post("/api/login", self._login)
        app.router.add_post("/api/logout", self._nothing)
        app.router.add_get("/api/state", self._state)
        app.router.add_get("/api/sessions", self._list)
        app.router.add_post("/api/sessions", self._create)
        app.router.add_get("/api/sessions/{session}", self._show)
        app.router.add_patch("/api/sessions/{session}", self._rename)
        app.router.add_delete("/api/sessions/{session}", self._remove)
        app.router.add_post("/api/turns/{turn}/stop", self._nothing)
        app.router.add_get("/ws/sessions/{session}", self._socket)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr]
        return self

    async def stop(self) -> None:
        await self.cut()
        if self._runner:
            await self._runner.cleanup()

    # What a test does

    def session(self, title: str = "", *messages: Json, turns: list[Json] | None = None) -> str:
        """Make a session with these messages; those without a parent follow the one before them."""
        session = str(uuid4())
        kept: list[Json] = []
        for given in messages:
            message = {
                "id": str(uuid4()),
                "parent": kept[-1]["id"] if kept else None,
                "created_at": "2026-01-01T00:00:00Z",
            } | given
            kept.append(message | {"html": message.get("html") or markdown.render(str(message["text"]))})
        self.sessions[session] = {
            "id": session,
            "title": title,
            "updated_at": "2026-01-01T00:00:00Z",
            "messages": kept,
            "turns": turns or [],
        }
        return session

    async def tell(self, session: str, **event: Any) -> None:
        """Send one event to every open page of a session."""
        for socket in list(self.sockets.get(session, [])):
            await socket.send_json(event)

    async def cut(self, code: int = 1012) -> None:
        """Close every socket."""
        for sockets in self.sockets.values():
            for socket in list(sockets):
                await socket.close(code=code)

    async def until(self, true: Callable[[], Any], seconds: float = PATIENCE) -> Any:
        """Wait until a condition holds and return what it found."""
        async with asyncio.timeout(seconds):
            while not (found := true()):
                await asyncio.sleep(0.005)
        return found

    async def said(self, kind: str, count: int = 1) -> Json:
        """Wait for the `count`-th message of a kind that any page said, and return it."""
        await self.until(lambda: len([one for one in self.heard if one.get("type") == kind]) >= count)
        return [one for one in self.heard if one.get("type") == kind][count - 1]

    async def accept(self, session: str, prompt: Json, **more: Any) -> Json:
        """Keep a prompt, or another try at one, as the server would, and tell every page of it."""
        if known := self.prompts.get(prompt["id"]):
            await self.tell(session, **known)
            return known
        if prompt["type"] == "prompt":
            message = {"id": str(uuid4()), "parent": prompt["parent"], "role": "user", "text": prompt["text"]}
            message["html"] = markdown.render(prompt["text"])
            self.sessions[session]["messages"].append(message)
        else:
            message = self._prompt_of(session, prompt["turn"])
        self.sessions[session]["title"] = self.sessions[session]["title"] or message["text"][:80]
        event: Json = {"event": "accepted", "id": prompt["id"], "turn": str(uuid4()), "message": message["id"]}
        event |= {"parent": message["parent"], "text": message["text"], "html": message["html"]}
        event |= {"title": self.sessions[session]["title"]} | more
        self.prompts[prompt["id"]] = event
        self.sessions[session]["turns"].append(
            {"id": event["turn"], "message": message["id"], "state": "queued", "attempt": 0, "position": 1, "eta": None}
        )
        await self.tell(session, **event)
        return event

    def _prompt_of(self, session: str, turn: str) -> Json:
        kept = self.sessions[session]
        owner = [m["parent"] for m in kept["messages"] if m.get("turn") == turn]
        owner += [t["message"] for t in kept["turns"] if t["id"] == turn]
        return next(m for m in kept["messages"] if m["id"] == owner[0])

    def finish(self, session: str, turn: str, text: str, **more: Any) -> Json:
        """Keep a reply and return the event that says so."""
        kept = self.sessions[session]
        waiting = next(t for t in kept["turns"] if t["id"] == turn)
        kept["turns"].remove(waiting)
        reply = {"id": str(uuid4()), "parent": waiting["message"], "role": "assistant", "text": text, "turn": turn}
        facts = {"model": "SmolLM2", "node": "home", "usage": {"tokens_per_second": 42.4}}
        html = markdown.render(text)
        kept["messages"].append(reply | facts | {"html": html, "state": more.get("event", "done"), "left_out": 0})
        event = {"event": "done", "turn": turn, "attempt": 1, "message": reply["id"], "parent": reply["parent"]}
        return event | {"at": len(text.encode()), "text": text, "html": html} | facts | more

    async def reply(self, session: str, turn: str, text: str, step: int = 7, blocks: bool = True) -> None:
        """Play a whole reply: started, deltas with their blocks, done."""
        await self.tell(session, event="started", turn=turn, attempt=1, at=0, node="home", left_out=0)
        for event in written(turn, text, step=step, blocks=blocks):
            await self.tell(session, **event)
        await self.tell(session, **self.finish(session, turn, text))

    # What the page asks

    @web.middleware
    async def _with_policy(self, request: web.Request, handler: Any) -> web.StreamResponse:
        response: web.StreamResponse = await handler(request)
        if not isinstance(response, web.WebSocketResponse):
            response.headers["Content-Security-Policy"] = POLICY
        return response

    def rendered(self, name: str, **context: Any) -> str:
        """Return a page of a real template."""
        return self._pages.get_template(name).render(user=self.user, version="0", **context)

    def _render(self, name: str, **context: Any) -> web.Response:
        return web.Response(text=self.rendered(name, **context), content_type="text/html")

    async def _page(self, request: web.Request) -> web.Response:
        return self._render("chat.html", session_id=request.match_info.get("session"))

    async def _login_page(self, request: web.Request) -> web.Response:
        return self._render("login.html", error=None)

    async def _login(self, request: web.Request) -> web.Response:
        given = await request.json()
        if given == {"name": "ada", "password": "right"}:
            return web.Response(status=204)
        return _refusal(401, "wrong", "This name and password do not belong together.")

    async def _nothing(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path}")
        return web.Response(status=204)

    async def _state(self, request: web.Request) -> web.Response:
        return web.json_response({"nodes": self.nodes, "waiting": 0})

    async def _list(self, request: web.Request) -> web.Response:
        words = request.query.get("find", "").split()
        if request.query.get("before") and self.fails.get("GET /api/sessions older", 0) > 0:
            self.fails["GET /api/sessions older"] -= 1
            return _refusal(503, "away", "The database is away. Try again.")
        shown = [{key: one[key] for key in ("id", "title", "updated_at")} for one in self.sessions.values()]
        begin = int(request.query.get("before") or 0)
        page = shown[::-1][begin : begin + self.page]
        more = begin + self.page < len(shown)
        found = [one for one in page if all(word in one["title"].lower() for word in words)]
        return web.json_response({"sessions": found, "next": str(begin + self.page) if more else None})

    async def _create(self, request: web.Request) -> web.Response:
        self.asked.append("POST /api/sessions")
        if self.fails.get("POST /api/sessions", 0) > 0:
            self.fails["POST /api/sessions"] -= 1
            return _refusal(503, "away", "The database is away. Try again.")
        session = self.session()
        return web.json_response(
            {key: self.sessions[session][key] for key in ("id", "title", "updated_at")}, status=201
        )

    async def _show(self, request: web.Request) -> web.Response:
        session = request.match_info["session"]
        self.asked.append("GET /api/sessions/ID")
        return (
            web.json_response(self.sessions[session])
            if session in self.sessions
            else _refusal(404, "gone", "Not here.")
        )

    async def _rename(self, request: web.Request) -> web.Response:
        session = self.sessions[request.match_info["session"]]
        session["title"] = (await request.json())["title"]
        return web.json_response({key: session[key] for key in ("id", "title", "updated_at")})

    async def _remove(self, request: web.Request) -> web.Response:
        del self.sessions[request.match_info["session"]]
        return web.Response(status=204)

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        session = request.match_info["session"]
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if self.refuses_sockets or session not in self.sessions:
            await socket.close(code=self.refuses_sockets or 4404)
            return socket
        self.sockets.setdefault(session, []).append(socket)
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                given = json.loads(message.data) | {"session": session}
                self.heard.append(given)
                await self._answer(session, given)
        self.sockets[session].remove(socket)
        return socket

    async def _answer(self, session: str, given: Json) -> None:
        match given["type"]:
            case "ping":
                await self.tell(session, event="pong")
            case "prompt" | "retry" if given["id"] in self.prompts:
                await self.accept(session, given)
            case "resume" if self.on_resume:
                await self.on_resume(self, given)


def written(turn: str, text: str, attempt: int = 1, at: int = 0, step: int = 7, blocks: bool = True) -> list[Json]:
    """Return the deltas of `text` from byte `at` on, `step` characters each, and the blocks they finish."""
    events: list[Json] = []
    parser = markdown.Blocks()
    begin = text.encode()[:at].decode()
    parser.feed(begin)
    for index in range(len(begin), len(text), step):
        piece = text[index : index + step]
        events.append(
            {"event": "delta", "turn": turn, "attempt": attempt, "at": len(text[:index].encode()), "text": piece}
        )
        for block in parser.feed(piece) if blocks else []:
            events.append({"event": "block", "turn": turn, "from": block.start, "to": block.end, "html": block.html})
    return events


def _refusal(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)
