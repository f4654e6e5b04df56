"""Application commands: what a bot offers, globally or in a guild (docs: interactions/application-commands)."""

import re
from typing import Any, Final

from bots.sandbox import access
from bots.sandbox import permissions as may
from bots.sandbox.errors import ApiError, Problem, invalid
from bots.sandbox.records import Channel, Command
from bots.sandbox.rest import Answer, Api, Call
from bots.sandbox.world import World

CHAT_INPUT: Final = 1
SUBCOMMAND: Final = 1
GROUP: Final = 2
MOST_COMMANDS: Final = 100
MOST_OPTIONS: Final = 25
DAILY: Final = 200
"""Creates a day and guild (docs: application-commands, Registering a Command)."""
DAY: Final = 24 * 3600.0
NAME: Final = re.compile(r"[-_'\w]{1,32}")
"""Letters of any script, digits, dash, underscore, apostrophe (docs: application-commands, Naming)."""


def routes(api: Api) -> None:
    """Serve them."""
    for place in ("", "/guilds/{guild}"):
        path = f"/applications/{{application}}{place}/commands"
        api.add("GET", path, _list)
        api.add("PUT", path, _sync, "command sync")
        api.add("POST", path, _create, "command sync")
        api.add("GET", path + "/{command}", _get)
        api.add("PATCH", path + "/{command}", _edit, "command sync")
        api.add("DELETE", path + "/{command}", _delete, "command sync")
    api.add("GET", "/applications/{application}/guilds/{guild}/commands/permissions", _permissions)


def _scope(call: Call) -> tuple[int, int | None]:
    """The application and the guild meant; a bot reaches its own alone."""
    if call.id("application") != call.bot:
        raise ApiError(Problem.UNKNOWN_APPLICATION)
    if "guild" not in call.request.match_info:
        return call.bot, None
    guild = call.id("guild")
    if call.world.store.member(guild, call.bot) is None:
        raise ApiError(Problem.MISSING_ACCESS)
    return call.bot, guild


def offered(world: World, application: int, guild: int | None) -> list[Command]:
    """What an application has in one place."""
    return [one for one in world.store.commands.values() if one.application == application and one.guild == guild]


async def _list(call: Call) -> Any:
    return [call.world.shapes.command(one) for one in offered(call.world, *_scope(call))]


async def _permissions(call: Call) -> Any:
    _scope(call)
    return []


async def _sync(call: Call) -> Any:
    """Replace all; those of an old name keep their ids and are no creates (docs: Bulk Overwrite)."""
    world = call.world
    application, guild = _scope(call)
    wanted = await call.any_json()
    if not isinstance(wanted, list):
        raise invalid("_errors", "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
    if len([one for one in wanted if one.get("type", 1) == CHAT_INPUT]) > MOST_COMMANDS:
        raise ApiError(Problem.COMMANDS_FULL)
    for index, body in enumerate(wanted):
        _check(body, f"{index}.")
    names = [(one.get("type", 1), one["name"]) for one in wanted]
    if len(set(names)) != len(names):
        raise invalid("_errors", "APPLICATION_COMMANDS_DUPLICATE_NAME", "Application command names must be unique")
    old = {(one.body.get("type", 1), one.body["name"]): one for one in offered(world, application, guild)}
    _count(world, application, guild, len(set(names) - set(old)))
    for name, command in old.items():
        if name not in names:
            del world.store.commands[command.id]
    return [
        world.shapes.command(_put(world, application, guild, body, old.get(key)))
        for key, body in zip(names, wanted, strict=True)
    ]


async def _create(call: Call) -> Any:
    """The same name again replaces (docs: Create Global Application Command)."""
    world = call.world
    application, guild = _scope(call)
    body = await call.json()
    _check(body, "")
    there = offered(world, application, guild)
    old = next(
        (one for one in there if (one.body["name"], one.body.get("type", 1)) == (body["name"], body.get("type", 1))),
        None,
    )
    if old is None:
        if len(there) >= MOST_COMMANDS:
            raise ApiError(Problem.COMMANDS_FULL)
        _count(world, application, guild, 1)
    return Answer(200 if old else 201, world.shapes.command(_put(world, application, guild, body, old)))


async def _get(call: Call) -> Any:
    return call.world.shapes.command(_find(call))


async def _edit(call: Call) -> Any:
    command = _find(call)
    body = command.body | await call.json()
    _check(body, "")
    return call.world.shapes.command(_put(call.world, command.application, command.guild, body, command))


async def _delete(call: Call) -> Any:
    del call.world.store.commands[_find(call).id]


def _find(call: Call) -> Command:
    application, guild = _scope(call)
    command = call.world.store.commands.get(call.id("command"))
    if command is None or (command.application, command.guild) != (application, guild):
        raise ApiError(Problem.UNKNOWN_COMMAND)
    return command


def _put(world: World, application: int, guild: int | None, body: dict[str, Any], old: Command | None) -> Command:
    kept = {key: value for key, value in body.items() if key not in ("id", "application_id", "guild_id", "version")}
    command = Command(old.id if old else world.new_id(), application, guild, world.new_id(), kept)
    world.store.commands[command.id] = command
    return command


def _count(world: World, application: int, guild: int | None, new: int) -> None:
    created = world.store.applications[application].created
    now = world.clock.time()
    recent = [one for one in created.get(str(guild or ""), []) if one > now - DAY]
    if world.limits.on and len(recent) + new > DAILY:
        raise ApiError(Problem.COMMANDS_DAILY, retry_after=min(recent, default=now) + DAY - now)
    created[str(guild or "")] = recent + [now] * new


def _check(body: dict[str, Any], at: str) -> None:
    name, kind = body.get("name"), body.get("type", CHAT_INPUT)
    if not isinstance(name, str) or not (NAME.fullmatch(name) if kind == CHAT_INPUT else 1 <= len(name) <= 32):
        raise invalid(f"{at}name", "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")
    if kind == CHAT_INPUT and name != name.lower():
        raise invalid(f"{at}name", "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")
    if kind == CHAT_INPUT and not 1 <= len(body.get("description") or "") <= 100:
        raise invalid(f"{at}description", "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 100 in length.")
    options = body.get("options") or []
    if len(options) > MOST_OPTIONS:
        raise invalid(f"{at}options", "BASE_TYPE_MAX_LENGTH", f"Must be {MOST_OPTIONS} or fewer in length.")
    optional = False
    for index, option in enumerate(options):
        place = f"{at}options.{index}."
        if optional and option.get("required"):
            text = "Required options must be placed before non-required options"
            raise invalid(f"{at}options", "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID", text)
        optional = optional or not option.get("required")
        if len(option.get("choices") or ()) > MOST_OPTIONS:
            raise invalid(f"{place}choices", "BASE_TYPE_MAX_LENGTH", f"Must be {MOST_OPTIONS} or fewer in length.")
        if option.get("autocomplete") and option.get("choices"):
            text = "Autocomplete cannot be used with choices"
            raise invalid(f"{place}autocomplete", "APPLICATION_COMMAND_AUTOCOMPLETE_CHOICES", text)
        _check({"type": CHAT_INPUT} | {key: option.get(key) for key in ("name", "description", "options")}, place)


def usable(world: World, channel: Channel, user: int) -> list[Command]:
    """What somebody can use in a channel: guild commands hide global ones of the same name (docs: Command Precedence)."""
    given = may.in_channel(world.store, channel, user)
    if not given & may.USE_APPLICATION_COMMANDS:
        return []
    found: dict[tuple[int, str], Command] = {}
    for one in sorted(world.store.commands.values(), key=lambda each: each.guild is not None):
        if one.guild not in (None, channel.guild) or one.body.get("type", CHAT_INPUT) != CHAT_INPUT:
            continue
        if channel.guild is None and not (one.application in channel.recipients and _in_direct(one)):
            continue
        if channel.guild is not None and world.store.member(channel.guild, one.application) is None:
            continue
        needs = one.body.get("default_member_permissions")
        # "0" is for administrators alone (docs: application-commands, Permissions).
        if channel.guild is not None and needs is not None:
            held = may.in_guild(world.store, world.store.guilds[channel.guild], user)
            if int(needs) & ~held or (int(needs) == 0 and not held & may.ADMINISTRATOR):
                continue
        found[one.application, one.body["name"]] = one
    return list(found.values())


def _in_direct(command: Command) -> bool:
    """Whether a command is offered in the direct conversation with its bot (docs: Interaction Contexts)."""
    contexts = command.body.get("contexts")
    return 1 in contexts if contexts else command.body.get("dm_permission") is not False


def find_usable(world: World, channel: Channel, user: int, name: str, application: int | None) -> Command:
    """The command somebody types, or the refusal they would see."""
    access.channel(world.store, channel.id, user, may.USE_APPLICATION_COMMANDS)
    for one in usable(world, channel, user):
        if one.body["name"] == name and application in (None, one.application):
            return one
    raise ApiError(Problem.UNKNOWN_COMMAND)
