import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from handful.errors import DataError
from handful.evaluation import curve_fitting
from handful.evaluation.curve_fitting import measure_curve
from handful.models.heads import fit_head


def draw_embeddings(
    num_photos: int, seed: int = 0, apart: float = 1.2, num_classes: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Clouds in 30 dimensions, whose classes are told apart by a few of these."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num_photos) % num_classes
    centers = np.random.default_rng(99).normal(size=(num_classes, 30)) * apart / 4
    embeddings = centers[labels] + rng.normal(size=(num_photos, 30))
    return embeddings.astype(np.float32), labels


def simulate(seed: int, num_photos: int, law: tuple[float, float, float], num_draws: int = 4):
    """What heads answer whose error is a + b n^-c; photos differ in how hard they are."""
    rng = np.random.default_rng(seed)
    sizes = curve_fitting._sizes(num_photos * 4 // 5, 2).astype(float)
    errors = law[0] + law[1] * sizes ** -law[2]
    hard = rng.uniform(0.2, 1.8, num_photos)[:, np.newaxis]
    folds = np.stack([rng.permutation(np.arange(num_photos) % 5) for _ in range(num_draws)])
    wrong = rng.random((num_draws, num_photos, len(sizes))) < errors * hard
    return curve_fitting._Measured(sizes, wrong, folds), np.arange(num_photos) % 2


@pytest.mark.slow
def test_accuracy_rises_with_the_photos_and_so_it_is_expected_to() -> None:
    embeddings, labels = draw_embeddings(200)
    curve = measure_curve(embeddings, labels, 2, num_draws=2)
    first, last = curve.points[0], curve.points[-1]
    assert curve.num_photos == 200 and curve.photos_a_class == 100 and curve.largest == 800
    assert last.num_photos == 160 and last.num_fits == 10 and first.photos_a_class <= 5
    assert first.accuracy + 0.1 < last.accuracy < 1
    sizes = [point.num_photos for point in curve.points]
    assert sizes == sorted(sizes) and len(set(sizes)) == len(sizes) >= 5
    expected = [curve.predict(size)[0] for size in (20, 100, 400, 800)]
    assert expected == sorted(expected) and expected[0] < expected[-1]
    accuracy, low, high = curve.predict(80)
    assert low < last.accuracy < high and abs(accuracy - last.accuracy) < 0.04


@pytest.mark.slow
def test_what_is_expected_comes_true() -> None:
    embeddings, labels = draw_embeddings(3_000, seed=5)
    curve = measure_curve(embeddings[:200], labels[:200], 2)
    head = fit_head(embeddings[200:1000], labels[200:1000], 2)
    right = head.predict_proba(embeddings[1000:]).argmax(axis=1) == labels[1000:]
    accuracy, low, high = curve.predict(400, num_test=2_000)
    assert low < right.mean() < high
    assert abs(accuracy - right.mean()) < abs(curve.points[-1].accuracy - right.mean())


@pytest.mark.slow
def test_the_same_seed_gives_the_same_curve_and_another_another() -> None:
    embeddings, labels = draw_embeddings(60)
    found = [measure_curve(embeddings, labels, 2, seed=s, num_draws=2).to_dict() for s in (3, 3, 4)]
    assert found[0] == found[1] != found[2]


def test_groups_stay_together_and_parts_hold_those_before_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    embeddings, labels = draw_embeddings(90)
    embeddings[:, 0] = np.arange(90)  # tells which photos came in
    groups = np.where(np.arange(90) < 40, np.arange(90) // 4, np.arange(90))
    fitted, tested = [], []

    class Spy:
        C = 0.1

        def predict_proba(self, embeddings: np.ndarray) -> np.ndarray:
            tested.append(embeddings[:, 0].astype(int))
            return np.tile([0.6, 0.4], (len(embeddings), 1))

    def spy(embeddings: np.ndarray, labels: np.ndarray, num_classes: int, **options) -> Spy:
        assert np.array_equal(options["groups"], np.unique(groups, return_inverse=True)[1][rows])
        return Spy()

    rows = np.array([0])

    def fit(embeddings: np.ndarray, labels: np.ndarray, num_classes: int, **options) -> Spy:
        nonlocal rows
        rows = embeddings[:, 0].astype(int)
        fitted.append(rows)
        return spy(embeddings, labels, num_classes, **options)

    monkeypatch.setattr(curve_fitting, "fit_head", fit)
    monkeypatch.setattr(curve_fitting, "available_cores", lambda: 1)
    curve = measure_curve(embeddings, labels, 2, groups, num_draws=2)
    num_sizes = len(curve.points)
    assert len(fitted) == len(tested) == 2 * 5 * num_sizes
    for place, (ours, theirs) in enumerate(zip(fitted, tested, strict=True)):
        assert not set(groups[ours]) & set(groups[theirs])
        assert set(np.unique(labels[ours])) == {0, 1}
        whole = np.isin(groups, groups[ours]) & ~np.isin(np.arange(90), theirs)
        assert set(np.flatnonzero(whole)) == set(ours)  # no group is taken in part
        if place % num_sizes:
            assert set(fitted[place - 1]) < set(ours)
    last = np.concatenate(tested[num_sizes - 1 :: num_sizes])
    assert np.array_equal(np.bincount(last), np.full(90, 2))  # each photo once a draw


@given(st.data())
@settings(max_examples=50)
def test_every_beginning_has_the_classes_in_proportion(data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(3, 30), min_size=2, max_size=4))
    labels = np.repeat(np.arange(len(counts)), counts)
    groups = np.arange(len(labels))
    trial = curve_fitting._Trial(np.zeros((len(labels), 1)), labels, groups, len(counts), "none")
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    order = trial._order(np.arange(len(labels)), rng)
    assert sorted(order) == list(range(len(labels)))
    assert set(labels[order[: len(counts)]]) == set(range(len(counts)))
    for end in range(1, len(order)):
        taken = np.bincount(labels[order[:end]], minlength=len(counts))
        shares = (taken - 1) / np.array(counts)
        assert shares.max() <= (taken / np.array(counts)).min() + 1e-9


@pytest.mark.slow
def test_strengths_are_chosen_anew_in_every_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, labels = draw_embeddings(60)
    given = []

    def fit(*arguments, C: float | None, **options):
        given.append(C)
        return fit_head(*arguments, C=C, **options)

    monkeypatch.setattr(curve_fitting, "fit_head", fit)
    curve = measure_curve(embeddings, labels, 2, num_draws=3)
    assert given.count(None) == 3 * len(curve.points)


@pytest.mark.slow
@pytest.mark.parametrize("law", [(0.1, 0.6, 0.4), (0.05, 0.5, 0.5), (0.01, 0.4, 0.5)])
def test_intervals_hold_the_truth_of_known_laws(law: tuple[float, float, float]) -> None:
    held = wide = 0
    for seed in range(20):
        measured, labels = simulate(seed, 400, law)
        curve = curve_fitting._fit(measured, labels, np.arange(400), 2, seed)
        truth = 1 - (law[0] + law[1] * 1600 ** -law[2])
        accuracy, low, high = curve.predict(800)
        held += low <= truth <= high
        wide += high - low > 0.15
        assert abs(accuracy - truth) < 0.06
    assert held >= 18 and wide == 0


def test_resampling_draws_from_the_posterior_of_an_error() -> None:
    shares = np.zeros((50, 2))
    shares[:7, 0] = 1
    rng = np.random.default_rng(0)
    found = curve_fitting._resampled_errors(shares, np.arange(50), rng)
    for column, num_wrong in enumerate((7, 0)):
        for quantile in (0.05, 0.5, 0.95):
            exact = stats.beta(num_wrong + 0.5, 50 - num_wrong).ppf(quantile)
            assert np.quantile(found[:, column], quantile) == pytest.approx(exact, abs=0.015)


def test_resampling_takes_copies_for_one_photo() -> None:
    rng = np.random.default_rng(0)
    shares = np.repeat(rng.random((40, 1)) < 0.3, 5, axis=0).astype(float)
    alone, together = (
        curve_fitting._resampled_errors(shares, groups, np.random.default_rng(1)).std()
        for groups in (np.arange(200), np.arange(200) // 5)
    )
    assert together / alone == pytest.approx(math.sqrt(5), rel=0.2)


def test_luck_of_the_photos_fitted_on_is_told_from_chance() -> None:
    rng = np.random.default_rng(0)
    sizes = np.array([10.0, 40.0])
    num_draws, num_photos = 40, 500
    folds = np.stack([rng.permutation(np.arange(num_photos) % 5) for _ in range(num_draws)])
    for spread in (0.0, 0.2):
        luck = spread * rng.normal(size=(num_draws, 5, 2)) / np.sqrt(sizes)
        chance = 0.3 + np.take_along_axis(luck, folds[:, :, np.newaxis], axis=1)
        wrong = rng.random((num_draws, num_photos, 2)) < chance
        found = curve_fitting._Measured(sizes, wrong, folds)
        # Of chance flips, 0.21 a photo, a two-hundredth is taken for luck where none is seen.
        least = 0.005 * 0.21 / (1 / sizes @ (1 / sizes)) * (1 / sizes).sum()
        assert found.variance_of_one == pytest.approx(max(spread**2, least), rel=0.3, abs=0.003)


@pytest.mark.slow
def test_no_error_at_all_is_not_taken_for_none_to_come() -> None:
    labels = np.arange(20) % 2
    embeddings = np.where(labels == 1, 1.0, -1.0)[:, np.newaxis] * np.ones((20, 8))
    embeddings += np.random.default_rng(0).normal(size=(20, 8)) / 100
    curve = measure_curve(embeddings.astype(np.float32), labels, 2)
    assert all(point.accuracy == 1 for point in curve.points)
    accuracy, low, high = curve.predict(10)
    assert 0.8 < low < 0.95 < accuracy < high <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_photos", "num_classes"), [(20, 2), (24, 3), (100, 10), (21, 2), (400, 2)]
)
def test_it_works_from_ten_photos_a_class(num_photos: int, num_classes: int) -> None:
    embeddings, labels = draw_embeddings(num_photos, num_classes=num_classes, apart=3)
    told = []
    curve = measure_curve(
        embeddings, labels, num_classes, num_draws=2, progress=lambda *a: told.append(a)
    )
    assert len(curve.points) >= 3 and curve.points[0].photos_a_class >= 2
    assert 1 / num_classes < curve.predict(curve.largest)[0] <= 1
    num_fits = 10 * len(curve.points)
    each = len(curve.points)
    assert told == [(done, num_fits) for done in range(each, num_fits + 1, each)]


@pytest.mark.slow
def test_skewed_classes_are_all_in_every_part() -> None:
    embeddings, labels = draw_embeddings(100)
    keep = np.flatnonzero((labels == 0) | (np.arange(100) < 12))
    curve = measure_curve(embeddings[keep], labels[keep], 2, num_draws=2)
    assert curve.num_photos == 56 and curve.photos_a_class == 28


@pytest.mark.slow
@pytest.mark.parametrize(("singles", "bursts"), [(7, [100]), (7, [30]), (10, [40, 40])])
def test_large_groups_of_near_duplicates_give_a_curve(singles: int, bursts: list[int]) -> None:
    each = np.repeat(np.arange(singles + len(bursts)), [1] * singles + bursts)
    groups = np.concatenate([each, each + each.max() + 1])
    labels = np.repeat([0, 1], len(each))
    shown, _ = draw_embeddings(len(groups))
    centers = np.array([[1.0], [-1.0]])[labels]
    embeddings = (shown[groups] + centers).astype(np.float32)
    curve = measure_curve(embeddings, labels, 2, groups, num_draws=2)
    assert curve.num_photos == len(labels) and np.isfinite(curve.errors).all()
    assert all(0 <= low <= high <= 1 for low, high in [curve.predict(len(each))[1:]])


@pytest.mark.parametrize("folds", [np.arange(40) % 4, np.where(np.arange(40) % 2, 4, 0)])
def test_folds_that_cannot_be_held_out_in_turn_are_refused_before_fitting(
    monkeypatch: pytest.MonkeyPatch, folds: np.ndarray
) -> None:
    """One is empty; then too, the two classes are in one each."""
    embeddings, labels = draw_embeddings(40)
    monkeypatch.setattr(curve_fitting, "stratified_folds", lambda *arguments: folds)
    monkeypatch.setattr(curve_fitting, "fit_head", pytest.fail)
    with pytest.raises(DataError, match="cannot be held out in 5 turns: groups of near-duplicates"):
        measure_curve(embeddings, labels, 2)


def test_a_size_before_the_curve_begins_is_refused_before_fitting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    embeddings, labels = draw_embeddings(200)
    smallest = measure_curve(embeddings, labels, 2, num_draws=2, sizes=(4, 50)).smallest
    assert smallest == 4
    monkeypatch.setattr(curve_fitting, "fit_head", pytest.fail)
    with pytest.raises(DataError, match="3 photos per class are fewer than the 4 that the curve"):
        measure_curve(embeddings, labels, 2, num_draws=2, sizes=(50, 3))


@pytest.mark.slow
def test_the_number_of_draws_follows_the_number_of_photos() -> None:
    embeddings, labels = draw_embeddings(20)
    assert measure_curve(embeddings, labels, 2).num_draws == 8
    embeddings, labels = draw_embeddings(600)
    assert measure_curve(embeddings, labels, 2).num_draws == 4


def test_a_curve_in_plain_values() -> None:
    embeddings, labels = draw_embeddings(40)
    curve = measure_curve(embeddings, labels, 2, num_draws=2)
    facts = json.loads(json.dumps(curve.to_dict()))
    assert [row["photos_a_class"] for row in facts["expected"]] == [20, 40, 80, 160]
    row = facts["expected"][1]
    assert (row["accuracy"], *row["accuracy_interval"]) == curve.predict(40)
    assert row["sentence"].startswith("Expected accuracy with 40 photos per class: ")
    assert facts["points"][0]["num_fits"] == 10 and facts["largest_photos_a_class"] == 160


def test_too_little_to_hold_out_is_refused() -> None:
    embeddings, labels = draw_embeddings(40)
    with pytest.raises(DataError, match="There is 1 class; a learning curve needs 2 or more"):
        measure_curve(embeddings, np.zeros(40, np.int64), 1)
    few = np.concatenate([np.flatnonzero(labels == 0), [1, 3]])
    match = 'Class "dog" has 2 different photos; a learning curve needs 5 of each class'
    with pytest.raises(DataError, match=match):
        measure_curve(embeddings[few], labels[few], 2, class_names=("cat", "dog"))
    with pytest.raises(DataError, match=r"Class 2 has 0 different photos; .* merge the class"):
        measure_curve(embeddings, labels, 3)
    groups = np.where(labels == 1, 0, np.arange(40))
    with pytest.raises(DataError, match="Class 1 has 1 different photo, near-duplicates counted"):
        measure_curve(embeddings, labels, 2, groups)
    with pytest.raises(
        DataError, match=r"12 different photos of 2 classes; .* needs 16, 8 per class"
    ):
        measure_curve(embeddings[:12], labels[:12], 2)


def test_wrong_arguments_are_refused() -> None:
    embeddings, labels = draw_embeddings(40)
    with pytest.raises(ValueError, match="num_draws is 1; expected 2 or more"):
        measure_curve(embeddings, labels, 2, num_draws=1)
    with pytest.raises(ValueError, match=r"embeddings are \(40, 30\), labels \(39,\)"):
        measure_curve(embeddings, labels[:39], 2)
    with pytest.raises(ValueError, match=r"embeddings are \(40, 1, 30\)"):
        measure_curve(embeddings[:, np.newaxis], labels, 2)
