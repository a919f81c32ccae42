import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from handful.data.target import ONE_CLASS, softmax
from handful.models import heads
from handful.models.heads import (
    C_GRID,
    DEFAULT_C,
    LinearHead,
    _drawn_rows,
    _Problem,
    _scale,
    class_weights,
    fit_head,
    out_of_fold_logits,
)


def blobs(
    counts: list[int], dim: int = 20, spread: float = 1.0, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Gaussian classes around random centers."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    centers = rng.normal(size=(len(counts), dim))
    inputs = centers[labels] + spread * rng.normal(size=(len(labels), dim))
    return inputs.astype(np.float32), labels


def test_the_optimum_is_scikit_learns() -> None:
    inputs, labels = blobs([60, 50, 40], spread=1.5)
    head = fit_head(inputs, labels, 3, class_weight="none")
    standardized = (inputs - head.mean) / head.scale
    theirs = LogisticRegression(C=head.C, tol=1e-8, max_iter=2000)
    theirs.fit(standardized.astype(np.float64), labels)
    np.testing.assert_allclose(
        head.predict_proba(inputs), theirs.predict_proba(standardized), atol=5e-3
    )


def test_the_optimum_is_scikit_learns_where_there_are_more_features_than_photos() -> None:
    inputs, labels = blobs([15, 14, 13], dim=400, spread=6.0)
    inputs[1] = inputs[0]  # two that are the same make the products singular
    head = fit_head(inputs, labels, 3, class_weight="none", C=0.01)
    standardized = (inputs - head.mean) / head.scale
    theirs = LogisticRegression(C=0.01, tol=1e-8, max_iter=2000)
    theirs.fit(standardized.astype(np.float64), labels)
    others, _ = blobs([15, 14, 13], dim=400, spread=6.0, seed=1)
    np.testing.assert_allclose(
        head.predict_proba(others),
        theirs.predict_proba((others - head.mean) / head.scale),
        atol=5e-3,
    )


def test_standardization_is_scikit_learns_for_many_photos() -> None:
    inputs, _ = blobs([20_000, 20_000], dim=6, spread=3.0)
    theirs = StandardScaler().fit(inputs)
    centered = inputs - inputs.mean(axis=0)
    np.testing.assert_allclose(_scale(centered), theirs.scale_, rtol=1e-2)


def test_standard_deviations_are_the_same_bits_in_stretches_of_features() -> None:
    centered = blobs([3000, 3000], dim=513)[0]
    whole = _scale(centered)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("handful.models.heads._FEATURES_A_BLOCK", 1000)
        assert np.array_equal(whole, _scale(centered))


def test_a_fit_leaves_vectors_as_they_are() -> None:
    inputs, labels = blobs([20, 20])
    given = inputs.copy()
    fit_head(inputs, labels, 2)
    out_of_fold_logits(inputs, labels, 2, 0.1)
    assert np.array_equal(inputs, given)


def test_a_constant_feature_does_no_harm() -> None:
    inputs, labels = blobs([10, 10])
    inputs[:, 3] = 7.0
    head = fit_head(inputs, labels, 2)
    assert np.isfinite(head.predict_proba(inputs)).all()
    assert (head.scale > 0).all()
    same = np.zeros((4, 5), dtype=np.float32)
    probabilities = fit_head(same, np.array([0, 1, 0, 1]), 2).predict_proba(same)
    np.testing.assert_allclose(probabilities, 0.5)


@pytest.mark.parametrize(("counts", "columns"), [([8, 10], 1), ([7, 5, 6], 3)])
def test_the_gradient_is_that_of_the_loss(counts: list[int], columns: int) -> None:
    inputs, labels = blobs(counts, dim=4)
    rng = np.random.default_rng(0)
    weights = rng.uniform(0, 2, (18, 2))
    problem = _Problem(inputs[:, np.newaxis].copy(), labels, weights, len(counts), ONE_CLASS)
    point = rng.normal(size=(4 + 1) * 2 * columns)
    _, slope = problem.objective(point, 0.1)
    for place in range(len(point)):
        # Steps large enough for single precision; the loss is smooth at this scale.
        step = np.zeros(len(point))
        step[place] = 2.0**-6
        higher, _ = problem.objective(point + step, 0.1)
        lower, _ = problem.objective(point - step, 0.1)
        assert slope[place] == pytest.approx((higher - lower) / 2.0**-5, abs=1e-3)


def test_fitting_folds_at_once_is_fitting_each_alone() -> None:
    inputs, labels = blobs([30, 30, 30], spread=2.0)
    folds = np.arange(90) % 3
    together = _Problem(
        inputs[:, np.newaxis].copy(), labels, folds[:, np.newaxis] != np.arange(3), 3, ONE_CLASS
    )
    parameters = together.minimize(0.1, None, 500, 1e-10)
    for fold in range(3):
        alone = _Problem(
            inputs[:, np.newaxis].copy(), labels, (folds != fold)[:, np.newaxis], 3, ONE_CLASS
        )
        expected = alone.logits(alone.minimize(0.1, None, 500, 1e-10))[:, 0]
        np.testing.assert_allclose(together.logits(parameters)[:, fold], expected, atol=0.02)


def test_strength_is_chosen_by_held_out_log_loss() -> None:
    easy = fit_head(*blobs([40, 40], spread=0.2), 2)
    hard = fit_head(*blobs([40, 40], spread=6.0), 2)
    assert hard.C < easy.C
    for head in (easy, hard):
        best = min(head.scores, key=lambda score: score.log_loss)
        assert head.C == best.C
        assert [score.C for score in head.scores] == list(C_GRID[: len(head.scores)])


def test_groups_stay_together_while_choosing() -> None:
    """Copies on both sides of a fold would make memorising look best."""
    inputs, labels = blobs([12, 12], dim=50, spread=8.0)
    inputs, labels = np.repeat(inputs, 6, axis=0), np.repeat(labels, 6)
    groups = np.repeat(np.arange(24), 6)
    honest = fit_head(inputs, labels, 2, groups=groups)
    fooled = fit_head(inputs, labels, 2)
    assert honest.C < fooled.C
    assert fooled.scores[-1].accuracy > 0.99 > max(s.accuracy for s in honest.scores)


@pytest.mark.parametrize("num_photos", [1, 2, 3])
def test_a_handful_of_photos_is_enough(num_photos: int) -> None:
    inputs, labels = blobs([num_photos, num_photos], spread=0.1)
    head = fit_head(inputs, labels, 2)
    assert (head.predict_proba(inputs).argmax(axis=1) == labels).all()
    assert bool(head.scores) == (num_photos > 1)
    if num_photos == 1:
        assert head.C == DEFAULT_C


@pytest.mark.slow
def test_a_thousand_classes() -> None:
    inputs, labels = blobs([3] * 1000, dim=64, spread=0.3)
    head = fit_head(inputs, labels, 1000)
    assert head.weights.shape == (64, 1000)
    assert (head.predict_proba(inputs).argmax(axis=1) == labels).mean() > 0.95


def test_more_photos_than_are_cross_validated_are_all_fitted() -> None:
    inputs, labels = blobs([4000, 4000], dim=8)
    head = fit_head(inputs, labels, 2)
    # Twice the photos than chose the strength, and each of them counts in the optimum.
    theirs = LogisticRegression(C=head.C, tol=1e-8, max_iter=2000)
    theirs.fit((inputs - head.mean) / head.scale, labels)
    expected = theirs.predict_proba((inputs - head.mean) / head.scale)
    np.testing.assert_allclose(head.predict_proba(inputs), expected, atol=1e-2)


@pytest.mark.slow
def test_rare_classes_are_among_the_photos_that_choose_the_strength() -> None:
    inputs, labels = blobs([4000, 4000, 8, 1], dim=8, spread=2.0)
    groups = np.arange(len(labels))
    groups[-3:-1] = groups[-4]  # of the eight, three are one group
    for seed in range(8):
        rows = _drawn_rows(labels, groups, seed, 4000)
        drawn = np.random.default_rng(seed).permutation(len(labels))[:4000]
        assert len(set(rows.tolist())) == len(rows)
        assert set(drawn[labels[drawn] < 2]) <= set(rows.tolist()) and len(rows) <= 4005
        assert len(np.unique(groups[rows][labels[rows] == 2])) >= 5
        assert not np.any(labels[rows] == 3)  # it has one group, so nothing can be held out
    heads = [fit_head(inputs, labels, 4, groups=groups, seed=seed) for seed in range(8)]
    assert all(head.scores for head in heads)
    # However many photos, all heads learn from it, and none answers for it.
    for count in (60, 2500):
        inputs, labels = blobs([count, count, 3], dim=8, spread=2.0)
        groups = np.minimum(np.arange(len(labels)), 2 * count)
        head = fit_head(inputs, labels, 3, groups=groups)
        assert head.scores and head.weights.shape == (8, 3)
        logits = out_of_fold_logits(inputs, labels, 3, 0.1, groups=groups)
        assert logits is not None and logits.shape == (2 * count + 3, 3)
        assert np.isnan(logits).all(axis=1).tolist() == (labels == 2).tolist()
        assert (logits[: 2 * count].argmax(axis=1) == labels[: 2 * count]).mean() > 0.6
    assert out_of_fold_logits(*blobs([50, 1], dim=4), 2, 0.1) is None
    # Two classes, one of them a single group: there is nothing to choose the strength by.
    assert fit_head(*blobs([5000, 1], dim=4), 2).C == DEFAULT_C


def test_of_many_photos_of_common_classes_a_plain_random_part_chooses() -> None:
    labels, groups = np.arange(9000) % 3, np.arange(9000) // 2
    for seed in range(3):
        drawn = np.random.default_rng(seed).permutation(9000)
        assert np.array_equal(_drawn_rows(labels, groups, seed, 4000), drawn[:4000])
        few = _drawn_rows(labels[:4000], groups[:4000], seed, 4000)
        assert np.array_equal(few, np.random.default_rng(seed).permutation(4000))


def test_views_count_as_one_photo() -> None:
    inputs, labels = blobs([15, 15], spread=2.0)
    three = np.repeat(inputs[:, np.newaxis], 3, axis=1)
    once, thrice = fit_head(inputs, labels, 2), fit_head(three, labels, 2)
    assert [s.C for s in once.scores] == [s.C for s in thrice.scores]
    # The spread is estimated from three times the rows, so the shrinkage differs a little.
    np.testing.assert_allclose(once.predict_proba(inputs), thrice.predict_proba(inputs), atol=0.05)


def test_runs_and_threads_change_nothing() -> None:
    inputs, labels = blobs([30, 40, 50])
    first = fit_head(inputs, labels, 3)
    for threads in (1, 4):
        with threadpool_limits(threads):
            again = fit_head(inputs, labels, 3)
        assert np.array_equal(first.weights, again.weights)
        assert first.scores == again.scores


@pytest.mark.slow
def test_a_photos_answer_does_not_depend_on_its_neighbors() -> None:
    inputs, labels = blobs([2500, 2500], dim=300)
    head = fit_head(inputs, labels, 2)
    together = head.predict_proba(inputs)
    for rows in ([7], [3, 4, 4999], range(4000, 4100)):
        assert np.array_equal(head.predict_proba(inputs[list(rows)]), together[list(rows)])


def test_class_weights_follow_the_skew() -> None:
    skewed, even = np.array([31, 10]), np.array([30, 10])
    assert class_weights(skewed).tolist() == pytest.approx([41 / 62, 41 / 20])
    assert class_weights(even).tolist() == [1.0, 1.0]
    assert class_weights(even, "balanced").tolist() == pytest.approx([40 / 60, 2.0])
    assert class_weights(skewed, "none").tolist() == [1.0, 1.0]


def test_balancing_helps_the_rare_class() -> None:
    inputs, labels = blobs([300, 12], dim=10, spread=3.0)
    plain = fit_head(inputs, labels, 2, class_weight="none")
    balanced = fit_head(inputs, labels, 2)
    rare = labels == 1
    recalls = [
        (h.predict_proba(inputs)[rare].argmax(axis=1) == 1).mean() for h in (plain, balanced)
    ]
    assert recalls[0] < recalls[1]


@given(st.lists(st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3), min_size=1, max_size=5))
def test_softmax_gives_probabilities_in_the_order_of_logits(rows: list[list[float]]) -> None:
    logits = np.array(rows)
    probabilities = softmax(logits)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    assert (probabilities >= 0).all()
    assert (
        probabilities.max(axis=1) == probabilities[np.arange(len(rows)), logits.argmax(1)]
    ).all()


def test_wrong_arguments_are_named() -> None:
    inputs, labels = blobs([3, 3])
    with pytest.raises(ValueError, match=r"embeddings are \(6, 1, 20\) and labels those of 5"):
        fit_head(inputs, labels[:5], 2)
    with pytest.raises(ValueError, match="labels have 2 classes; expected all 3"):
        fit_head(inputs, labels, 3)


def test_a_layer_trained_elsewhere_is_a_head_too() -> None:
    """No strength, no scores: only the numbers count."""
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(5, 3)).astype(np.float32), rng.normal(size=3)
    head = LinearHead(
        np.zeros(5, np.float32), np.ones(5, np.float32), kernel, bias.astype(np.float32), None
    )
    inputs = rng.normal(size=(7, 5)).astype(np.float32)
    expected = softmax(inputs.astype(np.float64) @ kernel + bias)
    np.testing.assert_allclose(head.predict_proba(inputs), expected, rtol=1e-5)
    assert head.C is None and head.scores == ()


@pytest.mark.parametrize("num_classes", [2, 3, 7])
def test_threads_change_no_bit(num_classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(700) % num_classes
    centers = rng.normal(size=(num_classes, 1000))[labels]
    embeddings = (rng.normal(size=(700, 1000)) + centers).astype("f4")
    found = []
    for cores in (1, 2, 4):
        monkeypatch.setattr(heads, "available_cores", lambda cores=cores: cores)
        found.append(fit_head(embeddings, labels, num_classes, C=0.01).weights)
        found.append(out_of_fold_logits(embeddings, labels, num_classes, 0.01))
    assert all(np.array_equal(found[number % 2], one) for number, one in enumerate(found))
