"""What a network is compiled with: loss, metrics and optimizer, the recipe's or the user's own."""

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from handful.errors import UsageError
from handful.features.keras_runtime import prepare_keras
from handful.training.custom_objects import name_of
from handful.training.recipes import Recipe

if TYPE_CHECKING:
    import keras

_WARM_UP = 0.08
# Columns that a history has by itself.
_TAKEN = ("loss", "accuracy", "epoch", "learning_rate", "image_size", "seconds", "waited_share")
_ACCURACY = ("accuracy", "acc")
# A loss is tried on wrong answers of so many classes.
_CLASSES_TRIED = 8


def compile_network(
    network: "keras.Model",
    recipe: Recipe,
    num_steps: int,
    rates: Mapping[str, float] | None = None,
    loss: Any = None,
    metrics: Sequence[Any] = (),
    is_taught: bool = False,
) -> None:
    """Give a network its loss, optimizer and metrics.

    Args:
        network: Ends in probabilities, one for two classes or C.
        recipe: How it is trained.
        num_steps: Steps in all, for the schedule.
        rates: Path of a variable to the factor on its learning rate; None is 1 for all.
        loss: See `find_loss`.
        metrics: See `find_metrics`; accuracy comes before them.
        is_taught: Whether labels are a teacher's probabilities.
    """
    import keras

    num_values = network.output_shape[-1]
    network.compile(
        optimizer=_optimizer(recipe, num_steps, rates),
        loss=find_loss(loss, num_values, recipe.label_smoothing),
        metrics=[_accuracy(num_values, is_taught), *find_metrics(metrics, num_values)],
        # On CPUs TensorFlow's own kernels are nearly twice as fast as what XLA makes; JAX has no
        # others.
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )
    network.optimizer.build(network.trainable_variables)


def find_loss(loss: Any, num_values: int, label_smoothing: float = 0.0) -> Any:
    """Take a loss, or find it by name.

    Args:
        loss: None for cross-entropy; "focal", or another name that Keras knows; a
            `keras.losses.Loss`; or a function of (labels, probabilities), of one shape.
        num_values: Values that the network gives a photo.
        label_smoothing: Share of the truth spread over all classes by cross-entropy.

    Returns:
        What `compile` takes.

    Raises:
        UsageError: When there is none of that name, or it is no loss.
    """
    import keras

    kind = "Binary" if num_values == 1 else "Categorical"
    if loss is None:
        return getattr(keras.losses, f"{kind}Crossentropy")(label_smoothing=label_smoothing)
    if loss == "focal":
        return getattr(keras.losses, f"{kind}FocalCrossentropy")()
    if isinstance(loss, str):
        try:
            return _of_one_shape(keras.losses.get(loss), num_values)
        except ValueError as error:
            raise UsageError(
                f"`loss` is {loss!r}; expected focal, or another name that Keras has, such as "
                "binary_crossentropy, categorical_crossentropy or mse."
            ) from error
    _check_callable("`loss` is", loss)
    if getattr(loss, "from_logits", False):
        raise UsageError(
            f"`loss` is a {name_of(loss)} of logits, and networks end in probabilities here; leave "
            "from_logits out."
        )
    return _of_one_shape(loss, num_values)


def _of_one_shape(loss: Any, num_values: int) -> Any:
    """A loss that gets labels (N, 1) where a photo has one value: it may subtract them."""
    import keras

    if num_values > 1:
        return loss
    if not isinstance(loss, keras.losses.Loss):

        @functools.wraps(loss)
        def shaped(labels: Any, probabilities: Any) -> Any:
            return loss(_with_axis(labels), probabilities)

        return shaped

    class Shaped(keras.losses.Loss):  # type: ignore[misc]
        """The loss, of labels with an axis more."""

        def call(self, labels: Any, probabilities: Any) -> Any:
            return loss.call(_with_axis(labels), probabilities)

    return Shaped(name=loss.name, reduction=loss.reduction)


def _with_axis(labels: Any) -> Any:
    from keras import ops

    return ops.expand_dims(labels, -1) if len(labels.shape) == 1 else labels


def find_metrics(metrics: Sequence[Any], num_values: int) -> list[Any]:
    """Take metrics, or find them by name.

    Args:
        metrics: Names that Keras knows, such as "auc"; `keras.metrics.Metric`; or functions of
            (labels, probabilities). Accuracy is left out: it is measured anyway.
        num_values: Values that the network gives a photo.

    Returns:
        `keras.metrics.Metric`, each with a name of its own.

    Raises:
        UsageError: When there is none of a name, it is no metric, or a name is taken.
    """
    found = [_find_metric(one, num_values) for one in metrics if one not in _ACCURACY]
    taken = {*_TAKEN}
    for metric in found:
        if metric.name in taken or metric.name.startswith("val_"):
            raise UsageError(
                f"`metrics` has one of the name {metric.name}, which is taken; give it another "
                "`name`."
            )
        taken.add(metric.name)
    return found


def _find_metric(metric: Any, num_values: int) -> Any:
    import keras

    name, found = name_of(metric), metric
    if metric == "f1_score":
        threshold = 0.5 if num_values == 1 else None
        found = keras.metrics.F1Score(average="macro", threshold=threshold)
    elif isinstance(metric, str):
        try:
            found = keras.metrics.get(metric)
        except ValueError as error:
            raise UsageError(
                f"`metrics` has {metric!r}; expected a name that Keras has, such as auc, precision "
                "or recall."
            ) from error
    if not isinstance(found, keras.metrics.Metric):
        _check_callable("`metrics` has", found)
        found = keras.metrics.MeanMetricWrapper(found, name=name.strip("<>"))
    elif isinstance(metric, str):  # by itself a second one in a process would be "auc_1"
        found = type(found).from_config({**found.get_config(), "name": name})
    return found if num_values > 1 else _metric_of_one_shape(found)


def _metric_of_one_shape(metric: Any) -> Any:
    """The same for a metric, see `_of_one_shape`."""
    import keras

    class Shaped(keras.metrics.Metric):  # type: ignore[misc]
        """The metric, of labels with an axis more."""

        def __init__(self) -> None:
            super().__init__(name=metric.name)
            self.inner = metric
            if hasattr(metric, "_direction"):  # by which callbacks know whether more is better
                self._direction = metric._direction

        def update_state(self, labels: Any, probabilities: Any, sample_weight: Any = None) -> None:
            self.inner.update_state(_with_axis(labels), probabilities, sample_weight)

        def result(self) -> Any:
            return self.inner.result()

        def reset_state(self) -> None:
            self.inner.reset_state()

    return Shaped()


def _check_callable(what: str, given: Any) -> None:
    if isinstance(given, type):
        raise UsageError(
            f"{what} the class {given.__name__}; expected an object: {given.__name__}(...)."
        )
    if not callable(given):
        raise UsageError(
            f"{what} {given!r}; expected a name, an object of Keras, or a function of (labels, "
            "probabilities)."
        )


def check_names(loss: Any, metrics: Sequence[Any]) -> None:
    """Refuse a loss and metrics that are none, before any work; Keras is imported for it.

    Args:
        loss: See `find_loss`.
        metrics: See `find_metrics`.

    Raises:
        UsageError: When there is none of a name, or it is no loss or metric.
    """
    if loss is not None or metrics:
        prepare_keras()
        find_loss(loss, 1)
        find_metrics(metrics, 1)


def check_objective(loss: Any, metrics: Sequence[Any], num_values: int) -> list[str]:
    """Try a loss and metrics on answers that are right and on some that are wrong.

    Args:
        loss: See `find_loss`.
        metrics: See `find_metrics`.
        num_values: Values that the network gives a photo.

    Returns:
        Lines for people: metrics that do not tell right from wrong.

    Raises:
        UsageError: When one fails, a loss is not smaller for right answers, or a metric gives
            several values.
    """
    prepare_keras()
    labels, right, wrong = _answers(num_values)
    if loss is not None:
        found = find_loss(loss, num_values)
        good = _value("loss", loss, found, labels, right)
        for row in range(min(len(labels), _CLASSES_TRIED)):
            given = np.concatenate([right[:row], wrong[row : row + 1], right[row + 1 :]])
            bad = _value("loss", loss, found, labels, given)
            if not good < bad:
                raise UsageError(
                    f"The loss {name_of(loss)} is {good:.3g} for right answers, and {bad:.3g} "
                    f"where one of class {row % max(num_values, 2)} is wrong; expected more. "
                    f"{_words(num_values)}"
                )
    lines = []
    for metric in find_metrics(metrics, num_values):
        values = []
        for given in (right, wrong):
            metric.reset_state()
            values.append(_value("metric", metric.name, _measured(metric), labels, given))
        metric.reset_state()
        if values[0] == values[1]:
            lines.append(
                f"The metric {metric.name} is {values[0]:.3g} for right and for wrong answers "
                f"alike. {_words(num_values)}"
            )
    return lines


def _measured(metric: Any) -> Callable[[Any, Any], Any]:
    def measure(labels: Any, given: Any) -> Any:
        metric.update_state(labels, given)
        return metric.result()

    return measure


def _answers(num_values: int) -> tuple[Any, Any, Any]:
    """Labels, and probabilities that are right and wrong."""
    if num_values == 1:
        labels = np.array([0.0, 1.0, 0.0, 1.0])
        right = np.array([[0.1], [0.9], [0.2], [0.8]])
        wrong = 1 - right
    else:
        labels = np.eye(num_values)
        right = 0.8 * labels + 0.2 / num_values
        wrong = np.roll(right, 1, axis=1)
    return tuple(values.astype(np.float32) for values in (labels, right, wrong))  # type: ignore[return-value]


def _value(
    kind: str,
    custom: Any,
    function: Callable[[Any, Any], Any],
    labels: NDArray[np.float32],
    given: NDArray[np.float32],
) -> float:
    """What a loss or a metric says of answers."""
    from keras import ops

    name = name_of(custom)
    try:
        with warnings.catch_warnings():
            # What Keras warns of is said in our words.
            warnings.simplefilter("ignore")
            value = function(ops.convert_to_tensor(labels), ops.convert_to_tensor(given))
            values = np.asarray(ops.convert_to_numpy(value), np.float64)
    except Exception as error:  # whatever the user's function raises
        reason = " ".join(str(error).split())[:300]
        raise UsageError(
            f"The {kind} {name} fails: {type(error).__name__}: {reason.rstrip('.')}. "
            f"{_words(given.shape[1])}"
        ) from error
    if kind == "metric" and values.ndim:
        raise UsageError(
            f"The metric {name} gives values of shape {values.shape}; expected one value, such as "
            "the mean over the classes (average='macro')."
        )
    if not np.isfinite(values).all():
        raise UsageError(f"The {kind} {name} is {values.mean()} for plain answers.")
    return float(values.mean())


def _words(num_values: int) -> str:
    """What labels and probabilities are, for whoever writes a loss."""
    what = "0 or 1, as a network ends in one value" if num_values == 1 else "one-hot"
    return (
        f"Labels ({what}) and probabilities are float32 of shape (N, {num_values}), for "
        f"{max(num_values, 2)} classes."
    )


def _accuracy(num_values: int, is_taught: bool) -> Any:
    import keras

    if num_values > 1:
        return keras.metrics.CategoricalAccuracy(name="accuracy")
    if not is_taught:
        return keras.metrics.BinaryAccuracy(name="accuracy")

    class TaughtAccuracy(keras.metrics.BinaryAccuracy):  # type: ignore[misc]
        """Binary accuracy whose labels may be a teacher's probabilities."""

        def update_state(self, labels: Any, probabilities: Any, sample_weight: Any = None) -> Any:
            labels = keras.ops.cast(labels > 0.5, "float32")
            return super().update_state(labels, probabilities, sample_weight)

    return TaughtAccuracy(name="accuracy")


def _optimizer(recipe: Recipe, num_steps: int, rates: Mapping[str, float] | None) -> Any:
    from keras import optimizers

    rate: Any = recipe.learning_rate
    if recipe.cosine and not recipe.rate_callback:
        warm_up = max(1, round(_WARM_UP * num_steps))
        rate = optimizers.schedules.CosineDecay(
            0.0,
            max(num_steps - warm_up, 1),
            warmup_target=recipe.learning_rate,
            warmup_steps=warm_up,
        )
    if recipe.optimizer == "sgd":
        return optimizers.SGD(rate, momentum=0.9, nesterov=True)
    if recipe.optimizer == "adam" and rates is None:
        return optimizers.Adam(rate)
    if recipe.optimizer == "adam":
        return _layerwise_adam(rate, dict(rates or {}))
    optimizer = optimizers.AdamW(rate, weight_decay=recipe.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _layerwise_adam(rate: Any, rates: dict[str, float]) -> Any:
    from keras import optimizers

    class LayerwiseAdam(optimizers.Adam):  # type: ignore[misc]
        """Adam with a factor on the learning rate of each variable."""

        def build(self, variables: list[Any]) -> None:
            super().build(variables)
            self.factors = [rates.get(variable.path, 1.0) for variable in variables]

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            factor = self.factors[self._get_variable_index(variable)]
            super().update_step(gradient, variable, learning_rate * factor)

    return LayerwiseAdam(rate)
