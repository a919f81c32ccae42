import dataclasses
from typing import Any

import pytest

from handful.config import RECIPES, STRATEGIES
from handful.data.augmentation import EXERCISE_POLICY, HANDFUL_POLICY
from handful.training.networks import NETWORKS
from handful.training.recipes import Recipe, find_recipe


def found(name: str, strategy: str) -> Recipe:
    recipe = find_recipe(name, strategy)
    assert recipe is not None
    return recipe


@pytest.mark.parametrize(
    ("name", "strategy", "numbers"),
    [
        (
            "keras-tutorial",
            "scratch",
            {"network": "scratch", "image_size": 150, "epochs": 30, "learning_rate": 5e-4},
        ),
        (
            "keras-tutorial",
            "augmented",
            {
                "network": "scratch",
                "image_size": 150,
                "epochs": 100,
                "learning_rate": 5e-4,
                "policy": EXERCISE_POLICY,
            },
        ),
        (
            "keras-tutorial",
            "transfer",
            {
                "network": "head",
                "image_size": 150,
                "epochs": 10,
                "learning_rate": 1e-3,
                "scale": 1.0,
                "backbone": "xception",
            },
        ),
        (
            "mnist",
            "scratch",
            {
                "network": "mnist",
                "image_size": 28,
                "epochs": 20,
                "batch_size": 32,
                "learning_rate": 0.01,
                "optimizer": "sgd",
                "centre": True,
                "grey": True,
            },
        ),
    ],
)
def test_the_exercises_numbers(name: str, strategy: str, numbers: dict[str, Any]) -> None:
    """What is not listed is plain: Adam at one rate, values over 255, photos squashed, no views."""
    plain = {
        "resize": "squash",
        "optimizer": "adam",
        "cosine": False,
        "weight_decay": 0.0,
        "label_smoothing": 0.0,
        "batch_size": 64,
        "policy": None,
        "stored_size": None,
        "sizes": (),
        "scale": 1 / 255,
        "centre": False,
        "grey": False,
        "mirror": False,
        "patience": None,
        "validate_every": 1,
        "backbone": None,
    }
    facts = dataclasses.asdict(found(name, strategy)) | {"policy": found(name, strategy).policy}
    assert facts.items() >= (plain | numbers).items()


def test_the_exercises_policy() -> None:
    values = dataclasses.asdict(EXERCISE_POLICY)
    changed = {name: value for name, value in values.items() if value}
    assert changed == {
        "rotation_range": 40,
        "width_shift_range": 0.2,
        "height_shift_range": 0.2,
        "shear_range": 0.2,
        "zoom_range": 0.2,
        "horizontal_flip": True,
        "fill_mode": "nearest",
    }


def test_our_two_from_scratch_differ_in_views_alone() -> None:
    scratch, augmented = found("handful", "scratch"), found("handful", "augmented")
    assert augmented.policy == HANDFUL_POLICY and scratch.policy is None
    views = {"policy": None, "stored_size": None, "sizes": (), "epochs": scratch.epochs}
    assert dataclasses.replace(augmented, **views) == scratch


def test_our_heads_are_fitted_without_epochs() -> None:
    assert find_recipe("handful", "transfer") is None


@pytest.mark.parametrize(
    ("name", "strategy", "message"),
    [
        ("mnist", "augmented", r"recipe 'mnist' has no strategy 'augmented'; expected scratch, or"),
        ("mnist", "transfer", r"recipe 'mnist' has no strategy 'transfer'; expected scratch, or"),
        (
            "keras-tutorial",
            "distilled",
            r"expected scratch, augmented, transfer, or another recipe",
        ),
    ],
)
def test_what_a_recipe_lacks_is_said(name: str, strategy: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_recipe(name, strategy)


def test_every_recipe_can_be_trained() -> None:
    """Its network exists, sizes rise to the end, and no view is larger than what it is cut from."""
    seen = 0
    for name in RECIPES:
        for strategy in STRATEGIES:
            try:
                recipe = find_recipe(name, strategy)
            except ValueError:
                continue
            if recipe is None:
                continue
            seen += 1
            assert recipe.network in (*NETWORKS, "head", "body")
            assert recipe.optimizer in ("adam", "adamw", "sgd")
            assert recipe.weight_decay == 0 or recipe.optimizer == "adamw"
            assert list(recipe.sizes) == sorted(recipe.sizes)
            largest = max([size for _, size in recipe.sizes], default=recipe.image_size)
            assert largest <= (recipe.stored_size or recipe.image_size)
            assert recipe.stored_size is None or recipe.policy is not None
    assert seen >= 6


def test_training_may_begin_small() -> None:
    recipe = dataclasses.replace(
        found("keras-tutorial", "augmented"), sizes=((0.25, 64), (0.5, 96))
    )
    sizes = [recipe.size_at(epoch, 8) for epoch in range(8)]
    assert sizes == [64, 64, 96, 96, 150, 150, 150, 150]
    assert recipe.size_at(0, 1) == 150, "a training of one epoch is at the last size"
    assert found("keras-tutorial", "augmented").size_at(0, 100) == 150
    ours = [found("handful", "augmented").size_at(epoch, 120) for epoch in (0, 12, 36, 60, 119)]
    assert ours == [80, 96, 112, 128, 128]
