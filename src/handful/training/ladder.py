"""Quality "best": several networks and sizes tried on the training photos, the best one taken.

Each is judged by what its heads answer for training photos that they were fitted without, their
near-duplicates left out too. Validation photos have no part in it, so their figure stays honest.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from handful.cores import available_cores
from handful.errors import HandfulError
from handful.evaluation.evaluation import score
from handful.evaluation.resampling import Answer
from handful.features.embed import EmbeddingSpec, mean_view
from handful.models.calibration import fit_calibrated_head
from handful.models.heads import LinearHead
from handful.training.jobs import EmbeddedImages, TrainingJob
from handful.training.rungs import FAST, GOOD, RUNGS, Attempt, Ladder, Rung
from handful.training.steps import open_backbone
from handful.wording import format_duration

# A rung is taken where its mean loss is lower than that of the one taken before by so many standard
# errors of the difference, group by group.
MARGIN = 1.0
_IMAGES_TIMED = 3
_LEAST_CHANCE = 1e-12


@dataclass(frozen=True, eq=False)
class _Tried:
    """A rung with the photos' embeddings, and what its heads said of training photos."""

    attempt: Attempt
    embedded: EmbeddedImages
    losses: NDArray[np.float64]
    fit_seconds: float


def climb(job: TrainingJob) -> tuple[Ladder, EmbeddedImages, Answer]:
    """Try the rungs that the time budget allows, the cheapest first, and choose one.

    Args:
        job: What to train on; embedded for the first rung.

    Returns:
        What was tried; the photos' embeddings of the rung chosen; and the same way of choosing for
        other splits of the training and validation photos, for `resample`.
    """
    split = job.split
    assert job.embedded is not None
    begun = time.perf_counter() - job.reporter.seconds.get("embed", 0.0)
    tried = [_judge(job, FAST, job.embedded, begun, None)]
    results: list[_Tried | Attempt] = [*tried]
    _tell(job, tried[0].attempt, tried)
    for rung in RUNGS:
        found = _try_rung(job, rung, tried, begun)
        if found is None:
            continue
        results.append(found)
        if isinstance(found, _Tried):
            tried.append(found)
        _tell(job, found.attempt if isinstance(found, _Tried) else found, tried)
    losses = [one.losses for one in tried]
    best = tried[choose(losses, split.groups[split.train], _usual(tried))]
    attempts = (
        replace(one.attempt, is_chosen=one is best) if isinstance(one, _Tried) else one
        for one in results
    )
    return Ladder(tuple(attempts)), best.embedded, _answer(job, tried)


def choose(losses: Sequence[NDArray[np.float64]], groups: NDArray[np.int64], first: int = 0) -> int:
    """Choose among ways of classifying the same photos.

    Args:
        losses: Of each way (n,) -ln(probability of the true class), NaN where a photo was not
            left out.
        groups: (n,) photos with equal numbers are near-duplicates and count as one.
        first: Place of the one that is taken unless another is better by more than noise.

    Returns:
        The place of the one chosen: one after another is taken where its mean loss is lower than
        that of the one taken before by more than `MARGIN` standard errors of the paired
        difference.
    """
    best = first
    for place in range(len(losses)):
        gains = losses[best] - losses[place]
        told = ~np.isnan(gains)
        if not told.any():
            continue
        _, dense = np.unique(groups[told], return_inverse=True)
        off = np.bincount(dense, gains[told] - gains[told].mean())
        error = np.sqrt((off**2).sum()) / told.sum()
        if len(off) > 1 and gains[told].mean() > MARGIN * error:
            best = place
    return best


def _tell(job: TrainingJob, attempt: Attempt, tried: Sequence[_Tried]) -> None:
    """Say what came of a rung, and how good the best one is by now."""
    job.reporter.log(str(attempt))
    known = [one.attempt.accuracy for one in tried if one.attempt.accuracy is not None]
    if known:
        job.reporter.score(max(known))


def _usual(tried: Sequence[_Tried]) -> int:
    """Place of the rung that is mostly better than the first, and taken in doubt."""
    return next((n for n, one in enumerate(tried) if one.attempt.name == GOOD.name), 0)


def _try_rung(
    job: TrainingJob, rung: Rung, tried: Sequence[_Tried], begun: float
) -> _Tried | Attempt | None:
    """Judge a rung; or say why it was not tried; None where it is one that was tried."""
    left = (job.config.time_budget or np.inf) * 60 - (time.perf_counter() - begun)
    asked = rung.settle(job.config)
    if left <= 0:
        note = "not tried: the time budget is used up"
        return Attempt(rung.name, asked.backbone or "", asked.image_size, note=note)
    try:
        backbone, spec = open_backbone(job.config, job.reporter, rung)
    except HandfulError as error:
        return Attempt(rung.name, asked.backbone or "", asked.image_size, note=str(error))
    assert spec.extractor is not None
    if any(spec.keys([""]) == one.embedded.spec.keys([""]) for one in tried):
        return None
    expected = _expected_seconds(job, spec, tried[0])
    if expected > left:
        note = (
            f"not tried: it would take about {format_duration(expected)}, and "
            f"{format_duration(left)} of the time budget are left"
        )
        size = spec.extractor.image_size
        return Attempt(rung.name, backbone.name, size, expected, note=note)
    started = time.perf_counter()
    table = job.embed(replace(spec, scans=False))
    return _judge(job, rung, EmbeddedImages(backbone, spec, table), started, expected)


def _judge(
    job: TrainingJob, rung: Rung, embedded: EmbeddedImages, begun: float, expected: float | None
) -> _Tried:
    """See what a rung's heads say of training photos that they were fitted without."""
    split, extractor = job.split, embedded.spec.extractor
    rows, names = split.train, split.index.class_names
    labels, groups = split.index.labels[rows], split.groups[rows]
    fit_begun = time.perf_counter()
    with job.reporter.phase("fit"):
        _, chances = _fit(job, embedded, rows, job.config.seed)
    fit_seconds = time.perf_counter() - fit_begun
    held = ~np.isnan(chances[:, 0])
    attempt = Attempt(
        rung.name,
        embedded.backbone.name,
        None if extractor is None else extractor.image_size,
        expected,
        time.perf_counter() - begun,
    )
    if held.any():
        paths = [split.index.paths[row] for row in rows[held]]
        found = score(chances[held], labels[held], names, paths, groups=groups[held])
        attempt = replace(
            attempt,
            accuracy=found.accuracy,
            accuracy_interval=found.accuracy_interval,
            log_loss=found.log_loss,
        )
    return _Tried(attempt, embedded, _losses(chances, labels), fit_seconds)


def _fit(
    job: TrainingJob, embedded: EmbeddedImages, rows: NDArray[np.int64], seed: int
) -> tuple[LinearHead, NDArray[np.float64]]:
    """A head on some photos, and what such heads say of each that was left out, NaN of none."""
    index = job.split.index
    head, _, chances = fit_calibrated_head(
        embedded.table.embeddings[rows][:, :1],
        index.labels[rows],
        len(index.class_names),
        groups=job.split.groups[rows],
        class_weight=job.config.class_weight,
        seed=seed,
    )
    if chances is None:
        chances = np.full((len(rows), len(index.class_names)), np.nan)
    return head, chances


def _losses(chances: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """-ln(probability of the true class), (n,)."""
    true = chances[np.arange(len(labels)), labels]
    return np.asarray(-np.log(np.maximum(true, _LEAST_CHANCE)))


def _expected_seconds(job: TrainingJob, spec: EmbeddingSpec, first: _Tried) -> float:
    """What a rung would take without the cache, so that a second run tries the same ones."""
    extractor, before = spec.extractor, first.embedded.spec.extractor
    assert extractor is not None and before is not None
    size = extractor.image_size
    image = np.zeros((1, size, size, 3), np.uint8)
    extractor.embed(image)  # the first compiles
    begun = time.perf_counter()
    for _ in range(_IMAGES_TIMED):
        extractor.embed(image)
    each = (time.perf_counter() - begun) / _IMAGES_TIMED * len(spec.views)
    embedding = each * len(job.split.index) / available_cores()
    return embedding + first.fit_seconds * extractor.embedding_dim / before.embedding_dim


def _answer(job: TrainingJob, tried: Sequence[_Tried]) -> Answer:
    """Choose among the rungs on any photos for training and validation, and answer for others."""
    split = job.split
    pool = np.concatenate([split.train, split.validation])

    def answer(
        rows: NDArray[np.int64], others: NDArray[np.int64], seed: int
    ) -> tuple[NDArray[np.float64], float]:
        fitted = [_fit(job, one.embedded, pool[rows], seed) for one in tried]
        labels = split.index.labels[pool[rows]]
        losses = [_losses(chances, labels) for _, chances in fitted]
        best = choose(losses, split.groups[pool[rows]], _usual(tried))
        head, tested = fitted[best][0], tried[best].embedded.table.embeddings[pool[others]]
        assert head.C is not None
        return head.predict_proba(mean_view(tested)), head.C

    return answer
