"""`meatlizard keys`: the master key ring."""

import typer

app = typer.Typer(help="The master key ring.", no_args_is_help=True)


@app.command("new")
def keys_new() -> None:
    """Print a fresh key; put it in front of MEATLIZARD_KEYS."""
    from cryptography.fernet import Fernet

    typer.echo(Fernet.generate_key().decode())
