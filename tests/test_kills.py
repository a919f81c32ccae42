"""A few of the kills that `benchmarks/kills.py` makes by the hundred."""

import importlib
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found in Linux's /proc"),
]


@pytest.mark.parametrize(("job", "count"), [("head", 3), ("check", 3), ("network", 2)])
def test_a_kill_loses_nothing_and_the_next_command_cleans_up(
    job: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    kills = importlib.import_module("kills")
    monkeypatch.setattr(kills, "CHILD_SECONDS", 120.0)  # a busy machine may take longer
    found = list(kills.kills(tmp_path, (job,), count, seconds=900))
    assert len(found) == count
    for kill in found:
        assert (kill.lost, kill.litter, kill.failed) == ([], [], ""), kill
        assert kill.child_seconds < kills.CHILD_SECONDS, kill
    # What was found is kept, and not done again.
    assert list(kills.kills(tmp_path, (job,), count, seconds=0)) == found
