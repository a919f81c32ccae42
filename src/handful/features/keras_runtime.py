"""Keras, the one place that starts it: on the backend that is asked for or installed, quietly."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

from handful.environment import default_variables
from handful.errors import MissingExtraError, UsageError
from handful.extras import is_installed, missing_extra, require

# What Keras can train with, the first that is installed being taken.
BACKENDS = ("tensorflow", "jax", "torch")


def chosen_backend() -> str:
    """What Keras computes with here.

    Returns:
        `KERAS_BACKEND` where it is set, else the first of `BACKENDS` that is installed.
    """
    installed = (name for name in BACKENDS if is_installed(name))
    return os.environ.get("KERAS_BACKEND") or next(installed, BACKENDS[0])


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


def prepare_keras(purpose: str = "Training a network") -> None:
    """Import Keras with its backend below it, quietly.

    `KERAS_BACKEND` and `TF_CPP_MIN_LOG_LEVEL` are respected where they are set; the environment is
    afterwards what it was before. A Keras that has been imported is left as it is.

    Args:
        purpose: As for `require_keras`.

    Raises:
        MissingExtraError: As `require_keras` does.
        UsageError: As `require_keras` does.
    """
    if "keras" in sys.modules:
        return
    require_keras(purpose)
    wants_quiet = "TF_CPP_MIN_LOG_LEVEL" not in os.environ
    with default_variables(KERAS_BACKEND=chosen_backend(), TF_CPP_MIN_LOG_LEVEL="3"):
        if os.environ["KERAS_BACKEND"] == "tensorflow":
            logging.getLogger("tensorflow").addFilter(_NoRetracing())
            # Its first lines come before it reads the level.
            if "tensorflow" not in sys.modules and wants_quiet and _process.is_own:
                with _standard_error_closed():
                    import tensorflow  # noqa: F401
        import keras  # noqa: F401


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
