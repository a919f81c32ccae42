"""Keras callbacks of the user's: told of a training that calls `fit` once an epoch as of one."""

import functools
import sys
from collections.abc import Sequence
from typing import Any

from handful.errors import UsageError

# What `fit` tells of an epoch. When training begins and ends is told by whoever calls it for all.
_EVENTS = (
    "on_epoch_begin",
    "on_epoch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_begin",
    "on_test_end",
    "on_test_batch_begin",
    "on_test_batch_end",
)


def check_callbacks(callbacks: Sequence[Any]) -> None:
    """Refuse what is no callback.

    Args:
        callbacks: What was given.

    Raises:
        UsageError: When one of them is none, or keeps checkpoints to resume from.
    """
    keras = sys.modules.get("keras")  # whoever has made one has imported it
    for number, callback in enumerate(callbacks):
        name = callback.__name__ if isinstance(callback, type) else type(callback).__name__
        if isinstance(callback, type):
            raise UsageError(f"callbacks[{number}] is a class; expected an object: {name}(...).")
        if keras is None or not isinstance(callback, keras.callbacks.Callback):
            raise UsageError(
                f"callbacks[{number}] is of the type {name}; expected a keras.callbacks.Callback."
            )
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise UsageError(
                f"callbacks[{number}] is a {name}, and training keeps a checkpoint of each epoch "
                "by itself; leave it out, and resume with `resume`."
            )


def sets_learning_rate(callback: Any) -> bool:
    """Whether a callback sets the learning rate, so that the recipe does not.

    Args:
        callback: The callback.

    Returns:
        True for Keras' own that do, and for those with a true `sets_learning_rate`.
    """
    callbacks = sys.modules["keras"].callbacks
    known = callbacks.ReduceLROnPlateau, callbacks.LearningRateScheduler
    return isinstance(callback, known) or bool(getattr(callback, "sets_learning_rate", False))


class TrainingCallbacks:
    """The callbacks of one training.

    Args:
        callbacks: Of the user's.
        network: What is trained, compiled.
        epochs: Epochs planned.
        steps: Steps of an epoch.
    """

    def __init__(self, callbacks: Sequence[Any], network: Any, epochs: int, steps: int) -> None:
        self.callbacks, self.network = callbacks, network
        for callback in callbacks:
            callback.set_params({"verbose": 0, "epochs": epochs, "steps": steps})
            callback.set_model(network)

    @property
    def wants_to_stop(self) -> bool:
        """Whether one of them has asked the network to stop training."""
        return bool(self.callbacks) and bool(self.network.stop_training)

    def relays(self) -> list[Any]:
        """What to give to `fit`, each time."""
        return [_relay_class()(self)] if self.callbacks else []

    def begin(self) -> None:
        """Tell that training begins; it may be the rest of one."""
        self.network.stop_training = False
        self.tell("on_train_begin", {})

    def end(self, logs: dict[str, Any]) -> None:
        """Tell that training has ended.

        Args:
            logs: Scores of the last epoch.
        """
        self.tell("on_train_end", logs)

    @property
    def restored_epoch(self) -> int | None:
        """Epoch, from 1, whose weights one of them gives the network at the end."""
        for callback in self.callbacks:
            if getattr(callback, "restore_best_weights", False):
                return int(callback.best_epoch) + 1
        return None

    def tell(self, event: str, *arguments: Any, **more: Any) -> None:
        """Tell all of an event.

        Args:
            event: Name of a method.
            *arguments: What it takes.
            **more: By name.

        Raises:
            UsageError: When a callback sets a learning rate that follows the recipe.
        """
        for callback in self.callbacks:
            try:
                getattr(callback, event)(*arguments, **more)
            except TypeError as error:
                # Keras' words where a rate is set that a schedule gives.
                if "LearningRateSchedule" not in str(error):
                    raise
                name = type(callback).__name__
                raise UsageError(
                    f"{name} sets the learning rate, which follows this recipe's warm-up and "
                    f"cosine. Say that it does, by `sets_learning_rate = True` in the class {name}:"
                    " the rate is then the callback's alone."
                ) from error


@functools.cache
def _relay_class() -> Any:
    """A callback that passes on what it is told; made late, for it needs Keras."""
    import keras

    def passing(event: str) -> Any:
        def tell(self: Any, *arguments: Any, **more: Any) -> None:
            self.told.tell(event, *arguments, **more)

        return tell

    class Relay(keras.callbacks.Callback):  # type: ignore[misc]
        """Passes on what `fit` tells of an epoch."""

        def __init__(self, told: TrainingCallbacks) -> None:
            super().__init__()
            self.told = told

    for event in _EVENTS:
        setattr(Relay, event, passing(event))
    return Relay
