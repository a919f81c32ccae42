"""What to expect of a classifier, in a sentence or two that need no statistics to be read."""

import math

from handful.evaluation.comparison import about
from handful.evaluation.evaluation import Evaluation
from handful.statistics.intervals import design_effect, photos_to_halve
from handful.wording import list_names

# From so many photos on, each counting for itself, the interval says enough on its own.
_FEW = 300
_SCALES = (100, 1_000, 10_000)
# Of fewer units the two numbers would hardly differ, or not at all.
_FEWEST_UNITS = 2


def verdict(evaluation: Evaluation) -> str:
    """Say what to expect of new photos: the first line of a report, the last on a terminal.

    Args:
        evaluation: The classifier's answers on photos that it was not trained on.

    Returns:
        `Evaluation.chance_note` where there is one; else the accuracy's 95 % interval as so many
        of 100 photos (or 1,000 or 10,000, where as many show so much), rounded outwards, and how
        many more would halve it, where the photos are few. Then the classes that no photo shows.
    """
    parts = [evaluation.chance_note] if evaluation.chance_note else [_expectation(evaluation)]
    if not evaluation.chance_note:
        parts.append(_how_few(evaluation))
    missing = [row.name for row in evaluation.per_class if not row.support]
    if missing:
        whose = "it" if len(missing) == 1 else "them"
        parts.append(f"No test photo shows {list_names(missing)}: nothing is known about {whose}.")
    return " ".join(filter(None, parts))


def _expectation(evaluation: Evaluation) -> str:
    low, high = evaluation.accuracy_interval
    # No finer than the photos themselves.
    fine = (n for n in _SCALES if (high - low) * n >= _FEWEST_UNITS or 10 * n > len(evaluation))
    scale = next(fine, _SCALES[-1])
    least, most = math.floor(low * scale + 1e-9), math.ceil(high * scale - 1e-9)
    seen = [row.name for row in evaluation.per_class if row.support]
    whose = f" of {list_names(seen)}" if len(seen) == 1 and len(evaluation.class_names) > 1 else ""
    return f"Expect {least:,} to {most:,} of {scale:,} new photos{whose} to be right."


def _how_few(evaluation: Evaluation) -> str:
    correct, groups = evaluation.predicted == evaluation.labels, evaluation.groups
    counted = len(evaluation) / design_effect(correct, groups)
    if counted >= _FEW:
        return ""
    more = about(photos_to_halve(correct, groups=groups))
    what = f"{len(evaluation):,} test photo{'s' * (len(evaluation) != 1)}"
    if round(counted) == len(evaluation):
        return f"{what} is few; {more} more would halve the uncertainty."
    return (
        f"{what} with near-duplicates count as {about(round(counted))}, which is few; {more} more "
        "that all differ would halve the uncertainty."
    )
