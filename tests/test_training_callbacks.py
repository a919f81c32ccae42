"""Keras' callbacks in a training that calls `fit` once an epoch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handful.errors import UsageError
from handful.training.callbacks import check_callbacks
from handful.training.custom_objects import CustomObjects
from handful.training.jobs import recipe_with
from handful.training.loop import COLUMNS, Fitted
from handful.training.recipes import Recipe
from reporters import Recorder, Stopper
from test_loop import RECIPE, fit, network

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("keras_ready")]

EVERY_FIFTH = replace(RECIPE, epochs=6, validate_every=5, policy=None)


def listener(**own: Any) -> Any:
    """A callback that keeps what it is told."""
    import keras

    class Listener(keras.callbacks.Callback):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.told: list[tuple[str, Any]] = []

        def note(self, event: str, at: Any = None, logs: Any = None) -> None:
            self.told.append((event, at))
            if event in own:
                own[event](self, at, logs)

        def on_train_begin(self, logs: Any = None) -> None:
            self.note("train_begin")

        def on_train_end(self, logs: Any = None) -> None:
            self.note("train_end", None, logs)

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.note("epoch_begin", epoch)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.note("epoch_end", epoch, logs)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.note("batch_end", batch)

        def on_test_end(self, logs: Any = None) -> None:
            self.note("test_end")

    return Listener()


def told(recipe: Recipe, *callbacks: Any, made: Any = None, **options: Any) -> Fitted:
    custom = CustomObjects(callbacks=callbacks)
    return fit(made or network(), recipe_with(recipe, custom), custom=custom, **options)


def test_training_begins_and_ends_once() -> None:
    logs: list[dict[str, float]] = []
    keeper = listener(epoch_end=lambda _self, _at, found: logs.append(dict(found)))
    made = network()
    history = told(replace(EVERY_FIFTH, epochs=2), keeper, made=made).history
    epoch = ["epoch_begin", *["batch_end"] * 3, "test_end", "epoch_end"]
    assert [event for event, _ in keeper.told] == ["train_begin", *epoch * 2, "train_end"]
    assert [at for event, at in keeper.told if event == "epoch_begin"] == [0, 1]
    assert [at for event, at in keeper.told if event == "batch_end"] == [0, 1, 2] * 2
    assert keeper.model is made and keeper.params == {"verbose": 0, "epochs": 2, "steps": 3}
    assert [set(found) for found in logs] == [{"loss", "accuracy", "val_loss", "val_accuracy"}] * 2
    assert [found["val_loss"] for found in logs] == history["val_loss"]
    assert tuple(history) == COLUMNS


def test_callbacks_change_nothing_by_listening() -> None:
    plain, heard = network(), network()
    fit(plain, replace(EVERY_FIFTH, epochs=2))
    told(replace(EVERY_FIFTH, epochs=2), listener(), made=heard)
    assert all(map(np.array_equal, plain.get_weights(), heard.get_weights()))


def test_early_stopping_stops_and_gives_back_the_best_weights(tmp_path: Path) -> None:
    import keras

    made, recipe = network(), replace(EVERY_FIFTH, epochs=60, learning_rate=0.05)
    stopping = keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    fitted = told(recipe, stopping, made=made, checkpoint=tmp_path)
    losses = fitted.history["val_loss"]
    assert fitted.stopped == "callback" and fitted.epochs == fitted.best_epoch + 2 < 60
    assert losses[fitted.best_epoch - 1] == min(losses)
    # A process that is killed before it has written the run finds the same in the checkpoint.
    again, silent = network(), listener()
    rest = told(recipe, silent, made=again, checkpoint=tmp_path, resume=True)
    assert (rest.stopped, rest.epochs, rest.best_epoch) == (
        "callback",
        fitted.epochs,
        fitted.best_epoch,
    )
    assert all(map(np.array_equal, made.get_weights(), again.get_weights()))
    assert silent.told == []


def test_accuracy_may_be_watched_without_a_mode() -> None:
    import keras

    stopping = keras.callbacks.EarlyStopping(monitor="val_accuracy", patience=1)
    fitted = told(replace(EVERY_FIFTH, epochs=30), stopping)
    accuracies = fitted.history["val_accuracy"]
    assert fitted.stopped == "callback" and accuracies[-1] <= max(accuracies[:-1])


def test_a_learning_rate_is_the_callbacks() -> None:
    import keras

    recipe = replace(EVERY_FIFTH, epochs=3, cosine=True, optimizer="adamw")
    scheduler = keras.callbacks.LearningRateScheduler(
        lambda epoch, rate: rate / 2 if epoch else rate
    )
    history = told(recipe, scheduler).history
    np.testing.assert_allclose(history["learning_rate"], [5e-3, 2.5e-3, 1.25e-3], rtol=1e-6)
    assert tuple(history) == COLUMNS
    plateau = keras.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.1, patience=1, min_delta=9)
    rates = told(recipe, plateau).history["learning_rate"]
    np.testing.assert_allclose(rates, [5e-3, 5e-3, 5e-4], rtol=1e-6)


def test_a_callback_of_ones_own_says_that_it_sets_the_rate() -> None:
    def halve(self: Any, _at: int, _logs: Any) -> None:
        self.model.optimizer.learning_rate = 1e-4

    recipe = replace(EVERY_FIFTH, epochs=2, cosine=True)
    with pytest.raises(
        UsageError, match=r"Listener sets the learning rate, .*sets_learning_rate = "
    ):
        told(recipe, listener(epoch_end=halve))
    setter = listener(epoch_end=halve)
    setter.sets_learning_rate = True
    rates = told(recipe, setter).history["learning_rate"]
    np.testing.assert_allclose(rates, [5e-3, 1e-4], rtol=1e-6)


def test_what_a_callback_logs_becomes_a_column() -> None:
    def add(_self: Any, epoch: int, logs: dict[str, Any]) -> None:
        logs["comment"] = "no number"
        if epoch:
            logs["gap"] = 0.25

    recorder = Recorder()
    fitted = told(replace(EVERY_FIFTH, epochs=2), listener(epoch_end=add), reporter=recorder)
    assert tuple(fitted.history) == (*COLUMNS, "gap")
    np.testing.assert_array_equal(fitted.history["gap"], [np.nan, 0.25])
    assert [epoch.metrics for epoch in recorder.of("epoch")] == [{}, {"gap": 0.25}]


def test_training_goes_on_with_the_epochs_numbers(tmp_path: Path) -> None:
    recipe = replace(EVERY_FIFTH, epochs=4)
    whole, again = network(), network()
    told(recipe, listener(), made=whole)
    stopper = Stopper(lambda _phase, done, _total: done > 230)
    first = listener()
    fitted = told(recipe, first, checkpoint=tmp_path, reporter=stopper)
    assert (fitted.stopped, fitted.epochs) == ("interrupted", 2)
    assert first.told[-1] == ("train_end", None)
    rest, recorder = listener(), Recorder()
    told(recipe, rest, made=again, checkpoint=tmp_path, resume=True, reporter=recorder)
    assert [at for event, at in rest.told if event == "epoch_end"] == [2, 3]
    assert "Callbacks begin anew where training goes on." in recorder.lines
    assert all(map(np.array_equal, whole.get_weights(), again.get_weights()))


def test_what_is_no_callback_is_refused() -> None:
    import keras

    for given, message in (
        (keras.callbacks.EarlyStopping, r"callbacks\[0\] is a class; .*: EarlyStopping\(\.\.\.\)"),
        (
            "tensorboard",
            r"callbacks\[0\] is of the type str; expected a keras\.callbacks\.Callback",
        ),
        (keras.callbacks.BackupAndRestore("x"), r"is a BackupAndRestore, .* `resume`"),
    ):
        with pytest.raises(UsageError, match=message):
            check_callbacks([given])
    with pytest.raises(UsageError, match=r"callbacks is EarlyStopping; expected a list, such as"):
        CustomObjects.given(None, None, (), keras.callbacks.EarlyStopping())  # type: ignore[arg-type]
