"""A trained Keras network made into a `Classifier`: converted, with its last layer as the head."""

import hashlib
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from handful.config import TrainConfig
from handful.data.decoding import DecodeSettings
from handful.errors import UsageError
from handful.features.conversion import FrozenNetwork, write_network
from handful.features.devices import on_device
from handful.features.openvino import OpenVinoExtractor
from handful.files.atomic import sha256_of
from handful.files.drafts import Draft
from handful.models.classifier import Classifier
from handful.models.heads import LinearHead
from handful.training.recipes import Recipe

if TYPE_CHECKING:
    import keras

_LEAST_PROBABILITY = 1e-7


def deploy(
    network: "keras.Model",
    recipe: Recipe,
    class_names: tuple[str, ...],
    settings: DecodeSettings,
    config: TrainConfig,
    offset: float = 0.0,
    provenance: Mapping[str, str] | None = None,
) -> Classifier:
    """Make a classifier of a trained network.

    Args:
        network: From the recipe's values to probabilities.
        recipe: How it was trained.
        class_names: C names.
        settings: How photos are decoded for it.
        config: What was asked.
        offset: Added to the scaled values.
        provenance: Facts to keep with it that say more than those of the recipe.

    Returns:
        The classifier; its network's files lie in a temporary folder that goes with it.

    Raises:
        HandfulError: When the converted network computes something else.
    """
    size = settings.image_size
    whole, head = _split(network, recipe, size, offset)
    frozen = freeze_body(whole, size)
    # These networks are small; what was trained in float32 answers in float32.
    precision = "f32" if config.precision == "auto" else config.precision
    # What trained it has a GPU; what is to embed with it need not.
    where = "cpu" if config.device == "cpu" else "auto"
    return Classifier(
        class_names,
        on_device(OpenVinoExtractor(frozen, precision), where),
        head,
        settings,
        test_time_mirror=recipe.mirror or config.tta,
        provenance={
            "backbone": network.name,
            "license": "yours",
            "source": "trained on these photos",
            "strategy": config.strategy,
            "recipe": config.recipe,
            **(provenance or {}),
        },
    )


def check_deployment(network: "keras.Model", recipe: Recipe) -> None:
    """Refuse a network that cannot become a classifier, before it is trained and not after.

    Args:
        network: As for `deploy`, not trained yet.
        recipe: How it is to be trained.

    Raises:
        UsageError: When it cannot be converted, or computes something else then.
    """
    try:
        whole, _ = _split(network, recipe, recipe.image_size, 0.0)
        with write_body(whole, recipe.image_size):
            pass
    except OSError:
        raise
    except Exception as error:  # whatever Keras, TensorFlow and OpenVINO raise
        reason = " ".join(str(error).split())[:300]
        raise UsageError(
            f"The network cannot be converted for prediction: {reason} Build it of Keras' own "
            "layers, whose result for a photo depends on that photo alone."
        ) from error


def _split(
    network: "keras.Model", recipe: Recipe, size: int, offset: float
) -> tuple["keras.Model", LinearHead]:
    """A network from pictures to features, normalization included, and its head."""
    import keras

    images = keras.Input((size, size, 3), name="images")
    values = images
    if recipe.grey:
        values = keras.ops.mean(values, axis=-1, keepdims=True)
    if recipe.scale != 1.0 or offset:
        values = keras.layers.Rescaling(recipe.scale, offset)(values)
    last = network.layers[-1]
    ends_in_head = (
        isinstance(last, keras.layers.Dense)
        and network.outputs[0] is last.output
        and getattr(last.activation, "__name__", "")
        == ("sigmoid" if last.units == 1 else "softmax")
    )
    if ends_in_head:
        body, head = keras.Model(network.inputs[0], last.input), head_of_layer(last)
        features = body(values, training=False)
    else:
        # Logarithms of the probabilities, whose softmax gives them back.
        given = keras.ops.cast(network(values, training=False), "float32")
        if network.output_shape[-1] == 1:
            given = keras.ops.concatenate([1 - given, given], axis=-1)
        features = keras.ops.log(keras.ops.maximum(given, _LEAST_PROBABILITY))
        head = _identity_head(max(network.output_shape[-1], 2))
    return keras.Model(images, features), head


def freeze_body(body: "keras.Model", image_size: int) -> FrozenNetwork:
    """Convert a network from pictures to features.

    Args:
        body: From (N, S, S, 3) pictures in [0, 255] to (N, D).
        image_size: S, pixels.

    Returns:
        The network; its files go with it, for several classifiers may stand on it.
    """
    draft, frozen = _write(body, image_size)
    weakref.finalize(frozen, draft.close)
    return frozen


@contextmanager
def write_body(body: "keras.Model", image_size: int) -> Iterator[FrozenNetwork]:
    """Convert a network from pictures to features for as long as a block lasts.

    Args:
        body: From (N, S, S, 3) pictures in [0, 255] to (N, D).
        image_size: S, pixels.

    Yields:
        The network; its files go with the block.
    """
    draft, frozen = _write(body, image_size)
    with draft:
        yield frozen


def _write(body: "keras.Model", image_size: int) -> tuple[Draft, FrozenNetwork]:
    """Convert into a temporary folder."""
    draft = Draft(Path(tempfile.gettempdir()))
    try:
        write_network(body, draft.path)
    except BaseException:
        draft.close()
        raise
    xml_path, bin_path = draft.path / "network.xml", draft.path / "network.bin"
    xml_sha256, bin_sha256 = sha256_of(xml_path), sha256_of(bin_path)
    return draft, FrozenNetwork(
        xml_path=xml_path,
        bin_path=bin_path,
        xml_sha256=xml_sha256,
        bin_sha256=bin_sha256,
        image_size=image_size,
        embedding_dim=int(body.output_shape[-1]),
        digest=hashlib.sha256(f"{xml_sha256}{bin_sha256}".encode()).hexdigest(),
        seconds=0.0,
    )


def head_of_layer(layer: Any) -> LinearHead:
    """Make a head of a network's last layer.

    Args:
        layer: A Dense layer with sigmoid (one neuron) or softmax.

    Returns:
        The head with the same probabilities; one neuron's value z is two logits, 0 and z.
    """
    kernel, *rest = layer.get_weights()
    bias = rest[0] if rest else np.zeros(kernel.shape[1], np.float32)
    if kernel.shape[1] == 1:
        kernel = np.concatenate([np.zeros_like(kernel), kernel], axis=1)
        bias = np.concatenate([np.zeros_like(bias), bias])
    dim = len(kernel)
    return LinearHead(np.zeros(dim, np.float32), np.ones(dim, np.float32), kernel, bias, C=None)


def _identity_head(num_classes: int) -> LinearHead:
    eye = np.eye(num_classes, dtype=np.float32)
    zeros, ones = np.zeros(num_classes, np.float32), np.ones(num_classes, np.float32)
    return LinearHead(zeros, ones, eye, zeros, C=None)
