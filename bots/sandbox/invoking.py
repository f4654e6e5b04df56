"""What a person does with commands and buttons, sent to the bot as INTERACTION_CREATE (docs: interactions)."""

from typing import Any, Final

from bots.sandbox import access, commands
from bots.sandbox.attachments import FILE_BYTES
from bots.sandbox.desk import AUTOCOMPLETE, COMMAND, COMPONENT, Interaction
from bots.sandbox.errors import ApiError, Problem, invalid
from bots.sandbox.records import Channel, Command, Message
from bots.sandbox.world import World

STRING: Final = 3
INTEGER: Final = 4
BOOLEAN: Final = 5
USER: Final = 6
CHANNEL: Final = 7
ROLE: Final = 8
MENTIONABLE: Final = 9
NUMBER: Final = 10
BUTTON: Final = 2
SELECT: Final = 3


def run(
    world: World, channel: Channel, user: int, name: str, given: dict[str, Any], application: int | None
) -> Interaction:
    """Run a slash command; `name` is the whole path ("limits set"), `given` the options by name."""
    return _command(world, channel, user, name, given, application, None)


def complete(
    world: World, channel: Channel, user: int, name: str, given: dict[str, Any], focused: str, application: int | None
) -> Interaction:
    """Ask for suggestions for the option that has the focus."""
    return _command(world, channel, user, name, given, application, focused)


def _command(
    world: World,
    channel: Channel,
    user: int,
    name: str,
    given: dict[str, Any],
    application: int | None,
    focused: str | None,
) -> Interaction:
    path = name.removeprefix("/").split()
    command = commands.find_usable(world, channel, user, path[0] if path else "", application)
    resolved: dict[str, dict[str, Any]] = {}
    options = _options(world, channel, user, command.body.get("options") or [], path[1:], given, focused, resolved)
    data: dict[str, Any] = {"id": str(command.id), "name": command.body["name"], "type": 1, "options": options}
    if resolved:
        data["resolved"] = resolved
    if command.guild is not None:
        data["guild_id"] = str(command.guild)
    kind = COMMAND if focused is None else AUTOCOMPLETE
    return _send(world, kind, command.application, channel, user, " ".join(path), data, None, command)


def press(
    world: World, channel: Channel, user: int, message: Message, custom_id: str, values: list[str] | None
) -> Interaction:
    """Press a button, or choose in a select menu, of a message one can see."""
    access.channel(world.store, channel.id, user)
    if message.only_for not in (None, user):
        raise ApiError(Problem.UNKNOWN_MESSAGE)
    component = next((one for one in _components(message.components) if one.get("custom_id") == custom_id), None)
    if component is None or component.get("disabled"):
        raise invalid("custom_id", "COMPONENT_UNKNOWN", "There is no such button, or it is greyed out.")
    data: dict[str, Any] = {"custom_id": custom_id, "component_type": component["type"]}
    if component["type"] != BUTTON:
        data["values"] = values or []
    application = message.application or message.author
    return _send(world, COMPONENT, application, channel, user, custom_id, data, message, None)


def _components(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    inner = [each for one in found for each in _components(one.get("components") or [])]
    accessories = [one["accessory"] for one in found if one.get("accessory")]
    return [*found, *inner, *accessories]


def _send(
    world: World,
    kind: int,
    application: int,
    channel: Channel,
    user: int,
    name: str,
    data: dict[str, Any],
    message: Message | None,
    command: Command | None,
) -> Interaction:
    store, shapes = world.store, world.shapes
    interaction = Interaction(world.new_id(), application, kind, channel.id, user, name, world.clock.time())
    interaction.message = message.id if message else None
    world.desk.open(interaction)
    owners = {"0": str(channel.guild or 0)}
    payload: dict[str, Any] = {
        "id": str(interaction.id),
        "application_id": str(application),
        "type": kind,
        "token": interaction.token,
        "version": 1,
        "data": data,
        "channel_id": str(channel.id),
        "channel": shapes.channel(channel) | {"permissions": shapes.permissions(channel, user)},
        "app_permissions": shapes.permissions(channel, application),
        "locale": "en-US",
        "entitlements": [],
        "authorizing_integration_owners": owners,
        "context": 0 if channel.guild else 1,
        "attachment_size_limit": FILE_BYTES,
    }
    if channel.guild is None:
        payload["user"] = shapes.user(store.users[user])
    else:
        member = access.member(store, channel.guild, user)
        payload |= {
            "guild_id": str(channel.guild),
            "guild": {"id": str(channel.guild), "locale": "en-US", "features": []},
            "guild_locale": "en-US",
            "member": shapes.member(member) | {"permissions": shapes.permissions(channel, user)},
        }
    if message is not None:
        payload["message"] = shapes.message(message)
    world.gateway.to_bot(application, "INTERACTION_CREATE", payload, channel.guild)
    world.store.changed()
    return interaction


def _options(
    world: World,
    channel: Channel,
    user: int,
    known: list[dict[str, Any]],
    path: list[str],
    given: dict[str, Any],
    focused: str | None,
    resolved: dict[str, dict[str, Any]],
) -> list[dict[str, Any]]:
    if known and known[0]["type"] in (commands.SUBCOMMAND, commands.GROUP):
        step = next((one for one in known if path and one["name"] == path[0]), None)
        if step is None:
            raise ApiError(Problem.UNKNOWN_COMMAND)
        inner = _options(world, channel, user, step.get("options") or [], path[1:], given, focused, resolved)
        return [{"type": step["type"], "name": step["name"], "options": inner}]
    if unknown := set(given) - {one["name"] for one in known}:
        raise invalid(
            "options", "APPLICATION_COMMAND_OPTION_UNKNOWN", f"This command has no option {sorted(unknown)[0]}."
        )
    found = []
    for option in known:
        name = option["name"]
        if name not in given:
            if option.get("required") and focused is None:
                raise invalid(f"options.{name}", "BASE_TYPE_REQUIRED", "This field is required")
            continue
        if focused == name:
            # Half typed: sent as it is (docs: application-commands, Autocomplete).
            found.append({"type": option["type"], "name": name, "value": given[name], "focused": True})
            continue
        value = _value(world, channel, user, option, given[name], resolved)
        found.append({"type": option["type"], "name": name, "value": value})
    return found


def _value(
    world: World, channel: Channel, user: int, option: dict[str, Any], value: Any, resolved: dict[str, dict[str, Any]]
) -> Any:
    name, kind = option["name"], option["type"]
    where = f"options.{name}"
    try:
        match kind:
            case 3:
                text = str(value)
                if not option.get("min_length", 0) <= len(text) <= option.get("max_length", 6000):
                    raise invalid(where, "BASE_TYPE_BAD_LENGTH", "This is too short or too long.")
                value = text
            case 4 | 10:
                value = int(value) if kind == INTEGER else float(value)
                if not option.get("min_value", float("-inf")) <= value <= option.get("max_value", float("inf")):
                    raise invalid(where, "NUMBER_TYPE_BAD_RANGE", "This is too small or too large.")
            case 5:
                value = value if isinstance(value, bool) else str(value).lower() in ("true", "1", "yes")
            case _:
                value = _resolve(world, channel, user, kind, int(value), resolved)
    except (TypeError, ValueError):
        raise invalid(where, "BASE_TYPE_CONVERT", "This is not what the option takes.") from None
    choices = option.get("choices") or []
    if choices and value not in [one["value"] for one in choices]:
        raise invalid(where, "BASE_TYPE_CHOICES", "Choose one of what is offered.")
    return value


def _resolve(
    world: World, channel: Channel, user: int, kind: int, target: int, resolved: dict[str, dict[str, Any]]
) -> str:
    """Users, channels and roles travel as ids with the objects beside them (docs: Resolved Data)."""
    store, shapes = world.store, world.shapes
    if kind in (USER, MENTIONABLE) and target in store.users:
        resolved.setdefault("users", {})[str(target)] = shapes.user(store.users[target])
        if channel.guild and (member := store.member(channel.guild, target)):
            whole = shapes.member(member, user=False) | {"permissions": shapes.permissions(channel, target)}
            resolved.setdefault("members", {})[str(target)] = whole
    elif kind in (ROLE, MENTIONABLE):
        resolved.setdefault("roles", {})[str(target)] = shapes.role(access.role(store, channel.guild or 0, target))
    elif kind == CHANNEL:
        found = store.channels.get(target)
        if found is None or found.guild != channel.guild:
            raise ApiError(Problem.UNKNOWN_CHANNEL)
        resolved.setdefault("channels", {})[str(target)] = shapes.channel(found) | {
            "permissions": shapes.permissions(found, user)
        }
    else:
        raise ApiError(Problem.UNKNOWN_USER)
    return str(target)
