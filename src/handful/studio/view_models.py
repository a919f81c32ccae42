"""What pages show, as plain values: tests look at them without a browser."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from handful.checks.findings import are
from handful.data.label_log import LabelChange
from handful.errors import UsageError
from handful.evaluation.evaluation import Evaluation
from handful.evaluation.verdict import verdict
from handful.models.classifier import Prediction
from handful.projects.project import Project
from handful.studio.jobs import JobState
from handful.wording import format_duration, format_share, number_of
from handful.workflows.labeling import PhotoGroup

Action = Literal["assign", "leave_out", "unsort", "undo", "redo", "add_class", "remove_class"]
QUALITIES = ("fast", "good", "best")
# A class with fewer photos cannot be learned and tested.
LEAST_PHOTOS = 2
ADVISED_PHOTOS = 10
_MISTAKES, _SUSPECTS = 60, 60
_KEYS = 9
HELPED = ("alike", "next")
# What a check says for those who have its fix list; here there are buttons.
_ADVICE = {
    "same-photo-two-labels": "Only one of the labels can be right: say which, or leave them out.",
    "label-suspect": "A classifier trained without these photos predicts a different class. Some "
    "are only unusual: look at each, and keep it where its label is right.",
}
_NEWS_SECONDS = 30


@dataclass(frozen=True)
class Chip:
    """A filter of the photos.

    Args:
        key: "all", "unsorted", "alike", "next", "left-out", or "class:" and a name.
        name: What it says.
        count: Photos that it shows; None where it takes work to tell.
        number: The key on the keyboard that assigns the class; 0 for none.
    """

    key: str
    name: str
    count: int | None
    number: int = 0


@dataclass(frozen=True)
class Hint:
    """What is said of a photo without a label.

    Args:
        text: For people: "Blight? 92 %", "nothing like it has a label yet".
        class_name: The class that Enter would give it; "" for none.
    """

    text: str
    class_name: str = ""


@dataclass(frozen=True)
class Cell:
    """A photo in the grid.

    Args:
        id: The photo.
        name: Its file's name.
        label: Its class, or "".
        left_out: Whether it was left out.
        hint: What is said of it, or None.
    """

    id: str
    name: str
    label: str
    left_out: bool
    hint: Hint | None = None


@dataclass(frozen=True)
class PhotosView:
    """The page of photos.

    Args:
        version: Changes with everything that the page shows.
        shown: Key of the chip that is chosen.
        chips: All filters, those of the classes in their order.
        cells: The photos that are shown.
        undo: What "undo" would take back, or "".
        redo: What "redo" would do again, or "".
        busy: What is going on with the photos, or "".
        rejected: Files that cannot be used, each with the reason.
    """

    version: str
    shown: str
    chips: tuple[Chip, ...]
    cells: tuple[Cell, ...]
    undo: str = ""
    redo: str = ""
    busy: str = ""
    rejected: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the page.

        Returns:
            Cells are lists, for there may be ten thousand.
        """
        cells = [
            [one.id, one.name, one.label, one.left_out]
            + ([] if one.hint is None else [one.hint.text, one.hint.class_name])
            for one in self.cells
        ]
        return {
            **{name: getattr(self, name) for name in ("version", "shown", "undo", "redo", "busy")},
            "chips": [asdict(chip) for chip in self.chips],
            "cells": cells,
            "rejected": [list(pair) for pair in self.rejected[:100]],
        }


def version_of(project: Project) -> str:
    """Tell whether something has changed.

    Args:
        project: The project.

    Returns:
        A text that is another one after each change of photos or labels.
    """
    return f"{project.version}-{project.labels.version}"


def photos_view(
    project: Project,
    shown: str = "all",
    busy: str = "",
    hints: Mapping[str, Hint] | None = None,
) -> PhotosView:
    """Make the page of photos.

    Args:
        project: What is shown.
        shown: A chip's key; one that is not there (any more) shows all.
        busy: What is going on, or "".
        hints: For "alike" and "next": what is said of which photos, in the order to show them.

    Returns:
        The view.
    """
    version, labels, left_out = version_of(project), project.labels.all(), project.labels.left_out
    photos = project.photos
    there = [photo.id for photo in photos]
    counts = dict.fromkeys(project.labels.classes, 0)
    for id in there:
        if id in labels:
            counts[labels[id]] += 1
    num_out = sum(id in left_out for id in there)
    chips = [
        Chip("all", "All", len(there)),
        Chip("unsorted", "Unsorted", len(there) - num_out - sum(counts.values())),
    ]
    if there and counts:
        chips += [Chip("alike", "Suggestions", None), Chip("next", "Label next", None)]
    for number, (name, count) in enumerate(counts.items(), 1):
        chips.append(Chip(f"class:{name}", name, count, number if number <= _KEYS else 0))
    if num_out:
        chips.append(Chip("left-out", "Left out", num_out))
    if shown not in {chip.key for chip in chips}:
        shown = "all"
    names = {photo.id: photo.name for photo in photos}
    hints = {id: hint for id, hint in (hints or {}).items() if id in names and id not in left_out}
    if shown in HELPED:
        cells = [Cell(id, names[id], "", False, hints[id]) for id in hints if id not in labels]
    else:
        cells = [Cell(id, name, labels.get(id, ""), id in left_out) for id, name in names.items()]
    undone, redone = project.labels.next_undo, project.labels.next_redo
    return PhotosView(
        version,
        shown,
        tuple(chips),
        tuple(cell for cell in cells if shown in HELPED or _is_shown(cell, shown)),
        "" if undone is None else describe(undone),
        "" if redone is None else describe(redone),
        busy,
        tuple((file.path, file.reason) for file in project.rejected),
    )


def suggestion_hints(groups: Iterable[PhotoGroup]) -> dict[str, Hint]:
    """What is said of unsorted photos: those that look alike stand together.

    Args:
        groups: As `Labeler.groups` gives them.

    Returns:
        Id to hint, in the order to show them.
    """
    hints = {}
    for group in groups:
        hint = Hint("")
        if (found := group.suggestion) is not None:
            hint = Hint(f"{found.class_name}? {format_share(found.probability)}", found.class_name)
        hints.update(dict.fromkeys(group.ids, hint))
    return hints


def _is_shown(cell: Cell, shown: str) -> bool:
    if shown == "unsorted":
        return not cell.label and not cell.left_out
    if shown == "left-out":
        return cell.left_out
    return shown == "all" or shown == f"class:{cell.label}"


def describe(change: LabelChange) -> str:
    """Say what was done.

    Args:
        change: The action.

    Returns:
        A clause such as "3 photos are Blight".
    """
    photos = f"{number_of(len(change.ids))} {are(len(change.ids))}"
    return {
        "assign": f"{photos} {change.class_name}",
        "leave_out": f"{photos} left out",
        "unsort": f"{photos} unsorted",
        "add_class": f"there is a class {change.class_name}",
        "rename_class": f"{change.class_name} is called {change.new_name}",
        "remove_class": f"the class {change.class_name} is gone",
    }[change.op]


def act(project: Project, action: Action, ids: Sequence[str] = (), name: str = "") -> str:
    """Do what a key, a button or a click asks for.

    Args:
        project: Whose labels change.
        action: What to do.
        ids: The photos.
        name: The class.

    Returns:
        What was done, for the toast; "" where nothing changed.

    Raises:
        UsageError: When it cannot be done; a sentence.
    """
    labels = project.labels
    if action == "add_class":
        return f"There is a class {labels.add_class(name)} now"
    if action in ("undo", "redo"):
        change = labels.undo() if action == "undo" else labels.redo()
        if change is None:
            return ""
        return f"{'Taken back' if action == 'undo' else 'Done again'}: {describe(change)}"
    if action == "assign":
        change = labels.assign(ids, name)
    elif action == "leave_out":
        change = labels.leave_out(ids)
    elif action == "unsort":
        change = labels.unsort(ids)
    elif action == "remove_class":
        change = labels.remove_class(name)
    else:
        raise UsageError(f"{action!r} is nothing that can be done.")
    if change is None:
        return ""
    said = describe(change)
    return f"{said[0].upper()}{said[1:]} now"


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


_DOING = {"train": "Training", "check": "Checking"}


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
        result = "/results" if state.verb == "train" else "/check"
        return JobLine(f"{doing} is done.", result=result) if is_new else JobLine("")
    if state.status == "canceled":
        return JobLine(f"{doing} was canceled.")
    if state.status == "failed":
        return JobLine(f"{doing} stopped: {state.message}", is_error=True)
    share = state.done / state.total if state.total else None
    parts = [state.what, format_duration(max(now - state.started, 0)) + " so far"]
    return JobLine(f"{doing}: {', '.join(filter(None, parts))}", share, is_running=True)


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


@dataclass(frozen=True)
class FoundPhoto:
    """A photo in a finding.

    Args:
        id: The photo.
        name: Its file's name.
        label: Its class at the check.
        line: What is said of it, or "".
        suggested: The class that it may be of, or "".
        done: What was decided, or "".
    """

    id: str
    name: str
    label: str
    line: str
    suggested: str = ""
    done: str = ""


@dataclass(frozen=True)
class FindingCard:
    """A finding with its photos.

    Args:
        kind: Which check found it.
        title: What, in a few words.
        advice: What to do about it.
        is_severe: Whether it spoils the classifier.
        photos: Those concerned.
        lines: What is said, where no photo is concerned.
    """

    kind: str
    title: str
    advice: str
    is_severe: bool
    photos: tuple[FoundPhoto, ...]
    lines: tuple[str, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether something was decided on each of its photos."""
        return bool(self.photos) and all(photo.done for photo in self.photos)


def finding_cards(
    project: Project,
    report: Mapping[str, Any],
    labels: Mapping[str, str],
    kept: Iterable[tuple[str, str]] = (),
) -> tuple[FindingCard, ...]:
    """Make the cards of a check.

    Args:
        project: Where the photos are.
        report: What the check wrote as JSON.
        labels: Id to class at the time of the check.
        kept: Kind of finding and photo that somebody wants to keep as it is.

    Returns:
        A card for each finding, the worst first.
    """
    photos, kept = {photo.path: photo for photo in project.photos}, set(kept)
    suspects = (report.get("label_review") or {}).get("suspects", ())
    suggested = {str(suspect["path"]): str(suspect["suggested"]) for suspect in suspects}
    cards = []
    for finding in report["findings"]:
        kind = str(finding["kind"])
        fixes = {fix["path"]: fix for fix in finding["fixes"]}
        paths = list(dict.fromkeys([path for group in finding["groups"] for path in group]))
        shown = []
        for path in [path for path in paths if path in photos][:_SUSPECTS]:
            photo, fix = photos[path], fixes.get(path, {})
            label = labels.get(photo.id, "")
            done = decision_on(project, photo.id, label) if label else ""
            if not done and (kind, photo.id) in kept:
                done = "kept"
            # A fix list names a class only where it is nearly certain; a person looks.
            guess = str(fix.get("label") or suggested.get(path, ""))
            line = str(fix.get("reason", ""))
            shown.append(FoundPhoto(photo.id, photo.name, label, line, guess, done))
        severe = finding["severity"] == "error"
        lines = () if shown else tuple(map(str, finding["lines"][:10]))
        title, advice = str(finding["title"]), _ADVICE.get(kind, str(finding["advice"]))
        cards.append(FindingCard(kind, title, advice, severe, tuple(shown), lines))
    return tuple(cards)


def answer_of(prediction: Prediction) -> dict[str, Any]:
    """Say what the classifier says of a photo.

    Args:
        prediction: Its answer.

    Returns:
        Plain values: "headline", "is_sure", "unusual" and "bars" of (name, share, text).
    """
    is_sure = prediction.is_confident is not False
    ordered = sorted(prediction.probabilities.items(), key=lambda one: -one[1])
    unusual = "looks unlike the training photos, it may be none of these classes"
    return {
        "headline": prediction.label if is_sure else f"Not sure, perhaps {prediction.label}",
        "is_sure": is_sure,
        "unusual": unusual if prediction.is_out_of_distribution else "",
        "bars": [[name, share, format_share(share)] for name, share in ordered[:5]],
    }


def source_name(path: Path) -> str:
    """What a project made of a folder is called.

    Args:
        path: The folder, zip or file.

    Returns:
        Its name, without an archive's ending.
    """
    name = path.resolve().name
    return (name[:-4] if name.lower().endswith(".zip") else name) or "photos"
