"""Discord's errors: a status, a number and a sentence (docs: topics/opcodes-and-status-codes, JSON Error Codes)."""

from collections.abc import Mapping
from enum import Enum
from typing import Any


class Problem(Enum):
    """What can be wrong: HTTP status, Discord's code, Discord's words."""

    BAD_REQUEST = (400, 0, "400: Bad Request")
    UNAUTHORIZED = (401, 0, "401: Unauthorized")
    NOT_FOUND = (404, 0, "404: Not Found")
    METHOD_NOT_ALLOWED = (405, 0, "405: Method Not Allowed")
    UNKNOWN_APPLICATION = (404, 10002, "Unknown Application")
    UNKNOWN_CHANNEL = (404, 10003, "Unknown Channel")
    UNKNOWN_GUILD = (404, 10004, "Unknown Guild")
    UNKNOWN_MEMBER = (404, 10007, "Unknown Member")
    UNKNOWN_MESSAGE = (404, 10008, "Unknown Message")
    UNKNOWN_OVERWRITE = (404, 10009, "Unknown permission overwrite")
    UNKNOWN_ROLE = (404, 10011, "Unknown Role")
    UNKNOWN_USER = (404, 10013, "Unknown User")
    UNKNOWN_WEBHOOK = (404, 10015, "Unknown Webhook")
    UNKNOWN_INTERACTION = (404, 10062, "Unknown interaction")
    UNKNOWN_COMMAND = (404, 10063, "Unknown application command")
    ROLES_FULL = (400, 30005, "Maximum number of guild roles reached (250)")
    CHANNELS_FULL = (400, 30013, "Maximum number of guild channels reached (500)")
    ATTACHMENTS_FULL = (400, 30015, "Maximum number of attachments in a message reached (10)")
    COMMANDS_FULL = (400, 30032, "Maximum number of application commands reached (100)")
    COMMANDS_DAILY = (429, 30034, "Maximum number of daily application command creates has been reached (200)")
    OLD_EDITS = (429, 30046, "Maximum number of edits to messages older than 1 hour reached. Try again later")
    OVERWRITES_FULL = (400, 30060, "Maximum number of channel permissions overwrites reached (1000)")
    TOO_LARGE = (413, 40005, "Request entity too large")
    ALREADY_ACKNOWLEDGED = (400, 40060, "Interaction has already been acknowledged.")
    MISSING_ACCESS = (403, 50001, "Missing Access")
    NOT_IN_DM = (403, 50003, "Cannot execute action on this channel type")
    NOT_YOURS = (403, 50005, "Cannot edit a message authored by another user")
    EMPTY_MESSAGE = (400, 50006, "Cannot send an empty message")
    CANNOT_MESSAGE_USER = (403, 50007, "Cannot send messages to this user")
    MISSING_PERMISSIONS = (403, 50013, "Missing Permissions")
    BULK_COUNT = (
        400,
        50016,
        "Provided too few or too many messages to delete. Must provide at least 2 and fewer than 100 messages to delete",
    )
    WRONG_CHANNEL_TYPE = (400, 50024, "Cannot execute action on this channel type")
    INVALID_BEARER = (401, 50025, "Invalid OAuth2 access token")
    MISSING_SCOPE = (403, 50026, "Missing required OAuth2 scope")
    INVALID_WEBHOOK_TOKEN = (401, 50027, "Invalid Webhook Token")
    BULK_TOO_OLD = (400, 50034, "You can only bulk delete messages that are under 14 days old.")
    INVALID_FORM = (400, 50035, "Invalid Form Body")
    THREAD_ARCHIVED = (400, 50083, "Thread is archived")
    INVALID_JSON = (400, 50109, "The request body contains invalid JSON.")
    HAS_THREAD = (400, 160004, "A thread has already been created for this message")
    THREAD_LOCKED = (400, 160005, "Thread is locked")
    THREADS_FULL = (400, 160006, "Maximum number of active threads reached")


class ApiError(Exception):
    """A request that Discord would refuse."""

    def __init__(
        self, problem: Problem, errors: Mapping[str, Any] | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(problem.value[2])
        self.status, self.code, self.message = problem.value
        self.errors = errors
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """The JSON that says it."""
        body: dict[str, Any] = {"message": self.message, "code": self.code}
        if self.errors is not None:
            body["errors"] = self.errors
        if self.retry_after is not None:
            body |= {"retry_after": round(self.retry_after, 3), "global": False}
        return body


def invalid(field: str, code: str, message: str) -> ApiError:
    """A form error at one field; `field` may be a path with dots (docs: reference, Error Messages)."""
    errors: dict[str, Any] = {"_errors": [{"code": code, "message": message}]}
    for part in reversed(field.split(".")):
        errors = {part: errors}
    return ApiError(Problem.INVALID_FORM, errors)
