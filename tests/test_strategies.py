import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import draw_photo, write_photo
from handful.config import TrainConfig
from handful.data.decoding import DecodeSettings
from handful.errors import DataError, UsageError
from handful.features.conversion import FrozenNetwork
from handful.models.classifier import Classifier
from handful.run_store.store import RunStore, checkpoint_path
from handful.training import batches, jobs
from handful.training.batches import decode_images
from handful.training.loop import COLUMNS, Fitted
from handful.training.networks import build_scratch
from handful.training.strategies import count_body
from handful.workflows import train as train_workflow
from reporters import Recorder

pytestmark = pytest.mark.slow


def asked(strategy: str = "scratch", **options: Any) -> TrainConfig:
    """A training of a few seconds."""
    values = {"recipe": "keras-tutorial", "image_size": 48, "epochs": 1, "batch_size": 12} | options
    return TrainConfig(strategy=strategy, **values)


def tiny(shape: tuple[int, int, int], num_classes: int) -> Any:
    """A user's network."""
    import keras
    from keras import layers

    images = keras.Input(shape)
    x = layers.Rescaling(4.0, -2.0)(images)
    x = layers.Conv2D(8, 3, strides=3, activation="relu")(x)
    x = layers.GlobalMaxPooling2D()(x)
    two = num_classes == 2
    last = layers.Dense(1 if two else num_classes, activation="sigmoid" if two else "softmax")
    return keras.Model(images, last(x), name="tiny")


@pytest.fixture(scope="module")
def three_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red circles, blue squares, green squares."""
    root = tmp_path_factory.mktemp("three")
    for number in range(20):
        write_photo(root / "round" / f"{number}.png", draw_photo("round", number))
        square = draw_photo("square", 100 + number)
        write_photo(root / "square" / f"{number}.png", square)
        other = draw_photo("square", 200 + number)[:, :, [0, 2, 1]]
        write_photo(root / "third" / f"{number}.png", np.ascontiguousarray(other))
    return root


def test_a_network_of_ones_own_beats_chance(photo_folder: Path, tmp_path: Path) -> None:
    config = asked(epochs=5, batch_size=4, learning_rate=0.02)
    run = train_workflow.train(
        photo_folder, config, output=tmp_path / "run", network=tiny, use_cache=False
    )
    assert run.evaluation.accuracy >= 0.9
    trained = run.trained
    assert trained is not None and tuple(trained.fitted.history) == COLUMNS
    assert (trained.fitted.epochs, trained.fitted.stopped) == (5, "")
    assert trained.num_parameters == trained.num_trainable == 8 * (3 * 3 * 3 + 1) + 9
    assert run.classifier.provenance["backbone"] == "tiny"
    assert not checkpoint_path(tmp_path / "run").exists()
    # What is evaluated is what was trained.
    assert run.evaluation.accuracy == pytest.approx(trained.fitted.history["val_accuracy"][-1])
    loaded = Classifier.load(tmp_path / "run")
    evaluation, index = train_workflow.evaluate(loaded, photo_folder, use_cache=False)
    held = [index.paths.index(path) for path in run.evaluation.paths]
    assert np.array_equal(evaluation.probabilities[held], run.evaluation.probabilities)


@pytest.mark.parametrize("strategy", ["scratch", "augmented"])
def test_the_exercises_network(photo_folder: Path, strategy: str) -> None:
    run = train_workflow.train(photo_folder, asked(strategy), use_cache=False, output=False)
    assert run.trained is not None
    expected = build_scratch((48, 48, 3), 2).count_params()
    assert run.trained.num_parameters == run.trained.num_trainable == expected
    assert run.classifier.settings == DecodeSettings(48, "squash", 100.0)
    assert set(run.seconds) == {"total", "index", "decode", "train", "evaluate"}


def test_our_network_grows_with_its_pictures(photo_folder: Path) -> None:
    config = TrainConfig(strategy="augmented", image_size=64, epochs=10)
    run = train_workflow.train(photo_folder, config, use_cache=False, output=False)
    assert run.trained is not None
    history = run.trained.fitted.history
    assert history["image_size"] == [32, 48, 48, 48, 48, 64, 64, 64, 64, 64]
    assert [epoch + 1 for epoch in range(10) if np.isfinite(history["val_loss"][epoch])] == [5, 10]
    assert run.classifier.test_time_mirror and run.classifier.settings.resize == "halfway"


def test_three_classes_end_in_a_softmax(three_classes: Path, tmp_path: Path) -> None:
    config = asked(epochs=8, batch_size=4, learning_rate=0.01)
    run = train_workflow.train(
        three_classes, config, output=tmp_path / "run", network=tiny, use_cache=False
    )
    assert run.classifier.class_names == ("round", "square", "third")
    probabilities = run.evaluation.probabilities
    assert probabilities.shape == (len(run.split.validation), 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert run.evaluation.accuracy > 0.5
    paths = [three_classes / kind / "3.png" for kind in ("round", "square", "third")]
    before = run.classifier.predict_proba(paths)
    assert np.array_equal(Classifier.load(tmp_path / "run").predict_proba(paths), before)


def test_digits_are_grey_and_small(three_classes: Path) -> None:
    config = TrainConfig(strategy="scratch", recipe="mnist", epochs=1)
    run = train_workflow.train(three_classes, config, use_cache=False, output=False)
    assert run.classifier.settings.image_size == 28
    assert run.evaluation.probabilities.shape[1] == 3


NETWORK_FILE = """
import keras
from keras import layers

def build(input_shape, num_classes):
    return keras.Sequential([
        keras.Input(input_shape),
        layers.Conv2D(4, 3, strides=4, activation="relu"),
        layers.Flatten(),
        layers.Dense(1, activation="sigmoid"),
    ])

def wide(input_shape, num_classes):
    return keras.Sequential([keras.Input(input_shape), layers.Flatten(), layers.Dense(5)])

def raw(input_shape, num_classes):
    return keras.Sequential([keras.Input(input_shape), layers.Flatten(), layers.Dense(1)])

def text(input_shape, num_classes):
    return "no network"

def other_pictures(input_shape, num_classes):
    return keras.Sequential([keras.Input((7, 7, 3)), layers.Flatten(), layers.Dense(1)])
"""


def test_a_network_from_a_file(photo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(NETWORK_FILE)
    config = asked("augmented", network=f"{tmp_path / 'mine.py'}:build")
    run = train_workflow.train(photo_folder, config, output=tmp_path / "run", use_cache=False)
    assert run.trained is not None
    assert run.trained.num_parameters == 4 * 28 + (12 * 12 * 4 + 1)
    again = RunStore().read(tmp_path / "run").config
    assert again == config


_FLATTENED = """
import keras
from keras import layers


def build(shape, num_classes):
    images = layers.Input(shape)
    x = layers.MaxPooling2D(2)(layers.Conv2D(4, 3, activation="relu")(images))
    x = layers.Dense(8, activation="relu")(layers.Flatten()(x))
    return keras.Model(images, layers.Dense(1, activation="sigmoid")(x))


def resized(shape, num_classes):
    images = layers.Input((None, None, 3))
    x = layers.Flatten()(layers.Resizing(8, 8)(images))
    return keras.Model(images, layers.Dense(1, activation="sigmoid")(x))


def unshaped(shape, num_classes):
    ends = [layers.Flatten(), layers.Dense(num_classes, activation="softmax")]
    return keras.Sequential([layers.Conv2D(4, 3, strides=2), *ends])


def unknown_to_openvino(shape, num_classes):
    import tensorflow as tf

    def odd(x):
        return tf.numpy_function(lambda y: y, [x], tf.float32)

    images = layers.Input(shape)
    x = layers.Lambda(odd, output_shape=shape)(images)
    return keras.Model(images, layers.Dense(1, activation="sigmoid")(layers.Flatten()(x)))
"""


@pytest.mark.parametrize(
    ("name", "sizes"), [("build", {64}), ("unshaped", {64}), ("resized", {48, 64})]
)
def test_our_recipe_takes_networks_of_a_fixed_size(
    photo_folder: Path, tmp_path: Path, name: str, sizes: set[int]
) -> None:
    """What begins small otherwise begins at the size that the network was built for."""
    (tmp_path / "mine.py").write_text(_FLATTENED)
    config = asked(
        "augmented",
        recipe="handful",
        image_size=64,
        epochs=4,
        network=f"{tmp_path / 'mine.py'}:{name}",
    )
    recorder = Recorder()
    run = train_workflow.train(
        photo_folder, config, use_cache=False, reporter=recorder, output=False
    )
    assert run.trained is not None
    assert {64, *run.trained.fitted.history["image_size"]} >= sizes
    is_fixed = len(sizes) == 1
    assert (set(run.trained.fitted.history["image_size"]) == {64}) == is_fixed
    assert any("photos of 64 pixels only" in line for line in recorder.lines) == is_fixed
    assert ("photos of 64 pixels only" in run.trained.note) == is_fixed


def test_a_network_that_cannot_be_converted_is_refused_before_it_is_trained(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "fit_network", lambda *_, **__: pytest.fail("trained"))
    (tmp_path / "mine.py").write_text(_FLATTENED)
    config = asked(network=f"{tmp_path / 'mine.py'}:unknown_to_openvino")
    with pytest.raises(UsageError, match="cannot be converted for prediction: ") as e:
        train_workflow.train(photo_folder, config, use_cache=False, output=False)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("wide", ValueError, r"gives \(None, 5\); 2 classes need \(None, 2\) or \(None, 1\)"),
        ("raw", ValueError, "values are no probabilities"),
        ("text", ValueError, "network is a str; expected a Keras model"),
        ("other_pictures", ValueError, r"takes \(None, 7, 7, 3\); the photos are \('N', 48, 48"),
        ("absent", DataError, r"has no function 'absent'; it has build, wide, raw"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_before_the_first_step(
    photo_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.setattr(jobs, "fit_network", lambda *_, **__: pytest.fail("trained"))
    (tmp_path / "mine.py").write_text(NETWORK_FILE)
    config = asked(network=f"{tmp_path / 'mine.py'}:{name}")
    (tmp_path / "runs").mkdir()
    with pytest.raises(error, match=message):
        train_workflow.train(
            photo_folder, config, output=tmp_path / "runs" / "run", use_cache=False
        )
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_network_of_ones_own_needs_a_strategy_that_trains_one(photo_folder: Path) -> None:
    with pytest.raises(ValueError, match="network is given and strategy 'transfer'; a network of"):
        train_workflow.train(photo_folder, TrainConfig(), network=tiny, output=False)


def test_combinations_that_do_not_exist_cost_no_work(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_workflow, "load_fixed_index", lambda *_: pytest.fail("work began"))
    config = TrainConfig(strategy="augmented", recipe="mnist")
    with pytest.raises(ValueError, match="recipe 'mnist' has no strategy 'augmented'"):
        train_workflow.train(photo_folder, config, output=tmp_path / "runs" / "run")
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the gradient loop is given, by name."""
    seen: list[dict[str, Any]] = []
    real = jobs.fit_network

    def remember(network: Any, train: Any, validation: Any, recipe: Any, **options: Any) -> Fitted:
        seen.append({"train": train, "validation": validation, "recipe": recipe, **options})
        return real(network, train, validation, recipe, **options)

    monkeypatch.setattr(jobs, "fit_network", remember)
    return seen


def test_skewed_classes_are_weighed(
    photo_folder: Path, tmp_path: Path, fits: list[dict[str, Any]]
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photo_folder, folder)
    for path in sorted((folder / "square").iterdir())[5:]:
        path.unlink()
    for class_weight in ("auto", "none"):
        config = asked(class_weight=class_weight, epochs=3)
        run = train_workflow.train(folder, config, network=tiny, use_cache=False, output=False)
        fits[-1]["mean"] = run.evaluation.probabilities[:, 1].mean()
    weighed, plain = fits
    counts = np.bincount(run.split.index.labels[run.split.train])
    np.testing.assert_allclose(weighed["class_weights"], counts.sum() / (2 * counts))
    assert plain["class_weights"] is None
    assert weighed["mean"] > plain["mean"]


def test_validation_photos_are_never_augmented(
    photo_folder: Path, monkeypatch: pytest.MonkeyPatch, fits: list[dict[str, Any]]
) -> None:
    changed: set[bytes] = set()
    real = batches.apply_views

    def watch(images: NDArray[np.uint8], *rest: Any) -> NDArray[np.uint8]:
        changed.update(image.tobytes() for image in images)
        return real(images, *rest)

    monkeypatch.setattr(batches, "apply_views", watch)
    run = train_workflow.train(
        photo_folder, asked("augmented", epochs=2), network=tiny, use_cache=False, output=False
    )
    settings = DecodeSettings(48, "squash")
    learned, held = (
        {image.tobytes() for image in decode_images(run.split.part(part), settings)}
        for part in ("train", "validation")
    )
    assert changed == learned and not changed & held
    (fit,) = fits
    assert fit["train"].policy is not None and fit["train"].shuffle
    assert fit["validation"].policy is None and not fit["validation"].shuffle
    assert {image.tobytes() for image in fit["validation"].images} == held


def test_the_exercises_head_on_a_frozen_body(
    photo_folder: Path, tiny_backbone: FrozenNetwork, tmp_path: Path, fits: list[dict[str, Any]]
) -> None:
    config = asked(
        "transfer", backbone="efficientnet-lite0", image_size=32, epochs=10, learning_rate=0.1
    )
    run = train_workflow.train(photo_folder, config, output=tmp_path / "run")
    trained = run.trained
    assert trained is not None and run.evaluation.accuracy >= 0.8
    assert trained.num_trainable == 48 + 1
    assert trained.num_parameters == count_body("efficientnet-lite0", 32) + 48 + 1
    assert run.cache == {"hits": 0, "misses": 48}
    (fit,) = fits
    assert fit["train"].images.shape == (38, 48) and fit["train"].policy is None
    assert run.evaluation.accuracy == pytest.approx(trained.fitted.history["val_accuracy"][-1])
    loaded = Classifier.load(tmp_path / "run")
    assert loaded.provenance["backbone"] == "efficientnet-lite0"
    evaluation, _ = train_workflow.evaluate(loaded, photo_folder, use_cache=False)
    assert evaluation.accuracy >= 0.8
    assert train_workflow.train(photo_folder, config, output=False).cache == {
        "hits": 48,
        "misses": 0,
    }


@pytest.mark.real
def test_the_exercises_head_has_2049_parameters(photo_folder: Path, shared_folder: Path) -> None:
    weights = shared_folder / "weights" / "xception_imagenet_notop.weights.h5"
    config = TrainConfig(
        strategy="transfer", recipe="keras-tutorial", weights=str(weights), epochs=2
    )
    run = train_workflow.train(photo_folder, config, output=False)
    assert run.trained is not None
    assert (run.trained.num_parameters, run.trained.num_trainable) == (20_863_529, 2_049)
    assert run.classifier.provenance["backbone"] == "xception"
