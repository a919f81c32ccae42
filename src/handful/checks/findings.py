"""What a doctor of photos has to go by, and what he says: evidence, and findings."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from handful.checks.labels import LabelReview
from handful.checks.shortcuts import Shortcut
from handful.data.fixes import ACTIONS, Action, Fix
from handful.data.index import ImageIndex
from handful.data.metadata import MEASURES, FileMetadata
from handful.options import command_line
from handful.wording import number_of

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
# Held-out probability at which a label counts as settled.
CLEAR_PROBABILITY = 0.9
_PATHS_A_LINE = 3


@dataclass(frozen=True)
class Finding:
    """One thing that would spoil a classifier, or might.

    Args:
        kind: Its name, such as "near-black"; see docs/file-formats.md.
        severity: "error" must be mended, "warning" should be looked at, "note" is good to know.
        title: What was found, with its number: "3 photos are almost black".
        advice: What to do about it, and why.
        command: The command that deals with it, or "".
        groups: Rows of the index that are shown together, most striking first; a pair of
            duplicates is two rows. Empty where there is no photo to show.
        lines: One line for each group, or general ones where there are no groups.
        fixes: What a fix list would say; a person has the last word.
    """

    kind: str
    severity: Severity
    title: str
    advice: str
    command: str
    groups: tuple[tuple[int, ...], ...] = ()
    lines: tuple[str, ...] = ()
    fixes: tuple[Fix, ...] = ()


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of N photos that can be decoded.

    Args:
        index: The photos; files that cannot be used are in its `rejected`.
        parts: (N,) "train", "validation", "test", or "" where nothing is split.
        metadata: (N,) what each file says of itself.
        measures: (N, 18) float32 from `metadata.measure`.
        fingerprints: (N, 1024) uint8 thumbnails.
        pairs: Near-duplicate pairs of rows, exact copies among them.
        groups: (N,) int64 group of each photo, as in `Split`.
        shortcuts: How well side information tells the classes.
        review: Labels held against out-of-fold probabilities, or None where that cannot be done.
        reviewed: (n,) int64 rows of the index that the review's rows are.
        outliers: Rows of photos that are far from all others, the farthest first.
        photos: The folder, zip or CSV, as a command line takes it.
        fix_list: File that the fixes are written to, or "".
        applied: Fix list that these photos were loaded with, or "".
    """

    index: ImageIndex
    parts: tuple[str, ...]
    metadata: tuple[FileMetadata, ...]
    measures: NDArray[np.float32]
    fingerprints: NDArray[np.uint8]
    pairs: tuple[tuple[int, int], ...]
    groups: NDArray[np.int64]
    shortcuts: tuple[Shortcut, ...]
    review: LabelReview | None
    reviewed: NDArray[np.int64]
    outliers: tuple[int, ...]
    photos: str
    fix_list: str
    applied: str = ""

    def measured(self, name: str) -> NDArray[np.float32]:
        """One measure of all photos.

        Args:
            name: One of `MEASURES`.

        Returns:
            (N,) float32.
        """
        return self.measures[:, MEASURES.index(name)]

    @property
    def suspicious(self) -> list[int]:
        """Rows of the review, not of the index, whose labels may be wrong, the worst first."""
        return [] if self.review is None else [int(place) for place in self.review.suspected]

    def mean_probabilities(self, rows: Sequence[int]) -> NDArray[np.float64]:
        """Out-of-fold probabilities, averaged over copies of a photo.

        Args:
            rows: Rows of the index.

        Returns:
            (C,) float64; zeros where none of them was reviewed.
        """
        places = np.flatnonzero(np.isin(self.reviewed, rows))
        if self.review is None or not len(places):
            return np.zeros(len(self.index.class_names))
        return np.asarray(self.review.probabilities[places].mean(axis=0), dtype=np.float64)

    def class_name(self, row: int) -> str:
        """Name of a photo's class.

        Args:
            row: 0 to N - 1.

        Returns:
            The name.
        """
        return str(self.index.class_names[self.index.labels[row]])

    def line(self, rows: Sequence[int], sign: str = " = ", named: bool = False) -> str:
        """Paths of a group, for people.

        Args:
            rows: Rows of the group.
            sign: What stands between two.
            named: Whether to say each photo's class.

        Returns:
            The first three paths, and how many more there are.
        """
        shown = rows[:_PATHS_A_LINE]
        more = f" and {len(rows) - len(shown)} more" if len(rows) > len(shown) else ""
        classes = [f" ({self.class_name(row)})" if named else "" for row in shown]
        texts = [self.index.paths[row] + name for row, name in zip(shown, classes, strict=True)]
        return sign.join(texts) + more

    def command(self, verb: str = "train", **options: object) -> str:
        """A command on these photos.

        Args:
            verb: Such as "train".
            **options: Fields and values of what follows the photos.

        Returns:
            One line for a shell. The photos are loaded with the list that they were checked with,
            unless another is among the options.
        """
        if self.applied:
            options.setdefault("fixes", self.applied)
        return command_line(verb, self.photos, **options)

    @property
    def fix_command(self) -> str:
        """The command that goes on with the fix list, or that writes one."""
        if self.fix_list:
            return self.command("train", fixes=self.fix_list)
        return self.command("check", fix_list="fixes.csv")


def suggest_fixes(findings: Sequence[Finding]) -> tuple[Fix, ...]:
    """Put the fixes of all findings into one list.

    Args:
        findings: What was found.

    Returns:
        One fix for each path, in the findings' order: where they differ, what changes most.
    """
    by_path: dict[str, list[Fix]] = {}
    for fix in chain.from_iterable(finding.fixes for finding in findings):
        by_path.setdefault(fix.path, []).append(fix)
    merged = []
    for fixes in by_path.values():
        fixes.sort(key=lambda fix: ACTIONS.index(fix.action))
        reasons = dict.fromkeys(fix.reason for fix in fixes)
        merged.append(replace(fixes[0], reason="; ".join(reasons)))
    return tuple(merged)


def are(number: int) -> str:
    """The verb that goes with a number.

    Args:
        number: 0 or more.

    Returns:
        "is" or "are".
    """
    return "is" if number == 1 else "are"


def judge_singly(
    evidence: Evidence,
    kind: str,
    severity: Severity,
    rows: Sequence[int] | NDArray[np.int64],
    what: str,
    advice: str,
    action: Action,
    reason: Callable[[int], str],
) -> Iterator[Finding]:
    """Make a finding about photos one by one.

    Args:
        evidence: What is known of them.
        kind: As in `Finding`.
        severity: As in `Finding`.
        rows: The photos, the most striking first.
        what: What they are: "almost black".
        advice: As in `Finding`.
        action: What is suggested for each of them.
        reason: Row to a clause that follows its path.

    Yields:
        One finding, or none where there are no photos.
    """
    numbers = [int(row) for row in rows]
    if not numbers:
        return
    paths = evidence.index.paths
    yield Finding(
        kind,
        severity,
        f"{number_of(len(numbers))} {are(len(numbers))} {what}",
        advice,
        evidence.fix_command,
        tuple((row,) for row in numbers),
        tuple(f"{paths[row]} {reason(row)}" for row in numbers),
        tuple(Fix(paths[row], action, "", reason(row)) for row in numbers),
    )
