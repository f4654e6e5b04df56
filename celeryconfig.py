"""Celery's settings, the same for every process; the broker's address comes from each process's own settings.

Why each was chosen, and which hole it closes: docs/decisions/0003-celery-on-redis.md.
"""

from collections.abc import Callable
from typing import Any

from celery.app.amqp import AMQP

from app.wire import shown, sockets
from app.wire.names import QUEUE_OF


class Discreet(AMQP):  # type: ignore[misc]  # Celery has no types.
    """Says of every task's arguments only what monitors may show, retries included, whoever sends it."""

    def as_task_v2(self, task_id: str, name: str, args: Any = None, kwargs: Any = None, *rest: Any, **more: Any) -> Any:
        """Make the message; what it tells of its arguments is ours, whatever the sender said."""
        message = super().as_task_v2(task_id, name, args, kwargs, *rest, **more)
        message.headers["argsrepr"] = shown.arguments(args or ())
        message.headers["kwargsrepr"] = shown.arguments(list((kwargs or {}).values())) if kwargs else "{}"
        return message

    def _create_task_sender(self) -> Callable[..., Any]:
        """Send without declaring the queue each time a connection is new: whoever consumes it has, and a list needs none.

        Where the broker is lost just while a queue is declared, kombu 5.7 mends the connection and goes on with the
        channel it has closed: an AttributeError, which nobody tries again.
        """
        send: Callable[..., Any] = super()._create_task_sender()
        return lambda *args, **options: send(*args, **{"declare": [], **options})

    @property
    def task_protocols(self) -> dict[int, Any]:
        """One protocol: the older one tells its arguments as they are."""
        return {2: self.as_task_v2}

    @task_protocols.setter
    def task_protocols(self, _: Any) -> None:
        """Take no other: Celery sets its own when it starts."""


VISIBILITY_SECONDS = 900
"""Longer than most tasks run; a reply that takes longer is delivered again, and its node refuses the repeat."""

broker_connection_retry_on_startup = True
broker_connection_max_retries = None
# A Redis that refuses a command (MISCONF, a key of another kind, READONLY) is one to connect to anew, not the end.
broker_channel_error_retry = True
broker_pool_limit = 10
broker_transport_options = {
    "visibility_timeout": VISIBILITY_SECONDS,
    # Unacknowledged tasks of a dead worker come back within seconds of the timeout, not minutes.
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    # Without these a half-open connection is never noticed and the worker stops consuming for good.
    "socket_timeout": 5,
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "socket_keepalive_options": sockets.OPTIONS,
    "health_check_interval": 5,
    # One list a queue: priorities are not used, and a node's rights can then name its queue exactly.
    "priority_steps": [0],
    "sep": ":",
}
visibility_timeout = VISIBILITY_SECONDS

accept_content = ["json"]
task_serializer = "json"
result_serializer = "json"
event_serializer = "json"
# Nobody waits for a result: what happened stands in PostgreSQL.
task_ignore_result = True
task_store_errors_even_if_ignored = False

task_acks_late = True
task_reject_on_worker_lost = True
worker_prefetch_multiplier = 1
worker_disable_prefetch = True
worker_cancel_long_running_tasks_on_connection_loss = False
worker_send_task_events = True
# A second message for each task, on the way to the first token; monitors see the task when it is received.
task_send_sent_event = False
worker_hijack_root_logger = False
worker_redirect_stdouts = False
worker_log_color = False

task_create_missing_queues = True
task_default_queue = "upkeep"
task_routes = {task: {"queue": queue} for task, queue in QUEUE_OF.items()}
task_publish_retry = True
task_publish_retry_policy = {"max_retries": 2, "interval_start": 0.05, "interval_step": 0.2, "interval_max": 0.5}

timezone = "UTC"
enable_utc = True
beat_schedule_filename = None
