import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from conftest import draw_photo
from handful.data.decoding import DecodeSettings, resize
from handful.exporting.export_graph import openvino_ops
from handful.exporting.square_graph import Ops, square

SIZES = [(32, 32), (20, 27), (100, 80), (200, 12), (9, 300), (64, 64), (96, 64), (33, 31), (8, 8)]


# The formula's operations in NumPy: what it says, without any graph.
NUMPY_OPS = Ops(
    arange=lambda images, axis: np.arange(images.shape[axis], dtype=np.int32),
    cast=lambda value, dtype: np.asarray(value).astype(dtype),
    max=lambda value: value.max(keepdims=True),
    floor_divide=np.floor_divide,
    minimum=np.minimum,
    maximum=np.maximum,
    equal=np.equal,
    greater_equal=np.greater_equal,
    where=np.where,
    sqrt=np.sqrt,
    round=np.round,
    transpose=np.transpose,
    matmul=np.matmul,
)


def squared(image: NDArray[np.uint8], how: DecodeSettings) -> NDArray[np.float32]:
    return np.asarray(square(NUMPY_OPS, image[np.newaxis], how))[0]


def check(found: NDArray[np.float32], image: NDArray[np.uint8], how: DecodeSettings) -> None:
    """Equal but for pixels that lie between two numbers, and for OpenCV's rounded cubic curves."""
    expected = resize(image, how).astype(np.float32)
    assert found.shape == expected.shape and found.dtype == np.float32
    off = np.abs(found - expected)
    assert off.max() <= 1
    grows = min(image.shape[:2]) < 2 * how.image_size
    assert (off > 0).mean() <= (0.06 if grows else 0.01)


@pytest.mark.parametrize("how", ["halfway", "squash", "crop"])
@pytest.mark.parametrize("size", SIZES)
def test_any_picture_becomes_the_square_that_handful_makes(size: tuple[int, int], how: str) -> None:
    image = draw_photo("round", 3, (100, 130))
    image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_NEAREST)
    check(squared(image, DecodeSettings(32, how)), image, DecodeSettings(32, how))


@pytest.mark.slow
@settings(max_examples=60)
@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    size=st.integers(8, 80),
    how=st.sampled_from(["halfway", "squash", "crop"]),
    seed=st.integers(0, 99),
)
def test_sizes_of_all_kinds(height: int, width: int, size: int, how: str, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = resize(image, DecodeSettings(size, how)).astype(np.float32)
    assert np.abs(squared(image, DecodeSettings(size, how)) - expected).max() <= 1


def test_the_kept_side_is_exact_for_the_largest_pictures() -> None:
    from handful.data.decoding import _kept
    from handful.exporting.square_graph import _kept_side

    rng = np.random.default_rng(0)
    sides = rng.integers(8, 20_000, (2000, 2))
    sides[:40] = [[n * n, 1] for n in range(100, 140)]
    for height, width in sides.tolist():
        shorter = np.array([min(height, width)], np.int32)
        found = [
            _kept_side(NUMPY_OPS, np.array([side], np.int32), shorter, "halfway").item()
            for side in (height, width)
        ]
        assert tuple(found) == _kept(height, width, "halfway")


def test_halving_is_exact() -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    how = DecodeSettings(32, "crop")
    # A quarter of all sums of four lie just between two numbers.
    assert np.array_equal(squared(image, how), resize(image, how))
    wide = rng.integers(0, 256, (96, 64, 3), dtype=np.uint8)
    how = DecodeSettings(32, "squash")
    assert np.array_equal(squared(wide, how), resize(wide, how))


@pytest.mark.parametrize("how", ["halfway", "squash", "crop"])
def test_openvino_computes_the_same(how: str) -> None:
    import openvino
    from openvino import opset13

    images = opset13.parameter(openvino.PartialShape([-1, -1, -1, 3]), np.uint8)
    graph = openvino.Model([square(openvino_ops(), images, DecodeSettings(32, how))], [images])
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(graph, "CPU", options)
    for size in SIZES:
        image = cv2.resize(draw_photo("square", 5), size[::-1], interpolation=cv2.INTER_NEAREST)
        check(compiled(image[np.newaxis])[0][0], image, DecodeSettings(32, how))
    pair = np.stack([draw_photo("round", 1), draw_photo("round", 2)])
    alone = [compiled(image[np.newaxis])[0][0] for image in pair]
    assert np.array_equal(compiled(pair)[0], np.stack(alone))
