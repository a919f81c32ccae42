"""What the page of trainings shows, and the line on running jobs, as plain values."""

from collections.abc import Iterable
from dataclasses import dataclass

from handful.projects.project import Project
from handful.studio.jobs import JobState
from handful.wording import format_duration, format_share, number_of, rounded_duration
from handful.workflows.forecast import Forecast

QUALITIES = ("fast", "good", "best")
HINTS = {
    "fast": "the last layer of a small network",
    "good": "several of its layers, for photos unlike everyday ones",
    "best": "tries several networks and larger photos, and takes what is better",
}
# Minutes that "best" may take.
BUDGETS = (1, 2, 3, 5, 10, 20, 30, 60)
# A class with fewer photos cannot be learned and tested.
LEAST_PHOTOS = 2
ADVISED_PHOTOS = 10
_NEWS_SECONDS = 30
# Where no more is known than that photos are looked at for a moment, the rest takes longer.
_TELLING_SECONDS = 5
_DOING = {
    "train": "Training",
    "check": "Checking",
    "classify": "Classifying the folder",
    "share": "Export",
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


def estimate_of(forecast: Forecast | None, time_budget: float | None = None) -> str:
    """Say what a training of a quality will take.

    Args:
        forecast: What is known; None where nothing is.
        time_budget: Minutes that it may take to try networks.

    Returns:
        Such as "about 45 s"; "" where hardly anything is known.
    """
    if forecast is None:
        return ""
    embed = sum(forecast.embed)
    if time_budget is not None:
        embed = min(embed, 60 * time_budget)
    if forecast.other is None and embed < _TELLING_SECONDS:
        return ""
    if forecast.other is None:
        return f"{rounded_duration(embed)} or more"
    return f"about {rounded_duration(embed + forecast.other)}"


@dataclass(frozen=True)
class Interrupted:
    """A training that can be gone on with.

    Args:
        sentence: What became of it.
        button: What goes on with it.
    """

    sentence: str
    button: str = "Go on"


def interrupted_view(
    state: JobState | None, num_epochs: int, is_same: bool, is_unfinished: bool
) -> Interrupted | None:
    """Tell whether the last training can be gone on with.

    Args:
        state: As its folder has it.
        num_epochs: Epochs that are done.
        is_same: Whether photos and labels are as they were.
        is_unfinished: Whether the state after its last epoch is kept.

    Returns:
        The view; None where there is nothing to go on with.
    """
    if state is None or not (state.was_killed or (state.status == "canceled" and is_unfinished)):
        return None
    what = f"The training ({state.asked})" if state.asked else "The training"
    what += " ended unexpectedly" if state.was_killed else " was stopped"
    if num_epochs:
        what += f" after {number_of(num_epochs, 'epoch')}"
    if not is_same:
        return Interrupted(f"{what}. Labels have changed since, so it begins anew.", "Begin again")
    if is_unfinished:
        return Interrupted(f"{what}. It goes on there, and ends as if nothing had happened.")
    return Interrupted(f"{what}. Photos that were looked at are not looked at again.")


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
    doing = _DOING[state.verb] + (f" ({state.asked})" if state.asked else "")
    if state.status == "done":
        is_new = now - state.updated < _NEWS_SECONDS
        return JobLine(f"{doing} is done.", result=_RESULTS[state.verb]) if is_new else JobLine("")
    if state.status == "canceled":
        if state.message:
            return JobLine(f"{doing}: {state.message}", result="/results")
        return JobLine(f"{doing} was canceled.")
    if state.status == "failed":
        return JobLine(f"{doing} stopped: {state.message}", is_error=True)
    share = state.done / state.total if state.total else None
    parts = [state.what, _time(state, now)]
    line = f"{doing}: {', '.join(filter(None, parts))}"
    if state.accuracy is not None:
        line += f" · {format_share(state.accuracy, 0)} so far"
    return JobLine(line, share, is_running=True)


def _time(state: JobState, now: float) -> str:
    """What is left of a job, or how long it has been running."""
    if state.seconds_left is None:
        return format_duration(max(now - state.started, 0))
    left = max(state.seconds_left - (now - state.updated), 1.0)
    return f"{left:.0f} s left" if left < 59.5 else f"{rounded_duration(left)} left"
