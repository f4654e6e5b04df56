"""What monitors hear of a node's tasks: gathered for a moment, so that no reply waits for a message about itself."""

from typing import Any, ClassVar, Final

from celery import bootsteps

GATHER_SECONDS: Final = 0.25
"""Flower draws its page anew less often; Celery would send a message at each step of each task, on the way to its first token."""
MOST: Final = 1000
"""Steps that may wait. Celery sends them all from the thread in which there are too many, which may be a reply's."""


class Gathering(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types.
    """Sends the steps of tasks in bunches; begins anew with each connection."""

    requires: ClassVar = {"celery.worker.consumer.events:Events"}

    def __init__(self, parent: Any, **given: Any) -> None:
        self._due = False
        self._parent: Final = parent
        super().__init__(parent, **given)

    def start(self, parent: Any) -> None:
        """Take over from Celery when they are sent."""
        self._due = False
        parent.event_dispatcher.on_send_buffered = self._note
        parent.event_dispatcher.buffer_limit = MOST

    def shutdown(self, parent: Any) -> None:
        """Send what is left."""
        self._send()

    def _note(self) -> None:
        # Called in any thread, for each step; the worker's loop is woken for the first of a bunch alone.
        if not self._due:
            self._due = True
            self._parent.hub.call_soon(self._parent.hub.call_later, GATHER_SECONDS, self._send)

    def _send(self) -> None:
        self._due = False  # Before they are taken: what comes meanwhile is sent with the next.
        if self._parent.event_dispatcher is not None:
            self._parent.event_dispatcher.flush()
