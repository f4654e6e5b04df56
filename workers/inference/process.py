"""Starting the node's worker."""

import os


def run(name: str) -> None:
    """Consume the node's queue until SIGTERM."""
    os.environ["MEATLIZARD_NODE"] = name
    # Imported here because the application reads the node's settings, which the line above points at.
    from app.wire.names import inference_queue
    from workers.inference.app import app, settings

    app.worker_main(
        [
            "worker",
            "--pool=threads",
            # One more than the slots: dispatch never sends more turns, so a thread is always there to refuse a repeat.
            f"--concurrency={settings().slots + 1}",
            f"--queues={inference_queue(settings().node)}",
            f"--hostname={settings().node}@%h",
            "--without-gossip",
            "--without-mingle",
            f"--loglevel={settings().log_level}",
        ]
    )
