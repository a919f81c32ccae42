"""Keras networks as OpenVINO graphs, whatever Keras computes with.

With TensorFlow a network is frozen into a file of TensorFlow's. Keras' backend for OpenVINO builds
the graph by itself, but trains nothing: a network on JAX or PyTorch is saved, and a child process
with that backend reads it; or with TensorFlow, where Keras has it no more (from 3.16 on it is a
package of its own, keras-openvino).
"""

import importlib
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handful.children import tied
from handful.environment import own_environment
from handful.errors import HandfulError
from handful.extras import is_installed

if TYPE_CHECKING:
    import keras
    import openvino

_CHILD = (
    "import sys; from handful.features.keras_conversion import convert_saved; "
    "convert_saved(*sys.argv[1:])"
)


def convert_keras(network: "keras.Model", folder: Path) -> "openvino.Model":
    """Convert a network; batch norm is folded into the convolutions.

    Args:
        network: Model from RGB pictures (N, S, S, 3) in [0, 255] to features (N, D).
        folder: Existing folder for files of temporary use.

    Returns:
        The same from uint8 pictures, N left free.

    Raises:
        HandfulError: When a network on JAX or PyTorch cannot be saved and read again.
    """
    import keras

    if keras.backend.backend() == "tensorflow":
        graph = _frozen(network, folder)
    elif keras.backend.backend() == "openvino":
        graph = _traced(network)
    else:
        graph = _converted_in_child(network, folder)
    # A test counts what is left.
    folding = importlib.import_module("openvino._offline_transformations")
    folding.apply_moc_transformations(graph, cf=True)
    return graph


def child_environment(backend: str) -> dict[str, str]:
    """Variables for a process of ours that runs Keras.

    Args:
        backend: What Keras computes with there.

    Returns:
        This process's variables, with the backend and the way to this package.
    """
    package_folder = str(Path(__file__).resolve().parents[2])
    search_path = [package_folder, *filter(None, [os.environ.get("PYTHONPATH")])]
    changed = {"KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(search_path)}
    return {**os.environ, **own_environment(), **changed}


def _frozen(network: "keras.Model", folder: Path) -> "openvino.Model":
    """Freeze a network into a file of TensorFlow's and let OpenVINO's compiled reader take it.

    `openvino.convert_model` would go through Python code that runs `exec("del tensorflow")`,
    which Python 3.13 and later do not allow inside a function.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    from handful.features.runtime import openvino

    signature = [tf.TensorSpec([None, *network.input_shape[1:]], tf.uint8, name="images")]

    # Autograph would write a file for temporary use, which a killed process leaves.
    @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
    def embed(images: Any) -> Any:
        return network(tf.cast(images, tf.float32), training=False)

    frozen = convert_variables_to_constants_v2(embed.get_concrete_function())
    path = folder / "frozen.pb"
    path.write_bytes(frozen.graph.as_graph_def().SerializeToString())
    reader = openvino.frontend.FrontEndManager().load_by_framework("tf")
    graph = reader.convert(reader.load(path))
    path.unlink()
    return graph


def _traced(network: "keras.Model") -> "openvino.Model":
    """Call a network of Keras' OpenVINO backend on a parameter of a graph."""
    import numpy as np

    from handful.features.runtime import openvino, ops

    images = ops.parameter([-1, *network.input_shape[1:]], np.uint8)
    tensor_of = importlib.import_module(f"{_openvino_backend()}.core").OpenVINOKerasTensor
    values = tensor_of(ops.convert(images, "f32").output(0))
    return openvino.Model([ops.result(network(values, training=False).output)], [images])


def _converted_in_child(network: "keras.Model", folder: Path) -> "openvino.Model":
    saved = folder / "saved.keras"
    network.save(saved)
    try:
        return convert_file(saved, folder)
    finally:
        saved.unlink()


def convert_file(
    saved: Path,
    folder: Path,
    name: str = "The network",
    advice: str = "KERAS_BACKEND=tensorflow converts networks in another way",
) -> "openvino.Model":
    """Convert a network in a file of Keras' own, in a process of its own.

    Args:
        saved: The `.keras` file.
        folder: Existing folder for files of temporary use.
        name: What to call it, at the beginning of a sentence.
        advice: What to do where it cannot be converted.

    Returns:
        The same from uint8 pictures, N left free.

    Raises:
        HandfulError: When it cannot be read or converted.
    """
    from handful.features.runtime import openvino

    converted = folder / "converted.xml"
    child = subprocess.run(
        tied([sys.executable, "-c", _CHILD, str(saved), str(converted)]),
        env=child_environment(_converting_backend()),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    if child.returncode:
        words = [line.strip() for line in child.stderr.splitlines() if line.strip()]
        reason = words[-1].rstrip(".") if words else "killed"
        raise HandfulError(f"{name} could not be converted for OpenVINO: {reason}. {advice}.")
    # Read as a whole, for the file goes.
    graph = openvino.Core().read_model(converted.read_bytes(), _weights_of(converted))
    for path in (converted, converted.with_suffix(".bin")):
        path.unlink()
    return graph


def _openvino_backend() -> str | None:
    """The package of Keras' OpenVINO backend: Keras' own, or the one beside it; or None."""
    # Looking for a module in a package imports the package.
    keras = find_spec("keras")
    folders = [] if keras is None else keras.submodule_search_locations or []
    if any(Path(folder, "src", "backend", "openvino").is_dir() for folder in folders):
        return "keras.src.backend.openvino"
    return "keras_openvino.src.ops" if is_installed("keras_openvino") else None


def _converting_backend() -> str:
    """Keras' OpenVINO backend; TensorFlow where that is not there and TensorFlow is."""
    has_none = _openvino_backend() is None
    return "tensorflow" if has_none and is_installed("tensorflow") else "openvino"


def _weights_of(path: Path) -> Any:
    import numpy as np

    from handful.features.runtime import openvino

    return openvino.Tensor(np.fromfile(path.with_suffix(".bin"), np.uint8))


def convert_saved(saved: str, converted: str) -> None:
    """Convert a network in a file of Keras' own, in a process with a backend that can.

    Args:
        saved: The `.keras` file, of this process's parent.
        converted: The `.xml` file to write, with a `.bin` file beside it.
    """
    from handful.features.runtime import openvino

    import keras  # isort: skip  # it imports OpenVINO, whose telemetry is off by now

    network = keras.saving.load_model(saved, compile=False)
    if keras.backend.backend() == "tensorflow":
        graph = _frozen(network, Path(converted).parent)
    else:
        graph = _traced(network)
    openvino.save_model(graph, converted, compress_to_fp16=False)
