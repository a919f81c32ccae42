"""Findings about photos that are there more than once: copies, leaks, two labels for one photo."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from handful.checks.findings import CLEAR_PROBABILITY, Evidence, Finding, are
from handful.data.fixes import Fix
from handful.data.near_duplicates import coarse_fingerprints
from handful.data.splits import divided_groups, duplicate_groups
from handful.wording import format_share, number_of

# Mean difference of two thumbnails, in levels of 255: re-saved copies are below 0.5, halved ones
# mostly below 1; the likest two of the solar cells with different labels are above.
COPY_DIFFERENCE = 1.0
_ORDER = {"train": 0, "validation": 1, "test": 2}
# Copies that judge a classifier are kept before those that it learns from.
_KEPT_FIRST = {"test": 0, "validation": 1, "train": 2, "": 3}


def find_two_labels(evidence: Evidence) -> Iterator[Finding]:
    """Find photos that are there under two labels, as copies or nearly so.

    Args:
        evidence: What is known of the photos.

    Yields:
        An error for copies, a warning for near-duplicates.
    """
    copies, labels = two_label_copies(evidence), evidence.index.labels
    if copies:
        yield Finding(
            "same-photo-two-labels",
            "error",
            _under_two_labels(len(copies)),
            "One of the labels is wrong, or the classes overlap. Keep the copy whose label is "
            "right; the fix list says which one other photos support, where they do.",
            evidence.fix_command,
            tuple(copies),
            tuple(evidence.line(rows, named=True) for rows in copies),
            tuple(chain.from_iterable(_fixes_of(evidence, rows) for rows in copies)),
        )
    known = {row: number for number, rows in enumerate(copies) for row in rows}
    alike = sorted(
        (_difference(evidence, i, j), i, j)
        for i, j in evidence.pairs
        if labels[i] != labels[j] and (i not in known or known[i] != known.get(j))
    )
    if alike:
        pairs = [(i, j) for _, i, j in alike]
        yield Finding(
            "same-photo-two-labels",
            "warning",
            f"{number_of(len(pairs), 'pair')} of very similar photos "
            f"{'has' if len(pairs) == 1 else 'have'} different labels",
            "Look whether they show the same thing. If so, one label is wrong; if not, this is "
            "what is hard about these classes. They are kept in the same part of a split.",
            "",
            tuple(pairs),
            tuple(evidence.line(pair, " ~ ", named=True) for pair in pairs),
        )


def two_label_copies(evidence: Evidence) -> list[tuple[int, ...]]:
    """Group the copies, exact and re-saved, of photos that have several labels.

    Args:
        evidence: What is known of the photos.

    Returns:
        Rows of each such photo, those with different labels first.
    """
    index = evidence.index
    same = [(i, j) for i, j in evidence.pairs if _difference(evidence, i, j) <= COPY_DIFFERENCE]
    # Photos of one animal or day are no copies.
    groups, _ = duplicate_groups(replace(index, groups=()), same)
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(row)
    found = []
    for rows in members.values():
        first = {int(index.labels[row]): row for row in reversed(rows)}
        if len(first) > 1:
            leading = sorted(first.values())
            found.append((*leading, *(row for row in rows if row not in leading)))
    return found


def _difference(evidence: Evidence, left: int, right: int) -> float:
    """Mean difference of two photos' thumbnails, in levels of 255."""
    first, second = coarse_fingerprints(evidence.fingerprints[[left, right]])
    return float(np.abs(first - second).mean())


def _fixes_of(evidence: Evidence, rows: tuple[int, ...]) -> Iterator[Fix]:
    """Remove the copies whose label other photos speak against, or leave it to a person."""
    paths, labels, name = evidence.index.paths, evidence.index.labels, evidence.class_name
    support = evidence.mean_probabilities(rows)
    kept = next((r for r in rows if support[labels[r]] >= CLEAR_PROBABILITY), None)
    if kept is None:
        for row in rows:
            other = next(each for each in rows if labels[each] != labels[row])
            reason = f"the same photo as {paths[other]}, labeled {name(other)}: remove one"
            yield Fix(paths[row], "keep", "", reason)
        return
    reason = (
        f"the same photo as {paths[kept]}, whose label {name(kept)} other photos support "
        f"({format_share(float(support[labels[kept]]), 0)})"
    )
    for row in rows:
        if labels[row] != labels[kept]:
            yield Fix(paths[row], "remove", "", reason)


def find_leaks(evidence: Evidence) -> Iterator[Finding]:
    """Find near-duplicates, and groups that a table names, in different parts.

    Args:
        evidence: What is known of the photos.

    Yields:
        An error for pairs with a training photo, one for pairs of validation and test, and one
        for groups, or nothing.
    """
    leaks = _leaks(evidence)
    learned = [pair for pair in leaks if evidence.parts[pair[0]] == "train"]
    if learned:
        way = {"fixes": evidence.fix_list} if evidence.fix_list else {"drop_leaks": True}
        held = " and ".join(
            part for part in _ORDER if any(evidence.parts[j] == part for _, j in learned)
        )
        yield _leak(
            evidence,
            learned,
            f"in train and in {held}",
            f"A classifier has seen these photos of the {held} part while learning, so its scores "
            "are too good. Leave the training copies out.",
            evidence.command("train", **way),
        )
    chosen = [pair for pair in leaks if evidence.parts[pair[0]] == "validation"]
    if chosen:
        yield _leak(
            evidence,
            chosen,
            "in validation and in test",
            "What is chosen by the validation photos, such as thresholds or the better of two "
            "classifiers, has these photos of the test part behind it, so the test score may be "
            "too good. Leave the validation copies out.",
            evidence.fix_command,
        )
    divided = divided_groups(evidence.index, evidence.parts)
    if divided:
        rows = [tuple(chain.from_iterable(found.values())) for found in divided.values()]
        yield Finding(
            "leak",
            "error",
            f"{number_of(len(rows), 'group')} of photos that belong together {are(len(rows))} in "
            "more than one part",
            "The table says that these photos are of one animal, plant, day or the like. A "
            "classifier that has seen one of them while learning knows the others, so scores are "
            "too good. Keep each group in one part.",
            evidence.command("train", drop_leaks=True),
            tuple(rows),
            tuple(
                f"{name}: {evidence.line(group, ', ')}"
                for name, group in zip(divided, rows, strict=True)
            ),
        )


def _leaks(evidence: Evidence) -> list[tuple[int, int]]:
    """Near-duplicate pairs in different parts, the one that classifiers meet first in front."""
    parts, found = evidence.parts, []
    for i, j in evidence.pairs:
        if parts[i] in _ORDER and parts[j] in _ORDER and parts[i] != parts[j]:
            found.append((i, j) if _ORDER[parts[i]] < _ORDER[parts[j]] else (j, i))
    return found


def _leak(
    evidence: Evidence, pairs: list[tuple[int, int]], where: str, advice: str, command: str
) -> Finding:
    labels, paths, parts = evidence.index.labels, evidence.index.paths, evidence.parts
    # Two labels are for a person to settle first.
    fixes = {
        i: Fix(paths[i], "remove", "", f"leaks: {paths[j]} in {parts[j]} shows the same")
        for i, j in pairs
        if labels[i] == labels[j]
    }
    return Finding(
        "leak",
        "error",
        f"{number_of(len(pairs), 'pair')} of near-duplicates {are(len(pairs))} {where}",
        advice,
        command,
        tuple(pairs),
        tuple(f"{paths[i]} = {paths[j]}" for i, j in pairs),
        tuple(fixes.values()),
    )


def find_copies(evidence: Evidence) -> Iterator[Finding]:
    """Find exact copies and near-duplicates of one class.

    Args:
        evidence: What is known of the photos.

    Yields:
        A warning for exact copies, a note for near-duplicates.
    """
    index, parts = evidence.index, evidence.parts
    exact = [
        tuple(sorted(rows, key=lambda row: (_KEPT_FIRST[parts[row]], row)))
        for rows in _same_files(index.content_hashes)
        if len({int(index.labels[row]) for row in rows}) == 1
    ]
    if exact:
        fixes = [
            Fix(index.paths[row], "remove", "", f"the same file as {index.paths[rows[0]]}")
            for rows in exact
            for row in rows[1:]
        ]
        yield Finding(
            "duplicate",
            "warning",
            f"{number_of(len(fixes))} {are(len(fixes))} "
            + ("exact copies of others" if len(fixes) > 1 else "an exact copy of another"),
            "Copies count several times and teach nothing new. Keep one of each.",
            evidence.fix_command,
            tuple(exact),
            tuple(evidence.line(rows) for rows in exact),
            tuple(fixes),
        )
    near = _near_groups(evidence)
    if near:
        yield Finding(
            "near-duplicate",
            "note",
            f"{number_of(sum(map(len, near)))} form {number_of(len(near), 'group')} of "
            "near-duplicates",
            "Bursts, crops and re-saved copies. Each group is kept in one part of a split, so "
            "that no score profits; nothing need be done.",
            "",
            tuple(near),
            tuple(evidence.line(rows, " ~ ") for rows in near),
        )


def _same_files(content_hashes: Sequence[str]) -> list[tuple[int, ...]]:
    """Rows of each file that is there more than once."""
    groups: dict[str, list[int]] = {}
    for row, content_hash in enumerate(content_hashes):
        groups.setdefault(content_hash, []).append(row)
    return [tuple(rows) for rows in groups.values() if len(rows) > 1]


def _near_groups(evidence: Evidence) -> list[tuple[int, ...]]:
    """Groups of alike photos in one part, one of each content; the largest first."""
    hashes, seen, members = evidence.index.content_hashes, set(), dict[int, list[int]]()
    groups_alike, _ = duplicate_groups(replace(evidence.index, groups=()), evidence.pairs)
    for row, group in enumerate(groups_alike.tolist()):
        if (group, hashes[row]) not in seen:
            seen.add((group, hashes[row]))
            members.setdefault(group, []).append(row)
    groups = [
        tuple(rows)
        for rows in members.values()
        if len(rows) > 1 and len({evidence.parts[row] for row in rows}) == 1
    ]
    return sorted(groups, key=lambda rows: (-len(rows), rows))


def _under_two_labels(number: int) -> str:
    if number == 1:
        return "The same photo appears under two labels"
    return f"{number_of(number)} appear under two labels"
