"""What a user brings from Python: a network, a loss, metrics, callbacks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from handful.config import TrainConfig
from handful.errors import UsageError
from handful.training.callbacks import check_callbacks, sets_learning_rate

if TYPE_CHECKING:
    import keras

Network = Callable[[tuple[int, int, int], int], "keras.Model"]


@dataclass(frozen=True, eq=False)
class CustomObjects:
    """Objects of the user's that a run is made with.

    Args:
        network: Builds the network: from (input shape, number of classes) to a Keras model.
        loss: A `keras.losses.Loss`, a function of (labels, probabilities), or the name of one; None
            takes the recipe's.
        metrics: `keras.metrics.Metric`, functions of (labels, probabilities), or names.
        callbacks: Told of the training as Keras tells them.
    """

    network: Network | None = None
    loss: Any = None
    metrics: tuple[Any, ...] = ()
    callbacks: tuple[Any, ...] = ()

    @classmethod
    def given(
        cls, network: Network | None, loss: Any, metrics: Sequence[Any], callbacks: Sequence[Any]
    ) -> "CustomObjects":
        """Take the arguments of `train`.

        Args:
            network: As above.
            loss: As above.
            metrics: As above.
            callbacks: As above.

        Returns:
            The objects.

        Raises:
            UsageError: When one is not what it should be.
        """
        for name, several in (("metrics", metrics), ("callbacks", callbacks)):
            if not isinstance(several, list | tuple):
                raise UsageError(
                    f"{name} is {_shown(several)}; expected a list, such as [{_shown(several)}]."
                )
        if network is not None and (hasattr(network, "layers") or not callable(network)):
            raise UsageError(
                f"network is {_shown(network)}; expected a function of (input_shape, num_classes) "
                "that returns a Keras model, for it is built anew for each training."
            )
        check_callbacks(callbacks)
        return cls(network, loss, tuple(metrics), tuple(callbacks))

    def names(self) -> dict[str, Any]:
        """What run.json keeps of them.

        Returns:
            "network" and "loss" (a name each), "metrics" and "callbacks" (a list of names); those
            that there are. Names that say all, as of a loss of Keras', are no objects.
        """
        found = {
            "network": name_of(self.network),
            "loss": "" if isinstance(self.loss, str) else name_of(self.loss),
            "metrics": [name_of(one) for one in self.metrics if not isinstance(one, str)],
            "callbacks": [name_of(one) for one in self.callbacks],
        }
        return {kind: named for kind, named in found.items() if named}

    def options(self) -> dict[str, Any]:
        """What of them is a name, and so an option of `TrainConfig`.

        Returns:
            "loss" and "metrics", those that there are.
        """
        named = tuple(one for one in self.metrics if isinstance(one, str))
        found = {"loss": self.loss if isinstance(self.loss, str) else None, "metrics": named}
        return {name: value for name, value in found.items() if value}

    def of_config(self, config: TrainConfig) -> "CustomObjects":
        """The same with what a configuration names.

        Args:
            config: What was asked; it has names of a loss and of metrics.

        Returns:
            The objects of a training.
        """
        loss = config.loss if self.loss is None else self.loss
        others = (one for one in self.metrics if one not in config.metrics)
        return replace(self, loss=loss, metrics=(*config.metrics, *others))

    def steering(self) -> "CustomObjects":
        """The same with those callbacks alone that set the learning rate."""
        return replace(self, callbacks=tuple(filter(sets_learning_rate, self.callbacks)))

    @property
    def rate_callback(self) -> str:
        """Name of the callback that sets the learning rate, or ""."""
        return next((name_of(one) for one in self.callbacks if sets_learning_rate(one)), "")


def name_of(custom: Any) -> str:
    """What an object of the user's is called.

    Args:
        custom: A function, or an object of a class.

    Returns:
        Its name; "" for None.
    """
    if custom is None or isinstance(custom, str):
        return custom or ""
    return str(getattr(custom, "__name__", type(custom).__name__))


def _shown(custom: Any) -> str:
    """An object in a message."""
    return repr(custom) if isinstance(custom, str | dict) else name_of(custom)
