"""Prompts that come together are taken in together; an accident with one of them is not the others'."""

import asyncio
from typing import Any
from uuid import uuid4

from app.services import logins
from app.services.asking import Asking
from app.web.intake import Intake, Taken
from app.wire.states import Door
from tests.support import nodes
from tests.support.people import Member


async def test_an_accident_with_one_is_not_the_others(ada: Member, bob: Member) -> None:
    nodes.ready(slots=8)
    intake = Intake()

    def asking(who: Member, **sampling: Any) -> Asking:
        return Asking(logins.person(who.login), who.session(), str(uuid4()), "Why?", None, Door.API, sampling)

    bent = {"response_format": {"const": 10**30}}  # No JSON that can be written.
    asked = [asking(bob, temperature=0.5), asking(ada, **bent), asking(bob), asking(ada, **bent), asking(bob)]
    answers = await asyncio.gather(*(intake.submit(one) for one in asked), return_exceptions=True)
    kept = [one.turn.turn for one in answers if isinstance(one, Taken)]
    assert [isinstance(one, TypeError) for one in answers] == [False, True, False, True, False]
    assert sorted(job.turn for job in nodes.jobs()) == sorted(kept)
    assert len(kept) == 3
