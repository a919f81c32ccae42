"""The strategy transfer: a head on a frozen network's embeddings, and how far to rely on it."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from handful.checks.labels import LabelReview, at_their_word, review_labels
from handful.config import TrainConfig
from handful.data.splits import Split, can_be_held_out
from handful.errors import DataError
from handful.evaluation.curve_fitting import measure_curve
from handful.evaluation.learning_curve import LearningCurve
from handful.evaluation.resampling import Resampling, resample_head
from handful.features.table import EmbeddingTable, embed_index
from handful.models.calibration import Calibration, fit_calibrated_head
from handful.models.classifier import Classifier
from handful.models.heads import LinearHead
from handful.models.novelty import NoveltyDetector, reference_of
from handful.training.jobs import EmbeddedPhotos, Trained, TrainingJob
from handful.wording import list_names


@dataclass(frozen=True, eq=False)
class _Views:
    """What heads are fitted to, and what they are tested on.

    `tested` is (N, V, D): the views that a photo is named by, of all photos. `fitted` are
    (n, W, D) views of the photos in `rows`: those for training and, where other splits are asked
    for, those for validation after them.
    """

    tested: NDArray[np.float32]
    rows: NDArray[np.int64]
    fitted: NDArray[np.float32]
    tables: tuple[EmbeddingTable, ...]


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A head, and what out-of-fold answers and distances say of it and of the labels."""

    head: LinearHead
    calibration: Calibration | None
    review: LabelReview | None
    reference: NoveltyDetector | None


def transfer(job: TrainingJob) -> Trained:
    """Fit a head to a frozen network's embeddings, with what tells how far it can be relied on.

    Args:
        job: What to make it from, embedded.

    Returns:
        The classifier, and what is known of it and of the labels.
    """
    config, split = job.config, job.split
    embedded = job.embedded
    assert embedded is not None and embedded.spec.extractor is not None  # to split the photos by
    views = _draw_views(job, embedded)
    job.reporter.seconds["decode"] = sum(table.decode_seconds for table in views.tables)
    tested = embedded.table.mean
    with job.reporter.phase("fit"):
        fitted = _fit(split, views, tested, config)
    resampling, (curve, refusal) = _resample(job, views), _measure_curve(job, views)
    classifier = Classifier(
        split.index.class_names,
        embedded.spec.extractor,
        fitted.head,
        embedded.spec.settings,
        test_time_mirror=config.tta,
        about=embedded.backbone.about,
        calibration=fitted.calibration,
        reference=fitted.reference,
    )
    return Trained(
        classifier,
        tested[split.validation],
        tables=views.tables,
        resampling=resampling,
        label_review=fitted.review,
        learning_curve=curve,
        warnings=(*filter(None, [refusal]), *_not_held_out(split)),
    )


def _draw_views(job: TrainingJob, embedded: EmbeddedPhotos) -> _Views:
    """Embed drawn views of the photos that heads are fitted to, where asked for."""
    config, split, table = job.config, job.split, embedded.table
    # Other splits fit heads to validation photos too.
    pooled = config.is_resampled or config.curve
    rows = np.concatenate([split.train, split.validation]) if pooled else split.train
    fitted = table.embeddings[rows][:, :1]
    tables: tuple[EmbeddingTable, ...] = (table,)
    if config.views > 1:
        spec = replace(embedded.spec, views=tuple(range(1, config.views)), scans=False)
        with job.reporter.phase("embed"):
            extra = embed_index(
                split.index.select(rows), spec, store=job.store, progress=job.reporter.progress
            )
        fitted = np.concatenate([fitted, extra.embeddings], axis=1)
        tables = (table, extra)
    return _Views(table.embeddings, rows, fitted, tables)


def _fit(split: Split, found: _Views, tested: NDArray[np.float32], config: TrainConfig) -> _Fitted:
    """Fit the head to the training photos, and judge it and their labels by held-out answers."""
    class_names, labels = split.index.class_names, split.index.labels[split.train]
    groups, views = split.groups[split.train], found.fitted[: len(split.train)]
    tested = tested[split.train]
    reference = reference_of(tested, groups, config.seed)
    unlike = None if reference is None else reference.unlike(reference.distances(tested, groups))
    head, calibration, chances = fit_calibrated_head(
        views,
        labels,
        len(class_names),
        groups=groups,
        class_weight=config.class_weight,
        seed=config.seed,
        unlike=unlike,
    )
    # `check` looks harder, at two divisions into folds; these answers are there already.
    review = None
    if chances is not None:
        review = review_labels(at_their_word(chances, labels), labels, class_names)
    return _Fitted(head, calibration, review, reference)


def _resample(job: TrainingJob, found: _Views) -> Resampling | None:
    """Fit heads on other splits of the photos for training and validation, where asked for."""
    config, split, rows = job.config, job.split, found.rows
    if not config.is_resampled:
        return None
    with job.reporter.phase("resample"):
        return resample_head(
            np.concatenate([found.tested[rows], found.fitted[:, 1:]], axis=1),
            split.index.labels[rows],
            split.groups[rows],
            split.index.class_names,
            num_seeds=config.seeds,
            num_folds=config.folds,
            fraction=len(split.validation) / len(rows),
            num_tested_views=found.tested.shape[1],
            class_weight=config.class_weight,
            seed=config.seed,
            progress=job.reporter.progress,
        )


def _measure_curve(job: TrainingJob, found: _Views) -> tuple[LearningCurve | None, str]:
    """Fit heads to ever more of the photos for training and validation, where asked for.

    The rest of the run is worth having without: the curve, or a text on why there is none.
    """
    config, split, rows = job.config, job.split, found.rows
    if not config.curve:
        return None, ""
    with job.reporter.phase("curve"):
        try:
            curve = measure_curve(
                found.fitted[:, 0],
                split.index.labels[rows],
                len(split.index.class_names),
                split.groups[rows],
                seed=config.seed,
                class_weight=config.class_weight,
                class_names=split.index.class_names,
                progress=job.reporter.progress,
            )
        except DataError as error:
            return None, f"No learning curve could be measured. {error}"
    return curve, ""


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
