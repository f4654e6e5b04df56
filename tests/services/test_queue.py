"""The fair queue: everyone in turn, never more than a node's slots, and places that are true."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from app.core import redis
from app.services import dispatch, estimate, queue, sessions, shares
from app.services.queue import Lease
from app.wire import names
from app.wire.errors import BadInput, Busy
from app.wire.states import Door
from tests.support import nodes
from tests.support.people import Member
from tests.support.picking import pick
from tests.support.servers import Servers

quick = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def wait(turn: str, user: str, attempt: int = 1, **more: object) -> bool:
    return queue.enqueue(turn, user, "session", attempt, **more)  # type: ignore[arg-type]


def pick_all() -> list[Lease]:
    found = []
    while lease := pick():
        found.append(lease)
    return found


def beats(**slots: int) -> None:
    client = redis.client()
    for name, count in slots.items():
        client.sadd(names.NODES, name)
        client.hset(names.node_key(name), mapping={"state": "ready", "slots": count, "lane": "queue"})


@quick
@given(some.lists(some.sampled_from("abcd"), max_size=20))
def test_round_robin(servers: Servers, users: list[str]) -> None:
    """Nobody is served twice while somebody waits who was served less; each in the order in which they asked."""
    redis.client().flushall()
    beats(home=1)
    for number, user in enumerate(users):
        wait(f"{user}{number}", user)
    told = queue.waiting()
    served = []
    while lease := pick():
        served.append(lease.turn)
        queue.release(lease.turn, lease.attempt)
    assert served == told
    assert Counter(served) == Counter(f"{user}{number}" for number, user in enumerate(users))
    for user in set(users):
        own = [int(turn[1:]) for turn in served if turn[0] == user]
        assert own == sorted(own)
    total = Counter(users)
    so_far: Counter[str] = Counter()
    for turn in served:
        so_far[turn[0]] += 1
        still = [user for user in total if so_far[user] < total[user]]
        assert all(so_far[turn[0]] - so_far[user] <= 1 for user in still)


@quick
@given(some.dictionaries(some.sampled_from(["home", "away", "third"]), some.integers(1, 3)), some.integers(0, 12))
def test_never_more_than_the_slots(servers: Servers, slots: dict[str, int], turns: int) -> None:
    redis.client().flushall()
    beats(**slots)
    for number in range(turns):
        wait(f"t{number}", f"u{number % 3}")
    leases = pick_all()
    assert len(leases) == min(turns, sum(slots.values()))
    taken = Counter(lease.node for lease in leases)
    assert all(taken[name] <= count for name, count in slots.items())
    assert {name: redis.client().scard(names.node_leases(name)) for name in slots} == {name: taken[name] for name in slots}


def test_queued_once_however_often(servers: Servers) -> None:
    assert wait("t", "u")
    assert not wait("t", "u")
    beats(home=1)
    assert [lease.turn for lease in pick_all()] == ["t"]
    assert not wait("t", "u"), "this attempt was given out before"
    assert wait("t", "u", attempt=2)


def test_a_second_attempt_gives_the_first_ones_slot_back_and_stands_in_front(servers: Servers) -> None:
    beats(home=1)
    wait("t", "u")
    assert pick_all()
    wait("later", "u")
    assert pick() is None
    assert wait("t", "u", attempt=2, front=True)
    assert [(lease.turn, lease.attempt) for lease in pick_all()] == [("t", 2)]


def test_an_older_attempt_frees_no_newer_ones_slot(servers: Servers) -> None:
    beats(home=1)
    wait("t", "u")
    pick_all()
    wait("t", "u", attempt=2)
    pick_all()
    queue.release("t", 1)
    assert redis.client().scard(names.node_leases("home")) == 1
    queue.release("t", 2)
    queue.release("t", 2)
    assert redis.client().scard(names.node_leases("home")) == 0
    assert redis.client().zcard(names.LEASES) == 0


def test_removed_from_the_middle(servers: Servers) -> None:
    for turn in ("a", "b", "c"):
        wait(turn, "u")
    wait("x", "v")
    assert queue.remove("b", "u")
    assert not queue.remove("b", "u")
    assert queue.waiting() == ["a", "x", "c"]
    assert queue.remove("x", "v")
    beats(home=9)
    assert [lease.turn for lease in pick_all()] == ["a", "c"]
    assert redis.client().llen(names.RING) == 0


def test_the_node_that_knows_the_conversation_is_preferred(servers: Servers) -> None:
    beats(home=2, away=2)
    for number in range(3):
        wait(f"t{number}", "u", affinity="away")
    assert Counter(lease.node for lease in pick_all()) == {"away": 2, "home": 1}


def test_a_node_that_is_not_ready_gets_nothing(servers: Servers) -> None:
    beats(home=1)
    redis.client().hset(names.node_key("home"), "state", "draining")
    wait("t", "u")
    assert pick() is None
    redis.client().delete(names.node_key("home"))
    assert pick() is None


def test_a_forgotten_turn_does_not_stop_the_others(servers: Servers) -> None:
    beats(home=1)
    wait("gone", "u")
    wait("here", "v")
    redis.client().delete(names.turn_meta("gone"))
    assert [lease.turn for lease in pick_all()] == ["here"]


def test_places_and_time_left(ada: Member, bob: Member) -> None:
    session = ada.session()
    first, second = ada.ask(session).turn, ada.ask(session).turn
    other = bob.ask(bob.session()).turn
    assert [dispatch.place(turn) for turn in (first, other, second)] == [(1, None), (2, None), (3, None)]
    nodes.ready(slots=1)
    for seconds in (20, 40, 60):
        estimate.remember("home", seconds * 1000)
    redis.client().lpush(names.node_recent("home"), "what nobody of us wrote")
    dispatch.dispatch()
    dispatch.announce_places()
    assert dispatch.place(first) is None
    place, eta = dispatch.place(other) or (0, 0.0)
    assert place == 1
    assert eta == pytest.approx(40, abs=10), "what is left of the turn that runs"
    place, later = dispatch.place(second) or (0, 0.0)
    assert place == 2
    assert later == pytest.approx((eta or 0) + 40, abs=10)


def test_what_is_told_to_a_turn_that_has_left_does_not_stay(ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    turn = ada.ask(ada.session()).turn
    places = estimate.places(10)
    redis.client().delete(names.turn_meta(turn))
    monkeypatch.setattr(estimate, "places", lambda _: places)
    dispatch.announce_places()
    assert redis.client().hget(names.turn_meta(turn), "place")
    assert redis.client().ttl(names.turn_meta(turn)) > 0


def test_dispatch_sends_sealed_jobs_to_the_nodes_queue(ada: Member) -> None:
    nodes.ready(slots=1)
    turn = ada.ask(ada.session(), "MARKER").turn
    ada.ask(ada.session(), "Waits")
    raw = redis.client().lrange(names.inference_queue("home"), 0, -1)
    assert len(raw) == 1
    assert b"MARKER" not in raw[0]
    [job] = nodes.jobs()
    assert (job.turn, job.attempt, job.prefix) == (turn, 1, "")
    assert [message["role"] for message in job.messages] == ["system", "user"]
    assert job.messages[-1]["content"] == "MARKER"
    assert {"temperature", "top_p", "max_tokens"} <= set(job.sampling)


def test_a_node_is_sent_the_newest_part_of_an_endless_conversation(ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes.ready()
    session, parent = ada.session(), None
    for number in range(12):
        ada.ask(session, f"{number}? {'x' * 1000}", parent)
        [job] = nodes.jobs()
        nodes.finish(job, f"{number}. {'y' * 1000}")
        parent = str(sessions.tip(session, ada.id))
    assert (len(job.messages), job.left_out) == (2 * 12, 0), "the system's, and all of it"
    monkeypatch.setattr(dispatch, "CONVERSATION_BYTES", 16_384)
    ada.ask(session, "And now?", parent)
    [job] = nodes.jobs()
    roles = [message["role"] for message in job.messages]
    assert roles[:2] == ["system", "user"]
    assert 4 < len(roles) < 20
    assert job.left_out == 2 * 12 + 1 - (len(roles) - 1), "what did not come along, a reply without its question among it"
    assert job.messages[-2]["content"].startswith("11. y")
    assert job.messages[-1]["content"] == "And now?"
    nodes.finish(job)
    ada.ask(session, "x" * 20_000, parent)
    [job] = nodes.jobs()
    assert [message["role"] for message in job.messages] == ["system", "user"], "the prompt itself always goes along"
    assert job.left_out == 2 * 12


def test_a_weight_of_three_is_served_three_times_as_often(servers: Servers) -> None:
    beats(home=1)
    for number in range(9):
        wait(f"a{number}", "a", weight=3)
        wait(f"b{number}", "b")
    served = []
    for _ in range(8):
        lease = pick()
        assert lease is not None
        served.append(lease.turn[0])
        queue.release(lease.turn, lease.attempt)
    assert Counter(served) == {"a": 6, "b": 2}


def test_fifty_prompts_of_one_delay_anothers_by_one_turn(servers: Servers) -> None:
    beats(home=1)
    for number in range(50):
        wait(f"many{number}", "many")
    first = pick()
    assert first is not None
    wait("one", "other")
    queue.release(first.turn, first.attempt)
    assert queue.waiting(1) == ["one"]
    assert [lease.turn for lease in pick_all()] == ["one"]


def test_who_may_run_two_at_once_lets_others_pass(servers: Servers) -> None:
    beats(home=4)
    for number in range(4):
        wait(f"a{number}", "a", most=2)
    wait("b0", "b")
    leases = pick_all()
    assert [lease.turn for lease in leases] == ["a0", "b0", "a1"]
    queue.release("a0", 1)
    assert [lease.turn for lease in pick_all()] == ["a2"]


def test_a_model_is_waited_for_and_keeps_nobody_else_waiting(servers: Servers) -> None:
    beats(home=2)
    redis.client().hset(names.node_key("home"), "model", "small")
    wait("wants", "a", model="large")
    wait("any", "a")
    wait("small", "b", model="small")
    assert {lease.turn for lease in pick_all()} == {"any", "small"}
    beats(away=1)
    redis.client().hset(names.node_key("away"), "model", "large")
    assert [(lease.turn, lease.node) for lease in pick_all()] == [("wants", "away")]


def test_limits_are_changed_while_everything_runs(ada: Member, bob: Member) -> None:
    shares.set_share("role:member", "test", Door.CLI, waiting=1, running=1)
    shares.set_share(f"user:{bob.id}", "test", Door.CLI, waiting=2)
    session = ada.session()
    ada.ask(session)
    with pytest.raises(Busy, match="1 prompts waiting already"):
        ada.ask(session)
    for _ in range(2):
        bob.ask(bob.session())
    with pytest.raises(Busy):
        bob.ask(bob.session())
    for scope, values in (("role:nobody", {}), ("x", {}), ("role:member", {"weight": 11}), ("role:member", {"waiting": 0})):
        with pytest.raises(BadInput):
            shares.set_share(scope, "test", Door.CLI, **values)
