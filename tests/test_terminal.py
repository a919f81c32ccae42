"""What the commands print."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from handful.cli import results, terminal
from handful.data.splits import Split, assign_parts
from handful.evaluation.evaluation import score
from handful.models.calibration import Abstention
from handful.models.classifier import Prediction
from handful.reporting import Reporter
from handful.statistics.intervals import wilson_interval
from test_checks_findings import evidence_of


def say_run(split: Split, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Lines that are printed of a run on a split."""
    wrong = np.arange(3000) == 1
    probabilities = np.eye(2)[(np.arange(3000) + wrong) % 2]
    paths = [f"{row}.jpg" for row in range(3000)]
    evaluation = score(probabilities, np.arange(3000) % 2, ["cat", "dog"], paths)
    classifier = SimpleNamespace(class_names=("cat", "dog"), provenance={"backbone": "fake"})
    run: Any = SimpleNamespace(
        split=split,
        evaluation=evaluation,
        classifier=classifier,
        resampling=None,
        limitations=(),
        seconds={"total": 1.0},
        label_review=None,
        ladder=None,
        advice="",
        path=Path("runs/x"),
    )
    results.print_run(run)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("drop_leaks", [False, True])
def test_leaks_are_named_with_what_can_be_done(
    drop_leaks: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = ["train"] * 6 + ["validation"] * 4 + ["test"] * 4
    index = evidence_of([0, 1] * 7, parts=parts).index
    pairs = [(0, 6), (2, 10), (7, 11)]
    lines = say_run(assign_parts(index, pairs, drop_leaks=drop_leaks), capsys)
    held = (
        "Warning: 1 pair of near-duplicates is in validation and in test, so scores are too good: "
        "dog/7.jpg = dog/11.jpg"
    )
    learned = (
        "Warning: 1 pair of near-duplicates is in train and in validation, so scores are too good "
        "(--drop-leaks leaves these training photos out): cat/0.jpg = cat/6.jpg"
    )
    dropped = "Training photos left out because they leaked: 2"
    assert held in lines
    assert (learned in lines, dropped in lines) == (not drop_leaks, drop_leaks)
    assert any("--drop-leaks" in line for line in lines) == (not drop_leaks)


def test_without_leaks_nothing_is_said_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    index = evidence_of([0, 1] * 4, parts=["train"] * 4 + ["validation"] * 4).index
    lines = say_run(assign_parts(index, ()), capsys)
    assert not any("leak" in line or "near-duplicate" in line for line in lines)
    assert lines[0].startswith("2,999 of 3,000 validation photos classified correctly: 99.97 % (")
    assert lines[-2] == "Expect 998 to 1,000 of 1,000 new photos to be right."


def test_a_mistake_in_thousands_is_not_rounded_away(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = np.arange(3000) == 0
    probabilities = np.stack([np.where(wrong, 0.2, 0.8), np.where(wrong, 0.8, 0.2)], axis=1)
    names = [f"{row}.jpg" for row in range(3000)]
    results.print_evaluation(score(probabilities, np.arange(3000) * 0, ["a", "b"], names))
    out = capsys.readouterr().out
    assert out.startswith("2,999 of 3,000 photos classified correctly: 99.97 % (")
    assert wilson_interval(2999, 3000)[1] < 1

    rule = Abstention(0.01, 0.01, 0.95, 0.9, 2999 / 3000, 1 / 3000, 3000)
    sure = Prediction("x.jpg", "a", 0.9, {"a": 0.9, "b": 0.1}, False, is_confident=True)
    results.print_abstention(rule, "out-of-fold", [sure])
    text = capsys.readouterr().out
    assert "this answers 99.97 %, 0.03 % of them wrong." in text
    assert "With 95 % confidence, at most 1 % of such answers are wrong. Of" in text
    rule = Abstention(0.01, 0.076, 0.95, 0.9, 1.0, 0.0, 38)
    results.print_abstention(rule, "out-of-fold", [sure])
    text = capsys.readouterr().out
    assert "at most 7.6 % of such answers are wrong; 1 % cannot be shown on 38 photos." in text
    rule = Abstention(0.01, 1.0, 0.95, None, 0.0, None, 1)
    results.print_abstention(rule, "out-of-fold", [replace(sure, is_confident=False)])
    assert "None answered: 1 photos could be held out" in capsys.readouterr().out


@pytest.mark.parametrize(("quiet", "expected"), [(False, "About 3 s\n"), (True, "")])
def test_where_nobody_watches_a_job_has_lines_and_no_bar(
    capsys: pytest.CaptureFixture[str], quiet: bool, expected: str
) -> None:
    with terminal.watch(quiet) as reporter:
        job = Reporter(reporter)
        with job.phase("train"):
            job.log("About 3 s")
            job.progress(1, 2)
    assert capsys.readouterr() == ("", expected)
