"""`pixels.resize` as a formula: any image to the network's square, inside a graph.

One formula for every format: it is written in the few operations that NumPy, OpenVINO and Keras
have in common, and `Ops` gives them for each. Resizing is two matrix products, with weights
that follow from the image's height and width, so a graph takes images of any size. All that
decides which pixels are used is whole-number arithmetic, and exact.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.data.decoding import DecodeSettings

# Of the cubic curve, as OpenCV has it.
_CUBIC = -0.75
_TIE = 1e-3


@dataclass(frozen=True)
class Ops:
    """The operations that the formula needs, named as NumPy and Keras name them.

    Values are the library's own, or NumPy's; `+`, `-`, `*` and `/` work on them with broadcasting.

    Args:
        arange: (images (N, H, W, 3), axis 1 or 2) -> 0 to n - 1, one for each row or column, (n,)
            int32.
        cast: (value, "float32" or "int32") -> of that type, cut off towards zero.
        max: (n,) int32 -> the largest, (1,) int32.
        floor_divide: (int32 of 0 or more, positive int32) -> int32.
        minimum: The smaller of each pair.
        maximum: The larger of each pair.
        equal: int32 pairs -> bool.
        greater_equal: int32 pairs -> bool.
        where: (bool, float32, float32) -> the first where it holds, else the second.
        sqrt: float32 -> float32.
        round: float32 -> the nearest whole number, of two the even one.
        transpose: (value, order of its axes) -> value.
        matmul: (..., A, B) and (..., B, C) float32 -> (..., A, C).
    """

    arange: Callable[[Any, int], Any]
    cast: Callable[[Any, str], Any]
    max: Callable[[Any], Any]
    floor_divide: Callable[[Any, Any], Any]
    minimum: Callable[[Any, Any], Any]
    maximum: Callable[[Any, Any], Any]
    equal: Callable[[Any, Any], Any]
    greater_equal: Callable[[Any, Any], Any]
    where: Callable[[Any, Any, Any], Any]
    sqrt: Callable[[Any], Any]
    round: Callable[[Any], Any]
    transpose: Callable[[Any, tuple[int, ...]], Any]
    matmul: Callable[[Any, Any], Any]


def square(ops: Ops, images: Any, settings: DecodeSettings) -> Any:
    """Make images squares, as `pixels.resize` does.

    Args:
        ops: Whose operations to use.
        images: (N, H, W, 3) uint8 RGB; H and W may be open.
        settings: Size S and proportions.

    Returns:
        (N, S, S, 3) float32, whole numbers 0 to 255. They are those of `pixels.resize`, but that a
        pixel that lies just between two numbers may become the other: OpenCV adds up rounded
        numbers. Of most photos that is no pixel or a handful. Where an image grows on a processor
        for which OpenCV rounds the curve to 11 bits, one in thirty may differ by 1.
    """
    size = settings.image_size
    rows, columns = ops.arange(images, 1), ops.arange(images, 2)
    one = _whole(1)
    height, width = ops.max(rows) + one, ops.max(columns) + one
    shorter = ops.minimum(height, width)
    kept_height = _kept_side(ops, height, shorter, settings.resize)
    kept_width = _kept_side(ops, width, shorter, settings.resize)
    # (N, 3, H, W): rows and columns are matrices for every image and color.
    planes = ops.cast(ops.transpose(images, (0, 3, 1, 2)), "float32")
    shrinks = ops.greater_equal(ops.minimum(kept_height, kept_width), _whole(size))
    weights = [
        ops.where(
            shrinks,
            _area_weights(ops, indices, side, kept, size),
            _cubic_weights(ops, indices, side, kept, size),
        )
        for indices, side, kept in ((rows, height, kept_height), (columns, width, kept_width))
    ]
    summed = ops.matmul(ops.matmul(weights[0], planes), ops.transpose(weights[1], (1, 0)))
    pixels = summed / _divisor(ops, shrinks, kept_height, kept_width, size)
    pixels = pixels + _tie(ops, kept_height, kept_width, size)
    # Cubic curves overshoot.
    whole = ops.minimum(ops.maximum(ops.round(pixels), _real(0)), _real(255))
    return ops.transpose(whole, (0, 2, 3, 1))


def _kept_side(ops: Ops, side: Any, shorter: Any, how: str) -> Any:
    """Length of the middle part that is kept, of one side."""
    if how == "squash":
        return side
    if how == "crop":
        return shorter
    # The square root of side * shorter to the nearest whole number, from float32's estimate.
    area = side * shorter
    estimate = ops.cast(ops.sqrt(ops.cast(area, "float32")), "int32")
    one = _whole(1)
    kept = estimate - one
    for candidate in (estimate, estimate + one):
        # sqrt(n) > c - 1/2 just where n > c * c - c + 1/4.
        enough = ops.greater_equal(area, candidate * candidate - candidate + one)
        kept = kept + ops.cast(enough, "int32")
    return kept


def _positions(ops: Ops, indices: Any, side: Any, kept: Any) -> Any:
    """(1, n) int32: each pixel's number within the part that is kept."""
    return indices - ops.floor_divide(side - kept, _whole(2))


def _area_weights(ops: Ops, indices: Any, side: Any, kept: Any, size: int) -> Any:
    """(S, n) float32: how much of each pixel lies in each output pixel, in whole numbers.

    On a scale where a pixel is S long and an output pixel `kept`, all borders are whole numbers.
    Without the powers of two that both have in common, sums of pixels are small enough to be exact
    wherever they can lie just between two numbers.
    """
    outputs = np.arange(size, dtype=np.int32)[:, np.newaxis]
    positions, one = _positions(ops, indices, side, kept), _whole(1)
    begin = ops.maximum(kept * outputs, positions * _whole(size))
    end = ops.minimum(kept * (outputs + one), (positions + one) * _whole(size))
    overlap = ops.maximum(end - begin, _whole(0))
    return ops.cast(ops.floor_divide(overlap, _common(ops, kept, size)), "float32")


def _common(ops: Ops, kept: Any, size: int) -> Any:
    """The largest power of two that divides both lengths."""
    common: Any = None
    power = 1
    while size % power == 0:
        divided = ops.equal(ops.floor_divide(kept, _whole(power)) * _whole(power), kept)
        # 1, and then 1, 2, 4, ... more add up to 2, 4, 8, ...
        part = ops.cast(divided, "int32") * _whole(max(power // 2, 1))
        common = part if common is None else common + part
        power *= 2
    return common


def _cubic_weights(ops: Ops, indices: Any, side: Any, kept: Any, size: int) -> Any:
    """(S, n) float32: the cubic curve's weights of the four pixels around each output pixel.

    Source: Keys, "Cubic Convolution Interpolation for Digital Image Processing" (1981), with
    OpenCV's parameter; past the border the border's pixel is taken again.
    """
    outputs = np.arange(size, dtype=np.int32)[:, np.newaxis]
    # The center of an output pixel, in pixels: (2 i + 1) kept / 2 S - 1 / 2.
    unit, one = _whole(2 * size), _whole(1)
    center = kept * (2 * outputs + one) - _whole(size)
    before = ops.floor_divide(center + unit, unit) - one
    x = ops.cast(center - before * unit, "float32") / _real(2 * size)
    minus = x * _real(-1)
    near = _near(x), _near(minus + _real(1))
    far = _far(x + _real(1)), _far(minus + _real(2))
    positions = _positions(ops, indices, side, kept)
    weights: Any = None
    for step, weight in zip((-1, 0, 1, 2), (far[0], *near, far[1]), strict=True):
        place = ops.maximum(before + _whole(step), _whole(0))
        place = ops.minimum(place, kept - one)
        part = ops.cast(ops.equal(place, positions), "float32") * weight
        weights = part if weights is None else weights + part
    return weights


def _near(x: Any) -> Any:
    """The curve at a distance of 0 to 1."""
    return (x * _real(_CUBIC + 2) - _real(_CUBIC + 3)) * x * x + _real(1)


def _far(x: Any) -> Any:
    """The curve at a distance of 1 to 2."""
    inner = (x * _real(_CUBIC) - _real(5 * _CUBIC)) * x + _real(8 * _CUBIC)
    return inner * x - _real(4 * _CUBIC)


def _divisor(ops: Ops, shrinks: Any, kept_height: Any, kept_width: Any, size: int) -> Any:
    """What an output pixel's weights add up to."""
    sums = [
        ops.cast(ops.floor_divide(kept, _common(ops, kept, size)), "float32")
        for kept in (kept_height, kept_width)
    ]
    return ops.where(shrinks, sums[0] * sums[1], _real(1))


def _tie(ops: Ops, kept_height: Any, kept_width: Any, size: int) -> Any:
    """OpenCV rounds halves up where it halves an image exactly, and to even elsewhere."""
    double = _whole(2 * size)
    halves = [ops.cast(ops.equal(kept, double), "float32") for kept in (kept_height, kept_width)]
    return halves[0] * halves[1] * _real(_TIE)


# Matrices of one number: some libraries take a plain number for one of another type, and Keras a
# line of one number for the bias of a layer, which LiteRT cannot add to whole numbers.
def _whole(value: int) -> NDArray[np.int32]:
    return np.array([[value]], np.int32)


def _real(value: float) -> NDArray[np.float32]:
    return np.array([[value]], np.float32)
