import os
import subprocess
import sys
from pathlib import Path

import pytest

from handful.errors import MissingExtraError, UsageError
from handful.features.keras_runtime import BACKENDS, chosen_backend, require_keras


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    ours = ("TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND")
    clean = {name: value for name, value in os.environ.items() if name not in ours}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env={**clean, **variables})


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names that count as installed, all else being missing; Keras is not imported yet."""
    found: set[str] = set()
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    for place in ("extras", "features.keras_runtime"):
        monkeypatch.setattr(f"handful.{place}.is_installed", found.__contains__)
    return found


def test_what_is_installed_is_taken_and_what_is_asked_for_before(
    installed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed.update({"torch", "jax", "keras"})
    assert chosen_backend() == "jax"
    require_keras("Training")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert chosen_backend() == "torch"
    require_keras("Training")


def test_what_is_missing_is_named_with_its_extra(
    installed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingExtraError, match=r"^Training needs .*'handful\[tensorflow\]'$"):
        require_keras("Training")
    installed.add("torch")
    with pytest.raises(MissingExtraError, match=r"needs keras, which .*'handful\[keras\]'$"):
        require_keras("Training")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(MissingExtraError, match="KERAS_BACKEND is 'jax', which is not installed"):
        require_keras("Training")
    monkeypatch.setenv("KERAS_BACKEND", "openvino")
    with pytest.raises(UsageError, match=f"and training trains.*expected {', '.join(BACKENDS)}"):
        require_keras("Training")


@pytest.mark.real
def test_tensorflow_starts_quietly() -> None:
    done = run(
        "from handful.features.registry import build_network, find_backbone\n"
        "from handful.features.keras_runtime import claim_process\n"
        "claim_process(); print(build_network(find_backbone()).output_shape)"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "(None, 1280)\n", "")


@pytest.mark.real
def test_keras_starts_without_touching_what_is_the_hosts() -> None:
    """Its environment, and its loggers."""
    done = run("""
import logging, os
from handful.features.keras_runtime import prepare_keras
before = logging.getLogger().handlers[:], logging.getLogger("tensorflow").level
prepare_keras()
import keras
after = logging.getLogger().handlers[:], logging.getLogger("tensorflow").level
ours = {"KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL"} & set(os.environ)  # TensorFlow sets its own
print(keras.backend.backend(), ours, after == before)
""")
    assert (done.returncode, done.stdout) == (0, "tensorflow set() True\n"), done.stderr


@pytest.mark.slow
def test_a_host_keeps_its_standard_error(tmp_path: Path) -> None:
    """Only a process of handful's own is silenced while TensorFlow is imported."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text(
        "import os, sys\nsys.seen.append(os.fstat(2).st_ino)\nraise ImportError"
    )
    code = """
import os, sys
from handful.features.keras_runtime import claim_process, prepare_keras
sys.seen = []
own = os.fstat(2).st_ino
for _ in range(2):
    os.environ.pop("TF_CPP_MIN_LOG_LEVEL", None)
    try:
        prepare_keras()
    except ImportError:
        pass
    for name in [name for name in sys.modules if name.partition(".")[0] == "keras"]:
        del sys.modules[name]
    claim_process()
print([inode == own for inode in sys.seen])
"""
    done = run(code, PYTHONPATH=str(tmp_path), KERAS_BACKEND="tensorflow")
    assert done.stdout.startswith("[True"), done.stderr
    assert done.stdout.endswith("False]\n"), done.stdout
