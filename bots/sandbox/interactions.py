"""Answering interactions: the first response, then the webhook that lives for 15 minutes (docs: interactions/receiving-and-responding)."""

from typing import Any, Final

from bots.sandbox import messages
from bots.sandbox.desk import AUTOCOMPLETE, COMMAND, COMPONENT, Interaction
from bots.sandbox.errors import ApiError, Problem, invalid
from bots.sandbox.records import EPHEMERAL, LOADING, Message
from bots.sandbox.rest import Api, Call, Upload
from bots.sandbox.world import World

MESSAGE: Final = 4
DEFER: Final = 5
DEFER_UPDATE: Final = 6
UPDATE: Final = 7
CHOICES: Final = 8
MOST_CHOICES: Final = 25
ALLOWED: Final = {
    COMMAND: {MESSAGE, DEFER},
    COMPONENT: {MESSAGE, DEFER, DEFER_UPDATE, UPDATE},
    AUTOCOMPLETE: {CHOICES},
}
SLASH: Final = 20
"""The type of the message that answers a slash command (docs: resources/message, Message Types)."""


def routes(api: Api) -> None:
    """Serve them."""
    api.add("POST", "/interactions/{interaction}/{token}/callback", _callback, "interaction callback", auth="none")
    hook = "/webhooks/{webhook}/{token}"
    api.add("POST", hook, _follow_up, "follow-up", auth="none")
    api.add("GET", hook + "/messages/{message}", _get, "follow-up", auth="none")
    api.add("PATCH", hook + "/messages/{message}", _edit, "follow-up", auth="none")
    api.add("DELETE", hook + "/messages/{message}", _delete, "follow-up", auth="none")


async def _callback(call: Call) -> Any:
    world = call.world
    payload, files = await call.form()
    interaction = world.desk.find(call.id("interaction"))
    if interaction is None or interaction.token != call.request.match_info["token"]:
        raise ApiError(Problem.UNKNOWN_INTERACTION)
    if interaction.answered:
        raise ApiError(Problem.ALREADY_ACKNOWLEDGED)
    if world.desk.late(interaction):
        raise ApiError(Problem.UNKNOWN_INTERACTION)
    kind, data = int(payload.get("type") or 0), payload.get("data") or {}
    if kind not in ALLOWED[interaction.kind]:
        raise invalid("type", "BASE_TYPE_CHOICES", f"Value must be one of {sorted(ALLOWED[interaction.kind])}.")
    message = _respond(world, interaction, kind, data, files)
    interaction.answered = True
    interaction.done.set()
    if call.request.query.get("with_response", "").lower() not in ("1", "true"):
        return None
    told: dict[str, Any] = {"id": str(interaction.id), "type": interaction.kind}
    resource: dict[str, Any] = {"type": kind}
    if message is not None:
        told |= {
            "response_message_id": str(message.id),
            "response_message_loading": bool(message.flags & LOADING),
            "response_message_ephemeral": bool(message.flags & EPHEMERAL),
        }
        resource["message"] = world.shapes.message(message)
    return {"interaction": told, "resource": resource}


def _respond(
    world: World, interaction: Interaction, kind: int, data: dict[str, Any], files: dict[int, Upload]
) -> Message | None:
    match kind:
        case 4:
            message = _say(world, interaction, data, files)
            interaction.original = message.id
            return message
        case 5:
            interaction.deferred = True
            interaction.ephemeral = bool(int(data.get("flags") or 0) & EPHEMERAL)
            flags = LOADING | (EPHEMERAL if interaction.ephemeral else 0)
            message = _say(world, interaction, {"flags": flags & EPHEMERAL}, {}, loading=True)
            interaction.original = message.id
            return message
        case 6 | 7:
            source = world.store.messages.get(interaction.message or 0)
            if source is None:
                raise ApiError(Problem.UNKNOWN_MESSAGE)
            interaction.original = source.id
            if kind == UPDATE:
                messages.change(world, source, data, files, everyone=True)
            return source
        case _:
            choices = data.get("choices") or []
            if len(choices) > MOST_CHOICES:
                raise invalid("data.choices", "BASE_TYPE_MAX_LENGTH", f"Must be {MOST_CHOICES} or fewer in length.")
            for index, one in enumerate(choices):
                if not 1 <= len(str(one.get("name") or "")) <= 100:
                    raise invalid(
                        f"data.choices.{index}.name", "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 100 in length."
                    )
            interaction.choices = choices
            return None


def _say(
    world: World, interaction: Interaction, data: dict[str, Any], files: dict[int, Upload], *, loading: bool = False
) -> Message:
    """Post in the name of the application; no permission in the channel is needed for it."""
    channel = world.store.channels.get(interaction.channel)
    if channel is None:
        raise ApiError(Problem.UNKNOWN_CHANNEL)
    message = messages.compose(world, channel, interaction.application, data, files, everyone=True, empty=loading)
    message.application = interaction.application
    first = not interaction.messages
    message.type = SLASH if interaction.kind == COMMAND and first else 0
    if loading:
        message.flags |= LOADING
    if message.flags & EPHEMERAL:
        message.only_for = interaction.user
    message.interaction = _metadata(world, interaction)
    interaction.messages.append(message.id)
    messages.publish(world, message)
    return message


def _metadata(world: World, interaction: Interaction) -> dict[str, Any]:
    channel = world.store.channels[interaction.channel]
    metadata: dict[str, Any] = {
        "id": str(interaction.id),
        "type": interaction.kind,
        "name": interaction.name,
        "user": world.shapes.user(world.store.users[interaction.user]),
        "authorizing_integration_owners": {"0": str(channel.guild or 0)},
    }
    if interaction.message is not None:
        metadata["interacted_message_id"] = str(interaction.message)
    if interaction.messages:
        metadata["original_response_message_id"] = str(interaction.messages[0])
    return metadata


def _hook(call: Call) -> Interaction:
    """The interaction behind a webhook's token, while it lives."""
    desk = call.world.desk
    interaction = desk.by_token(call.request.match_info["token"])
    if interaction is None or interaction.application != call.id("webhook"):
        raise ApiError(Problem.UNKNOWN_WEBHOOK)
    if desk.expired(interaction):
        raise ApiError(Problem.INVALID_WEBHOOK_TOKEN)
    if not interaction.answered:
        # Before the first response, and after none came in time, there is no such webhook.
        raise ApiError(Problem.UNKNOWN_WEBHOOK)
    return interaction


def _message(call: Call, interaction: Interaction) -> Message:
    wanted = call.request.match_info["message"]
    key = interaction.original if wanted == "@original" else call.id("message")
    message = call.world.store.messages.get(key or 0)
    if message is None or (message.id not in interaction.messages and message.id != interaction.original):
        raise ApiError(Problem.UNKNOWN_MESSAGE)
    return message


async def _follow_up(call: Call) -> Any:
    world = call.world
    interaction = _hook(call)
    payload, files = await call.form()
    original = world.store.messages.get(interaction.original or 0)
    if interaction.deferred and original is not None and original.flags & LOADING:
        # The first one after a defer fills the waiting message (docs: Create Followup Message).
        return _fill(world, interaction, original, payload, files)
    message = _say(world, interaction, payload, files)
    return world.shapes.message(message)


async def _get(call: Call) -> Any:
    return call.world.shapes.message(_message(call, _hook(call)))


async def _edit(call: Call) -> Any:
    interaction = _hook(call)
    message = _message(call, interaction)
    payload, files = await call.form()
    return _fill(call.world, interaction, message, payload, files)


def _fill(
    world: World, interaction: Interaction, message: Message, payload: dict[str, Any], files: dict[int, Upload]
) -> dict[str, Any]:
    loading = bool(message.flags & LOADING)
    message.flags &= ~LOADING
    try:
        messages.change(world, message, payload, files, everyone=True)
    except ApiError:
        message.flags |= LOADING if loading else 0
        raise
    interaction.deferred = interaction.deferred and not loading
    return world.shapes.message(message)


async def _delete(call: Call) -> Any:
    interaction = _hook(call)
    messages.delete(call.world, _message(call, interaction))


def described(world: World, interaction: Interaction) -> dict[str, Any]:
    """What the person sees of it, for the page and the control API."""
    found = [world.store.messages[one] for one in interaction.messages if one in world.store.messages]
    return {
        "id": str(interaction.id),
        "state": world.desk.state(interaction),
        "choices": interaction.choices,
        "original": str(interaction.original) if interaction.original else None,
        "messages": [world.shapes.message(one) | {"ephemeral": one.only_for is not None} for one in found],
    }
