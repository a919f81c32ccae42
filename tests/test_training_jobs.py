from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from handful.config import TrainConfig
from handful.data.index import ImageIndex
from handful.data.splits import assign_parts
from handful.reporting import Reporter
from handful.training.jobs import TrainingJob, chosen_recipe
from handful.training.recipes import find_recipe
from test_data_splits import make_index


def exercise(**options: Any) -> TrainConfig:
    return TrainConfig(strategy="scratch", recipe="keras-tutorial", **options)


def test_a_recipe_is_taken_as_it_is() -> None:
    for name, strategy in (
        ("keras-tutorial", "augmented"),
        ("handful", "augmented"),
        ("mnist", "scratch"),
    ):
        assert chosen_recipe(TrainConfig(strategy=strategy, recipe=name)) == find_recipe(
            name, strategy
        )
    assert chosen_recipe(TrainConfig()) is None


def test_the_users_numbers_go_before_the_recipes() -> None:
    options = {"epochs": 3, "batch_size": 7, "learning_rate": 0.5, "patience": 2, "resize": "crop"}
    recipe, own = find_recipe("keras-tutorial", "scratch"), chosen_recipe(exercise(**options))
    assert recipe is not None and own == replace(recipe, **options)


def test_patience_looks_after_every_epoch() -> None:
    plain = chosen_recipe(TrainConfig(strategy="augmented"))
    patient = chosen_recipe(TrainConfig(strategy="augmented", patience=3))
    assert plain is not None and plain.validate_every > 1
    assert patient == replace(plain, patience=3, validate_every=1)


def test_sizes_grow_with_the_pictures() -> None:
    plain = chosen_recipe(TrainConfig(strategy="augmented"))
    twice = chosen_recipe(TrainConfig(strategy="augmented", image_size=288))
    assert plain is not None and twice is not None
    assert twice.image_size == 2 * plain.image_size and twice.stored_size == 328
    assert twice.sizes == tuple((share, 2 * size) for share, size in plain.sizes)
    assert chosen_recipe(TrainConfig(strategy="augmented", image_size=plain.image_size)) == plain
    small = chosen_recipe(exercise(image_size=64))
    assert small == replace(chosen_recipe(exercise()), image_size=64)  # type: ignore[type-var]


@pytest.mark.parametrize("size", [32, 48, 100, 129, 1024])
def test_sizes_stay_possible(size: int) -> None:
    recipe = chosen_recipe(TrainConfig(strategy="augmented", image_size=size))
    assert recipe is not None and recipe.stored_size is not None
    sides = [side for _, side in recipe.sizes]
    assert sides == sorted(sides) and all(side > 0 and side % 16 == 0 for side in sides)
    assert sides[-1] <= recipe.stored_size


def test_what_there_is_none_of_is_an_error_before_the_work() -> None:
    with pytest.raises(ValueError, match="recipe 'mnist' has no strategy 'augmented'"):
        chosen_recipe(TrainConfig(strategy="augmented", recipe="mnist"))


def job(index: ImageIndex, **options: Any) -> TrainingJob:
    config = exercise(**options)
    split = assign_parts(index, (), seed=config.seed)
    return TrainingJob(split, config, None, False, None, Reporter())


def test_classes_are_weighed_where_they_are_skewed() -> None:
    skewed, even = make_index([0] * 45 + [1] * 10), make_index([0] * 20 + [1] * 10)
    assert job(even).class_weights() is None
    assert job(skewed, class_weight="none").class_weights() is None
    split = job(skewed).split
    counts = np.bincount(split.index.labels[split.train])
    weights = job(skewed).class_weights()
    np.testing.assert_allclose(weights, counts.sum() / (2 * counts))  # type: ignore[arg-type]
    assert job(even, class_weight="balanced").class_weights() is not None


class Shapes:
    """As much of a network as its key looks at."""

    def __init__(self, *shapes: tuple[int, ...]) -> None:
        self.variables = [np.zeros(shape) for shape in shapes]


def test_what_makes_another_training_makes_another_key() -> None:
    index, network = make_index([0, 1] * 10), Shapes((3, 4), (4,))
    recipe = find_recipe("keras-tutorial", "scratch")
    assert recipe is not None
    key = job(index).key(recipe, network)
    assert key == job(index).key(recipe, Shapes((3, 4), (4,))) and len(key) == 64
    others = [
        job(make_index([0, 1] * 11)).key(recipe, network),
        job(index, seed=1).key(recipe, network),
        job(index, class_weight="balanced").key(recipe, network),
        job(index).key(replace(recipe, epochs=7), network),
        job(index).key(recipe, Shapes((3, 5), (5,))),
    ]
    assert len({key, *others}) == 6
