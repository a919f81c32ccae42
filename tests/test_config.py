import dataclasses
from pathlib import Path
from typing import Any

import pytest

from handful.config import CompareConfig, TrainConfig
from handful.environment import cache_folder


def test_the_cache_is_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFUL_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.setenv("HANDFUL_CACHE", "~/there")
    assert cache_folder() == Path.home() / "there"
    monkeypatch.delenv("HANDFUL_CACHE")
    assert cache_folder().name == "handful"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"strategy": "magic"},
            "`strategy` is 'magic'; expected one of transfer, scratch, augmented",
        ),
        ({"recipe": "mine"}, "`recipe` is 'mine'; expected one of handful, keras-tutorial, mnist"),
        ({"resize": "stretch"}, "`resize` is 'stretch'; expected one of squash, crop, halfway"),
        ({"precision": "f64"}, "`precision` is 'f64'; expected one of auto, bf16, f16, f32, int8"),
        (
            {"class_weight": "some"},
            "`class_weight` is 'some'; expected one of auto, balanced, none",
        ),
        ({"image_size": 31}, "`image_size` is 31; expected 32 to 1024"),
        ({"image_size": 0}, "`image_size` is 0; expected 32 to 1024"),
        ({"epochs": 0}, "`epochs` is 0; expected 1 to 100000"),
        ({"epochs": -1}, "`epochs` is -1; expected 1 to 100000"),
        ({"batch_size": 0}, "`batch_size` is 0; expected 1 to 4096"),
        ({"batch_size": 5000}, "`batch_size` is 5000; expected 1 to 4096"),
        ({"patience": 0}, "`patience` is 0; expected 1 to 100000"),
        ({"learning_rate": 0.0}, r"`learning_rate` is 0\.0; expected more than 0"),
        ({"learning_rate": float("nan")}, "`learning_rate` is nan; expected more than 0"),
        ({"time_budget": -1.0}, r"`time_budget` is -1\.0; expected more than 0"),
        ({"views": 65}, "`views` is 65; expected 1 to 64"),
        ({"seed": -1}, "`seed` is -1; expected 0 to"),
        ({"max_megapixels": 0.0}, "`max_megapixels` is 0.0; expected"),
        (
            {"validation_fraction": 1.0},
            r"`validation_fraction` is 1\.0; expected a number between 0 and 1",
        ),
        (
            {"network": "mine.py:build"},
            "`network` is 'mine.py:build' and `strategy` 'transfer'; a network of one's own",
        ),
        ({"seeds": 0}, "`seeds` is 0; expected 1 to 1000"),
        ({"folds": 1}, "`folds` is 1; expected 2 to 1000"),
        ({"folds": 0}, "`folds` is 0; expected 2 to 1000"),
        ({"difference": 0.0}, r"`difference` is 0\.0; expected more than 0, at most 1"),
        ({"difference": 2.0}, r"`difference` is 2\.0; expected more than 0, at most 1"),
        (
            {"strategy": "fine-tune", "seeds": 3},
            "strategy 'fine-tune' of recipe 'handful' trains in epochs and does not use "
            "`seeds` or `folds`; leave them out, or .* use `handful compare`",
        ),
        (
            {"recipe": "keras-tutorial", "folds": 5},
            "strategy 'transfer' of recipe 'keras-tutorial' trains in epochs and does not use",
        ),
    ],
)
def test_a_value_out_of_its_range_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 7),
        ("batch_size", 8),
        ("learning_rate", 0.1),
        ("patience", 2),
        ("time_budget", 1.0),
    ],
)
def test_a_head_without_epochs_refuses_their_options(name: str, value: float) -> None:
    options: dict[str, Any] = {name: value}
    message = f"fits its head without epochs and does not use `{name}`; leave it out, or"
    with pytest.raises(ValueError, match=message):
        TrainConfig(**options)
    assert getattr(TrainConfig(recipe="keras-tutorial", **options), name) == value
    assert getattr(TrainConfig(strategy="distilled", **options), name) == value


def test_a_head_is_resampled_when_asked() -> None:
    assert not TrainConfig().is_resampled
    assert TrainConfig(seeds=2).is_resampled and TrainConfig(folds=2).is_resampled
    assert not TrainConfig(strategy="scratch").fits_head and TrainConfig().fits_head


def test_photos_of_a_frozen_network_are_resized_halfway_unless_asked() -> None:
    assert TrainConfig().decode_resize == "halfway"
    assert TrainConfig(resize="crop").decode_resize == "crop"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"recipe": "mine"}, "`recipe` is 'mine'; expected one of"),
        ({"strategy": ("magic",)}, "`strategy` is 'magic'; expected one of transfer"),
        (
            {"strategy": ("scratch", "scratch")},
            "`strategy` is scratch, scratch; expected each",
        ),
        ({"seeds": 0}, "`seeds` is 0; expected 1 to 100"),
        ({"epochs": -3}, "`epochs` is -3; expected 1 to"),
        ({"validation_fraction": 0.0}, r"`validation_fraction` is 0\.0"),
        ({"difference": -0.1}, r"`difference` is -0\.1; expected more than 0, at most 1"),
        ({"seed": -1}, "`seed` is -1; expected 0 to"),
    ],
)
def test_a_comparison_out_of_range_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CompareConfig(**values)


def test_a_recipe_knows_what_is_compared() -> None:
    assert CompareConfig(recipe="keras-tutorial").chosen == ("scratch", "augmented", "transfer")
    assert CompareConfig(recipe="mnist").chosen == ("scratch",)
    assert CompareConfig().chosen[:3] == ("scratch", "augmented", "transfer")
    assert CompareConfig(strategy=("augmented",)).chosen == ("augmented",)


def test_each_training_gets_the_options_that_are_its_own() -> None:
    config = CompareConfig(
        recipe="keras-tutorial",
        backbone="xception",
        weights="w.h5",
        network="mine.py:build",
        epochs=3,
        validation_fraction=0.3,
        difference=0.05,
        max_megapixels=9.0,
    )
    shared = {
        "recipe": "keras-tutorial",
        "epochs": 3,
        "validation_fraction": 0.3,
        "max_megapixels": 9.0,
    }
    shared |= {"difference": 0.05}
    pictures = TrainConfig(strategy="augmented", network="mine.py:build", seed=4, **shared)  # type: ignore[arg-type]
    head = TrainConfig(strategy="transfer", backbone="xception", weights="w.h5", seed=4, **shared)  # type: ignore[arg-type]
    assert config.train_config("augmented", 4) == pictures
    assert config.train_config("transfer", 4) == head
    # Our head has no epochs, and is fast enough without a budget.
    ours = dataclasses.replace(config, recipe="handful", network=None, quick=True)
    assert ours.train_config("transfer", 0).epochs is None
    assert ours.train_config("transfer", 0).time_budget is None
    assert 0 < (ours.train_config("scratch", 0).time_budget or 0) < 1


def test_a_comparison_passes_its_fixes_on() -> None:
    config = CompareConfig(fixes="fixes.csv")
    assert {config.train_config(name, 0).fixes for name in config.chosen} == {"fixes.csv"}


def test_a_curve_is_for_a_head_that_is_fitted() -> None:
    assert TrainConfig(curve=True).curve
    with pytest.raises(ValueError, match="does not use `curve`; leave it out"):
        TrainConfig(strategy="scratch", curve=True)
