"""Answering only when sure: the steps of a slider in words, and which of them is kept."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from handful.evaluation.evaluation import Evaluation
from handful.evaluation.guarantees import AbstainingCheck
from handful.files.atomic import MALFORMED, json_text, new_file, read_json
from handful.models.calibration import CONFIDENCE, USUAL_ERROR_RATE
from handful.wording import format_rate, format_share

# What a project keeps of how to answer.
ANSWERING_FILE = "answering.json"


@dataclass(frozen=True)
class AnswerStep:
    """A step of the slider.

    Args:
        error_rate: What `predict` is asked for; None answers always.
        text: How many photos are answered, and how many of those wrong, in words.
        promise: What holds of new photos, or why nothing does.
    """

    error_rate: float | None
    text: str
    promise: str


def answer_steps(
    evaluation: Evaluation, steps: Sequence[AbstainingCheck], is_held_apart: bool
) -> tuple[AnswerStep, ...]:
    """Put what answering only when sure brings into words.

    Args:
        evaluation: Answers on the test photos.
        steps: As `answering_steps` gives them.
        is_held_apart: Whether they were chosen on other photos than those tested.

    Returns:
        To answer always first, then ever more careful.
    """
    low, high = evaluation.accuracy_interval
    always = _in_words(1.0, 1 - evaluation.accuracy, (1 - high, 1 - low))
    found = [AnswerStep(None, always, "Every photo gets an answer, however unsure.")]
    for step in steps:
        rate = format_rate(step.shown_error_rate)
        promise = (
            f"Says “not sure” unless at most {rate} of its answers would be wrong "
            f"({format_rate(CONFIDENCE)} certain, of photos like these)"
        )
        promise += (
            "."
            if is_held_apart
            else "; measured on the photos that it was chosen on, which flatters it a little."
        )
        text = _in_words(step.coverage, step.error, step.error_interval)
        found.append(AnswerStep(step.error_rate, text, promise))
    return tuple(found)


def _in_words(coverage: float, error: float | None, interval: tuple[float, float] | None) -> str:
    """Such as "97 % answered · about 1 in 100 wrong (0 to 3)"."""
    answered = f"{format_share(coverage, 0)} answered"
    if error is None or interval is None:
        return f"{answered} · of these photos none"
    low, high = interval
    # No finer than the interval tells.
    scale = next((n for n in (100, 1_000) if n * (high - low) >= 2), 10_000)
    about = round(error * scale)
    least, most = math.floor(low * scale + 1e-9), math.ceil(high * scale - 1e-9)
    if not error:
        return f"{answered} · none wrong ({least:,} to {most:,} in {scale:,})"
    number = f"about {about:,}" if about else "fewer than 1"
    return f"{answered} · {number} in {scale:,} wrong ({least:,} to {most:,})"


def step_of(steps: Sequence[AnswerStep], error_rate: float | None) -> int:
    """The step that comes nearest to what was chosen.

    Args:
        steps: The slider's.
        error_rate: What was chosen; None for always.

    Returns:
        Its place: the least careful one that is careful enough, or the most careful of all.
    """
    if error_rate is None:
        return 0
    careful = (
        place
        for place, step in enumerate(steps)
        if step.error_rate is not None and step.error_rate <= error_rate
    )
    return next(careful, len(steps) - 1)


def chosen_error_rate(folder: Path) -> float | None:
    """How sure an answer must be in a project.

    Args:
        folder: The project's.

    Returns:
        The error rate to ask `predict` for; None where every photo is answered. What was never
        chosen, or cannot be read, is the usual one.
    """
    try:
        rate = read_json(folder / ANSWERING_FILE)["error_rate"]
        if rate is None or 0 < float(rate) < 1:
            return None if rate is None else float(rate)
    except (OSError, *MALFORMED):
        pass
    return USUAL_ERROR_RATE


def choose_error_rate(folder: Path, error_rate: float | None) -> str:
    """Keep how sure an answer must be.

    Args:
        folder: The project's.
        error_rate: As `chosen_error_rate` gives it.

    Returns:
        What was done.

    Raises:
        OutputError: When it cannot be written.
    """
    with new_file(folder / ANSWERING_FILE, replace=True) as part:
        part.write_text(json_text({"error_rate": error_rate}) + "\n", encoding="utf-8")
    if error_rate is None:
        return "From now on every photo is answered"
    return f"From now on “not sure” is said where over {format_rate(error_rate)} would be wrong"
