import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "fuzz.py"


@pytest.mark.real
def test_ten_thousand_mutated_inputs_are_each_taken_or_refused_in_words() -> None:
    command = [sys.executable, str(SCRIPT), "--count", "10000", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    numbers = [cell.strip() for cell in done.stdout.splitlines()[-1].strip("| ").split("|")]
    name, number, taken, refused, *faults, _ = numbers
    assert (name, number) == ("all", "10,000")
    # Mutations that nothing survives, or that nothing minds, would try nothing.
    assert min(int(value.replace(",", "")) for value in (taken, refused)) > 1000
    assert faults == ["0"] * 5
