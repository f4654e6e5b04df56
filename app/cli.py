"""The `meatlizard` command: one verb a process, and the verbs of whoever runs the platform."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from app import printed
from app.commands import audit, backup, keys, lasting, limit, node, token, trace, transcript, user
from app.commands.home import Home
from app.local import commands
from app.local.errors import LocalError
from app.wire.errors import MeatLizardError

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
    lasting.spare("opentelemetry")
    from app.web import server

    server.run()


@app.command(rich_help_panel=PROCESS)
def worker(home: Home = None) -> None:
    """Finish turns, dispatch, sweep, keep figures, transcripts and backups."""
    lasting.spare()
    from app.local import scratch
    from workers import processes, storage

    storage.provide(scratch.cluster)

    processes.worker()


@app.command(rich_help_panel=PROCESS)
def beat(home: Home = None) -> None:
    """Run the schedule."""
    lasting.spare()
    from workers import beat as process

    process.run()


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
    lasting.spare()
    from bots.server import process

    process.run()


@app.command(rich_help_panel=PROCESS)
def flower(home: Home = None) -> None:
    """Show the tasks in the browser, behind a password."""
    lasting.spare("tornado")
    from workers import monitor

    monitor.run()


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


def main() -> None:
    """Run the command; an error is one line that says what to do."""
    try:
        # Not standalone: wrong usage is then raised to us, and said in one line like every other error.
        status = app(standalone_mode=False)
    except MeatLizardError as error:
        _fail(str(error))
    except LocalError as error:
        _fail(str(error), error.exit_status)
    except typer.Abort:
        _fail("stopped.", 130)
    except ValueError as error:
        # pydantic's ValidationError is one: a setting is missing or cannot be.
        _fail(_settings_line(error))
    except Exception as error:
        usage = getattr(error, "format_message", None)
        if usage is None:
            raise
        _fail(f"{usage().rstrip('.')}. `meatlizard --help` tells how it is called.", 2)
    else:
        raise SystemExit(status if isinstance(status, int) else 0)


def _settings_line(error: ValueError) -> str:
    problems = getattr(error, "errors", None)
    if problems is None:
        return str(error)
    first = problems(include_url=False, include_input=False)[0]
    name = "MEATLIZARD_" + "_".join(str(part) for part in first["loc"]).upper()
    missing = first["type"] == "missing"
    hint = "run `meatlizard up` first, or name the stack with --home" if missing else first["msg"]
    return f"{name} is {'not set' if missing else 'not right'}: {hint}."


def _fail(line: str, status: int = 1) -> NoReturn:
    sys.stderr.write(f"meatlizard: {printed.text(line)}\n")
    raise SystemExit(status)


if __name__ == "__main__":
    main()
