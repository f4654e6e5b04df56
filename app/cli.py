"""The `meatlizard` command: one verb a process, and the verbs of whoever runs the platform."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from app.wire.errors import MeatLizardError

# The heavy parts are imported where they are used: `meatlizard node` must not need the server's packages, nor
# `meatlizard status` wait for them.

app = typer.Typer(
    help="Chat with your own model at home.", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
)
user_app = typer.Typer(help="The people who have an account.", no_args_is_help=True)
token_app = typer.Typer(help="Tokens for programs.", no_args_is_help=True)
keys_app = typer.Typer(help="The master key ring.", no_args_is_help=True)
app.add_typer(user_app, name="user")
app.add_typer(token_app, name="token")
app.add_typer(keys_app, name="keys")


def _choose_home(value: Path | None) -> Path | None:
    if value is not None:
        os.environ["MEATLIZARD_HOME"] = str(value.expanduser().absolute())
    return value


Home = Annotated[
    Path | None,
    typer.Option(
        "--home", readable=False, help="The stack meant: its state folder. [~/.meatlizard]", callback=_choose_home
    ),
]


@app.command()
def web(home: Home = None) -> None:
    """Serve the pages, the API and the chat socket."""
    from app.web import server

    server.run()


@app.command()
def worker(home: Home = None) -> None:
    """Finish turns, dispatch, sweep, keep figures."""
    from workers import processes

    processes.worker()


@app.command()
def beat(home: Home = None) -> None:
    """Run the schedule."""
    from workers import processes

    processes.beat()


@app.command()
def migrate(home: Home = None) -> None:
    """Bring the database to the newest schema; `up` does it by itself."""
    from app.core import config
    from app.core import migrate as migration

    migration.upgrade(config.settings().database_url.get_secret_value())
    typer.echo("The database is at the newest schema.")


@app.command("server-bot")
def server_bot(home: Home = None) -> None:
    """Hold the connection to Discord: prompts out, replies in."""
    from bots.server import process

    process.run()


@app.command()
def flower(home: Home = None) -> None:
    """Show the tasks in the browser, behind a password."""
    from workers import processes

    processes.flower()


@app.command()
def node(
    name: Annotated[str, typer.Option("--name", envvar="MEATLIZARD_NODE", help="Which of this machine's nodes.")] = "home",
    home: Home = None,
) -> None:
    """Answer prompts on this machine."""
    from app import node as process

    process.run(name)


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


@app.command()
def bench(
    rounds: Annotated[int, typer.Option(min=1, help="How often each is asked.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
    home: Home = None,
) -> None:
    """Measure what the running platform adds to llama.cpp's first token."""
    from app import bench as measuring

    measuring.run(rounds, as_json)


@app.command()
def sandbox(
    host: Annotated[str | None, typer.Option(help="Where to listen. [127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; a free one if not given.")] = None,
    state: Annotated[Path | None, typer.Option(help="A file that keeps guild and messages over restarts.")] = None,
    limits: Annotated[str | None, typer.Option(help="discord, or off: no rate limits.")] = None,
    config: Annotated[Path | None, typer.Option(help="Bots, tokens and people, as docs/sandbox.md has it.")] = None,
) -> None:
    """Be a local Discord, for development and tests."""
    from bots.sandbox import server

    server.run(host, port, state, limits, config)


@user_app.command("add")
def user_add(
    name: str,
    role: Annotated[str, typer.Option(help="owner, admin or member")] = "member",
    password: Annotated[
        str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True, envvar="MEATLIZARD_NEW_PASSWORD")
    ] = "",
    home: Home = None,
) -> None:
    """Make an account."""
    from app.services import accounts
    from app.wire.states import Door

    accounts.add(name, password, role, "cli", Door.CLI)
    typer.echo(f"{name} can sign in now, as {role}.")


@user_app.command("list")
def user_list(home: Home = None) -> None:
    """Show the accounts."""
    from rich.console import Console
    from rich.table import Table

    from app.services import accounts

    table = Table("name", "role", "since", "state")
    for one in accounts.users():
        state = "disabled" if one.disabled_at else ""
        table.add_row(one.name, one.role, f"{one.created_at:%Y-%m-%d}", state)
    Console().print(table)


@user_app.command("role")
def user_role(name: str, role: str, home: Home = None) -> None:
    """Give an account another role."""
    from app.services import accounts
    from app.wire.states import Door

    accounts.set_role(name, role, "cli", Door.CLI)
    typer.echo(f"{name} is {role} now.")


@user_app.command("disable")
def user_disable(name: str, home: Home = None) -> None:
    """Shut an account; its logins and tokens end."""
    from app.services import accounts
    from app.wire.states import Door

    accounts.disable(name, "cli", Door.CLI)
    typer.echo(f"{name} is shut out.")


@user_app.command("enable")
def user_enable(name: str, home: Home = None) -> None:
    """Open a shut account again."""
    from app.services import accounts
    from app.wire.states import Door

    accounts.enable(name, "cli", Door.CLI)
    typer.echo(f"{name} can sign in again.")


@user_app.command("password")
def user_password(
    name: str,
    password: Annotated[
        str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True, envvar="MEATLIZARD_NEW_PASSWORD")
    ] = "",
    home: Home = None,
) -> None:
    """Give an account another password; its logins end everywhere."""
    from app.services import accounts
    from app.wire.states import Door

    accounts.set_password(name, password, "cli", Door.CLI)
    typer.echo(f"{name} has another password now.")


@token_app.command("new")
def token_new(
    unlimited: Annotated[bool, typer.Option("--unlimited", help="Free of rate limits.")] = False,
    user: Annotated[str, typer.Option(help="Whom it acts for.")] = "admin",
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
    home: Home = None,
) -> None:
    """Make a token; it is shown this once."""
    import json

    from app.services import accounts
    from app.wire.states import Door

    token = accounts.new_token(user, label, unlimited, "cli", Door.CLI)
    typer.echo(json.dumps({"token": token}) if as_json else token)


@keys_app.command("new")
def keys_new() -> None:
    """Print a fresh key; put it in front of MEATLIZARD_KEYS."""
    from cryptography.fernet import Fernet

    typer.echo(Fernet.generate_key().decode())


def main() -> None:
    """Run the command; an error is one line that says what to do."""
    from app.local import commands

    commands.register(app)
    try:
        # Not standalone: wrong usage is then raised to us, and said in one line like every other error.
        status = app(standalone_mode=False)
    except MeatLizardError as error:
        _fail(str(error))
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
    sys.stderr.write(f"meatlizard: {line}\n")
    raise SystemExit(status)


if __name__ == "__main__":
    main()
