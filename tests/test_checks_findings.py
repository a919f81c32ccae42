"""Evidence, findings, and the one fix list that findings make."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handful.checks.findings import Evidence, Finding, are, judge_singly, suggest_fixes
from handful.checks.labels import review_labels
from handful.data.fixes import Fix
from handful.data.index import ImageIndex, RejectedFile
from handful.data.metadata import MEASURES, FileMetadata
from handful.data.splits import duplicate_groups
from handful.wording import number_of

ORDINARY = {"brightness": 0.45, "contrast": 0.2, "sharpness": 0.05, "saturation": 0.1}


def evidence_of(
    labels: list[int],
    *,
    class_names: tuple[str, ...] = ("cat", "dog"),
    paths: list[str] | None = None,
    parts: list[str] | None = None,
    hashes: list[str] | None = None,
    metadata: dict[int, dict[str, Any]] | None = None,
    measures: dict[int, dict[str, float]] | None = None,
    alike: dict[int, int] | None = None,
    pairs: list[tuple[int, int]] | None = None,
    probabilities: np.ndarray | None = None,
    rejected: tuple[RejectedFile, ...] = (),
    shortcuts: tuple[Any, ...] = (),
    outliers: tuple[int, ...] = (),
    fix_list: str = "fixes.csv",
    applied: str = "",
) -> Evidence:
    """Photos with nothing wrong, but for what is said. `alike`: photo -> whose thumbnail it has."""
    count = len(labels)
    names = paths or [f"{class_names[label]}/{row}.jpg" for row, label in enumerate(labels)]
    index = ImageIndex(
        Path("photos"),
        tuple(names),
        np.array(labels, np.int64),
        class_names,
        tuple(parts or [""] * count),
        tuple(hashes or [f"{row:032x}" for row in range(count)]),
        rejected,
        (),
        tuple(partial(bytes) for _ in labels),
    )
    plain = FileMetadata("JPEG", 500, 400, "YCbCr", 30_000, "", "aa")
    numbers = np.array(
        [
            [{**ORDINARY, **(measures or {}).get(row, {})}.get(name, 0.0) for name in MEASURES]
            for row in range(count)
        ],
        np.float32,
    ).reshape(count, len(MEASURES))
    thumbnails = np.random.default_rng(0).integers(0, 256, (count, 1024), dtype=np.uint8)
    for row, other in (alike or {}).items():
        thumbnails[row] = thumbnails[other]
    groups, duplicates = duplicate_groups(index, pairs or [])
    return Evidence(
        index,
        tuple(parts or [""] * count),
        tuple(replace(plain, **(metadata or {}).get(row, {})) for row in range(count)),
        numbers,
        thumbnails,
        duplicates,
        groups,
        shortcuts,
        None
        if probabilities is None
        else review_labels(probabilities, index.labels, index.class_names),
        np.arange(count if probabilities is not None else 0),
        outliers,
        "photos",
        fix_list,
        applied,
    )


def test_commands_can_be_pasted() -> None:
    evidence = evidence_of([0, 1])
    assert evidence.fix_command == "handful train photos --fixes fixes.csv"
    assert evidence_of([0, 1], fix_list="").fix_command == (
        "handful check photos --fix-list fixes.csv"
    )
    assert evidence.command("train", drop_leaks=True) == "handful train photos --drop-leaks"


def test_commands_keep_the_list_that_the_photos_were_checked_with() -> None:
    evidence = evidence_of([0, 1], fix_list="", applied="old.csv")
    assert evidence.fix_command == ("handful check photos --fix-list fixes.csv --fixes old.csv")
    assert evidence.command("train", drop_leaks=True) == (
        "handful train photos --drop-leaks --fixes old.csv"
    )
    # A new list holds what the old one says.
    again = evidence_of([0, 1], fix_list="new.csv", applied="old.csv")
    assert again.fix_command == "handful train photos --fixes new.csv"


def test_long_groups_are_cut() -> None:
    evidence = evidence_of([0, 0, 1, 1, 1])
    assert evidence.line([0, 1]) == "cat/0.jpg = cat/1.jpg"
    assert evidence.line([0, 1, 2, 3, 4], " ~ ", named=True) == (
        "cat/0.jpg (cat) ~ cat/1.jpg (cat) ~ dog/2.jpg (dog) and 2 more"
    )


def test_probabilities_of_copies_are_averaged() -> None:
    evidence = evidence_of([0, 1, 1], probabilities=np.array([[0.9, 0.1], [0.7, 0.3], [0.1, 0.9]]))
    assert evidence.mean_probabilities([0, 1]) == pytest.approx([0.8, 0.2])
    assert evidence_of([0, 1]).mean_probabilities([0]).tolist() == [0, 0]


def test_a_label_is_suspicious_only_where_another_is_likelier() -> None:
    """A class that is never sure of itself is no reason to suspect its sure ones."""
    rows = [[0.95, 0.05]] * 8 + [[0.7, 0.3], [0.75, 0.25], [0.8, 0.2], [0.1, 0.9]]
    labels = [0] * 8 + [1, 1, 0, 0]
    evidence = evidence_of(labels, probabilities=np.array(rows))
    assert evidence.review is not None
    assert evidence.suspicious == evidence.review.suspected.tolist()
    assert all(evidence.review.scores[place] > 0.5 for place in evidence.suspicious)
    assert 11 in evidence.suspicious and 10 not in evidence.suspicious


def finding(*fixes: Fix) -> Finding:
    return Finding("kind", "note", "", "", "", fixes=fixes)


def test_of_two_fixes_the_stronger_one_counts() -> None:
    fixes = suggest_fixes(
        [
            finding(Fix("a", "keep", "", "is blurred"), Fix("b", "relabel", "dog", "looks so")),
            finding(Fix("a", "remove", "", "is a copy"), Fix("b", "keep", "", "is tiny")),
            finding(Fix("a", "remove", "", "is a copy"), Fix("c", "keep", "", "x")),
        ]
    )
    assert fixes == (
        Fix("a", "remove", "", "is a copy; is blurred"),
        Fix("b", "relabel", "dog", "looks so; is tiny"),
        Fix("c", "keep", "", "x"),
    )


def test_a_finding_about_single_photos_names_each() -> None:
    evidence = evidence_of([0, 1, 1])
    (found,) = judge_singly(
        evidence,
        "tiny",
        "note",
        [2, 0],
        "very small",
        "advice",
        "keep",
        lambda row: f"is no. {row}",
    )
    assert found.title == "2 photos are very small"
    assert found.groups == ((2,), (0,))
    assert found.lines == ("dog/2.jpg is no. 2", "cat/0.jpg is no. 0")
    assert found.fixes == (
        Fix("dog/2.jpg", "keep", "", "is no. 2"),
        Fix("cat/0.jpg", "keep", "", "is no. 0"),
    )
    assert (
        list(judge_singly(evidence, "tiny", "note", [], "small", "", "keep", lambda row: "")) == []
    )


def test_numbers_and_verbs_agree() -> None:
    assert [number_of(n) for n in (0, 1, 2, 1200)] == [
        "0 photos",
        "1 photo",
        "2 photos",
        "1,200 photos",
    ]
    assert [are(n) for n in (0, 1, 2)] == ["are", "is", "are"]
