"""A pretrained network trained on: its upper part, from a fitted head, on ever new views of photos.

What is kept is the average of the network as it was and as it is then, which is right more often
than either, and less often too sure of itself. Each training photo is answered for by networks that
were trained without it: those answers tell whether tuning helps at all, and how far the network
that is tuned on all photos can be relied on.
"""

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from handful.config import TrainConfig
from handful.data.splits import can_be_held_out, fold_count, stratified_folds
from handful.data.target import softmax
from handful.errors import UsageError
from handful.features.embed import EmbeddingSpec
from handful.features.extractor import Backbone, FeatureExtractor
from handful.features.table import EmbeddingTable
from handful.models.calibration import Calibration, calibrate, fit_calibrated_head
from handful.models.classifier import Classifier
from handful.models.heads import LinearHead
from handful.training.batches import BatchSource, decode_images
from handful.training.choosing import choose
from handful.training.compiling import compile_network
from handful.training.cutting import CutNetwork, check_cut, cut_network, dense_of_head, lower_part
from handful.training.deployment import deploy
from handful.training.jobs import (
    Trained,
    TrainedNetwork,
    TrainingJob,
    asked_backbone,
    embedding_spec,
    fit_job,
    make_source,
    try_objective,
)
from handful.training.loop import Fitted
from handful.training.recipes import Recipe

if TYPE_CHECKING:
    import keras

# Networks that answer for the training photos, each for those that it was not tuned to.
FOLDS = 3
_TIMED_STEPS = 4
_FINAL = "final"
_LEAST_CHANCE = 1e-7


@dataclass(frozen=True, eq=False)
class TuningParts:
    """What each training of the upper part needs.

    Args:
        job: What to train on.
        recipe: How.
        backbone: The pretrained network.
        spec: How photos are embedded by it.
        table: Its features of all photos.
        original: It as it is, cut in two; never trained.
        lower: Its lower part.
        stored: Photos for training and validation, as views are cut out of them.
        still: The same as they are answered for.
        places: (N,) int64 place of each photo in both.
    """

    job: TrainingJob
    recipe: Recipe
    backbone: Backbone
    spec: EmbeddingSpec
    table: EmbeddingTable
    original: CutNetwork
    lower: FeatureExtractor
    stored: NDArray[np.uint8]
    still: NDArray[np.uint8]
    places: NDArray[np.int64]

    def on(
        self, train: NDArray[np.int64], validation: NDArray[np.int64], seed: int
    ) -> "TuningParts":
        """The same for another split.

        Args:
            train: (n,) int64 photos to learn from, of those for training and validation.
            validation: (m,) int64 photos to look at, likewise.
            seed: Seed of folds and views.

        Returns:
            What trainings need.
        """
        job = self.job
        split = replace(job.split, train=train, validation=validation)
        config = replace(job.config, seed=seed)
        return replace(self, job=replace(job, split=split, config=config, checkpoint=None))


@dataclass(frozen=True, eq=False)
class _Tuned:
    """A trained upper part, with the whole network that it belongs to.

    Args:
        fitted: History and facts of its training.
        whole: From photos to probabilities.
        num_trainable: Parameters that were trained.
        chances: (n, C) what it says of the photos that it looked at.
    """

    fitted: Fitted
    whole: "keras.Model"
    num_trainable: int
    chances: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Tuning:
    """Networks tuned to parts of the training photos, and what they say of the others.

    Args:
        parts: What they were trained on.
        plan: How the network that is kept is to be trained.
        probe: The fitted head on the network as it is, with its own answers out of fold.
        frozen: (n, C) calibrated answers of such heads for the training photos, NaN where none.
        chances: (n, C) calibrated answers of tuned networks, likewise.
        calibration: Of those answers; None where no photo can be held out.
        example: One of the tuned networks; None where no photo can be held out.
    """

    parts: TuningParts
    plan: Recipe
    probe: Classifier
    frozen: NDArray[np.float64]
    chances: NDArray[np.float64]
    calibration: Calibration | None
    example: _Tuned | None

    @property
    def helps(self) -> bool:
        """Whether tuned networks are as good on photos held out as heads on the network as it is.

        Where no photo can be held out, nothing can tell, and they are taken to be.
        """
        if self.example is None:
            return True
        split = self.parts.job.split
        labels, groups = split.index.labels[split.train], split.groups[split.train]
        return self.plan.epochs > 0 and choose([self.chances, self.frozen], labels, groups) == 0

    def finish(self) -> Trained:
        """Tune the network to all training photos.

        Returns:
            Its classifier, calibrated by what the networks said that were tuned to parts.
        """
        parts, job, metadata = self.parts, self.parts.job, self.parts.backbone.metadata
        split, plan = job.split, self.plan
        tuned = _train_upper(parts, plan, split.train, split.validation, _FINAL)
        if self.calibration is not None:
            last = tuned.whole.layers[-1]
            last.set_weights([part / self.calibration.temperature for part in last.get_weights()])
        classifier = deploy(
            tuned.whole,
            plan,
            split.index.class_names,
            self.probe.settings,
            job.config,
            provenance=metadata.provenance | {"strategy": "fine-tune"},
        )
        if self.calibration is not None:
            classifier = classifier.with_answers(self.calibration, None)
        done, unit = tuned.fitted.epochs, "epoch" if plan.epochs == 1 else "epochs"
        count = f"{plan.epochs}" if done == plan.epochs else f"{done} of {plan.epochs}"
        note = f"Trained for {count} {unit}. {self.where}"
        total = int(tuned.whole.count_params())
        made = TrainedNetwork(
            tuned.fitted, plan, total, tuned.num_trainable, note=note, model=tuned.whole
        )
        return Trained(classifier, network=made)

    def answer(self) -> NDArray[np.float64]:
        """Tune a network to all training photos.

        Returns:
            (m, C) calibrated probabilities of the validation photos.
        """
        split = self.parts.job.split
        tuned = _train_upper(self.parts, self.plan, split.train, split.validation, _FINAL)
        temperature = 1.0 if self.calibration is None else self.calibration.temperature
        return softmax(_logits(tuned.chances) / temperature)

    def keep_probe(self) -> Trained:
        """Give the fitted head alone, which tuning did not make better."""
        parts, example = self.parts, self.example
        assert example is not None  # else nothing tells that tuning does not help
        note = f"Fine-tuning was no better than the fitted head alone, which is kept. {self.where}"
        if parts.job.custom.callbacks:
            parts.job.reporter.log(
                "The callbacks were told nothing, for no network was trained to keep."
            )
        whole = parts.original.with_head(dense_of_head(self.probe.head))
        total, width = int(whole.count_params()), self.probe.extractor.embedding_dim + 1
        fitted = replace(example.fitted, best_epoch=0)
        made = TrainedNetwork(fitted, self.plan, total, width, note=note, model=whole)
        return Trained(self.probe, network=made)

    @property
    def where(self) -> str:
        """How it was told whether tuning helps, in words."""
        if self.example is None:
            return (
                "Each class has too few photos to hold any out, so nothing tells whether it helps."
            )
        held = int((~np.isnan(self.chances[:, 0])).sum())
        return (
            f"Judged by {held:,} of {len(self.chances):,} training photos, each by a network that "
            "was tuned without it."
        )


def fine_tune(job: TrainingJob, recipe: Recipe) -> Trained:
    """Train the upper part of a pretrained network on, from a fitted head.

    Where networks that are tuned without some of the training photos are no better on those than
    heads on the network as it is, such a head is what remains.

    Args:
        job: What to train on.
        recipe: How.

    Returns:
        The classifier and facts about its training.

    Raises:
        DataError: When the photos or a checkpoint cannot be used.
        KeyboardInterrupt: When interrupted before the network was tuned to all photos.
        UsageError: For a backbone whose cut is not known.
    """
    tuning = tune_in_folds(prepare_tuning(job, recipe))
    return tuning.finish() if tuning.helps else tuning.keep_probe()


def tunable_backbone(config: TrainConfig, recipe: Recipe) -> Backbone:
    """Find the network to train on; Keras is not imported.

    Args:
        config: What was asked.
        recipe: Its network is taken where none was.

    Returns:
        The backbone.

    Raises:
        UsageError: When it cannot be trained on.
        WeightsError: When its weights are missing.
    """
    name = (config.backbone or recipe.backbone or "").lower()
    check_cut(name)
    backbone = asked_backbone(config, name, config.image_size)
    if backbone.build is None:
        raise UsageError(
            f"`backbone` is {name!r}, which can embed images and cannot be trained on."
        )
    return backbone


def prepare_tuning(job: TrainingJob, recipe: Recipe) -> TuningParts:
    """Embed and decode the photos, and freeze the lower part.

    Args:
        job: What to train on.
        recipe: How.

    Returns:
        What all trainings need.

    Raises:
        DataError: When photos cannot be used.
        UsageError: For a backbone whose cut is not known.
    """
    backbone = tunable_backbone(job.config, recipe)
    index, split, num_classes = job.split.index, job.split, len(job.split.index.class_names)
    try_objective(job, 1 if num_classes == 2 else num_classes)
    spec = embedding_spec(backbone, job.config, "f32")
    table = job.embed(spec)
    rows = np.concatenate([split.train, split.validation])
    places = np.full(len(index), -1)
    places[rows] = np.arange(len(rows))
    settings, progress = spec.settings, job.reporter.progress
    size = settings.image_size
    grown = round((recipe.stored_size or recipe.image_size) * size / recipe.image_size)
    recipe = replace(recipe, image_size=size, stored_size=grown)
    with job.reporter.phase("decode"):
        larger = replace(settings, image_size=grown)
        stored = decode_images(index.select(rows), larger, progress=progress)
        still = decode_images(index.select(rows), settings, progress=progress)
    with job.reporter.phase("convert"):
        original = cut_network(backbone)
        lower = lower_part(original, job.config.device)
    return TuningParts(job, recipe, backbone, spec, table, original, lower, stored, still, places)


def tune_in_folds(parts: TuningParts) -> Tuning:
    """Tune networks to parts of the training photos, and have them answer for the others.

    Args:
        parts: What to train on, and how.

    Returns:
        The answers, and what it takes to tune a network to all of them.

    Raises:
        DataError: When a checkpoint cannot be used.
        KeyboardInterrupt: When interrupted.
    """
    job, rows = parts.job, parts.job.split.train
    probe, frozen = _fit_probe(parts)
    folds = _folds(job)
    chances = np.full((len(rows), len(job.split.index.class_names)), np.nan)
    plan = parts.recipe
    found: list[_Tuned] = []
    for fold in range(folds.max() + 1):
        seen = folds == fold
        share = None if found else (FOLDS - 1) / FOLDS**2
        tuned = _train_upper(parts, plan, rows[~seen], rows[seen], f"fold{fold}", share)
        if tuned.fitted.stopped == "interrupted":
            raise KeyboardInterrupt
        # The time budget may have shortened the first one, before it began or on its way.
        fitted = tuned.fitted
        is_late = fitted.stopped == "time"
        plan = replace(plan, epochs=fitted.epochs if is_late else fitted.planned_epochs)
        chances[seen] = tuned.chances
        found.append(tuned)
    if plan.patience is not None and found:
        best = round(float(np.mean([tuned.fitted.best_epoch for tuned in found])))
        plan = replace(plan, epochs=best, patience=None)
    chances, calibration = _calibrate(job, chances)
    example = found[0] if found else None
    return Tuning(parts, plan, probe, frozen, chances, calibration, example)


def _fit_probe(parts: TuningParts) -> tuple[Classifier, NDArray[np.float64]]:
    """A head on the network as it is, and (n, C) what such heads say of photos left out."""
    job = parts.job
    index, rows = job.split.index, job.split.train
    head, calibration, chances = fit_calibrated_head(
        parts.table.embeddings[rows],
        index.labels[rows],
        len(index.class_names),
        groups=job.split.groups[rows],
        class_weight=job.config.class_weight,
        seed=job.config.seed,
    )
    if chances is None:
        chances = np.full((len(rows), len(index.class_names)), np.nan)
    metadata = parts.backbone.metadata
    return job.classifier(metadata, parts.spec, head, calibration=calibration), chances


def _calibrate(
    job: TrainingJob, chances: NDArray[np.float64]
) -> tuple[NDArray[np.float64], Calibration | None]:
    """Answers of tuned networks at one temperature, and what is kept of them."""
    rows = job.split.train
    held = ~np.isnan(chances[:, 0])
    if not held.any():
        return chances, None
    logits = _logits(chances)
    calibration = calibrate(
        logits[held], job.split.index.labels[rows][held], groups=job.split.groups[rows][held]
    )
    return softmax(logits / calibration.temperature), calibration


def _folds(job: TrainingJob) -> NDArray[np.int64]:
    """Fold of each training photo, near-duplicates together; -1 of one that is always learned."""
    rows = job.split.train
    labels, groups = job.split.index.labels[rows], job.split.groups[rows]
    _, groups = np.unique(groups, return_inverse=True)
    folds = np.full(len(rows), -1)
    held = np.flatnonzero(can_be_held_out(labels, groups))
    if len(held):
        _, labels = np.unique(labels[held], return_inverse=True)
        _, groups = np.unique(groups[held], return_inverse=True)
        count = fold_count(labels, groups, FOLDS)
        folds[held] = stratified_folds(labels, groups, count, job.config.seed)
    return folds


def _train_upper(
    parts: TuningParts,
    recipe: Recipe,
    learned: NDArray[np.int64],
    seen: NDArray[np.int64],
    name: str,
    share_of_budget: float | None = None,
) -> _Tuned:
    """Train the upper part and the head, which begins as fitted to the photos learned from."""
    job = parts.job
    fitted_head = job.fit_head(parts.table, learned)
    cut, head, network, train, held_out = _assemble(parts, recipe, fitted_head, learned, seen)
    # The answers of networks tuned to parts depend on the learning rate, and on no other callback.
    custom = job.custom if name == _FINAL else job.custom.steering()
    # Those after the first have as many epochs as it had, which may be others when it is resumed.
    place = name if share_of_budget else f"{name}-{recipe.epochs}"
    checkpoint = None if job.checkpoint is None else job.checkpoint / place
    config = job.config if share_of_budget else replace(job.config, time_budget=None)
    fitted = fit_job(
        replace(job, checkpoint=checkpoint, custom=custom, config=config),
        recipe,
        network,
        train,
        held_out,
        rates=cut.rates(head),
        count_start=recipe.patience is not None,
        share_of_budget=share_of_budget or 1.0,
    )
    trainable = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    whole = cut.averaged(head, parts.original, dense_of_head(fitted_head))
    frozen = fitted_head.predict_proba(parts.table.mean[seen])
    chances = softmax((_logits(_predict(network, held_out)) + _logits(frozen)) / 2)
    return _Tuned(fitted, whole, trainable, chances)


def _logits(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(np.maximum(chances, _LEAST_CHANCE))


def _assemble(
    parts: TuningParts,
    recipe: Recipe,
    fitted_head: LinearHead,
    learned: NDArray[np.int64],
    seen: NDArray[np.int64],
) -> tuple[CutNetwork, Any, "keras.Model", BatchSource, BatchSource]:
    """A cut network, a fitted head, what is trained of them, and batches to learn and look at."""
    import keras

    job, labels = parts.job, parts.job.split.index.labels
    cut = cut_network(parts.backbone)
    head = dense_of_head(fitted_head)
    network = keras.Model(cut.upper.inputs[0], head(cut.upper.outputs[0]))
    train, held_out = (
        make_source(
            job, recipe, network, images, labels[rows], learns,
            rows=parts.places[rows], lower=parts.lower,
        )
        for rows, images, learns in ((learned, parts.stored, True), (seen, parts.still, False))
    )  # fmt: skip
    return cut, head, network, train, held_out


def seconds_of_tuning(parts: TuningParts) -> float:
    """Estimate how long tuning takes, in folds and to all photos, by a few steps.

    Args:
        parts: What to train on, and how.

    Returns:
        Seconds.
    """
    rows, recipe = parts.job.split.train, parts.recipe
    begun = time.perf_counter()
    cut, head, network, train, _ = _assemble(
        parts, recipe, parts.job.fit_head(parts.table, rows), rows, rows[:1]
    )
    compile_network(network, recipe, recipe.epochs * len(train), cut.rates(head))
    train.start_epoch(0, recipe.image_size)
    steps = min(_TIMED_STEPS, len(train))
    network.train_on_batch(*train.batch(0))  # the first traces
    started = time.perf_counter()
    for number in range(steps):
        network.train_on_batch(*train.batch(number))
    each = (time.perf_counter() - started) / steps
    train.close()
    # Each of the folds' networks learns from the photos outside its fold, and one from all.
    learning = each * len(train) * recipe.epochs * FOLDS
    return learning + (started - begun) * (FOLDS + 1)


def _predict(network: "keras.Model", source: BatchSource) -> NDArray[np.float64]:
    """Probabilities (n, C) of photos as they are, in order."""
    source.start_epoch(0)
    try:
        given = [network.predict_on_batch(source.batch(n)[0]) for n in range(len(source))]
    finally:
        source.close()
    chances = np.concatenate(given).astype(np.float64)
    return chances if chances.shape[1] > 1 else np.hstack([1 - chances, chances])
