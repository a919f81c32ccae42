import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from handful.errors import MissingExtraError, UsageError
from handful.features.keras_runtime import (
    BACKENDS,
    chosen_backend,
    is_built_for_gpus,
    require_keras,
)


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    ours = ("TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND", "TF_ENABLE_ONEDNN_OPTS")
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


def test_a_backend_with_a_gpu_is_taken_before_others(
    installed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = "handful.features.keras_runtime"
    installed.update({"tensorflow", "jax", "torch"})
    monkeypatch.setattr(f"{runtime}.is_built_for_gpus", lambda name: name in ("jax", "torch"))
    monkeypatch.setattr(f"{runtime}.has_nvidia_gpu", lambda: True)
    assert (chosen_backend(), chosen_backend("gpu")) == ("jax", "jax")
    assert chosen_backend("cpu") == "tensorflow"
    monkeypatch.setattr(f"{runtime}.has_nvidia_gpu", lambda: False)
    assert chosen_backend() == "tensorflow"


def test_what_was_built_for_gpus_is_told_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def install(name: str, entry_points: str = "") -> None:
        folder = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(entry_points)
        importlib.invalidate_caches()

    monkeypatch.syspath_prepend(tmp_path)
    assert not any(map(is_built_for_gpus, ("jax", "torch")))
    install("jax-cuda13-plugin", "[jax_plugins]\nxla_cuda13 = jax_plugins.xla_cuda13\n")
    assert is_built_for_gpus("jax")
    (tmp_path / "torch" / "lib").mkdir(parents=True)
    (tmp_path / "torch" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert not is_built_for_gpus("torch")
    (tmp_path / "torch" / "lib" / "libtorch_cuda.so").touch()
    assert is_built_for_gpus("torch")
    install("nvidia-cudnn-cu12")
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    assert is_built_for_gpus("tensorflow")
    install("tensorflow-cpu")
    assert not is_built_for_gpus("tensorflow")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_training_goes_where_it_was_asked_to(backend: str) -> None:
    done = run(
        """
from handful.errors import UsageError
from handful.features.keras_runtime import prepare_keras, sees_gpu, trains_on
prepare_keras(device="cpu")
import keras
for device in ("cpu", "auto"):
    with trains_on(device):
        print(keras.ops.convert_to_numpy(keras.ops.ones(2) + 1))
print(sees_gpu())
try:
    with trains_on("gpu"):
        pass
except UsageError as error:
    print(error)
""",
        KERAS_BACKEND=backend,
        CUDA_VISIBLE_DEVICES="",
    )
    assert done.returncode == 0, done.stderr
    first, second, sees, error = done.stdout.splitlines()
    assert (first, second, sees) == ("[2. 2.]", "[2. 2.]", "False")
    assert error.startswith(f"`device` is 'gpu', and {backend}, which Keras trains with, has none")


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
ours = {"KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS"} & set(os.environ)
print(keras.backend.backend(), ours, after == before)
""")
    assert (done.returncode, done.stdout) == (0, "tensorflow set() True\n"), done.stderr


@pytest.mark.real
@pytest.mark.parametrize(
    ("asked", "expected"), [({}, True), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, False)]
)
def test_fast_convolutions_are_taken_on_every_processor_unless_the_user_says_otherwise(
    asked: dict[str, str], expected: bool
) -> None:
    """TensorFlow by itself takes them where a processor has AVX-512 VNNI and its like."""
    done = run(
        """
from handful.features.keras_runtime import prepare_keras
prepare_keras()
from tensorflow.python.util import _pywrap_util_port
print(_pywrap_util_port.IsMklEnabled())
""",
        **asked,
    )
    assert done.stdout == f"{expected}\n", done.stderr


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
