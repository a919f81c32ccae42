"""The only gradient loop: Keras' `fit`, an epoch at a time, to be stopped and gone on with."""

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from handful.errors import DataError, TrainingError
from handful.features.keras_runtime import prepare_keras
from handful.files.atomic import MALFORMED, explain_damage, new_file, open_regular
from handful.reporting import Epoch, Reporter
from handful.training.batches import BatchSource, epoch_dataset
from handful.training.callbacks import TrainingCallbacks
from handful.training.compiling import compile_network
from handful.training.custom_objects import CustomObjects
from handful.training.recipes import Recipe

if TYPE_CHECKING:
    import keras

COLUMNS = (
    "epoch",
    "loss",
    "accuracy",
    "val_loss",
    "val_accuracy",
    "learning_rate",
    "image_size",
    "seconds",
    "waited_share",
)
_SCORES = COLUMNS[1:5]
CHECKPOINT_FILE = "checkpoint.npz"
_CHECKPOINT_FORMAT = 1
_TIMED_STEPS = 4
# Looking at a photo costs a third of learning from it.
_FORWARD_SHARE = 1 / 3
# Shorter trainings are over before an estimate is made.
_STEPS_WORTH_TIMING = 60

State = list[NDArray[Any]]
History = dict[str, list[float]]


@dataclass(frozen=True, eq=False)
class Fitted:
    """What came of training; the network itself holds the weights.

    Args:
        history: Column name to its value in each epoch: `COLUMNS`, then what metrics and callbacks
            add; NaN where validation was not looked at.
        epochs: Epochs finished.
        planned_epochs: Epochs planned.
        best_epoch: Epoch, counted from 1, whose weights the network has.
        stopped: Why training ended early: "interrupted", "time", "patience", "callback", or "".
        seconds: Time in the loop, of earlier parts too.
        estimated_seconds: What was expected of it before it began; NaN where it was too short.
    """

    history: History
    epochs: int
    planned_epochs: int
    best_epoch: int
    stopped: str
    seconds: float
    estimated_seconds: float


def fit_network(
    network: "keras.Model",
    train: BatchSource,
    validation: BatchSource,
    recipe: Recipe,
    *,
    key: str = "",
    checkpoint: Path | None = None,
    resume: bool = False,
    time_budget_seconds: float | None = None,
    class_weights: NDArray[np.float64] | None = None,
    rates: Mapping[str, float] | None = None,
    count_start: bool = False,
    custom: CustomObjects | None = None,
    reporter: Reporter | None = None,
) -> Fitted:
    """Train a network; its weights are changed in place.

    Args:
        network: From the pictures' values to probabilities; it is compiled here.
        train: Batches to learn from.
        validation: Batches to look at after epochs.
        recipe: How.
        key: Identity of what is trained on what; a checkpoint with another one is refused.
        checkpoint: Folder that keeps the state after each epoch; None keeps none.
        resume: Go on from the checkpoint where there is one; the final weights are those of a
            training that was never stopped.
        time_budget_seconds: Plan as many of the recipe's epochs as fit, by a few timed steps.
        class_weights: (C,) weight of each class in the loss, or None.
        rates: See `compile_network`.
        count_start: With patience: the weights before the first epoch may be the best, epoch 0.
        custom: Loss, metrics and callbacks of the user's.
        reporter: Told the estimate of the time before training begins, then how far it is, in an
            arbitrary unit.

    Returns:
        History and facts.

    Raises:
        TrainingError: When the loss is no number any more.
        DataError: When the checkpoint is another training's.
        KeyboardInterrupt: When interrupted or canceled before the first epoch ended.
    """
    reporter = Reporter(reporter)
    custom = custom or CustomObjects()
    loop = _Loop(network, train, validation, recipe, class_weights, rates, custom, reporter)
    saved = _read_checkpoint(checkpoint, key) if checkpoint is not None and resume else None
    if saved is not None:
        try:
            loop.restore(saved)
        except MALFORMED as error:
            raise _unreadable(checkpoint, error) from error
    else:
        loop.plan(time_budget_seconds)
        if count_start:
            loop.look_at_start()
    if not math.isnan(loop.estimate):
        reporter.log(
            f"About {_duration(loop.estimate)} for {loop.epochs} epochs of {len(train)} steps"
            + (f", of which {loop.done} are done" if loop.done else "")
        )
    try:
        return loop.run(checkpoint, key, time_budget_seconds)
    finally:
        train.close()
        validation.close()


class _Loop:
    """State of a training between epochs."""

    def __init__(
        self,
        network: "keras.Model",
        train: BatchSource,
        validation: BatchSource,
        recipe: Recipe,
        class_weights: NDArray[np.float64] | None,
        rates: Mapping[str, float] | None,
        custom: CustomObjects,
        reporter: Reporter,
    ) -> None:
        prepare_keras()
        self.network, self.recipe, self.reporter, self.rates = network, recipe, reporter, rates
        self.train, self.validation, self.custom = train, validation, custom
        self.class_weights = None if class_weights is None else dict(enumerate(class_weights))
        self.history: History = {name: [] for name in COLUMNS}
        self.best_loss, self.best_epoch = math.inf, 0
        self.best_state: State | None = None
        self.ended, self.rate = "", math.nan
        self.callbacks = TrainingCallbacks((), network, 0, 0)
        self.epochs, self.estimate, self.earlier_seconds = recipe.epochs, math.nan, 0.0
        self.compile()

    @property
    def done(self) -> int:
        """Epochs finished."""
        return len(self.history["epoch"])

    def compile(self) -> None:
        num_steps, custom = self.epochs * len(self.train), self.custom
        compile_network(
            self.network,
            self.recipe,
            num_steps,
            self.rates,
            custom.loss,
            custom.metrics,
            is_taught=self.train.teacher is not None,
        )

    def variables(self) -> list[Any]:
        # The network's include the states of dropout's random numbers.
        return [*self.network.variables, *self.network.optimizer.variables]

    def state(self) -> State:
        from keras import ops

        return [ops.convert_to_numpy(variable).copy() for variable in self.variables()]

    def set_state(self, state: State) -> None:
        for variable, value in zip(self.variables(), state, strict=True):
            variable.assign(value)

    def plan(self, budget: float | None) -> None:
        """Time a few steps, and shorten the training to what the budget allows."""
        if budget is None and self.epochs * len(self.train) < _STEPS_WORTH_TIMING:
            return
        before = self.state()
        size = self.recipe.size_at(self.epochs - 1, self.epochs)
        seconds = math.inf
        for _ in range(2):  # The first traces and compiles.
            self.train.start_epoch(0, self._view_size(size))
            started = time.perf_counter()
            steps = min(_TIMED_STEPS, len(self.train))
            self.network.fit(epoch_dataset(self.train, steps), shuffle=False, verbose=0)
            seconds = (time.perf_counter() - started) / steps
        self.set_state(before)
        looks = math.ceil(self.epochs / self.recipe.validate_every)
        share = len(self.validation.labels) / len(self.train.labels) * _FORWARD_SHARE
        self.estimate = seconds * len(self.train) * (self._work(self.epochs) + share * looks)
        if budget is not None and self.estimate > budget:
            planned = max(1, math.floor(self.epochs * budget / self.estimate))
            self.estimate *= planned / self.epochs
            self.epochs = planned
            self.compile()

    def _view_size(self, size: int) -> int | None:
        return size if self.train.policy is not None else None

    def _work(self, epochs: int) -> float:
        """Work of the first epochs, one like the last being 1."""
        return sum(self._share(epoch) for epoch in range(epochs))

    def _share(self, epoch: int) -> float:
        last = self.recipe.size_at(self.epochs - 1, self.epochs)
        return (self.recipe.size_at(epoch, self.epochs) / last) ** 2

    def look_at_start(self) -> None:
        """Take the weights as they are for the best so far."""
        held_out = epoch_dataset(self.validation)
        self.best_loss = self.network.evaluate(held_out, verbose=0, return_dict=True)["loss"]
        self.best_state = self.state()

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on where a checkpoint ends."""
        self.epochs, self.estimate = saved["planned_epochs"], saved["estimated_seconds"]
        self.compile()
        self.set_state(saved["state"])
        self.history, self.earlier_seconds = saved["history"], saved["seconds"]
        self.best_loss, self.best_epoch = saved["best_loss"], saved["best_epoch"]
        self.best_state, self.ended = saved["best_state"], saved["ended"]

    def run(self, checkpoint: Path | None, key: str, budget: float | None) -> Fitted:
        """Train epoch by epoch."""
        started = time.perf_counter()

        def seconds() -> float:
            return self.earlier_seconds + time.perf_counter() - started

        # Out of patience once is out of patience for good; time may be given again.
        stopped, whole = self.ended, (self.state(), self.history)
        is_over = bool(stopped) or self.done == self.epochs
        try:
            if not is_over:
                self._begin_callbacks()
            while self.done < self.epochs and not stopped:
                self.epoch()
                whole = self.state(), self.history
                stopped = self._reason_to_stop(whole[0], seconds(), budget)
                if checkpoint is not None:
                    self._keep(checkpoint, key, whole[0], seconds(), stopped)
                self.reporter.epoch(self._told())
        except KeyboardInterrupt:
            # What an unfinished epoch changed is undone.
            state, self.history = whole
            if not self.done:
                raise
            stopped = "interrupted"
            self.set_state(state)
        if self.best_state is not None:
            self.set_state(self.best_state)
        best = self.best_epoch if self.best_state is not None else self.done
        if not is_over and self._end_callbacks(best):
            best = self.best_epoch
            # A run that is killed before it is written has these weights when it is resumed.
            if checkpoint is not None and stopped not in ("interrupted", "time"):
                self._keep(checkpoint, key, whole[0], seconds(), stopped)
        return Fitted(self.history, self.done, self.epochs, best, stopped, seconds(), self.estimate)

    def _begin_callbacks(self) -> None:
        """Tell the user's callbacks that training begins, or goes on."""
        callbacks = self.custom.callbacks
        if callbacks and self.done:
            self.reporter.log("Callbacks begin anew where training goes on.")
        self.callbacks = TrainingCallbacks(callbacks, self.network, self.epochs, len(self.train))
        self.callbacks.begin()

    def _end_callbacks(self, best: int) -> bool:
        """Tell that training has ended; whether the network has other weights after that."""
        if not self.custom.callbacks:
            return False
        before = self.state()
        names = [name for name in self.history if name not in COLUMNS or name in _SCORES]
        self.callbacks.end({name: self.history[name][-1] for name in names})
        after = self.state()
        if all(map(np.array_equal, before, after)):
            return False
        self.best_state, self.best_epoch = after, self.callbacks.restored_epoch or best
        return True

    def epoch(self) -> None:
        """One pass, and a look at the validation photos where one is due."""
        number = self.done
        size = self.recipe.size_at(number, self.epochs)
        self.train.start_epoch(number, self._view_size(size))
        self.validation.start_epoch(0)
        due = (number + 1) % self.recipe.validate_every == 0 or number + 1 == self.epochs
        started = time.perf_counter()
        logs = self.network.fit(
            epoch_dataset(self.train),
            epochs=number + 1,
            initial_epoch=number,
            validation_data=epoch_dataset(self.validation) if due else None,
            class_weight=self.class_weights,
            callbacks=self._callbacks(number),
            # Keras would ask for the batches in an order of its own, drawn from nobody's seed.
            shuffle=False,
            verbose=0,
        ).history
        passed = time.perf_counter() - started
        if not math.isfinite(logs["loss"][0]):
            raise TrainingError(
                f"The loss is no number any more in epoch {number + 1} of {self.epochs}: training "
                f"has diverged with a learning rate of {self.recipe.learning_rate:g}. Give a "
                "smaller `learning_rate`."
            )
        scores = {name: values[0] for name, values in logs.items() if isinstance(values[0], Real)}
        self._add_row(
            scores
            | {
                "epoch": number + 1,
                "learning_rate": self.rate,
                "image_size": size,
                "seconds": passed,
                "waited_share": self.train.waited_seconds / passed,
            }
        )

    def _add_row(self, row: dict[str, Any]) -> None:
        """Add an epoch to the history; a column that is new has no values before it."""
        new = {name: [math.nan] * self.done for name in row if name not in self.history}
        self.history = {
            name: [*values, float(row.get(name, math.nan))]
            for name, values in (self.history | new).items()
        }

    def _told(self) -> Epoch:
        """The last epoch, for people."""
        last = {name: values[-1] for name, values in self.history.items()}
        more = {name: value for name, value in last.items() if name not in COLUMNS}
        pace = sum(self.history["seconds"]) / self._work(self.done)
        return Epoch(
            self.done,
            self.epochs,
            last["loss"],
            last["accuracy"],
            last["val_loss"],
            last["val_accuracy"],
            last["learning_rate"],
            max(pace * (self._work(self.epochs) - self._work(self.done)), 0.0),
            more,
        )

    def _callbacks(self, number: int) -> list[Any]:
        import keras

        steps = len(self.train)
        unit, before, total = self._share(number), self._work(number), self._work(self.epochs)

        def report(batch: int, logs: Any = None) -> None:
            done = before + unit * (batch + 1) / steps
            self.reporter.progress(round(done * 100), round(total * 100))

        def remember(epoch: int, logs: Any = None) -> None:
            self.rate = float(self.network.optimizer.learning_rate)

        return [
            keras.callbacks.TerminateOnNaN(),
            *self.callbacks.relays(),  # before the rate is read, which they may set
            keras.callbacks.LambdaCallback(on_epoch_begin=remember, on_train_batch_end=report),
        ]

    def _reason_to_stop(self, state: State, seconds: float, budget: float | None) -> str:
        loss = self.history["val_loss"][-1]
        if self.recipe.patience is not None and not math.isnan(loss):
            if loss < self.best_loss:
                self.best_loss, self.best_epoch, self.best_state = loss, self.done, state
            elif self.done - self.best_epoch >= self.recipe.patience:
                return "patience"
        if self.callbacks.wants_to_stop and self.done < self.epochs:
            return "callback"
        late = budget is not None and seconds + self.history["seconds"][-1] > 1.1 * budget
        return "time" if late and self.done < self.epochs else ""

    def _keep(self, folder: Path, key: str, state: State, seconds: float, stopped: str) -> None:
        facts = {
            "format": _CHECKPOINT_FORMAT,
            "key": key,
            "ended": stopped if stopped in ("patience", "callback") else "",
            "planned_epochs": self.epochs,
            "estimated_seconds": self.estimate,
            "history": self.history,
            "seconds": seconds,
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "num_best": 0 if self.best_state is None else len(self.best_state),
        }
        arrays: dict[str, Any] = {f"state_{n}": value for n, value in enumerate(state)}
        arrays |= {f"best_{n}": value for n, value in enumerate(self.best_state or [])}
        folder.mkdir(parents=True, exist_ok=True)
        with new_file(folder / CHECKPOINT_FILE, replace=True) as part, part.open("wb") as file:
            np.savez(file, facts=np.array(json.dumps(facts)), **arrays)
            file.flush()
            os.fsync(file.fileno())


def _read_checkpoint(folder: Path, key: str) -> dict[str, Any] | None:
    """What a checkpoint holds; None where there is none."""
    path = folder / CHECKPOINT_FILE
    if not os.path.lexists(path):
        return None
    try:
        with open_regular(path) as opened, np.load(opened, allow_pickle=False) as file:
            facts: dict[str, Any] = json.loads(str(file["facts"]))
            count = sum(name.startswith("state_") for name in file.files)
            facts["state"] = [file[f"state_{number}"] for number in range(count)]
            best = [file[f"best_{number}"] for number in range(facts["num_best"])]
            facts["best_state"] = best or None
        lengths = {len(facts["history"][name]) for name in (*COLUMNS, *facts["history"])}
        whole = len(lengths) == 1 and lengths.pop() <= facts["planned_epochs"] <= 100_000
        if not whole or not isinstance(facts["planned_epochs"], int):
            raise ValueError("its epochs do not add up")
        for name in ("estimated_seconds", "seconds", "best_loss", "best_epoch"):
            facts[name] + 0.0
    # Hostile bytes make NumPy, zipfile and the unpackers raise nearly anything.
    except Exception as error:
        raise _unreadable(folder, error) from error
    if facts.get("format") != _CHECKPOINT_FORMAT or facts.get("key") != key:
        raise DataError(
            f"The checkpoint {path} is of another training: the photos, their split or the "
            "options differ. Give the same ones to resume, or delete its folder."
        )
    return facts


def _unreadable(folder: Path | None, error: Exception) -> DataError:
    return DataError(
        f"The checkpoint in {folder} cannot be read ({explain_damage(error)}); delete the folder "
        "and train anew."
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"
