"""How many epochs each network of a fine-tuning has, without training any."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from handful.training import fine_tuning
from handful.training.recipes import find_recipe


@pytest.mark.parametrize(("stopped", "expected"), [("", 12), ("time", 5)])
def test_where_time_stopped_the_first_network_the_others_have_its_epochs(
    stopped: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []

    def train(
        parts: Any, plan: Any, learned: Any, seen: Any, name: str, share: float | None = None
    ) -> SimpleNamespace:
        asked.append((name, plan.epochs))
        fitted = SimpleNamespace(stopped=stopped if share else "", epochs=5, planned_epochs=12)
        if share is None:
            fitted.epochs = fitted.planned_epochs = plan.epochs
        return SimpleNamespace(fitted=fitted, chances=np.full((len(seen), 2), 0.5))

    monkeypatch.setattr(fine_tuning, "_train_upper", train)
    monkeypatch.setattr(fine_tuning, "_fit_probe", lambda parts: (None, np.zeros((6, 2))))
    monkeypatch.setattr(fine_tuning, "_folds", lambda job: np.arange(6) % 3)
    monkeypatch.setattr(fine_tuning, "_calibrate", lambda job, chances: (chances, None))
    recipe = find_recipe("handful", "fine-tune")
    split = SimpleNamespace(train=np.arange(6), index=SimpleNamespace(class_names=["a", "b"]))
    parts: Any = SimpleNamespace(job=SimpleNamespace(split=split), recipe=recipe)
    found = fine_tuning.tune_in_folds(parts)
    assert asked == [("fold0", 12), ("fold1", expected), ("fold2", expected)]
    assert found.plan.epochs == expected
