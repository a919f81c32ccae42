"""A pretrained network in two: a lower part that stays as it is, and an upper one that is trained.

What the lower part gives is one vector a photo, so that OpenVINO runs it like any other network:
the maps where the network is cut, flattened, and features of levels that lie below the cut.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from handful.errors import UsageError
from handful.features.backbones.efficientnet_loading import MULTILEVEL, build
from handful.features.devices import on_device
from handful.features.extractor import Backbone, FeatureExtractor
from handful.features.openvino import OpenVinoExtractor
from handful.features.registry import build_network
from handful.models.heads import LinearHead
from handful.training.deployment import freeze_body

if TYPE_CHECKING:
    import keras

# The first layer that is trained, with those after it. Xception's adding layers are numbered by
# Keras, its other layers are named: so the one after the cut is given.
CUTS = {
    "efficientnet-lite0": "block5_expand_conv",
    "efficientnet-lite1": "block7_expand_conv",
    "efficientnet-lite2": "block7_expand_conv",
    "xception": "block13_sepconv1_act",
}
TUNABLE = (*CUTS, *(name + MULTILEVEL for name in CUTS if name != "xception"))
# Factor on the learning rate from one block to the one below it, and of the head's, which begins as
# fitted.
_RATE_OF_BLOCK_BELOW = 0.9
_RATE_OF_HEAD = 0.3


@dataclass(frozen=True, eq=False)
class CutNetwork:
    """A pretrained network and its two parts, which share its layers.

    Args:
        body: From photos (N, S, S, 3) to features (N, D).
        lower: From photos to (N, M); nothing in it is trained.
        upper: From (N, M) to features.
        rest: From what the upper part takes, tensor by tensor, to features.
        crossing: Those tensors, in the body.
    """

    body: "keras.Model"
    lower: "keras.Model"
    upper: "keras.Model"
    rest: "keras.Model"
    crossing: tuple[Any, ...]

    def rates(self, head: Any) -> dict[str, float]:
        """Factors on the variables' learning rates: smaller below, and small for a fitted head.

        Args:
            head: The last layer.

        Returns:
            Path of a variable to its factor.
        """
        weights = self.upper.trainable_weights
        blocks = [weight.path.split("_")[0] for weight in weights]
        order = list(dict.fromkeys(blocks))[::-1]
        found = {
            weight.path: _RATE_OF_BLOCK_BELOW ** order.index(block)
            for weight, block in zip(weights, blocks, strict=True)
        }
        return found | {weight.path: _RATE_OF_HEAD for weight in head.trainable_weights}

    def with_head(self, head: Any) -> "keras.Model":
        """The whole network with a last layer, as it is now: from photos to probabilities."""
        import keras

        return keras.Model(self.body.inputs[0], head(self.body.outputs[0]))

    def averaged(self, head: Any, other: "CutNetwork", other_head: Any) -> "keras.Model":
        """This network and another, which share their lower part, as one.

        Args:
            head: This network's last layer.
            other: The other one, with the same lower part.
            other_head: Its last layer.

        Returns:
            From photos to probabilities: the logits are the means of both networks'.
        """
        import keras

        features = keras.layers.Concatenate()(
            [self.rest([*self.crossing]), other.rest([*self.crossing])]
        )
        weights = zip(head.get_weights(), other_head.get_weights(), strict=True)
        (kernel, other_kernel), (bias, other_bias) = weights
        joined = np.concatenate([kernel, other_kernel]) / 2
        last = _dense(joined, (bias + other_bias) / 2)
        return keras.Model(self.body.inputs[0], last(features))


def check_cut(name: str) -> None:
    """Refuse a network that cannot be trained on.

    Args:
        name: The backbone's.

    Raises:
        UsageError: When it is not known where to cut it.
    """
    if name not in TUNABLE:
        raise UsageError(f"`backbone` is {name!r}; fine-tune takes {', '.join(CUTS)}.")


def cut_network(backbone: Backbone) -> CutNetwork:
    """Build a network and cut it in two.

    Args:
        backbone: One of `CUTS`, of one level or several.

    Returns:
        The network and its parts.
    """
    import keras
    from keras import layers

    short = backbone.metadata.name.removesuffix(MULTILEVEL)
    # Small sets spoil batch norm's statistics, so that they stay: as a part of the convolutions.
    is_lite = backbone.build is build
    body = build(backbone.metadata, False, folded=True) if is_lite else build_network(backbone)
    name = CUTS[short]
    cut = body.get_layer(name).input
    levels = [
        layer.output
        for layer in body.layers
        if layer.name.endswith("_gain") and _block(layer.name) < _block(name)
    ]
    rest = keras.Model([cut, *levels], body.outputs[0])
    for layer in body.layers:
        # A batch norm that is not trained keeps ImageNet's statistics: it is in inference mode.
        is_norm = isinstance(layer, layers.BatchNormalization)
        layer.trainable = layer in rest.layers and not is_norm
    maps = layers.Flatten()(cut)
    lower = keras.Model(body.inputs[0], layers.Concatenate()([maps, *levels]) if levels else maps)
    values = keras.Input((int(lower.output_shape[-1]),), name="maps")
    parts, place = [], 0
    for tensor in (cut, *levels):
        width = int(np.prod(tensor.shape[1:]))
        parts.append(layers.Reshape(tensor.shape[1:])(values[:, place : place + width]))
        place += width
    return CutNetwork(body, lower, keras.Model(values, rest(parts)), rest, (cut, *levels))


def _block(layer: str) -> int:
    """Number of the block that a layer belongs to, such as 8 for "block8_expand_conv"."""
    return int(layer.split("_")[0].removeprefix("block"))


def lower_part(network: CutNetwork, device: str) -> FeatureExtractor:
    """Convert the lower part of a network.

    Args:
        network: The network.
        device: Where it is to compute.

    Returns:
        From photos (N, S, S, 3) uint8 to (N, M) float32; its files go with it.
    """
    frozen = freeze_body(network.lower, network.lower.input_shape[1])
    return on_device(OpenVinoExtractor(frozen, "f32"), device)


def dense_of_head(head: LinearHead) -> Any:
    """Make a Keras layer of a fitted head.

    Args:
        head: The head.

    Returns:
        One sigmoid neuron for two classes, or a softmax.
    """
    kernel = head.weights / head.scale[:, np.newaxis]
    bias = head.bias - head.mean @ kernel
    if kernel.shape[1] == 2:
        kernel, bias = kernel[:, 1:] - kernel[:, :1], bias[1:] - bias[:1]
    return _dense(kernel, bias)


def _dense(kernel: NDArray[Any], bias: NDArray[Any]) -> Any:
    """A last layer with these weights."""
    import keras

    activation = "sigmoid" if kernel.shape[1] == 1 else "softmax"
    layer = keras.layers.Dense(
        kernel.shape[1], activation=activation, dtype="float32", name="probabilities"
    )
    layer.build((None, len(kernel)))
    layer.set_weights([kernel, bias])
    return layer
