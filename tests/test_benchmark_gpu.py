import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY


@pytest.mark.slow
def test_the_gpu_benchmark_runs_whole_on_a_processor(tmp_path: Path) -> None:
    """With what is installed; what is not is named, and nothing fails."""
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "gpu.py"), "--quick"]
    options = ["--minutes", "40", "--device", "cpu", "--json", str(tmp_path / "figures.json")]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    made = json.loads((tmp_path / "figures.json").read_text())
    assert json.loads(done.stdout.splitlines()[-1]) == made
    rows = {row["what"]: row for row in made["rows"]}
    for what in ("embed, batches of 64", "exercise, scratch", "exercise, augmented"):
        assert rows[what]["value"] > 0
    assert " of 2 epochs run" in rows["exercise, transfer"]["note"]
    assert rows["handful, 2 epochs from scratch"]["unit"] == "s"
    for row in made["rows"]:
        assert row["value"] is not None or row["note"].startswith("not installed: ")
    assert made["seconds"] < 2400
