import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handful.errors import DataError
from handful.evaluation.resampling import Resample, Resampling, draw_splits, resample_head
from handful.models.calibration import calibrate
from handful.models.heads import fit_head, out_of_fold_logits
from handful.statistics.intervals import resampled_interval, wilson_interval
from handful.statistics.metrics import log_loss

NAMES = ("cats", "dogs")


def draw_embeddings(
    counts: Sequence[int], dim: int = 8, gap: float = 1.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian clouds, one for each class: (N, D) float32 and (N,) labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    centers = gap * np.eye(len(counts), dim)
    return (rng.normal(size=(len(labels), dim)) + centers[labels]).astype(np.float32), labels


def resampling_of(accuracies: Sequence[float]) -> Resampling:
    rows = [
        Resample(seed, None, 80, 20, 0.1, accuracy, accuracy, 1 - accuracy, 0.1)
        for seed, accuracy in enumerate(accuracies)
    ]
    return Resampling(tuple(rows), len(rows), None, num_photos=90)


@st.composite
def grouped_photos(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels and groups; groups of one class or of several, of any size."""
    num = draw(st.integers(4, 60))
    labels = np.array(draw(st.lists(st.integers(0, 2), min_size=num, max_size=num)))
    groups = np.array(draw(st.lists(st.integers(0, num // 2), min_size=num, max_size=num)))
    _, labels = np.unique(labels, return_inverse=True)
    _, groups = np.unique(groups, return_inverse=True)
    return labels, groups


@pytest.mark.slow
@given(grouped_photos(), st.integers(2, 6), st.integers(1, 3), st.integers(0, 5))
def test_folds_hold_every_photo_out_once_and_divide_no_group(
    photos: tuple[np.ndarray, np.ndarray], num_folds: int, repetitions: int, seed: int
) -> None:
    labels, groups = photos
    splits = list(draw_splits(labels, groups, repetitions, num_folds, 0.2, seed))
    assert [(at, fold) for at, fold, _ in splits] == [
        (seed + at, fold) for at in range(repetitions) for fold in range(num_folds)
    ]
    for first in range(0, len(splits), num_folds):
        held = np.stack([rows for _, _, rows in splits[first : first + num_folds]])
        assert (held.sum(axis=0) == 1).all()
    for _, _, rows in splits:
        assert not set(groups[rows]) & set(groups[~rows])


@pytest.mark.slow
@given(
    grouped_photos(),
    st.floats(0.05, 0.95),
    st.integers(1, 3),
    st.integers(0, 5),
)
def test_random_splits_divide_no_group_and_hold_out_every_class(
    photos: tuple[np.ndarray, np.ndarray], fraction: float, num_seeds: int, seed: int
) -> None:
    labels, groups = photos
    splits = list(draw_splits(labels, groups, num_seeds, None, fraction, seed))
    assert [at for at, _, _ in splits] == list(range(seed, seed + num_seeds))
    for _, fold, rows in splits:
        assert fold is None and not set(groups[rows]) & set(groups[~rows])
        assert set(labels[rows]) == set(labels)


@pytest.mark.slow
@given(
    st.lists(st.integers(2, 25), min_size=2, max_size=4),
    st.integers(2, 6),
    st.floats(0.05, 0.95),
    st.integers(0, 9),
)
def test_classes_keep_their_proportions_within_a_photo(
    counts: list[int], num_folds: int, fraction: float, seed: int
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    singles = np.arange(len(labels))
    for _, _, rows in draw_splits(labels, singles, 1, num_folds, 0.2, seed):
        share = np.bincount(labels[rows], minlength=len(counts)) - np.array(counts) / num_folds
        assert (np.abs(share) < 1).all()
    for _, _, rows in draw_splits(labels, singles, 2, None, fraction, seed):
        held = np.bincount(labels[rows], minlength=len(counts))
        assert (np.abs(held - fraction * np.array(counts)) <= 1).all()
        assert (held >= 1).all() and (held < counts).all()


def test_a_resample_is_a_head_fitted_as_train_fits_it() -> None:
    embeddings, labels = draw_embeddings((30, 40))
    groups = np.arange(70) // 2
    found = resample_head(embeddings, labels, groups, NAMES, num_seeds=2, num_folds=3, seed=4)
    assert [(row.seed, row.fold) for row in found.resamples] == [
        (4, 0), (4, 1), (4, 2), (5, 0), (5, 1), (5, 2)
    ]  # fmt: skip
    splits = list(draw_splits(labels, groups, 2, 3, 0.2, 4))
    for resample, (seed, _, held) in zip(found.resamples, splits, strict=True):
        head = fit_head(embeddings[~held], labels[~held], 2, groups=groups[~held], seed=seed)
        logits = out_of_fold_logits(
            embeddings[~held], labels[~held], 2, head.C, groups=groups[~held], seed=seed
        )
        assert logits is not None
        head = head.at_temperature(calibrate(logits, labels[~held]).temperature)
        probabilities = head.predict_proba(embeddings[held])
        assert resample.C == head.C
        assert resample.accuracy == np.mean(probabilities.argmax(axis=1) == labels[held])
        assert resample.log_loss == pytest.approx(log_loss(probabilities, labels[held]))
        assert (resample.num_fit, resample.num_held_out) == ((~held).sum(), held.sum())


@pytest.mark.slow
def test_the_same_seed_gives_the_same_and_another_does_not() -> None:
    embeddings, labels = draw_embeddings((40, 40))
    told: list[tuple[int, int]] = []
    options = {"num_seeds": 4, "fraction": 0.3}

    def resampled(seed: int) -> Resampling:
        return resample_head(
            embeddings, labels, np.arange(80), NAMES, seed=seed, **options,
            progress=lambda done, total: told.append((done, total)),
        )  # fmt: skip

    assert resampled(0).to_dict() == resampled(0).to_dict()
    assert resampled(0).resamples[1:] == resampled(1).resamples[:-1]
    assert resampled(0).accuracy.std > 0
    assert told[:4] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert {row.num_held_out for row in resampled(0).resamples} == {24}
    held = [rows for _, _, rows in draw_splits(labels, np.arange(80), 4, None, 0.3)]
    assert resampled(0).num_photos == np.any(held, axis=0).sum() < 80
    folds = resample_head(embeddings, labels, np.arange(80), NAMES, num_folds=3)
    assert folds.num_photos == 80


def test_views_are_fitted_to_and_mirrors_averaged() -> None:
    embeddings, labels = draw_embeddings((30, 30))
    rng = np.random.default_rng(1)
    views = np.stack([embeddings, embeddings + rng.normal(size=embeddings.shape)], axis=1)
    views = views.astype(np.float32)
    groups = np.arange(60)
    mirrored = resample_head(views, labels, groups, NAMES, num_folds=2, num_tested_views=2)
    augmented = resample_head(views, labels, groups, NAMES, num_folds=2)
    for kind, found in (("mirror", mirrored), ("view", augmented)):
        _, _, held = next(draw_splits(labels, groups, 1, 2, 0.2))
        seen = embeddings[~held] if kind == "mirror" else views[~held]
        head = fit_head(seen, labels[~held], 2, groups=groups[~held])
        shown = views[held].mean(axis=1) if kind == "mirror" else embeddings[held]
        right = head.predict_proba(shown).argmax(axis=1) == labels[held]
        assert found.resamples[0].accuracy == right.mean(), kind


def test_a_spread_sums_up_its_values() -> None:
    found = resampling_of([0.8, 0.9, 1.0, 0.9])
    spread = found.accuracy
    assert spread.mean == pytest.approx(0.9) and spread.range == (0.8, 1.0)
    assert spread.std == pytest.approx(np.std([0.8, 0.9, 1.0, 0.9], ddof=1))
    low, high = resampled_interval(spread.values, 80, 20)
    assert spread.interval == (low, 1.0) and high > 1
    assert found.spread("log_loss").interval[0] == 0.0
    assert found.spread("log_loss").mean == pytest.approx(0.1)
    with pytest.raises(ValueError, match="score is 'beauty'; expected one of accuracy, balanced"):
        found.spread("beauty")


@given(st.integers(0, 20), st.integers(2, 30))
def test_equal_accuracies_are_no_certainty(right: int, number: int) -> None:
    value = right / 20
    spread = resampling_of([value] * number).accuracy
    assert spread.mean == value and spread.std == 0 and spread.range == (value, value)
    assert spread.interval == wilson_interval(round(90 * value), 90)
    # Of a score that is no share of photos nothing else is known.
    flat = resampling_of([value] * number).spread("expected_calibration_error")
    assert flat.interval == (0.1, 0.1)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_the_mean_lies_within_range_and_interval(values: list[float]) -> None:
    spread = resampling_of(values).accuracy
    for low, high in (spread.range, spread.interval):
        assert low - 1e-12 <= spread.mean <= high + 1e-12
        assert 0 <= low <= high <= 1


def test_it_is_said_in_two_lines() -> None:
    first, second = resampling_of([0.8, 0.9, 1.0, 0.9]).sentences
    assert first == (
        "Over 4 random splits: 90.0 % on average, 80.0 % to 100 %; standard deviation 8.2 "
        "points; 95 % interval 71.6 % to 100 %"
    )
    assert second.startswith("(each a classifier trained again on about 80 photos and tested on 20")
    rows = resampling_of([1.0] * 6).resamples
    alike = Resampling(rows, 2, 3, num_photos=60)
    assert alike.sentences[0] == (
        "Over 2 times 3 folds: 100 % on average, 100 % to 100 %; all alike; 95 % interval "
        "94.0 % to 100 %, by the number of photos, 60"
    )
    assert Resampling(rows, 1, 6, 60).what == "6 folds"


def test_json_holds_everything() -> None:
    answer = json.loads(json.dumps(resampling_of([0.8, 0.9]).to_dict(), allow_nan=False))
    assert answer["num_seeds"] == 2 and answer["num_folds"] is None
    assert set(answer["accuracy"]) == {"mean", "std", "range", "interval"}
    assert [row["accuracy"] for row in answer["resamples"]] == [0.8, 0.9]
    assert answer["balanced_accuracy"]["mean"] == pytest.approx(0.85)
    embeddings, labels = draw_embeddings((30, 40))
    found = resample_head(embeddings, labels, np.arange(70), NAMES, num_folds=5)
    answer = found.to_dict()
    low, high = answer["calibration_error_interval"]
    # Pooled, and without what chance adds: less than any fold of 14 photos shows.
    assert low <= answer["calibration_error"] <= high
    assert answer["calibration_error"] < found.spread("expected_calibration_error").values.min()
    assert found.calibration_error is not None and found.calibration_error.num_photos == 70


@pytest.mark.parametrize(
    ("counts", "num_folds", "message"),
    [
        (
            (20, 2),
            5,
            r'Class "dogs" has 2 training and validation photos in 2 groups of near-duplicates; '
            r"5 folds need 5 groups of each class\. Set `folds` to 2, add different",
        ),
        ((20, 1), 2, r'"dogs" has 1 .* in 1 group of .*; 2 folds need 2 groups .* Add different'),
        ((1, 20), None, r'"cats" has 1 .*; random splits need 2 groups of each class\. Add'),
    ],
)
def test_a_class_too_small_for_the_splits_is_named(
    counts: tuple[int, int], num_folds: int | None, message: str
) -> None:
    embeddings, labels = draw_embeddings(counts)
    with pytest.raises(DataError, match=message):
        resample_head(
            embeddings, labels, np.arange(len(labels)), NAMES, num_seeds=2, num_folds=num_folds
        )


def test_a_class_of_two_photos_will_do_for_two_folds() -> None:
    embeddings, labels = draw_embeddings((20, 2), gap=5.0)
    groups = np.arange(22)
    for options in ({"num_folds": 2}, {"num_seeds": 3}):
        found = resample_head(embeddings, labels, groups, NAMES, **options)
        assert all(0 < row.accuracy <= 1 for row in found.resamples)


def test_copies_of_one_photo_are_one_group() -> None:
    embeddings, labels = draw_embeddings((10, 10))
    groups = np.where(labels == 1, 0, np.arange(20))
    with pytest.raises(DataError, match=r'"dogs" has 10 .* in 1 group of near-duplicates'):
        resample_head(embeddings, labels, groups, NAMES, num_seeds=3)


def test_large_groups_leave_no_fold_empty() -> None:
    embeddings, labels = draw_embeddings((12, 12))
    groups = np.concatenate([[0, 1], np.full(10, 2), [3, 4], np.full(10, 5)])
    found = resample_head(embeddings, labels, groups, NAMES, num_folds=3)
    # In each fold a group of either class: two photos, or one and a burst, or two bursts.
    assert {row.num_held_out for row in found.resamples} <= {2, 11, 20}
    assert sum(row.num_held_out for row in found.resamples) == 24


def test_a_class_held_out_as_a_whole_is_told() -> None:
    embeddings, labels = draw_embeddings((2, 80))
    # One cat alone, one in a group with 50 dogs: a random half may take both.
    groups = np.concatenate([[0, 1], np.ones(50), np.arange(2, 32)]).astype(np.int64)
    with pytest.raises(DataError, match=r'"cats" is held out as a whole by the random split of s'):
        resample_head(embeddings, labels, groups, NAMES, num_seeds=20, fraction=0.5)


def test_wrong_arguments_are_refused() -> None:
    embeddings, labels = draw_embeddings((10, 10))
    groups = np.arange(20)
    with pytest.raises(ValueError, match="`seeds` is 1 and `folds` None; expected 2 or more"):
        resample_head(embeddings, labels, groups, NAMES)
    with pytest.raises(ValueError, match=r"fraction is 1\.0; expected a share in \(0, 1\)"):
        resample_head(embeddings, labels, groups, NAMES, num_seeds=2, fraction=1.0)


def nearest_mean_accuracy(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]
) -> float:
    """Accuracy of naming the class whose mean is nearer: a classifier that costs nothing."""
    means = [train[0][train[1] == label].mean(axis=0) for label in (0, 1)]
    near = [((test[0] - mean) ** 2).sum(axis=1) for mean in means]
    return float(np.mean((near[1] < near[0]) == test[1]))


@pytest.mark.slow
def test_the_interval_holds_the_truth_where_the_naive_one_does_not() -> None:
    """300 sets of 60 photos; the truth is the mean accuracy over sets of that size."""
    dim, gap, num_sets, share = 10, 1.0, 300, 0.2
    many = draw_embeddings((4000, 4000), dim, gap, seed=99)
    truths, intervals = [], []
    for seed in range(num_sets):
        embeddings, labels = draw_embeddings((30, 30), dim, gap, seed)
        values = []
        for _, _, held in draw_splits(labels, np.arange(60), 10, None, share, seed):
            fitted = embeddings[~held], labels[~held]
            values.append(nearest_mean_accuracy(fitted, (embeddings[held], labels[held])))
        truths.append(nearest_mean_accuracy(fitted, many))
        # Uncorrected: as if the resamples were independent, each on its own photos.
        intervals.append(
            (*resampled_interval(values, 48, 12), *resampled_interval(values, 1, 1e-9))
        )
    truth = float(np.mean(truths))
    low, high, naive_low, naive_high = np.array(intervals).T
    corrected = np.mean((low <= truth) & (truth <= high))
    naive = np.mean((naive_low <= truth) & (truth <= naive_high))
    # 94.3 and 72.3 of a hundred; chance moves either by some 2.5 (two standard errors of 300).
    assert 0.91 <= corrected <= 0.99
    assert naive <= 0.80


def test_copies_are_not_more_photos_where_all_are_named_right() -> None:
    labels = np.repeat(np.arange(20) % 2, 5)
    embeddings = (10 * np.eye(2)[labels]).astype(np.float32)
    found = resample_head(embeddings, labels, np.arange(100) // 5, NAMES, num_folds=5)
    assert found.num_groups == 20 and found.accuracy.std == 0
    assert found.accuracy.interval == pytest.approx(wilson_interval(20, 20))
    assert "by the number of different photos, 20" in found.sentences[0]
