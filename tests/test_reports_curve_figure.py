from pathlib import Path

import cv2
import numpy as np
import pytest

from handful.errors import OutputError
from handful.evaluation.learning_curve import CurvePoint, LearningCurve
from handful.reports.curve_figure import plot_curve, save_curve


@pytest.fixture
def curve() -> LearningCurve:
    points = tuple(
        CurvePoint(2.0 * n, float(n), 0.9 - 0.8 / n**0.5, 0.4 / n**0.5, 10) for n in (8, 20, 80)
    )
    errors = np.random.default_rng(0).normal(0.19, 0.01, 100)
    ones = np.ones(100)
    return LearningCurve(points, 200, 2, 2, errors, 0.3 * ones, 0.5 * ones, 0 * ones, 0.1)


def test_the_figure_shows_what_was_measured_and_what_to_expect(curve: LearningCurve) -> None:
    figure = plot_curve(curve, curve.photos_for(0.85))
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    ticks = [label.get_text() for label in axes.get_xticklabels()]
    assert ticks == ["10", "20", "50", "100", "200", "500"]
    shown = {line.get_label(): line for line in axes.lines}
    ahead = shown["to expect, with 95 % interval"]
    assert ahead.get_linestyle() == "--" and ahead.get_xdata()[-1] == pytest.approx(800)
    assert ahead.get_ydata()[-1] == pytest.approx(curve.predict(800)[0])
    behind = shown["fitted curve"]
    assert behind.get_xdata()[0] == pytest.approx(8)
    assert behind.get_xdata()[-1] == ahead.get_xdata()[0]
    words = [text.get_text() for text in axes.texts]
    needed = curve.photos_for(0.85).more_a_class
    assert needed is not None
    assert words == [
        "target\n85.0 %",
        f"{float(f'{needed:.2g}'):,.0f} more",
        "now: 100",
        "8 times: no further",
    ]
    low, high = axes.get_ylim()
    assert low < 0.9 - 0.8 / 8**0.5 and 0.85 < high <= 1.02


@pytest.mark.parametrize("target", [None, 0.6, 0.99])
def test_a_target_may_lack_be_reached_or_be_out_of_reach(
    curve: LearningCurve, target: float | None
) -> None:
    figure = plot_curve(curve, None if target is None else curve.photos_for(target))
    words = [text.get_text() for text in figure.axes[0].texts]
    assert not any("more" in word for word in words)
    assert len(words) == (2 if target is None else 3)
    low, high = figure.axes[0].get_ylim()
    assert target is None or low < target < high


def test_the_figure_is_written_once(curve: LearningCurve, tmp_path: Path) -> None:
    path = tmp_path / "curve.png"
    save_curve(curve, None, path)
    image = cv2.imread(str(path))
    assert image is not None and image.shape[1] > 1000 and image.std() > 10
    with pytest.raises(OutputError, match=r"curve\.png exists already"):
        save_curve(curve, None, path)
