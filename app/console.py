"""Asking a running platform from the command line, through the same socket as the page."""

import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from tenacity import RetryError, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import connect

from app import printed
from app.core.config import home, settings
from app.services import accounts, tokens
from app.wire.errors import MeatLizardError, Unavailable
from app.wire.states import Door, TurnState

TOKEN_FILE: Final = "cli-token"
NOT_TAKING: Final = ("away", "failed", "draining")
"""States of nodes that take no prompts, as the page has it."""
RECONNECT_SECONDS: Final = 60
"""How long a web process that was restarted is waited for."""


@dataclass(slots=True)
class Answer:
    """What came of a prompt."""

    session: str
    turn: str = ""
    state: str = ""
    text: str = ""
    lane: str = ""
    node: str = ""
    first_token_ms: float | None = None
    tokens: int = 0
    reason: str | None = None


def chat(prompt: str, session: str | None, as_json: bool) -> None:
    """Ask, and print the reply as it comes, or one object at the end; exit 1 unless it was answered."""
    # Python leaves SIGINT ignored where a script started it so; but to stop the turn is what this one means by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    token = os.environ.get("MEATLIZARD_TOKEN") or own_token()
    base = base_url()
    parent = None
    if session is None:
        session = str(call(f"{base}/api/sessions", token, b"{}")["id"])
    else:
        replies = [one["id"] for one in call(f"{base}/api/sessions/{session}", token)["messages"] if one["role"] == "assistant"]
        parent = replies[-1] if replies else None
    answer = Asking(base, token, session, prompt, parent, {}, quiet=as_json).run()
    if as_json:
        print(json.dumps(asdict(answer)))
    else:
        print()
        if answer.reason:
            print(f"meatlizard: {printed.text(answer.reason)}", file=sys.stderr)
    raise SystemExit(0 if answer.state == TurnState.DONE else 1)


def base_url() -> str:
    """Return where this machine's web process listens."""
    return f"http://{settings().host}:{settings().port}"


def own_token() -> str:
    """Return the token of this machine's command line, made at its first use; it acts as the owner."""
    path = home() / TOKEN_FILE
    if path.exists():
        return path.read_text().strip()
    owner = next((user.name for user in accounts.users() if user.role == "owner" and not user.disabled_at), None)
    if owner is None:
        raise Unavailable("There is no account yet; run `meatlizard up` first.")
    token = tokens.new(owner, "command line", tokens.DEFAULT, None, "cli", Door.CLI, unlimited=True)
    _write_private(path, token)
    return token


def _passes(error: BaseException) -> bool:
    """Say whether it is over in a moment: the platform is away, going down or coming up, and has refused nobody."""
    if isinstance(error, InvalidStatus):
        return error.response.status_code >= 500
    return isinstance(error, ConnectionClosed | InvalidHandshake | OSError)


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def call(url: str, token: str, body: bytes | None = None) -> Any:
    """Return what a route of the platform answers; a POST where there is a body."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = response.read()
            return json.loads(answer) if answer else None
    except urllib.error.HTTPError as error:
        raise MeatLizardError(json.load(error)["error"]["message"]) from error
    except OSError as error:
        raise Unavailable("The platform does not answer; is it running? `meatlizard status` tells.") from error


class Asking:
    """One prompt, asked over the socket and followed to its end, through as many connections as it takes."""

    def __init__(self, base: str, token: str, session: str, prompt: str, parent: str | None, sampling: dict[str, Any], *, quiet: bool) -> None:
        self._base, self._token = base, token
        self._url = f"{base.replace('http', 'ws', 1)}/ws/sessions/{session}"
        self._headers = {"Authorization": f"Bearer {token}"}
        self._answer = Answer(session)
        self._prompt = {"type": "prompt", "id": str(uuid4()), "text": prompt, "parent": parent, "sampling": sampling}
        self._quiet = quiet
        self._shown = bytearray()
        self._sent_at = 0.0
        self._attempt = 0
        self._unwanted = False
        self._place = ""

    def run(self) -> Answer:
        """Return what came of it; raise where the platform refused the prompt or stayed away.

        Ctrl-C stops the turn, as the page's button does, and what was written until then is the answer; twice, it ends at once.
        """
        self._sent_at = time.monotonic()
        try:
            return self._patiently()
        except KeyboardInterrupt:
            # Perhaps it was not even known whether the prompt was kept: sent once more, it says which turn to stop.
            self._unwanted = True
            return self._patiently()

    def _patiently(self) -> Answer:
        patience = Retrying(
            stop=stop_after_delay(RECONNECT_SECONDS),
            wait=wait_random_exponential(multiplier=0.2, max=2),
            retry=retry_if_exception(_passes),
        )
        try:
            return patience(self._follow)
        except RetryError as error:
            raise Unavailable("The platform has not answered for a minute; `meatlizard status` tells what is wrong.") from error
        except InvalidStatus as refused:
            raise MeatLizardError(f"The platform refused the connection ({refused.response.status_code}).") from refused

    def _follow(self) -> Answer:
        """Be connected once; return when the turn has ended, raise what ended the connection before that."""
        try:
            with connect(self._url, additional_headers=self._headers, max_size=None, compression=None) as socket:
                # The same prompt with the same id: where it was taken in before, this only resumes it.
                socket.send(json.dumps(self._prompt))
                while not self._hear(json.loads(socket.recv())):
                    pass
                return self._answer
        except ConnectionClosed as closed:
            if closed.rcvd and closed.rcvd.code in (4401, 4404):
                raise MeatLizardError(closed.rcvd.reason) from closed
            raise

    def _hear(self, event: dict[str, Any]) -> bool:
        answer = self._answer
        match event["event"]:
            case "error":
                raise MeatLizardError(event["message"])
            case "accepted":
                answer.turn = event["turn"]
                if self._unwanted:
                    call(f"{self._base}/api/turns/{answer.turn}/stop", self._token, b"")
            case "queued":
                self._tell(event)
            case "started":
                answer.node = event.get("node", "")
                if event["attempt"] > self._attempt:  # Else it is told again, after a connection that broke.
                    self._attempt = event["attempt"]
                    self._cut(event["at"])
            case "delta":
                self._show(event["at"], event["text"].encode())
            case "done" | "failed" | "cancelled" as state:
                answer.state, answer.reason = state, event.get("reason")
                answer.text = event.get("text") or self._shown.decode()
                answer.lane = event.get("lane") or ""
                answer.tokens = (event.get("usage") or {}).get("completion_tokens") or 0
                return True
        return False

    def _tell(self, event: dict[str, Any]) -> None:
        """Say on stderr where the turn stands, whenever that is another place."""
        position, eta = event.get("position"), event.get("eta")
        if self._quiet or not position:
            return
        somebody = eta is not None or self._anybody()
        place = f"number {position} in the queue" if somebody else "no node takes prompts just now; yours waits for one"
        if place != self._place:
            self._place = place
            print(f"meatlizard: {place}{'' if eta is None else f', about {max(1, round(eta))} s'}.", file=sys.stderr, flush=True)

    def _anybody(self) -> bool:
        try:
            return any(one["state"] not in NOT_TAKING for one in call(f"{self._base}/api/state", self._token)["nodes"])
        except MeatLizardError:  # This token may not see it, or the web process is on its way out.
            return True

    def _cut(self, at: int) -> None:
        del self._shown[at:]

    def _show(self, at: int, text: bytes) -> None:
        new = text[len(self._shown) - at :]
        if not new:
            return
        if self._answer.first_token_ms is None:
            self._answer.first_token_ms = round((time.monotonic() - self._sent_at) * 1000, 2)
        self._shown += new
        if not self._quiet:
            sys.stdout.write(printed.text(new.decode(errors="replace")))
            sys.stdout.flush()
