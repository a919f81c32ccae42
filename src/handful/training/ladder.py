"""Quality "best": several networks and sizes tried on the training photos, the best one taken.

Each is judged by what its heads answer for training photos that they were fitted without, their
near-duplicates left out too. Validation photos have no part in it, so their figure stays honest.
Where Keras is there, and time, a network is trained on as well, and judged in the same way.
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
from handful.features.keras_runtime import prepare_keras, require_keras, trains_on
from handful.models.calibration import fit_calibrated_head
from handful.models.heads import LinearHead
from handful.training.choosing import choose
from handful.training.fine_tuning import (
    Tuning,
    TuningParts,
    prepare_tuning,
    seconds_of_tuning,
    tunable_backbone,
    tune_in_folds,
)
from handful.training.jobs import EmbeddedImages, TrainingJob
from handful.training.recipes import find_recipe
from handful.training.rungs import FAST, GOOD, RUNGS, TUNED, Attempt, Ladder, Rung
from handful.training.steps import open_backbone
from handful.wording import format_duration

_IMAGES_TIMED = 3
_USED_UP = "the time budget is used up"
_NONE_HELD_OUT = "too few different training photos to hold any out, so that nothing is compared"
# For tuning, where no time budget is given.
TUNING_MINUTES = 10.0


@dataclass(frozen=True, eq=False)
class _Tried:
    """A rung with the photos' embeddings, and what its heads said of training photos."""

    attempt: Attempt
    embedded: EmbeddedImages
    chances: NDArray[np.float64]
    fit_seconds: float


@dataclass(frozen=True, eq=False)
class _TriedTuning:
    """Networks tuned to parts of the training photos, and what they said of the others."""

    attempt: Attempt
    tuning: Tuning


@dataclass(frozen=True, eq=False)
class Climbed:
    """What came of trying.

    Args:
        ladder: What was tried.
        embedded: The photos' embeddings of the rung chosen, or of the first where it is tuned.
        answer: The same way of choosing for other splits of the training and validation photos,
            for `resample`.
        tuning: Of the rung chosen, where its network is to be trained on.
    """

    ladder: Ladder
    embedded: EmbeddedImages
    answer: Answer
    tuning: Tuning | None


def climb(job: TrainingJob) -> Climbed:
    """Try the rungs that the time budget allows, the cheapest first, and choose one.

    Args:
        job: What to train on; embedded for the first rung.

    Returns:
        What was tried and chosen.
    """
    split = job.split
    assert job.embedded is not None
    begun = time.perf_counter() - job.reporter.seconds.get("embed", 0.0)
    tried = [_judge(job, FAST, job.embedded, begun, None)]
    results: list[_Tried | _TriedTuning | Attempt] = [*tried]
    _tell(job, tried[0].attempt, tried)
    can_compare = tried[0].attempt.accuracy is not None
    for rung in RUNGS:
        if can_compare or rung is GOOD:
            found = _try_rung(job, rung, tried, begun)
        else:
            found = _untried(rung, job, _NONE_HELD_OUT)
        if found is None:
            continue
        results.append(found)
        if isinstance(found, _Tried):
            tried.append(found)
        _tell(job, found.attempt if isinstance(found, _Tried) else found, tried)
    tuned = _try_tuning(job, begun) if can_compare else _untried(TUNED, job, _NONE_HELD_OUT)
    results.append(tuned)
    if isinstance(tuned, _TriedTuning):
        _tell(job, tuned.attempt, [*tried, tuned])
    else:
        _tell(job, tuned, tried)
    answers = [one.chances for one in tried]
    if isinstance(tuned, _TriedTuning):
        answers.append(tuned.tuning.chances)
    labels = split.index.labels[split.train]
    place = choose(answers, labels, split.groups[split.train], _usual(tried))
    best = [*tried, tuned][place]
    attempts = (
        one if isinstance(one, Attempt) else replace(one.attempt, is_chosen=one is best)
        for one in results
    )
    tuning = best.tuning if isinstance(best, _TriedTuning) else None
    embedded = best.embedded if isinstance(best, _Tried) else job.embedded
    parts = tuned.tuning.parts if isinstance(tuned, _TriedTuning) else None
    return Climbed(Ladder(tuple(attempts)), embedded, _answer(job, tried, parts), tuning)


def _tell(job: TrainingJob, attempt: Attempt, tried: Sequence[_Tried | _TriedTuning]) -> None:
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
    started = time.perf_counter()
    left = (job.config.time_budget or np.inf) * 60 - (started - begun)
    if left <= 0:
        return _untried(rung, job, _USED_UP)
    try:
        backbone, spec = open_backbone(job.config, job.reporter, rung)
    except HandfulError as error:
        return _untried(rung, job, str(error))
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
    table = job.embed(replace(spec, scans=False))
    return _judge(job, rung, EmbeddedImages(backbone, spec, table), started, expected)


def _untried(rung: Rung, job: TrainingJob, why: str) -> Attempt:
    """A rung that was not tried, and why."""
    asked = rung.settle(job.config)
    note = f"not tried: {why}"
    return Attempt(rung.name, asked.backbone or "", asked.image_size, note=note)


def _judge(
    job: TrainingJob, rung: Rung, embedded: EmbeddedImages, begun: float, expected: float | None
) -> _Tried:
    """See what a rung's heads say of training photos that they were fitted without."""
    extractor, fit_begun = embedded.spec.extractor, time.perf_counter()
    with job.reporter.phase("fit"):
        _, chances = _fit(job, embedded, job.split.train, job.config.seed)
    fit_seconds = time.perf_counter() - fit_begun
    size = None if extractor is None else extractor.image_size
    attempt = Attempt(rung.name, embedded.backbone.name, size, expected)
    attempt = _score(job, attempt, chances, begun)
    return _Tried(attempt, embedded, chances, fit_seconds)


def _score(
    job: TrainingJob, attempt: Attempt, chances: NDArray[np.float64], begun: float
) -> Attempt:
    """Say of a rung how long it took, and how right its answers for photos left out were."""
    split = job.split
    rows, names = split.train, split.index.class_names
    labels, groups = split.index.labels[rows], split.groups[rows]
    attempt = replace(attempt, seconds=time.perf_counter() - begun)
    held = ~np.isnan(chances[:, 0])
    if not held.any():
        return replace(attempt, note=_NONE_HELD_OUT)
    paths = [split.index.paths[row] for row in rows[held]]
    found = score(chances[held], labels[held], names, paths, groups=groups[held])
    return replace(
        attempt,
        accuracy=found.accuracy,
        accuracy_interval=found.accuracy_interval,
        log_loss=found.log_loss,
    )


def _try_tuning(job: TrainingJob, begun: float) -> _TriedTuning | Attempt:
    """Tune a network in folds where there is time for it; or say why it was not tried."""
    started = time.perf_counter()
    config = replace(TUNED.settle(job.config), time_budget=None)
    left = (job.config.time_budget or TUNING_MINUTES) * 60 - (started - begun)
    if left <= 0:
        return _untried(TUNED, job, _USED_UP)
    attempt = Attempt(TUNED.name, config.backbone or "", config.image_size)
    recipe = find_recipe("handful", "fine-tune")
    assert recipe is not None
    try:
        require_keras("Fine-tuning")
        tunable_backbone(config, recipe)
        prepare_keras(device=config.device)
        with job.reporter.phase("train"), trains_on(config.device):
            parts = prepare_tuning(replace(job, config=config, checkpoint=None), recipe)
            attempt = replace(attempt, image_size=parts.spec.settings.image_size)
            # Other splits tune networks too, to about four fifths of the photos each.
            others = config.seeds * (config.folds or 1) if config.is_resampled else 0
            times = 1 + 0.8 * others
            expected = seconds_of_tuning(parts) * times
            attempt = replace(attempt, expected_seconds=expected)
            if expected > left:
                note = (
                    f"not tried: it would take about {format_duration(expected)}, and "
                    f"{format_duration(left)} are left"
                )
                return replace(attempt, note=note)
            tuning = tune_in_folds(parts)
    except HandfulError as error:
        return replace(attempt, note=str(error))
    return _TriedTuning(_score(job, attempt, tuning.chances, started), tuning)


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


def _answer(job: TrainingJob, tried: Sequence[_Tried], parts: TuningParts | None) -> Answer:
    """Choose among the rungs on any photos for training and validation, and answer for others."""
    split = job.split
    pool = np.concatenate([split.train, split.validation])

    def answer(
        rows: NDArray[np.int64], others: NDArray[np.int64], seed: int
    ) -> tuple[NDArray[np.float64], float]:
        fitted = [_fit(job, one.embedded, pool[rows], seed) for one in tried]
        labels = split.index.labels[pool[rows]]
        answers = [chances for _, chances in fitted]
        tuning = None
        if parts is not None:
            with trains_on(job.config.device):
                tuning = tune_in_folds(parts.on(pool[rows], pool[others], seed))
            answers.append(tuning.chances)
        best = choose(answers, labels, split.groups[pool[rows]], _usual(tried))
        if tuning is not None and best == len(tried):
            head = tuning.probe.head
            assert head.C is not None
            return tuning.answer(), head.C
        head, tested = fitted[best][0], tried[best].embedded.table.embeddings[pool[others]]
        assert head.C is not None
        return head.predict_proba(mean_view(tested)), head.C

    return answer
