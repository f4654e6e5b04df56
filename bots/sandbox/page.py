"""The page at /: the guild as a person sees it; everything it does goes through the control API."""

import hmac
from pathlib import Path
from typing import Final

from aiohttp import web

from bots.sandbox.control import COOKIE, allowed
from bots.sandbox.world import WORLD

STATIC: Final = Path(__file__).parent / "static"
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def routes(app: web.Application) -> None:
    """Serve it."""
    app.router.add_get("/", _page)
    app.router.add_post("/", _enter)
    app.router.add_get("/static/{name:page\\.css|page\\.js|icon\\.svg}", _file)


async def _page(request: web.Request) -> web.StreamResponse:
    if token := request.query.get("token"):
        return _let_in(request, token)
    name = "page.html" if allowed(request.app[WORLD], request) else "enter.html"
    return web.FileResponse(STATIC / name, headers=HEADERS)


async def _enter(request: web.Request) -> web.StreamResponse:
    form = await request.post()
    return _let_in(request, str(form.get("token", "")))


def _let_in(request: web.Request, token: str) -> web.StreamResponse:
    """Keep the control token in a cookie, so that it leaves the address bar."""
    expected = request.app[WORLD].store.state.control_token
    response = web.Response(status=303, headers={"Location": "/"})
    if hmac.compare_digest(token.encode(), expected.encode()):
        response.set_cookie(COOKIE, token, httponly=True, samesite="Strict", path="/")
    return response


async def _file(request: web.Request) -> web.StreamResponse:
    return web.FileResponse(STATIC / request.match_info["name"], headers=HEADERS)
