"""Losses and metrics of the user's own."""

from typing import Any

import numpy as np
import pytest

from handful.errors import TrainingError, UsageError
from handful.training.compiling import check_objective, find_loss, find_metrics
from handful.training.custom_objects import CustomObjects
from handful.training.loop import COLUMNS
from reporters import Recorder
from test_loop import fit, network, replaced

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("keras_ready")]


def squared(labels: Any, probabilities: Any) -> Any:
    return (labels - probabilities) ** 2


def backwards(labels: Any, probabilities: Any) -> Any:
    return labels * probabilities


def own_loss() -> Any:
    """A loss whose author takes labels for (N, 1), as probabilities are."""
    import keras

    class Own(keras.losses.Loss):  # type: ignore[misc]
        def call(self, labels: Any, probabilities: Any) -> Any:
            return keras.ops.mean((labels - probabilities) ** 2)

    return Own()


def own_metric() -> Any:
    import keras

    class Own(keras.metrics.Mean):  # type: ignore[misc]
        def update_state(self, labels: Any, probabilities: Any, sample_weight: Any = None) -> Any:
            return super().update_state((labels - probabilities) ** 2)

    return Own(name="brier")


@pytest.mark.parametrize("loss", ["focal", "mse", "binary_crossentropy", squared])
def test_a_loss_by_name_or_as_a_function(loss: Any) -> None:
    made = network()
    custom = CustomObjects(loss=loss, metrics=("auc",))
    history = fit(made, replaced(epochs=6, policy=None), custom=custom).history
    assert history["loss"][-1] < history["loss"][0] and history["val_accuracy"][-1] > 0.5
    assert tuple(history) == (*COLUMNS, "auc", "val_auc")
    assert check_objective(loss, ("auc",), 1) == []


def test_focal_is_the_one_for_the_networks_output() -> None:
    import keras

    assert isinstance(find_loss("focal", 1), keras.losses.BinaryFocalCrossentropy)
    assert isinstance(find_loss("focal", 3), keras.losses.CategoricalFocalCrossentropy)
    assert find_loss(None, 3, 0.1).get_config()["label_smoothing"] == 0.1
    for num_values in (1, 2, 5):
        assert check_objective("focal", ("auc", "f1_score", "precision"), num_values) == []


def test_metrics_are_columns_under_their_names() -> None:
    import keras

    def sureness(_labels: Any, probabilities: Any) -> Any:
        return keras.ops.abs(probabilities - 0.5)

    metrics = ("accuracy", "f1_score", keras.metrics.AUC(name="roc"), sureness)
    recorder = Recorder()
    custom = CustomObjects(metrics=metrics)
    recipe = replaced(epochs=2, validate_every=2)
    history = fit(network(), recipe, custom=custom, reporter=recorder).history
    own = ("f1_score", "roc", "sureness", "val_f1_score", "val_roc", "val_sureness")
    assert tuple(history) == (*COLUMNS, *own)
    assert np.isnan(history["val_roc"][0]) and 0 <= history["val_roc"][1] <= 1
    assert history["accuracy"][0] <= 1 and 0 < history["sureness"][0] < 0.5
    first, second = recorder.of("epoch")
    assert first.metrics.keys() == {"f1_score", "roc", "sureness"}
    assert f"roc {history['roc'][1]:.3f}" in str(second)
    assert f"roc {history['val_roc'][1]:.3f}" in str(second).partition("validation")[2]


@pytest.mark.parametrize("loss", [squared, own_loss])
def test_labels_have_the_shape_of_probabilities(loss: Any) -> None:
    given = loss() if loss is own_loss else loss
    custom = CustomObjects(loss=given, metrics=(squared, own_metric()))
    history = fit(network(), replaced(epochs=2, policy=None), custom=custom).history
    for name in ("val_squared", "val_brier"):
        np.testing.assert_allclose(history[name], history["val_loss"], rtol=1e-5)


def test_a_metric_of_ones_own_may_be_watched() -> None:
    import keras

    stopping = keras.callbacks.EarlyStopping(monitor="val_auc", patience=1)
    custom = CustomObjects(metrics=("auc",), callbacks=(stopping,))
    fitted = fit(network(), replaced(epochs=30), custom=custom)
    assert fitted.stopped == "callback" and stopping.best == max(fitted.history["val_auc"])


def test_patience_and_divergence_heed_a_loss_of_ones_own() -> None:
    custom = CustomObjects(loss=squared)
    fitted = fit(
        network(), replaced(epochs=60, patience=2, learning_rate=0.05, policy=None), custom=custom
    )
    losses = fitted.history["val_loss"]
    assert fitted.stopped == "patience" and losses[fitted.best_epoch - 1] == min(losses)

    def broken(labels: Any, probabilities: Any) -> Any:
        return squared(labels, probabilities) / 0.0

    with pytest.raises(TrainingError, match="The loss is no number any more in epoch 1"):
        fit(network(), custom=CustomObjects(loss=broken))


@pytest.mark.parametrize(
    ("loss", "num_values", "message"),
    [
        ("focus", 1, "`loss` is 'focus'; expected focal, or another name that Keras has"),
        ("categorical_crossentropy", 1, r"for right answers, and .*; .* shape \(N, 1\), for 2"),
        ("kl_divergence", 1, "where one of class 0 is wrong; expected more"),
        ("sparse_categorical_crossentropy", 3, r"fails: .*one-hot.* of shape \(N, 3\)"),
        (
            backwards,
            1,
            r"The loss backwards is 0\.425 for right answers, and 0\.425 where one of class 0",
        ),
        (3, 1, "`loss` is 3; expected a name, an object of Keras, or a function"),
        (lambda labels: labels, 1, "The loss <lambda> fails: TypeError"),
    ],
)
def test_losses_that_do_not_fit_are_refused(loss: Any, num_values: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_objective(loss, (), num_values)


def test_losses_of_keras_are_refused_where_they_would_not_train() -> None:
    import keras

    for loss, message in (
        (keras.losses.BinaryCrossentropy(from_logits=True), "BinaryCrossentropy of logits"),
        (keras.losses.BinaryFocalCrossentropy, r"the class .*: BinaryFocalCrossentropy\(\.\.\.\)"),
    ):
        with pytest.raises(UsageError, match=message):
            check_objective(loss, (), 1)


def test_metrics_that_do_not_fit_are_refused() -> None:
    import keras

    for metric, message in (
        ("auk", "`metrics` has 'auk'; expected a name that Keras has, such as auc"),
        (keras.metrics.AUC, r"`metrics` has the class AUC; expected an object: AUC\(\.\.\.\)"),
        (keras.metrics.AUC(name="seconds"), "has one of the name seconds, which is taken"),
        (keras.metrics.F1Score(), r"F1Score|f1_score gives values of shape \(1,\)"),
    ):
        with pytest.raises(UsageError, match=message):
            check_objective(None, (metric,), 1)
    with pytest.raises(UsageError, match="has one of the name auc, which is taken"):
        find_metrics(("auc", "auc"), 1)
    (line,) = check_objective(None, (keras.metrics.F1Score(average="macro"),), 1)
    assert "for right and for wrong answers alike" in line
