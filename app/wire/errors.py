"""The errors that people see.

    MeatLizardError
    ├── BadInput            what was sent cannot be used as it is
    │   ├── PromptTooLong
    │   └── TooLarge        a request of more bytes than are read
    ├── NotAllowed          signed in, but this is not yours to do
    ├── NotFound            no such thing, or not yours: the answer is the same
    ├── NotSignedIn
    ├── Busy                a limit is reached for now
    │   └── TooOften        and it ends at a known time
    ├── Unavailable         a server the platform needs is away; nothing was lost
    └── EnvelopeError       sealed bytes that do not open
        ├── EnvelopeForged
        └── EnvelopeTooOld
"""


class MeatLizardError(Exception):
    """An error with a code for programs and one plain sentence for people."""

    code = "error"
    status = 500
    """The HTTP status that says the same."""
    message = "Something went wrong. Try again; if it stays, look at the logs folder."
    retry_seconds: int | None = None
    """When to try again, where that can be said."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.message)

    def __str__(self) -> str:
        return str(self.args[0])


class BadInput(MeatLizardError):
    """What was sent cannot be used as it is."""

    code = "bad_input"
    status = 400
    message = "This request could not be read."


class PromptTooLong(BadInput):
    """A prompt over the limit in characters."""

    code = "prompt_too_long"
    status = 413

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(f"The prompt has {length:,} characters; {limit:,} is the limit. Shorten it and send it again.")


class TooLarge(BadInput):
    """A request of more bytes than are read."""

    code = "too_large"
    status = 413

    message = "The request is larger than what is read."

    def __init__(self, limit: int | None = None) -> None:
        super().__init__(f"The request is larger than {limit:,} bytes." if limit else None)


class NotAllowed(MeatLizardError):
    """Signed in, but this is not yours to do."""

    code = "not_allowed"
    status = 403
    message = "You may not do this. Ask an administrator."


class NotFound(MeatLizardError):
    """No such thing, or not yours: the answer is the same."""

    code = "not_found"
    status = 404
    message = "There is nothing here, or it is not yours."


class NotSignedIn(MeatLizardError):
    """No login, or one that has ended."""

    code = "not_signed_in"
    status = 401
    message = "Sign in first."


class Busy(MeatLizardError):
    """A limit is reached for now."""

    code = "busy"
    status = 429
    retry_seconds = 5
    message = "Too much at once. Wait a moment and send it again."


class TooOften(Busy):
    """A limit that ends after a known time."""

    code = "too_often"

    def __init__(self, what: str, seconds: int) -> None:
        minutes = -(-seconds // 60)
        wait = f"{seconds} seconds" if seconds < 90 else f"{minutes} minutes"
        super().__init__(f"{what}. Try again in {wait}.")
        self.retry_seconds = seconds
        """How long it lasts; answers carry it as Retry-After."""


class Unavailable(MeatLizardError):
    """A server the platform needs is away; nothing was lost."""

    code = "unavailable"
    status = 503
    retry_seconds = 5
    message = "The platform cannot reach one of its servers right now. Nothing was lost; try again in a moment."


class EnvelopeError(MeatLizardError):
    """Sealed bytes that do not open."""

    code = "envelope"
    message = "A sealed message did not open."


class EnvelopeForged(EnvelopeError):
    """Changed on the way, sealed with another key, or meant for another purpose, session, node or direction."""

    code = "envelope_forged"
    message = "A sealed message did not open: it was changed, or sealed for someone else."


class EnvelopeTooOld(EnvelopeError):
    """A message that opens but was sealed too long ago to be believed."""

    code = "envelope_too_old"
    message = "A sealed message was refused: it is too old."
