"""Limits: exact over processes, told with their end, changed live, and nobody is kept out where Redis is away."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from limits import RateLimitItemPerMinute

from app.core import redis
from app.services import (
    accounts,
    asking,
    dispatch,
    events,
    limits,
    logins,
    sessions,
    spending,
    sweep,
    throttle,
    tokens,
    turns,
)
from app.services.asking import Asking
from app.services.limits import Kind
from app.services.person import Person
from app.wire import names
from app.wire.errors import BadInput, Busy, NotFound, TooOften
from app.wire.states import Door
from tests.support import nodes
from tests.support.people import Member
from tests.support.servers import Servers


def set_limit(scope: str, kind: Kind, value: Any) -> None:
    limits.set_limit(scope, kind, value, "test", Door.CLI)


def who(member: Member) -> Person:
    return logins.person(member.login)


def _away(*_: object) -> None:
    raise redis.RedisError


def left(member: Member, kind: Kind) -> limits.Left:
    return next(one for one in limits.left(member.id) if one.kind == kind)


def test_prompts_are_counted_and_the_end_is_told(ada: Member, bob: Member) -> None:
    set_limit("member", Kind.PROMPTS, 3)
    for _ in range(3):
        limits.admit(who(ada))
    with pytest.raises(TooOften, match=r"3 prompts a minute. Try again in \d+ seconds") as refused:
        limits.admit(who(ada))
    assert 0 < (refused.value.retry_seconds or 0) <= 60
    with pytest.raises(TooOften):
        limits.admit(who(ada), look=True)
    limits.admit(who(bob))
    limits.admit(who(bob), look=True)
    assert (left(ada, Kind.PROMPTS).left, left(ada, Kind.PROMPTS).of) == (0, 3)
    assert left(bob, Kind.PROMPTS).left == 2


def test_a_prompt_that_is_sent_again_at_the_limit_is_the_turn_it_was(ada: Member, bob: Member) -> None:
    set_limit("member", Kind.PROMPTS, 1)
    session, identity = ada.session(), str(uuid4())
    kept = asking.submit(who(ada), session, identity, "Why?", None, Door.WEB)
    assert asking.submit(who(ada), session, identity, "Why?", None, Door.WEB).turn == kept.turn
    assert asking.retry(who(ada), session, identity, kept.turn, Door.WEB).turn == kept.turn
    with pytest.raises(TooOften):
        asking.submit(who(ada), session, str(uuid4()), "Why?", None, Door.WEB)
    limits.admit(who(bob))
    with pytest.raises(TooOften):
        asking.submit(who(bob), session, identity, "Mine?", None, Door.WEB)


def test_a_turn_whose_end_was_cut_off_is_counted_out_by_the_next_try(ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    set_limit("member", Kind.TURNS, 1)
    nodes.ready()
    session = ada.session()
    asking.submit(who(ada), session, str(uuid4()), "Why?", None, Door.WEB)
    [job] = nodes.jobs()
    with monkeypatch.context() as patch:
        patch.setattr(events, "close_all", _away)
        with pytest.raises(redis.RedisError):
            nodes.finish(job)
    assert not nodes.finish(job)
    assert left(ada, Kind.TURNS).left == 1
    asking.submit(who(ada), session, str(uuid4()), "Why else?", None, Door.WEB)


def test_the_count_is_exact_however_many_ask_at_once(ada: Member) -> None:
    set_limit("ada", Kind.PROMPTS, 25)

    def ask(_: int) -> bool:
        try:
            limits.admit(who(ada))
        except TooOften:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(60))) == 25


def test_ones_own_limit_goes_before_the_roles_and_can_be_given_back(ada: Member) -> None:
    set_limit("role:member", Kind.PROMPTS, 0)
    set_limit("user:ada", Kind.PROMPTS, 1)
    limits.admit(who(ada))
    set_limit("ada", Kind.PROMPTS, None)
    for _ in range(5):
        limits.admit(who(ada))
    set_limit("ada", Kind.PROMPTS, "default")
    with pytest.raises(TooOften):
        limits.admit(who(ada))
    set_limit("member", Kind.PROMPTS, "default")
    assert left(ada, Kind.PROMPTS).of == limits.DEFAULTS["role:member"][Kind.PROMPTS]


def test_a_tokens_own_limit(ada: Member) -> None:
    program = tokens.holder(ada.token)
    set_limit(f"token:{program.token}", Kind.PROMPTS, 1)
    limits.admit(program)
    with pytest.raises(TooOften, match="token"):
        limits.admit(program)
    limits.admit(who(ada))
    limits.admit(replace(program, unlimited=True))


def test_an_address_is_counted_over_all_its_people_and_the_machine_itself_is_not(ada: Member, bob: Member) -> None:
    set_limit("address", Kind.PROMPTS, 2)
    limits.admit(who(ada), "203.0.113.7")
    limits.admit(who(bob), "203.0.113.7")
    with pytest.raises(TooOften, match="address"):
        limits.admit(who(bob), "203.0.113.7")
    limits.admit(who(bob), "203.0.113.8")
    for _ in range(5):
        limits.admit(who(ada), "127.0.0.1")
    # One customer has a whole /64 of IPv6.
    limits.admit(who(ada), "2001:db8::1")
    limits.admit(who(ada), "2001:db8::2")
    with pytest.raises(TooOften):
        limits.admit(who(ada), "2001:db8::ffff")


def test_tokens_of_a_day_are_counted_when_turns_end_and_again_from_the_rows(ada: Member) -> None:
    nodes.ready()
    set_limit("ada", Kind.TOKENS, 100)
    session = ada.session()
    for _ in range(2):
        asking.submit(who(ada), session, str(uuid4()), "Why?", None, Door.WEB)
        [job] = nodes.jobs()
        nodes.finish(job, prompt_tokens=40, completion_tokens=20)
    assert left(ada, Kind.TOKENS).left == 0
    for _ in range(2):
        with pytest.raises(TooOften, match="tokens of today"):
            asking.submit(who(ada), session, str(uuid4()), "Why?", None, Door.WEB)
        redis.client().flushall()
    set_limit("ada", Kind.TOKENS, 121)
    assert left(ada, Kind.TOKENS).left == 1
    asking.submit(who(ada), session, str(uuid4()), "Why?", None, Door.WEB)


def test_what_was_deleted_stays_counted_where_more_becomes_ones_own(ada: Member) -> None:
    set_limit("ada", Kind.TOKENS, 5)
    nodes.ready()
    session = ada.session()
    ask(who(ada), session)
    [job] = nodes.jobs()
    nodes.finish(job)
    assert left(ada, Kind.TOKENS).left == 0
    sessions.remove(session, ada.id)
    spending.recount(ada.id)
    assert left(ada, Kind.TOKENS).left == 0


def test_pages_open_at_once(ada: Member, bob: Member) -> None:
    set_limit("member", Kind.SOCKETS, 2)
    pages = [limits.open_page(who(ada)) for _ in range(2)]
    with pytest.raises(Busy, match="Close one"):
        limits.open_page(who(ada))
    assert limits.open_page(who(ada), page=pages[0]) == pages[0], "one that is counted stays"
    limits.open_page(who(bob))
    limits.close_page(who(ada), "", pages[0])
    assert left(ada, Kind.SOCKETS).left == 1
    limits.open_page(who(ada))


def test_a_page_of_a_process_that_was_killed_is_forgotten(ada: Member) -> None:
    set_limit("member", Kind.SOCKETS, 1)
    limits.open_page(who(ada))
    key = f"ml:pages:user:{ada.id}"
    [(page, score)] = redis.client().zrange(key, 0, -1, withscores=True)
    redis.client().zadd(key, {page: score - limits.SOCKET_SECONDS - 1})
    limits.open_page(who(ada))


def test_nobody_is_kept_out_where_redis_is_away(ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    person = who(ada)
    set_limit("member", Kind.PROMPTS, 0)
    monkeypatch.setattr(limits, "_limiter", _away)
    limits.admit(person)


@pytest.mark.parametrize(
    ("scope", "kind", "value", "error"),
    [
        ("nobody", "prompts", 1, NotFound),
        ("token:7", "prompts", 1, NotFound),
        ("user:", "prompts", 1, NotFound),
        ("member", "wishes", 1, BadInput),
        ("member", "prompts", -1, BadInput),
        ("member", "prompts", "many", BadInput),
        ("member", "prompts", 10**30, BadInput),
        ("user:a\0da", "prompts", 1, BadInput),
    ],
)
def test_a_limit_that_cannot_be_is_refused(servers: Servers, scope: str, kind: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        limits.set_limit(scope, kind, value, "test", Door.CLI)


def test_the_table_shows_what_was_changed(ada: Member) -> None:
    set_limit("ada", Kind.TOKENS, 7)
    rows = {name: (held, changed) for _, name, held, changed in limits.table()}
    assert rows["ada"][0][Kind.TOKENS] == 7
    assert rows["ada"][1] == {Kind.TOKENS}
    assert rows["member"][1] == frozenset()


def ask(person: Person, session: str, address: str = "") -> str:
    return asking.submit(person, session, str(uuid4()), "Why?", None, Door.WEB, address=address).turn


@pytest.mark.parametrize("scope", ["member", "ada", "token", "address"])
def test_turns_at_once(ada: Member, scope: str) -> None:
    nodes.ready("home", 0)
    person, session = tokens.holder(ada.token), ada.session()
    set_limit(f"token:{person.token}" if scope == "token" else scope, Kind.TURNS, 2)
    first, _ = ask(person, session, "10.0.0.7"), ask(person, session, "10.0.0.7")
    with pytest.raises(Busy, match="2 turns at once"):
        ask(person, session, "10.0.0.7")
    turns.stop(first, ada.id)
    client = str(uuid4())
    for _ in range(2):  # Sent again, it is the same turn.
        asking.submit(person, session, client, "Why?", None, Door.WEB, address="10.0.0.7")
    with pytest.raises(Busy):
        ask(person, session, "10.0.0.7")
    nodes.ready("home", 4)
    dispatch.dispatch()
    for job in nodes.jobs():
        nodes.finish(job)
    ask(person, session, "10.0.0.7")


@pytest.mark.parametrize("how", ["bent", "foreign", "another door", "in one moment"])
def test_an_id_that_is_used_again_counts_nothing_out(ada: Member, bob: Member, how: str) -> None:
    """A try that comes to nothing takes back no more than itself: the turn that bears its id stays counted."""
    nodes.ready("home", 0)
    person, session, client = tokens.holder(ada.token), ada.session(), str(uuid4())
    scope = f"token:{person.token}" if how == "another door" else "ada"
    set_limit(scope, Kind.TURNS, 1)
    good = Asking(person, session, client, "Why?", None, Door.WEB)
    bad = replace(good, parent="z" * 32)
    if how == "foreign":
        bad = replace(good, model="nobody-has-it")
    if how == "another door":
        bad = replace(bad, who=who(ada))
    for many in ([bad, good, bad],) if how == "in one moment" else ([good], [bad], [bad]):
        asking.submit_all(many)
    with pytest.raises(Busy):
        ask(person, session)
    [turn] = sessions.unfinished(session, ada.id)
    turns.stop(turn, ada.id)
    ask(person, session)


@pytest.mark.parametrize("again", ["prompt", "retry"])
def test_what_is_sent_again_after_its_end_counts_nothing(ada: Member, again: str) -> None:
    set_limit("ada", Kind.TURNS, 2)
    nodes.ready()
    session, client = ada.session(), str(uuid4())
    first = asking.submit(who(ada), session, client, "Why?", None, Door.WEB)
    [job] = nodes.jobs()
    nodes.finish(job)
    if again == "prompt":
        asking.submit(who(ada), session, client, "Why?", None, Door.WEB)
    else:
        asking.retry(who(ada), session, client, first.turn, Door.WEB)
    assert left(ada, Kind.TURNS).left == 2


def test_a_token_spends_its_tokens_whoever_sends_the_id_again(ada: Member) -> None:
    nodes.ready()
    person, session, client = tokens.holder(ada.token), ada.session(), str(uuid4())
    set_limit(f"token:{person.token}", Kind.TOKENS, 5)
    set_limit("ada", Kind.TURNS, 5)
    first = Asking(person, session, client, "Why?", None, Door.WEB)
    asking.submit_all([first])
    asking.submit_all([replace(first, who=who(ada))])
    [job] = nodes.jobs()
    nodes.finish(job)
    with pytest.raises(TooOften, match="used up for today: 5"):
        ask(person, session)


@pytest.mark.parametrize("scope", ["token", "address"])
def test_tokens_a_day_of_a_token_and_of_an_address(ada: Member, scope: str) -> None:
    nodes.ready()
    person, session = tokens.holder(ada.token), ada.session()
    set_limit(f"token:{person.token}" if scope == "token" else scope, Kind.TOKENS, 5)
    ask(person, session, "10.0.0.7")
    [job] = nodes.jobs()
    nodes.finish(job)
    with pytest.raises(TooOften, match="used up for today: 5"):
        ask(person, session, "10.0.0.7")
    ask(who(ada), session)


@pytest.mark.parametrize("scope", ["ada", "token", "address"])
def test_a_conversation_deleted_mid_reply_takes_its_tokens_all_the_same(ada: Member, scope: str) -> None:
    nodes.ready()
    person, session = tokens.holder(ada.token), ada.session()
    set_limit(f"token:{person.token}" if scope == "token" else scope, Kind.TOKENS, 9)
    ask(person, session, "10.0.0.7")
    [job] = nodes.jobs()
    sessions.remove(session, ada.id)
    forged = replace(job, session=ada.session())
    assert not nodes.finish(forged, prompt_tokens=90), "it is another session's"
    for _ in range(2):  # Brought twice, it is counted once.
        assert not nodes.finish(job)
    again = ada.session()
    ask(person, again, "10.0.0.7")
    [job] = nodes.jobs()
    assert nodes.finish(job)
    with pytest.raises(TooOften, match=r"used up.*: 9|tokens of today.*: 9"):
        ask(person, again, "10.0.0.7")


def test_pages_of_a_token(ada: Member) -> None:
    person = tokens.holder(ada.token)
    set_limit(f"token:{person.token}", Kind.SOCKETS, 1)
    page = limits.open_page(person)
    with pytest.raises(Busy):
        limits.open_page(person)
    limits.close_page(person, "", page)
    limits.open_page(person)


@pytest.mark.parametrize(("scope", "name", "address"), [("name", "grace", ""), ("address", "", "10.0.0.7")])
def test_tries_to_sign_in(servers: Servers, scope: str, name: str, address: str) -> None:
    set_limit(scope, Kind.TRIES, 2)
    for _ in range(2):
        throttle.count(name, address)
    with pytest.raises(TooOften, match="Too many tries"):
        throttle.count(name, address)
    with pytest.raises(BadInput, match="has tries"):
        set_limit("name", Kind.PROMPTS, 2)


def test_nobody_is_a_new_guest_each_time(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GUESTS", RateLimitItemPerMinute(2, 10))
    for _ in range(2):
        accounts.enter_as_guest("", "127.0.0.1")
    with pytest.raises(TooOften, match="new guests"):
        accounts.enter_as_guest("", "127.0.0.1")


def test_waiting_turns_end_where_the_day_is_used_up_before_them(ada: Member, bob: Member) -> None:
    """Many prompts were taken while the day was not yet spent: no more than one a slot goes over it."""
    nodes.ready(slots=1)
    set_limit("ada", Kind.TOKENS, 100)
    session = ada.session()
    for _ in range(4):
        asking.submit(who(ada), session, str(uuid4()), "Why?", None, Door.WEB)
    hers = asking.submit(who(bob), bob.session(), str(uuid4()), "And mine?", None, Door.WEB)
    [job] = nodes.jobs()
    nodes.finish(job, prompt_tokens=60, completion_tokens=60)
    [job] = nodes.jobs()
    assert job.turn == hers.turn, "another's waits for nothing"
    nodes.finish(job)
    assert nodes.jobs() == []
    assert sweep.sweep() == 3
    assert nodes.jobs() == []
    ended = [one for one in sessions.show(session, ada.id).turns if one["state"] == "failed"]
    assert len(ended) == 3
    for one in ended:
        assert one["reason"].startswith("Your tokens of today are used up: 100. The day ends at midnight UTC")
        kind, _, facts = turns.ending(one["id"]) or pytest.fail("not ended")
        assert (kind, facts["retry"]) == ("failed", True)
    assert sweep.sweep() == 0
    # More is allowed: what ended so is asked again as anything that failed is.
    set_limit("ada", Kind.TOKENS, 200)
    again = asking.retry(who(ada), session, str(uuid4()), ended[0]["id"], Door.WEB)
    [job] = nodes.jobs()
    assert job.turn == again.turn


def test_what_waits_goes_on_where_there_is_something_left_after_all(ada: Member) -> None:
    nodes.ready(slots=1)
    set_limit("ada", Kind.TOKENS, 100)
    session = ada.session()
    kept = [asking.submit(who(ada), session, str(uuid4()), "Why?", None, Door.WEB).turn for _ in range(3)]
    [job] = nodes.jobs()
    nodes.finish(job, prompt_tokens=60, completion_tokens=60)
    set_limit("ada", Kind.TOKENS, 150)
    sweep.sweep()
    [job] = nodes.jobs()
    assert job.turn == kept[1]
    # A new day, or a Redis that was emptied: what was used is counted again before another one is given out.
    for key in redis.client().keys(names.tokens_used(ada.id, "*")):
        redis.client().set(key, "nonsense")
    nodes.finish(job, prompt_tokens=1, completion_tokens=1)
    assert nodes.jobs() == []
    for key in redis.client().keys(names.tokens_used(ada.id, "*")):
        redis.client().delete(key)
    sweep.sweep()
    [job] = nodes.jobs()
    assert job.turn == kept[2]


def test_a_turn_that_was_begun_may_go_on_and_unlimited_ones_always(ada: Member) -> None:
    nodes.ready(slots=2)
    set_limit("ada", Kind.TOKENS, 100)
    session = ada.session()
    for _ in range(2):
        asking.submit(who(ada), session, str(uuid4()), "Why?", None, Door.WEB)
    first, second = nodes.jobs()
    nodes.finish(first, prompt_tokens=60, completion_tokens=60)
    assert turns.again(second.turn, second.attempt, "its node fell silent")
    [job] = nodes.jobs()
    assert (job.turn, job.attempt) == (second.turn, 2)
    asking.submit(replace(who(ada), unlimited=True), session, str(uuid4()), "Why?", None, Door.API)
    assert len(nodes.jobs()) == 1
