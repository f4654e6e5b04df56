"""Starting a sandbox: one process, one port, everything on it."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web
from pydantic import ValidationError

from app.wire.errors import BadInput
from bots.sandbox import (
    attachments,
    channels,
    commands,
    connection,
    control,
    interactions,
    members,
    messages,
    oauth,
    page,
    roles,
    seed,
    threads,
    users,
)
from bots.sandbox.clock import Clock
from bots.sandbox.config import Config
from bots.sandbox.errors import ApiError, Problem
from bots.sandbox.rest import Api
from bots.sandbox.world import WORLD, World

SAVE_SECONDS: Final = 1.0
"""Between two looks at whether the snapshot is out of date; a longer write is given a longer rest."""


class Sandbox:
    """A running sandbox, for the process and for tests."""

    def __init__(self, world: World) -> None:
        self.world = world

    @property
    def url(self) -> str:
        """Where the page is."""
        return self.world.url

    @property
    def api(self) -> str:
        """What `bots.api.use_api` takes."""
        return f"{self.world.url}/api/v10"

    @property
    def guild(self) -> int:
        """The guild's id."""
        return next(iter(self.world.store.guilds))

    def token(self, name: str) -> str:
        """A bot's token."""
        return next(one.token for one in self.world.store.applications.values() if one.name == name)


def application(world: World) -> web.Application:
    """Every route there is."""
    app = web.Application(client_max_size=attachments.REQUEST_BYTES)
    app[WORLD] = world
    api = Api(app)
    for noun in (users, roles, members, channels, threads, messages, commands, interactions):
        noun.routes(api)
    oauth.routes(app)
    control.routes(app)
    page.routes(app)
    app.router.add_get("/gateway/", connection.connect)
    app.router.add_get("/gateway", connection.connect)
    app.router.add_get("/cdn/attachments/{channel:\\d+}/{attachment:\\d+}/{name}", attachments.serve)
    app.router.add_route("*", "/api/{rest:.*}", _unknown)
    return app


async def _unknown(_: web.Request) -> web.StreamResponse:
    error = ApiError(Problem.NOT_FOUND)
    return web.json_response(error.body(), status=error.status)


@asynccontextmanager
async def serving(config: Config, clock: Clock | None = None) -> AsyncIterator[Sandbox]:
    """A sandbox as long as the block lasts; port 0 takes a free one."""
    world = World(config, clock)
    seed.begin(world)
    runner = web.AppRunner(application(world), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, config.host, config.port)
    await site.start()
    port = runner.addresses[0][1]
    host = f"[{config.host}]" if ":" in config.host else config.host
    world.url = (config.url or f"http://{host}:{port}").rstrip("/")
    world.store.save()
    saver = asyncio.create_task(_save(world))
    try:
        yield Sandbox(world)
    finally:
        saver.cancel()
        for one in list(world.connections):
            await one.drop(1001)
        world.gateway.close()
        await runner.cleanup()
        world.store.save()


async def _save(world: World) -> None:
    saved, loop = world.store.changes, asyncio.get_running_loop()
    while True:
        await asyncio.sleep(SAVE_SECONDS)
        if world.store.changes != saved:
            saved, begun = world.store.changes, loop.time()
            world.store.save()
            await asyncio.sleep((loop.time() - begun) * 20)


def run(host: str | None, port: int | None, state: Path | None, limits: str | None, config: Path | None) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    given = {"host": host, "port": port, "state": state, "limits": limits}
    try:
        written = json.loads(config.read_bytes()) if config else {}
        chosen = Config.model_validate(written | {key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"The sandbox cannot be set up so: {where}: {first['msg']}.") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{config} cannot be read as JSON: {error}") from None
    try:
        asyncio.run(_run(chosen))
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadInput(
            f"The sandbox cannot listen at {chosen.host}:{chosen.port}: {reason}. Choose another --port."
        ) from None


async def _run(config: Config) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, stop.set)
    async with serving(config) as sandbox:
        # The page's key goes to the person at the terminal only, not into a log.
        key = f"/?token={sandbox.world.store.state.control_token}" if sys.stdout.isatty() else "/"
        sys.stdout.write(f"The sandbox is at {sandbox.url}{key}\n")
        sys.stdout.flush()
        await stop.wait()
