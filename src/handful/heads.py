"""Small classifiers on embeddings: fitted in a fraction of a second, used with NumPy alone."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from handful.splits import fold_count, stratified_folds

SKEW_LIMIT = 3.0
# Inverse strength C as in scikit-learn: sum of losses + |weights|^2 / (2 C). The optimum moves
# little with the number of photos, so one grid serves 4 photos and 30,000.
STRENGTHS = tuple(10.0 ** (exponent / 2) for exponent in range(-10, 3))
DEFAULT_STRENGTH = 1e-1
_MOST_ITERATIONS = 100
_ROWS_A_BLOCK = 4096
_FOLD_ITERATIONS = 40
_MOST_CROSS_VALIDATED = 4_000


@dataclass(frozen=True)
class StrengthScore:
    """How one strength did in cross-validation.

    Args:
        strength: Inverse regularisation strength C.
        log_loss: Mean negative log-probability of the true class on held-out photos, nats.
        accuracy: Share of held-out photos named right.
    """

    strength: float
    log_loss: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class LinearHead:
    """A fitted standardised multinomial logistic regression.

    Args:
        mean: (D,) float32 subtracted from embeddings.
        scale: (D,) float32 that they are then divided by, positive.
        weights: (D, C) float32.
        bias: (C,) float32.
        strength: Inverse regularisation strength that it was fitted with.
        scores: Cross-validation of the strengths tried; empty where there were too few photos.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    strength: float
    scores: tuple[StrengthScore, ...] = ()

    def predict_proba(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities of the classes.

        Args:
            embeddings: (N, D) float32.

        Returns:
            (N, C) float64, rows sum to 1.
        """
        weights, bias = self.weights.astype(np.float64), self.bias.astype(np.float64)
        logits = np.empty((len(embeddings), len(bias)))
        for first in range(0, len(embeddings), _ROWS_A_BLOCK):
            block = embeddings[first : first + _ROWS_A_BLOCK]
            standardised = ((block - self.mean) / self.scale).astype(np.float64)
            logits[first : first + _ROWS_A_BLOCK] = standardised @ weights + bias
        # BLAS sums in an order that depends on the number of rows. Rounding away the last bits of
        # a double makes a photo's answer the same alone and among others.
        return softmax(logits.astype(np.float32).astype(np.float64))


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normalised exponentials along the last axis, without overflow.

    Args:
        logits: (..., C) float64.

    Returns:
        (..., C) float64, each row summing to 1.
    """
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def class_weights(
    labels: NDArray[np.int64], num_classes: int, class_weight: str = "auto"
) -> NDArray[np.float64]:
    """Weight of each class in the loss.

    Args:
        labels: (N,) int64.
        num_classes: Number of classes C.
        class_weight: "balanced", "none", or "auto": balanced when the largest class has over
            3 times the photos of the smallest.

    Returns:
        (C,) float64; ones, or N / (C * count) as in scikit-learn's "balanced".
    """
    counts = np.bincount(labels, minlength=num_classes)
    skewed = counts.max() > SKEW_LIMIT * counts.min()
    if class_weight == "none" or (class_weight == "auto" and not skewed):
        return np.ones(num_classes)
    return np.asarray(len(labels) / (num_classes * np.maximum(counts, 1)), dtype=np.float64)


def fit_head(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    num_classes: int,
    *,
    groups: NDArray[np.int64] | None = None,
    class_weight: str = "auto",
    seed: int = 0,
    threads: int = 1,
) -> LinearHead:
    """Fit a head, its strength chosen by cross-validation on these embeddings alone.

    Folds are stratified and hold groups together; the strength with the least held-out log loss
    wins, since log loss, unlike accuracy, also rewards honest probabilities. Of more than 4,000
    photos a fixed random 4,000 choose the strength.

    Args:
        embeddings: (N, D) float32, or (N, V, D) with V views of each photo, the photo first:
            views count as 1/V photo each, and only photos themselves are scored.
        labels: (N,) int64, 0 to C - 1, each class at least once.
        num_classes: Number of classes C, 2 or more.
        groups: (N,) int64, photos with equal numbers are in one fold; None: each on its own.
        class_weight: "auto", "balanced" or "none".
        seed: Seed of the folds.
        threads: Folds worked on at the same time.

    Returns:
        The head fitted to all N photos.

    Raises:
        ValueError: When shapes disagree or a class has no photo.

    Source:
        Minimises sum_i w_i * -log softmax(x_i W + b)[y_i] + |W|^2 / (2 C) by L-BFGS, as
        scikit-learn's `LogisticRegression` does.
    """
    if embeddings.ndim == 2:
        embeddings = embeddings[:, np.newaxis]
    if len(embeddings) != len(labels) or embeddings.ndim != 3:
        raise ValueError(
            f"embeddings are {embeddings.shape} and labels {labels.shape}; expected "
            "(N, D) or (N, V, D) and (N,)."
        )
    if len(np.unique(labels)) != num_classes:
        raise ValueError(
            f"labels have {len(np.unique(labels))} classes; expected all {num_classes}."
        )
    if groups is None:
        groups = np.arange(len(labels))
    rows = np.random.default_rng(seed).permutation(len(labels))[:_MOST_CROSS_VALIDATED]
    # NumPy's and SciPy's own thread pools fight over matrices this small: one thread each and
    # parallel folds are 10 times faster, and the result does not depend on the cores.
    with threadpool_limits(1, user_api="blas"):
        scores = _cross_validate(
            embeddings[rows], labels[rows], groups[rows], class_weight, seed, threads
        )
        best = min(scores, key=lambda score: score.log_loss, default=None)
        strength = best.strength if best else DEFAULT_STRENGTH
        problem = _Problem(embeddings, labels, num_classes, class_weight)
        parameters = problem.minimise(strength, None, _MOST_ITERATIONS)
    weights, bias = problem.unpack(parameters.astype(np.float32))
    return LinearHead(problem.mean, problem.scale, weights, bias, strength, tuple(scores))


class _Problem:
    """One data set's objective; solving along a path of strengths starts from the last solution."""

    def __init__(
        self,
        embeddings: NDArray[np.float32],
        labels: NDArray[np.int64],
        num_classes: int,
        class_weight: str,
    ) -> None:
        _, num_views, dim = embeddings.shape
        flat = embeddings.reshape(-1, dim)
        self.mean = flat.mean(axis=0, dtype=np.float64).astype(np.float32)
        self.scale = _scale(flat)
        self.inputs = (flat - self.mean) / self.scale
        self.labels = np.repeat(labels, num_views)
        weights = class_weights(labels, num_classes, class_weight) / num_views
        self.sample_weights = weights[self.labels].astype(np.float32)
        self.shape = (dim, num_classes)

    def minimise(
        self, strength: float, start: NDArray[np.float64] | None, most_iterations: int
    ) -> NDArray[np.float64]:
        from scipy.optimize import minimize

        dim, num_classes = self.shape
        if start is None:
            start = np.zeros((dim + 1) * num_classes)
        # Dividing by the total weight keeps the tolerances' meaning for any number of photos.
        total = float(self.sample_weights.sum())
        result = minimize(
            lambda parameters: self.objective(parameters, strength, total),
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": most_iterations, "gtol": 1e-4, "ftol": 1e-6, "maxcor": 10},
        )
        return np.asarray(result.x, dtype=np.float64)

    def objective(
        self, parameters: NDArray[np.float64], strength: float, total: float
    ) -> tuple[float, NDArray[np.float64]]:
        weights, bias = self.unpack(parameters.astype(np.float32))
        logits = self.inputs @ weights
        logits += bias
        logits -= logits.max(axis=1, keepdims=True)
        rows = np.arange(len(logits))
        true_logits = logits[rows, self.labels].astype(np.float64)
        np.exp(logits, out=logits)
        sums = logits.sum(axis=1)
        losses = np.log(sums.astype(np.float64)) - true_logits
        loss = float(losses @ self.sample_weights) / total
        logits /= sums[:, np.newaxis]
        logits[rows, self.labels] -= 1.0
        logits *= self.sample_weights[:, np.newaxis]
        gradient = np.concatenate([self.inputs.T @ logits, logits.sum(axis=0, keepdims=True)])
        slope = gradient.ravel().astype(np.float64) / total
        num_weights = weights.size
        penalised = parameters[:num_weights]
        loss += float(penalised @ penalised) / (2 * strength * total)
        slope[:num_weights] += penalised / (strength * total)
        return loss, slope

    def unpack(
        self, parameters: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        dim, num_classes = self.shape
        table = parameters.reshape(dim + 1, num_classes)
        return table[:-1], table[-1]


def _scale(flat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Standard deviations, kept away from zero.

    A handful of photos estimates a single feature's spread badly, so each variance is shrunk
    towards the mean of all of them; with thousands of photos this changes little.
    """
    variances = flat.var(axis=0, dtype=np.float64)
    shrinkage = 300.0 / (300.0 + len(flat))
    shrunk = (1 - shrinkage) * variances + shrinkage * variances.mean()
    least = 1e-6 * max(float(variances.mean()), 1e-12)
    return np.asarray(np.sqrt(np.maximum(shrunk, least)), dtype=np.float32)


def _cross_validate(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    class_weight: str,
    seed: int,
    threads: int,
) -> list[StrengthScore]:
    """Score the strengths on held-out photos; empty where no class can be held out."""
    _, labels = np.unique(labels, return_inverse=True)
    num_classes = int(labels.max()) + 1
    _, groups = np.unique(groups, return_inverse=True)
    num_folds = fold_count(labels, groups)
    if num_folds < 2:
        return []
    folds = stratified_folds(labels, groups, num_folds, seed)

    def run(fold: int) -> list[tuple[float, int]]:
        train, held = folds != fold, folds == fold
        problem = _Problem(embeddings[train], labels[train], num_classes, class_weight)
        weight = class_weights(labels, num_classes, class_weight)[labels[held]]
        return _path(problem, embeddings[held, 0], labels[held], weight)

    with ThreadPoolExecutor(threads) as pool:
        results: list[Any] = list(pool.map(run, range(num_folds)))
    return _join(results, len(labels))


def _path(
    problem: _Problem,
    held: NDArray[np.float32],
    labels: NDArray[np.int64],
    sample_weights: NDArray[np.float64],
) -> list[tuple[float, int]]:
    """Held-out loss sum and hits for each strength, from the strongest regularisation on."""
    inputs = (held - problem.mean) / problem.scale
    parameters = None
    results: list[tuple[float, int]] = []
    for strength in STRENGTHS:
        parameters = problem.minimise(strength, parameters, _FOLD_ITERATIONS)
        weights, bias = problem.unpack(parameters.astype(np.float32))
        probabilities = softmax((inputs @ weights + bias).astype(np.float64))
        true = probabilities[np.arange(len(labels)), labels]
        loss = float(-np.log(np.maximum(true, 1e-12)) @ sample_weights)
        results.append((loss, int((probabilities.argmax(axis=1) == labels).sum())))
        # Past the optimum the loss only rises; weak regularisation is also the slowest to fit.
        if len(results) > 2 and results[-1][0] > results[-2][0] > results[-3][0]:
            break
    return results


def _join(results: Sequence[list[tuple[float, int]]], num_photos: int) -> list[StrengthScore]:
    """Sum the folds over the strengths that all of them tried."""
    tried = min(len(path) for path in results)
    scores = []
    for place in range(tried):
        loss = math.fsum(path[place][0] for path in results)
        hits = sum(path[place][1] for path in results)
        scores.append(StrengthScore(STRENGTHS[place], loss / num_photos, hits / num_photos))
    return scores
