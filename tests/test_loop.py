import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import draw_photo
from handful.data.augmentation import EXERCISE_POLICY
from handful.errors import DataError, TrainingError
from handful.training.batches import BatchSource
from handful.training.compiling import compile_network
from handful.training.loop import COLUMNS, Fitted, fit_network
from handful.training.recipes import Recipe
from reporters import Recorder, Stopper

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("keras_ready")]

RECIPE = Recipe("scratch", 32, epochs=4, batch_size=12, learning_rate=5e-3, policy=EXERCISE_POLICY)


def photos(count: int, first: int) -> tuple[np.ndarray, np.ndarray]:
    import cv2

    kinds = ["round", "square"] * (count // 2)
    images = [
        cv2.resize(draw_photo(kind, first + n), (32, 32), interpolation=cv2.INTER_AREA)
        for n, kind in enumerate(kinds)
    ]
    return np.stack(images), np.array([kind == "square" for kind in kinds], np.int64)


def network(seed: int = 0) -> Any:
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    images = x = keras.Input((32, 32, 3))
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    x = layers.Dropout(0.2)(x)
    x = layers.Flatten()(x)
    return keras.Model(images, layers.Dense(1, activation="sigmoid")(x))


def fit(made: Any, recipe: Recipe = RECIPE, **options: Any) -> Fitted:
    train = BatchSource(*photos(36, 0), 2, recipe.batch_size, policy=recipe.policy, scale=1 / 255)
    held_out = BatchSource(*photos(12, 900), 2, 12, shuffle=False, scale=1 / 255)
    return fit_network(made, train, held_out, recipe, **options)


def test_it_beats_chance_and_keeps_a_history() -> None:
    made = network()
    fitted = fit(made, replaced(epochs=12, cosine=True, optimizer="adamw", weight_decay=0.01))
    history = fitted.history
    assert tuple(history) == COLUMNS and history["epoch"] == list(range(1, 13))
    assert {len(values) for values in history.values()} == {12}
    assert history["val_accuracy"][-1] >= 10 / 12 and history["loss"][-1] < 0.5
    assert history["learning_rate"][2] > history["learning_rate"][-1] > 0
    assert all(0 <= share < 1 for share in history["waited_share"])
    assert (fitted.epochs, fitted.planned_epochs, fitted.best_epoch, fitted.stopped) == (
        12,
        12,
        12,
        "",
    )


def test_each_epoch_is_told() -> None:
    recorder = Recorder()
    history = fit(network(), replaced(validate_every=2), reporter=recorder).history
    told = recorder.of("epoch")
    assert [(epoch.epoch, epoch.epochs) for epoch in told] == [(n, 4) for n in (1, 2, 3, 4)]
    for name in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
        np.testing.assert_array_equal([getattr(epoch, name) for epoch in told], history[name])
    assert math.isnan(told[0].val_loss) and not math.isnan(told[1].val_loss)
    left = [epoch.seconds_left for epoch in told]
    assert left[1] == pytest.approx(sum(history["seconds"][:2])) and left[3] == 0


def replaced(**changes: Any) -> Recipe:
    from dataclasses import replace

    return replace(RECIPE, **changes)


def test_the_same_seed_gives_the_same_weights() -> None:
    first, second, other = network(), network(), network(1)
    for made in (first, second, other):
        fit(made, replaced(epochs=2))
    assert all(map(np.array_equal, first.get_weights(), second.get_weights()))
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])


@pytest.mark.parametrize("way", ["interrupt", "cancel"])
def test_resuming_ends_in_the_same_weights(tmp_path: Path, way: str) -> None:
    whole, broken = network(), network()
    expected = fit(whole)
    # In the third epoch of three steps.
    stopper = Stopper(lambda _phase, done, _total: done > 230, way)
    first = fit(broken, checkpoint=tmp_path, reporter=stopper)
    assert (first.stopped, first.epochs, first.planned_epochs) == ("interrupted", 2, 4)
    again = network()
    rest = fit(again, checkpoint=tmp_path, resume=True)
    assert rest.stopped == "" and rest.history["loss"] == expected.history["loss"]
    assert all(map(np.array_equal, whole.get_weights(), again.get_weights()))
    # What was interrupted has the weights of its last whole epoch.
    assert not np.array_equal(broken.get_weights()[0], whole.get_weights()[0])
    # The time of both parts is told, whatever an unfinished epoch took.
    assert stopper.of("progress")[-1][1] == 400 and rest.seconds > sum(rest.history["seconds"])


@pytest.mark.parametrize("way", ["interrupt", "cancel"])
def test_a_stop_before_the_first_epoch_ends_is_passed_on(way: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(network(), reporter=Stopper(lambda *_: True, way))


def test_a_loss_that_is_no_number_stops_training() -> None:
    with pytest.raises(TrainingError, match=r"no number any more in epoch 1 of 4: .*1e\+38"):
        fit(network(), replaced(learning_rate=1e38, optimizer="sgd"))


def test_patience_goes_back_to_the_best_epoch() -> None:
    made = network()
    fitted = fit(made, replaced(epochs=60, patience=2, learning_rate=0.05, policy=None))
    losses = fitted.history["val_loss"]
    assert fitted.stopped == "patience" and fitted.epochs == fitted.best_epoch + 2 < 60
    assert losses[fitted.best_epoch - 1] == min(losses)
    images, labels = photos(12, 900)
    held_out = BatchSource(images, labels, 2, 12, shuffle=False, scale=1 / 255)
    assert made.evaluate(*held_out.batch(0), verbose=0)[0] == pytest.approx(min(losses), rel=1e-5)


def test_validation_may_be_looked_at_seldom() -> None:
    losses = fit(network(), replaced(epochs=5, validate_every=2)).history["val_loss"]
    assert [math.isnan(loss) for loss in losses] == [True, False, True, False, False]


def test_a_time_budget_shortens_the_plan() -> None:
    recorder = Recorder()
    recipe = replaced(epochs=4000, sizes=())
    fitted = fit(network(), recipe, time_budget_seconds=2.0, reporter=recorder)
    assert 1 <= fitted.planned_epochs < 4000 and fitted.estimated_seconds > 0
    assert fitted.estimated_seconds <= 2.0 or fitted.planned_epochs == 1  # where a step takes long
    assert fitted.epochs <= fitted.planned_epochs and "epochs of 3 steps" in "".join(recorder.lines)


def test_timing_steps_changes_no_weights() -> None:
    plain, timed = network(), network()
    fit(plain, replaced(epochs=2))
    fit(timed, replaced(epochs=2), time_budget_seconds=1e6)
    assert all(map(np.array_equal, plain.get_weights(), timed.get_weights()))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of one epoch; copied, never changed."""
    folder = tmp_path_factory.mktemp("checkpoint")
    fit(network(), replaced(epochs=1), key="one", checkpoint=folder)
    return folder / "checkpoint.npz"


def test_checkpoints_of_other_trainings_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copy(checkpoint, tmp_path)
    with pytest.raises(DataError, match=r"checkpoint\.npz is of another training"):
        fit(network(), key="two", checkpoint=tmp_path, resume=True)
    (tmp_path / "checkpoint.npz").write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(DataError, match=r"The checkpoint in .* cannot be read \(File is not a zip"):
        fit(network(), key="one", checkpoint=tmp_path, resume=True)


@pytest.mark.parametrize(
    "forged",
    [
        {"planned_epochs": 0.5},
        {"planned_epochs": 10**9},
        {"history": []},
        {"history": {"epoch": [1]}},
        {"best_loss": "low"},
        {"num_best": 10**6},
        {"state_0": np.zeros((7, 7), np.float32)},
        {"state_0": np.array("text")},
    ],
)
def test_a_forged_checkpoint_is_refused_in_one_line(
    checkpoint: Path, tmp_path: Path, forged: dict[str, Any]
) -> None:
    path = shutil.copy(checkpoint, tmp_path)
    with np.load(path) as file:
        arrays = dict(file)
    facts = json.loads(str(arrays["facts"]))
    for name, value in forged.items():
        (facts if name in facts else arrays)[name] = value
    np.savez(path, **(arrays | {"facts": np.array(json.dumps(facts))}))
    with pytest.raises(DataError, match=r"The checkpoint in .* cannot be read \(") as caught:
        fit(network(), replaced(epochs=2), key="one", checkpoint=tmp_path, resume=True)
    assert "\n" not in str(caught.value)


def test_layers_may_learn_at_their_own_rates() -> None:
    made = network()
    still = made.layers[1]
    before = made.get_weights()
    rates = {weight.path: 0.0 for weight in still.weights}
    fit(made, replaced(epochs=1), rates=rates)
    moved = [not np.array_equal(a, b) for a, b in zip(before, made.get_weights(), strict=True)]
    assert moved == [False, False, True, True]


def test_weight_decay_leaves_biases_alone() -> None:
    made = network()
    recipe = replaced(optimizer="adamw", weight_decay=0.5)
    compile_network(made, recipe, 10)
    decayed = [made.optimizer._use_weight_decay(weight) for weight in made.trainable_weights]
    assert decayed == [True, False, True, False]


def test_class_weights_count() -> None:
    made = network()
    fit(made, replaced(epochs=3), class_weights=np.array([1.0, 0.0]))
    answers = made.predict(photos(12, 900)[0] / 255.0, verbose=0)
    assert (answers < 0.5).all()
