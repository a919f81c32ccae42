from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handful.config import TrainConfig
from handful.data.index import load_index
from handful.data.splits import Split, assign_parts
from handful.features.registry import find_backbone
from handful.files import tensors
from handful.models.heads import LinearHead, fit_head
from handful.reporting import Reporter
from handful.training import fine_tuning
from handful.training.batches import decode_images
from handful.training.custom_objects import CustomObjects
from handful.training.fine_tuning import (
    _as_dense,
    _cut_network,
    _inner_parts,
    _layer_rates,
    fine_tune,
)
from handful.training.jobs import TrainingJob, recipe_with
from handful.training.recipes import Recipe, find_recipe

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def split(photo_folder: Path) -> Split:
    return assign_parts(load_index(photo_folder), ())


def job(split: Split, **options: Any) -> TrainingJob:
    config = TrainConfig(strategy="fine-tune", image_size=64, **options)
    return TrainingJob(split, config, None, False, None, Reporter())


def recipe(**changes: Any) -> Recipe:
    found = find_recipe("handful", "fine-tune")
    assert found is not None
    return replace(found, **changes)


@pytest.fixture(scope="module")
def cut() -> tuple[Any, Any, Any]:
    return _cut_network(find_backbone("efficientnet-lite0", None, 64))


def test_both_parts_make_the_whole_while_training_too(cut: tuple[Any, Any, Any]) -> None:
    body, lower, upper = cut
    images = np.random.default_rng(0).uniform(0, 255, (3, 64, 64, 3)).astype(np.float32)
    expected = body(images, training=False).numpy()
    maps = lower(images)
    assert maps.shape == (3, 4 * 4 * 112)
    for training in (False, True):  # batch norm is in inference mode
        assert np.array_equal(upper(maps, training=training).numpy(), expected)


def test_only_the_upper_parts_kernels_are_trained(cut: tuple[Any, Any, Any]) -> None:
    body, lower, upper = cut
    assert lower.trainable_weights == []
    names = [weight.path for weight in upper.trainable_weights]
    assert names and not [name for name in names if "norm" in name]
    assert len(names) == len([w for w in body.trainable_weights])
    rates = _layer_rates(upper)
    assert set(rates) == set(names)
    assert list(rates.values()) == sorted(rates.values()) and max(rates.values()) == 1.0


@pytest.mark.parametrize("num_classes", [2, 3])
def test_a_heads_layer_gives_its_probabilities(num_classes: int) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(2, 3, (60, 5)).astype(np.float32)
    labels = rng.integers(0, num_classes, 60)
    head = fit_head(features, labels, num_classes)
    values = _as_dense(head)(features).numpy()
    expected = head.predict_proba(features)
    given = values if num_classes > 2 else np.hstack([1 - values, values])
    assert isinstance(head, LinearHead) and np.allclose(given, expected, atol=1e-5)


def test_the_photos_watched_are_not_learned_from(split: Split) -> None:
    learned, watched = _inner_parts(job(split))
    assert sorted([*learned, *watched]) == sorted(split.train)
    assert set(learned).isdisjoint(watched) and len(watched) == pytest.approx(
        len(learned) / 4, abs=2
    )
    assert set(split.groups[learned]).isdisjoint(split.groups[watched])


def test_it_answers_and_says_how_many_epochs_helped(split: Split) -> None:
    trained = fine_tune(job(split), recipe(epochs=2))
    assert trained.network is not None
    assert trained.network.note and trained.network.num_parameters == 3_413_024 - 0 + 1_281
    found = trained.classifier.predict_index(split.part("validation"))
    right = found.probabilities.argmax(axis=1) == found.index.labels
    assert right.mean() >= 0.7
    assert trained.classifier.provenance["backbone"] == "efficientnet-lite0"


def lone_class(split: Split) -> Split:
    """The same with one photo to learn the second class from: nothing can be held out of it."""
    labels = split.index.labels[split.train]
    rows = np.concatenate([split.train[labels == 0], split.train[labels == 1][:1]])
    return replace(split, train=rows)


def lone_classes(split: Split) -> Split:
    """The same with one photo to learn each class from."""
    labels = split.index.labels[split.train]
    rows = [split.train[labels == label][:1] for label in (0, 1)]
    return replace(split, train=np.concatenate(rows))


@pytest.mark.parametrize(
    ("change", "rate", "words"),
    [
        (lambda split: split, 1e-4, "of 38 training photos, held out for that"),
        (lambda split: split, 3.0, "of 38 training photos, held out for that"),
        (lone_class, 1e-4, "of 20 training photos, held out for that"),
        (lone_classes, 1e-4, "the photos learned from, for each class has too few to hold any out"),
        (lone_classes, 3.0, "the photos learned from, for each class has too few to hold any out"),
    ],
)
def test_the_note_says_what_the_epochs_were_chosen_on(
    split: Split, change: Any, rate: float, words: str
) -> None:
    changed = change(split)
    learned, watched = _inner_parts(job(changed))
    trained = fine_tune(job(changed), recipe(epochs=1, learning_rate=rate, cosine=False))
    assert trained.network is not None
    assert trained.network.note.endswith(f"{words}.")
    assert (set(learned) == set(watched)) == words.startswith("the photos")


def test_large_maps_lie_in_a_file_and_are_not_copied(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only of photos that are trained on or looked at."""
    sources: list[Any] = []
    real = fine_tuning.make_source

    def remember(*arguments: Any, **named: Any) -> Any:
        sources.append(real(*arguments, **named))
        return sources[-1]

    monkeypatch.setattr(fine_tuning, "make_source", remember)
    monkeypatch.setattr(tensors, "MEMORY_BYTES", 1000)
    fine_tune(job(replace(split, train=split.train[1:])), recipe(epochs=1))
    maps = sources[0].images
    assert isinstance(maps, np.memmap) and all(source.images is maps for source in sources)
    assert maps.shape == (len(split.train) - 1 + len(split.validation), 2, 4 * 4 * 112)


def test_where_nothing_helps_the_fitted_head_is_kept(split: Split) -> None:
    # A step this large can only do harm.
    trained = fine_tune(job(split), recipe(epochs=2, learning_rate=3.0, cosine=False))
    assert trained.network is not None
    assert (
        trained.network.fitted.best_epoch == 0
        and "fitted head alone, which is kept" in trained.network.note
    )
    assert trained.network is not None
    assert trained.network.num_trainable == 1_281 and trained.classifier.head.C is not None


def test_backbones_without_a_known_cut_are_refused(split: Split) -> None:
    with pytest.raises(ValueError, match=r"`backbone` is 'resnet50'; fine-tune takes efficientnet"):
        fine_tune(job(split, backbone="resnet50"), recipe())


def test_callbacks_hear_the_training_whose_network_is_kept(split: Split) -> None:
    import keras

    heard = keras.callbacks.History()
    rates = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 1e-4 / (epoch + 1))
    custom = CustomObjects(metrics=("auc",), callbacks=(heard, rates))
    plan = recipe_with(recipe(epochs=2), custom)
    trained = fine_tune(replace(job(split), custom=custom), plan)
    network = trained.network
    assert network is not None and network.model is not None and network.fitted.best_epoch > 0
    # The first training, which finds the number of epochs, has the same learning rates.
    assert heard.epoch == list(range(network.fitted.epochs))
    history = network.fitted.history
    assert heard.history["val_loss"] == history["val_loss"] and len(history["val_auc"]) > 0
    np.testing.assert_allclose(history["learning_rate"][0], 1e-4, rtol=1e-6)
    images = decode_images(split.part("validation"), trained.classifier.settings)
    values = network.model.predict(images.astype(np.float32), verbose=0)[:, 0]
    found = trained.classifier.predict_index(split.part("validation")).probabilities[:, 1]
    np.testing.assert_allclose(values, found, atol=2e-3)


def test_the_model_of_a_head_that_is_kept_is_that_heads(split: Split) -> None:
    trained = fine_tune(job(split), recipe(epochs=1, learning_rate=3.0, cosine=False))
    assert trained.network is not None and trained.network.fitted.best_epoch == 0
    images = decode_images(split.part("validation"), trained.classifier.settings)
    values = trained.network.model.predict(images.astype(np.float32), verbose=0)[:, 0]
    found = trained.classifier.predict_index(split.part("validation")).probabilities[:, 1]
    np.testing.assert_allclose(values, found, atol=2e-3)
