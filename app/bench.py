"""Measuring what the platform adds to llama.cpp's own first token: both asked in turn, in one run, on one machine."""

import json
import time
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Final
from urllib.request import Request, urlopen

from app.console import Asking, base_url, call, own_token
from app.core.config import home, settings
from app.wire.errors import Unavailable

WARM_UP: Final = 3
"""Rounds whose figures are thrown away: caches fill, connections open, code is compiled."""
PROMPT: Final = "Name three animals that live in the desert, number {number}."
TOKENS: Final = 16
SETTLE_SECONDS: Final = 0.2
"""Pause after each reply, so that finishing one is not counted into the first token of the next."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Milliseconds to the first token, over all rounds."""

    rounds: int
    bare_p50: float
    bare_p95: float
    platform_p50: float
    platform_p95: float
    added_p50: float
    """Median of the differences within each round."""
    ratio_p50: float


def run(rounds: int, as_json: bool) -> None:
    """Ask llama.cpp and the whole chain by turns, and print the difference."""
    engine = _Engine()
    token = own_token()
    bare: list[float] = []
    whole: list[float] = []
    for number in range(WARM_UP + rounds):
        prompt = PROMPT.format(number=number)
        # By turns which comes first: the second one finds its prompt in llama.cpp's cache.
        pair = [(bare, engine.first_token_ms), (whole, lambda words: _platform(words, token))]
        pair = pair if number % 2 else pair[::-1]
        for _, ask in pair:
            ask(prompt)  # Read once by each, so that both find the same cache.
        for kept, ask in pair:
            time.sleep(SETTLE_SECONDS)
            took = ask(prompt)
            if number >= WARM_UP:
                kept.append(took)
    figures = Figures(
        rounds,
        median(bare),
        _p95(bare),
        median(whole),
        _p95(whole),
        median(after - before for before, after in zip(bare, whole, strict=True)),
        median(whole) / median(bare),
    )
    if as_json:
        print(json.dumps(asdict(figures)))
        return
    print(f"First token, {rounds} rounds, milliseconds   p50      p95")
    print(f"  llama.cpp alone                       {figures.bare_p50:8.1f} {figures.bare_p95:8.1f}")
    print(f"  through the whole chain               {figures.platform_p50:8.1f} {figures.platform_p95:8.1f}")
    print(f"  added                                 {figures.added_p50:8.1f}   (x {figures.ratio_p50:.2f})")


def _platform(prompt: str, token: str) -> float:
    session = str(call(f"{base_url()}/api/sessions", token, b"{}")["id"])
    sampling = {"max_tokens": TOKENS, "temperature": 0.0}
    answer = Asking(base_url(), token, session, prompt, None, sampling, quiet=True).run()
    if answer.first_token_ms is None:
        raise Unavailable(f"A prompt was not answered: {answer.reason or answer.state}.")
    return answer.first_token_ms


class _Engine:
    """llama.cpp of this machine's first node, asked as the node asks it."""

    def __init__(self) -> None:
        records = sorted((home() / "run").glob("*.engine.json"))
        if not records:
            raise Unavailable("No llama.cpp of this home is running; start one with `meatlizard up`.")
        record = json.loads(records[0].read_text())
        key = records[0].with_suffix("").with_suffix(".engine.key")
        self._url = f"http://127.0.0.1:{record['port']}/v1/chat/completions"
        self._headers = {"Authorization": f"Bearer {key.read_text().strip()}", "Content-Type": "application/json"}

    def first_token_ms(self, prompt: str) -> float:
        body = {
            "messages": [{"role": "system", "content": settings().system_prompt}, {"role": "user", "content": prompt}],
            "max_tokens": TOKENS,
            "temperature": 0.0,
            "stream": True,
        }
        began = time.monotonic()
        took = None
        with urlopen(Request(self._url, json.dumps(body).encode(), self._headers), timeout=60) as response:
            for line in response:
                if took is None and b'"content":"' in line:
                    took = (time.monotonic() - began) * 1000
        if took is None:
            raise Unavailable("llama.cpp made no text.")
        return took


def _p95(values: list[float]) -> float:
    return quantiles(values, n=20)[-1] if len(values) > 1 else values[0]


