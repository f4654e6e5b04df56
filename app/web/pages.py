"""The pages that one sees before all others: the chat, the forms to sign in and to sign up, and what went wrong."""

from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.templating import Jinja2Templates

from app.core.config import settings
from app.services import providers, sessions
from app.services.person import VISITOR
from app.web.deps import clear_cookie, may_be_guest, person
from app.wire.errors import NotSignedIn

router = APIRouter(include_in_schema=False)
templates = Jinja2Templates(Path(__file__).parent / "templates")
VERSION = version("meatlizard")


async def _chat(request: Request, session: str | None) -> Response:
    stale = False
    try:
        who = await person(request)
    except NotSignedIn:
        if not may_be_guest(request):
            return RedirectResponse("/login", 303) if session is None else to_sign_in(request)
        who, stale = VISITOR, True
    # Guests are all called so: what the browser keeps for one is there again when they have a row.
    user = {"name": "guest" if who.guest else who.name, "role": who.role, "guest": who.guest}
    context = {"user": user, "session_id": session, "version": VERSION}
    response = templates.TemplateResponse(request, "chat.html", context)
    if stale:  # What the page asks for next is asked as a guest, not with a login that has ended.
        clear_cookie(response)
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
    # Nothing but an id: the page's script asks for addresses that are made with it.
    return await _chat(request, str(sessions.parse_id(session)))


@router.get("/login", response_class=HTMLResponse)
async def login_page(request: Request) -> Response:
    """Show the sign-in form."""
    return _form(request, "login.html")


@router.get("/join", response_class=HTMLResponse)
async def join_page(request: Request) -> Response:
    """Show the sign-up form; the invitation stands behind the # of the address, which no server gets to see."""
    return _form(request, "join.html")


def _form(request: Request, template: str) -> Response:
    context = {"user": None, "version": VERSION, "sign_up": settings().sign_up, "providers": providers.offered()}
    return templates.TemplateResponse(request, template, context)
