"""What every strategy needs: the job's facts, its recipe, and the pieces they are made of."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from handful.checks.labels import LabelReview
from handful.config import TrainConfig
from handful.data.decoding import DecodeSettings
from handful.data.splits import Split
from handful.engines.engine import Engine
from handful.evaluation.learning_curve import LearningCurve
from handful.evaluation.resampling import Resampling
from handful.features.embed import EmbeddingSpec
from handful.features.extractor import Backbone, BackboneMetadata, FeatureExtractor
from handful.features.registry import DEFAULT_BACKBONE, find_backbone, load_extractor
from handful.features.store import EmbeddingStore
from handful.features.table import EmbeddingTable, embed_index
from handful.models.classifier import Classifier, views_of
from handful.models.heads import LinearHead, class_weights, fit_head
from handful.models.streaming import Vectors
from handful.reporting import Reporter
from handful.training.batches import BatchSource
from handful.training.compiling import check_objective
from handful.training.custom_objects import CustomObjects
from handful.training.cutting import check_cut
from handful.training.loop import COLUMNS, Fitted, fit_network
from handful.training.recipes import Recipe, find_recipe
from handful.training.rungs import Ladder

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """What is known of a network that was trained in epochs.

    Args:
        fitted: History and facts of the gradient loop.
        recipe: How it was trained.
        num_parameters: Parameters of the whole network.
        num_trainable: Those that were trained.
        note: What people should know of it.
        model: The network itself, from the recipe's values to probabilities.
    """

    fitted: Fitted
    recipe: Recipe
    num_parameters: int
    num_trainable: int
    note: str = ""
    model: "keras.Model | None" = None

    def to_dict(self) -> dict[str, Any]:
        """Facts in plain values, ready for JSON.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        fitted = self.fitted
        estimate = fitted.estimated_seconds
        return {
            "epochs": fitted.epochs,
            "planned_epochs": fitted.planned_epochs,
            "best_epoch": fitted.best_epoch,
            "stopped": fitted.stopped,
            "seconds": round(fitted.seconds, 3),
            "estimated_seconds": None if math.isnan(estimate) else round(estimate, 3),
            "waited_share": float(np.median(fitted.history["waited_share"])),
            "num_parameters": self.num_parameters,
            "num_trainable": self.num_trainable,
            "metrics": self.metrics(),
            "note": self.note,
        }

    def metrics(self) -> dict[str, float | None]:
        """The user's own metrics, in the epoch whose weights were kept.

        Returns:
            Name to value, None where it is not known; "val_" stands before those of validation.
        """
        place = max(self.fitted.best_epoch, 1) - 1
        found = {
            name: values[place]
            for name, values in self.fitted.history.items()
            if name not in COLUMNS
        }
        return {name: value if math.isfinite(value) else None for name, value in found.items()}


@dataclass(frozen=True, eq=False)
class Trained:
    """What a strategy made.

    Args:
        classifier: Ready to predict; without answers and reference, where it is a network's.
        held_out: (M, D) embeddings of the validation photos, means over the views that photos are
            named by; None where they are to be computed.
        network: Of a network that was trained in epochs; None for a head fitted without.
        tables: What was embedded on the way.
        resampling: Scores on other splits, where asked for.
        label_review: Of the training photos' labels, where some can be held out.
        learning_curve: Where asked for.
        warnings: What people should know of the photos.
        ladder: What was tried for quality "best".
    """

    classifier: Classifier
    held_out: Vectors | None = None
    network: TrainedNetwork | None = None
    tables: tuple[EmbeddingTable, ...] = ()
    resampling: Resampling | None = None
    label_review: LabelReview | None = None
    learning_curve: LearningCurve | None = None
    warnings: tuple[str, ...] = ()
    ladder: Ladder | None = None


@dataclass(frozen=True, eq=False)
class EmbeddedImages:
    """The embeddings of a job's photos, with what made them.

    Args:
        backbone: What is known of the pretrained network.
        spec: How they were embedded: as photos are named.
        table: Embeddings of all photos of the split, in its order.
    """

    backbone: BackboneMetadata
    spec: EmbeddingSpec
    table: EmbeddingTable


@dataclass(frozen=True, eq=False)
class TrainingJob:
    """What a strategy needs to know beside the configuration.

    Args:
        split: The photos and their parts; all of them readable.
        config: What was asked.
        checkpoint: Folder that keeps the state after each epoch, or None.
        resume: Go on from the checkpoint where there is one.
        store: Of embeddings, or None.
        reporter: Told how far it is.
        custom: What the user brings: a network, a loss, metrics, callbacks.
        embedded: Where a head is fitted to a frozen network: the photos' embeddings, which came
            out of the pass that looked for near-duplicates; else None.
        engine: Who embeds photos; None takes threads of this process.
    """

    split: Split
    config: TrainConfig
    checkpoint: Path | None
    resume: bool
    store: EmbeddingStore | None
    reporter: Reporter
    custom: CustomObjects = field(default_factory=CustomObjects)
    embedded: EmbeddedImages | None = None
    engine: Engine | None = None

    def key(self, recipe: Recipe, network: "keras.Model") -> str:
        """Identity of a training: photos, parts, recipe, seed, shapes of the network.

        Args:
            recipe: How it is trained.
            network: What is trained.

        Returns:
            64 hexadecimal characters.
        """
        index = self.split.index
        text = repr(
            (
                index.digest(),
                self.split.part_names(),
                recipe,
                self.config.seed,
                self.config.class_weight,
                self.config.backbone,
                self.config.weights,
                self.config.network,
                self.config.loss,
                self.config.metrics,
                {**self.custom.names(), "callbacks": ()},
                [tuple(variable.shape) for variable in network.variables],
                *filter(None, [self.config.preprocessing]),
            )
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def class_weights(self) -> NDArray[np.float64] | None:
        """Weights of the classes in the loss; None where they are all 1."""
        counts = self.split.index.members()[self.split.train].sum(axis=0)
        weights = class_weights(counts, self.config.class_weight)
        return None if np.all(weights == 1) else weights

    def embed(self, spec: EmbeddingSpec, rows: NDArray[np.int64] | None = None) -> EmbeddingTable:
        """Embed photos of the job, or look their embeddings up.

        Args:
            spec: What to compute of each.
            rows: (n,) int64 photos to embed; None for all.

        Returns:
            Their embeddings, in order.
        """
        index = self.split.index if rows is None else self.split.index.select(rows)
        with self.reporter.phase("embed"):
            return embed_index(
                index,
                spec,
                store=self.store,
                progress=self.reporter.progress,
                engine=self.engine,
            )

    def fit_head(self, table: EmbeddingTable, rows: NDArray[np.int64]) -> LinearHead:
        """Fit a head to some of the photos.

        Args:
            table: Features of all photos.
            rows: (n,) int64 photos to fit to.

        Returns:
            The head.
        """
        index = self.split.index
        return fit_head(
            table.embeddings[rows],
            index.labels[rows],
            len(index.class_names),
            groups=self.split.groups[rows],
            class_weight=self.config.class_weight,
            seed=self.config.seed,
        )

    def classifier(
        self, backbone: BackboneMetadata, spec: EmbeddingSpec, head: LinearHead, **answers: Any
    ) -> Classifier:
        """Make a classifier of a head on a frozen network.

        Args:
            backbone: What is known of the network.
            spec: What the head was fitted to.
            head: The head.
            **answers: What it said of photos not learned from, as in `Classifier`.

        Returns:
            The classifier.
        """
        assert spec.extractor is not None  # what was only scanned has no head
        config = self.config
        return Classifier(
            self.split.index.class_names,
            spec.extractor,
            head,
            spec.settings,
            test_time_mirror="mirror" in spec.views,
            provenance=backbone.provenance | {"strategy": config.strategy, "recipe": config.recipe},
            **answers,
        )


def chosen_recipe(config: TrainConfig) -> Recipe | None:
    """The recipe that a configuration asks for, with the user's own numbers in it.

    Args:
        config: What was asked.

    Returns:
        The recipe; None for the head that is fitted without epochs.

    Raises:
        UsageError: When there is none of that name, or it cannot train the backbone on.
    """
    recipe = find_recipe(config.recipe, config.strategy)
    if recipe is None:
        return None
    if recipe.network == "body":
        check_cut((config.backbone or recipe.backbone or "").lower())
    changes: dict[str, Any] = {
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        "patience": config.patience,
        "policy": config.policy,
    }
    if config.image_size is not None and config.image_size != recipe.image_size:
        # What was chosen for one size goes with it.
        grown = config.image_size / recipe.image_size
        stored = recipe.stored_size and round(recipe.stored_size * grown)
        sizes = tuple((share, 16 * round(size * grown / 16)) for share, size in recipe.sizes)
        changes |= {"image_size": config.image_size, "stored_size": stored, "sizes": sizes}
    if config.patience is not None:
        changes["validate_every"] = 1
    if config.resize is not None:
        changes["resize"] = config.resize
    return replace(recipe, **{name: value for name, value in changes.items() if value is not None})


def recipe_with(recipe: Recipe, custom: CustomObjects) -> Recipe:
    """A recipe as the user's callbacks need it.

    Args:
        recipe: How a network is trained.
        custom: What the user brings.

    Returns:
        The recipe: validation is looked at after each epoch, and the learning rate is left to the
        callback that sets it.
    """
    if not custom.callbacks:
        return recipe
    return replace(recipe, validate_every=1, rate_callback=custom.rate_callback)


def try_objective(job: TrainingJob, num_values: int) -> None:
    """Refuse a loss and metrics that do not fit a network, before the photos are decoded.

    Args:
        job: What is trained, with what the user brings.
        num_values: Values that the network gives a photo.

    Raises:
        UsageError: When one does not fit.
    """
    custom = job.custom.of_config(job.config)
    for line in check_objective(custom.loss, custom.metrics, num_values):
        job.reporter.log(line)


def make_source(
    job: TrainingJob,
    recipe: Recipe,
    network: "keras.Model",
    images: NDArray[Any],
    labels: NDArray[np.int64],
    learns: bool,
    offset: float = 0.0,
    rows: NDArray[np.int64] | None = None,
    lower: FeatureExtractor | None = None,
) -> BatchSource:
    """Make the batches of one part.

    Args:
        job: What is trained on.
        recipe: How.
        network: What is trained; its output decides the kind of labels.
        images: As in `BatchSource`.
        labels: (N,) int64.
        learns: For training: shuffled, in views. Else in order, as they are.
        offset: Added to the scaled values.
        rows: As in `BatchSource`.
        lower: As in `BatchSource`.

    Returns:
        The batches.
    """
    return BatchSource(
        images,
        labels,
        len(job.split.index.class_names),
        recipe.batch_size if learns else max(recipe.batch_size, 64),
        policy=recipe.policy if learns else None,
        label_kind="binary" if network.output_shape[-1] == 1 else "categorical",
        shuffle=learns,
        # A last batch of two photos would move batch norm and the weights by chance.
        drop_last=learns and recipe.cosine,
        scale=recipe.scale,
        offset=offset,
        gray=recipe.grey,
        seed=job.config.seed,
        rows=rows,
        lower=lower,
    )


def fit_job(
    job: TrainingJob,
    recipe: Recipe,
    network: "keras.Model",
    train: BatchSource,
    validation: BatchSource,
    rates: Mapping[str, float] | None = None,
    count_start: bool = False,
    share_of_budget: float = 1.0,
) -> Fitted:
    """Train a network as the job asks.

    Args:
        job: Seed, budget, checkpoint and the like.
        recipe: How.
        network: What.
        train: Batches to learn from.
        validation: Batches to look at after epochs.
        rates: As in `fit_network`.
        count_start: As in `fit_network`.
        share_of_budget: Share of the time budget for this training.

    Returns:
        History and facts.
    """
    budget = job.config.time_budget
    return fit_network(
        network,
        train,
        validation,
        recipe,
        key=job.key(recipe, network),
        checkpoint=job.checkpoint,
        resume=job.resume,
        time_budget_seconds=None if budget is None else 60 * budget * share_of_budget,
        class_weights=job.class_weights(),
        rates=rates,
        count_start=count_start,
        custom=job.custom.of_config(job.config),
        reporter=job.reporter,
    )


def asked_backbone(
    config: TrainConfig,
    default: str = DEFAULT_BACKBONE,
    image_size: int | None = None,
    reporter: Reporter | None = None,
) -> Backbone:
    """Find the pretrained network that a configuration asks for.

    Args:
        config: What was asked.
        default: Its name where none was.
        image_size: Side of its images; None takes its own.
        reporter: Told what was found out of a network in a file, and how far a download is.

    Returns:
        The backbone.

    Raises:
        UsageError: For a name that is none, or options that do not fit it.
        WeightsError: When its weights are missing or wrong.
    """
    weights = Path(config.weights) if config.weights else None
    name = config.backbone or default
    return find_backbone(name, weights, image_size, config.preprocessing, reporter)


def fit_probe(
    job: TrainingJob, backbone: Backbone, precision: str, rows: NDArray[np.int64]
) -> tuple[Classifier, EmbeddingTable]:
    """Fit a head to a frozen network's features of some of the photos.

    Args:
        job: The photos.
        backbone: The network.
        precision: What it computes in.
        rows: (n,) int64 photos to fit to.

    Returns:
        The classifier, and the features of all photos.
    """
    spec = embedding_spec(backbone, job.config, precision)
    table = job.embed(spec)
    return job.classifier(backbone.metadata, spec, job.fit_head(table, rows)), table


def embedding_spec(
    backbone: Backbone,
    config: TrainConfig,
    precision: str,
    *,
    resize: str | None = None,
    mirrors: bool = False,
    scans: bool = False,
) -> EmbeddingSpec:
    """Say how photos are embedded by a backbone, which is converted at its first use.

    Args:
        backbone: The network.
        config: Its decoding is used.
        precision: What the network computes in.
        resize: How photos become squares, instead of the configuration's way.
        mirrors: Whether to embed mirror images too.
        scans: As in `EmbeddingSpec`.

    Returns:
        What is computed of each photo.
    """
    extractor = load_extractor(backbone, precision, config.device)
    settings = DecodeSettings(
        extractor.image_size, resize or config.decode_resize, config.max_megapixels
    )
    return EmbeddingSpec(extractor, settings, views_of(mirrors), scans=scans)


def count_parameters(network: "keras.Model") -> tuple[int, int]:
    """Count a network's parameters.

    Args:
        network: The network.

    Returns:
        All of them, and those that are trained.
    """
    trainable = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    return int(network.count_params()), trainable
