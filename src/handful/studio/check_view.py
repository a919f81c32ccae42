"""What the page of the check shows, as plain values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from handful.projects.project import Project
from handful.studio.results_view import decision_on

_PHOTOS = 60
# What a check says for those who have its fix list; here there are buttons.
_ADVICE = {
    "same-photo-two-labels": "Only one of the labels can be right: say which, or leave them out.",
    "label-suspect": "A classifier trained without these photos predicts a different class. Some "
    "are only unusual: look at each, and keep it where its label is right.",
}


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
        for path in [path for path in paths if path in photos][:_PHOTOS]:
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
