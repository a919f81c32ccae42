"""Exported models, opened as a stranger would: each in its own runtime, without handful's code."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.cores import available_cores
from handful.data.decoding import DecodeSettings, resize
from handful.environment import default_variables
from handful.exporting.export_graph import INPUT_NAME, OUTPUT_NAME
from handful.exporting.web_browser import find_chromium, page_runner
from handful.exporting.web_page import unpack
from handful.extras import require
from handful.features.keras_runtime import prepare_keras, require_keras

# From one image (H, W, 3) uint8 RGB to its probabilities (C,).
Runner = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
FILE_NAMES = {
    "openvino": "model.xml",
    "onnx": "model.onnx",
    "litert": "model.tflite",
    "keras": "model.keras",
    "web": "classifier.html",
}
_PACKAGES = {
    "openvino": "openvino",
    "onnx": "onnxruntime",
    "litert": "ai-edge-litert",
    "keras": "keras",
}
# What each format needs besides what handful needs itself: the extra, and modules of it.
_EXTRAS: dict[str, list[tuple[str, ...]]] = {
    "openvino": [],
    "onnx": [("export", "onnx", "onnxruntime")],
    "litert": [("export", "ai_edge_litert"), ("tensorflow", "tensorflow", "keras")],
    "keras": [],
    "web": [("export", "onnx", "onnxruntime")],
}


def check_extra(format: str) -> None:
    """Find out, before the work, whether all that a format needs is installed.

    Args:
        format: One of `FILE_NAMES`.

    Raises:
        MissingExtraError: When it is not.
    """
    for extra, *modules in _EXTRAS[format]:
        require(extra, f"Format {format}", *modules)
    if format == "keras":
        require_keras("Format keras")


def open_export(path: Path, format: str) -> Runner:
    """Open an exported model in its own runtime.

    Args:
        path: The model's file.
        format: "openvino", "onnx", "litert" or "keras".

    Returns:
        A function from one image, (H, W, 3) uint8 RGB, to its probabilities, (C,) float32.
    """
    return _OPENERS[format](path)


@contextmanager
def running_export(
    path: Path, format: str, settings: DecodeSettings
) -> Iterator[tuple[Runner, str]]:
    """Have an exported model or page open for as long as a block lasts.

    Args:
        path: The model's file.
        format: One of `FILE_NAMES`.
        settings: The classifier's, for a page where there is no browser to open it in.

    Yields:
        A function from one image, (H, W, 3) uint8 RGB, to its probabilities, (C,) float32; and
        what computes them, in words.
    """
    if format != "web":
        yield open_export(path, format), f"{_PACKAGES[format]} {version(_PACKAGES[format])}"
        return
    chromium = find_chromium()
    if chromium is None:
        run = _open_onnx_bytes(unpack(path.read_bytes(), "network"))
        # The page's own resizing is not tried: no browser is here.
        found = f"onnxruntime {version('onnxruntime')}, on the page's network; not in a browser"
        yield lambda image: run(resize(image, settings)), found
        return
    with page_runner(path, chromium) as runner:
        yield runner, f"{runner.browser}, the whole page"


def _open_openvino(path: Path) -> Runner:
    from handful.features.runtime import openvino

    # Else a processor with bfloat16 would compute in it, the resizing too.
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": available_cores()}
    compiled = openvino.Core().compile_model(path, "CPU", options)
    return lambda image: np.array(compiled({INPUT_NAME: image[np.newaxis]})[0][0])


def _open_onnx(path: Path) -> Runner:
    return _open_onnx_bytes(path.read_bytes())


def _open_onnx_bytes(data: bytes) -> Runner:
    # Read once, when it is imported: else it leaves an id in the home folder and sends events.
    with default_variables(ORT_DISABLE_TELEMETRY="1"):
        onnxruntime: Any = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_cores()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return lambda image: np.array(session.run([OUTPUT_NAME], {INPUT_NAME: image[np.newaxis]})[0][0])


def _open_litert(path: Path) -> Runner:
    with default_variables(TF_CPP_MIN_LOG_LEVEL="3"):
        litert: Any = import_module("ai_edge_litert.interpreter")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interpreter = litert.Interpreter(model_path=str(path), num_threads=available_cores())
    run = interpreter.get_signature_runner()

    def classify(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        (probabilities,) = run(**{INPUT_NAME: image[np.newaxis]}).values()
        return np.array(probabilities[0])

    return classify


def _open_keras(path: Path) -> Runner:
    prepare_keras()
    import keras

    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    return lambda image: np.asarray(model(image[np.newaxis], training=False))[0]


_OPENERS: dict[str, Callable[[Path], Runner]] = {
    "openvino": _open_openvino,
    "onnx": _open_onnx,
    "litert": _open_litert,
    "keras": _open_keras,
}
