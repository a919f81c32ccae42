import logging
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handful import plots
from handful.evaluation import Evaluation, score
from handful.metrics import ReliabilityCurve, reliability_curve
from handful.plots import (
    plot_class_scores,
    plot_confusion,
    plot_probabilities,
    plot_reliability,
    root_ticks,
    save_figures,
)


def draw_evaluation(num: int, names: list[str], seed: int = 0, strength: float = 2) -> Evaluation:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(names), num)
    logits = rng.normal(size=(num, len(names)))
    logits[np.arange(num), labels] += strength
    probabilities = np.exp(logits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return score(probabilities, labels, names, [f"{row}.jpg" for row in range(num)])


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return draw_evaluation(200, ["cats", "dogs", "owls"])


def texts(figure: object) -> list[str]:
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]  # type: ignore[attr-defined]


def test_the_matrix_shows_every_count_and_name(evaluation: Evaluation) -> None:
    figure = plot_confusion(evaluation.confusion, evaluation.class_names)
    shown = texts(figure)
    assert {str(count) for count in evaluation.confusion.flat} <= set(shown)
    for labels in (figure.axes[0].get_xticklabels(), figure.axes[0].get_yticklabels()):
        assert [label.get_text() for label in labels] == list(evaluation.class_names)
    image = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(image.sum(axis=1), 1)


def test_a_class_without_photos_has_a_blank_row() -> None:
    figure = plot_confusion(np.array([[3, 1], [0, 0]]), ["a", "b"])
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), [[0.75, 0.25], [0, 0]])


def test_a_large_matrix_leaves_names_and_counts_away() -> None:
    names = [f"class {number}" for number in range(60)]
    shown = texts(plot_confusion(np.eye(60, dtype=np.int64), names))
    assert not set(names) & set(shown)


def test_class_scores_are_where_they_belong(evaluation: Evaluation) -> None:
    axes = plot_class_scores(evaluation.per_class).axes[0]
    recalls, precisions = axes.lines
    np.testing.assert_allclose(recalls.get_xdata(), [row.recall for row in evaluation.per_class])
    expected = [row.precision for row in evaluation.per_class]
    np.testing.assert_allclose(precisions.get_xdata(), expected)
    reaches = [segment[:, 0] for segment in axes.collections[0].get_segments()]
    np.testing.assert_allclose(reaches, [row.recall_interval for row in evaluation.per_class])


def test_of_many_classes_the_weakest_are_listed() -> None:
    evaluation = draw_evaluation(900, [f"c{number}" for number in range(90)])
    figure = plot_class_scores(evaluation.per_class)
    assert figure.axes[0].get_title() == "The 40 of 90 classes with the lowest recall"
    drawn = figure.axes[0].lines[0].get_xdata()
    recalls = sorted(row.recall for row in evaluation.per_class if row.recall is not None)
    np.testing.assert_allclose(drawn, recalls[:40])


def test_reliability_leaves_empty_groups_away() -> None:
    curve = reliability_curve(np.array([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4]]), np.zeros(3, int), 5)
    axes = plot_reliability(curve).axes[0]
    bars = [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in axes.patches]
    np.testing.assert_allclose(bars, [(0.4, 0.2, 1.0), (0.8, 0.2, 0.5)])
    np.testing.assert_allclose(axes.lines[1].get_xdata(), [0.6, 0.9])


def test_probabilities_count_right_and_wrong(evaluation: Evaluation) -> None:
    curve = evaluation.reliability
    heights = [bar.get_height() for bar in plot_probabilities(curve).axes[0].patches]
    np.testing.assert_array_equal(heights[:15], curve.num_right)
    np.testing.assert_array_equal(heights[15:], curve.counts - curve.num_right)


@pytest.mark.parametrize(
    ("top", "ticks"),
    [(1, [0, 1]), (2, [0, 1, 2]), (900, [0, 10, 50, 100, 200, 500]), (30_000, None)],
)
def test_ticks_are_round_and_apart(top: int, ticks: list[int] | None) -> None:
    found = root_ticks(top)
    assert found[0] == 0 and found[-1] <= top and 2 <= len(found) <= 11
    assert np.diff(np.sqrt(found)).min() > 0.09 * top**0.5
    assert ticks is None or found == ticks


@pytest.mark.parametrize(
    ("num", "names"),
    [
        (1, ["a", "b"]),
        (60, ["$x^{", "a_$b$", "\\frac", "猫", "<script>", "عربى"]),
        (60, ["bad\udce9bytes", "line\nbreak", "\x00\x07", "", "n" * 300]),
        (99, [f"a class with a long name, number {number}" for number in range(45)]),
    ],
)
def test_figures_of_any_names_are_drawn_quietly(
    tmp_path: Path,
    num: int,
    names: list[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plots, "_DOTS_PER_INCH", 60)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        paths = save_figures(draw_evaluation(num, names), tmp_path)
    assert caught == [] and caplog.records == []
    names = ["confusion.png", "classes.png", "reliability.png", "confidence.png"]
    assert [path.name for path in paths] == names
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "PNG" and 200 < image.width < 900 and 100 < image.height < 900
            colours = image.convert("RGB").getcolors(1 << 24)
            assert colours is not None and len(colours) > 50


def test_a_useless_classifier_can_be_drawn(tmp_path: Path) -> None:
    paths = save_figures(score(np.eye(2), 1 - np.arange(2), ["a", "b"], ["x", "y"]), tmp_path)
    assert all(path.stat().st_size > 1000 for path in paths)


def test_the_users_latex_and_log_settings_are_left_alone(tmp_path: Path) -> None:
    import matplotlib

    logger, level = logging.getLogger("matplotlib"), logging.getLogger("matplotlib").level
    filters = list(warnings.filters)
    with matplotlib.rc_context({"text.usetex": True, "font.size": 30}):
        save_figures(draw_evaluation(20, ["a_b", "50 %"]), tmp_path)
        assert matplotlib.rcParams["text.usetex"] and matplotlib.rcParams["font.size"] == 30
    assert logger.level == level and list(warnings.filters) == filters


def test_an_unwritable_folder_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        save_figures(draw_evaluation(20, ["a", "b"]), tmp_path / "absent")


def test_figures_open_no_window_and_matplotlib_loads_late() -> None:
    code = (
        "import sys, numpy as np, handful.plots as plots\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plots.plot_confusion(np.eye(2, dtype=int), ['a', 'b'])\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
        "print('checked')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "checked\n"


def test_a_curve_of_nothing_can_be_drawn() -> None:
    empty = reliability_curve(np.zeros((0, 2)), np.zeros(0, np.int64))
    assert isinstance(empty, ReliabilityCurve)
    assert not plot_reliability(empty).axes[0].patches
    assert {bar.get_height() for bar in plot_probabilities(empty).axes[0].patches} == {0}
