"""`pixels.resize` as a formula: any picture to the network's square, inside a graph.

One formula for every format: it is written in the few operations that NumPy, OpenVINO and Keras
have in common, and a `Dialect` says them in each. Resizing is two matrix products, with weights
that follow from the picture's height and width, so a graph takes pictures of any size. All that
decides which pixels are used is whole-number arithmetic, and exact.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from handful.data.decoding import DecodeSettings

# Of the cubic curve, as OpenCV has it.
_CUBIC = -0.75
_TIE = 1e-3


class Dialect(Protocol):
    """The operations that the formula needs; values are the dialect's own, or NumPy's.

    `+`, `-`, `*`, `/` and comparisons by name work on them as in NumPy, with broadcasting. What
    OpenVINO and Keras name alike is taken from `_ops`, the module of either's operations.
    """

    _ops: Any

    def ramp(self, images: Any, axis: int) -> Any:
        """Numbers 0 to n - 1, int32, for the n rows (axis 1) or columns (axis 2) of pictures.

        Args:
            images: (N, H, W, 3).
            axis: 1 or 2.

        Returns:
            (n,) int32.
        """

    def to_float(self, value: Any) -> Any:
        """As float32.

        Args:
            value: int32, uint8 or bool.

        Returns:
            float32 of the same shape.
        """

    def to_int(self, value: Any) -> Any:
        """As int32, cut off towards zero.

        Args:
            value: float32 or bool.

        Returns:
            int32 of the same shape.
        """

    def most(self, value: Any) -> Any:
        """Largest entry.

        Args:
            value: (n,) int32.

        Returns:
            (1,) int32.
        """

    def floor_divide(self, value: Any, by: Any) -> Any:
        """Whole-number division of numbers of 0 or more.

        Args:
            value: int32.
            by: int32, positive.

        Returns:
            int32.
        """

    def minimum(self, first: Any, second: Any) -> Any:
        """The smaller of each pair.

        Args:
            first: Numbers.
            second: Numbers of the same type.

        Returns:
            Numbers of that type.
        """
        return self._ops.minimum(first, second)

    def maximum(self, first: Any, second: Any) -> Any:
        """The larger of each pair.

        Args:
            first: Numbers.
            second: Numbers of the same type.

        Returns:
            Numbers of that type.
        """
        return self._ops.maximum(first, second)

    def equal(self, first: Any, second: Any) -> Any:
        """Whether they are equal.

        Args:
            first: int32.
            second: int32.

        Returns:
            bool.
        """
        return self._ops.equal(first, second)

    def at_least(self, first: Any, second: Any) -> Any:
        """Whether the first is the second or more.

        Args:
            first: int32.
            second: int32.

        Returns:
            bool.
        """
        return self._ops.greater_equal(first, second)

    def choose(self, condition: Any, first: Any, second: Any) -> Any:
        """The first where the condition holds, else the second.

        Args:
            condition: bool.
            first: float32.
            second: float32.

        Returns:
            float32.
        """

    def square_root(self, value: Any) -> Any:
        """Square root.

        Args:
            value: float32.

        Returns:
            float32.
        """
        return self._ops.sqrt(value)

    def round(self, value: Any) -> Any:
        """The nearest whole number, of two the even one.

        Args:
            value: float32.

        Returns:
            float32.
        """

    def turn(self, value: Any, axes: tuple[int, ...]) -> Any:
        """Transpose.

        Args:
            value: Any array.
            axes: Their new order.

        Returns:
            The array with its axes in that order.
        """

    def product(self, first: Any, second: Any) -> Any:
        """Matrix product of the last two axes.

        Args:
            first: (..., A, B) float32.
            second: (..., B, C) float32.

        Returns:
            (..., A, C) float32.
        """


def square(dialect: Dialect, images: Any, settings: DecodeSettings) -> Any:
    """Make pictures squares, as `pixels.resize` does.

    Args:
        dialect: Whose operations to use.
        images: (N, H, W, 3) uint8 RGB; H and W may be open.
        settings: Size S and proportions.

    Returns:
        (N, S, S, 3) float32, whole numbers 0 to 255. They are those of `pixels.resize`, but that a
        pixel that lies just between two numbers may become the other: OpenCV adds up rounded
        numbers. Of most photos that is no pixel or a handful. Where a picture grows on a processor
        for which OpenCV rounds the curve to 11 bits, one in thirty may differ by 1.
    """
    size = settings.image_size
    rows, columns = dialect.ramp(images, 1), dialect.ramp(images, 2)
    one = _whole(1)
    height, width = dialect.most(rows) + one, dialect.most(columns) + one
    shorter = dialect.minimum(height, width)
    kept_height = _kept_side(dialect, height, shorter, settings.resize)
    kept_width = _kept_side(dialect, width, shorter, settings.resize)
    # (N, 3, H, W): rows and columns are matrices for every picture and colour.
    planes = dialect.to_float(dialect.turn(images, (0, 3, 1, 2)))
    shrinks = dialect.at_least(dialect.minimum(kept_height, kept_width), _whole(size))
    weights = [
        dialect.choose(
            shrinks,
            _area_weights(dialect, ramp, side, kept, size),
            _cubic_weights(dialect, ramp, side, kept, size),
        )
        for ramp, side, kept in ((rows, height, kept_height), (columns, width, kept_width))
    ]
    summed = dialect.product(dialect.product(weights[0], planes), dialect.turn(weights[1], (1, 0)))
    pixels = summed / _divisor(dialect, shrinks, kept_height, kept_width, size)
    pixels = pixels + _tie(dialect, kept_height, kept_width, size)
    # Cubic curves overshoot.
    whole = dialect.minimum(dialect.maximum(dialect.round(pixels), _real(0)), _real(255))
    return dialect.turn(whole, (0, 2, 3, 1))


def _kept_side(dialect: Dialect, side: Any, shorter: Any, how: str) -> Any:
    """Length of the middle part that is kept, of one side."""
    if how == "squash":
        return side
    if how == "crop":
        return shorter
    # The square root of side * shorter to the nearest whole number, from float32's estimate.
    area = side * shorter
    estimate = dialect.to_int(dialect.square_root(dialect.to_float(area)))
    one = _whole(1)
    kept = estimate - one
    for candidate in (estimate, estimate + one):
        # sqrt(n) > c - 1/2 just where n > c * c - c + 1/4.
        enough = dialect.at_least(area, candidate * candidate - candidate + one)
        kept = kept + dialect.to_int(enough)
    return kept


def _positions(dialect: Dialect, ramp: Any, side: Any, kept: Any) -> Any:
    """(1, n) int32: each pixel's number within the part that is kept."""
    return ramp - dialect.floor_divide(side - kept, _whole(2))


def _area_weights(dialect: Dialect, ramp: Any, side: Any, kept: Any, size: int) -> Any:
    """(S, n) float32: how much of each pixel lies in each output pixel, in whole numbers.

    On a scale where a pixel is S long and an output pixel `kept`, all borders are whole numbers.
    Without the powers of two that both have in common, sums of pixels are small enough to be exact
    wherever they can lie just between two numbers.
    """
    outputs = np.arange(size, dtype=np.int32)[:, np.newaxis]
    positions, one = _positions(dialect, ramp, side, kept), _whole(1)
    begin = dialect.maximum(kept * outputs, positions * _whole(size))
    end = dialect.minimum(kept * (outputs + one), (positions + one) * _whole(size))
    overlap = dialect.maximum(end - begin, _whole(0))
    return dialect.to_float(dialect.floor_divide(overlap, _common(dialect, kept, size)))


def _common(dialect: Dialect, kept: Any, size: int) -> Any:
    """The largest power of two that divides both lengths."""
    common: Any = None
    power = 1
    while size % power == 0:
        divided = dialect.equal(dialect.floor_divide(kept, _whole(power)) * _whole(power), kept)
        # 1, and then 1, 2, 4, ... more add up to 2, 4, 8, ...
        part = dialect.to_int(divided) * _whole(max(power // 2, 1))
        common = part if common is None else common + part
        power *= 2
    return common


def _cubic_weights(dialect: Dialect, ramp: Any, side: Any, kept: Any, size: int) -> Any:
    """(S, n) float32: the cubic curve's weights of the four pixels around each output pixel.

    Source: Keys, "Cubic Convolution Interpolation for Digital Image Processing" (1981), with
    OpenCV's parameter; past the border the border's pixel is taken again.
    """
    outputs = np.arange(size, dtype=np.int32)[:, np.newaxis]
    # The centre of an output pixel, in pixels: (2 i + 1) kept / 2 S - 1 / 2.
    unit, one = _whole(2 * size), _whole(1)
    centre = kept * (2 * outputs + one) - _whole(size)
    before = dialect.floor_divide(centre + unit, unit) - one
    x = dialect.to_float(centre - before * unit) / _real(2 * size)
    minus = x * _real(-1)
    near = _near(x), _near(minus + _real(1))
    far = _far(x + _real(1)), _far(minus + _real(2))
    positions = _positions(dialect, ramp, side, kept)
    weights: Any = None
    for step, weight in zip((-1, 0, 1, 2), (far[0], *near, far[1]), strict=True):
        place = dialect.maximum(before + _whole(step), _whole(0))
        place = dialect.minimum(place, kept - one)
        part = dialect.to_float(dialect.equal(place, positions)) * weight
        weights = part if weights is None else weights + part
    return weights


def _near(x: Any) -> Any:
    """The curve at a distance of 0 to 1."""
    return (x * _real(_CUBIC + 2) - _real(_CUBIC + 3)) * x * x + _real(1)


def _far(x: Any) -> Any:
    """The curve at a distance of 1 to 2."""
    inner = (x * _real(_CUBIC) - _real(5 * _CUBIC)) * x + _real(8 * _CUBIC)
    return inner * x - _real(4 * _CUBIC)


def _divisor(dialect: Dialect, shrinks: Any, kept_height: Any, kept_width: Any, size: int) -> Any:
    """What an output pixel's weights add up to."""
    sums = [
        dialect.to_float(dialect.floor_divide(kept, _common(dialect, kept, size)))
        for kept in (kept_height, kept_width)
    ]
    return dialect.choose(shrinks, sums[0] * sums[1], _real(1))


def _tie(dialect: Dialect, kept_height: Any, kept_width: Any, size: int) -> Any:
    """OpenCV rounds halves up where it halves a picture exactly, and to even elsewhere."""
    double = _whole(2 * size)
    halves = [dialect.to_float(dialect.equal(kept, double)) for kept in (kept_height, kept_width)]
    return halves[0] * halves[1] * _real(_TIE)


# Matrices of one number: some libraries take a plain number for one of another type, and Keras a
# line of one number for the bias of a layer, which LiteRT cannot add to whole numbers.
def _whole(value: int) -> NDArray[np.int32]:
    return np.array([[value]], np.int32)


def _real(value: float) -> NDArray[np.float32]:
    return np.array([[value]], np.float32)
