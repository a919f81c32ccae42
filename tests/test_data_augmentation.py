import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from conftest import draw_photo
from handful.augmentation_policy import FILL_MODES, AugmentationPolicy
from handful.data.augmentation import (
    EXERCISE_POLICY,
    Views,
    apply_views,
    content_view,
    draw_views,
    view_matrices,
)
from handful.errors import UsageError

EVERYTHING = AugmentationPolicy(
    rotation_range=40,
    width_shift_range=0.2,
    height_shift_range=0.3,
    shear_range=20,
    zoom_range=(0.7, 1.4),
    horizontal_flip=True,
    vertical_flip=True,
    brightness_range=(0.5, 1.6),
    channel_shift_range=60.0,
)
# Each parameter alone, then all at once.
POLICIES = {
    "rotation": AugmentationPolicy(rotation_range=40),
    "width shift": AugmentationPolicy(width_shift_range=0.2),
    "height shift": AugmentationPolicy(height_shift_range=0.2),
    "shear": AugmentationPolicy(shear_range=30),
    "zoom": AugmentationPolicy(zoom_range=0.3),
    "horizontal flip": AugmentationPolicy(horizontal_flip=True),
    "vertical flip": AugmentationPolicy(vertical_flip=True),
    "brightness": AugmentationPolicy(brightness_range=(0.4, 1.7)),
    "channel shift": AugmentationPolicy(channel_shift_range=80.0),
    "all": EVERYTHING,
    "keras-tutorial": EXERCISE_POLICY,
}


@pytest.fixture(scope="module")
def keras_image() -> Any:
    """Keras' own generator and its functions."""
    from handful.features.keras_runtime import prepare_keras

    prepare_keras()
    from keras.src.legacy.preprocessing import image

    return image


def keras_view(
    keras_image: Any, image: NDArray[np.uint8], views: Views, fill_mode: str, cval: float
) -> NDArray[np.float64]:
    """Keras' own picture for the first of the views."""
    generator = keras_image.ImageDataGenerator(fill_mode=fill_mode, cval=cval)
    one = {field.name: getattr(views, field.name)[0] for field in dataclasses.fields(views)}
    drawn = {
        "theta": one["rotation"],
        "tx": one["shift_x"],
        "ty": one["shift_y"],
        "shear": one["shear"],
        "zx": one["zoom_x"],
        "zy": one["zoom_y"],
        "flip_horizontal": one["flip_horizontal"],
        "flip_vertical": one["flip_vertical"],
        "channel_shift_intensity": one["channel_shift"] or None,
        "brightness": None if one["brightness"] == 1 else one["brightness"],
    }
    return np.asarray(generator.apply_transform(image.astype(np.float32), drawn), np.float64)


# Keras imports SciPy's function by an old name.
OLD_NAME = pytest.mark.filterwarnings("ignore:Please import .affine_transform:DeprecationWarning")


@pytest.mark.slow
@OLD_NAME
@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("name", POLICIES)
def test_views_are_those_of_keras(keras_image: Any, name: str, fill_mode: str) -> None:
    policy = dataclasses.replace(POLICIES[name], fill_mode=fill_mode, cval=40.0)
    rng = np.random.default_rng(len(name))
    # A smooth picture: positions are rounded to 1/32 pixel, which shows at sharp edges only.
    columns, rows = np.meshgrid(np.arange(90), np.arange(90))
    waves = [np.sin(columns / a) * np.cos(rows / b) for a, b in ((9, 14), (17, 8), (12, 12))]
    image = np.stack([(120 + 100 * wave) for wave in waves], axis=2).astype(np.uint8)
    steepest = max(np.abs(np.diff(image.astype(int), axis=axis)).max() for axis in (0, 1))
    gains = policy.brightness_range[1] if policy.brightness_range else 1.0
    for _ in range(5):
        views = draw_views(policy, 1, 90, 90, rng)
        ours = apply_views(image[None], views, policy)[0].astype(float)
        theirs = keras_view(keras_image, image, views, fill_mode, 40.0)
        difference = np.abs(ours - theirs)
        # "wrap" and "constant" jump at the border; a rounded position may be on its other side.
        jumps = 0.01 if fill_mode in ("wrap", "constant") else 0.0
        # Rounding of both positions, of the result, and before the brightness is taken.
        bound = gains * (1 + 2 * steepest / 32) + 1
        assert (difference > bound).mean() <= jumps
        assert np.median(difference) <= 1.0 * gains


@pytest.mark.slow
@OLD_NAME
def test_a_real_kind_of_picture_differs_from_keras_at_sharp_edges_only(keras_image: Any) -> None:
    image = draw_photo("square", 5, (120, 120))
    views = draw_views(EXERCISE_POLICY, 1, 120, 120, np.random.default_rng(2))
    ours = apply_views(image[None], views, EXERCISE_POLICY)[0].astype(float)
    difference = np.abs(ours - keras_view(keras_image, image, views, "nearest", 0.0))
    assert difference.mean() < 0.6
    assert np.quantile(difference, 0.999) < 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "ours", "theirs"),
    [
        ({"rotation_range": 40.0}, "rotation", "theta"),
        # Keras calls the vertical one tx, and then shifts to the side by it.
        ({"height_shift_range": 0.2}, "shift_y", "tx"),
        ({"width_shift_range": 0.2}, "shift_x", "ty"),
        ({"width_shift_range": 7}, "shift_x", "ty"),
        ({"width_shift_range": 7.5}, "shift_x", "ty"),
        ({"width_shift_range": (3.0, 9.0)}, "shift_x", "ty"),
        ({"height_shift_range": (0.1, 0.3)}, "shift_y", "tx"),
        ({"shear_range": 12.0}, "shear", "shear"),
        ({"zoom_range": 0.3}, "zoom_x", "zx"),
        ({"zoom_range": (0.5, 0.9)}, "zoom_y", "zy"),
        ({"horizontal_flip": True}, "flip_horizontal", "flip_horizontal"),
        ({"vertical_flip": True}, "flip_vertical", "flip_vertical"),
        ({"brightness_range": (0.4, 1.2)}, "brightness", "brightness"),
        ({"channel_shift_range": 30.0}, "channel_shift", "channel_shift_intensity"),
    ],
)
def test_draws_are_distributed_as_those_of_keras(
    keras_image: Any, option: dict[str, Any], ours: str, theirs: str
) -> None:
    from scipy.stats import ks_2samp

    generator = keras_image.ImageDataGenerator(**option)
    np.random.seed(0)
    expected = [float(generator.get_random_transform((80, 100, 3))[theirs]) for _ in range(3000)]
    views = draw_views(AugmentationPolicy(**option), 3000, 80, 100, np.random.default_rng(0))
    found = getattr(views, ours).astype(float)
    assert ks_2samp(found, expected).pvalue > 0.001
    changed = {
        field.name
        for field in dataclasses.fields(views)
        if len(np.unique(getattr(views, field.name))) > 1
    }
    assert changed == ({"zoom_x", "zoom_y"} if "zoom_range" in option else {ours})


@given(st.integers(0, 2**32 - 1), st.sampled_from(FILL_MODES))
@settings(max_examples=20)
def test_views_keep_shape_type_and_range(seed: int, fill_mode: str) -> None:
    policy = dataclasses.replace(EVERYTHING, fill_mode=fill_mode, contrast_range=(0.5, 1.5))
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (3, 20, 33, 3), dtype=np.uint8)
    kept = images.copy()
    views = apply_views(images, draw_views(policy, 3, 20, 33, rng), policy, (16, 24))
    assert views.shape == (3, 16, 24, 3) and views.dtype == np.uint8
    assert np.array_equal(images, kept)


def test_no_ranges_change_nothing() -> None:
    image = draw_photo("square", 2)
    for fill_mode in FILL_MODES:
        policy = AugmentationPolicy(fill_mode=fill_mode)
        views = draw_views(policy, 1, *image.shape[:2], np.random.default_rng(0))
        view = apply_views(image[None], views, policy)[0]
        assert np.array_equal(view, image)


def test_shifts_go_where_they_say() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[20, 30] = 255
    for option, axis in (({"height_shift_range": (5.0,)}, 0), ({"width_shift_range": (5.0,)}, 1)):
        policy = AugmentationPolicy(**option)  # type: ignore[arg-type]
        view = apply_views(
            image[None], draw_views(policy, 1, 40, 60, np.random.default_rng(0)), policy
        )[0]
        found = np.argwhere(view[..., 0])[0]
        assert abs(found[axis] - (20, 30)[axis]) == 5
        assert found[1 - axis] == (20, 30)[1 - axis]


def test_pictures_turn_about_their_center() -> None:
    policy = AugmentationPolicy(rotation_range=180, shear_range=20, zoom_range=0.5)
    matrices = view_matrices(
        draw_views(policy, 9, 50, 90, np.random.default_rng(0)), (50, 90), (20, 30)
    )
    assert np.allclose(matrices @ (14.5, 9.5, 1.0), (44.5, 24.5))


def test_a_smaller_view_shows_the_same() -> None:
    image = draw_photo("round", 3, (96, 96))
    views = draw_views(AugmentationPolicy(), 1, 96, 96, np.random.default_rng(0))
    small = apply_views(image[None], views, AugmentationPolicy(), (48, 48))[0]
    expected = image.reshape(48, 2, 48, 2, 3).mean(axis=(1, 3))
    assert np.abs(small - expected).max() <= 1


def test_aspect_draws_one_zoom_for_both_axes() -> None:
    rng = np.random.default_rng(0)
    policy = AugmentationPolicy(zoom_range=(0.6, 1.0), aspect_range=0.2)
    views = draw_views(policy, 2000, 50, 50, rng)
    ratio, size = np.log(views.zoom_x / views.zoom_y), np.sqrt(views.zoom_x * views.zoom_y)
    assert -0.2 <= ratio.min() < -0.19 and 0.19 < ratio.max() <= 0.2
    assert 0.6 <= size.min() < 0.61 and 0.99 < size.max() <= 1.0


def test_contrast_and_saturation_keep_the_mean_and_grey() -> None:
    image = draw_photo("round", 6)
    grey = np.repeat(image[..., :1], 3, axis=2)
    rng = np.random.default_rng(0)
    flat = AugmentationPolicy(contrast_range=(0.5, 0.5))
    view = apply_views(image[None], draw_views(flat, 1, 96, 120, rng), flat)[0]
    assert abs(view.mean() - image.mean()) < 0.6
    assert view.std() == pytest.approx(image.std() / 2, rel=0.02)
    pale = AugmentationPolicy(saturation_range=(0.0, 0.0))
    view = apply_views(image[None], draw_views(pale, 1, 96, 120, rng), pale)[0]
    assert (view[..., 0] == view[..., 1]).all() and (view[..., 1] == view[..., 2]).all()
    views = draw_views(AugmentationPolicy(saturation_range=(0.3, 1.7)), 1, 96, 120, rng)
    assert np.abs(apply_views(grey[None], views, pale)[0].astype(int) - grey).max() <= 1


def test_views_depend_on_content_and_number_alone() -> None:
    image = draw_photo("round", 4)
    policy = EXERCISE_POLICY
    assert content_view(image, "a", 0, policy) is image
    views = [content_view(image, name, number, policy) for name in "ab" for number in (1, 2)]
    again = [content_view(image, name, number, policy) for name in "ab" for number in (1, 2)]
    for view, repeated in zip(views, again, strict=True):
        assert np.array_equal(view, repeated)
    assert len({view.tobytes() for view in views}) == 4


def test_key_tells_policies_apart() -> None:
    keys = [policy.key() for policy in POLICIES.values()]
    assert len(set(keys)) == len(keys)
    assert EXERCISE_POLICY.key().startswith("views2:40:0.2:0.2:0.2:0.2:True:False:None:0:nearest")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            {"zoom_range": 1.5},
            r"`zoom_range` is 1\.5; expected a number, 0 or more and",
        ),
        ({"zoom_range": (0.9, 0.5)}, r"`zoom_range` is \(0\.9, 0\.5\); expected"),
        ({"zoom_range": "wide"}, "`zoom_range` is 'wide'; expected a number"),
        ({"shear_range": -1}, "`shear_range` is -1; expected 0 or more"),
        ({"rotation_range": "ten"}, "`rotation_range` is 'ten'; expected 0 or more"),
        (
            {"width_shift_range": -0.1},
            r"`width_shift_range` is -0\.1; expected a number, 0 or",
        ),
        ({"height_shift_range": ()}, r"`height_shift_range` is \(\); expected a number"),
        ({"brightness_range": (2, 1)}, r"`brightness_range` is \(2, 1\); expected \(low, high\)"),
        ({"brightness_range": 0.5}, r"`brightness_range` is 0\.5; expected two numbers"),
        ({"cval": 256}, "`cval` is 256; expected 0 to 255"),
        ({"fill_mode": "mirror"}, "`fill_mode` is 'mirror'; expected one of nearest, reflect"),
    ],
)
def test_wrong_ranges_are_named(option: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AugmentationPolicy(**option)


def test_lists_are_taken_as_in_keras() -> None:
    policy = AugmentationPolicy(
        zoom_range=[0.8, 1.2],  # type: ignore[arg-type]
        brightness_range=[0.5, 1.5],  # type: ignore[arg-type]
        width_shift_range=[0.1, 0.2],  # type: ignore[arg-type]
    )
    assert (policy.zoom_range, policy.brightness_range) == ((0.8, 1.2), (0.5, 1.5))
    assert policy.width_shift_range == (0.1, 0.2) and hash(policy) == hash(policy)


def test_a_policy_knows_whether_it_changes_anything() -> None:
    plain = AugmentationPolicy(fill_mode="constant", cval=7, rescale=1 / 255)
    assert AugmentationPolicy().changes_nothing and plain.changes_nothing
    for name, policy in POLICIES.items():
        assert not policy.changes_nothing, name
    for changed in (
        dataclasses.replace(plain, aspect_range=0.1),
        dataclasses.replace(plain, contrast_range=(0.9, 1.1)),
        dataclasses.replace(plain, saturation_range=(0.9, 1.1)),
    ):
        assert not changed.changes_nothing
    image = draw_photo("round", 0)
    views = draw_views(plain, 3, *image.shape[:2], np.random.default_rng(0))
    assert np.array_equal(apply_views([image] * 3, views, plain), [image] * 3)
