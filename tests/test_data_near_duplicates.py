"""Which photos show the same shot."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import draw_photo
from handful.data.decoding import fingerprint
from handful.data.near_duplicates import near_duplicate_pairs, near_duplicates_among
from handful.data.splits import duplicate_groups
from test_data_splits import make_index


def fingerprints(images: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return np.stack([fingerprint(cv2.resize(image, (224, 224))) for image in images])


def test_near_duplicates_are_found_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    images = [draw_photo("round", seed, (150, 200)) for seed in range(40)]
    copies = [
        cv2.imdecode(cv2.imencode(".jpg", images[0], [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 1),
        cv2.resize(images[1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        cv2.convertScaleAbs(images[2], alpha=1.1, beta=10),
        images[3][1:-1, 1:-1],
        np.clip(images[4] + rng.integers(-20, 20, images[4].shape), 0, 255).astype(np.uint8),
    ]
    pairs = near_duplicate_pairs(fingerprints([*images, *copies]))
    assert pairs == [(number, 40 + number) for number in range(5)]


def test_a_tree_finds_the_pairs_that_all_pairs_have() -> None:
    rng = np.random.default_rng(0)
    images = [draw_photo("round", seed, (100, 100)) for seed in range(300)]
    crops = [image[: rng.integers(96, 101), rng.integers(0, 5) :] for image in images]
    noisy = [np.clip(image + rng.normal(0, 9, image.shape), 0, 255) for image in images[::2]]
    prints = fingerprints([*images, *crops, *(image.astype(np.uint8) for image in noisy)])
    told: list[tuple[int, int]] = []
    found = near_duplicate_pairs(prints, all_pairs=0, progress=lambda *done: told.append(done))
    assert found == near_duplicate_pairs(prints)
    assert len(found) > 300
    assert told[-1] == (750, 750)


def test_pictures_of_one_kind_are_not_all_duplicates() -> None:
    """A fixed frame dominates each picture; only what differs may be compared."""
    frame = draw_photo("square", 7, (224, 224)).astype(np.float64)
    rng = np.random.default_rng(0)
    images = []
    for _ in range(60):
        own = cv2.resize(rng.normal(0, 12, (8, 8, 3)), (224, 224), interpolation=cv2.INTER_CUBIC)
        images.append(np.clip(frame + own, 0, 255).astype(np.uint8))
    raw = np.corrcoef(fingerprints(images).astype(float))
    assert np.median(raw) > 0.9
    assert near_duplicate_pairs(fingerprints(images)) == []


def blend(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The light of a picture and the details of another."""
    soft, own = (cv2.GaussianBlur(each, (0, 0), 12).astype(float) for each in (image, other))
    return np.clip(soft + other - own, 0, 255).astype(np.uint8)


def test_details_settle_doubtful_pairs() -> None:
    """A moved shot is one, a picture that shows something else in the same light is none."""
    images = [draw_photo("round", seed, (224, 224)) for seed in range(30)]
    light = images[0]
    moved = np.roll(images[1], (9, -7), axis=(0, 1))[9:, :-7]
    darker = (0.4 * cv2.GaussianBlur(images[2], (0, 0), 4)).astype(np.uint8)
    others = [blend(light, draw_photo("round", seed, (224, 224))) for seed in (50, 51)]
    prints = fingerprints([*images[1:], moved, darker, *others])
    assert near_duplicate_pairs(prints) == [(0, 29), (1, 30)]


@pytest.mark.slow
def test_a_copy_without_detail_is_still_one() -> None:
    rng = np.random.default_rng(0)
    images = [
        cv2.resize(rng.integers(60, 200, (3, 3, 3), np.uint8), (224, 224), interpolation=2)
        for _ in range(20)
    ]
    soft = [cv2.GaussianBlur(image, (0, 0), 30) for image in images]
    again = cv2.imdecode(cv2.imencode(".jpg", soft[0], [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 1)
    assert (0, 20) in near_duplicate_pairs(fingerprints([*soft, again]))


@pytest.fixture(scope="module")
def far() -> NDArray[np.uint8]:
    """Fingerprints of 400 photos that look like no other."""
    return fingerprints([draw_photo("square", number, (224, 224)) for number in range(400)])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_crowd_that_looks_alike_hides_no_copy(seed: int, far: NDArray[np.uint8]) -> None:
    """The true copy is looked at before the hundreds that are alike in the whole alone."""
    rng = np.random.default_rng(seed)
    base = draw_photo("round", seed, (224, 224)).astype(float)
    crowd = []
    for _ in range(200):
        own = cv2.resize(rng.normal(0, 30, (28, 28, 3)), (224, 224), interpolation=cv2.INTER_CUBIC)
        crowd.append(np.clip(base + own, 0, 255).astype(np.uint8))
    copy = cv2.imdecode(cv2.imencode(".jpg", crowd[0], [cv2.IMWRITE_JPEG_QUALITY, 70])[1], 1)
    prints = np.concatenate([fingerprints(crowd), far, fingerprints([copy])])
    assert near_duplicate_pairs(prints) == [(0, 600)]


def test_photos_are_held_against_others() -> None:
    known = [draw_photo("round", seed, (224, 224)) for seed in range(20)]
    again = cv2.imdecode(cv2.imencode(".jpg", known[3], [cv2.IMWRITE_JPEG_QUALITY, 50])[1], 1)
    new = draw_photo("square", 99, (224, 224))
    found = near_duplicates_among(fingerprints([new, again, again]), fingerprints(known))
    assert found.tolist() == [False, True, True]
    none = np.zeros((0, 1024), np.uint8)
    assert near_duplicates_among(none, fingerprints(known)).tolist() == []
    assert near_duplicates_among(fingerprints([new]), none).tolist() == [False]


@pytest.mark.slow
def test_very_many_copies_stay_one_group() -> None:
    image = draw_photo("round", 1, (150, 200))
    prints = np.repeat(fingerprints([image]), 5000, axis=0)
    others = fingerprints([draw_photo("square", seed, (150, 200)) for seed in range(50)])
    pairs = near_duplicate_pairs(np.concatenate([prints, others]))
    assert len(pairs) <= 5000 * 64
    groups, _ = duplicate_groups(make_index([0, 1] * 2525), pairs)
    assert len(set(groups[:5000].tolist())) == 1
    assert len(set(groups.tolist())) == 51


def test_flat_pictures_match_nothing() -> None:
    prints = np.full((4, 1024), 128, dtype=np.uint8)
    prints[1] += (np.arange(1024) % 2).astype(np.uint8)
    assert near_duplicate_pairs(prints) == []
