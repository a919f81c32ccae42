"""Fit a head to a frozen network's embeddings, with what tells how far it can be relied on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handful.checks.labels import LabelReview, at_their_word, review_labels
from handful.config import TrainConfig
from handful.data.index import ImageIndex
from handful.data.splits import Split, can_be_held_out
from handful.errors import DataError
from handful.evaluation.curve_fitting import measure_curve
from handful.evaluation.evaluation import score
from handful.evaluation.learning_curve import LearningCurve
from handful.evaluation.resampling import Resampling, resample_head
from handful.features.embed import EmbeddingTable, View
from handful.models.calibration import Calibration, fit_calibrated_head
from handful.models.classifier import Classifier
from handful.models.heads import LinearHead
from handful.models.novelty import TrainingReference, reference_of
from handful.reporting import Reporter
from handful.runs.run import Run
from handful.training.steps import (
    PhotoEmbedder,
    keep_readable,
    open_cache,
    prepare_embedder,
    split_photos,
)
from handful.wording import list_names


@dataclass(frozen=True, eq=False)
class HeadJob:
    """What a head is made from.

    Args:
        photos: Where the photos came from.
        index: The photos.
        config: What was asked.
        split: Their parts, all of them readable; None splits them.
        known: Parts by content hash that are kept.
        use_cache: Look embeddings up and keep them.
        reporter: Told how far it is.
    """

    photos: Path
    index: ImageIndex
    config: TrainConfig
    split: Split | None
    known: Mapping[str, str]
    use_cache: bool
    reporter: Reporter

    @property
    def tested_views(self) -> tuple[View, ...]:
        """Views whose embeddings are averaged when a photo is named."""
        return (0, "mirror") if self.config.tta else (0,)


@dataclass(frozen=True, eq=False)
class _Embedded:
    """Embeddings of the readable photos, split.

    `tested` are (N, D) means over the views that a photo is named by, of all photos. `fitted` are
    (n, V, D) views that heads are fitted to, of the photos in `rows`: those for training and,
    where other splits are asked for, those for validation after them.
    """

    split: Split
    tables: tuple[EmbeddingTable, ...]
    rows: NDArray[np.int64]
    fitted: NDArray[np.float32]

    @property
    def tested_views(self) -> NDArray[np.float32]:
        return self.tables[0].embeddings

    @property
    def tested(self) -> NDArray[np.float32]:
        return np.asarray(self.tested_views.mean(axis=1))


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A head, and what out-of-fold answers and distances say of it and of the labels."""

    head: LinearHead
    calibration: Calibration | None
    review: LabelReview | None
    reference: TrainingReference | None


def train_head(job: HeadJob) -> Run:
    """Embed photos, split them, fit a head, and score it.

    Args:
        job: What to make it from.

    Returns:
        The run.

    Raises:
        DataError: When the photos cannot be split.
        WeightsError: When the backbone's weights are missing or wrong.
    """
    config, reporter = job.config, job.reporter
    embedder = prepare_embedder(config, reporter)
    with reporter.phase("embed"):
        found = _embed(job, embedder)
    reporter.seconds["decode"] = sum(table.decode_seconds for table in found.tables)
    with reporter.phase("fit"):
        fitted = _fit(found, config)
    resampling, (curve, refusal) = _resample(job, found), _measure_curve(job, found)
    warnings = [*filter(None, [refusal]), *_not_held_out(found.split)]
    classifier = _classifier(job, found, fitted, embedder)
    split = found.split
    index, held = split.index, split.validation
    with reporter.phase("evaluate"):
        tested = found.tested[held]
        paths = [index.paths[row] for row in held]
        chances = fitted.head.predict_proba(tested)
        evaluation = score(
            chances, index.labels[held], index.class_names, paths, groups=split.groups[held]
        )
    return Run(
        classifier,
        evaluation,
        _with_warnings(split, warnings),
        config,
        job.photos,
        dict(reporter.seconds),
        {name: sum(getattr(t, name) for t in found.tables) for name in ("hits", "misses")},
        resampling=resampling,
        distances=None if fitted.reference is None else fitted.reference.distances(tested),
        label_review=fitted.review,
        learning_curve=curve,
        fingerprints=found.tables[0].fingerprints,
    )


def _embed(job: HeadJob, embedder: PhotoEmbedder) -> _Embedded:
    config = job.config
    with open_cache(job.use_cache) as cache:
        table = embedder.embed(job.index, job.tested_views, cache, job.reporter.progress)
        index, table = keep_readable(job.index, table, job.split)
        split = split_photos(index, table, config, job.known, job.split)
        # Other splits fit heads to validation photos too.
        pooled = config.is_resampled or config.curve
        parts = [split.train, split.validation] if pooled else [split.train]
        rows = np.concatenate(parts)
        fitted = table.embeddings[rows][:, :1]
        tables: tuple[EmbeddingTable, ...] = (table,)
        if config.views > 1:
            drawn = tuple(range(1, config.views))
            extra = embedder.embed(index.select(rows), drawn, cache, job.reporter.progress)
            fitted = np.concatenate([fitted, extra.embeddings], axis=1)
            tables = (table, extra)
    return _Embedded(split, tables, rows, fitted)


def _fit(found: _Embedded, config: TrainConfig) -> _Fitted:
    """Fit the head to the training photos, and judge it and their labels by held-out answers."""
    split = found.split
    class_names, labels = split.index.class_names, split.index.labels[split.train]
    groups, views = split.groups[split.train], found.fitted[: len(split.train)]
    tested = found.tested[split.train]
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


def _resample(job: HeadJob, found: _Embedded) -> Resampling | None:
    """Fit heads on other splits of the photos for training and validation, where asked for."""
    config, split, rows = job.config, found.split, found.rows
    if not config.is_resampled:
        return None
    with job.reporter.phase("resample"):
        return resample_head(
            np.concatenate([found.tested_views[rows], found.fitted[:, 1:]], axis=1),
            split.index.labels[rows],
            split.groups[rows],
            split.index.class_names,
            num_seeds=config.seeds,
            num_folds=config.folds,
            fraction=len(split.validation) / len(rows),
            num_tested_views=len(job.tested_views),
            class_weight=config.class_weight,
            seed=config.seed,
            progress=job.reporter.progress,
        )


def _measure_curve(job: HeadJob, found: _Embedded) -> tuple[LearningCurve | None, str]:
    """Fit heads to ever more of the photos for training and validation, where asked for.

    The rest of the run is worth having without: the curve, or a text on why there is none.
    """
    config, split, rows = job.config, found.split, found.rows
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


def _with_warnings(split: Split, found: list[str]) -> Split:
    warnings = (*split.index.warnings, *found)
    return replace(split, index=replace(split.index, warnings=warnings)) if found else split


def _classifier(
    job: HeadJob,
    found: _Embedded,
    fitted: _Fitted,
    embedder: PhotoEmbedder,
) -> Classifier:
    return Classifier(
        found.split.index.class_names,
        embedder.network,
        fitted.head,
        embedder.settings,
        precision=embedder.precision,
        test_time_mirror=job.config.tta,
        about=embedder.backbone.about,
        calibration=fitted.calibration,
        reference=fitted.reference,
    )
