"""Pretrained networks by name: handful's own and those that installed packages bring.

Each module of `handful.features.backbones` with a table `BACKBONES` and a word `FAMILY` is a
family; one with a function `open_named` opens names that say where a network lies. A package brings
more by entry points of the group `handful.backbones`, each of which names a `Backbone`; one under
a name of handful's own takes its place, for another processor for example. Finding a backbone
costs no import of what runs it, but for one in a file, whose size only its graph tells.
"""

import difflib
import logging
from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING

from handful.errors import UsageError
from handful.features import backbones
from handful.features.devices import on_device
from handful.features.extractor import Backbone, FeatureExtractor, weights_sha256
from handful.reporting import Reporter

if TYPE_CHECKING:
    import keras

DEFAULT_BACKBONE = "efficientnet-lite0"
ENTRY_POINTS = "handful.backbones"
MIN_IMAGE_SIZE = 32

_logger = logging.getLogger("handful")


def backbone_names() -> tuple[str, ...]:
    """Every name that `find_backbone` knows, the default first."""
    return tuple(dict.fromkeys([*_own(), *_brought()]))


def known_backbones() -> Iterator[tuple[str, Backbone]]:
    """Every backbone that has a name, the default first.

    Yields:
        Its family, or the package that brings it, and the backbone, its weights not looked for.
    """
    families = {
        name: module.FAMILY for module in _families() for name in getattr(module, "BACKBONES", {})
    }
    brought = _brought()
    for name in backbone_names():
        package = brought[name].value.partition(":")[0] if name in brought else ""
        yield package or families[name], _look_up(name)


def find_backbone(
    name: str = DEFAULT_BACKBONE,
    weights_path: Path | None = None,
    image_size: int | None = None,
    preprocessing: str | None = None,
    reporter: Reporter | None = None,
) -> Backbone:
    """Look a backbone up and find its weights; Keras is not imported.

    The official weights of Keras Applications are taken from Keras' own cache
    (`~/.keras/models`, or `models` in `KERAS_HOME`), or downloaded into it.

    Args:
        name: Name of the backbone, in which upper and lower case are the same; the path of a
            network's file; or hf:OWNER/NAME, of a hub.
        weights_path: Weights to use instead: a torch file from before version 1.6 for
            EfficientNet-Lite, a `.h5` or `.weights.h5` file, with or without the classification
            layer, for Keras Applications. None takes the official ones.
        image_size: Side of the input in pixels; None takes what the network was trained on.
        preprocessing: Of a file or a hub's network what it takes and gives, see
            `handful.features.preprocessing`; None takes what is said beside it.
        reporter: Told what was found out of such a network, and how far a download is.

    Returns:
        The backbone.

    Raises:
        ValueError: For an unknown name, an image size below 32, or what does not fit the network.
        MissingExtraError: When the package with the weights is not installed.
        WeightsError: When the weights are absent or are not the known ones.
    """
    opened = _open_named(name, preprocessing, image_size, reporter or Reporter())
    if opened is not None:
        if weights_path is not None:
            raise UsageError(
                f"`weights` is {str(weights_path)!r} and `backbone` {name!r}, which has its own; "
                "leave `weights` out."
            )
        return opened
    if preprocessing is not None:
        raise UsageError(
            f"`preprocessing` is for networks in files and of a hub, and `backbone` is {name!r}, "
            "which handful knows; leave it out."
        )
    backbone = _look_up(name.lower())
    metadata = backbone.metadata
    size = image_size or metadata.image_size
    if size < min(MIN_IMAGE_SIZE, metadata.image_size):
        raise UsageError(f"`image_size` is {size}; expected {MIN_IMAGE_SIZE} or more pixels.")
    metadata = replace(metadata, image_size=size)
    if weights_path is not None:
        path, sha256 = weights_path, weights_sha256(weights_path)
        license, source = "that of the given file", f"file: {weights_path.name}"
        metadata = replace(metadata, license=license, source=source)
    elif backbone.locate is not None:
        path, sha256 = backbone.locate(metadata)
    else:
        return replace(backbone, metadata=metadata)
    return replace(backbone, metadata=replace(metadata, weights_path=path, weights_sha256=sha256))


def load_extractor(
    backbone: Backbone, precision: str = "auto", device: str = "cpu"
) -> FeatureExtractor:
    """Open what embeds with a backbone, converting its network when it was not before.

    Args:
        backbone: From `find_backbone`.
        precision: "int8" computes in 8 bits, where the network has a form for it. Anything else
            takes its weights in float32: "f32", "bf16", "f16" on a GPU, or "auto", what suits the
            processor.
        device: Where it is to compute, see `handful.features.devices.find_gpu`.

    Returns:
        The extractor.

    Raises:
        ValueError: When the network cannot take images of this size or has no 8-bit form.
        WeightsError: When the weights are absent, are not the known ones, or do not fit.
        OutputError: When the network can be kept nowhere.
        HandfulError: When the conversion fails.
    """
    metadata = backbone.metadata
    if precision == "int8" and metadata.precision != "int8":
        able = [name for name, own in _own().items() if own.metadata.precision == "int8"]
        raise UsageError(
            f"`precision` is 'int8' and the backbone {metadata.name}; expected one of "
            f"{', '.join(able)}, or another precision."
        )
    return on_device(backbone.load(metadata, precision), device, precision)


def build_network(backbone: Backbone, include_top: bool = False) -> "keras.Model":
    """Build a backbone as a Keras model with its weights, for training it on.

    Args:
        backbone: From `find_backbone`.
        include_top: Whether to end in the 1,000 ImageNet probabilities instead of the embedding.

    Returns:
        Model from RGB images (N, S, S, 3), float32 in [0, 255], to embeddings (N, D) float32 or
        probabilities (N, 1000). Normalization is part of it.

    Raises:
        ValueError: When the network cannot take images of this size, or can only embed.
        WeightsError: When the weights file has another digest or does not fit. The digest is
            compared before anything is read from the file.
    """
    if backbone.build is None:
        raise UsageError(
            f"`backbone` is {backbone.metadata.name!r}, which can embed images and cannot be "
            f"trained on; expected one such as {DEFAULT_BACKBONE}."
        )
    return backbone.build(backbone.metadata, include_top)


def build_body(name: str, image_size: int) -> "keras.Model":
    """Build a backbone with fresh weights: its architecture alone.

    Args:
        name: As in `backbone_names`.
        image_size: Side of the images in pixels.

    Returns:
        Model from RGB images (N, S, S, 3) to features (N, D).
    """
    backbone = _look_up(name)
    metadata = replace(backbone.metadata, image_size=image_size)
    return build_network(replace(backbone, metadata=metadata))


def _open_named(
    name: str, preprocessing: str | None, image_size: int | None, reporter: Reporter
) -> Backbone | None:
    """A backbone whose name says where it lies; None where it is one that is looked up."""
    if name.lower() in _brought():
        return None
    for module in _families():
        open_named = getattr(module, "open_named", None)
        if open_named is not None:
            found: Backbone | None = open_named(name, preprocessing, image_size, reporter)
            if found is not None:
                return found
    return None


def _look_up(name: str) -> Backbone:
    brought = _brought().get(name)
    if brought is not None:
        _logger.info("The backbone %s is that of %s", name, brought.value)
        backbone = brought.load()
        if not isinstance(backbone, Backbone):
            raise UsageError(
                f"The backbone {name!r} of {brought.value} is a {type(backbone).__name__}; "
                "expected a handful.features.extractor.Backbone."
            )
        return backbone
    if name not in _own():
        near = difflib.get_close_matches(name, backbone_names(), 3, 0.5)
        raise UsageError(
            f"There is no backbone {name!r}. Expected {' or '.join(near or [DEFAULT_BACKBONE])}, "
            f"or another of: {', '.join(backbone_names())}."
        )
    return _own()[name]


@cache
def _families() -> tuple[ModuleType, ...]:
    """The modules of families."""
    names = [module.name for module in iter_modules(backbones.__path__, f"{backbones.__name__}.")]
    return tuple(map(import_module, names))


@cache
def _own() -> Mapping[str, Backbone]:
    """The families of handful's own."""
    # Its maps are gone through from the last one.
    return ChainMap(*(getattr(module, "BACKBONES", {}) for module in _families()[::-1]))


def _brought() -> dict[str, EntryPoint]:
    """What installed packages bring."""
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
