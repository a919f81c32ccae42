"""The strategy transfer: a head on a frozen network's embeddings, and how far to rely on it."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.checks.labels import LabelReview, at_their_word, review_labels
from handful.config import TrainConfig
from handful.data.augmentation import VIEWS_POLICY
from handful.data.splits import Split, can_be_held_out
from handful.errors import DataError
from handful.evaluation.curve_fitting import measure_curve
from handful.evaluation.learning_curve import LearningCurve
from handful.evaluation.resampling import Answer, Resampling, resample, resample_head
from handful.features.keras_runtime import trains_on
from handful.features.table import EmbeddingTable
from handful.files.tensors import RowsOf, empty_array
from handful.models.calibration import fit_calibrated_head
from handful.models.heads import LinearHead, judged_rows
from handful.models.novelty import reference_of
from handful.models.streaming import Vectors, fits_in_memory, taken, vector_memory
from handful.training.answers import with_answers
from handful.training.fine_tuning import Tuning
from handful.training.jobs import EmbeddedImages, Trained, TrainingJob
from handful.training.ladder import Climbed, climb
from handful.wording import list_names

_ROWS_A_BLOCK = 4096
# Photos that calibrate a head and have their labels reviewed, however little memory there is.
FEWEST_JUDGED = 10_000
_SAMPLED = (
    "Of {:,} training photos, too many to hold in memory, {:,} drawn at random calibrated the "
    'probabilities, set "not sure" and had their labels reviewed; the classifier has learned '
    "from all."
)


def transfer(job: TrainingJob) -> Trained:
    """Fit a head to a frozen network's embeddings, with what tells how far it can be relied on.

    Args:
        job: What to make it from, embedded.

    Returns:
        The classifier, and what is known of it and of the labels.
    """
    config, split, embedded = job.config, job.split, job.embedded
    assert embedded is not None  # to split the photos by
    ladder = answer = None
    if config.quality == "best":
        climbed = climb(job)
        if climbed.tuning is not None:
            return _tune(job, climbed, climbed.tuning)
        ladder, embedded, answer = climbed.ladder, climbed.embedded, climbed.answer
        job = replace(job, embedded=embedded)
    rows, views, tables = _draw_views(job, embedded)
    job.reporter.seconds["decode"] = sum(table.decode_seconds for table in tables)
    tested = embedded.table.mean
    with job.reporter.phase("fit"):
        num = len(split.train)
        fitted = views.take(slice(num)) if isinstance(views, RowsOf) else views[:num]
        head, review, answers = _fit(split, fitted, tested, config)
    resampling = curve = None
    warnings = _not_held_out(split)
    if review is not None and review.rows is not None:
        warnings = [_SAMPLED.format(num, len(review.rows)), *warnings]
    if config.is_resampled:
        with job.reporter.phase("resample"):
            resampling = _resample(job, rows, views, answer)
    if config.curve:
        with job.reporter.phase("curve"):
            try:
                curve = _measure_curve(job, rows, views)
            except DataError as error:
                # The rest of the run is worth having without.
                warnings = [f"No learning curve could be measured. {error}", *warnings]
    return Trained(
        job.classifier(embedded.backbone, embedded.spec, head, **answers),
        taken(tested, split.validation),
        tables=tables,
        resampling=resampling,
        label_review=review,
        learning_curve=curve,
        warnings=tuple(warnings),
        ladder=ladder,
    )


def _tune(job: TrainingJob, climbed: Climbed, tuning: Tuning) -> Trained:
    """Train the network on that was chosen, with what tells how far it can be relied on."""
    split, reporter = job.split, job.reporter
    labels, names = split.index.labels[split.train], split.index.class_names
    with reporter.phase("train"), trains_on(job.config.device):
        trained = tuning.finish()
    with reporter.phase("evaluate"):
        trained = with_answers(job, trained)
    review = review_labels(at_their_word(tuning.chances, labels), labels, names)
    resampling, warnings = None, _not_held_out(split)
    if job.config.is_resampled:
        with reporter.phase("resample"):
            pool = np.concatenate([split.train, split.validation])
            views = taken(climbed.embedded.table.embeddings[:, :1], pool)
            resampling = _resample(job, pool, views, climbed.answer)
    if job.config.curve:
        warnings.append("No learning curve was measured: it is one of heads on a frozen network.")
    return replace(
        trained,
        resampling=resampling,
        label_review=review,
        warnings=tuple(warnings),
        ladder=climbed.ladder,
    )


def _draw_views(
    job: TrainingJob, embedded: EmbeddedImages
) -> tuple[NDArray[np.int64], Vectors, tuple[EmbeddingTable, ...]]:
    """What heads are fitted to: rows, their views as (n, W, D), and what was embedded.

    The rows are the photos for training and, where other splits are asked for, those for
    validation after them.
    """
    config, split, table = job.config, job.split, embedded.table
    # Other splits fit heads to validation photos too.
    pooled = config.is_resampled or config.curve
    rows = np.concatenate([split.train, split.validation]) if pooled else split.train
    views = taken(table.embeddings[:, :1], rows)
    if config.views == 1:
        return rows, views, (table,)
    numbers, policy = tuple(range(1, config.views)), config.policy or VIEWS_POLICY
    spec = replace(embedded.spec, views=numbers, policy=policy, scans=False)
    drawn = job.embed(spec, rows)
    shape = (len(rows), config.views, table.embeddings.shape[2])
    joined = empty_array(shape, np.float32, vector_memory())
    for first in range(0, len(rows), _ROWS_A_BLOCK):
        block = slice(first, first + _ROWS_A_BLOCK)
        joined[block, :1], joined[block, 1:] = views[block], drawn.embeddings[block]
    return rows, joined, (table, drawn)


def _fit(
    split: Split, views: Vectors, tested: NDArray[np.float32], config: TrainConfig
) -> tuple[LinearHead, LabelReview | None, dict[str, Any]]:
    """Fit the head to the training photos, and judge it and their labels by held-out answers."""
    class_names, labels = split.index.class_names, split.index.labels[split.train]
    groups = split.groups[split.train]
    judged = unlike = None
    reference = reference_of(taken(tested, split.train), groups, config.seed)
    if not fits_in_memory(views):
        # A quarter of those that fit: what five heads answer lies beside their vectors.
        most = vector_memory() // (16 * int(np.prod(views.shape[1:])))
        most = max(most, FEWEST_JUDGED)
        judged = judged_rows(labels, groups, most, config.seed) if most < len(labels) else None
    rows = np.arange(len(labels)) if judged is None else judged
    if reference is not None:
        unlike = reference.unlike(
            reference.distances(taken(tested, split.train[rows]), groups[rows])
        )
    head, calibration, chances = fit_calibrated_head(
        views,
        labels,
        len(class_names),
        groups=groups,
        class_weight=config.class_weight,
        seed=config.seed,
        unlike=unlike,
        judged=judged,
    )
    # `check` looks harder, at two divisions into folds; these answers are there already.
    review = None
    if chances is not None:
        review = review_labels(at_their_word(chances, labels[rows]), labels[rows], class_names)
        review = replace(review, rows=judged)
    return head, review, {"calibration": calibration, "reference": reference}


def _resample(
    job: TrainingJob,
    rows: NDArray[np.int64],
    views: Vectors,
    answer: Answer | None,
) -> Resampling:
    """Fit heads on other splits of the photos for training and validation.

    Where one of several networks was chosen, each split's training photos choose anew.
    """
    config, split = job.config, job.split
    assert job.embedded is not None
    if answer is not None:
        return resample(
            answer,
            split.index.labels[rows],
            split.groups[rows],
            split.index.class_names,
            num_seeds=config.seeds,
            num_folds=config.folds,
            fraction=len(split.validation) / len(rows),
            seed=config.seed,
            progress=job.reporter.progress,
        )
    tested = job.embedded.table.embeddings[rows]
    return resample_head(
        np.concatenate([tested, views[:][:, 1:]], axis=1),
        split.index.labels[rows],
        split.groups[rows],
        split.index.class_names,
        num_seeds=config.seeds,
        num_folds=config.folds,
        fraction=len(split.validation) / len(rows),
        num_tested_views=tested.shape[1],
        class_weight=config.class_weight,
        seed=config.seed,
        progress=job.reporter.progress,
    )


def _measure_curve(job: TrainingJob, rows: NDArray[np.int64], views: Vectors) -> LearningCurve:
    """Fit heads to ever more of the photos for training and validation."""
    index = job.split.index
    return measure_curve(
        views[:][:, 0],
        index.labels[rows],
        len(index.class_names),
        job.split.groups[rows],
        seed=job.config.seed,
        class_weight=job.config.class_weight,
        class_names=index.class_names,
        progress=job.reporter.progress,
    )


def _not_held_out(split: Split) -> list[str]:
    """Name the classes of which no training photo can be held out."""
    labels, names = split.index.labels[split.train], split.index.class_names
    held = np.unique(labels[can_be_held_out(labels, split.groups[split.train])])
    left = [name for number, name in enumerate(names) if number not in held]
    if not left:
        return []
    if len(names) - len(left) < 2:
        return [
            f"Too few different training photos of {list_names(left)} to hold any out: strength "
            'is the usual one, and probabilities, "not sure" and labels could not be checked. Add '
            "different photos."
        ]
    return [
        f"All training photos of {list_names(left)} are one photo or near-duplicates of one: none "
        "can be held out, so they have no part in choosing the strength, in calibration, in "
        '"not sure" and in the review of labels. Add different photos.'
    ]
