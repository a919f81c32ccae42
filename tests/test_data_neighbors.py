"""Which of very many unit vectors are close."""

import numpy as np
import pytest
from numpy.typing import NDArray

from handful.data.neighbors import close_pairs, closest_of_rows
from handful.data.splits import joined_groups

LEAST = 0.92


def draw_vectors(count: int, copies: int) -> NDArray[np.float32]:
    """Vectors that vary along some directions more than along others, and near copies of some."""
    rng = np.random.default_rng(0)
    spread = 1.0 / np.arange(1, 97) ** 0.7
    vectors = rng.normal(size=(count, 96)) * spread
    some = vectors[rng.integers(0, count - copies, copies)]
    vectors[count - copies :] = some + 0.35 * rng.normal(size=some.shape) * spread
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[::100] = 0.0
    return vectors[rng.permutation(count)].astype(np.float32)


def compare_all(vectors: NDArray[np.float32]) -> set[tuple[int, int]]:
    return {(i, j) for i, j in np.argwhere(np.triu(vectors @ vectors.T >= LEAST, 1)).tolist()}


@pytest.mark.parametrize("count", [2, 100, 6_000])
def test_all_close_pairs_are_found_and_no_others(count: int) -> None:
    vectors = draw_vectors(count, count // 10)
    told: list[tuple[int, int]] = []
    left, right, cosines = close_pairs(
        vectors, LEAST, 64, lambda done, total: told.append((done, total))
    )
    pairs = {(min(pair), max(pair)) for pair in zip(left.tolist(), right.tolist(), strict=True)}
    assert len(pairs) == len(left)
    assert pairs == compare_all(vectors)
    np.testing.assert_allclose(cosines, (vectors[left] * vectors[right]).sum(axis=1), atol=1e-6)
    assert told == sorted(told)
    assert told[-1] == (count, count)


def test_a_crowd_is_bounded_and_stays_together() -> None:
    vectors = draw_vectors(1500, 0)
    vectors[:1200] = vectors[1499]
    left, right, _ = close_pairs(vectors, LEAST, 8)
    crowd = (left < 1200) & (right < 1200)
    assert 1100 < crowd.sum() <= 1200 * 8
    groups = joined_groups(1500, zip(left.tolist(), right.tolist(), strict=True))
    assert len(set(groups[:1200].tolist())) == 1


def test_the_closest_of_each_row_are_kept() -> None:
    rows = np.array([5, 1, 5, 5, 1])
    cosines = np.array([0.93, 0.95, 0.99, 0.97, 0.94], np.float32)
    assert closest_of_rows(rows, cosines, 2).tolist() == [False, True, True, True, True]
    assert closest_of_rows(rows, cosines, 1).tolist() == [False, True, True, False, False]
