"""What the Client-Bot needs of the node it belongs to."""

from typing import Any, Protocol

from app.stream.growing import GrowingReply
from app.wire.jobs import Job, Outcome


class Machine(Protocol):
    """Memory, battery and heat, as far as its system tells."""

    def told(self) -> dict[str, Any]:
        """Return what is known, as a beat carries it."""


class Health(Protocol):
    """The node at one moment."""

    @property
    def state(self) -> str:
        """In one word: ready, starting, draining, degraded or failed."""

    @property
    def slots(self) -> int:
        """Turns at once."""

    @property
    def busy(self) -> int:
        """Turns at work."""

    @property
    def model(self) -> str:
        """The model's name."""

    @property
    def tokens_per_second(self) -> float:
        """Of late; 0 before the first reply."""

    @property
    def restarts(self) -> int:
        """How often the engine had to be started again."""

    @property
    def memory(self) -> int:
        """Resident bytes of the engine."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The marks of the relay keys it holds."""

    @property
    def error(self) -> str:
        """What is wrong with the engine, in one line."""

    @property
    def machine(self) -> Machine:
        """What its machine says of itself."""

    @property
    def broker(self) -> bool:
        """Whether the node is given its turns by the queue lane."""


class Host(Protocol):
    """The node: it runs jobs, and says how it is."""

    draining: bool

    def prefix(self, job: Job) -> str:
        """Return the text that an attempt at this job carries on."""

    async def run(self, job: Job, reply: GrowingReply) -> Outcome | None:
        """Run a job into its reply; None where nobody wants it any more."""

    def health(self) -> Health:
        """Return how the node is."""

    async def adopt(self, envelope: str) -> None:
        """Take over newer relay keys, where they were sealed for this node."""

    def take_no_more(self) -> None:
        """Finish what is at work, and say that nothing new is wanted."""
