"""Nobody is called, and nothing is left behind: telemetry of what handful is built on is off."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Python runs a module of this name at each start, those of other processes included.
WATCH = """
import os, sys
def watch(event, args):
    named = event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
    called = event in ("socket.connect", "socket.sendto") and isinstance(args[-1], tuple)
    if named or called:
        with open(os.environ["CALLS"], "a") as file:
            print(event, args, file=file)
sys.addaudithook(watch)
"""


class Stranger:
    """Somebody's computer: an empty home, and a list of the calls to other computers."""

    def __init__(self, folder: Path) -> None:
        self.calls = folder / "calls"
        self.home, self.work, self.temporary = (
            folder / name for name in ("home", "work", "temporary")
        )
        for made in (self.home, self.work, self.temporary, folder / "site"):
            made.mkdir()
        self.calls.touch()
        (folder / "site" / "sitecustomize.py").write_text(WATCH)
        # Telemetry is often off where it takes a machine for one that tests.
        kept = {
            name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ
        }
        self.environment = {
            **kept,
            "HOME": str(self.home),
            "HANDFUL_CACHE": str(folder / "cache"),
            "TMPDIR": str(self.temporary),
            "CALLS": str(self.calls),
            "PYTHONPATH": str(folder / "site"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def run(self, *arguments: str) -> str:
        """Run Python; what it printed, errors included."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.work,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def check(self) -> None:
        """Nobody was called, and nothing lies in the home folder or among temporary files."""
        assert self.calls.read_text() == ""
        assert [*self.home.rglob("*"), *self.temporary.rglob("*")] == []


@pytest.fixture
def stranger(tmp_path: Path, photo_folder: Path) -> Stranger:
    somebody = Stranger(tmp_path)
    shutil.copytree(photo_folder, somebody.work / "photos")
    return somebody


@pytest.mark.real
def test_the_main_commands_call_nobody_and_leave_nothing(stranger: Stranger) -> None:
    for command in (
        "train photos --quiet",
        "check photos --quiet",
        "predict runs/photos photos/round/000.jpg",
        "explain runs/photos photos/round/000.jpg",
        "evaluate runs/photos photos --quiet",
        "export runs/photos --format openvino",
        "export runs/photos --format onnx",
    ):
        stranger.run("-m", "handful", *command.split())
        stranger.check()
    made = {path.name for path in stranger.work.iterdir()}
    assert {"photos", "runs"} <= made and made <= {"photos", "runs", "000-explained.png"}


@pytest.mark.slow
def test_training_a_network_leaves_nothing(stranger: Stranger) -> None:
    command = "train photos --strategy scratch --epochs 1 --image-size 48 --quiet"
    stranger.run("-m", "handful", *command.split())
    stranger.check()


@pytest.mark.slow
def test_the_library_calls_nobody_either(stranger: Stranger) -> None:
    code = "from handful.features.runtime import openvino; print(openvino.__version__)"
    assert stranger.run("-c", code).count(".") >= 1
    # What the host program imports later is as it would be without handful.
    later = f"{code}; import openvino_telemetry as own; print(own.Telemetry.__module__)"
    assert stranger.run("-c", later).split()[-1] == "openvino_telemetry.main"
    converting = (
        f"{code}\nimport sys\n"
        "assert 'openvino.tools.ovc' not in sys.modules\n"
        "try:\n    openvino.convert_model('absent.onnx')\n"
        "except Exception:\n    print(openvino.convert_model.__module__)"
    )
    assert stranger.run("-c", converting).split()[-1] == "openvino.tools.ovc.convert"
    stranger.check()


@pytest.mark.slow
def test_openvino_of_the_host_program_is_taken_as_it_is(stranger: Stranger) -> None:
    code = "import sys; from unittest.mock import MagicMock;"
    code += "mine = sys.modules['openvino'] = MagicMock(); from handful.features import runtime;"
    assert stranger.run("-c", f"{code} print(runtime.openvino is mine)").split() == ["True"]


@pytest.mark.slow
def test_threads_that_come_to_openvino_first_do_not_wait_for_each_other() -> None:
    """Each of two held a lock that the other waited for; here Python's is lost at each step."""
    script = """
import sys, threading
from handful.features.runtime import openvino
import numpy as np
sys.setswitchinterval(1e-6)
together = threading.Barrier(8)
def ask():
    together.wait()
    openvino.Type.f32.to_dtype()
    openvino.Tensor(np.zeros(3, np.float32), shared_memory=True)
threads = [threading.Thread(target=ask, daemon=True) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("done")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "done\n"
