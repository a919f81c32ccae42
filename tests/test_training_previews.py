from dataclasses import fields

import numpy as np
import pytest

from conftest import draw_photo
from handful.augmentation_policy import AugmentationPolicy
from handful.data.augmentation import EXERCISE_POLICY, HANDFUL_POLICY
from handful.data.decoding import mirror
from handful.training.previews import NUM_STEPS, NUM_VIEWS, Strip, draw_preview

PHOTO = draw_photo("round", 3, (64, 80))

# Every parameter that can be seen, switched on.
FULL = AugmentationPolicy(
    rotation_range=40,
    width_shift_range=0.2,
    height_shift_range=3.0,
    shear_range=10,
    zoom_range=(0.5, 1.5),
    horizontal_flip=True,
    vertical_flip=True,
    brightness_range=(0.5, 1.5),
    channel_shift_range=20,
    aspect_range=0.2,
    contrast_range=(0.5, 1.5),
    saturation_range=(0, 2),
)


def strip_of(policy: AugmentationPolicy) -> Strip:
    (strip,) = draw_preview(PHOTO, policy).strips
    return strip


def test_there_is_a_strip_for_each_parameter_in_the_policys_order() -> None:
    shown = draw_preview(PHOTO, FULL)
    silent = {"fill_mode", "cval", "rescale"}
    expected = [item.name for item in fields(AugmentationPolicy) if item.name not in silent]
    assert [strip.name for strip in shown.strips] == expected
    for strip in shown.strips:
        num = 2 if strip.name.endswith("flip") else NUM_STEPS
        assert strip.views.shape == (num, *PHOTO.shape) and strip.views.dtype == np.uint8
        assert strip.values.shape == (num,) and len(strip.labels) == num
        assert (np.diff(strip.values) > 0).all() and len(set(strip.labels)) == num
        assert any((view != PHOTO).any() for view in strip.views), strip.name


@pytest.mark.parametrize("policy", [EXERCISE_POLICY, HANDFUL_POLICY, FULL])
def test_random_views_follow_the_seed(policy: AugmentationPolicy) -> None:
    first, again, other = (draw_preview(PHOTO, policy, seed).views for seed in (1, 1, 2))
    assert first.shape == (NUM_VIEWS, *PHOTO.shape)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_policy_that_changes_nothing_has_no_strips() -> None:
    still = AugmentationPolicy(
        brightness_range=(1, 1), zoom_range=(1.0, 1.0), width_shift_range=1, aspect_range=0.0
    )
    shown = draw_preview(PHOTO, still)
    assert shown.strips == ()
    assert (shown.views == PHOTO).all()


@pytest.mark.parametrize(
    ("policy", "words", "first", "last"),
    [
        (AugmentationPolicy(rotation_range=40), "−40° to 40°", "−40°", "+40°"),
        (AugmentationPolicy(shear_range=0.2), "−0.2° to 0.2°", "−0.2°", "+0.2°"),
        (
            AugmentationPolicy(width_shift_range=0.2),
            "−20 % to 20 %, of the width",
            "−20 %",
            "+20 %",
        ),
        (AugmentationPolicy(height_shift_range=5.5), "−5.5 px to 5.5 px", "−5.5 px", "+5.5 px"),
        (
            AugmentationPolicy(height_shift_range=3),
            "−2 px to 2 px, whole pixels",
            "−2 px",
            "+2 px",
        ),
        (
            AugmentationPolicy(width_shift_range=(0.1, 0.3)),
            "one of 10, 30 %, with either sign, of the width",
            "−30 %",
            "+30 %",
        ),
        (
            AugmentationPolicy(zoom_range=0.2),
            "0.8 to 1.2, each axis on its own; below 1 things get larger",
            "0.80",
            "1.20",
        ),
        (
            AugmentationPolicy(aspect_range=0.2),
            "0.82 to 1.22, the zoom across over the zoom down",
            "0.82",
            "1.22",
        ),
        (AugmentationPolicy(channel_shift_range=20), "−20 to 20, of 255", "−20", "+20"),
        (AugmentationPolicy(saturation_range=(0, 2)), "0 to 2 times", "0.00", "2.00"),
        (AugmentationPolicy(contrast_range=(0.5, 0.5)), "0.5 times", "0.50", "0.50"),
        (AugmentationPolicy(vertical_flip=True), "half of the views", "as it is", "upside down"),
    ],
)
def test_ranges_and_values_are_told_in_words(
    policy: AugmentationPolicy, words: str, first: str, last: str
) -> None:
    strip = strip_of(policy)
    assert (strip.range, strip.labels[0], strip.labels[-1]) == (words, first, last)


def test_whole_pixels_stay_whole() -> None:
    strip = strip_of(AugmentationPolicy(width_shift_range=4))
    assert strip.values.tolist() == [-3, -2, -1, 0, 1, 2, 3]
    # By a shift of +2 the view begins two pixels into the picture.
    np.testing.assert_array_equal(strip.views[5][:, :-2], PHOTO[:, 2:])
    np.testing.assert_array_equal(strip.views[3], PHOTO)


def test_of_many_listed_shifts_eight_are_shown() -> None:
    strip = strip_of(AugmentationPolicy(height_shift_range=tuple(range(1, 12))))
    assert len(strip.values) == NUM_STEPS and strip.values[[0, -1]].tolist() == [-11, 11]
    assert strip_of(AugmentationPolicy(width_shift_range=(0.0, 0.5))).values.tolist() == [
        -0.5,
        0,
        0.5,
    ]


def test_flips_show_both() -> None:
    strip = strip_of(AugmentationPolicy(horizontal_flip=True))
    np.testing.assert_array_equal(strip.views[0], PHOTO)
    np.testing.assert_array_equal(strip.views[1], mirror(PHOTO))


def test_a_strip_changes_nothing_else() -> None:
    whole = {strip.name: strip for strip in draw_preview(PHOTO, FULL).strips}
    alone = strip_of(AugmentationPolicy(rotation_range=40))
    np.testing.assert_array_equal(whole["rotation_range"].views, alone.views)
    alone = strip_of(AugmentationPolicy(brightness_range=(0.5, 1.5)))
    np.testing.assert_array_equal(whole["brightness_range"].views, alone.views)


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("nearest", "its edge, drawn out"),
        ("reflect", "its mirror image"),
        ("wrap", "its other side"),
        ("constant", "the value 40"),
    ],
)
def test_what_lies_outside_is_seen_and_told(mode: str, words: str) -> None:
    policy = AugmentationPolicy(width_shift_range=0.5, fill_mode=mode, cval=40, rescale=1 / 255)
    shown = draw_preview(PHOTO, policy)
    assert shown.notes[0] == f"fill_mode {mode}: outside the photo lies {words}."
    assert shown.notes[1].startswith("rescale: all values times 0.003922")
    if mode == "constant":
        assert (shown.strips[0].views[0][:, :39] == 40).all()


@pytest.mark.parametrize(
    "photo", [PHOTO.astype(np.float32), PHOTO[..., 0], PHOTO[..., :2], PHOTO[:0]]
)
def test_other_arrays_are_refused(photo: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"photo is .* of shape .*; expected uint8 of shape \(H, "):
        draw_preview(photo, FULL)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="`seed` is -1; expected 0 or more"):
        draw_preview(PHOTO, FULL, -1)
