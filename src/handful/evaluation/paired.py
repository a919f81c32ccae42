"""One classifier against an earlier one, on the photos that neither was trained on."""

from dataclasses import dataclass

import numpy as np

from handful.evaluation.comparison import Difference
from handful.evaluation.evaluation import Evaluation
from handful.statistics.intervals import paired_difference_interval, paired_difference_test
from handful.wording import format_points, format_share, number_of

# Of fewer, McNemar's exact test calls no difference real, however large.
_FEWEST = 6


@dataclass(frozen=True)
class Change:
    """What lies between a classifier and an earlier one.

    Args:
        num_photos: Photos that both were tested on; with none of them there are no figures.
        num_relabeled: Those of them that had another label when the earlier one was tested.
        accuracy: Of the classifier on these photos, a fraction.
        earlier_accuracy: Of the earlier one on the same photos and labels.
        accuracy_then: Of the earlier one by the labels that it was tested with.
        interval: 95 % interval of `accuracy` less `earlier_accuracy`, fractions.
        is_significant: Whether the difference is more than luck, as in `Difference`.
    """

    num_photos: int
    num_relabeled: int = 0
    accuracy: float = 0.0
    earlier_accuracy: float = 0.0
    accuracy_then: float = 0.0
    interval: tuple[float, float] = (0.0, 0.0)
    is_significant: bool = False

    @property
    def sentence(self) -> str:
        """In plain words."""
        if not self.num_photos:
            return "No photo was tested in both, so they cannot be compared."
        if self.num_photos < _FEWEST:
            number = number_of(self.num_photos)
            return f"Only {number} tested in both: too few to show any difference."
        low, high = map(format_points, self.interval)
        what = "no real difference"
        if self.is_significant:
            difference = self.accuracy - self.earlier_accuracy
            kind = "better" if difference > 0 else "worse"
            what = f"{kind} by {format_points(abs(difference))} points"
        now, before = map(format_share, (self.accuracy, self.earlier_accuracy))
        text = (
            f"{now} now, {before} then, of the {number_of(self.num_photos)} tested in both: {what} "
            f"(95 % interval {low} to {high} points)."
        )
        if self.num_relabeled:
            one, before = self.num_relabeled == 1, format_share(self.accuracy_then)
            text += (
                f" {self.num_relabeled:,} of them {'has' if one else 'have'} another label now, "
                f"by which both are judged; by the labels of then it was {before}."
            )
        return text


def compare_with_earlier(now: Evaluation, earlier: Evaluation) -> Change:
    """Hold a classifier against an earlier one, photo by photo.

    Args:
        now: Its answers on its test photos.
        earlier: The earlier one's answers on its own, which may be others.

    Returns:
        The change, on the photos that are in both, by the labels that they have now. A class that
        the earlier one did not know was never its answer.
    """
    places = {path: row for row, path in enumerate(earlier.paths)}
    both = [(row, places[path]) for row, path in enumerate(now.paths) if path in places]
    if not both:
        return Change(0)
    rows, earlier_rows = np.array(both, np.int64).T
    names, earlier_names = np.array(now.class_names), np.array(earlier.class_names)
    labels = names[now.labels[rows]]
    correct = names[now.predicted[rows]] == labels
    was_correct = earlier_names[earlier.predicted[earlier_rows]] == labels
    groups = None if now.groups is None else now.groups[rows]
    p_value = paired_difference_test(correct, was_correct, groups=groups)
    interval = paired_difference_interval(correct, was_correct, groups=groups)
    accuracy, earlier_accuracy = float(correct.mean()), float(was_correct.mean())
    found = Difference("now", "then", accuracy - earlier_accuracy, interval, p_value, p_value)
    return Change(
        len(rows),
        int((earlier_names[earlier.labels[earlier_rows]] != labels).sum()),
        accuracy,
        earlier_accuracy,
        float((earlier.predicted == earlier.labels)[earlier_rows].mean()),
        interval,
        found.is_significant,
    )
