"""The verbs of the `meatlizard` command: one a process, and those of whoever runs the platform."""

from pathlib import Path
from typing import Annotated

import typer

from app import lasting, processes
from app.commands import audit, backup, keys, limit, node, token, trace, transcript, user
from app.commands.home import Home
from app.local import commands

# The heavy parts are imported where they are used: `meatlizard node` must not need the server's packages, nor
# `meatlizard status` wait for them.

app = typer.Typer(
    help="Chat with your own model at home.", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
)
#: Verbs that `up` and the container files start; `--help` shows them last.
PROCESS = "One process each, in the foreground; `up` starts them"

# In the order in which `--help` shows them: what one needs first stands first.
commands.register(app)
app.add_typer(user.app, name="user")
app.add_typer(token.app, name="token")
app.add_typer(keys.app, name="keys")
app.add_typer(audit.app, name="audit")
app.add_typer(limit.app, name="limit")
app.add_typer(transcript.app, name="transcript")
app.add_typer(backup.app, name="backup")
app.add_typer(node.app, name="node")


@app.command(rich_help_panel=PROCESS)
def web(home: Home = None) -> None:
    """Serve the pages, the API and the chat socket."""
    processes.web()


@app.command(rich_help_panel=PROCESS)
def worker(home: Home = None) -> None:
    """Finish turns, dispatch, sweep, keep figures, transcripts and backups."""
    processes.worker()


@app.command(rich_help_panel=PROCESS)
def beat(home: Home = None) -> None:
    """Run the schedule."""
    processes.beat()


@app.command(rich_help_panel=PROCESS)
def migrate(home: Home = None) -> None:
    """Bring the database to the newest schema; `up` does it by itself."""
    from app.core import config
    from app.core import migrate as migration

    migration.upgrade(config.settings().database_url.get_secret_value())
    typer.echo("The database is at the newest schema.")


@app.command("server-bot", rich_help_panel=PROCESS)
def server_bot(home: Home = None) -> None:
    """Hold the connection to Discord: prompts out, replies in."""
    processes.server_bot()


@app.command(rich_help_panel=PROCESS)
def flower(home: Home = None) -> None:
    """Show the tasks in the browser, behind a password."""
    processes.flower()


@app.command()
def chat(
    prompt: Annotated[str, typer.Argument(help="What to ask.")],
    session: Annotated[str | None, typer.Option(help="Go on with this session.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object at the end.")] = False,
    home: Home = None,
) -> None:
    """Ask the model from the command line."""
    from app import console

    console.chat(prompt, session, as_json)


app.command()(trace.trace)


@app.command()
def bench(
    rounds: Annotated[int, typer.Option(min=1, help="How often each is asked.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
    home: Home = None,
) -> None:
    """Measure what the running platform adds to llama.cpp's first token."""
    from app import bench as measuring

    measuring.run(rounds, as_json)


@app.command(rich_help_panel=PROCESS)
def sandbox(
    host: Annotated[str | None, typer.Option(help="Where to listen. [127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; a free one if not given.")] = None,
    state: Annotated[Path | None, typer.Option(help="A file that keeps guild and messages over restarts.")] = None,
    limits: Annotated[str | None, typer.Option(help="discord, or off: no rate limits.")] = None,
    config: Annotated[Path | None, typer.Option(help="Bots, tokens and people, as docs/sandbox.md has it.")] = None,
) -> None:
    """Be a local Discord, for development and tests."""
    lasting.spare()
    from bots.sandbox import server

    server.run(host, port, state, limits, config)
