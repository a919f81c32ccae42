"""What students choose and see, from plain values."""

import sys
from dataclasses import replace

import pytest

from handful.augmentation_policy import FILL_MODES
from handful.config import train_config
from handful.data.augmentation import EXERCISE_POLICY, HANDFUL_POLICY, VIEWS_POLICY
from handful.errors import UsageError
from handful.studio.student_view import (
    FILL_WORDS,
    Choice,
    change,
    curves,
    network_table,
    strategies_of,
    student_view,
)
from handful.training.jobs import chosen_recipe

AUGMENTED = Choice("keras-tutorial", "augmented")


def test_a_recipe_has_its_own_strategies_networks_and_numbers() -> None:
    assert strategies_of("keras-tutorial") == ("transfer", "scratch", "augmented")
    view = student_view(AUGMENTED)
    assert [name for name, _ in view.strategies] == list(strategies_of("keras-tutorial"))
    assert (view.epochs, view.image_size, view.network) == (100, 150, "scratch")
    assert view.backbones == () and view.has_policy and not view.has_views and not view.refusal
    view = student_view(Choice())
    assert (view.epochs, view.image_size) == (None, 224) and view.has_views and not view.has_policy
    assert view.backbones[0] == ("efficientnet-lite0", "efficientnet-lite0, 224 pixels")
    assert student_view(Choice(backbone="efficientnet-lite1")).image_size == 240
    tuned = student_view(Choice(strategy="fine-tune"))
    assert tuned.network == "efficientnet-lite0-multilevel" and tuned.epochs == 12
    assert "xception" in dict(tuned.backbones) and "dinov2-small" not in dict(tuned.backbones)
    head = student_view(Choice("keras-tutorial"))
    assert head.backbones[0][0] == head.network == "xception"
    assert "dinov2-small" not in dict(head.backbones) and "dinov2-small" in dict(view.backbones)


def test_what_is_chosen_becomes_the_options_of_the_command_line() -> None:
    choice = change(change(AUGMENTED, "epochs", "2"), "image_size", "64")
    assert choice.options() == {
        "recipe": "keras-tutorial",
        "strategy": "augmented",
        "epochs": 2,
        "image_size": 64,
    }
    recipe = chosen_recipe(train_config(choice.options()))
    assert recipe is not None and (recipe.epochs, recipe.image_size) == (2, 64)
    assert change(choice, "epochs", "").options() == {**AUGMENTED.options(), "image_size": 64}
    assert change(choice, "strategy", "scratch") == Choice("keras-tutorial", "scratch")
    tuned = Choice(strategy="fine-tune", backbone="efficientnet-lite1", epochs=3)
    assert tuned.options()["backbone"] == "efficientnet-lite1"
    assert change(tuned, "recipe", "keras-tutorial") == Choice("keras-tutorial", "transfer")
    assert change(Choice(), "backbone", "efficientnet-lite2").options()["backbone"]
    head = change(Choice(), "views", "4")
    assert head.has_policy and head.shown_policy == VIEWS_POLICY and head.options()["views"] == 4
    assert change(head, "views", "") == Choice()


def test_a_slider_changes_one_range_and_leaves_the_recipes_others() -> None:
    assert AUGMENTED.shown_policy == EXERCISE_POLICY and "policy" not in AUGMENTED.options()
    choice = AUGMENTED.with_policy(rotation_range=5, fill_mode="wrap")
    policy = train_config(choice.options()).policy
    assert policy == replace(EXERCISE_POLICY, rotation_range=5, fill_mode="wrap")
    own = Choice(strategy="augmented").with_policy(zoom_range=0.1)
    assert train_config(own.options()).policy == replace(HANDFUL_POLICY, zoom_range=0.1)
    kept = student_view(own).kept
    assert "contrast_range (0.7, 1.3)" in kept and "zoom" not in kept and "fill" not in kept
    assert set(FILL_WORDS) == set(FILL_MODES)


@pytest.mark.parametrize(
    ("choice", "refusal"),
    [
        (replace(AUGMENTED, epochs=0), "`epochs` is 0; expected 1 to 100000"),
        (replace(AUGMENTED, image_size=8), "`image_size` is 8; expected 32 to 1024"),
        (Choice(views=65), "`views` is 65"),
        (Choice(backbone="../secret.onnx"), "choose one of the list"),
        (replace(AUGMENTED, policy={}), "`policy` changes nothing"),
    ],
)
def test_what_the_command_line_refuses_is_refused_here(choice: Choice, refusal: str) -> None:
    assert refusal in student_view(choice).refusal


def test_a_field_with_no_number_is_refused() -> None:
    with pytest.raises(UsageError, match="`epochs` is 'ten'; expected a whole number"):
        change(AUGMENTED, "epochs", "ten")
    with pytest.raises(UsageError, match="`rotation_range` is -1"):
        AUGMENTED.with_policy(rotation_range=-1)


def test_without_keras_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("keras", "tensorflow", "jax", "torch"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "keras")
    assert "pip install 'handful[tensorflow]'" in student_view(AUGMENTED).needs
    assert student_view(Choice()).needs == ""


def test_curves_are_drawn_as_far_as_epochs_have_ended() -> None:
    assert curves("augmented", []) == ()
    epochs = [
        {"epoch": 1, "loss": 0.7, "accuracy": 0.5, "val_loss": 0.6, "val_accuracy": 0.6},
        {"epoch": 2, "loss": 0.5, "accuracy": 0.7, "val_loss": None, "val_accuracy": None},
        {"epoch": 4, "loss": 0.3, "accuracy": 0.9, "val_loss": 0.5, "val_accuracy": 0.7},
    ]
    accuracy, loss = curves("augmented", epochs)
    assert (accuracy.title, loss.title) == ("Accuracy", "Loss")
    assert accuracy.svg.count("<polyline") == 2 and accuracy.svg.count("dashed") == 1
    assert "augmented, validation" in loss.svg
    assert curves("<b>", epochs)[0].svg.count("<b>") == 0


def test_a_networks_layers_are_a_table() -> None:
    layers = [
        {"name": "images", "type": "InputLayer", "output_shape": [64, 64, 3], "parameters": 0},
        {"name": "dense", "type": "Dense", "output_shape": None, "parameters": 1234},
    ]
    summary = {"parameters": 1234, "trainable": 1000, "layers": layers, "body": None}
    table = network_table(summary)
    assert table.sentence == "2 layers, 1,234 parameters, of which 1,000 are trained."
    assert table.rows == (
        ("images", "InputLayer", "64 × 64 × 3", "0"),
        ("dense", "Dense", "?", "1,234"),
    )
    body = {"name": "xception", "parameters": 900}
    assert (
        "900 of them in the pretrained xception"
        in network_table({**summary, "body": body}).sentence
    )
