"""Small classifiers on embeddings: fitted in a fraction of a second, used with NumPy alone."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from handful.cores import Parts, available_cores, stretches
from handful.data.splits import can_be_held_out, fold_count, stratified_folds
from handful.data.target import ONE_CLASS, Target
from handful.files.tensors import RowsOf
from handful.models.lbfgs import minimize
from handful.models.products import products
from handful.models.streaming import (
    FittedLayer,
    Vectors,
    fit_streamed,
    fits_in_memory,
    read_floats,
    shrunk_scale,
    vector_memory,
)

SKEW_LIMIT = 3.0
# Inverse regularization strength C, as in scikit-learn: sum of losses + |weights|^2 / (2 C). The
# optimum moves little with the number of photos, so one grid serves 4 photos and 30,000.
C_GRID = tuple(10.0 ** (exponent / 2) for exponent in range(-8, 3))
DEFAULT_C = 1e-1
_MOST_ITERATIONS = 100
_ROWS_A_BLOCK = 4096
_FEATURES_A_BLOCK = 256
# Up to this many rows for each feature it pays to fit in the space that they span.
_NARROW = 0.5
_RIDGE = 1e-9
_FOLD_ITERATIONS = 40
_MOST_CROSS_VALIDATED = 4_000
_CLASSES_FOR_FIVE_FOLDS = 100
# Of two classes that exclude each other one logit falls as the other rises: one number tells both.
_PAIR = np.array([-1, 1], np.float32) / np.sqrt(np.float32(2))
# A product of so many numbers takes longer than handing half of it to another thread.
_WORTH_THREADS = 2_000_000
_MOST_PARTS = 4


@dataclass(frozen=True)
class CScore:
    """How one C did in cross-validation.

    Args:
        C: Inverse regularization strength.
        log_loss: Mean negative log-probability of the true class on held-out photos, nats.
        accuracy: Share of held-out photos classified correctly.
    """

    C: float
    log_loss: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class LinearHead:
    """A fitted standardized multinomial logistic regression.

    Args:
        mean: (D,) float32 subtracted from embeddings.
        scale: (D,) float32 that they are then divided by, positive.
        weights: (D, K) float32.
        bias: (K,) float32.
        C: Inverse regularization strength that it was fitted with; None for the last layer
            of a network that was trained in another way.
        scores: Cross-validation of each C tried; empty where there were too few photos.
        target: What it was fitted to.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    C: float | None
    scores: tuple[CScore, ...] = ()
    target: Target = ONE_CLASS

    def predict_proba(self, embeddings: Vectors) -> NDArray[np.float64]:
        """Probabilities of the classes.

        Args:
            embeddings: (N, D) float32.

        Returns:
            (N, K) float64; rows sum to 1 where each image is of one class.
        """
        weights, bias = self.weights.astype(np.float64), self.bias.astype(np.float64)
        logits = np.empty((len(embeddings), len(bias)))
        for first in range(0, len(embeddings), _ROWS_A_BLOCK):
            block = np.asarray(embeddings[first : first + _ROWS_A_BLOCK], np.float32)
            standardized = ((block - self.mean) / self.scale).astype(np.float64)
            logits[first : first + _ROWS_A_BLOCK] = standardized @ weights + bias
        # BLAS sums in an order that depends on the number of rows. Rounding away the last bits of
        # a double makes a photo's answer the same alone and among others.
        return self.target.probabilities(logits.astype(np.float32).astype(np.float64))

    def at_temperature(self, temperature: float) -> "LinearHead":
        """The same head with its logits divided by a number.

        Args:
            temperature: Positive; above 1 makes probabilities less extreme.

        Returns:
            A head that names the same classes.
        """
        weights, bias = self.weights / np.float32(temperature), self.bias / np.float32(temperature)
        return replace(self, weights=weights, bias=bias)


def class_weights(counts: NDArray[np.int64], class_weight: str = "auto") -> NDArray[np.float64]:
    """Weight of each class in the loss.

    Args:
        counts: (K,) images of each class.
        class_weight: "balanced", "none", or "auto": balanced when the largest class has over
            3 times the photos of the smallest.

    Returns:
        (K,) float64; ones, or N / (K * count) as in scikit-learn's "balanced".
    """
    skewed = counts.max() > SKEW_LIMIT * counts.min()
    if class_weight == "none" or (class_weight == "auto" and not skewed):
        return np.ones(len(counts))
    return np.asarray(counts.sum() / (len(counts) * np.maximum(counts, 1)), dtype=np.float64)


def _image_weights(
    labels: NDArray[Any], num_classes: int, class_weight: str, target: Target
) -> NDArray[np.float64]:
    """Weight (N,) of each image: its class's, or the mean of its classes'."""
    weights = class_weights(_class_counts(labels, num_classes, target), class_weight)
    result = np.empty(len(labels))
    for first in range(0, len(labels), _ROWS_A_BLOCK):
        members = target.members(labels[first : first + _ROWS_A_BLOCK], num_classes)
        sums = np.maximum(members.sum(axis=1), 1)
        result[first : first + _ROWS_A_BLOCK] = members @ weights / sums
    return result


def _class_counts(labels: NDArray[Any], num_classes: int, target: Target) -> NDArray[np.int64]:
    """Images of each class (K,)."""
    counts = np.zeros(num_classes, np.int64)
    for first in range(0, len(labels), _ROWS_A_BLOCK):
        block = labels[first : first + _ROWS_A_BLOCK]
        counts += target.members(block, num_classes).sum(axis=0)
    return counts


def fit_head(
    embeddings: Vectors,
    labels: NDArray[Any],
    num_classes: int,
    *,
    groups: NDArray[np.int64] | None = None,
    class_weight: str = "auto",
    C: float | None = None,
    seed: int = 0,
    target: Target = ONE_CLASS,
    memory_bytes: int | None = None,
) -> LinearHead:
    """Fit a head, its C chosen by cross-validation on these embeddings alone.

    Folds are stratified and hold groups together; the C with the least held-out log loss
    wins, since log loss, unlike accuracy, also rewards honest probabilities. Past 100 classes there
    are 2 folds, else up to 5. Of more than 4,000 photos a fixed random 4,000 choose it,
    and a few others of rare classes, so that each has a group for every fold, if it has so many.
    A class of one group has no part in that choice.

    Args:
        embeddings: (N, D) float32, or (N, V, D) with V views of each photo, the photo first:
            views count as 1/V photo each, and only photos themselves are scored.
        labels: (N, ...) as `target` has them, each class at least once; (N,) int64, 0 to K - 1,
            where each image is of one.
        num_classes: Number of classes K, 2 or more.
        groups: (N,) int64, photos with equal numbers are in one fold; None: each on its own.
        class_weight: "auto", "balanced" or "none".
        C: Inverse regularization strength to use without cross-validation, or None.
        seed: Seed of the folds.
        target: What a label is.
        memory_bytes: What vectors held in memory may take; more are read in blocks, again and
            again, with the same optimum. None takes `vector_memory`: 256 MB are 50,000 photos of
            1,280 features.

    Returns:
        The head fitted to all N photos.

    Raises:
        ValueError: When shapes disagree or a class has no photo.

    Source:
        Minimizes sum_i w_i * loss(x_i W + b, y_i) + |W|^2 / (2 C) by L-BFGS, as scikit-learn's
        `LogisticRegression` does; the loss is -log softmax(x_i W + b)[y_i] for one class.
    """
    embeddings = _with_views(embeddings, labels, num_classes, target)
    if groups is None:
        groups = np.arange(len(labels))
    # Matrices this narrow gain nothing from BLAS threads: on a busy machine they wait for one
    # another, ten times longer. With one, the result does not depend on the number of cores.
    with threadpool_limits(1, user_api="blas"):
        scores: list[CScore] = []
        if C is None:
            rows = _drawn_rows(target.strata(labels), groups, seed, _MOST_CROSS_VALIDATED)
            scores = _cross_validate(
                np.asarray(embeddings[rows], np.float32),
                labels[rows],
                groups[rows],
                class_weight,
                seed,
                target,
            )
            best = min(scores, key=lambda score: score.log_loss, default=None)
            C = best.C if best else DEFAULT_C
        weights_of = _image_weights(labels, num_classes, class_weight, target)
        fit = _fit_in_memory
        memory_bytes = vector_memory() if memory_bytes is None else memory_bytes
        if not fits_in_memory(embeddings, memory_bytes):
            fit = partial(fit_streamed, seed=seed, memory_bytes=memory_bytes)
        fitted = fit(embeddings, labels, weights_of, num_classes, target, C)
    return LinearHead(*fitted, C, tuple(scores), target)


def _fit_in_memory(
    embeddings: Vectors,
    labels: NDArray[Any],
    weights: NDArray[np.float64],
    num_classes: int,
    target: Target,
    C: float,
) -> FittedLayer:
    """Mean, scale, weights and biases of a head."""
    given = weights[:, np.newaxis]
    problem = _Problem(read_floats(embeddings), labels, given, num_classes, target)
    found, bias = problem.unpack(problem.minimize(C, None, _MOST_ITERATIONS, 1e-7))
    return problem.mean, problem.scale, found[:, 0].copy(), bias[0]


def out_of_fold_logits(
    embeddings: Vectors,
    labels: NDArray[np.int64],
    num_classes: int,
    C: float,
    *,
    groups: NDArray[np.int64] | None = None,
    class_weight: str = "auto",
    num_folds: int = 5,
    seed: int = 0,
) -> NDArray[np.float64] | None:
    """Logits of every photo from heads that were fitted without it and its near-duplicates.

    For all that must not be judged on what was learned by heart: calibration, thresholds, label
    review. Folds are stratified and hold groups together; past 100 classes there are 2. Of a
    class of one group none can be held out: all heads learn from it, and none answers for it.

    Args:
        embeddings: (N, D) float32, or (N, V, D) with V views of each photo, the photo first.
        labels: (N,) int64, 0 to K - 1, each class at least once.
        num_classes: Number of classes K, 2 or more.
        C: Inverse regularization strength, such as a fitted head's.
        groups: (N,) int64, photos with equal numbers are in one fold; None: each on its own.
        class_weight: "auto", "balanced" or "none".
        num_folds: Folds, 2 or more; fewer where a class has fewer groups.
        seed: Seed of the folds.

    Returns:
        (N, K) float64, NaN for photos that cannot be held out; None where that leaves fewer
        than two classes.

    Raises:
        ValueError: When shapes disagree or a class has no photo.
    """
    vectors = _with_views(embeddings, labels, num_classes, ONE_CLASS)
    _, groups = np.unique(np.arange(len(labels)) if groups is None else groups, return_inverse=True)
    rows = np.flatnonzero(can_be_held_out(labels, groups))
    _, dense = np.unique(labels[rows], return_inverse=True)
    if not np.any(dense):
        return None
    _, held_groups = np.unique(groups[rows], return_inverse=True)
    num_folds = fold_count(dense, held_groups, _most_folds(num_classes, num_folds))
    folds = np.full(len(labels), -1)
    folds[rows] = stratified_folds(dense, held_groups, num_folds, seed)
    weights_of = _image_weights(labels, num_classes, class_weight, ONE_CLASS)
    fitted = folds[:, np.newaxis] != np.arange(num_folds)
    with threadpool_limits(1, user_api="blas"):
        problem = _Problem(
            read_floats(vectors), labels, weights_of[:, np.newaxis] * fitted, num_classes, ONE_CLASS
        )
        parameters = problem.minimize(C, None, _MOST_ITERATIONS, 1e-6)
        logits = problem.logits(parameters)[:: vectors.shape[1]]
    result = np.full((len(labels), num_classes), np.nan)
    result[rows] = logits[rows, folds[rows]]
    return result


def _with_views(
    embeddings: Vectors, labels: NDArray[Any], num_classes: int, target: Target
) -> Vectors:
    """Embeddings as (N, V, D), checked against the images' labels."""
    if embeddings.ndim == 2:
        if isinstance(embeddings, RowsOf):
            embeddings = RowsOf(embeddings.array[:, np.newaxis], embeddings.rows)
        else:
            embeddings = embeddings[:, np.newaxis]
    if len(embeddings) != len(labels) or embeddings.ndim != 3:
        raise ValueError(
            f"embeddings are {embeddings.shape} and labels those of {len(labels)} images; expected "
            "(N, D) or (N, V, D) and N labels."
        )
    occurring = int(np.count_nonzero(_class_counts(labels, num_classes, target)))
    if occurring != num_classes:
        raise ValueError(f"labels have {occurring} classes; expected all {num_classes}.")
    return embeddings


class _Problem:
    """The loss of F heads on the same photos, each weighing them in its own way.

    In cross-validation head f gives the photos of fold f no weight. Minimizing the sum of the F
    losses at once costs one matrix product where F fits cost F, and keeps one copy of the data.
    Each head has K columns of weights, or one where K is 2 and an image is of one class: from zero
    on, the second column would be the negative of the first. `_PAIR` has length 1, so that steps
    and penalty are those of both columns.
    """

    def __init__(
        self,
        embeddings: NDArray[np.float32],
        labels: NDArray[Any],
        weights: NDArray[np.float64],
        num_classes: int,
        target: Target,
    ) -> None:
        """Standardize images (N, V, D) with labels (N, ...) and weights (N, F).

        The embeddings are changed in place, for a copy of them may be all that memory holds.
        """
        _, num_views, dim = embeddings.shape
        flat = embeddings.reshape(-1, dim)
        self.mean = flat.mean(axis=0, dtype=np.float64).astype(np.float32)
        self.inputs = np.subtract(flat, self.mean, out=flat)
        self.scale = _scale(self.inputs)
        self.inputs /= self.scale
        self.given, self.factor = self.inputs, None
        if len(self.inputs) <= dim * _NARROW:
            self.factor = _factor(self.inputs)
            self.inputs = self.factor.astype(np.float32)
            dim = len(self.inputs)
        self.labels = np.repeat(labels, num_views, axis=0)
        self.weights = np.repeat(weights / num_views, num_views, axis=0).astype(np.float32)
        # Dividing by the weight keeps the tolerances' meaning for any number of photos.
        self.total = float(self.weights.sum()) / self.weights.shape[1]
        self.is_pair = num_classes == 2 and not target.is_several
        self.shape = (dim, self.weights.shape[1], 1 if self.is_pair else num_classes)
        self.target = target

    def minimize(
        self, C: float, start: NDArray[np.float64] | None, iterations: int, tolerance: float
    ) -> NDArray[np.float64]:
        if start is None:
            dim, num_heads, num_classes = self.shape
            start = np.zeros((dim + 1) * num_heads * num_classes)
        is_large = self.inputs.size * self.weights.shape[1] > _WORTH_THREADS
        num_parts = min(available_cores(), _MOST_PARTS) if is_large else 1
        with Parts(num_parts) as parts:
            return minimize(
                lambda point: self.objective(point, C, parts), start, iterations, tolerance
            )

    def objective(
        self, parameters: NDArray[np.float64], C: float, parts: Parts | None = None
    ) -> tuple[float, NDArray[np.float64]]:
        """Loss and its slope."""
        parts = parts or Parts(1)
        weights, bias = self._table(parameters)
        flat = weights.reshape(len(weights), -1)
        num_rows, num_columns = len(self.inputs), flat.shape[1]
        losses = np.empty(self.weights.shape, np.float32)  # (R, F)
        slopes = np.empty((num_rows, num_columns), np.float32)  # (R, F * K)
        multiplied = products(self.inputs, flat, parts)

        def judge(rows: slice) -> None:
            logits = self._logits(multiplied[rows], bias)
            losses[rows], part = self.target.loss(logits, self.labels[rows])
            part *= self.weights[rows, :, np.newaxis]
            if self.is_pair:
                part = (part[:, :, 1] - part[:, :, 0]) * _PAIR[1]
            slopes[rows] = part.reshape(len(part), -1)

        parts.run(judge, num_rows)
        gradient = np.empty((len(weights) + 1, num_columns))
        gradient[:-1] = products(self.inputs.T, slopes, parts)
        gradient[-1] = slopes.sum(axis=0)
        loss = float((losses * self.weights).sum(dtype=np.float64))
        slope = gradient.ravel()
        penalized = parameters[: len(parameters) - num_columns]
        loss += float(penalized @ penalized) / (2 * C)
        slope[: len(penalized)] += penalized / C
        return loss / self.total, slope / self.total

    def logits(self, parameters: NDArray[np.float64]) -> NDArray[np.float32]:
        """(R, F, K) of every photo's view in every head."""
        weights, bias = self._table(parameters)
        flat = weights.reshape(len(weights), -1)
        return self._logits(products(self.inputs, flat), bias)

    def _logits(
        self, multiplied: NDArray[np.float32], bias: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """(r, F, K) of inputs' products with the columns of weights."""
        logits = (multiplied + bias.ravel()).reshape(-1, *self.shape[1:])
        return np.asarray(logits * _PAIR if self.is_pair else logits, dtype=np.float32)

    def unpack(
        self, parameters: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weights (D, F, K) and biases (F, K)."""
        weights, bias = self._table(parameters)
        if self.factor is not None:
            shares = np.linalg.solve(self.factor.T, weights.reshape(len(weights), -1))
            flat = self.given.T @ shares.astype(np.float32)
            weights = flat.reshape(-1, *weights.shape[1:])
        return (weights * _PAIR, bias * _PAIR) if self.is_pair else (weights, bias)

    def _table(
        self, parameters: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The same for the inputs as they are multiplied."""
        dim, num_heads, num_classes = self.shape
        table = parameters.astype(np.float32).reshape(dim + 1, num_heads, num_classes)
        return table[:-1], table[-1]


def _factor(inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """A few vectors (R, D) by R coordinates each, (R, R) float64, with the same products.

    The best weights lie in the space that the vectors span: what is outside changes no answer on
    them and costs a penalty. So R numbers a class are sought instead of D. The factor is
    Cholesky's; what is added to the diagonal, for vectors that depend on each other, is below
    what rounding to float32 does.
    """
    wide = inputs.astype(np.float64)
    products = wide @ wide.T
    products[np.diag_indices_from(products)] += max(_RIDGE * float(np.trace(products)), 1e-12)
    return np.asarray(np.linalg.cholesky(products), np.float64)


def _scale(centered: NDArray[np.float32]) -> NDArray[np.float32]:
    """Standard deviations of features (N, D) whose means are 0, kept away from zero.

    A handful of photos estimates a single feature's spread badly, so each variance is shrunk
    towards the mean of all of them; with thousands of photos this changes little.
    """
    dim = centered.shape[1]
    variances = np.zeros(dim)
    for first in range(0, len(centered), _ROWS_A_BLOCK):
        for features in stretches(dim, max(dim // _FEATURES_A_BLOCK, 1)):
            block = centered[first : first + _ROWS_A_BLOCK, features].astype(np.float64)
            variances[features] += np.einsum("nd,nd->d", block, block) / len(centered)
    return shrunk_scale(variances, len(centered))


def _most_folds(num_classes: int, asked: int = 5) -> int:
    return asked if num_classes <= _CLASSES_FOR_FIVE_FOLDS else 2


def judged_rows(
    labels: NDArray[np.int64], groups: NDArray[np.int64], most: int, seed: int = 0
) -> NDArray[np.int64]:
    """Draw the photos whose out-of-fold answers stand for those of all.

    Args:
        labels: (N,) int64 class numbers.
        groups: (N,) int64, near-duplicates have equal numbers.
        most: Photos to draw at random, where there are more. Some of rare classes are added, so
            that each has a group for every fold, if it has so many.
        seed: Another seed, other photos.

    Returns:
        (n,) int64 rows in order; each class is there.
    """
    rows = _drawn_rows(labels, groups, seed, most)
    absent = np.setdiff1d(labels, labels[rows])
    classes, first = np.unique(labels, return_index=True)
    return np.union1d(rows, first[np.isin(classes, absent)])


def _drawn_rows(
    labels: NDArray[np.int64], groups: NDArray[np.int64], seed: int, most: int
) -> NDArray[np.int64]:
    """Photos that can be held out: all, or a random part that has every class to hold out."""
    rows = np.random.default_rng(seed).permutation(len(labels))
    rows = rows[can_be_held_out(labels, groups)[rows]]
    if len(rows) <= most:
        return rows
    labels, (_, groups) = labels[rows], np.unique(groups[rows], return_inverse=True)
    _, first = np.unique(labels * (groups.max() + 1) + groups, return_index=True)
    # The first photo of each group in each class, by class and then by its place.
    first = np.sort(first)
    first = first[np.argsort(labels[first], kind="stable")]
    before = np.arange(len(first)) - np.searchsorted(labels[first], labels[first])
    kept = np.arange(len(rows)) < most
    kept[first[before < _most_folds(int(labels.max()) + 1)]] = True
    return np.asarray(rows[kept])


def _cross_validate(
    embeddings: NDArray[np.float32],
    labels: NDArray[Any],
    groups: NDArray[np.int64],
    class_weight: str,
    seed: int,
    target: Target,
) -> list[CScore]:
    """Score each C on held-out photos; empty where no class can be held out."""
    labels, num_classes = target.compact(labels)
    if num_classes < 2:
        return []
    _, groups = np.unique(groups, return_inverse=True)
    _, strata = np.unique(target.strata(labels), return_inverse=True)
    num_folds = fold_count(strata, groups, _most_folds(num_classes))
    folds = stratified_folds(strata, groups, num_folds, seed)
    weights_of = _image_weights(labels, num_classes, class_weight, target)
    fitted = folds[:, np.newaxis] != np.arange(num_folds)
    problem = _Problem(embeddings, labels, weights_of[:, np.newaxis] * fitted, num_classes, target)
    parameters = None
    scores: list[CScore] = []
    rows = np.arange(len(labels))
    for C in C_GRID:
        parameters = problem.minimize(C, parameters, _FOLD_ITERATIONS, 1e-4)
        # The first of a photo's views is the photo itself.
        logits = problem.logits(parameters)[:: embeddings.shape[1]][rows, folds]
        probabilities = target.probabilities(logits.astype(np.float64))
        loss = float(target.log_loss(probabilities, labels) @ weights_of / weights_of.sum())
        accuracy = float(target.correct(probabilities, labels).mean())
        scores.append(CScore(C, loss, accuracy))
        # Past the optimum the loss only rises; weak regularization is also the slowest to fit.
        if len(scores) > 2 and scores[-1].log_loss > scores[-2].log_loss > scores[-3].log_loss:
            break
    return scores
