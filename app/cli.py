"""The `meatlizard` command: what stays or is waited for begins at once, all else is read by typer; an error is one line."""

import sys
from typing import NoReturn

from app import printed, quick
from app.local.errors import LocalError
from app.wire.errors import MeatLizardError


def main() -> None:
    """Run the command; an error is one line that says what to do."""
    try:
        begin = quick.meant(sys.argv[1:])
        status = begin() if begin else _read()
    except MeatLizardError as error:
        _fail(str(error))
    except LocalError as error:
        _fail(str(error), error.exit_status)
    except ValueError as error:
        # pydantic's ValidationError is one: a setting is missing or cannot be.
        _fail(_settings_line(error))
    except KeyboardInterrupt:  # Before anything of it had begun.
        _fail("stopped.", 130)
    except Exception as error:
        if _aborted(error):
            _fail("stopped.", 130)
        usage = getattr(error, "format_message", None)
        if usage is None:
            raise
        _fail(f"{usage().rstrip('.')}. `meatlizard --help` tells how it is called.", 2)
    else:
        raise SystemExit(status if isinstance(status, int) else 0)


def _read() -> object:
    from app.verbs import app

    # Not standalone: wrong usage is then raised to us, and said in one line like every other error.
    return app(standalone_mode=False)


def _aborted(error: Exception) -> bool:
    typer = sys.modules.get("typer")
    return typer is not None and isinstance(error, typer.Abort)


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
