import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handful.models.novelty import find_outliers, reference_of


def cloud(number: int, dim: int = 16, centre: int = 0, seed: int = 0) -> np.ndarray:
    """Positive features around one direction."""
    rng = np.random.default_rng(seed)
    base = np.zeros(dim)
    base[centre] = 8.0
    return np.abs(base + rng.normal(size=(number, dim))).astype(np.float32)


def test_distances_are_those_of_a_plain_loop() -> None:
    seen, new = cloud(30), cloud(7, seed=1)
    found = reference_of(seen, np.arange(30))
    assert found is not None and found.num_neighbors == 5
    for row, distance in zip(new, found.distances(new), strict=True):
        cosines = [row @ one / np.linalg.norm(row) / np.linalg.norm(one) for one in seen]
        assert distance == pytest.approx(1 - np.mean(sorted(cosines)[-5:]), abs=2e-3)


def test_what_is_unlike_is_told_from_what_is_alike() -> None:
    found = reference_of(cloud(200), np.arange(200))
    assert found is not None
    assert found.unlike(found.distances(cloud(300, seed=1))).mean() < 0.04
    assert found.unlike(found.distances(cloud(300, centre=5, seed=2))).all()


def test_one_in_a_hundred_training_photos_lies_beyond_the_threshold() -> None:
    seen = cloud(1_000)
    found = reference_of(seen, np.arange(1_000))
    assert found is not None
    own = []
    for row in range(1_000):
        others = np.delete(seen, row, axis=0)
        cosines = others @ seen[row] / np.linalg.norm(others, axis=1) / np.linalg.norm(seen[row])
        own.append(1 - np.sort(cosines)[-5:].mean())
    assert 0.005 <= np.mean(np.array(own) > found.threshold) <= 0.015


def test_near_duplicates_do_not_make_the_threshold_narrow() -> None:
    seen = np.repeat(cloud(30), 8, axis=0)
    ignored = reference_of(seen, np.arange(240))
    known = reference_of(seen, np.repeat(np.arange(30), 8))
    assert ignored is not None and known is not None
    assert ignored.threshold < 1e-3 < known.threshold


@settings(max_examples=20)
@given(st.integers(3, 40), st.integers(1, 20))
def test_a_photo_answers_the_same_alone_and_among_others(seen: int, new: int) -> None:
    found = reference_of(cloud(seen), np.arange(seen))
    assert found is not None
    photos = cloud(new, seed=3)
    alone = [found.distances(photos[row : row + 1])[0] for row in range(new)]
    np.testing.assert_allclose(found.distances(photos), alone, atol=2e-7)


def test_few_photos_give_no_reference_or_a_wide_one() -> None:
    assert reference_of(cloud(2), np.arange(2)) is None
    assert reference_of(cloud(10), np.zeros(10, np.int64)) is None
    found = reference_of(cloud(4), np.array([0, 0, 1, 2]))
    assert found is not None and found.num_neighbors == 2


def test_of_many_photos_some_are_kept() -> None:
    found = reference_of(cloud(4_100, dim=3), np.arange(4_100), seed=1)
    assert found is not None and len(found.directions) == 4_000
    again = reference_of(cloud(4_100, dim=3), np.arange(4_100), seed=1)
    assert again is not None and (again.directions == found.directions).all()


def test_photos_far_from_all_others_are_found_the_farthest_first() -> None:
    odd = np.concatenate([cloud(1, centre=5, seed=7), cloud(1, centre=9, seed=8)])
    photos = np.concatenate([cloud(100), odd])
    assert set(find_outliers(photos, np.arange(102))[:2].tolist()) == {100, 101}
    assert len(find_outliers(photos, np.arange(102))) <= 4
    # A copy does not make an odd photo ordinary.
    twice, groups = np.concatenate([photos, odd]), np.concatenate([np.arange(102), [100, 101]])
    assert set(find_outliers(twice, groups)[:4].tolist()) == {100, 101, 102, 103}


def test_alike_or_few_photos_have_no_outliers() -> None:
    assert len(find_outliers(np.ones((50, 4), np.float32), np.arange(50))) == 0
    few = np.concatenate([cloud(18), cloud(1, centre=5)])
    assert len(find_outliers(few, np.arange(19))) == 0


def test_of_many_photos_some_are_compared_with() -> None:
    photos = np.concatenate([cloud(4_050, dim=8), cloud(1, dim=8, centre=5)])
    assert find_outliers(photos, np.arange(4_051))[0] == 4_050


def test_the_threshold_comes_from_photos_held_out_where_they_are_given() -> None:
    # As a network draws photos together that it was trained on.
    seen, others, new = cloud(300) + 10 * np.eye(16)[0], cloud(300, seed=1), cloud(2000, seed=2)
    seen, groups = seen.astype(np.float32), np.arange(300)
    fitted = reference_of(seen, groups)
    found = reference_of(seen, groups, held_out=(others, groups))
    assert fitted is not None and found is not None
    assert fitted.unlike(fitted.distances(new)).mean() > 0.5
    assert found.unlike(found.distances(new)).mean() < 0.03
    assert found.false_alarm_rate == pytest.approx(0.01, abs=0.001)


@pytest.mark.parametrize("size", [1, 5])
def test_few_photos_say_how_many_false_alarms_to_expect(size: int) -> None:
    flagged, groups = [], np.arange(40 * size) // size
    for seed in range(60):
        held = np.repeat(cloud(40, seed=3 * seed), size, axis=0)
        found = reference_of(cloud(50, seed=3 * seed + 1), np.arange(50), held_out=(held, groups))
        assert found is not None and found.false_alarm_rate == pytest.approx(1 / 41)
        flagged.append(found.unlike(found.distances(cloud(200, seed=3 * seed + 2))).mean())
    assert np.mean(flagged) == pytest.approx(1 / 41, abs=0.012)
