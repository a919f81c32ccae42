from pathlib import Path

import numpy as np
import pytest

from handful.evaluation.evaluation import score
from handful.evaluation.guarantees import AbstainingCheck
from handful.studio.answering import (
    AnswerStep,
    answer_steps,
    choose_error_rate,
    chosen_error_rate,
    step_of,
)


def step(
    rate: float, coverage: float, error: float | None, interval: tuple[float, float] | None
) -> AbstainingCheck:
    return AbstainingCheck(rate, rate, 0.9, coverage, 0.0, coverage, error, interval)


def test_steps_say_what_is_answered_and_what_goes_wrong() -> None:
    rows = np.array([[0.9, 0.1]] * 95 + [[0.2, 0.8]] * 5)
    paths = [f"{number}.jpg" for number in range(100)]
    evaluation = score(rows, np.zeros(100, np.int64), ["a", "b"], paths)
    found = answer_steps(
        evaluation,
        [
            step(0.05, 0.972, 0.0103, (0.0018, 0.0301)),
            step(0.02, 0.5, 0.0, (0.0, 0.058)),
            step(0.004, 0.4, 0.0021, (0.0004, 0.0058)),
            step(0.001, 0.0, None, None),
        ],
        True,
    )
    always, *others = (one.text for one in found)
    assert always == "100 % answered · about 5 in 100 wrong (2 to 12)"
    assert others == [
        "97 % answered · about 1 in 100 wrong (0 to 4)",
        "50 % answered · none wrong (0 to 6 in 100)",
        "40 % answered · about 2 in 1,000 wrong (0 to 6)",
        "0 % answered · of these photos none",
    ]
    assert [one.error_rate for one in found] == [None, 0.05, 0.02, 0.004, 0.001]
    assert "at most 5 % of its answers would be wrong (95 % certain" in found[1].promise
    (_, flattered) = answer_steps(evaluation, [step(0.1, 1.0, 0.0, (0.0, 0.1))], False)
    assert "which flatters it" in flattered.promise


def test_the_step_in_use_is_at_least_as_careful_as_asked() -> None:
    steps = [AnswerStep(rate, "", "") for rate in (None, 0.1, 0.04)]
    assert [step_of(steps, rate) for rate in (None, 0.5, 0.1, 0.05, 0.01)] == [0, 1, 1, 2, 2]


def test_what_was_chosen_is_kept_in_the_project(tmp_path: Path) -> None:
    assert chosen_error_rate(tmp_path) == 0.01
    assert "over 2 % would be wrong" in choose_error_rate(tmp_path, 0.02)
    assert chosen_error_rate(tmp_path) == 0.02
    assert choose_error_rate(tmp_path, None).endswith("every photo is answered")
    assert chosen_error_rate(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[]", '{"error_rate": 2}', '{"error_rate": "x"}', "{}"])
def test_a_damaged_choice_is_the_usual_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "answering.json").write_text(text)
    assert chosen_error_rate(tmp_path) == 0.01
