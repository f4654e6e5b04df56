"""The pages: the chat and the sign-in form."""

import asyncio
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.templating import Jinja2Templates

from app.services import accounts
from app.web import deps
from app.web.deps import may_be_guest, person
from app.wire.errors import NotSignedIn

router = APIRouter(include_in_schema=False)
templates = Jinja2Templates(Path(__file__).parent / "templates")
VERSION = version("meatlizard")


def address(request: Request) -> str:
    """Return where a request comes from, as far as it is known."""
    return request.client.host if request.client else ""


async def _chat(request: Request, session: str | None) -> Response:
    token = None
    try:
        who = await person(request)
    except NotSignedIn:
        if not may_be_guest(request):
            return RedirectResponse("/login", 303)
        token = await asyncio.to_thread(
            accounts.enter_as_guest, request.headers.get("user-agent", ""), address(request)
        )
        who = await asyncio.to_thread(accounts.by_login, token)
    context = {"user": {"name": who.name, "role": who.role, "guest": who.guest}, "session_id": session, "version": VERSION}
    response = templates.TemplateResponse(request, "chat.html", context)
    if token:
        deps.set_cookie(response, token)
    return response


def to_sign_in(request: Request) -> Response:
    """Send somebody to the sign-in form, which leads them back here; the address is one of ours by its form."""
    url = request.url
    here = url.path + (f"?{url.query}" if url.query else "")
    return RedirectResponse(f"/login?{urlencode({'next': here})}", 303)


def error_page(request: Request, status: int, message: str) -> Response:
    """Show a person who followed an address what is wrong with it."""
    title = {403: "Not yours to do", 404: "Not here", 503: "Not right now"}.get(status, "Not so")
    context = {"user": None, "version": VERSION, "title": title, "message": message}
    return templates.TemplateResponse(request, "error.html", context, status)


@router.get("/", response_class=HTMLResponse)
async def home(request: Request) -> Response:
    """Show the chat with nothing opened."""
    return await _chat(request, None)


@router.get("/s/{session}", response_class=HTMLResponse)
async def session_page(request: Request, session: str) -> Response:
    """Show the chat with one session opened; whether it is theirs the page finds out when it asks for it."""
    return await _chat(request, session)


@router.get("/login", response_class=HTMLResponse)
async def login_page(request: Request) -> Response:
    """Show the sign-in form."""
    return templates.TemplateResponse(request, "login.html", {"user": None, "error": None, "version": VERSION})
