"""Keras, the one place that starts it: on the backend asked for, or that has a GPU, quietly."""

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, entry_points
from importlib.util import find_spec
from pathlib import Path

from handful.environment import default_variables
from handful.errors import MissingExtraError, UsageError
from handful.extras import is_installed, missing_extra, require
from handful.features.gpu_drivers import has_nvidia_gpu

# What Keras can train with, the first that is installed being taken.
BACKENDS = ("tensorflow", "jax", "torch")
# Else one library takes nearly all of a GPU's memory, and the next finds none.
_SHARED_MEMORY = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}


def chosen_backend(device: str = "auto") -> str:
    """What Keras computes with here.

    Args:
        device: "cpu" where no GPU will be used.

    Returns:
        `KERAS_BACKEND` where it is set; else the first of `BACKENDS` that was installed for the
        GPU that is there, or that is installed.
    """
    asked = os.environ.get("KERAS_BACKEND")
    if asked:
        return asked
    installed = [name for name in BACKENDS if is_installed(name)]
    able = []
    if device != "cpu" and len(installed) > 1 and has_nvidia_gpu():
        able = [name for name in installed if is_built_for_gpus(name)]
    return next(iter([*able, *installed]), BACKENDS[0])


def is_built_for_gpus(backend: str) -> bool:
    """Whether what is installed of a backend can use NVIDIA GPUs; it is not imported to tell.

    Args:
        backend: One of `BACKENDS`.

    Returns:
        False also for a TensorFlow whose CUDA was not installed by pip.
    """
    if backend == "jax":
        return any("cuda" in found.name for found in entry_points(group="jax_plugins"))
    if backend == "torch":
        spec = find_spec("torch")
        folders = (spec and spec.submodule_search_locations) or []
        libraries = ("libtorch_cuda.so", "torch_cuda.dll")
        return any((Path(place) / "lib" / name).exists() for place in folders for name in libraries)
    return _is_there("nvidia-cudnn-cu12") and not _is_there("tensorflow-cpu")


def _is_there(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


def require_keras(purpose: str) -> None:
    """Find out, before the work, whether networks can be trained here; nothing is imported.

    Args:
        purpose: What needs it, at the beginning of a sentence.

    Raises:
        MissingExtraError: When Keras or all that it could compute with is not installed.
        UsageError: When `KERAS_BACKEND` names what cannot train.
    """
    if "keras" in sys.modules:
        return
    backend = chosen_backend()
    if backend not in BACKENDS:
        raise UsageError(
            f"KERAS_BACKEND is {backend!r}, and {purpose[0].lower()}{purpose[1:]} trains a "
            f"network; expected {', '.join(BACKENDS)}, or no such variable."
        )
    if not is_installed(backend):
        if backend != "tensorflow":
            raise MissingExtraError(
                f"KERAS_BACKEND is {backend!r}, which is not installed. Install it, or unset "
                "KERAS_BACKEND."
            )
        raise missing_extra(
            "tensorflow",
            f"{purpose} needs Keras and what it computes with: TensorFlow, JAX or PyTorch, of "
            "which none is installed.",
        )
    require("keras", purpose, "keras")


def prepare_keras(device: str = "auto") -> None:
    """Import Keras with its backend below it, quietly.

    `KERAS_BACKEND`, `TF_CPP_MIN_LOG_LEVEL` and `TF_ENABLE_ONEDNN_OPTS` are respected where they are
    set; the environment is afterwards what it was before. A Keras that has been imported is left
    as it is.

    Args:
        device: As for `chosen_backend`.

    Raises:
        MissingExtraError: As `require_keras` does.
        UsageError: As `require_keras` does.
    """
    if "keras" in sys.modules:
        return
    require_keras("Training a network")
    wants_quiet = "TF_CPP_MIN_LOG_LEVEL" not in os.environ
    own = {
        "KERAS_BACKEND": chosen_backend(device),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # Left to itself, TensorFlow takes it on newer processors only; with AVX2 it halves a step.
        "TF_ENABLE_ONEDNN_OPTS": "1",
    }
    with default_variables(**own, **_SHARED_MEMORY):
        if os.environ["KERAS_BACKEND"] == "tensorflow":
            logging.getLogger("tensorflow").addFilter(_NoRetracing())
            # Its first lines come before it reads the level.
            if "tensorflow" not in sys.modules and wants_quiet and _process.is_own:
                with _standard_error_closed():
                    import tensorflow  # noqa: F401
        import keras  # noqa: F401

        if device != "cpu" and has_nvidia_gpu():
            sees_gpu()  # libraries read how to share its memory when they first look for it


def sees_gpu() -> bool:
    """Whether what Keras computes with, imported, really has a GPU."""
    import keras

    backend = keras.backend.backend()
    try:
        if backend == "jax":
            import jax

            return any(found.platform in ("gpu", "cuda", "rocm") for found in jax.devices())
        if backend == "torch":
            torch = importlib.import_module("torch")
            return bool(torch.cuda.is_available())
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))
    except Exception:  # whatever a broken driver makes them raise
        return False


@contextlib.contextmanager
def trains_on(device: str) -> Iterator[None]:
    """Have networks that are built and trained in a block compute where it was asked.

    Args:
        device: "auto" leaves it to Keras, which takes a GPU where its backend has one; "cpu" or
            "gpu".

    Raises:
        UsageError: For "gpu", when there is none.
    """
    import keras

    if device == "gpu" and not sees_gpu():
        raise UsageError(
            f"`device` is 'gpu', and {keras.backend.backend()}, which Keras trains with, has none. "
            "Install JAX or PyTorch for CUDA, or set `device` to auto or cpu."
        )
    with keras.device("cpu:0") if device == "cpu" else contextlib.nullcontext():
        yield


class _NoRetracing(logging.Filter):
    """TensorFlow warns of every second network in a process that its functions are traced anew."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "retracing" not in record.getMessage()


class _Process:
    """What may be done to this process."""

    is_own = False


_process = _Process()


def claim_process() -> None:
    """Say that the process is handful's own: a command's, not one that uses the library.

    Only there may standard error be closed while TensorFlow is imported, for other threads of a
    host may be writing to it.
    """
    _process.is_own = True


@contextlib.contextmanager
def _standard_error_closed() -> Iterator[None]:
    """Send what compiled code writes to standard error nowhere."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextlib.contextmanager
def usual_keras() -> Iterator[None]:
    """Channels last and float32, whatever the user's `keras.json` says."""
    import keras

    kept = keras.config.image_data_format(), keras.config.floatx()
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    try:
        yield
    finally:
        keras.config.set_image_data_format(kept[0])
        keras.config.set_floatx(kept[1])
