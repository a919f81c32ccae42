"""How long a training will take."""

from pathlib import Path

import numpy as np
import pytest

from handful.data.index import load_index
from handful.features.embed import embedding_key
from handful.features.store import SqliteStore
from handful.workflows.forecast import Forecast, NetworkCost, expect, measure_costs

COSTS = (
    NetworkCost("fast", "224", "small", 0.01),
    NetworkCost("good", "224", "small, several layers", 0.02),
    NetworkCost("good, larger", "320", "small, several layers", 0.05),
    NetworkCost("joined", "320", "joined", 0.1),
)
HASHES = [f"{number:032x}" for number in range(200)]


@pytest.mark.parametrize(
    ("quality", "embed"), [("fast", (2.0,)), ("good", (4.0,)), ("best", (2.0, 4.0, 10.0, 20.0))]
)
def test_each_photo_costs_what_it_cost_when_it_was_timed(
    quality: str, embed: tuple[float, ...]
) -> None:
    found = expect(quality, HASHES, COSTS)
    assert found is not None and found.embed == pytest.approx(embed) and found.other is None
    assert found.seconds == pytest.approx(sum(embed))


def test_the_rest_is_what_it_took_the_last_time() -> None:
    found = expect("fast", HASHES, COSTS, earlier={"fast": (3.0, 100), "good": (9.0, 100)})
    # A hundred photos more add little to what imports and a report take.
    assert found is not None and found.embed == (2.0,)
    assert found.other == pytest.approx(3.0 * 3200 / 3100) and found.seconds > 5
    assert expect("fast", HASHES, COSTS[1:]) is None


def test_a_budget_leaves_out_what_does_not_fit() -> None:
    found = expect("best", HASHES, COSTS, time_budget=10 / 60)
    assert found is not None and found.embed == pytest.approx((2, 4, 4, 0))


def test_networks_that_are_one_and_the_same_are_counted_once() -> None:
    same = [*COSTS[:2], NetworkCost("good, larger", "224", "small", 0.01)]
    found = expect("best", HASHES, same)
    assert found is not None and found.embed == pytest.approx((2.0, 4.0))


def test_what_is_in_the_cache_costs_nothing(tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "store.sqlite") as store:
        vector = np.zeros(4, np.float32)
        for hashes, expected in ((HASHES[:100], 1.0), (HASHES, 0.0)):
            keys = [embedding_key(content, "224", "small") for content in hashes]
            store.put_many(dict.fromkeys(keys, vector))
            found = expect("fast", HASHES, COSTS, store)
            assert found is not None and found.embed == pytest.approx((expected,), abs=0.1)
        assert expect("fast", [], COSTS, store) == Forecast((0.0,))


def test_networks_are_timed_on_a_few_photos(photo_folder: Path, tiny_backbone: object) -> None:
    costs = list(measure_costs(load_index(photo_folder)))
    assert [cost.rung for cost in costs] == [cost.rung for cost in COSTS]
    assert all(cost.seconds > 0 for cost in costs)
