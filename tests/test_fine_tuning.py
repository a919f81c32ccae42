"""Networks trained on: each judged by photos that it was tuned without, and kept where it helps."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handful.config import TrainConfig
from handful.data.index import load_index
from handful.data.splits import Split, assign_parts
from handful.errors import UsageError
from handful.features.extractor import FeatureExtractor
from handful.reporting import Reporter
from handful.training import fine_tuning
from handful.training.batches import decode_images
from handful.training.custom_objects import CustomObjects
from handful.training.cutting import CutNetwork
from handful.training.fine_tuning import (
    FOLDS,
    fine_tune,
    prepare_tuning,
    seconds_of_tuning,
    tune_in_folds,
)
from handful.training.jobs import Trained, TrainingJob, recipe_with
from handful.training.recipes import Recipe, find_recipe

pytestmark = pytest.mark.real
NAME = "efficientnet-lite0"


@pytest.fixture(scope="module")
def split(photo_folder: Path) -> Split:
    return assign_parts(load_index(photo_folder), ())


def job(split: Split, **options: Any) -> TrainingJob:
    config = TrainConfig(strategy="fine-tune", image_size=64, **({"backbone": NAME} | options))
    return TrainingJob(split, config, None, False, None, Reporter())


def recipe(**changes: Any) -> Recipe:
    found = find_recipe("handful", "fine-tune")
    assert found is not None
    return replace(found, **changes)


@pytest.fixture(scope="module", autouse=True)
def one_lower_part() -> Iterator[None]:
    """What is never trained is converted once; it is the same network each time."""
    made: list[FeatureExtractor] = []
    real = fine_tuning.lower_part

    def convert_once(network: CutNetwork, device: str) -> FeatureExtractor:
        if not made:
            made.append(real(network, device))
        return made[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fine_tuning, "lower_part", convert_once)
        yield


@dataclass
class Heard:
    """A fine-tuning with callbacks: what came of it, what they heard, and who learned from what."""

    trained: Trained
    history: Any
    parts: list[tuple[bool, Any]]


@pytest.fixture(scope="module")
def heard(split: Split) -> Heard:
    import keras

    parts: list[tuple[bool, Any]] = []
    real = fine_tuning.make_source

    def remember(*arguments: Any, **named: Any) -> Any:
        parts.append((arguments[5], named["rows"]))
        return real(*arguments, **named)

    history = keras.callbacks.History()
    rates = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 1e-4 / (epoch + 1))
    custom = CustomObjects(metrics=("auc",), callbacks=(history, rates))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fine_tuning, "make_source", remember)
        patch.setattr(fine_tuning, "choose", lambda answers, labels, groups: 0)
        plan = recipe_with(recipe(epochs=2), custom)
        trained = fine_tune(replace(job(split), custom=custom), plan)
    return Heard(trained, history, parts)


@pytest.fixture(scope="module")
def harmed(split: Split) -> Trained:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fine_tuning, "FOLDS", 2)
        # A step this large can only do harm.
        return fine_tune(job(split), recipe(epochs=1, learning_rate=3.0, cosine=False))


def test_each_photo_is_answered_for_by_a_network_tuned_without_it(
    heard: Heard, split: Split
) -> None:
    folds = heard.parts[: 2 * FOLDS]
    seen = [rows for learns, rows in folds if not learns]
    assert len(seen) == FOLDS and sorted(np.concatenate(seen)) == list(range(len(split.train)))
    groups = split.groups[split.train]
    for (_, learned), (_, held) in zip(folds[::2], folds[1::2], strict=True):
        assert set(groups[learned]).isdisjoint(groups[held])
    calibration = heard.trained.classifier.calibration
    assert calibration is not None and calibration.source == "out-of-fold"
    assert len(calibration) == len(split.train)
    _, learned = heard.parts[2 * FOLDS]
    assert sorted(learned) == list(range(len(split.train))), "the one that is kept: from all"


def test_it_answers_and_says_what_it_was_judged_by(heard: Heard, split: Split) -> None:
    network = heard.trained.network
    assert network is not None and network.num_parameters > network.num_trainable > 1e6
    assert "38 of 38 training photos, each by a network that was tuned without it" in network.note
    found = heard.trained.classifier.predict_index(split.part("validation"))
    right = found.probabilities.argmax(axis=1) == found.index.labels
    assert right.mean() >= 0.7
    assert heard.trained.classifier.provenance["backbone"] == NAME
    assert model_agrees(heard.trained, split)


def test_callbacks_hear_the_training_whose_network_is_kept(heard: Heard) -> None:
    network = heard.trained.network
    assert network is not None and network.fitted.best_epoch > 0
    assert heard.history.epoch == list(range(network.fitted.epochs))
    history = network.fitted.history
    assert heard.history.history["val_loss"] == history["val_loss"] and len(history["val_auc"]) > 0
    np.testing.assert_allclose(history["learning_rate"][0], 1e-4, rtol=1e-6)


def test_where_nothing_helps_the_fitted_head_is_kept(harmed: Trained, split: Split) -> None:
    assert harmed.network is not None and harmed.network.fitted.best_epoch == 0
    assert "fitted head alone, which is kept" in harmed.network.note
    assert harmed.network.num_trainable == 1_281 and harmed.classifier.head.C is not None
    assert model_agrees(harmed, split)


def model_agrees(trained: Trained, split: Split) -> bool:
    """Whether the Keras model and the classifier say the same."""
    assert trained.network is not None and trained.network.model is not None
    photos = split.part("validation")
    images = decode_images(photos, trained.classifier.settings)
    values = trained.network.model.predict(images.astype(np.float32), verbose=0)[:, 0]
    found = trained.classifier.predict_index(photos).probabilities[:, 1]
    return bool(np.allclose(values, found, atol=2e-3))


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


def test_photos_that_cannot_be_held_out_are_always_learned_from(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fine_tuning, "FOLDS", 2)
    parts = prepare_tuning(job(lone_class(split)), recipe(epochs=1))
    assert seconds_of_tuning(parts) > 0
    tuning = tune_in_folds(parts)
    labels = split.index.labels[parts.job.split.train]
    assert np.array_equal(np.isnan(tuning.chances[:, 0]), labels == 1)
    assert f"{(labels == 0).sum()} of {len(labels)} training photos" in tuning.where


def test_where_nothing_can_be_held_out_nothing_tells(split: Split) -> None:
    trained = fine_tune(job(lone_classes(split)), recipe(epochs=1))
    assert trained.network is not None
    assert "nothing tells whether it helps" in trained.network.note
    assert trained.classifier.calibration is None


def test_backbones_without_a_known_cut_are_refused(split: Split) -> None:
    with pytest.raises(UsageError, match=r"`backbone` is 'resnet50'; fine-tune takes efficientnet"):
        fine_tune(job(split, backbone="resnet50"), recipe())
