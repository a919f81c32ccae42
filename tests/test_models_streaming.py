"""Heads fitted to more vectors than memory should hold."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from handful.data.target import ONE_CLASS
from handful.files.tensors import RowsOf
from handful.models.heads import LinearHead, fit_head
from handful.models.streaming import (
    StreamedObjective,
    fits_in_memory,
    moments,
    read_floats,
    taken,
    vector_memory,
)

COUNT, DIM, CLASSES = 6000, 40, 3


def draw(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    centers = np.random.default_rng(0).normal(0, 0.4, (CLASSES, DIM))
    features = 5 + 3 * (centers[labels] + rng.normal(size=(count, DIM)))
    return features.astype(np.float16).astype(np.float32), labels


@pytest.fixture(scope="module")
def data() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    return draw(COUNT, 1)


def assert_alike(head: LinearHead, other: LinearHead) -> None:
    """The same optimum: what another thousand photos of each class would change is far more."""
    vectors, labels = draw(4000, 2)
    ours, theirs = head.predict_proba(vectors), other.predict_proba(vectors)
    assert np.abs(ours - theirs).max() < 0.01
    right = [np.mean(found.argmax(axis=1) == labels) for found in (ours, theirs)]
    assert abs(right[0] - right[1]) < 1e-3


def test_a_streamed_fit_has_the_optimum_of_one_in_memory(
    data: tuple[NDArray[np.float32], NDArray[np.int64]], tmp_path: Path
) -> None:
    vectors, labels = data
    whole = fit_head(vectors, labels, CLASSES)
    streamed = fit_head(vectors, labels, CLASSES, memory_bytes=100_000)
    assert streamed.C == whole.C and streamed.scores == whole.scores
    np.testing.assert_allclose(streamed.mean, whole.mean, rtol=1e-5)
    np.testing.assert_allclose(streamed.scale, whole.scale, rtol=1e-5)
    assert_alike(streamed, whole)
    np.save(tmp_path / "vectors.npy", vectors.astype(np.float16))
    stored = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    rows = np.random.default_rng(0).permutation(COUNT)
    shuffled = fit_head(RowsOf(stored, rows), labels[rows], CLASSES, memory_bytes=100_000)
    assert_alike(shuffled, whole)


def test_the_same_fit_gives_the_same_bits(
    data: tuple[NDArray[np.float32], NDArray[np.int64]], monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = []
    for cores in ("1", "3"):
        monkeypatch.setenv("HANDFUL_CORES", cores)
        heads.append(fit_head(*data, CLASSES, C=0.1, memory_bytes=100_000))
    assert np.array_equal(heads[0].weights, heads[1].weights)


def test_views_and_class_weights_count_as_in_memory(
    data: tuple[NDArray[np.float32], NDArray[np.int64]],
) -> None:
    vectors, labels = data
    views = np.stack([vectors, vectors + 0.5], axis=1)
    kept = (labels > 0) | (np.arange(COUNT) % 5 == 0)
    whole = fit_head(views[kept], labels[kept], CLASSES, C=0.1)
    streamed = fit_head(
        RowsOf(views, np.flatnonzero(kept)), labels[kept], CLASSES, C=0.1, memory_bytes=100_000
    )
    assert_alike(streamed, whole)


def test_the_slope_is_that_of_the_loss(
    data: tuple[NDArray[np.float32], NDArray[np.int64]],
) -> None:
    vectors, labels = data[0][:500, np.newaxis, :6], data[1][:500]
    found = moments(vectors)
    assert found.count == 500
    np.testing.assert_allclose(found.mean, vectors.mean(axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(found.variance, vectors.var(axis=(0, 1)), rtol=1e-4)
    objective = StreamedObjective(
        vectors, labels, np.ones(500), 3, found.mean, np.sqrt(found.variance), ONE_CLASS, 0.5
    )
    rng = np.random.default_rng(0)
    point, step = rng.normal(size=21), rng.normal(size=21) * 1e-2
    change = objective(point + step)[0] - objective(point - step)[0]
    assert change / 2 == pytest.approx(float(objective(point)[1] @ step), rel=1e-3)


def test_vectors_fit_as_float32() -> None:
    vectors = np.zeros((100, 1, 10), np.float16)
    assert fits_in_memory(vectors, 4000) and not fits_in_memory(vectors, 3999)
    assert fits_in_memory(RowsOf(vectors, np.arange(50)), 2000)


@pytest.mark.parametrize(
    ("given", "expected"), [("", 256e6), ("100", 100e6), ("0.5", 5e5), ("-1", 256e6), ("x", 256e6)]
)
def test_the_memory_of_a_fit_can_be_told(
    given: str, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDFUL_VECTOR_MEMORY", given)
    assert vector_memory() == expected


def test_rows_are_taken_when_they_are_asked_for_where_they_are_many() -> None:
    vectors, rows = np.arange(30.0).reshape(10, 3), np.array([7, 2])
    assert isinstance(taken(vectors, rows, 24), np.ndarray)
    later = taken(vectors, rows, 23)
    assert isinstance(later, RowsOf) and len(later) == 2 and later.shape == (2, 3)
    assert np.array_equal(later[:], vectors[rows])
    assert np.array_equal(later.take(np.array([1]))[:], vectors[[2]])
    of_those = taken(later, np.array([1]), 0)
    assert isinstance(of_those, RowsOf) and np.array_equal(of_those[:], vectors[[2]])


def test_floats_are_read_into_an_array_of_their_own() -> None:
    vectors = np.random.default_rng(0).normal(size=(700, 2, 3)).astype(np.float16)
    rows = np.arange(699, 0, -1)
    assert np.array_equal(read_floats(RowsOf(vectors, rows)), vectors[rows].astype(np.float32))
    wide = vectors.astype(np.float32)
    found = read_floats(wide)
    assert np.array_equal(found, wide) and not np.shares_memory(found, wide)
