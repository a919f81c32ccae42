import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from conftest import draw_photo
from handful.augment import AugmentationPolicy, content_view, sample_matrix, warp

NONE = AugmentationPolicy(0, 0, 0, 0, 0, horizontal_flip=False)


def slow_warp(image: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bilinear sampling with nearest fill, one pixel at a time."""
    height, width = image.shape[:2]
    result = np.zeros(image.shape)
    for y in range(height):
        for x in range(width):
            u, v = matrix @ (x, y, 1.0)
            left, top = math.floor(u), math.floor(v)
            for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
                weight = (1 - abs(u - left - i)) * (1 - abs(v - top - j))
                column, row = np.clip(left + i, 0, width - 1), np.clip(top + j, 0, height - 1)
                result[y, x] += weight * image[row, column]
    return result


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_the_warp_is_its_slow_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = draw_photo("round", 1, (80, 90))[20:50, 20:60]
    matrix = sample_matrix(AugmentationPolicy(), 30, 40, rng)
    view = warp(image, matrix)
    assert view.shape == image.shape and view.dtype == np.uint8
    # OpenCV rounds positions to 1/32 pixel, which shows at the picture's sharpest edges.
    difference = np.abs(view.astype(float) - slow_warp(image, matrix))
    assert difference.mean() < 1.0
    assert np.quantile(difference, 0.99) < 8.0


def test_no_ranges_change_nothing() -> None:
    image = draw_photo("square", 2)
    matrix = sample_matrix(NONE, *image.shape[:2], np.random.default_rng(0))
    assert np.array_equal(warp(image, matrix), image)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"rotation_range": 90}, "rotation"),
        ({"width_shift_range": 0.5}, "x shift"),
        ({"height_shift_range": 0.5}, "y shift"),
        ({"zoom_range": 0.5}, "zoom"),
        ({"shear_range": 30}, "shear"),
    ],
)
def test_each_range_does_its_own_thing(changes: dict[str, float], expected: str) -> None:
    policy = AugmentationPolicy(
        **{**{f"{n}_range": 0.0 for n in ("rotation", "zoom", "shear")}, **changes},  # type: ignore[arg-type]
        **{n: 0.0 for n in ("width_shift_range", "height_shift_range") if n not in changes},  # type: ignore[arg-type]
        horizontal_flip=False,
    )
    matrix = sample_matrix(policy, 100, 200, np.random.default_rng(3))
    linear, centre = matrix[:, :2], matrix @ (99.5, 49.5, 1.0)
    shift_x, shift_y = centre - (99.5, 49.5)
    found = {
        "rotation": np.allclose(linear @ linear.T, np.eye(2))
        and not np.allclose(linear, np.eye(2)),
        "zoom": np.allclose(linear, np.diag(np.diag(linear)))
        and not np.allclose(linear, np.eye(2)),
        # Keras' shear acts on (y, x) as [[1, -sin], [0, cos]].
        "shear": linear[1, 0] != 0 == linear[0, 1] and np.isclose(np.hypot(*linear[:, 0]), 1),
        "x shift": abs(shift_x) > 1e-9,
        "y shift": abs(shift_y) > 1e-9,
    }
    assert [name for name, true in found.items() if true] == [expected]


def test_flips_half_of_the_views() -> None:
    policy = AugmentationPolicy(0, 0, 0, 0, 0)
    rng = np.random.default_rng(0)
    image = draw_photo("round", 3)
    flipped = 0
    for _ in range(400):
        view = warp(image, sample_matrix(policy, *image.shape[:2], rng))
        assert np.array_equal(view, image) or np.array_equal(view, image[:, ::-1])
        flipped += np.array_equal(view, image[:, ::-1])
    assert 160 < flipped < 240


def test_views_depend_on_content_and_number_alone() -> None:
    image = draw_photo("round", 4)
    policy = AugmentationPolicy()
    assert content_view(image, "a", 0, policy) is image
    views = [content_view(image, name, number, policy) for name in "ab" for number in (1, 2)]
    again = [content_view(image, name, number, policy) for name in "ab" for number in (1, 2)]
    for view, repeated in zip(views, again, strict=True):
        assert np.array_equal(view, repeated)
    assert len({view.tobytes() for view in views}) == 4


def test_key_tells_policies_apart() -> None:
    assert AugmentationPolicy().key() == "affine1:40:0.2:0.2:0.2:0.2:True:nearest"
    assert NONE.key() != AugmentationPolicy().key()


def test_wrong_ranges_are_named() -> None:
    with pytest.raises(ValueError, match=r"zoom_range is 1\.5; expected less than 1"):
        AugmentationPolicy(zoom_range=1.5)
    with pytest.raises(ValueError, match="shear_range is -1; expected 0 or more"):
        AugmentationPolicy(shear_range=-1)
    with pytest.raises(ValueError, match="fill_mode is 'constant'; expected one of nearest"):
        AugmentationPolicy(fill_mode="constant")
