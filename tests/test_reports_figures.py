import logging
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from conftest import draw_photo
from handful.data.augmentation import HANDFUL_POLICY, AugmentationPolicy
from handful.errors import OutputError
from handful.evaluation.comparison import Comparison, StrategyRun, build_comparison
from handful.evaluation.evaluation import Evaluation, score
from handful.reports import figure_style
from handful.reports.figures import (
    STRATEGY_COLOURS,
    history_curve,
    loss_limit,
    plot_class_scores,
    plot_comparison,
    plot_confusion,
    plot_examples,
    plot_histories,
    plot_history,
    plot_preview,
    plot_probabilities,
    plot_reliability,
    root_ticks,
    save_comparison_figures,
    save_examples,
    save_figures,
    save_preview,
    spread_apart,
)
from handful.statistics.metrics import ReliabilityCurve, reliability_curve
from handful.training.previews import preview


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
    monkeypatch.setattr(figure_style, "DOTS_PER_INCH", 60)
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
        "import sys, numpy as np, handful.reports.figures as plots\n"
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


def tiles(figure: object) -> list[tuple[float, ...]]:
    from matplotlib.image import AxesImage

    return [image.get_extent() for image in figure.findobj(AxesImage)]  # type: ignore[attr-defined]


PHOTO = draw_photo("round", 0, (72, 96))
POLICY = AugmentationPolicy(
    rotation_range=40, width_shift_range=(3, 5), horizontal_flip=True, rescale=1 / 255
)


def test_a_preview_shows_the_photo_its_views_and_every_strip() -> None:
    shown = preview(PHOTO, POLICY, name="cat & $dog$.jpg, recipe exercise")
    figure = plot_preview(shown)
    written = set(texts(figure))
    assert {"cat & $dog$.jpg, recipe exercise", "16 random views", *shown.notes} <= written
    for strip in shown.strips:
        assert {strip.name, strip.range, *strip.labels} <= written
    places = tiles(figure)
    assert len(places) == 1 + 16 + 8 + 4 + 2
    width, height = figure.get_size_inches()
    for left, right, bottom, top in places:
        assert 0 < left < right < width and 0 < top < bottom < height
        # A photo keeps its proportions.
        assert (bottom - top) / (right - left) == pytest.approx(72 / 96, rel=0.03)


def test_nothing_in_a_preview_overlaps() -> None:
    figure = plot_preview(preview(PHOTO, HANDFUL_POLICY, name="cat.jpg"))
    places = sorted(tiles(figure))
    for number, (left, right, bottom, top) in enumerate(places):
        for other in places[number + 1 :]:
            apart = right <= other[0] or other[1] <= left or bottom <= other[3] or other[2] <= top
            assert apart
    boxes = [
        text.get_window_extent(figure.canvas.get_renderer())
        for text in figure.axes[0].texts
        if text.get_text()
    ]
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])
    assert all(box.x0 > 0 and box.x1 < figure.bbox.width for box in boxes)


def test_a_preview_is_saved_once(tmp_path: Path) -> None:
    shown = preview(PHOTO, AugmentationPolicy())
    path = tmp_path / "deep" / "preview.png"
    save_preview(shown, path)
    with Image.open(path) as picture:
        assert picture.format == "PNG" and picture.width > 1300
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"preview\.png exists already; choose another `output`"):
        save_preview(shown, path)
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match=r"output is a\.jpg; expected a name that ends in \.png"):
        save_preview(shown, Path("a.jpg"))


def test_examples_have_their_names_and_replace_older_ones(tmp_path: Path) -> None:
    pictures = [np.full((side, side, 3), side, np.uint8) for side in range(10, 26)]
    names = [f"class {number}" for number in range(16)]
    figure = plot_examples(pictures, names, "mnist: 16 photos")
    assert {"mnist: 16 photos", *names} <= set(texts(figure))
    assert len(tiles(figure)) == 16
    path = tmp_path / "examples.png"
    path.write_text("old")
    save_examples(pictures, names, "mnist", path)
    with Image.open(path) as picture:
        assert picture.format == "PNG"


# Comparisons


def rising(epochs: int, top: float, gap: float) -> dict[str, list[float]]:
    share = np.linspace(0.5, top, epochs)
    validated = np.minimum(share, top - gap)
    columns = {"accuracy": share, "val_accuracy": validated, "loss": 1 - share}
    return {name: column.tolist() for name, column in columns.items()} | {
        "val_loss": [float("nan"), *np.full(epochs - 1, 0.6)]
    }


def test_histories_are_two_panels_with_training_dashed() -> None:
    histories = {"scratch": rising(20, 1.0, 0.22), "_$x^{": rising(8, 0.9, 0.0)}
    figure = plot_histories(histories)
    left, right = figure.axes
    assert (left.get_title(), right.get_title()) == ("Accuracy", "Loss")
    trained, validated = left.lines[:2]
    np.testing.assert_allclose(trained.get_ydata(), histories["scratch"]["accuracy"])
    np.testing.assert_allclose(validated.get_ydata(), histories["scratch"]["val_accuracy"])
    assert trained.is_dashed() and not validated.is_dashed()
    assert trained.get_color() == validated.get_color() == STRATEGY_COLOURS[0]
    assert len(left.lines[2].get_xdata()) == 8
    np.testing.assert_array_equal(right.lines[1].get_xdata(), np.arange(2, 21))
    shown = texts(figure)
    assert {"+22 points", "+0 points", "validation", "training"} <= set(shown)
    assert any("_$x^{" in text for text in shown)
    # Brackets reach from one curve's end to the other's.
    bracket = left.lines[4]
    assert {round(float(value), 6) for value in bracket.get_ydata()} == {1.0, 0.78}


def test_of_many_strategies_the_gaps_are_labels_apart() -> None:
    histories = {f"way {at}": rising(100, 0.95, 0.1 + at / 1000) for at in range(4)}
    figure = plot_histories(histories)
    labels = [text for text in figure.axes[0].texts if text.get_text().startswith("+")]
    assert [text.get_text() for text in labels] == [f"+10  way {at}" for at in range(4)]
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in labels]
    assert not any(a.overlaps(b) for at, a in enumerate(boxes) for b in boxes[:at])


def test_one_wild_epoch_does_not_flatten_the_losses() -> None:
    history = rising(60, 0.9, 0.1)
    assert loss_limit([history]) == pytest.approx(1.08 * 0.6)
    history["val_loss"][3] = 900.0
    assert loss_limit([history]) < 1
    figure = plot_history(history, "scratch", "#123456")
    assert figure.axes[1].get_ylim() == (0, loss_limit([history]))
    assert figure.axes[1].get_ylabel() == "peaks above are cut off"
    assert figure.axes[0].lines[0].get_color() == "#123456"
    assert loss_limit([]) == 1.0


def test_no_history_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 histories to draw; expected 1 or more"):
        plot_histories({})


def test_a_curve_leaves_out_what_was_not_looked_at() -> None:
    history = {"loss": [1.0, float("nan"), float("inf"), 0.5]}
    assert history_curve(history, "loss") == ([1, 4], [1.0, 0.5])
    assert history_curve(history, "absent") == ([], [])


@given(st.lists(st.floats(-50, 50), max_size=9), st.floats(0.1, 20))
def test_labels_are_spread_apart_and_stay_in_order(places: list[float], gap: float) -> None:
    spread = spread_apart(places, gap)
    order = np.argsort(places, kind="stable")
    assert np.all(np.diff(np.array(spread)[order]) >= gap - 1e-6)
    assert np.mean(spread or [0.0]) == pytest.approx(np.mean(places or [0.0]), abs=1e-6)
    far = [place * 100 for place in range(len(places))]
    assert spread_apart(far, gap) == far


def draw_comparison() -> Comparison:
    runs = []
    for strategy, strength, seconds in (("scratch", 1, 300), ("a/b $", 3, 0), ("a b $", 3, 0.0)):
        for seed in range(2):
            evaluation = draw_evaluation(120, ["a", "b"], seed=0, strength=strength + seed)
            history = rising(2 + seed, 0.9, 0.1) if seconds or strategy == "a b $" else None
            runs.append(
                StrategyRun(strategy, seed, evaluation, history, seconds, 9, 9, 9, 9.0, 2, None)
            )
    return build_comparison(runs, photos="pets", recipe="ours", num_train=9)


def test_a_comparison_is_drawn_where_its_numbers_are() -> None:
    comparison = draw_comparison()
    axes = plot_comparison(comparison).axes[0]
    assert axes.get_xscale() == "log"
    first = comparison.summaries[0]
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [(300, first.accuracy)])
    each = [(300, run.evaluation.accuracy) for run in first.runs]
    np.testing.assert_allclose(axes.lines[1].get_xydata(), each)
    reach = axes.collections[0].get_segments()[0][:, 1]
    np.testing.assert_allclose(reach, first.accuracy_interval)
    labels = [text.get_text().split("  ")[0] for text in axes.texts]
    assert sorted(labels) == ["a b $", "a/b $", "scratch"]
    axes.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for at, a in enumerate(boxes) for b in boxes[:at])


def test_a_comparisons_figures_are_saved_quietly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figure_style, "DOTS_PER_INCH", 60)
    comparison = draw_comparison()
    paths = save_comparison_figures(comparison, tmp_path)
    names = ["comparison.png", "histories.png", "curves-scratch.png", "curves-a-b-.png"]
    assert [path.name for path in paths] == names and caplog.records == []
    assert all(path.stat().st_size > 1000 for path in paths)
    heads = [replace(run, history=None) for row in comparison.summaries for run in row.runs]
    plain = build_comparison(heads, photos="pets", recipe="ours", num_train=9)
    assert [path.name for path in save_comparison_figures(plain, tmp_path)] == ["comparison.png"]


def test_files_of_strategies_with_like_names_are_kept_apart(tmp_path: Path) -> None:
    runs = [run for row in draw_comparison().summaries[1:] for run in row.runs]
    both = [replace(run, history=rising(1, 0.9, 0.1)) for run in runs]
    comparison = build_comparison(both, photos="pets", recipe="ours", num_train=9)
    names = [path.name for path in save_comparison_figures(comparison, tmp_path)]
    assert names[2:] == ["curves-a-b-.png", "curves-a-b--again.png"]
