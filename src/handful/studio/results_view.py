"""What the page of results shows, as plain values."""

from dataclasses import dataclass

from handful.evaluation.evaluation import Evaluation
from handful.evaluation.verdict import verdict
from handful.projects.project import Project
from handful.wording import format_share, number_of

_MISTAKES = 60


@dataclass(frozen=True)
class Mistake:
    """A test photo that was classified wrong.

    Args:
        id: The photo.
        name: Its file's name.
        actual: Its label when it was tested.
        predicted: What the classifier said.
        confidence: How sure it was, in words.
        done: What was decided since, or "".
    """

    id: str
    name: str
    actual: str
    predicted: str
    confidence: str
    done: str = ""


@dataclass(frozen=True)
class ResultsView:
    """What a training came to.

    Args:
        verdict: In plain words.
        share: Share of test photos classified correctly, as a text.
        low: Lower end of its 95 % interval, 0 to 1.
        high: Upper end.
        accuracy: The share, 0 to 1.
        summary: The count and the interval in words.
        mistakes: The most confident ones first.
        num_mistakes: How many there are.
        made: When, and how.
        changed: That labels have changed since, or "".
    """

    verdict: str
    share: str
    low: float
    high: float
    accuracy: float
    summary: str
    mistakes: tuple[Mistake, ...]
    num_mistakes: int
    made: str = ""
    changed: str = ""


def results_view(project: Project, evaluation: Evaluation, made: str = "") -> ResultsView:
    """Make the page of results.

    Args:
        project: Where the photos are.
        evaluation: Answers on the test photos.
        made: When and how it was made.

    Returns:
        The view; mistakes on photos that are gone from the project are left out.
    """
    ids = {photo.path: photo for photo in project.photos}
    names, found = evaluation.class_names, []
    wrong = [int(row) for row in evaluation.mistakes()]
    for row in wrong[:_MISTAKES]:
        photo = ids.get(evaluation.paths[row])
        if photo is None:
            continue
        actual, predicted = names[evaluation.labels[row]], names[evaluation.predicted[row]]
        confidence = format_share(float(evaluation.confidence[row]))
        done = decision_on(project, photo.id, actual)
        found.append(Mistake(photo.id, photo.name, actual, predicted, confidence, done))
    low, high = evaluation.accuracy_interval
    fixed = sum(bool(mistake.done) for mistake in found)
    changed = f"{number_of(fixed, 'label')} changed since. Train again to see what that brings."
    return ResultsView(
        verdict(evaluation),
        format_share(evaluation.accuracy),
        low,
        high,
        evaluation.accuracy,
        evaluation.summary("test photos"),
        tuple(found),
        len(wrong),
        made,
        changed if fixed else "",
    )


def decision_on(project: Project, id: str, label: str) -> str:
    """Say what was decided on a photo since it had a label.

    Args:
        project: The project.
        id: The photo.
        label: What it was then.

    Returns:
        "left out", "is now Blight", "unsorted"; "" where nothing has changed.
    """
    if project.labels.is_left_out(id):
        return "left out"
    now = project.labels.of(id)
    if now == label:
        return ""
    return "unsorted" if now is None else f"is now {now}"
