"""Strips of one photo: what each range of views does to it."""

import base64

import cv2
import numpy as np
import pytest

from conftest import draw_photo
from handful.augmentation_policy import FILL_MODES, AugmentationPolicy
from handful.data.augmentation import EXERCISE_POLICY
from handful.studio.student_previews import StripView, fill_strip, random_strip, range_strip


@pytest.fixture(scope="module")
def photo() -> bytes:
    return cv2.imencode(".png", draw_photo("round", 1))[1].tobytes()


def tiles(strip: StripView) -> np.ndarray:
    data = base64.b64decode(strip.uri.partition("base64,")[2])
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None and image.shape == (88, 88 * strip.num_tiles, 3)
    return np.stack(np.split(image.astype(int), strip.num_tiles, axis=1))


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(abs(one - other).mean())


def test_a_strip_shows_one_range_alone(photo: bytes) -> None:
    rotated = range_strip(photo, EXERCISE_POLICY, "rotation_range", "keras-tutorial")
    assert rotated.words == "−40° to 40°" and rotated.num_tiles == len(rotated.labels) == 8
    only = range_strip(photo, AugmentationPolicy(rotation_range=40), "rotation_range", "handful")
    assert only.labels == rotated.labels
    mirrored = range_strip(photo, EXERCISE_POLICY, "horizontal_flip", "keras-tutorial")
    plain, turned = tiles(mirrored)
    assert distance(plain[:, ::-1], turned) < 8 < distance(plain, turned)


def test_a_range_of_nothing_is_the_photo(photo: bytes) -> None:
    strip = range_strip(photo, EXERCISE_POLICY, "vertical_flip", "keras-tutorial")
    assert strip.words == "not used" and strip.num_tiles == 1
    (plain,) = tiles(strip)
    mirrored = range_strip(photo, EXERCISE_POLICY, "horizontal_flip", "keras-tutorial")
    assert distance(plain, tiles(mirrored)[0]) < 8


def test_what_lies_outside_is_shown_for_each_way(photo: bytes) -> None:
    strip = fill_strip(photo, "handful")
    assert strip.labels == FILL_MODES
    black = [int((tile.max(axis=2) < 12).sum()) for tile in tiles(strip)]
    assert black[3] > 2_000 > max(black[:3])


def test_all_ranges_act_together(photo: bytes) -> None:
    strip = random_strip(photo, EXERCISE_POLICY, "keras-tutorial")
    assert strip.num_tiles == 8
    shown = tiles(strip)
    assert min(distance(shown[0], other) for other in shown[1:]) > 5
