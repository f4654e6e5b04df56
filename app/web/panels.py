"""The pages beside the chat: their list, and the one shell that they share.

To add a panel:

1. Add a line to `PANELS`: path, title, the right it needs, and the group in the list on the left. Who lacks the right
   does not see it there.
2. Write its route in a module of its own, `include_in_schema=False`, and include its router in `app.web.main.create`:

       @router.get("/audit", response_class=HTMLResponse)
       async def page(request: Request, who: Annotated[Person, needs(Right.SEE_AUDIT)]) -> Response:
           rows = await asyncio.to_thread(audit.listed)
           return panels.show(request, who, "audit.html", rows=rows)

   Who is not signed in is sent to the sign-in form and back; who lacks the right sees a page that says so.
3. Write its template: `{% extends "panel.html" %}`, `{% block lead %}` for the one sentence below the title,
   `{% block content %}` for the rest. The page is rendered by the server and works at once; no script or style stands
   in it (the content security policy would not run it).

What a template may use (static/panel.css):

- `<section class="part">` with `<h2>` and `<p class="about">`: one subject; `class="part wide"` for wide ones;
- `<dl class="tiles"><div class="tile"><dt>Turns today</dt><dd>128</dd><dd class="beside">4 failed</dd></div></dl>`;
- `<div class="scroll"><table class="rows">`: a table; on a phone each row is a card, with `<td data-label="Name">`
  before each cell; `<td class="figure">` for numbers, `<td class="does">` for the buttons at the end;
- `<figure class="plot"><img alt="…" src="…"><figcaption>`: a picture, drawn by the server, light in both modes or, with
  `<picture><source media="(prefers-color-scheme: dark)" …>`, one for each;
- `<span class="mark-ok|mark-warn|mark-off">`: a state in one word; `<p class="notice-box good|warn">`: what must be read;
- `<form class="fields">` with `<p class="field"><label>…<input>`, `<p class="field check">`, `<select>`, `<textarea>`;
- `<time datetime="{{ at.isoformat() }}">`: shown in the reader's own zone and words; `data-ago` says "3 minutes ago".

Changes go to a JSON route below `/api/`, sent by static/panel.js without any script of the panel's own:

- `<form data-send="POST /api/limits" data-done="The limit is changed.">`: the fields as a JSON object (numbers for
  `type=number`, true or false for check boxes, null for what is empty and `data-null`);
- `<button data-send="DELETE /api/tokens/1" data-ask="Revoke this token?" data-yes="Revoke">`: asks before;
- `data-then`: `reload` (the default), `stay`, or the path of ours to go to; `data-done` is said in a toast afterwards;
- `data-show="shown-once"`: the answer's field `secret` is put into `<output class="secret" id="shown-once" hidden>` with a
  button that copies it, and the page stays;
- an error of the route is said in the form's `<p class="error" role="alert">`, or in a toast.

A panel that needs more brings a module of its own: `{% block head %}{{ super() }}<script type="module" …>`.
"""

from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request
from fastapi.responses import Response

from app.services.accounts import Person
from app.services.rights import Right
from app.web.pages import VERSION, templates


@dataclass(frozen=True, slots=True)
class Panel:
    """A page beside the chat."""

    path: str
    title: str
    right: Right
    group: str = "Platform"


PANELS: Final = (
    Panel("/account", "Account", Right.OWN_ACCOUNT, "You"),
    Panel("/archive", "Archive", Right.CHAT, "You"),
    Panel("/discord", "Discord", Right.LINK, "You"),
    Panel("/tokens", "Tokens", Right.MANAGE_TOKENS, "You"),
    Panel("/nodes", "Nodes", Right.SEE_NODES),
    Panel("/admin", "Overview", Right.SEE_METRICS),
    Panel("/admin/metrics", "Metrics", Right.SEE_METRICS),
    Panel("/people", "People", Right.MANAGE_PEOPLE),
    Panel("/admin/limits", "Limits", Right.SET_LIMITS),
    Panel("/admin/audit", "Audit", Right.SEE_AUDIT),
    Panel("/backups", "Backups and schedule", Right.BACKUP),
    Panel("/flower", "Tasks (Flower)", Right.SEE_TASKS),
)
"""In the order in which the list shows them."""


def listed(who: Person) -> dict[str, list[Panel]]:
    """Return the panels that somebody may open, by group."""
    groups: dict[str, list[Panel]] = {}
    for panel in PANELS:
        if who.may(panel.right):
            groups.setdefault(panel.group, []).append(panel)
    return groups


def show(request: Request, who: Person, template: str, status: int = 200, **context: Any) -> Response:
    """Render a panel's template inside the shell; the panel is the one whose path the request's begins with."""
    path = request.url.path
    below = [one for one in PANELS if path == one.path or path.startswith(one.path + "/")]
    here = max(below, key=lambda one: len(one.path), default=None)
    shell = {"who": who, "panels": listed(who), "here": here, "version": VERSION}
    return templates.TemplateResponse(request, template, shell | context, status)
