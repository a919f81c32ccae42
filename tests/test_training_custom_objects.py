"""Runs with callbacks, a loss, metrics and a policy of the user's own."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from handful.augmentation_policy import AugmentationPolicy
from handful.cli.commands import app
from handful.config import CompareConfig, TrainConfig
from handful.data.decoding import decode_whole
from handful.errors import UsageError
from handful.exporting.export_jobs import keras_model
from handful.features.conversion import FrozenNetwork
from handful.run_store.run import Run
from handful.run_store.store import RunStore, checkpoint_path
from handful.training import transfer
from handful.training.batches import batches
from handful.training.custom_objects import CustomObjects, name_of
from handful.training.loop import COLUMNS
from handful.workflows import train as train_workflow
from handful.workflows.compare import repeating_command
from reporters import Recorder
from test_strategies import asked, tiny

POLICY = AugmentationPolicy(rotation_range=20, horizontal_flip=True, zoom_range=(0.8, 1.0))


def trained(photos: Path, config: TrainConfig, **options: Any) -> Run:
    return train_workflow.train(photos, config, **{"use_cache": False, "output": False} | options)


def first_filters(model: Any) -> np.ndarray:
    kinds = [type(layer).__name__ for layer in model.layers]
    return np.asarray(model.layers[kinds.index("Conv2D")].get_weights()[0])


def squared(labels: Any, probabilities: Any) -> Any:
    return (labels - probabilities) ** 2


@pytest.mark.slow
def test_a_run_with_objects_of_ones_own(photo_folder: Path, tmp_path: Path) -> None:
    import keras

    stopping = keras.callbacks.EarlyStopping(monitor="loss", patience=1, min_delta=9.0)
    config = asked("augmented", epochs=9, policy=POLICY)
    objects = {"loss": squared, "metrics": [squared], "callbacks": [stopping]}
    run = trained(
        photo_folder,
        config,
        output=tmp_path / "run",
        network=tiny,
        **objects | {"metrics": ["auc", squared]},
    )
    assert run.stopped == "callback" and not checkpoint_path(tmp_path / "run").exists()
    (row,) = RunStore(tmp_path).list()
    assert row.note == ""  # it is not unfinished
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["custom_objects"] == run.custom_objects == {
        "network": "tiny",
        "loss": "squared",
        "metrics": ["squared"],
        "callbacks": ["EarlyStopping"],
    }  # fmt: skip
    training = facts["result"]["training"]
    assert (training["epochs"], training["planned_epochs"], training["stopped"]) == (
        2,
        9,
        "callback",
    )
    assert set(training["metrics"]) == {"auc", "squared", "val_auc", "val_squared"}
    with (tmp_path / "run" / "history.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header == [*COLUMNS, "auc", "squared", "val_auc", "val_squared"] and len(rows) == 2
    stored = RunStore().read(tmp_path / "run")
    assert stored.config == run.config and stored.config.metrics == ("auc",)
    assert stored.history is not None and len(stored.history["val_auc"]) == 2
    page = (tmp_path / "run" / "report.html").read_text()
    for words in (
        "2 of 9, stopped early: by a callback",
        "rotation_range 20, zoom_range (0.8, 1.0), horizontal_flip (your own policy)",
        "EarlyStopping",
    ):
        assert words in page
    with pytest.raises(UsageError, match=r"names alone \(network: tiny; loss: squared; metrics: "):
        stored.check_repeatable()
    stored.check_repeatable(["network", "loss", "metrics", "callbacks"])
    told = CliRunner().invoke(app, ["train", "--from", str(tmp_path / "run")])
    assert told.exit_code == 2 and "loss=..., metrics=..., callbacks=...)" in told.output
    again = train_workflow.train(
        from_run=tmp_path / "run", output=False, use_cache=False, network=tiny, **objects
    )
    assert np.array_equal(again.evaluation.probabilities, run.evaluation.probabilities)
    assert again.config == run.config and again.custom_objects == run.custom_objects


@pytest.mark.slow
def test_the_trained_model_is_handed_back(photo_folder: Path, tmp_path: Path) -> None:
    import keras

    place = tmp_path / "run"
    config = asked(epochs=3, learning_rate=0.02)
    run = trained(photo_folder, config, network=tiny, output=place)
    filters = first_filters(run.model)
    assert filters.shape == (3, 3, 3, 8)
    run.model.save(tmp_path / "mine.keras")
    loaded = keras.saving.load_model(tmp_path / "mine.keras")
    held_out = run.split.part("validation")
    rescaled = AugmentationPolicy(rescale=1 / 255)
    given = batches(held_out, (48, 48), policy=rescaled, shuffle=False)
    assert loaded.evaluate(given, verbose=0)[1] == pytest.approx(run.evaluation.accuracy)
    probabilities = loaded.predict(given, verbose=0)[:, 0]
    order = [run.evaluation.paths.index(path) for path in held_out.paths]
    found = run.evaluation.probabilities[order, 1]
    np.testing.assert_allclose(found, probabilities, atol=1e-4)
    # Of a run that was stored, the same network is built anew, from photos as they are.
    for again in (keras_model(place), keras_model(run)):
        np.testing.assert_allclose(first_filters(again), filters, atol=1e-6)
        photo = decode_whole(held_out.read(0))
        expected = run.classifier.predict_proba([photo])
        given = again.predict(photo[np.newaxis], verbose=0)
        np.testing.assert_allclose(given, expected, atol=1e-3)


@pytest.mark.slow
def test_a_repeated_run_has_the_same_policy_loss_and_metrics(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = "--strategy augmented --recipe keras-tutorial --image-size 48 --epochs 1 -q"
    own = "--rotation-range 20 --zoom-range 0.8,1 --loss focal --metrics auc --metrics accuracy"
    arguments = ["train", str(photo_folder), *options.split(), *own.split(), "-o", "first"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["train", "--from", "first", "-o", "second", "-q"])
    assert done.exit_code == 0, done.output
    first, second = (RunStore().read(tmp_path / name) for name in ("first", "second"))
    assert first.config == second.config and first.config.loss == "focal"
    assert first.config.policy == AugmentationPolicy(rotation_range=20, zoom_range=(0.8, 1))
    tables = [(tmp_path / name / "predictions.csv").read_text() for name in ("first", "second")]
    assert tables[0] == tables[1]


def test_views_of_the_head_are_drawn_from_the_policy(
    photo_folder: Path, tiny_backbone: FrozenNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    real = transfer.replace
    monkeypatch.setattr(
        transfer, "replace", lambda spec, **new: drawn.append(new) or real(spec, **new)
    )
    run = trained(photo_folder, TrainConfig(views=3, policy=POLICY))
    views = [(new["views"], new["policy"]) for new in drawn if "policy" in new]
    assert views == [((1, 2), POLICY)]
    assert run.evaluation.accuracy > 0.5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"policy": POLICY}, "`strategy` 'transfer' takes photos as they are; expected augm"),
        ({"policy": POLICY, "strategy": "scratch"}, "or transfer with 2 or more `views`"),
        ({"policy": {"rotation_range": 3}, "strategy": "augmented"}, "expected an AugmentationP"),
        (
            {"policy": AugmentationPolicy(rescale=0.5), "strategy": "augmented"},
            r"has rescale 0\.5; leave it out: the recipe scales values",
        ),
        ({"policy": AugmentationPolicy(), "strategy": "augmented"}, "`policy` changes nothing"),
        ({"loss": "focal"}, "fits its head without epochs and does not use `loss`"),
        ({"metrics": ("auc",)}, "fits its head without epochs and does not use `metrics`"),
        ({"metrics": ("auc",), "strategy": "distilled"}, "`metrics` is given and .* 'distilled'"),
        ({"loss": "mse", "strategy": "distilled"}, "`loss` is given and `strategy` 'distilled'"),
    ],
)
def test_options_that_do_not_fit_a_strategy(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainConfig(**values)


def test_a_comparison_takes_a_policy_for_those_that_augment() -> None:
    config = CompareConfig(strategy=("scratch", "augmented"), policy=POLICY)
    policies = [config.train_config(strategy, 0).policy for strategy in config.chosen]
    assert policies == [None, POLICY]
    again = "--rotation-range 20 --zoom-range 0.8,1.0 --horizontal-flip"
    assert repeating_command(config, "photos").endswith(again)
    with pytest.raises(UsageError, match="`strategy` is scratch; expected augmented or distilled"):
        CompareConfig(strategy=("scratch",), policy=POLICY)


@pytest.mark.slow
def test_a_head_takes_no_callbacks(photo_folder: Path) -> None:
    import keras

    for given in (
        {"callbacks": [keras.callbacks.EarlyStopping()]},
        {"loss": squared},
        {"metrics": [squared]},
    ):
        with pytest.raises(
            UsageError, match=r"needs a network .* choose scratch, augmented, fine-tune or"
        ):
            trained(photo_folder, TrainConfig(), **given)
    with pytest.raises(UsageError, match="`loss` is given and `strategy` 'distilled'"):
        trained(photo_folder, asked("distilled", recipe="handful"), loss=squared)


@pytest.mark.slow
def test_a_model_is_no_function_that_builds_one(photo_folder: Path) -> None:
    model = tiny((48, 48, 3), 2)
    with pytest.raises(UsageError, match=r"network is .*; expected a function of \(input_shape"):
        trained(photo_folder, asked(), network=model)
    with pytest.raises(UsageError, match="metrics is 'auc'; expected a list, such as"):
        trained(photo_folder, asked(), metrics="auc")


@pytest.mark.slow
def test_a_loss_that_does_not_fit_costs_no_training(photo_folder: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    with pytest.raises(UsageError, match="The loss <lambda> is "):
        trained(
            photo_folder,
            asked(),
            loss=lambda labels, probabilities: labels * probabilities,
            reporter=recorder,
            output=tmp_path / "run",
        )
    # The photos were scanned, and not decoded for the network.
    assert recorder.of("begin") == ["index", "decode", "train"]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_name_that_keras_does_not_have_costs_no_work(tmp_path: Path) -> None:
    for options, message in (
        ("--loss focus", "--loss is 'focus'; expected focal, or another name that Keras has"),
        ("--metrics auk", "--metrics has 'auk'; expected a name that Keras has"),
    ):
        arguments = ["train", str(tmp_path / "none"), "--strategy", "scratch", *options.split()]
        told = CliRunner().invoke(app, arguments)
        assert told.exit_code == 2 and message in told.output


@pytest.mark.slow
def test_distilling_takes_callbacks_and_a_policy(
    photo_folder: Path, tiny_backbone: FrozenNetwork
) -> None:
    import keras

    history = keras.callbacks.History()
    config = TrainConfig(strategy="distilled", epochs=2, image_size=32, policy=POLICY)
    run = trained(photo_folder, config, callbacks=[history])
    assert run.trained is not None and run.trained.recipe.policy == POLICY
    assert history.epoch == [0, 1] and set(history.history) >= {"loss", "val_accuracy"}
    assert history.history["loss"] == run.trained.fitted.history["loss"]


def test_names_of_objects() -> None:
    assert name_of(squared) == "squared" and name_of(POLICY) == "AugmentationPolicy"
    assert CustomObjects(loss="focal", metrics=("auc", squared)).names() == {"metrics": ["squared"]}
