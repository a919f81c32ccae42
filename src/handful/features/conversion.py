"""Networks written in OpenVINO's format, and a folder that keeps them with their digests."""

import atexit
import logging
import math
import os
import re
import shutil
import tempfile
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from handful.environment import cache_folder
from handful.errors import HandfulError, ModelFileError, OutputError
from handful.features.extractor import BackboneMetadata
from handful.features.keras_conversion import convert_keras
from handful.files.atomic import (
    MALFORMED,
    explain_damage,
    read_json,
    reason_of,
    sha256_of,
    write_json,
)
from handful.files.drafts import Draft

if TYPE_CHECKING:
    import keras
    import openvino

INPUT_NAME = "images"
OUTPUT_NAME = "embeddings"
FORMAT_VERSION = 1
# Between the original and what was written, relative to the largest feature where that is over 1;
# folding and another order of sums give a few 1e-6.
TOLERANCE = 1e-3
# Least cosine between embeddings in 8 bits and in float32; photos have 0.98 and more.
INT8_COSINE = 0.95
# Where a written network keeps its features of a drawn image.
_REFERENCE = ("handful", "reference")
_REFERENCE_FEATURES = 2048

_logger = logging.getLogger("handful")


@dataclass(frozen=True)
class FrozenNetwork:
    """A converted network on disk, verified.

    It takes "images", uint8 RGB (N, S, S, 3) in [0, 255], and gives "embeddings",
    float32 (N, D); normalization and pooling are inside. N is free.

    Args:
        xml_path: Its graph.
        bin_path: Its weights, float32 or int8.
        xml_sha256: SHA-256 of the graph's file in hexadecimal.
        bin_sha256: SHA-256 of the weights' file.
        image_size: S, pixels.
        embedding_dim: D.
        digest: Identity of the function it computes, hexadecimal.
        seconds: Time that the conversion took; 0.0 when it had been made before.
    """

    xml_path: Path
    bin_path: Path
    xml_sha256: str
    bin_sha256: str
    image_size: int
    embedding_dim: int
    digest: str
    seconds: float


def write_network(network: "keras.Model", folder: Path) -> None:
    """Convert a Keras network and check that the result computes the same.

    Args:
        network: Model from RGB pictures (N, S, S, 3) in [0, 255] to features (N, D).
        folder: Existing folder; gets `network.xml` and `network.bin`.

    Raises:
        HandfulError: When the converted network gives other features.
    """
    import keras

    picture = check_image(network.input_shape[1])
    values = network(picture.astype(np.float32), training=False)
    expected = keras.ops.convert_to_numpy(values)
    graph = convert_keras(network, folder)
    for port, name in ((graph.input(0), INPUT_NAME), (graph.output(0), OUTPUT_NAME)):
        port.get_tensor().set_names({name})
    save_network(graph, folder, expected)
    check_features(network_features(folder / "network.xml", picture), expected)


def check_features(found: Any, expected: Any, int8: bool = False) -> None:
    """Compare a written network's features with the original's.

    Args:
        found: The written network's, read back from the disk, where a cut-short file shows here
            and not in a user's result; (1, D) float32.
        expected: The original's, (1, D) float32.
        int8: Whether the written network computes in 8 bits.

    Raises:
        HandfulError: When they differ by more than the arithmetic explains.
    """
    from handful.features.runtime import openvino

    if int8:
        cosine = float(np.vdot(found, expected) / np.linalg.norm(found) / np.linalg.norm(expected))
        if cosine >= INT8_COSINE:
            return
        problem = f"has a cosine of {cosine:.3f} with the original; expected {INT8_COSINE} or more"
        advice = "Take `precision` f32, or a larger `image_size`"
    else:
        difference = float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))
        if difference <= TOLERANCE:
            return
        problem = f"differs from the original by {difference:.2g}; expected {TOLERANCE} or less"
        advice = "Try another version of OpenVINO"
    raise HandfulError(
        f"The network written for OpenVINO {openvino.__version__} {problem}. {advice}."
    )


def check_image(size: int) -> Any:
    """An image to compare networks on: colored clouds under fine noise, spread like a photo's.

    Args:
        size: Its side in pixels.

    Returns:
        (1, size, size, 3) uint8.
    """
    import cv2

    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (7, 7, 3)).astype(np.float32)
    clouds = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    noisy = clouds + rng.normal(0, 10, clouds.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)[None]


def network_features(network: Any, images: Any) -> Any:
    """What a network, or one in a file, gives for images in float32.

    Args:
        network: An `openvino.Model`, or its file.
        images: (N, S, S, 3) uint8.

    Returns:
        (N, D) float32.
    """
    return compiled_network(network)(images)


def compiled_network(network: Any) -> Callable[[Any], Any]:
    """Open a network in float32 and one stream.

    Args:
        network: An `openvino.Model`, or its file.

    Returns:
        A function from images, (N, S, S, 3) uint8, to features, (N, D) float32.
    """
    from handful.features.runtime import openvino

    options = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
    compiled = openvino.Core().compile_model(network, "CPU", options)
    return lambda images: np.array(compiled(images)[OUTPUT_NAME])


def save_network(graph: "openvino.Model", folder: Path, features: Any = None) -> None:
    """Write a network as `network.xml` and `network.bin`, the same bytes whatever else was built.

    Its features of a drawn image are kept in it, see `reference_features`.

    Args:
        graph: The network, from "images" (N, S, S, 3) to "embeddings" (N, D).
        folder: Existing folder.
        features: (1, D) float32 that it gives for `check_image`; None computes them.
    """
    if features is None:
        size = graph.input(0).get_partial_shape()[1].get_length()
        features = network_features(graph, check_image(size))
    sample = sample_features(features[0])
    graph.set_rt_info(b64encode(sample.astype("<f4").tobytes()).decode(), list(_REFERENCE))
    for number, node in enumerate(graph.get_ordered_ops()):
        if node.get_friendly_name() == node.get_name():
            # Numbered through the whole process, it would make each file another.
            node.set_friendly_name(f"{node.get_type_name()}_{number}")
    save_graph(graph, folder / "network.xml")


def reference_features(graph: "openvino.Model") -> Any | None:
    """What a written network gave for `check_image` when it was written, in one stream.

    Args:
        graph: The network, as it was read.

    Returns:
        Its features as `sample_features` thins them out; None for one that was written without.
    """
    if not graph.has_rt_info(list(_REFERENCE)):
        return None
    try:
        text = graph.get_rt_info(list(_REFERENCE)).astype(str)
        return np.frombuffer(b64decode(text, validate=True), "<f4")
    except ValueError:  # somebody else's
        return None


def sample_features(features: Any) -> Any:
    """Some of the features, evenly spread, where there are very many.

    Args:
        features: (D,) float32.

    Returns:
        (d,) float32, 2,048 at most.
    """
    return features[:: max(1, math.ceil(len(features) / _REFERENCE_FEATURES))]


def save_graph(graph: "openvino.Model", path: Path) -> None:
    """Write a network in OpenVINO's format, in full precision.

    Args:
        graph: The network.
        path: The `.xml` file to write; a `.bin` file is written beside it.

    Raises:
        OSError: When it cannot be written.
    """
    from handful.features.runtime import openvino

    try:
        openvino.save_model(graph, path, compress_to_fp16=False)
    except RuntimeError:
        # It says "iostream error" whatever the system said; Python's own writing says what.
        with path.with_suffix(".bin").open("ab") as file:
            file.write(bytes(4_000_000))
        raise


def read_network(network: FrozenNetwork, batch_size: int = 1) -> Any:
    """Read a converted network for pictures of its size; fixed sides make paddings constant.

    Args:
        network: The network.
        batch_size: Pictures at a time; -1 for any number.

    Returns:
        An `openvino.Model`, not compiled.

    Raises:
        ModelFileError: When its files cannot be read.
    """
    from handful.features.runtime import openvino

    try:
        model = openvino.Core().read_model(network.xml_path, network.bin_path)
        most = model.input(0).get_partial_shape()[0]
        if most.is_static and most.get_length() != batch_size:
            raise HandfulError(
                f"The network {network.xml_path} takes one photo at a time, and here it has to "
                "take any number. Export it anew with a free batch size, and train again."
            )
        model.reshape([batch_size, network.image_size, network.image_size, 3])
        dim = model.output(0).get_partial_shape()[-1].get_length()
    except RuntimeError as error:
        raise ModelFileError(
            f"{network.xml_path} cannot be read as a network: {explain_damage(error)}"
        ) from error
    if dim != network.embedding_dim:
        raise ModelFileError(
            f"{network.xml_path} gives {dim} numbers a photo; expected {network.embedding_dim}."
        )
    return model


def count_weights(path: Path) -> int:
    """Count the numbers that a written network consists of.

    Args:
        path: Its `.xml` file.

    Returns:
        Numbers in its constants of floating point.

    Raises:
        ModelFileError: When it cannot be read.
    """
    from handful.features.runtime import openvino

    try:
        nodes = openvino.Core().read_model(path).get_ordered_ops()
    except RuntimeError as error:
        raise ModelFileError(
            f"{path} cannot be read as a network: {explain_damage(error)}"
        ) from error
    constants = [node for node in nodes if node.get_type_name() == "Constant"]
    return sum(node.data.size for node in constants if node.get_element_type().is_real())


def frozen_network(
    metadata: BackboneMetadata, digest: str, write: Callable[[Path], None], suffix: str = ""
) -> FrozenNetwork:
    """Give a backbone's network in OpenVINO's format, writing it when it was not before.

    Args:
        metadata: What is known of the backbone.
        digest: Identity of the function that the network computes.
        write: Puts `network.xml` and `network.bin` into the folder that it is given.
        suffix: Added to the name, for another form of the same network.

    Returns:
        The network in the cache folder, its digests compared.

    Raises:
        OutputError: When the network can be kept nowhere.
    """
    # A file's name may be anything.
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", metadata.name).strip("-.")[-60:]
    folder = cache_folder() / "networks" / f"{name}{suffix}-{digest[:16]}"
    stored = open_stored(folder, digest)
    if stored is not None:
        return stored
    _logger.info("Converting %s for OpenVINO, once", metadata.name)
    path = metadata.weights_path
    description = {**asdict(metadata), "weights_path": None if path is None else path.name}
    return store(folder, digest, description, write)


def open_stored(folder: Path, digest: str) -> FrozenNetwork | None:
    """Open a network that `store` put away, if it is there and whole.

    A damaged one is moved aside, to the same name with `.damaged` added, with a warning. Where the
    cache cannot be written, `store` keeps networks elsewhere, and they are found there.

    Args:
        folder: Its folder.
        digest: Identity it must have.

    Returns:
        The network, or None where there is none to use.
    """
    if not os.path.isdir(folder):
        spare = _spare_folder() / folder.name if _spare_folder.cache_info().currsize else None
        return None if spare in (None, folder) else open_stored(spare, digest)
    problem = "its description cannot be read"
    try:
        description = read_json(folder / "network.json")
        found = {name: sha256_of(folder / f"network.{name}") for name in ("xml", "bin")}
        if description["format"] != FORMAT_VERSION or description["digest"] != digest:
            problem = "it is another network"
        elif found != description["sha256"]:
            problem = "its files have changed"
        else:
            return FrozenNetwork(
                xml_path=folder / "network.xml",
                bin_path=folder / "network.bin",
                xml_sha256=found["xml"],
                bin_sha256=found["bin"],
                image_size=int(description["image_size"]),
                embedding_dim=int(description["embedding_dim"]),
                digest=digest,
                seconds=0.0,
            )
    except MALFORMED as error:
        problem = f"{problem} ({explain_damage(error)})"
    _set_aside(folder, problem)
    return None


def store(
    folder: Path, digest: str, description: Mapping[str, Any], write: Callable[[Path], None]
) -> FrozenNetwork:
    """Make a network and put it away whole: a reader never sees a half-written one.

    Two processes may do so at once; the first to finish wins and both get a whole network. A cache
    that cannot be written stops no job: a warning says so, and the network goes where temporary
    files do, until the process ends.

    Args:
        folder: Where it goes.
        digest: Its identity.
        description: What else `network.json` should say; `image_size` and `embedding_dim` are
            needed.
        write: Puts `network.xml` and `network.bin` into the folder that it is given.

    Returns:
        The stored network, with the time it took.

    Raises:
        OutputError: When the network can be kept nowhere.
    """
    start = time.perf_counter()
    try:
        network = _store(folder, digest, description, write)
    except OSError as error:
        _logger.warning(
            "The cache %s cannot be used (%s); converted networks are kept for this run alone",
            folder.parent,
            reason_of(error),
        )
        try:
            network = _store(_spare_folder() / folder.name, digest, description, write)
        except OSError as again:
            raise OutputError(
                f"The converted network can be kept neither in {folder} ({reason_of(error)}) nor "
                f"among temporary files ({reason_of(again)}). Make room or make the folder "
                "writable, or set HANDFUL_CACHE to another one."
            ) from again
    return replace(network, seconds=time.perf_counter() - start)


@cache
def _spare_folder() -> Path:
    """A folder that goes when the process ends, for networks that the cache cannot take."""
    draft = Draft(Path(tempfile.gettempdir()))
    atexit.register(draft.close)
    return draft.path


def _store(
    folder: Path, digest: str, description: Mapping[str, Any], write: Callable[[Path], None]
) -> FrozenNetwork:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with Draft(folder.parent) as draft:
        temporary = draft.place(folder.name)
        temporary.mkdir()
        write(temporary)
        sha256 = {name: sha256_of(temporary / f"network.{name}") for name in ("xml", "bin")}
        description = {"format": FORMAT_VERSION, "digest": digest, "sha256": sha256, **description}
        write_json(temporary / "network.json", description)
        _move(temporary, folder, digest)
    network = open_stored(folder, digest)
    if network is None:
        raise OutputError(
            f"The converted network in {folder} changed while it was written. Check the disk, or "
            "set HANDFUL_CACHE to another folder."
        )
    return network


def _move(temporary: Path, folder: Path, digest: str) -> None:
    """Give a finished folder its name, unless another process was first."""
    try:
        os.rename(temporary, folder)
    except OSError:
        if open_stored(folder, digest) is None:
            os.rename(temporary, folder)


def _set_aside(folder: Path, problem: str) -> None:
    aside = folder.with_name(folder.name + ".damaged")
    _logger.warning(
        "The converted network %s is damaged: %s. It is moved to %s and made again.",
        folder,
        problem,
        aside,
    )
    shutil.rmtree(aside, ignore_errors=True)
    try:
        os.rename(folder, aside)
    except FileNotFoundError:
        # Another process moved it at the same moment.
        pass
    except OSError:
        pass  # nor can it be written there: `store` sees that
