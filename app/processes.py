"""What each process of the platform loads and begins: one function a process, which returns when that ends."""

from app import lasting

# The heavy parts are imported where they are used: none may load another's.


def web() -> None:
    """Serve the pages, the API and the chat socket."""
    lasting.spare("opentelemetry")
    from app.web import server

    server.run()


def worker() -> None:
    """Finish turns, dispatch, sweep, keep figures, transcripts and backups."""
    lasting.spare()
    from app.local import scratch
    from workers import processes, storage

    storage.provide(scratch.cluster)
    processes.worker()


def beat() -> None:
    """Run the schedule."""
    lasting.spare()
    from workers import beat as process

    process.run()


def server_bot() -> None:
    """Hold the connection to Discord."""
    lasting.spare()
    from bots.server import process

    process.run()


def flower() -> None:
    """Show the tasks in the browser."""
    lasting.spare("tornado")
    from workers import monitor

    monitor.run()


def node(name: str) -> None:
    """Answer prompts on this machine."""
    lasting.spare()
    from app import node as process

    process.run(name)
