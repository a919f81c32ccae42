import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from handful.children import tied

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux", reason="only Linux kills children with their parents"
    ),
]

_PARENT = """
import subprocess, sys
from handful.children import tied
child = subprocess.Popen(tied([sys.executable, "-c", "import time; print(1); time.sleep(60)"]),
                         stdout=subprocess.PIPE)
print(child.pid, child.stdout.readline(), flush=True)
child.wait()
"""


def ends(pid: int, seconds: float = 120.0) -> bool:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.slow
def test_a_child_is_killed_with_its_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline().split()[0])
        parent.send_signal(signal.SIGKILL)
    assert ends(child)


@pytest.mark.slow
def test_a_child_whose_parent_has_ended_before_does_nothing(tmp_path: Path) -> None:
    command = tied(["touch", str(tmp_path / "made")])
    command[command.index(str(os.getpid()))] = "999999999"  # no process's
    assert subprocess.run(command).returncode == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_child_is_the_program_itself() -> None:
    done = subprocess.run(tied(["sh", "-c", "cat; exit 3"]), input=b"told", capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"told", b"")
