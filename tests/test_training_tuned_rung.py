"""Quality "best" trains a network on where that is better, and says so."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handful.features.keras_runtime import require_keras
from handful.models.activation_maps import explain
from handful.models.classifier import Classifier
from handful.training import fine_tuning, ladder, loop
from handful.training.compiling import compile_network
from handful.training.recipes import Recipe, find_recipe
from handful.training.rungs import TUNED
from handful.workflows.train import train

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """One epoch, two folds, no other rung; a few steps are over before they would be traced."""

    def shortened(name: str, strategy: str) -> Recipe | None:
        found = find_recipe(name, strategy)
        return None if found is None else replace(found, epochs=1)

    def compile_untraced(network: Any, *arguments: Any, **named: Any) -> None:
        compile_network(network, *arguments, **named)
        network.run_eagerly = True

    for module in (fine_tuning, loop):
        monkeypatch.setattr(module, "compile_network", compile_untraced)
    monkeypatch.setattr(ladder, "find_recipe", shortened)
    monkeypatch.setattr(ladder, "RUNGS", ())
    monkeypatch.setattr(fine_tuning, "FOLDS", 2)


@pytest.mark.usefixtures("short")
def test_a_network_trained_on_is_kept_where_it_is_better(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ladder, "choose", lambda answers, labels, groups, first: len(answers) - 1)
    run = train(
        photo_folder,
        quality="best",
        image_size=64,
        folds=2,
        time_budget=60,
        output=tmp_path / "run",
    )
    assert run.ladder is not None and run.ladder.chosen.name == TUNED.name
    chosen = run.ladder.chosen
    assert chosen.accuracy is not None and chosen.expected_seconds and chosen.seconds
    assert run.trained is not None and "tuned without it" in run.trained.note
    calibration = run.classifier.calibration
    assert calibration is not None and calibration.source == "out-of-fold"
    assert run.resampling is not None and run.resampling.num_folds == 2
    loaded = Classifier.load(tmp_path / "run")
    photos = run.split.part("validation")
    found = loaded.predict_index(photos).probabilities
    np.testing.assert_allclose(found, run.classifier.predict_index(photos).probabilities)
    shown = explain(loaded, photos.read(0))
    assert shown.class_name in run.classifier.class_names
    page = (tmp_path / "run" / "report.html").read_text()
    assert TUNED.name in page and "What was tried" in page


@pytest.mark.usefixtures("short")
def test_without_keras_or_time_it_is_named_and_left_out(
    photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ladder, "seconds_of_tuning", lambda parts: 1e6)
    run = train(photo_folder, quality="best", image_size=64, time_budget=60, output=False)
    assert run.ladder is not None
    assert "not tried: it would take about" in run.ladder.attempts[-1].note
    monkeypatch.setattr(
        ladder, "require_keras", lambda purpose: require_keras_without(monkeypatch, purpose)
    )
    run = train(photo_folder, quality="best", image_size=64, output=False)
    assert run.ladder is not None and "Keras" in run.ladder.attempts[-1].note


def require_keras_without(monkeypatch: pytest.MonkeyPatch, purpose: str) -> None:
    """What is said where Keras is not installed."""
    with monkeypatch.context() as patch:
        patch.delitem(__import__("sys").modules, "keras", raising=False)
        patch.setattr("handful.features.keras_runtime.is_installed", lambda name: False)
        require_keras(purpose)
