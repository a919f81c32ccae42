"""What the page of trainings shows, and the line on running jobs, as plain values."""

from collections.abc import Iterable
from dataclasses import dataclass

from handful.projects.project import Project
from handful.studio.jobs import JobState
from handful.wording import format_duration, number_of

QUALITIES = ("fast", "good", "best")
# A class with fewer photos cannot be learned and tested.
LEAST_PHOTOS = 2
ADVISED_PHOTOS = 10
_NEWS_SECONDS = 30
_DOING = {
    "train": "Training",
    "check": "Checking",
    "classify": "Classifying the folder",
    "share": "Writing for others",
}
# Where it is seen what came of it.
_RESULTS = {"train": "/results", "check": "/check", "classify": "/use", "share": "/use"}


@dataclass(frozen=True)
class TrainView:
    """Whether there is enough to train on.

    Args:
        is_ready: Whether there is.
        sentence: What there is, or what is missing.
        advice: What would make it better, or "".
    """

    is_ready: bool
    sentence: str
    advice: str = ""


def train_view(project: Project) -> TrainView:
    """Tell whether a project can be trained on.

    Args:
        project: The project.

    Returns:
        The view.
    """
    there, labels = {photo.id for photo in project.photos}, project.labels.all()
    counts = dict.fromkeys(project.labels.classes, 0)
    for id, name in labels.items():
        counts[name] += id in there
    used = {name: count for name, count in counts.items() if count}
    few = [name for name, count in used.items() if count < LEAST_PHOTOS]
    if len(used) < 2:
        return TrainView(False, "Sort photos into two classes or more first.")
    if few:
        return TrainView(False, f"{few[0]} has one photo only; two is the least, ten a start.")
    listed = ", ".join(f"{count:,} {name}" for name, count in used.items())
    sentence = f"{number_of(sum(used.values()))} to learn from and to test on: {listed}."
    poor = [name for name, count in used.items() if count < ADVISED_PHOTOS]
    advice = f"{poor[0]} has few photos: from ten on, the test says something." if poor else ""
    return TrainView(True, sentence, advice)


@dataclass(frozen=True)
class JobLine:
    """The line that is always there.

    Args:
        text: How far it is, or how it ended; "" shows no line.
        share: How far, 0 to 1; None where that is not known.
        is_running: Whether it can be canceled.
        is_error: Whether something went wrong.
        result: Address of what came of it, just now; or "".
    """

    text: str
    share: float | None = None
    is_running: bool = False
    is_error: bool = False
    result: str = ""


def line_of(states: Iterable[JobState | None], now: float) -> JobLine:
    """Say how far the job is that matters most: one that is running, else the latest.

    Args:
        states: As the jobs' folders have them.
        now: Seconds since 1970.

    Returns:
        The line.
    """
    found = [state for state in states if state is not None]
    found.sort(key=lambda state: (state.status == "running", state.updated))
    return job_line(found[-1] if found else None, now)


def job_line(state: JobState | None, now: float) -> JobLine:
    """Say how far a job is.

    Args:
        state: As its folder has it.
        now: Seconds since 1970.

    Returns:
        The line.
    """
    if state is None:
        return JobLine("")
    doing = _DOING[state.verb] + (f" ({state.quality})" if state.quality else "")
    if state.status == "done":
        is_new = now - state.updated < _NEWS_SECONDS
        return JobLine(f"{doing} is done.", result=_RESULTS[state.verb]) if is_new else JobLine("")
    if state.status == "canceled":
        return JobLine(f"{doing} was canceled.")
    if state.status == "failed":
        return JobLine(f"{doing} stopped: {state.message}", is_error=True)
    share = state.done / state.total if state.total else None
    parts = [state.what, format_duration(max(now - state.started, 0)) + " so far"]
    return JobLine(f"{doing}: {', '.join(filter(None, parts))}", share, is_running=True)
