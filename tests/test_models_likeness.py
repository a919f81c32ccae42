"""What is alike is found together."""

import numpy as np
import pytest
from numpy.typing import NDArray

from handful.models.likeness import (
    directions,
    group_alike,
    k_means,
    principal,
    squared_distances,
)


def clouds(num_clouds: int, each: int, dim: int = 64, seed: int = 0) -> NDArray[np.float32]:
    """Vectors around some centers, one cloud after the other."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(num_clouds, dim))
    noise = 0.1 * rng.normal(size=(num_clouds * each, dim))
    return (np.repeat(centers, each, axis=0) + noise).astype(np.float32)


def test_directions_are_unit_vectors_around_the_mean() -> None:
    found = directions(clouds(3, 10) + 100)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-4)
    np.testing.assert_array_equal(directions(np.ones((4, 3), np.float32)), 0)


def test_squared_distances() -> None:
    first, second = clouds(2, 3), clouds(2, 2, seed=1)
    expected = ((first[:, np.newaxis] - second) ** 2).sum(axis=2)
    np.testing.assert_allclose(squared_distances(first, second), expected, rtol=1e-4)


def test_k_means_finds_clouds() -> None:
    groups, centers = k_means(clouds(5, 20), 5)
    assert len(centers) == 5
    # Each cloud is one group, and no two are the same.
    firsts = groups[::20]
    assert sorted(firsts) == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(groups, np.repeat(firsts, 20))
    np.testing.assert_allclose(centers[firsts[0]], clouds(5, 20)[:20].mean(axis=0), atol=1e-5)


def test_heavy_vectors_pull_their_center() -> None:
    vectors = np.array([[0.0], [1.0], [10.0], [11.0]], np.float32)
    weights = np.array([3, 1, 1, 1], np.float32)
    groups, centers = k_means(vectors, 2, weights=weights)
    assert centers[groups[0], 0] == pytest.approx(0.25)


def test_copies_are_one_group() -> None:
    groups, centers = k_means(np.ones((6, 4), np.float32), 3)
    assert len(centers) == 1 and not groups.any()


def test_the_same_seed_gives_the_same_groups() -> None:
    vectors = clouds(6, 30)
    np.testing.assert_array_equal(k_means(vectors, 9, seed=3)[0], k_means(vectors, 9, seed=3)[0])


def test_principal_directions_keep_what_differs() -> None:
    vectors = directions(clouds(4, 100, dim=200))
    short = principal(vectors)
    assert short.shape == (400, 48)
    kept, all_of_it = (short**2).sum(), (vectors**2).sum()
    assert kept / all_of_it > 0.9
    assert principal(vectors[:10]).shape == (10, 200)


def test_groups_to_sort_are_of_one_kind() -> None:
    vectors = clouds(4, 50, dim=100)
    shuffled = np.random.default_rng(1).permutation(200)
    found = group_alike(vectors[shuffled])
    assert sorted(np.concatenate(found).tolist()) == list(range(200))
    assert len(found) <= 40
    assert [len(rows) for rows in found] == sorted((len(rows) for rows in found), reverse=True)
    for rows in found:
        assert len(set(shuffled[rows] // 50)) == 1


def test_hardly_any_photos_are_grouped_too() -> None:
    assert group_alike(np.zeros((0, 5), np.float32)) == []
    assert [rows.tolist() for rows in group_alike(np.ones((1, 5), np.float32))] == [[0]]
    assert [rows.tolist() for rows in group_alike(np.ones((3, 5), np.float32))] == [[0, 1, 2]]
