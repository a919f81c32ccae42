"""What the page of the check shows, as plain values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from handful.projects.project import Project
from handful.studio.results_view import decision_on
from handful.wording import format_share

KEPT = "kept"  # what is said of a photo that stays as it is
_LINES = 10
# What a check says for those who have its command line; here there are buttons.
_ADVICE = {
    "same-photo-two-labels": "Only one of the labels can be right, if they show the same: say "
    "which, or keep them as they are.",
    "label-suspect": "A classifier trained without these photos predicts a different class. Some "
    "are only unusual: look at each, and keep it where its label is right.",
    "near-duplicate": "Bursts, crops and re-saved copies. They are never learned from and tested "
    "on at once, so nothing need be done; keep one of each if you like.",
    "unreadable": "They are left out of everything. Fetch or save them again, and add them anew.",
    "blurred": "Even at the size that a network sees, they have no sharp edge. Keep them if the "
    "photos to classify will be like that.",
    "outlier": "Logos, drawings, screenshots and rooms without the subject end up here, beside "
    "good photos that are merely rare. Leave out what does not belong.",
    "tiny": "Enlarged to what a network sees, they are little more than color. Look for larger "
    "versions, or leave them out.",
    "extreme-aspect": "Made a square, they lose their ends or their proportions. Crop them to what "
    "matters, or leave them out.",
    "imbalance": "Classes are weighed alike while learning. More photos of the small classes help "
    "most.",
    "class-names": "They differ by case, spaces or signs only. If they mean the same, give their "
    "photos one class.",
    "odd-colour-mode": "They are converted, and nothing need be done, but where they are all of "
    "one class a classifier may learn the color instead.",
}
_ONE_FORMAT = (
    "This was guessed without looking at what the photos show. A classifier may learn it too, "
    "score well here, and fail on photos that were taken or saved in another way."
)
_STRONG = (
    " Take photos of all classes in the same way (the same camera, the same place, the same "
    "program), or try the classifier on photos from elsewhere before you trust it."
)
_WEAK = " It may also come from what the photos show; then nothing need be done. Keep it in mind."
# What is wrong with these photos may be what their class means, or another class.
_MAY_BE_A_CLASS = ("label-suspect", "outlier", "near-black", "near-white", "flat")


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
class FoundGroup:
    """Photos that are shown side by side: copies, or one photo alone.

    Args:
        photos: Them.
        labels: Their classes at the check, each once.
    """

    photos: tuple[FoundPhoto, ...]
    labels: tuple[str, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether something was decided on each of them."""
        return all(photo.done for photo in self.photos)

    @property
    def others(self) -> tuple[str, ...]:
        """Those that nothing was decided on but the first: what is left out to keep one."""
        left = tuple(photo.id for photo in self.photos if not photo.done)
        return left[1:] if len(left) == len(self.photos) else left


@dataclass(frozen=True)
class FindingCard:
    """A finding with its photos.

    Args:
        kind: Which check found it.
        title: What, in a few words.
        advice: What to do about it.
        severity: "error" spoils the classifier, "warning" may, "note" is good to know.
        groups: Photos concerned, those that belong together side by side.
        lines: What is said, where no photo is concerned.
        facts: What tells the classes apart, a name and a value each: of a shortcut.
        is_kept: Whether a finding without photos was acknowledged.
        may_be_a_class: Whether all photos may be of one class, another than they have.
    """

    kind: str
    title: str
    advice: str
    severity: str
    groups: tuple[FoundGroup, ...]
    lines: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    is_kept: bool = False
    may_be_a_class: bool = False

    @property
    def photos(self) -> tuple[FoundPhoto, ...]:
        """All photos concerned."""
        return tuple(photo for group in self.groups for photo in group.photos)

    @property
    def left(self) -> tuple[FoundPhoto, ...]:
        """Those that nothing was decided on."""
        return tuple(photo for photo in self.photos if not photo.done)

    @property
    def is_done(self) -> bool:
        """Whether something was decided on each of its photos."""
        return not self.left if self.groups else self.is_kept

    @property
    def is_paired(self) -> bool:
        """Whether its photos stand in pairs or groups."""
        return any(len(group.photos) > 1 for group in self.groups)

    @property
    def has_one_label_each(self) -> bool:
        """Whether the photos of each group have one class."""
        return all(len(group.labels) <= 1 for group in self.groups)

    @property
    def wants_decision(self) -> bool:
        """Whether it is more than good to know."""
        return self.severity != "note"

    @property
    def heading(self) -> str:
        """Its title, and that it is done."""
        return self.title + (" – done" if self.is_done else "")


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
        A card for each finding, the worst first; photos that are gone are left out.
    """
    cards = _Cards(project, report, labels, set(kept))
    return tuple(map(cards.card, report["findings"]))


class _Cards:
    """What the cards of a check are made from."""

    def __init__(
        self,
        project: Project,
        report: Mapping[str, Any],
        labels: Mapping[str, str],
        kept: set[tuple[str, str]],
    ) -> None:
        self.project, self.labels, self.kept = project, labels, kept
        self.photos = {photo.path: photo for photo in project.photos}
        suspects = (report.get("label_review") or {}).get("suspects", ())
        self.suspects = {str(one["path"]): one for one in suspects}
        self.shortcuts = report.get("shortcuts") or ()

    def card(self, finding: Mapping[str, Any]) -> FindingCard:
        kind, title = str(finding["kind"]), str(finding["title"])
        fixes = {fix["path"]: fix for fix in finding["fixes"]}
        groups = tuple(filter(None, (self._group(kind, g, fixes) for g in finding["groups"])))
        card = FindingCard(
            kind,
            title,
            _ADVICE.get(kind, str(finding["advice"])),
            str(finding["severity"]),
            groups,
            () if groups else tuple(map(str, finding["lines"][:_LINES])),
            is_kept=(kind, title) in self.kept,
            may_be_a_class=kind in _MAY_BE_A_CLASS,
        )
        return _explained(card, self.shortcuts) if kind == "shortcut" else card

    def _group(
        self, kind: str, paths: Sequence[str], fixes: Mapping[str, Mapping[str, Any]]
    ) -> FoundGroup | None:
        """Those of the photos that are still there; None where none is."""
        there = tuple(
            self._photo(kind, path, fixes.get(path, {}), len(paths) > 1)
            for path in paths
            if path in self.photos
        )
        labels = dict.fromkeys(photo.label for photo in there if photo.label)
        return FoundGroup(there, tuple(labels)) if there else None

    def _photo(self, kind: str, path: str, fix: Mapping[str, Any], is_paired: bool) -> FoundPhoto:
        photo, suspect = self.photos[path], self.suspects.get(path, {})
        label = self.labels.get(photo.id, "")
        done = decision_on(self.project, photo.id, label) if label else ""
        if not done and (kind, photo.id) in self.kept:
            done = KEPT
        # A fix list names a class only where it is nearly certain; a person looks.
        guess = str(fix.get("label") or suspect.get("suggested", ""))
        # Of copies between which a person has to choose, the pictures say all.
        line = "" if fix.get("action") == "keep" and is_paired else str(fix.get("reason", ""))
        if kind == "label-suspect" and suspect:
            line = f"looks like {guess} ({format_share(float(suspect['probability']), 0)})"
        return FoundPhoto(photo.id, photo.name, label, line, guess, done)


def _explained(card: FindingCard, shortcuts: Sequence[Mapping[str, Any]]) -> FindingCard:
    """A shortcut's card, with what tells the classes apart as a small table."""
    for shortcut in shortcuts:
        if card.title.lower().startswith(str(shortcut["name"]).lower()):
            facts = [tuple(str(line).rsplit(": ", 1)) for line in shortcut["by_class"]]
            advice = _ONE_FORMAT + (_STRONG if card.wants_decision else _WEAK)
            most_telling = f"Most telling is: {shortcut['most_telling']}."
            rows = tuple((fact[0], fact[-1]) for fact in facts)
            return replace(card, advice=advice, lines=(most_telling,), facts=rows)
    return card
