"""From a split to a classifier: one function for each strategy.

Every way ends in the same `Classifier`: a frozen network in OpenVINO's format, and a linear head.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from handful.data.decoding import DecodeSettings
from handful.errors import DataError, UsageError
from handful.features.devices import suited_precision
from handful.features.keras_runtime import prepare_keras, trains_on
from handful.features.registry import build_body
from handful.training.answers import with_answers
from handful.training.batches import BatchSource, Teacher, decode_images
from handful.training.deployment import check_deployment, deploy, head_of_layer
from handful.training.fine_tuning import fine_tune
from handful.training.jobs import (
    Trained,
    TrainedNetwork,
    TrainingJob,
    asked_backbone,
    chosen_recipe,
    count_parameters,
    embedding_spec,
    fit_job,
    fit_probe,
    make_source,
    recipe_with,
    try_objective,
)
from handful.training.networks import NETWORKS, build_head, check_network, load_builder, takes_sizes
from handful.training.recipes import Recipe
from handful.training.transfer import transfer

if TYPE_CHECKING:
    import keras


def train_strategy(job: TrainingJob) -> Trained:
    """Train a network as the configuration asks.

    Args:
        job: What to train on, and how.

    Returns:
        The classifier and what is known of its training.

    Raises:
        DataError: When the photos or a checkpoint cannot be used.
        TrainingError: When training diverges.
        ValueError: When a network does not fit the photos.
    """
    recipe = chosen_recipe(job.config)
    if recipe is None:
        return transfer(job)
    prepare_keras(device=job.config.device)
    import keras

    recipe = recipe_with(recipe, job.custom)
    if recipe.rate_callback:
        job.reporter.log(
            f"{recipe.rate_callback} sets the learning rate, which begins at "
            f"{recipe.learning_rate:g}"
            + (" and does not follow the recipe's warm-up and cosine" if recipe.cosine else "")
        )
    keras.utils.set_random_seed(job.config.seed)
    with job.reporter.phase("train"), trains_on(job.config.device):
        if recipe.network == "head":
            trained = _train_head(job, recipe)
        elif recipe.network == "body":
            trained = fine_tune(job, recipe)
        else:
            trained = _train_on_pixels(job, recipe)
    with job.reporter.phase("evaluate"):
        return with_answers(job, trained)


def _train_on_pixels(job: TrainingJob, recipe: Recipe) -> Trained:
    """Train a network from scratch on the photos' pixels."""
    index, num_classes = job.split.index, len(job.split.index.class_names)
    network = _build(job, recipe, num_classes)
    try_objective(job, network.output_shape[-1])
    note = ""
    if recipe.sizes and not takes_sizes(network, [size for _, size in recipe.sizes]):
        note = (
            f"The network takes photos of {recipe.image_size} pixels only, so it was not trained "
            "on smaller ones first, as the recipe would; that takes longer."
        )
        recipe = replace(recipe, sizes=())
        job.reporter.log(note)
    limit = job.config.max_megapixels
    settings = DecodeSettings(recipe.image_size, recipe.resize, limit)
    stored = replace(settings, image_size=recipe.stored_size or recipe.image_size)

    def pixels(rows: NDArray[np.int64], decoding: DecodeSettings) -> NDArray[np.uint8]:
        with job.reporter.phase("decode"):
            return decode_images(index.select(rows), decoding, progress=job.reporter.progress)

    def source(rows: NDArray[np.int64], images: NDArray[np.uint8], learns: bool) -> BatchSource:
        return make_source(job, recipe, network, images, index.labels[rows], learns, offset)

    learned, held_out = job.split.train, job.split.validation
    images = pixels(learned, stored)
    offset = -float(images.mean()) * recipe.scale if recipe.centre else 0.0
    train = source(learned, images, True)
    if job.config.strategy == "distilled":
        train.teacher = _teacher(job)
    fitted = fit_job(
        job, recipe, network, train, source(held_out, pixels(held_out, settings), False)
    )
    classifier = deploy(network, recipe, index.class_names, settings, job.config, offset)
    facts = TrainedNetwork(fitted, recipe, *count_parameters(network), note=note, model=network)
    return Trained(classifier, network=facts)


def _build(job: TrainingJob, recipe: Recipe, num_classes: int) -> "keras.Model":
    shape = (recipe.image_size, recipe.image_size, 1 if recipe.grey else 3)
    build = job.custom.network
    if build is None and job.config.network:
        build = load_builder(job.config.network)
    if build is None:
        return NETWORKS[recipe.network](shape, num_classes)
    try:
        network = build(shape, num_classes)
    except Exception as error:
        raise DataError(
            f"The network's function failed: {type(error).__name__}: {error}. It is called with "
            f"the photos' shape {shape} and the number of classes {num_classes}."
        ) from error
    check_network(network, shape, num_classes)
    check_deployment(network, recipe)
    return network


def _train_head(job: TrainingJob, recipe: Recipe) -> Trained:
    """Train the exercise's head on a frozen network's features, each computed once."""
    index, config = job.split.index, job.config
    backbone = asked_backbone(config, recipe.backbone or "", recipe.image_size)
    if backbone.build is None:  # its parameters are counted in Keras
        raise UsageError(
            f"`backbone` is {backbone.metadata.name!r} and `recipe` {config.recipe!r}, which takes "
            "networks of Keras and EfficientNet-Lite alone; expected such as xception, or recipe "
            "'handful'."
        )
    spec = embedding_spec(
        backbone, config, config.precision, resize=recipe.resize, mirrors=config.tta
    )
    table = job.embed(spec)
    network = build_head(spec.embedding_dim, len(index.class_names))
    try_objective(job, network.output_shape[-1])

    def source(rows: NDArray[np.int64], learns: bool) -> BatchSource:
        features = table.embeddings[rows, 0]
        return make_source(job, recipe, network, features, index.labels[rows], learns)

    train, held_out = source(job.split.train, True), source(job.split.validation, False)
    fitted = fit_job(job, recipe, network, train, held_out)
    classifier = job.classifier(backbone.metadata, spec, head_of_layer(network.layers[-1]))
    body = count_body(backbone.metadata.name, recipe.image_size)
    total, trainable = count_parameters(network)
    facts = TrainedNetwork(fitted, recipe, body + total, trainable, model=network)
    return Trained(classifier, network=facts, tables=(table,))


def _teacher(job: TrainingJob) -> Teacher:
    """A fitted head on the default network, which looks at the very views the pupil sees.

    Source: Beyer et al., "Knowledge distillation: A good teacher is patient and consistent",
    CVPR 2022.
    """
    backbone = asked_backbone(job.config)
    precision = suited_precision("auto", backbone.metadata.precision, job.config.device)
    classifier, _ = fit_probe(job, backbone, precision, job.split.train)
    size = classifier.extractor.image_size

    def teach(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        views = [
            cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR) for image in images
        ]
        features = classifier.extractor.embed(np.asarray(views, np.uint8))
        return classifier.head.predict_proba(features)

    return teach


def count_body(name: str, image_size: int) -> int:
    """Parameters of a pretrained body without its last layer.

    Args:
        name: Name of the backbone.
        image_size: Side of its pictures in pixels.

    Returns:
        Number of all its parameters.
    """
    return int(build_body(name, image_size).count_params())
