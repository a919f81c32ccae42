"""A network's layers and parameters, counted from its architecture alone: no weights are needed."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from handful.display import Shown
from handful.errors import DataError, UsageError
from handful.features.backbones import efficientnet_loading
from handful.features.backbones.keras_applications import KERAS_BODIES
from handful.features.keras_runtime import prepare_keras, require_keras
from handful.features.registry import backbone_names, build_body
from handful.training.networks import NETWORKS, build_transfer, load_builder

if TYPE_CHECKING:
    import keras

# The size, channels and classes that each is for.
_USUAL_SHAPES = {"scratch": (150, 3, 2), "mnist": (28, 1, 10), "small": (128, 3, 2)}
_BODY_SIZES = {"xception": 150}  # the exercise's; others at the size they were trained on
_USERS_SHAPE = (150, 3, 2)


@dataclass(frozen=True)
class LayerSummary:
    """One layer.

    Args:
        name: Its name; a layer of a network within the network comes as "network/layer".
        type: Its class in Keras.
        output_shape: Without the number of pictures; None where it is not known.
        parameters: Numbers it holds.
    """

    name: str
    type: str
    output_shape: tuple[int | None, ...] | None
    parameters: int


@dataclass(frozen=True)
class BodySummary:
    """The pretrained body within a network, before it was frozen.

    Args:
        name: Its name.
        parameters: Numbers it holds.
        trainable: Those that training would change.
        non_trainable: The others: batch norm's means and variances.
    """

    name: str
    parameters: int
    trainable: int
    non_trainable: int


@dataclass(frozen=True, repr=False)
class NetworkSummary(Shown):
    """A network's shapes, parameters and layers.

    Args:
        name: As it was asked for.
        input_shape: Without the number of pictures: height, width, channels.
        output_shape: Likewise.
        parameters: Numbers it holds.
        trainable: Those that training changes.
        non_trainable: Those that it does not.
        layers: In order; the layers of a network within the network stand in its place.
        body: The pretrained body, where there is one.
    """

    name: str
    input_shape: tuple[int | None, ...]
    output_shape: tuple[int | None, ...]
    parameters: int
    trainable: int
    non_trainable: int
    layers: tuple[LayerSummary, ...]
    body: BodySummary | None = None

    def _in_words(self) -> str:
        trained = f"{self.parameters:,} parameters, {self.trainable:,} trainable"
        return f"{self.name[-60:]}, {len(self.layers)} layers, {trained}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON.

        Returns:
            The members by name; shapes as lists.
        """
        return asdict(self)


def summary(
    name: str, num_classes: int | None = None, image_size: int | None = None
) -> NetworkSummary:
    """Show a network's layers, shapes and parameters; no weights are needed.

    Args:
        name: "scratch", "mnist" or "small"; a backbone's name, which gets the exercise's head on
            its frozen body; or "file.py:build".
        num_classes: Number of classes; None takes 10 for digits, else 2.
        image_size: Side of the square pictures; None takes what the network is for.

    Returns:
        The summary; a notebook shows it as a table.

    Raises:
        UsageError: For an unknown name, fewer than two classes, or pictures too small.
        MissingExtraError: When Keras, or what it computes with, is not installed.
        DataError: When the user's file or function gives no network.

    Example:
        ```python
        print(handful.summary("efficientnet-lite0", num_classes=3).parameters)
        ```
    """
    if not isinstance(name, str):
        raise UsageError(f"`name` is of type {type(name).__name__}; expected a network's name.")
    if image_size is not None and image_size < 1:
        raise UsageError(f"`image_size` is {image_size}; expected a number of pixels.")
    if num_classes is not None and num_classes < 2:
        raise UsageError(f"`num_classes` is {num_classes}; expected 2 or more.")
    require_keras("The summary of a network")
    body = None
    if name.lower() in backbone_names():
        network, body = _build_with_body(name.lower(), num_classes or 2, image_size)
    elif name in NETWORKS or ":" in name or name.endswith(".py"):
        side, channels, classes = _USUAL_SHAPES.get(name, _USERS_SHAPE)
        side, classes = image_size or side, num_classes or classes
        network = _build(name, (side, side, channels), classes)
    else:
        raise UsageError(
            f"There is no network {name!r}; expected {', '.join(NETWORKS)}, the name of a "
            f"backbone such as {' or '.join(('xception', 'efficientnet-lite0'))}, or file.py:build."
        )
    return summarize_network(network, name, body)


def summarize_network(
    network: "keras.Model", name: str, body: BodySummary | None = None
) -> NetworkSummary:
    """Count a network's layers and parameters.

    Args:
        network: A built Keras model.
        name: What to call it.
        body: Its pretrained body, where there is one.

    Returns:
        The summary.
    """
    parameters, trainable = _count(network)
    return NetworkSummary(
        name=name,
        input_shape=tuple(network.input_shape[1:]),
        output_shape=tuple(network.output_shape[1:]),
        parameters=parameters,
        trainable=trainable,
        non_trainable=parameters - trainable,
        layers=tuple(_layers(network)),
        body=body,
    )


def _build(name: str, input_shape: tuple[int, int, int], num_classes: int) -> "keras.Model":
    if name in NETWORKS:
        return _with_sizes(NETWORKS[name](input_shape, num_classes), input_shape)
    builder = load_builder(name)
    try:
        network = builder(input_shape, num_classes)
    except Exception as error:  # whatever the user's code raises
        raise DataError(
            f"{name} failed for images of shape {input_shape} and {num_classes} classes: "
            f"{type(error).__name__}: {error}. Mend it, or choose others by `image_size` "
            "and `num_classes`."
        ) from error
    import keras

    if not isinstance(network, keras.Model):
        raise DataError(
            f"{name} returned a {type(network).__name__}; expected a Keras model. Return "
            "keras.Model(inputs, outputs)."
        )
    # A model without a graph, or that has seen no pictures yet, knows no shapes.
    shapes = [getattr(network, key, None) for key in ("input_shape", "output_shape")]
    if not (network.built and all(isinstance(shape, tuple) for shape in shapes)):
        raise DataError(
            f"{name} returned a model whose layers are not known yet, or with several inputs or "
            "outputs; expected photos in and probabilities out. Return "
            "keras.Model(inputs, outputs)."
        )
    return _with_sizes(network, input_shape)


def _with_sizes(network: "keras.Model", input_shape: tuple[int, int, int]) -> "keras.Model":
    """The same layers on pictures of a fixed size, where the network leaves it open."""
    import keras

    if None in network.input_shape[1:]:
        # Layers of the user's own need not know how to be copied; their sizes then stay open.
        with contextlib.suppress(Exception):
            images = keras.Input(input_shape, name="images")
            return keras.models.clone_model(network, input_tensors=images)
    return network


def _build_with_body(
    name: str, num_classes: int, image_size: int | None
) -> "tuple[keras.Model, BodySummary]":
    """The exercise's head on a frozen body, and the body's own numbers."""
    lite = efficientnet_loading.BACKBONES.get(name)
    if lite is None and name not in KERAS_BODIES:
        raise UsageError(
            f"`name` is {name!r}, a network whose layers Keras does not have; expected one of "
            "Keras' or of EfficientNet-Lite."
        )
    prepare_keras()
    import keras

    if lite is not None:
        body = build_body(name, image_size or lite.metadata.image_size)
    else:
        row = KERAS_BODIES[name]
        side = image_size or _BODY_SIZES.get(name, row.image_size)
        body = getattr(keras.applications, row.constructor)(
            weights=None, include_top=False, pooling="avg", input_shape=(side, side, 3)
        )
    parameters, trainable = _count(body)
    body.name = name
    summary = BodySummary(name, parameters, trainable, parameters - trainable)
    return build_transfer(body, num_classes), summary


def _layers(network: "keras.Model", prefix: str = "") -> Iterator[LayerSummary]:
    for layer in network.layers:
        if getattr(layer, "layers", None) and hasattr(layer, "input_shape"):
            yield from _layers(layer, f"{prefix}{layer.name}/")
            continue
        yield LayerSummary(
            name=prefix + layer.name,
            type=type(layer).__name__,
            output_shape=_output_shape(layer),
            parameters=_count(layer)[0],
        )


def _output_shape(layer: Any) -> tuple[int | None, ...] | None:
    try:
        output = layer.output
    except (AttributeError, ValueError):
        # It has no place in a graph of its own, or several.
        return None
    shape = getattr(output, "shape", None)
    return None if shape is None else tuple(shape[1:])


def _count(layer: Any) -> tuple[int, int]:
    """Parameters, and those of them that training changes."""
    if not layer.built:
        return 0, 0
    # Keras counts a random generator's seed among a layer's variables and not its weights.
    all_of_them, trained = (
        sum(int(np.prod(weight.shape)) for weight in weights)
        for weights in (layer.weights, layer.trainable_weights)
    )
    return all_of_them, trained
