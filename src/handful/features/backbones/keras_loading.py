"""The pretrained bodies of Keras Applications, built with their weights and converted.

Keras and TensorFlow are imported only to train one on or to convert it.
"""

import contextlib
import json
import os
import subprocess
import sys
import warnings
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handful.children import tied
from handful.errors import HandfulError, OutputError, UsageError, WeightsError
from handful.extras import is_installed, require
from handful.features.backbones.efficientnet_lite import LITE_VARIANTS
from handful.features.backbones.keras_applications import (
    FAMILIES,
    KERAS_BODIES,
    KerasBody,
    find_official_weights,
    official_weights_path,
)
from handful.features.backbones.torch_file import check_sha256
from handful.features.conversion import frozen_network, write_network
from handful.features.extractor import Backbone, BackboneMetadata, weights_sha256
from handful.features.keras_conversion import child_environment
from handful.features.keras_runtime import claim_process, prepare_keras, usual_keras
from handful.features.openvino import OpenVinoExtractor

if TYPE_CHECKING:
    import keras

FAMILY = "keras"
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
_CAFFE_MEAN = (103.939, 116.779, 123.68)  # blue, green, red, of 255
# What Keras and h5py raise on files that do not fit or are none of theirs.
_LOADING_ERRORS = (ValueError, OSError, KeyError, TypeError, AttributeError, IndexError)


def load(metadata: BackboneMetadata, precision: str) -> OpenVinoExtractor:
    """Open a body for embedding, converting it at first use.

    Args:
        metadata: Its name, size and weights.
        precision: "auto", "bf16" or "f32".

    Returns:
        The extractor.
    """

    def convert(folder: Path) -> None:
        require("keras", f"The backbone {metadata.name}", "keras")
        _check_weights(metadata)
        _convert_in_process(metadata, folder)

    return OpenVinoExtractor(frozen_network(metadata, metadata.digest, convert), precision)


def build(metadata: BackboneMetadata, include_top: bool) -> "keras.Model":
    """Build a body as a Keras model, see `Backbone`.

    Args:
        metadata: Its name, size and weights; fresh ones where it names no file.
        include_top: Whether to end in the 1,000 ImageNet probabilities.

    Returns:
        The model.
    """
    if metadata.weights_path is not None:
        _check_weights(metadata)
    prepare_keras()
    with usual_keras():
        if metadata.weights_path is None:
            return _build_body(KERAS_BODIES[metadata.name], metadata.image_size, include_top)
        return _build_loaded_body(metadata, metadata.weights_path, include_top)


def _locate(body: KerasBody, metadata: BackboneMetadata) -> tuple[Path, str]:
    require("keras", f"The backbone {metadata.name}", "keras")
    path = find_official_weights(body)
    return path, weights_sha256(path)


def _needs(body: KerasBody, metadata: BackboneMetadata) -> str:
    missing = [] if official_weights_path(body).is_file() else ["a download"]
    if not is_installed("keras"):
        missing.insert(0, "pip install 'handful[tensorflow]'")
    return ", and ".join(missing)


def _check_weights(metadata: BackboneMetadata) -> None:
    assert metadata.weights_path is not None  # found by `find_backbone`
    found = weights_sha256(metadata.weights_path)
    check_sha256(metadata.weights_path, found, metadata.weights_sha256)


def normalize(images: Any, preprocessing: str) -> Any:
    """Bring RGB pictures in [0, 255] to what a body of Keras Applications was trained on.

    Plain layers do it, so that the network can be saved and converted.

    Args:
        images: Keras tensor (N, S, S, 3), float32.
        preprocessing: As in `handful.features.backbones.keras_applications.Family`.

    Returns:
        Keras tensor of the same shape.

    Source: `preprocess_input` of each module of `keras.applications`. "sqrt" is the scaling that
    EfficientNet gets only with `weights="imagenet"`: its weights hold the deviation where Keras'
    `Normalization` expects the variance. Keras divides by the missing root after normalizing; the
    same line through the mean, r * x + 255 * mean * (1 - r), is drawn here before.
    """
    import keras
    from keras import layers

    if preprocessing == "tf":
        return layers.Rescaling(1 / 127.5, -1.0, name="normalise")(images)
    if preprocessing == "torch":
        pairs = list(zip(_IMAGENET_MEAN, _IMAGENET_DEVIATION, strict=True))
        scale = [1 / (255 * std) for _, std in pairs]
        offset = [-mean / std for mean, std in pairs]
        return layers.Rescaling(scale, offset, name="normalise")(images)
    if preprocessing == "caffe":
        blue_first = keras.ops.flip(images, axis=-1)
        return layers.Rescaling(1.0, [-mean for mean in _CAFFE_MEAN], name="normalise")(blue_first)
    if preprocessing == "sqrt":
        scale = [std**-0.5 for std in _IMAGENET_DEVIATION]
        offset = [255 * m * (1 - r) for m, r in zip(_IMAGENET_MEAN, scale, strict=True)]
        return layers.Rescaling(scale, offset, name="normalise")(images)
    return images


def _build_body(body: KerasBody, image_size: int, include_top: bool) -> "keras.Model":
    import keras

    images = keras.Input((image_size, image_size, 3), name="images")
    constructor = getattr(keras.applications, body.constructor)
    with warnings.catch_warnings():
        # MobileNet's warn of another size's weights, which are not loaded here.
        warnings.simplefilter("ignore")
        features = constructor(
            weights=None,
            include_top=include_top,
            input_tensor=normalize(images, FAMILIES[body.family].preprocessing),
            input_shape=(image_size, image_size, 3),
            pooling=None if include_top else "avg",
        ).output
    # Keras would want the pictures in a list when they come by way of `input_tensor`.
    return keras.Model(images, features, name=body.constructor.lower())


def _build_loaded_body(backbone: BackboneMetadata, path: Path, include_top: bool) -> "keras.Model":
    """Build a body and load a weights file with or without the classification layer."""
    body = KERAS_BODIES[backbone.name]
    network = _build_body(body, backbone.image_size, include_top)
    try:
        _load_weights(network, path)
        return network
    except _LOADING_ERRORS as error:
        problem: Exception = error
    if not include_top:
        # A file with a classification layer was made for the trained size.
        whole = _build_body(body, body.image_size, include_top=True)
        with contextlib.suppress(*_LOADING_ERRORS):
            _load_weights(whole, path)
            _copy_weights(whole, network)
            return network
    wanted = "with its classification layer" if include_top else "with or without its last layer"
    raise WeightsError(
        f"The weights file {path} does not fit {backbone.name}: {str(problem).splitlines()[0]} "
        f"Expected a Keras weights file (.h5 or .weights.h5) of this network, {wanted}."
    ) from problem


def _load_weights(network: "keras.Model", path: Path) -> None:
    """Load a Keras weights file; ValueError when it does not fill the network."""
    import keras
    import numpy as np

    # Keras goes by the ending, and takes more kinds of files than plain arrays in HDF5.
    if path.suffix.lower() not in (".h5", ".hdf5"):
        raise ValueError(f"its name ends in {path.suffix!r}.")
    # Keras passes over layers that a file has under other names, with a warning at most. Weights
    # that stay "not a number" were not in the file.
    learned = [weight for weight in network.weights if "float" in weight.dtype]
    for weight in learned:
        weight.assign(np.full(weight.shape, np.nan, np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network.load_weights(path)
    for weight in learned:
        if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
            raise ValueError(f"it has no numbers for {weight.path}.")


def _copy_weights(source: "keras.Model", target: "keras.Model") -> None:
    """Copy weights layer by layer; the source may go on after the target ends."""
    theirs = [layer for layer in source.layers if layer.weights]
    ours = [layer for layer in target.layers if layer.weights]
    if len(theirs) < len(ours):
        raise ValueError("too few layers")
    for ours_layer, theirs_layer in zip(ours, theirs, strict=False):
        for variable, value in zip(ours_layer.weights, theirs_layer.weights, strict=True):
            variable.assign(value)
        if hasattr(ours_layer, "finalize_state"):
            # Keras' Normalization computes with a copy of its weights.
            ours_layer.finalize_state()


_CHILD = (
    "import sys; from handful.features.backbones.keras_loading import convert_in_child; "
    "convert_in_child(sys.argv[1])"
)
_CHILD_ERRORS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (HandfulError, WeightsError, OutputError, UsageError, ValueError)
}


def _convert_in_process(backbone: BackboneMetadata, folder: Path) -> None:
    """Convert a Keras body in another process.

    TensorFlow takes 0.7 GB to import and convert with, and gives none of it back: in this process
    that would lie under everything that follows. The other one also has a backend and logging of
    its own, whatever this one is set to.
    """
    fields = {**asdict(backbone), "weights_path": str(backbone.weights_path)}
    order = {"backbone": fields, "folder": str(folder)}
    child = subprocess.run(
        tied([sys.executable, "-c", _CHILD, json.dumps(order)]),
        env=child_environment("tensorflow" if is_installed("tensorflow") else "openvino"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    if child.returncode == 0:
        return
    last = child.stdout.strip().splitlines()[-1:]
    if child.returncode == 1 and last and last[0].startswith("{"):
        answer = json.loads(last[0])
        if answer["kind"] == "OSError":
            raise OSError(answer["errno"], answer["message"], answer["file"])
        raise _CHILD_ERRORS.get(answer["kind"], HandfulError)(answer["message"])
    tail = " ".join(child.stderr.strip().splitlines()[-1:])
    # Linux kills the process that asks for memory when there is none left.
    killed = child.returncode == -9  # Windows has no name for it
    advice = "Free some memory and try again" if killed else "Try another version of TensorFlow"
    raise HandfulError(
        f"Converting {backbone.name} for OpenVINO failed: the converter ended with status "
        f"{child.returncode}. {tail or 'It said nothing.'} {advice}, or choose a backbone that "
        f"needs no conversion: {', '.join(LITE_VARIANTS)}."
    )


def convert_in_child(order_text: str) -> None:
    """Convert as `_convert_in_process` ordered, and put an error into a line that it understands.

    Args:
        order_text: JSON: "backbone", its fields; "folder".
    """
    claim_process()
    if os.environ["KERAS_BACKEND"] == "openvino":
        from handful.features.runtime import openvino  # noqa: F401

        import keras  # noqa: F401  # isort: skip  # it imports OpenVINO, as above
    order = json.loads(order_text)
    fields = order["backbone"]
    backbone = BackboneMetadata(**{**fields, "weights_path": Path(fields["weights_path"])})
    try:
        network = build(backbone, False)
        if network.output_shape != (None, backbone.embedding_dim):
            raise HandfulError(
                f"{backbone.name} gives features of shape {network.output_shape}; expected "
                f"{backbone.embedding_dim} a photo. Try another version of Keras."
            )
        write_network(network, Path(order["folder"]))
    except (HandfulError, ValueError, OSError) as error:
        answer: dict[str, Any] = {"kind": type(error).__name__, "message": str(error)}
        if isinstance(error, OSError):
            # The parent may find room elsewhere.
            file = None if error.filename is None else str(error.filename)
            answer = {"kind": "OSError", "errno": error.errno, "file": file}
            answer["message"] = error.strerror or str(error)
        print(json.dumps(answer))
        sys.exit(1)


BACKBONES = {
    name: Backbone(
        BackboneMetadata(
            name,
            body.image_size,
            body.embedding_dim,
            FAMILIES[body.family].license,
            body.url,
        ),
        load,
        partial(_locate, body),
        build,
        partial(_needs, body),
    )
    for name, body in KERAS_BODIES.items()
}
