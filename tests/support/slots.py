"""What a stack's llama.cpp itself says of its slots: nobody else's word on whether one is free."""

from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.stack import Stack


@dataclass(frozen=True)
class Slots:
    """The slots of one engine of ours."""

    url: str
    key: str

    @classmethod
    def of(cls, stack: Stack, engine: str = "llama.cpp") -> "Slots":
        """Find the engine by its command line."""
        words = stack.process(engine).cmdline()

        def given(option: str) -> str:
            return words[words.index(option) + 1]

        return cls(f"http://127.0.0.1:{given('--port')}", Path(given("--api-key-file")).read_text().strip())

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def busy(self) -> int:
        """Return how many of them work."""
        return _busy(httpx.get(f"{self.url}/slots", headers=self.headers, timeout=10))

    async def busy_async(self, client: httpx.AsyncClient) -> int:
        """Do the same on an event loop."""
        return _busy(await client.get(f"{self.url}/slots", headers=self.headers))


def _busy(answer: httpx.Response) -> int:
    return sum(bool(one["is_processing"]) for one in answer.raise_for_status().json())
