"""A pretrained network trained on: its upper part, from a fitted head, as long as it helps."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from handful.data.splits import can_be_held_out, fold_count, stratified_folds
from handful.errors import UsageError
from handful.features.devices import on_device
from handful.features.embed import EmbeddingSpec
from handful.features.extractor import Backbone
from handful.features.openvino import OpenVinoExtractor
from handful.features.registry import build_network
from handful.features.table import EmbeddingTable, embed_index
from handful.models.classifier import Classifier
from handful.models.heads import LinearHead
from handful.training.deployment import deploy, write_body
from handful.training.jobs import (
    Trained,
    TrainedNetwork,
    TrainingJob,
    asked_backbone,
    fit_job,
    fit_probe,
    make_source,
    try_objective,
)
from handful.training.loop import Fitted
from handful.training.recipes import Recipe

if TYPE_CHECKING:
    import keras

# The layer whose output is computed once; what comes after it is trained. Xception's adding
# layers are numbered by Keras, its other layers are named: so the one after the cut is given.
_CUTS = {
    "efficientnet-lite0": "block11_expand_conv",
    "efficientnet-lite1": "block13_expand_conv",
    "efficientnet-lite2": "block13_expand_conv",
    "xception": "block13_sepconv1_act",
}
TUNABLE = tuple(_CUTS)
# Factor on the learning rate of the lowest trained layer; the head's is 1.
_LOWEST_RATE = 0.2
_FOLDS = 5
# Of the training that finds the number of epochs.
_CHOOSE = "choose"


@dataclass(frozen=True, eq=False)
class _Parts:
    """What one training of the upper part needs.

    Args:
        job: What to train on.
        backbone: The pretrained network.
        table: Its features of all photos.
        maps: (n, 2, M) float32 output of the lower part, of each photo that is trained on or
            looked at and of its mirror image; a large one lies in a file.
        places: (N,) int64 place of each photo in `maps`.
    """

    job: TrainingJob
    backbone: Backbone
    table: EmbeddingTable
    maps: NDArray[np.float32]
    places: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Tuned:
    """A trained upper part, with the whole network that it belongs to."""

    fitted: Fitted
    whole: "keras.Model"
    num_trainable: int


def fine_tune(job: TrainingJob, recipe: Recipe) -> Trained:
    """Train the upper part of a pretrained network on, from a fitted head.

    What lies below a cut stays as it is, so its output is computed once, for each photo and its
    mirror image. A part of the training photos is held out to find the number of epochs; then
    all of them are trained on for so long. Where nothing can be held out, it is found on the photos
    learned from. Where no epoch is better than the fitted head alone, that head is what remains.

    Args:
        job: What to train on.
        recipe: How.

    Returns:
        The classifier and facts about its training.

    Raises:
        DataError: When the photos or a checkpoint cannot be used.
        KeyboardInterrupt: When interrupted while the number of epochs was sought.
        ValueError: For a backbone whose cut is not known.
    """
    split, config = job.split, job.config
    name = (config.backbone or recipe.backbone or "").lower()
    if name not in _CUTS:
        raise UsageError(f"`backbone` is {name!r}; fine-tune takes {', '.join(_CUTS)}.")
    num_classes = len(split.index.class_names)
    try_objective(job, 1 if num_classes == 2 else num_classes)
    backbone = asked_backbone(config, name, config.image_size)
    probe, table = fit_probe(job, backbone, "f32", split.train)
    parts = _Parts(job, backbone, table, *_lower_maps(job, backbone, probe))
    chosen, where = _choose_epochs(parts, recipe)
    if not chosen.fitted.best_epoch:
        return _keep_probe(parts, recipe, probe, chosen, where)
    return _train_final(parts, recipe, probe, chosen, where)


def _keep_probe(
    parts: _Parts, recipe: Recipe, probe: Classifier, chosen: _Tuned, where: str
) -> Trained:
    """Give the fitted head alone, which no epoch made better."""
    note = (
        "No epoch of fine-tuning was better than the fitted head alone, which is kept; judged "
        f"on {where}."
    )
    if parts.job.custom.callbacks:
        parts.job.reporter.log(
            "The callbacks were told nothing, for no network was trained to keep."
        )
    # What was not better was undone: below its head the network is as it was.
    chosen.whole.layers[-1].set_weights(_as_dense(probe.head).get_weights())
    total, width = int(chosen.whole.count_params()), probe.extractor.embedding_dim + 1
    made = TrainedNetwork(chosen.fitted, recipe, total, width, note=note, model=chosen.whole)
    return Trained(probe, network=made)


def _train_final(
    parts: _Parts, recipe: Recipe, probe: Classifier, chosen: _Tuned, where: str
) -> Trained:
    """Train on all training photos for the number of epochs that was best."""
    job, split, metadata = parts.job, parts.job.split, parts.backbone.metadata
    epochs = chosen.fitted.best_epoch
    plan = replace(recipe, epochs=epochs, patience=None)
    tuned = _train_upper(parts, plan, split.train, split.validation, "final")
    classifier = deploy(
        tuned.whole,
        replace(recipe, image_size=metadata.image_size),
        split.index.class_names,
        probe.settings,
        job.config,
        provenance=metadata.provenance,
    )
    done, unit = tuned.fitted.epochs, "epoch" if epochs == 1 else "epochs"
    trained = f"{epochs} {unit}" if done == epochs else f"{done} of {epochs} {unit}"
    note = f"Trained for {trained}, a number chosen on {where}."
    total = int(chosen.whole.count_params())
    made = TrainedNetwork(
        tuned.fitted, plan, total, tuned.num_trainable, note=note, model=tuned.whole
    )
    return Trained(classifier, network=made)


def _choose_epochs(parts: _Parts, recipe: Recipe) -> tuple[_Tuned, str]:
    """Train on a part of the training photos: the best epoch, and in words what it was told by."""
    num_train = len(parts.job.split.train)
    learned, watched = _inner_parts(parts.job)
    if np.array_equal(learned, watched):
        where = "the photos learned from, for each class has too few to hold any out"
    else:
        where = f"{len(watched):,} of {num_train:,} training photos, held out for that"
    chosen = _train_upper(parts, recipe, learned, watched, _CHOOSE)
    if chosen.fitted.stopped == "interrupted":
        raise KeyboardInterrupt
    return chosen, where


def _inner_parts(job: TrainingJob) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Training photos to learn from and to watch; groups of near-duplicates stay together."""
    rows = job.split.train
    labels, groups = job.split.index.labels[rows], job.split.groups[rows]
    _, groups = np.unique(groups, return_inverse=True)
    held = np.flatnonzero(can_be_held_out(labels, groups))
    if not len(held):
        # One photo of each class: there is nothing to watch but what was learned.
        return rows, rows
    _, labels = np.unique(labels[held], return_inverse=True)
    _, groups = np.unique(groups[held], return_inverse=True)
    folds = stratified_folds(labels, groups, fold_count(labels, groups, _FOLDS), job.config.seed)
    watched = np.isin(np.arange(len(rows)), held[folds == 0])
    return rows[~watched], rows[watched]


def _train_upper(
    parts: _Parts,
    recipe: Recipe,
    learned: NDArray[np.int64],
    seen: NDArray[np.int64],
    name: str,
) -> _Tuned:
    """Train the upper part and the head, which begins as fitted to the photos learned from."""
    import keras

    job, labels = parts.job, parts.job.split.index.labels
    body, _, upper = _cut_network(parts.backbone)
    head = _as_dense(job.fit_head(parts.table, learned))
    network = keras.Model(upper.inputs[0], head(upper.outputs[0]))
    # Each time the photo or its mirror image to learn from, the photo to look at.
    train, held_out = (
        make_source(job, recipe, network, parts.maps, labels[rows], learns, rows=parts.places[rows])
        for rows, learns in ((learned, True), (seen, False))
    )
    checkpoint = None if job.checkpoint is None else job.checkpoint / name
    # The number of epochs depends on the learning rate, and on no other callback.
    custom = job.custom.steering() if name == _CHOOSE else job.custom
    fitted = fit_job(
        replace(job, checkpoint=checkpoint, custom=custom),
        recipe,
        network,
        train,
        held_out,
        rates=_layer_rates(upper),
        count_start=recipe.patience is not None,
        share_of_budget=0.5,
    )
    whole = keras.Model(body.inputs[0], head(body.outputs[0]))
    trainable = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    return _Tuned(fitted, whole, trainable)


def _cut_network(backbone: Backbone) -> tuple[Any, Any, Any]:
    """A body, its lower part, and its upper part from flattened maps on; layers are shared."""
    import keras

    body = build_network(backbone)
    place = body.layers.index(body.get_layer(_CUTS[backbone.metadata.name]))
    cut = body.layers[place].input
    rest = keras.Model(cut, body.outputs[0])
    for layer in body.layers:
        # A batch norm that is not trained keeps ImageNet's statistics: it is in inference mode.
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = layer in rest.layers and not is_norm
    lower = keras.Model(body.inputs[0], keras.layers.Flatten()(cut))
    maps = keras.Input((int(np.prod(cut.shape[1:])),), name="maps")
    upper = keras.Model(maps, rest(keras.layers.Reshape(cut.shape[1:])(maps)))
    return body, lower, upper


def _layer_rates(upper: Any) -> dict[str, float]:
    """Factor on each variable's learning rate, from the lowest layer's to the head's."""
    paths = [weight.path for weight in upper.trainable_weights]
    factors = np.geomspace(_LOWEST_RATE, 1.0, len(paths))
    return dict(zip(paths, factors.tolist(), strict=True))


def _lower_maps(
    job: TrainingJob, backbone: Backbone, probe: Classifier
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Output of the lower part, by OpenVINO, and which photo's lies where; see `_Parts`."""
    _, lower, _ = _cut_network(backbone)
    index = job.split.index
    rows = np.concatenate([job.split.train, job.split.validation])
    places = np.full(len(index), -1)
    places[rows] = np.arange(len(rows))
    with (
        write_body(lower, probe.extractor.image_size) as frozen,
        job.reporter.phase("lower part"),
    ):
        extractor = on_device(OpenVinoExtractor(frozen, "f32"), job.config.device)
        spec = EmbeddingSpec(extractor, probe.settings, (0, "mirror"), scans=False)
        table = embed_index(index.select(rows), spec, progress=job.reporter.progress)
    return table.embeddings, places


def _as_dense(head: LinearHead) -> Any:
    """A fitted head as a Keras layer: one sigmoid neuron for two classes, or a softmax."""
    import keras

    kernel = head.weights / head.scale[:, np.newaxis]
    bias = head.bias - head.mean @ kernel
    if kernel.shape[1] == 2:
        kernel, bias = kernel[:, 1:] - kernel[:, :1], bias[1:] - bias[:1]
    activation = "sigmoid" if kernel.shape[1] == 1 else "softmax"
    layer = keras.layers.Dense(
        kernel.shape[1], activation=activation, dtype="float32", name="probabilities"
    )
    layer.build((None, len(kernel)))
    layer.set_weights([kernel, bias])
    return layer
