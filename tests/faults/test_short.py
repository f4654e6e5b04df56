"""The short form of the fault suite: each kind of fault once, and each process killed once, from one seed."""

from pathlib import Path

import pytest

from tests.faults import run

SEED = 20


@pytest.mark.timeout(1500)
async def test_everything_breaks_once_and_nothing_is_lost(tmp_path: Path) -> None:
    result = await run.run(tmp_path, SEED, run.SHORT)
    assert not result.findings, "\n".join(result.findings)
    assert result.outcomes.get("done", 0) > result.turns / 2
    assert "none" not in result.outcomes
    assert result.turns >= run.SHORT.people, "everybody asked"
    kinds = {fault.name.partition(":")[0] for fault in result.faults}
    assert kinds >= {"killed", "ended", "stopped", "gateway dropped", "emptied", "disk full", "clock stepped", "wire cut", "engine crash"}
