"""EfficientNet-Lite in 8 bits, by arithmetic on the network alone: no calibration photos.

The usual way measures activations on sample photos. Here every range and every rounding follows
from the batch norm statistics that training left in the weights, so the result is the same for
every user and every data set, and embeddings stay valid when photos are added.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction"
(2019), arXiv:1906.04721, for ranges from batch norm; Nagel et al., "Up or Down? Adaptive Rounding
for Post-Training Quantization" (2020), arXiv:2004.10568, for rounding by a layer's output instead
of number by number, here with statistics instead of samples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from handful.features.backbones.efficientnet_lite import RELU_CEILING, LiteConvolution, Tensors

if TYPE_CHECKING:
    import openvino

# Part of the digest of an 8-bit network: raise it when a change here changes any embedding.
QUANTIZATION_VERSION = 1

# Signed activations are represented up to this many standard deviations. The error is flat
# between 4 and 6, and like that of ranges measured on photos.
RANGE_DEVIATIONS = 5.0
# Products of 8-bit pixels and weights are added in pairs to 16 bits on processors without VNNI:
# 2 * 255 * 64 still fits. Depthwise kernels are added in 32 bits everywhere.
MAX_WEIGHT = 64
MAX_DEPTHWISE_WEIGHT = 127
# Neighboring pixels are alike: share of their variance that they have in common.
NEIGHBOR_CORRELATION = 0.9
# Variance of photos' pixels after normalization to about [-1, 1].
PIXEL_VARIANCE = 0.3

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ChannelStatistics:
    """Mean and variance of each channel of an activation, (C,) each, as training saw them."""

    mean: FloatArray
    variance: FloatArray

    def largest(self) -> float:
        """Largest magnitude to represent, over all channels."""
        return float(np.max(np.abs(self.mean) + RANGE_DEVIATIONS * np.sqrt(self.variance)))


def quantize(
    graph: "openvino.Model", convolutions: Sequence[LiteConvolution], tensors: Tensors
) -> None:
    """Rewrite an EfficientNet-Lite to compute in 8 bits, in place.

    Weights become int8 with one scale for each output channel; activations between layers get one
    scale each. The last activation and its average stay float32.

    Args:
        graph: From `handful.features.backbones.efficientnet_lite.build_graph`.
        convolutions: The network's, in order.
        tensors: Its weights.

    Raises:
        ValueError: When the two are not the same network.
    """
    inputs, signed = activation_statistics(convolutions, tensors)
    operations = graph.get_ordered_ops()
    found = [op for op in operations if op.get_type_name().endswith("Convolution")]
    for operation, statistics in zip(found, inputs, strict=True):
        _quantize_weights(operation, statistics)
    ranges = iter(signed)
    for operation in operations:
        consumers = list(operation.output(0).get_target_inputs()) if operation.outputs() else []
        kinds = {consumer.get_node().get_type_name() for consumer in consumers}
        is_inner = any(kind.endswith("Convolution") for kind in kinds)
        if operation.get_type_name() == "Clamp" and is_inner:
            _quantize_activation(operation, consumers, 0.0, RELU_CEILING)
        elif operation.get_type_name() == "Add" and kinds != {"Clamp"}:
            largest = next(ranges).largest()
            # -128 to 127 steps.
            _quantize_activation(operation, consumers, -largest * 128 / 127, largest)
    if next(ranges, None) is not None:
        raise ValueError("the graph has fewer layers than the list")
    graph.validate_nodes_and_infer_types()


def activation_statistics(
    convolutions: Sequence[LiteConvolution], tensors: Tensors
) -> tuple[list[ChannelStatistics], list[ChannelStatistics]]:
    """Follow means and variances of channels through an EfficientNet-Lite.

    After batch norm a channel has its shift as the mean and its scale as the deviation; it is
    taken as normally distributed, and terms of a sum as independent.

    Args:
        convolutions: The network's, in order.
        tensors: Its weights.

    Returns:
        Statistics of what goes into each convolution, in order; and of each signed activation:
        the normalized pixels, the output of each block before and after its shortcut is added.
    """
    # The stem sees pixels: as ranges go, -1 to 127/128 is what 8 bits hold of them exactly.
    x = ChannelStatistics(np.zeros(3), np.full(3, PIXEL_VARIANCE))
    pixels = ChannelStatistics(np.full(3, 127 / 128), np.zeros(3))
    inputs, signed, shortcut = [], [pixels], x
    for convolution in convolutions:
        if convolution.opens:
            shortcut = x
        inputs.append(x)
        shift, scale = (
            tensors[f"{convolution.norm}.{part}"].astype(np.float64) for part in ("bias", "weight")
        )
        x = ChannelStatistics(shift, scale**2)
        if convolution.relu:
            x = _clipped(x)
        else:
            signed.append(x)
        if convolution.adds:
            x = ChannelStatistics(x.mean + shortcut.mean, x.variance + shortcut.variance)
            signed.append(x)
    return inputs, signed


def _clipped(x: ChannelStatistics) -> ChannelStatistics:
    """Moments of normally distributed channels after ReLU6."""
    mean, std = x.mean, np.maximum(np.sqrt(x.variance), 1e-6)
    low, high = -mean / std, (RELU_CEILING - mean) / std
    below, above = _normal_cumulative(low), 1 - _normal_cumulative(high)
    inside = 1 - below - above
    at_low, at_high = (np.exp(-z * z / 2) / math.sqrt(2 * math.pi) for z in (low, high))
    first = mean * inside + std * (at_low - at_high) + RELU_CEILING * above
    second = (
        (mean**2 + std**2) * inside
        + 2 * mean * std * (at_low - at_high)
        + std**2 * (low * at_low - high * at_high)
        + RELU_CEILING**2 * above
    )
    return ChannelStatistics(first, np.maximum(second - first**2, 0.0))


def _normal_cumulative(z: FloatArray) -> FloatArray:
    return np.array([0.5 * math.erfc(value) for value in (-z / math.sqrt(2)).tolist()])


def _quantize_weights(operation: Any, inputs: ChannelStatistics) -> None:
    """Give a convolution int8 weights and a scale for each output channel."""
    from handful.features.runtime import ops

    weights = operation.input_value(1).get_node().data.astype(np.float64)
    depthwise = operation.get_type_name() == "GroupConvolution"
    rows = weights.reshape(len(weights), -1)  # (outputs, weights of one output)
    limit = MAX_DEPTHWISE_WEIGHT if depthwise else MAX_WEIGHT
    steps = np.maximum(np.abs(rows).max(1, keepdims=True), 1e-8) / limit
    if depthwise or weights[0, 0].size > 1:
        # Kernels over neighboring pixels, which mostly rise and fall together.
        common = inputs.mean**2 + NEIGHBOR_CORRELATION * inputs.variance
        own = (1 - NEIGHBOR_CORRELATION) * inputs.variance
        if not depthwise:
            common, own = common.mean(keepdims=True), own.mean(keepdims=True)
        direction, spread = np.sqrt(common)[:, None], own[:, None]
    else:
        direction, spread = inputs.mean[None], inputs.variance[None]
    rounded = round_rows(rows / steps, direction, spread)
    rounded = np.clip(rounded, -limit, limit).astype(np.int8).reshape(weights.shape)
    scales = steps.astype(np.float32).reshape(-1, *[1] * (weights.ndim - 1))
    wide = ops.convert(ops.constant(rounded), "f32")
    scaled = ops.multiply(wide, ops.constant(scales))
    operation.input(1).replace_source_output(scaled.output(0))


def round_rows(rows: FloatArray, direction: FloatArray, spread: FloatArray) -> FloatArray:
    """Round weights up or down so that the layer's output changes least.

    With rounding errors e, the expected squared change of an output is
    (sum of direction * e)^2 + sum of spread * e^2. Starts from the nearest whole numbers and takes
    the single change that helps most until none does.

    Args:
        rows: Weights in steps, (outputs, K) float64.
        direction: What the inputs have in common, (outputs or 1, K or 1).
        spread: Variance of what each input has of its own, of a like shape.

    Returns:
        Whole numbers less than 1 away from `rows`, (outputs, K) float64.
    """
    direction, spread = (np.broadcast_to(part, rows.shape) for part in (direction, spread))
    rounded = np.round(rows)
    error = rounded - rows
    # To the whole number on the other side of the weight.
    change = np.where(error > 0, -1.0, 1.0)
    along, turned, own = direction * error, direction * change, spread * (2 * error * change + 1)
    # Far below any change that matters and above what sums of float64 can err by.
    squared = direction**2
    enough = 1e-9 * (squared + spread).mean(1)
    active = np.arange(len(rows))
    # One change a weight is far more than it ever takes.
    for _ in range(rows.shape[1]):
        gain = 2 * along[active].sum(1, keepdims=True) * turned[active]
        gain += squared[active]
        gain += own[active]
        best = gain.argmin(1)
        helps = gain[np.arange(len(active)), best] < -enough[active]
        active, best = active[helps], best[helps]
        if not len(active):
            break
        at = active, best
        rounded[at] += change[at]
        error = rounded[at] - rows[at]
        change[at] = np.where(error > 0, -1.0, 1.0)
        along[at], turned[at] = direction[at] * error, direction[at] * change[at]
        own[at] = spread[at] * (2 * error * change[at] + 1)
    return rounded


def _quantize_activation(operation: Any, consumers: list[Any], low: float, high: float) -> None:
    from handful.features.runtime import ops

    limits = [ops.constant(np.float32(value)) for value in (low, high)]
    quantized = ops.fake_quantize(operation.output(0), *limits, *limits, 256)
    for consumer in consumers:
        consumer.replace_source_output(quantized.output(0))
