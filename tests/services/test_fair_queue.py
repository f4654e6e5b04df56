"""The fair queue under any history: who asks, waits, is served, lost, stopped, and nodes that come, rest and go."""

from collections import Counter, defaultdict

from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.core import redis
from app.services import queue
from app.wire import names
from tests.support.long import times
from tests.support.picking import pick
from tests.support.servers import Servers

WEIGHT = {"ada": 1, "bob": 1, "cid": 3, "dan": 1}
MOST = {"ada": 0, "bob": 0, "cid": 2, "dan": 1}
"""How many of theirs may run at once; 0 is no limit."""
NODES = {"home": (2, "small"), "away": (1, "large"), "loft": (1, "small")}
"""Slots and model."""
HELD = "ml:queue:held"
"""Whose turns run, in the queue's own books (app.core.queueing)."""
USERS = some.sampled_from(sorted(WEIGHT))


class Fair(RuleBasedStateMachine):
    """A plain model beside the real functions in Valkey."""

    def __init__(self) -> None:
        super().__init__()
        redis.client().flushall()
        self.number = 0
        self.waits: dict[str, list[str]] = defaultdict(list)
        """Each person's turns, in their order."""
        self.wish: dict[str, tuple[str, str]] = {}
        """Model and node that a turn would like."""
        self.attempt: dict[str, int] = {}
        self.runs: dict[str, tuple[str, str]] = {}
        """Who and where."""
        self.resting: set[str] = set()
        self.gone = set(NODES)
        self.in_front: set[str] = set()
        """Those who have a turn that lost its node."""
        self.passed: dict[str, Counter[str]] = defaultdict(Counter)
        """By whom somebody who could have been served was passed, since they wait for this turn."""
        self.served: set[str] = set()

    # The model's own view

    def open_nodes(self) -> dict[str, int]:
        taken = Counter(node for _, node in self.runs.values())
        here = {name: slots - taken[name] for name, (slots, _) in NODES.items() if name not in self.gone | self.resting}
        return {name: left for name, left in here.items() if left > 0}

    def fits(self, turn: str, node: str) -> bool:
        return self.wish[turn][0] in ("", NODES[node][1])

    def could(self, user: str, free: dict[str, int]) -> str | None:
        """The turn that this person would be served next, were it their turn."""
        if MOST[user] and Counter(who for who, _ in self.runs.values())[user] >= MOST[user]:
            return None
        return next((turn for turn in self.waits[user] if any(self.fits(turn, node) for node in free)), None)

    def owner(self, turn: str) -> str:
        return turn.partition(" ")[0]

    def left(self, user: str) -> None:
        self.passed.pop(user, None)
        if not any(self.waits.values()):
            self.served.clear()  # The books are closed when nobody waits.

    # What happens

    @initialize()
    def nodes_come(self) -> None:
        for name in NODES:
            self.comes(name)

    @rule(user=USERS, model=some.sampled_from(["", "", "", "small", "large"]), affinity=some.sampled_from(["", *NODES]))
    def asks(self, user: str, model: str, affinity: str) -> None:
        self.number += 1
        turn = f"{user} {self.number}"
        self.wish[turn], self.attempt[turn] = (model, affinity), 0
        assert queue.enqueue(turn, user, "session", 1, affinity, weight=WEIGHT[user], most=MOST[user], model=model)
        assert not queue.enqueue(turn, user, "session", 1, affinity), "once, however often"
        self.waits[user].append(turn)

    @rule(user=USERS)
    def asks_for_much(self, user: str) -> None:
        for _ in range(8):
            self.asks(user, "", "")

    @rule()
    def is_given_out(self) -> None:
        free = self.open_nodes()
        could = {user: turn for user in WEIGHT if (turn := self.could(user, free))}
        lease = pick()
        if lease is None:
            assert not could, "somebody waits and a slot is free"
            return
        user = self.owner(lease.turn)
        assert could.get(user) == lease.turn, "the oldest one of theirs that can be taken, within their limit"
        assert lease.node in free
        assert self.fits(lease.turn, lease.node)
        liked = self.wish[lease.turn][1]
        assert lease.node == liked or liked not in free or not self.fits(lease.turn, liked), "where its conversation is"
        self.attempt[lease.turn] += 1
        assert lease.attempt == self.attempt[lease.turn]
        self.waits[user].remove(lease.turn)
        self.runs[lease.turn] = (user, lease.node)
        self.count(user, could)

    @rule()
    def are_given_out(self) -> None:
        for _ in range(5):
            self.is_given_out()

    def count(self, user: str, could: dict[str, str]) -> None:
        if user in self.in_front:
            self.in_front.discard(user)  # Nobody is charged for a node that was lost.
        else:
            for other in could.keys() - {user} - self.in_front:
                self.passed[other][user] += 1
                fresh = other not in self.served
                # Who was served of late pays for it before somebody else is served again; who was not does not.
                most = 1 if fresh else 2 + WEIGHT[user] // WEIGHT[other]
                assert self.passed[other][user] <= most, f"{user} passed {other} {self.passed[other][user]} times"
            self.served.add(user)
        self.left(user)

    @precondition(lambda self: self.runs)
    @rule(data=some.data())
    def ends(self, data: some.DataObject) -> None:
        turn = data.draw(some.sampled_from(sorted(self.runs)))
        queue.release(turn, self.attempt[turn] - 1)
        assert redis.client().zscore(names.LEASES, turn), "an older attempt's end frees nothing"
        queue.release(turn, self.attempt[turn])
        queue.release(turn, self.attempt[turn], self.runs[turn][1])
        del self.runs[turn]

    @precondition(lambda self: self.runs)
    @rule(data=some.data())
    def loses_its_node(self, data: some.DataObject) -> None:
        turn = data.draw(some.sampled_from(sorted(self.runs)))
        user, _ = self.runs.pop(turn)
        words = {"weight": WEIGHT[user], "most": MOST[user], "model": self.wish[turn][0]}
        assert queue.enqueue(turn, user, "session", self.attempt[turn] + 1, "", front=True, **words)  # type: ignore[arg-type]
        self.wish[turn] = (self.wish[turn][0], "")
        self.waits[user].insert(0, turn)
        self.in_front.add(user)

    @precondition(lambda self: any(self.waits.values()))
    @rule(data=some.data())
    def is_stopped(self, data: some.DataObject) -> None:
        turn = data.draw(some.sampled_from(sorted(turn for turns in self.waits.values() for turn in turns)))
        user = self.owner(turn)
        assert queue.remove(turn, user)
        assert not queue.remove(turn, user)
        self.waits[user].remove(turn)
        if not self.waits[user]:
            self.in_front.discard(user)
            self.left(user)

    @rule(name=some.sampled_from(sorted(NODES)))
    def comes(self, name: str) -> None:
        slots, model = NODES[name]
        client = redis.client()
        client.sadd(names.NODES, name)
        client.hset(names.node_key(name), mapping={"state": "ready", "slots": slots, "lane": "queue", "model": model})
        client.srem(names.DRAINING, name)
        self.gone.discard(name)
        self.resting.discard(name)

    @rule(name=some.sampled_from(sorted(NODES)))
    def goes(self, name: str) -> None:
        redis.client().delete(names.node_key(name))
        self.gone.add(name)

    @rule(name=some.sampled_from(sorted(NODES)))
    def rests(self, name: str) -> None:
        redis.client().sadd(names.DRAINING, name)
        self.resting.add(name)

    @rule()
    def redis_forgets(self) -> None:
        """As the sweeper brings it back: what runs first, then who waits."""
        client = redis.client()
        drained = self.resting
        client.flushall()
        for turn, (user, node) in self.runs.items():
            assert queue.restore(turn, self.attempt[turn], node, "queue", user, "session")
        for name in NODES.keys() - self.gone:
            self.comes(name)
        client.sadd(names.NODES, *NODES)
        for name in drained:
            self.rests(name)
        for user, turns in self.waits.items():
            for turn in turns:
                model, affinity = self.wish[turn]
                queue.enqueue(turn, user, "session", self.attempt[turn] + 1, affinity, weight=WEIGHT[user], most=MOST[user], model=model)
        self.in_front.clear()
        self.passed.clear()
        self.served.clear()

    # What always holds

    @invariant()
    def no_node_has_more_than_its_slots(self) -> None:
        client = redis.client()
        for name, (slots, _) in NODES.items():
            held = {turn.decode() for turn in client.smembers(names.node_leases(name))}
            assert held == {turn for turn, (_, node) in self.runs.items() if node == name}
            assert len(held) <= slots

    @invariant()
    def the_books_agree(self) -> None:
        client = redis.client()
        assert {turn.decode() for turn in client.zrange(names.LEASES, 0, -1)} == set(self.runs)
        assert {turn.decode(): user.decode() for turn, user in client.hgetall(HELD).items()} == {
            turn: user for turn, (user, _) in self.runs.items()
        }
        everyone = [turn for turns in self.waits.values() for turn in turns]
        assert {turn.decode() for turn in client.smembers(names.WAITING)} == set(everyone)
        line = queue.waiting()
        assert sorted(line) == sorted(everyone), "each has one place"
        for user, turns in self.waits.items():
            assert [turn for turn in line if self.owner(turn) == user] == turns, "their own order stays"


def test_any_history_is_fair(servers: Servers) -> None:
    many = settings(max_examples=times(25, 1000), stateful_step_count=times(30, 60), deadline=None, print_blob=True)
    run_state_machine_as_test(Fair, settings=many)  # type: ignore[no-untyped-call]


def test_fifty_prompts_delay_one_by_a_turn_on_each_slot(servers: Servers) -> None:
    client = redis.client()
    for name, slots in {"home": 2, "loft": 1}.items():
        client.sadd(names.NODES, name)
        client.hset(names.node_key(name), mapping={"state": "ready", "slots": slots, "lane": "queue"})
    for number in range(50):
        queue.enqueue(f"many {number}", "many", "session", 1)
    running = [pick() for _ in range(3)]
    assert pick() is None
    queue.enqueue("one", "other", "session", 1)
    before = 0
    while True:
        ended = running.pop(0)
        assert ended is not None
        queue.release(ended.turn, ended.attempt)
        lease = pick()
        assert lease is not None
        if lease.turn == "one":
            break
        before += 1
        running.append(lease)
    assert before <= 3
