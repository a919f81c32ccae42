"""From a split to a classifier: one function for each way of training a network.

Every way ends in the same `Classifier`: a frozen network in OpenVINO's format, and a linear head.
A trained network's last layer is such a head, and what lies before it is converted.
"""

import hashlib
import math
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from handful.backbones import (
    FrozenNetwork,
    build_body,
    find_backbone,
    frozen_network,
    prepare_keras,
)
from handful.cache import ContentCache
from handful.classifier import Classifier
from handful.config import TrainConfig
from handful.conversion import write_network
from handful.embeddings import Embedder, Progress, embed_index
from handful.files import sha256_of
from handful.heads import LinearHead, class_weights
from handful.minibatches import BatchSource, decode_photos
from handful.networks import NETWORKS, build_head, check_network, load_builder
from handful.pixels import DecodeSettings
from handful.recipes import Recipe, find_recipe
from handful.splits import Split
from handful.training import Fitted, fit_network

if TYPE_CHECKING:
    import keras

_LEAST_PROBABILITY = 1e-7


@dataclass(frozen=True, eq=False)
class Trained:
    """What a strategy made.

    Args:
        classifier: Ready to predict.
        fitted: History and facts of the gradient loop.
        recipe: How it was trained.
        num_parameters: Parameters of the whole network.
        num_trainable: Those that were trained.
        hits: Embeddings that came from the cache.
        misses: Embeddings that were computed.
    """

    classifier: Classifier
    fitted: Fitted
    recipe: Recipe
    num_parameters: int
    num_trainable: int
    hits: int = 0
    misses: int = 0

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
        }


@dataclass(frozen=True, eq=False)
class TrainingJob:
    """What a strategy needs to know beside the configuration.

    Args:
        split: The photos and their parts; all of them readable.
        config: What was asked.
        checkpoint: Folder that keeps the state after each epoch, or None.
        resume: Go on from the checkpoint where there is one.
        cache: Embedding cache, or None.
        phase: Gives a progress for a phase's name.
        say: Told lines for people.
        build: The user's own network: from (input shape, number of classes) to a Keras model.
    """

    split: Split
    config: TrainConfig
    checkpoint: Path | None
    resume: bool
    cache: ContentCache | None
    phase: Callable[[str], Progress]
    say: Callable[[str], None] | None
    build: Callable[[tuple[int, int, int], int], "keras.Model"] | None = None

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
                [tuple(variable.shape) for variable in network.variables],
            )
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def class_weights(self) -> NDArray[np.float64] | None:
        """Weights of the classes in the loss; None where they are all 1."""
        labels = self.split.index.labels[self.split.train]
        weights = class_weights(labels, len(self.split.index.class_names), self.config.class_weight)
        return None if np.all(weights == 1) else weights


def chosen_recipe(config: TrainConfig) -> Recipe | None:
    """The recipe that a configuration asks for, with the user's own numbers in it.

    Args:
        config: What was asked.

    Returns:
        The recipe; None for the head that is fitted without epochs.

    Raises:
        ValueError: When there is none of that name.
    """
    recipe = find_recipe(config.recipe, config.strategy)
    if recipe is None:
        return None
    changes: dict[str, Any] = {
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        "patience": config.patience,
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


def train_strategy(job: TrainingJob) -> Trained:
    """Train a network as the configuration asks.

    Args:
        job: What to train on, and how.

    Returns:
        The classifier and facts about its training.

    Raises:
        DataError: When the photos or a checkpoint cannot be used.
        TrainingError: When training diverges.
        ValueError: When a network does not fit the photos.
    """
    prepare_keras()
    import keras

    recipe = chosen_recipe(job.config)
    if recipe is None:
        raise ValueError(f"strategy {job.config.strategy!r} trains no network in epochs.")
    keras.utils.set_random_seed(job.config.seed)
    if recipe.network == "head":
        return _train_head(job, recipe)
    return _train_pictures(job, recipe)


def _train_pictures(job: TrainingJob, recipe: Recipe) -> Trained:
    """Train a network from scratch on the photos' pixels."""
    index, num_classes = job.split.index, len(job.split.index.class_names)
    network = _build(job, recipe, num_classes)
    limit = job.config.max_megapixels
    settings = DecodeSettings(recipe.image_size, recipe.resize, limit)
    stored = replace(settings, image_size=recipe.stored_size or recipe.image_size)
    tell = job.phase("decode")

    def source(rows: NDArray[np.int64], decoding: DecodeSettings, learns: bool) -> BatchSource:
        images = decode_photos(index.select(rows), decoding, progress=tell)
        return _source(job, recipe, network, images, index.labels[rows], learns, num_classes)

    train = source(job.split.train, stored, True)
    fitted = _fit(job, recipe, network, train, source(job.split.validation, settings, False))
    classifier = deploy(network, recipe, index.class_names, settings, job.config)
    return Trained(classifier, fitted, recipe, *_count(network))


def _build(job: TrainingJob, recipe: Recipe, num_classes: int) -> "keras.Model":
    shape = (recipe.image_size, recipe.image_size, 1 if recipe.grey else 3)
    build = job.build
    if build is None and job.config.network:
        build = load_builder(job.config.network)
    if build is None:
        return NETWORKS[recipe.network](shape, num_classes)
    network = build(shape, num_classes)
    check_network(network, shape, num_classes)
    return network


def _source(
    job: TrainingJob,
    recipe: Recipe,
    network: "keras.Model",
    images: NDArray[Any],
    labels: NDArray[np.int64],
    learns: bool,
    num_classes: int,
) -> BatchSource:
    return BatchSource(
        images,
        labels,
        num_classes,
        recipe.batch_size if learns else max(recipe.batch_size, 64),
        policy=recipe.policy if learns else None,
        label_kind="binary" if network.output_shape[-1] == 1 else "categorical",
        shuffle=learns,
        # A last batch of two photos would move batch norm and the weights by chance.
        drop_last=learns and recipe.cosine,
        scale=recipe.scale,
        grey=recipe.grey,
        seed=job.config.seed,
    )


def _fit(
    job: TrainingJob,
    recipe: Recipe,
    network: "keras.Model",
    train: BatchSource,
    validation: BatchSource,
    rates: Mapping[str, float] | None = None,
) -> Fitted:
    budget = job.config.time_budget_minutes
    return fit_network(
        network,
        train,
        validation,
        recipe,
        key=job.key(recipe, network),
        checkpoint=job.checkpoint,
        resume=job.resume,
        time_budget_seconds=None if budget is None else 60 * budget,
        class_weights=job.class_weights(),
        rates=rates,
        progress=job.phase("train"),
        say=job.say,
    )


def _train_head(job: TrainingJob, recipe: Recipe) -> Trained:
    """Train the exercise's head on a frozen network's features, each computed once."""
    index, config = job.split.index, job.config
    num_classes = len(index.class_names)
    backbone = find_backbone(
        config.backbone or recipe.backbone or "",
        Path(config.weights) if config.weights else None,
        recipe.image_size,
    )
    frozen = frozen_network(backbone, precision=config.precision)
    embedder = Embedder(frozen, config.precision)
    settings = DecodeSettings(recipe.image_size, recipe.resize, config.max_megapixels)
    table = embed_index(index, embedder, settings, cache=job.cache, progress=job.phase("embed"))
    network = build_head(frozen.embedding_dim, num_classes)

    def source(rows: NDArray[np.int64], learns: bool) -> BatchSource:
        features = table.embeddings[rows, 0]
        return _source(job, recipe, network, features, index.labels[rows], learns, num_classes)

    train, held_out = source(job.split.train, True), source(job.split.validation, False)
    fitted = _fit(job, recipe, network, train, held_out)
    classifier = Classifier(
        index.class_names,
        frozen,
        _last_layer(network.layers[-1], num_classes),
        settings,
        precision=config.precision,
        about={
            "backbone": backbone.name,
            "licence": backbone.licence,
            "source": backbone.source,
            **_about(config),
        },
    )
    body = count_body(backbone.name, recipe.image_size)
    total, trainable = _count(network)
    return Trained(classifier, fitted, recipe, body + total, trainable, table.hits, table.misses)


def count_body(name: str, image_size: int) -> int:
    """Parameters of a pretrained body without its last layer.

    Args:
        name: Name of the backbone.
        image_size: Side of its pictures in pixels.

    Returns:
        Number of all its parameters.
    """
    return int(build_body(name, image_size).count_params())


def deploy(
    network: "keras.Model",
    recipe: Recipe,
    class_names: tuple[str, ...],
    settings: DecodeSettings,
    config: TrainConfig,
) -> Classifier:
    """Make a classifier of a trained network.

    Args:
        network: From the recipe's values to probabilities.
        recipe: How it was trained.
        class_names: C names.
        settings: How photos are decoded for it.
        config: What was asked.

    Returns:
        The classifier; its network's files lie in a temporary folder that goes with it.

    Raises:
        HandfulError: When the converted network computes something else.
    """
    import keras

    size, num_classes = settings.image_size, len(class_names)
    images = keras.Input((size, size, 3), name="images")
    values = images
    if recipe.grey:
        values = keras.ops.mean(values, axis=-1, keepdims=True)
    if recipe.scale != 1.0:
        values = keras.layers.Rescaling(recipe.scale)(values)
    last = network.layers[-1]
    ends_in_head = (
        isinstance(last, keras.layers.Dense)
        and network.outputs[0] is last.output
        and last.activation.__name__ == ("sigmoid" if last.units == 1 else "softmax")
    )
    if ends_in_head:
        body, head = keras.Model(network.inputs, last.input), _last_layer(last, num_classes)
        features = body(values, training=False)
    else:
        # Logarithms of the probabilities, whose softmax gives them back.
        given = keras.ops.cast(network(values, training=False), "float32")
        if network.output_shape[-1] == 1:
            given = keras.ops.concatenate([1 - given, given], axis=-1)
        features = keras.ops.log(keras.ops.maximum(given, _LEAST_PROBABILITY))
        head = _identity_head(num_classes)
    folder = Path(tempfile.mkdtemp(prefix="handful-network-"))
    try:
        write_network(keras.Model(images, features), folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    xml_path, bin_path = folder / "network.xml", folder / "network.bin"
    xml_sha256, bin_sha256 = sha256_of(xml_path), sha256_of(bin_path)
    frozen = FrozenNetwork(
        xml_path=xml_path,
        bin_path=bin_path,
        xml_sha256=xml_sha256,
        bin_sha256=bin_sha256,
        image_size=size,
        embedding_dim=int(features.shape[-1]),
        digest=hashlib.sha256(f"{xml_sha256}{bin_sha256}".encode()).hexdigest(),
        seconds=0.0,
    )
    classifier = Classifier(
        class_names,
        frozen,
        head,
        settings,
        # These networks are small; what was trained in float32 answers in float32.
        precision="f32" if config.precision == "auto" else config.precision,
        test_time_mirror=recipe.mirror or config.test_time_mirror,
        about={"backbone": network.name, "licence": "yours", "source": "trained on these photos"}
        | _about(config),
    )
    weakref.finalize(classifier, shutil.rmtree, folder, ignore_errors=True)
    return classifier


def _about(config: TrainConfig) -> dict[str, str]:
    return {"strategy": config.strategy, "recipe": config.recipe}


def _last_layer(layer: Any, num_classes: int) -> LinearHead:
    """A Dense layer with sigmoid or softmax as a head; one neuron z is two logits (0, z)."""
    kernel, bias = layer.get_weights()
    if kernel.shape[1] == 1:
        kernel = np.concatenate([np.zeros_like(kernel), kernel], axis=1)
        bias = np.concatenate([np.zeros_like(bias), bias])
    dim = len(kernel)
    return LinearHead(
        np.zeros(dim, np.float32), np.ones(dim, np.float32), kernel, bias, strength=None
    )


def _identity_head(num_classes: int) -> LinearHead:
    eye = np.eye(num_classes, dtype=np.float32)
    zeros, ones = np.zeros(num_classes, np.float32), np.ones(num_classes, np.float32)
    return LinearHead(zeros, ones, eye, zeros, strength=None)


def _count(network: "keras.Model") -> tuple[int, int]:
    """Parameters, and trainable ones."""
    trainable = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    return int(network.count_params()), trainable
