"""The account page: who one is here, and where one is signed in."""

from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from app.services.accounts import Person
from app.services.rights import Right
from app.web import panels
from app.web.deps import needs

router = APIRouter(include_in_schema=False)


@router.get("/account", response_class=HTMLResponse)
async def account_page(request: Request, who: Annotated[Person, needs(Right.OWN_ACCOUNT)]) -> Response:
    """Show one's account."""
    return panels.show(request, who, "account.html")
