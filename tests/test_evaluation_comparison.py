import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handful.evaluation.comparison import (
    Comparison,
    Difference,
    StrategyRun,
    about,
    build_comparison,
    too_few_photos,
)
from handful.evaluation.evaluation import Evaluation, score
from handful.statistics.intervals import accuracy_interval, mcnemar_test, paired_difference_interval

HISTORY = {
    "loss": [0.7, 0.2, 0.1],
    "accuracy": [0.6, 0.9, 1.0],
    "val_loss": [0.7, 0.6, float("nan")],
    "val_accuracy": [0.55, 0.7, float("nan")],
}


def evaluate(correct: Sequence[bool] | np.ndarray) -> Evaluation:
    """Answers on photos of two classes, right where `correct` says so."""
    right = np.asarray(correct, bool)
    labels = np.arange(len(right)) % 2
    sure = np.where(right == (labels == 0), 0.9, 0.1)
    paths = [f"{row}.jpg" for row in range(len(right))]
    return score(np.stack([sure, 1 - sure], axis=1), labels, ["cats", "dogs"], paths)


def run(
    strategy: str,
    correct: Sequence[bool] | np.ndarray,
    seed: int = 0,
    seconds: float = 10.0,
    epochs: int = 3,
    path: Path | None = None,
) -> StrategyRun:
    return StrategyRun(
        strategy=strategy,
        seed=seed,
        evaluation=evaluate(correct),
        history=HISTORY if epochs else None,
        seconds=seconds,
        num_parameters=4000,
        num_trainable=3000,
        num_bytes=16_000,
        photos_per_second=500.0,
        epochs=epochs,
        path=path,
    )


def first_right(right: int, num: int = 200) -> np.ndarray:
    return np.arange(num) < right


def compare(*runs: StrategyRun, quick: bool = False) -> Comparison:
    return build_comparison(runs, photos="pets", recipe="ours", num_train=800, quick=quick)


@pytest.fixture
def comparison() -> Comparison:
    return compare(
        run("scratch", first_right(140), seconds=300),
        run("transfer", first_right(196), seconds=1.5, epochs=0),
        run("augmented", first_right(170), seconds=400),
        run("fine-tune", first_right(195), seconds=500),
    )


def test_strategies_stay_in_order_and_pairs_go_from_the_best(comparison: Comparison) -> None:
    names = [summary.name for summary in comparison.summaries]
    assert names == ["scratch", "transfer", "augmented", "fine-tune"]
    assert [(row.first, row.second) for row in comparison.differences] == [
        ("transfer", "fine-tune"),
        ("transfer", "augmented"),
        ("transfer", "scratch"),
        ("fine-tune", "augmented"),
        ("fine-tune", "scratch"),
        ("augmented", "scratch"),
    ]
    assert comparison.num_validation == 200 and comparison.num_train == 800
    assert comparison.class_names == ("cats", "dogs")


def test_a_difference_is_the_metrics(comparison: Comparison) -> None:
    found = comparison.differences[1]
    assert found.difference == pytest.approx(0.13) and found.num_pairs == 6
    expected = paired_difference_interval(first_right(196), first_right(170))
    assert found.interval == pytest.approx(expected)
    assert found.p_value == mcnemar_test(26, 0)
    assert found.p_value < found.adjusted_p_value < 1e-5 and found.is_significant


def test_sentences_are_plain(comparison: Comparison) -> None:
    sentences = [row.sentence for row in comparison.differences]
    assert sentences[0] == (
        "no proven difference between transfer and fine-tune (0.5 points, 95 % interval -1.2 to "
        "2.2); about 7,200 photos would show one of this size"
    )
    assert sentences[2] == "transfer beats scratch by 28.0 points (95 % interval 21.4 to 34.0)"


def test_many_pairs_make_a_small_difference_open() -> None:
    small = Difference("a", "b", 0.03, (0.002, 0.058), 0.03, 0.18, num_pairs=6, photos_needed=900)
    assert not small.is_significant
    assert small.sentence == (
        "no proven difference between a and b "
        "(3.0 points, 95 % interval 0.2 to 5.8; too little for one of 6 pairs compared); about "
        "900 photos would show one of this size"
    )
    alone = replace(small, adjusted_p_value=0.051, num_pairs=1)
    assert not alone.is_significant and "0.2 to 5.8, but p = 0.05)" in alone.sentence
    assert not replace(small, interval=(-0.001, 0.06), adjusted_p_value=0.01).is_significant
    assert replace(small, adjusted_p_value=0.04).is_significant


def test_the_verdict_names_all_that_cannot_be_told_apart(comparison: Comparison) -> None:
    assert [summary.name for summary in comparison.best] == ["transfer", "fine-tune"]
    assert comparison.verdict == (
        "transfer and fine-tune are best and cannot be told apart: 98.0 % and 97.5 % of 200 "
        "validation photos correct. Of these, transfer is trained fastest."
    )


def test_the_verdict_of_a_clear_case() -> None:
    three = compare(
        run("a", first_right(150)), run("b", first_right(199)), run("c", first_right(90))
    )
    assert three.verdict == (
        "b is best: 99.5 % of 200 validation photos correct, 24.5 points more than a, "
        "the next. The last is c with 45.0 %."
    )
    two = compare(run("a", first_right(150)), run("b", first_right(199)))
    assert two.verdict.endswith("24.5 points more than a.")


def test_the_verdict_of_equals_and_of_one() -> None:
    same = compare(run("a", first_right(150), seconds=9), run("b", first_right(151), seconds=2))
    assert same.verdict == (
        "200 validation photos cannot tell b and a apart: they were right for 75.5 % and 75.0 %. "
        "Of these, b is trained fastest."
    )
    one = compare(run("a", first_right(200)))
    assert one.verdict == (
        "a classifies 100 % of 200 validation photos correctly; "
        "there is nothing to compare it with."
    )
    assert one.differences == ()


def test_a_quick_comparison_says_so() -> None:
    quick = compare(run("a", first_right(150)), run("b", first_right(190)), quick=True)
    assert "a short comparison: its networks have not been trained to the end" in quick.verdict
    assert quick.to_dict()["quick"] is True


def test_seeds_are_summed_up() -> None:
    seeds = [
        run("a", first_right(right), seed, 10.0 + seed) for seed, right in enumerate((150, 160))
    ]
    both = compare(*seeds, run("b", first_right(120)))
    summary = both.summaries[0]
    assert summary.accuracy == pytest.approx(0.775)
    assert summary.accuracy_deviation == pytest.approx(np.std([0.75, 0.8], ddof=1))
    assert summary.accuracy_interval == accuracy_interval(summary.correct)
    assert summary.seconds == 10.5 and both.summaries[1].accuracy_deviation is None
    assert both.limitations == (
        "Trained once, so that the luck of training is not in the intervals: b.",
    )
    again = [replace(one, strategy="b") for one in seeds]
    assert compare(*seeds, *again).limitations == (
        "Trainings of one way vary so much from seed to seed that 2 points between two ways cannot "
        "be shown with any number of photos: more seeds would help.",
    )
    assert "Each way was trained once" in compare(seeds[0]).limitations[0]


def test_too_few_photos_are_a_limitation(comparison: Comparison) -> None:
    # Only transfer and fine-tune are not told apart; one photo of 200 is classified correctly by
    # one alone.
    assert comparison.limitations[1:] == (
        "200 validation photos are too few to show a difference of 2 points in each pair that is "
        "not told apart: about 610 would do.",
    )
    assert comparison.to_dict()["asked_difference"] == 0.02
    options = {"photos": "pets", "recipe": "ours", "num_train": 800, "difference": 0.2}
    runs = [summary.runs[0] for summary in comparison.summaries]
    assert len(build_comparison(runs, **options).limitations) == 1
    steady = [run(name, first_right(150), seed) for name in "ab" for seed in range(2)]
    assert compare(*steady).limitations == (
        "200 validation photos are too few to show a difference of 2 points in each pair that is "
        "not told apart: about 400 would do.",
    )
    (alike,) = compare(*steady).differences
    assert alike.photos_needed is None and alike.sentence.endswith("-1.4 to 1.4)")


def test_a_number_that_would_do_is_said_of_one_classifier() -> None:
    assert too_few_photos(40, 1, 0.02) == (
        "40 validation photos cannot show a difference of 2 points between two classifiers: about "
        "1,800 would; these can show one of 19 points."
    )
    assert too_few_photos(100, 10, 0.01).startswith(
        "100 validation photos cannot show a difference of 1 point between"
    )
    assert too_few_photos(2000, 20, 0.02) == ""
    # One classifier may name all right and one none: McNemar's test takes six for that.
    assert too_few_photos(2, 0, 0.02).endswith(" would; these can show none, however large.")
    assert too_few_photos(5, 0, 1.0) == (
        "5 validation photos cannot show a difference of 100 points between two classifiers: "
        "about 6 would; these can show none, however large."
    )
    assert too_few_photos(1, 0, 1.0).startswith("1 validation photo cannot show")
    assert too_few_photos(6, 0, 1.0) == "" and " show one of " in too_few_photos(6, 0, 0.02)
    # What it names is enough.
    assert too_few_photos(40, 0, 0.5) == "" and too_few_photos(1, 0, 1.0) != ""


@pytest.mark.parametrize(
    ("num", "ours", "theirs"),
    [
        (5000, (4790, 4830), (4700, 4740)),  # the normal distribution asks for 1,930 photos
        (100, (76, 97), (0, 27)),  # Student's t for 27, with which the seeds would weigh less
    ],
)
def test_no_fewer_photos_are_asked_for_than_failed_to_show_it(
    num: int, ours: tuple[int, int], theirs: tuple[int, int]
) -> None:
    runs = [
        run(name, first_right(right, num), seed)
        for name, rights in (("a", ours), ("b", theirs))
        for seed, right in enumerate(rights)
    ]
    (found,) = compare(*runs).differences
    assert not found.is_significant and found.photos_needed is None
    assert found.sentence.endswith("; more seeds, not more photos, would show one of this size")


@pytest.mark.parametrize(
    ("number", "text"),
    [(1, "about 1"), (99, "about 99"), (101, "about 110"), (7_164, "about 7,200")],
)
def test_estimates_are_rounded_up(number: int, text: str) -> None:
    assert about(number) == text


def test_the_gap_is_taken_where_both_accuracies_are_known(comparison: Comparison) -> None:
    scratch, transfer = comparison.summaries[:2]
    assert scratch.overfitting_gap == pytest.approx(0.2)
    assert transfer.overfitting_gap is None and transfer.history is None
    blind = replace(scratch.runs[0], history={"accuracy": [0.5]})
    assert blind.final_accuracies is None


def test_json_holds_everything(comparison: Comparison, tmp_path: Path) -> None:
    placed = compare(run("a", first_right(150), path=tmp_path), run("b", first_right(180)))
    answer = json.loads(json.dumps(placed.to_dict(), allow_nan=False))
    assert answer["verdict"] == placed.verdict and answer["recipe"] == "ours"
    assert [row["name"] for row in answer["strategies"]] == ["a", "b"]
    first = answer["strategies"][0]
    assert first["overfitting_gap"] == pytest.approx(0.2) and first["accuracy_deviation"] is None
    assert first["runs"][0]["run_path"] == str(tmp_path)
    assert first["runs"][0]["overfitting_gap"] == pytest.approx(0.2)
    assert answer["differences"][0]["sentence"] == placed.differences[0].sentence
    assert answer["differences"][0]["is_significant"] is True
    assert "is_significant" in json.dumps(comparison.to_dict(), allow_nan=False)


def test_runs_must_be_scored_on_the_same_photos() -> None:
    here = run("a", first_right(150))
    with pytest.raises(ValueError, match="0 runs to compare"):
        compare()
    with pytest.raises(ValueError, match="strategy 'a' has seed 0 twice"):
        compare(here, here)
    for other, what in (
        (evaluate(first_right(90, 100)), "photos"),
        (replace(here.evaluation, paths=here.evaluation.paths[::-1]), "photos"),
        (replace(here.evaluation, labels=1 - here.evaluation.labels), "labels"),
        (replace(here.evaluation, class_names=("dogs", "cats")), "class names"),
    ):
        with pytest.raises(ValueError, match=rf"a \(seed 0\) and b \(seed 1\) .* different {what}"):
            compare(here, replace(here, strategy="b", seed=1, evaluation=other))


@pytest.mark.slow
@given(st.integers(2, 60).flatmap(lambda n: st.tuples(st.just(n), *[st.integers(0, n)] * 3)))
def test_every_comparison_can_be_put_in_words(case: tuple[int, int, int, int]) -> None:
    num, *rights = case
    found = compare(*(run("abc"[at], first_right(right, num)) for at, right in enumerate(rights)))
    assert found.verdict.endswith(".") and "nan" not in found.verdict
    assert all(row.difference >= 0 and row.sentence for row in found.differences)
    assert found.ranked[0] in found.best


@pytest.mark.slow
def test_comparing_loads_nothing_heavy() -> None:
    code = "import sys, handful.evaluation.comparison; print([m for m in sys.modules if m in "
    code += "('sklearn', 'scipy', 'matplotlib', 'keras', 'jinja2')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
