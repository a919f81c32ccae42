import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handful.evaluation.comparison import StrategyRun, build_comparison
from handful.evaluation.evaluation import Evaluation, score
from handful.evaluation.learning_curve import CurvePoint, LearningCurve
from handful.reports.charts import (
    class_chart,
    confidence_chart,
    learning_curve_chart,
    reliability_chart,
    root_ticks,
    spread_chart,
)
from handful.reports.drawing import Area, Axis, Box, Chart, Dot, Line, Words
from handful.reports.training_charts import (
    accuracy_chart,
    history_charts,
    history_curve,
    loss_limit,
    spread_apart,
    time_chart,
)
from handful.statistics.metrics import reliability_curve


def draw_evaluation(num: int, names: list[str], seed: int = 0, C: float = 2) -> Evaluation:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(names), num)
    logits = rng.normal(size=(num, len(names)))
    logits[np.arange(num), labels] += C
    probabilities = np.exp(logits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return score(probabilities, labels, names, [f"{row}.jpg" for row in range(num)])


def marks(chart: Chart, kind: Any) -> list[Any]:
    return [mark for mark in chart.marks if isinstance(mark, kind)]


def rising(epochs: int, top: float, gap: float) -> dict[str, list[float]]:
    share = np.linspace(0.5, top, epochs)
    validated = np.minimum(share, top - gap)
    columns = {"accuracy": share, "val_accuracy": validated, "loss": 1 - share}
    return {name: column.tolist() for name, column in columns.items()} | {
        "val_loss": [float("nan"), *np.full(epochs - 1, 0.6)]
    }


# Drawing


def test_marks_are_where_their_axes_say() -> None:
    assert [Axis(1, 100, scale="log").place(at) for at in (1, 10, 100)] == [0, 0.5, 1]
    assert [Axis(0, 16, scale="root").place(at) for at in (0, 4, 16)] == [0, 0.5, 1]
    assert Axis(3, -1).place(2) == 0.25
    x, y = Axis(0, 10, [(5, "five")], "what"), Axis(0, 1, [(0.5, "half")], has_grid=True)
    shapes = [
        Line([(0, 0), (10, 1)], "c1", is_dashed=True, title="a < b"),
        Box(((2, 0), (4, 0.5)), "right"),
        Dot((5, 0.5), "wrong", 3, is_hollow=True),
        Area([(0, 0), (10, 0), (10, 1)], "c0"),
        Words((10, 1), "<i>", anchor="start", shift=(7, 0)),
    ]
    svg = Chart("T", 'say "so"', x, y, shapes, width=200, height=100, right=10).__html__()
    assert 'aria-label="say &quot;so&quot;"' in svg and "a &lt; b</title>" in svg
    assert 'points="0,100 200,0"' in svg and 'class="c1 dashed"' in svg
    assert '<rect class="right" x="40" y="50" width="40" height="50">' in svg
    assert '<circle class="wrong hollow" cx="100" cy="50" r="3">' in svg
    assert '<text class="faint words" x="207" y="0" dy="4" text-anchor="start">&lt;i&gt;<' in svg
    assert "clipPath" not in svg and ">five<" in svg and ">half<" in svg and ">what<" in svg


def test_what_leaves_the_frame_is_cut_off() -> None:
    axis = Axis(0, 1)
    svg = Chart("Loss", "", axis, axis, [Line([(0, 0), (1, 3)], "c0")]).__html__()
    assert '<clipPath id="frame-loss">' in svg and "url(#frame-loss)" in svg


# Evaluations


def test_reliability_leaves_empty_groups_away() -> None:
    curve = reliability_curve(np.array([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4]]), np.zeros(3, int), 5)
    chart = reliability_chart(curve)
    corners = [box.corners for box in marks(chart, Box)]
    np.testing.assert_allclose(
        corners, [((0.404, 0), (0.596, 1)), ((0.804, 0), (0.996, 0.5))], atol=1e-9
    )
    np.testing.assert_allclose([dot.point for dot in marks(chart, Dot)], [(0.6, 1), (0.9, 0.5)])


def test_confidence_counts_right_and_wrong() -> None:
    curve = draw_evaluation(200, ["cats", "dogs", "owls"]).reliability
    boxes = marks(confidence_chart(curve), Box)
    for color, counts in (
        ("right", curve.num_correct),
        ("wrong", curve.counts - curve.num_correct),
    ):
        heights = [box.corners[1][1] for box in boxes if box.color == color]
        assert heights == [count for count in counts if count]


@pytest.mark.parametrize(
    ("top", "ticks"),
    [(1, [0, 1]), (2, [0, 1, 2]), (900, [0, 10, 50, 100, 200, 500]), (30_000, None)],
)
def test_ticks_are_round_and_apart(top: int, ticks: list[int] | None) -> None:
    found = root_ticks(top)
    assert found[0] == 0 and found[-1] <= top and 2 <= len(found) <= 11
    assert np.diff(np.sqrt(found)).min() > 0.09 * top**0.5
    assert ticks is None or found == ticks


def test_a_curve_of_nothing_can_be_drawn() -> None:
    empty = reliability_curve(np.zeros((0, 2)), np.zeros(0, np.int64))
    assert not marks(reliability_chart(empty), Box) and not confidence_chart(empty).marks


def test_class_scores_are_where_they_belong() -> None:
    evaluation = draw_evaluation(200, ["cats", "dogs", "owls"])
    chart = class_chart(evaluation.per_class)
    dots, rows = marks(chart, Dot), evaluation.per_class
    assert [dot.point[0] for dot in dots if not dot.is_hollow] == [row.recall for row in rows]
    assert [dot.point[0] for dot in dots if dot.is_hollow] == [row.precision for row in rows]
    reaches = [tuple(x for x, _ in line.points) for line in marks(chart, Line)]
    assert reaches == [row.recall_interval for row in rows]


def test_of_many_classes_the_weakest_are_listed() -> None:
    evaluation = draw_evaluation(900, [f"c{number}" for number in range(90)])
    chart = class_chart(evaluation.per_class)
    assert chart.title == "The 40 of 90 classes with the lowest recall"
    recalls = sorted(row.recall for row in evaluation.per_class if row.recall is not None)
    drawn = [dot.point[0] for dot in marks(chart, Dot) if not dot.is_hollow]
    np.testing.assert_allclose(drawn, recalls[:40])


def test_dots_on_other_splits_do_not_hide_one_another() -> None:
    values = [0.95, 0.9, 0.9, 0.9, 0.9501]
    facts = {
        "accuracy": {"mean": 0.92, "interval": [0.87, 0.97]},
        "resamples": [{"accuracy": value} for value in values],
    }
    chart = spread_chart(facts)
    dots = [dot.point for dot in marks(chart, Dot)]
    assert [x for x, _ in dots] == sorted(values) and len({*dots}) == 5
    assert len({y for x, y in dots if x == 0.9}) == 3 and dots[-1][1] != dots[-2][1]
    assert marks(chart, Line)[0].points == [(0.87, 0), (0.97, 0)]


# Learning curves


@pytest.fixture
def curve() -> LearningCurve:
    points = tuple(
        CurvePoint(2.0 * n, float(n), 0.9 - 0.8 / n**0.5, 0.4 / n**0.5, 10) for n in (8, 20, 80)
    )
    errors = np.random.default_rng(0).normal(0.19, 0.01, 100)
    ones = np.ones(100)
    return LearningCurve(points, 200, 2, 2, errors, 0.3 * ones, 0.5 * ones, 0 * ones, 0.1)


def test_a_learning_curve_shows_what_was_measured_and_what_to_expect(curve: LearningCurve) -> None:
    needed = curve.photos_for(0.85)
    chart = learning_curve_chart(curve.to_dict(), vars(needed))
    assert chart.x.scale == "log"
    assert [name for _, name in chart.x.ticks] == ["10", "20", "50", "100", "200", "500"]
    behind, ahead = (line for line in marks(chart, Line) if line.width == 2)
    assert ahead.is_dashed and not behind.is_dashed
    np.testing.assert_allclose(ahead.points[-1], (800, curve.predict(800)[0]))
    assert behind.points[0][0] == 8 and behind.points[-1] == ahead.points[0]
    assert ahead.points[0][0] == pytest.approx(80)
    assert needed.more_a_class is not None
    assert [words.text for words in marks(chart, Words)] == [
        "now: 100",
        "8 times",
        "target 85.0 %",
        f"{float(f'{needed.more_a_class:.2g}'):,.0f} more",
    ]
    assert chart.y.low < 0.9 - 0.8 / 8**0.5 and 0.85 < chart.y.high <= 1.03
    assert "clipPath" not in chart.__html__()


@pytest.mark.parametrize("target", [None, 0.6, 0.99])
def test_a_target_may_lack_be_reached_or_be_out_of_reach(
    curve: LearningCurve, target: float | None
) -> None:
    wanted = None if target is None else vars(curve.photos_for(target))
    chart = learning_curve_chart(curve.to_dict(), wanted)
    words = [words.text for words in marks(chart, Words)]
    assert not any("more" in word for word in words)
    assert len(words) == (2 if target is None else 3)
    assert target is None or chart.y.low < target < chart.y.high


def test_a_curve_of_an_older_version_is_drawn_by_its_sizes(curve: LearningCurve) -> None:
    facts = curve.to_dict()
    del facts["band"]
    chart = learning_curve_chart(facts)
    ahead = next(line for line in marks(chart, Line) if line.width == 2 and line.points)
    assert [x for x, _ in ahead.points] == [100, 200, 400, 800]
    chart.__html__()


# Trainings


def test_histories_are_two_charts_with_training_dashed() -> None:
    histories = {"scratch": rising(20, 1.0, 0.22), "_$x^{": rising(8, 0.9, 0.0)}
    left, right = history_charts(histories)
    assert (left.title, right.title) == ("Accuracy", "Loss")
    trained, validated, other, _ = marks(left, Line)
    assert [y for _, y in trained.points] == histories["scratch"]["accuracy"]
    assert [y for _, y in validated.points] == histories["scratch"]["val_accuracy"]
    assert trained.is_dashed and not validated.is_dashed
    assert trained.color == validated.color == "c0" and other.color == "c1"
    assert len(other.points) == 8
    assert [x for x, _ in marks(right, Line)[1].points] == list(range(2, 21))
    assert [words.text for words in marks(left, Words)] == ["+22", "+0"]
    assert [name for name, _ in left.legend] == [*histories, "validation", "training"]


def test_the_gaps_of_many_strategies_are_apart() -> None:
    chart = history_charts({f"way {at}": rising(100, 0.95, 0.1 + at / 1000) for at in range(4)})[0]
    heights = sorted(chart.height * chart.y.place(one.point[1]) for one in marks(chart, Words))
    assert len(heights) == 4 and np.diff(heights).min() >= 13.9


def test_one_wild_epoch_does_not_flatten_the_losses() -> None:
    history = rising(60, 0.9, 0.1)
    assert loss_limit([history]) == pytest.approx(1.08 * 0.6)
    history["val_loss"][3] = 900.0
    assert loss_limit([history]) < 1
    chart = history_charts({"scratch": history}, {"scratch": "c4"})[1]
    assert (chart.y.low, chart.y.high) == (0, loss_limit([history]))
    assert chart.title == "Loss (peaks cut off)" and "clipPath" in chart.__html__()
    assert {line.color for line in marks(chart, Line)} == {"c4"}
    assert loss_limit([]) == 1.0


def test_a_history_of_one_epoch_is_points_and_a_band_is_a_gap() -> None:
    chart = accuracy_chart({"a": rising(1, 0.9, 0.1)}, {"a": "c2"}, has_band=True)
    assert [dot.is_hollow for dot in marks(chart, Dot)] == [True, False]
    band = marks(accuracy_chart({"a": rising(5, 0.9, 0.1)}, {"a": "c2"}, has_band=True), Area)
    assert len(band) == 1 and len(band[0].points) == 10


def test_a_curve_leaves_out_what_was_not_looked_at() -> None:
    history = {"loss": [1.0, float("nan"), float("inf"), 0.5]}
    assert history_curve(history, "loss") == [(1, 1.0), (4, 0.5)]
    assert history_curve(history, "absent") == []


@given(st.lists(st.floats(-50, 50), max_size=9), st.floats(0.1, 20))
def test_labels_are_spread_apart_and_stay_in_order(places: list[float], gap: float) -> None:
    spread = spread_apart(places, gap)
    order = np.argsort(places, kind="stable")
    assert np.all(np.diff(np.array(spread)[order]) >= gap - 1e-6)
    assert np.mean(spread or [0.0]) == pytest.approx(np.mean(places or [0.0]), abs=1e-6)
    far = [place * 100 for place in range(len(places))]
    assert spread_apart(far, gap) == far


def draw_strategies() -> list[dict[str, Any]]:
    runs = []
    for strategy, C, seconds in (("scratch", 1, 300), ("a/b $", 3, 0), ("a b $", 3, 0.0)):
        for seed in range(2):
            evaluation = draw_evaluation(120, ["a", "b"], seed=0, C=C + seed)
            history = rising(2 + seed, 0.9, 0.1) if strategy != "a/b $" else None
            runs.append(
                StrategyRun(strategy, seed, evaluation, history, seconds, 9, 9, 9, 9.0, 2, None)
            )
    comparison = build_comparison(runs, photos="pets", recipe="ours", num_train=9)
    strategies: list[dict[str, Any]] = comparison.to_dict()["strategies"]
    return strategies


def test_a_comparison_is_drawn_where_its_numbers_are() -> None:
    strategies = draw_strategies()
    chart = time_chart(strategies)
    first = strategies[0]
    mean, *each = [dot for dot in marks(chart, Dot) if dot.color == "c0"]
    assert mean.point == (300, first["accuracy"]) and not mean.is_hollow
    assert [dot.point for dot in each] == [(300, run["accuracy"]) for run in first["runs"]]
    assert all(dot.is_hollow for dot in each)
    reach = marks(chart, Line)[0]
    assert [y for _, y in reach.points] == first["accuracy_interval"] and reach.is_light
    assert [re.split("  ", name)[0] for name, _ in chart.legend] == ["scratch", "a/b $", "a b $"]
    places = [chart.x.place(x) for x, _ in (dot.point for dot in marks(chart, Dot))]
    assert 0 < min(places) < max(places) < 1
