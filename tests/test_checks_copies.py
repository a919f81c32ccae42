"""Photos that are there more than once."""

from dataclasses import replace

import numpy as np
import pytest

from handful.checks.copies import find_copies, find_leaks, find_two_labels, two_label_copies
from handful.data.fixes import Fix
from handful.data.splits import duplicate_groups
from test_checks_findings import evidence_of

SURE_CAT, SURE_DOG, UNSURE = [0.97, 0.03], [0.04, 0.96], [0.5, 0.5]


def test_nothing_is_found_where_all_differ() -> None:
    evidence = evidence_of([0, 0, 1, 1], parts=["train", "validation"] * 2)
    for search in (find_two_labels, find_leaks, find_copies):
        assert list(search(evidence)) == []


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(
    ("row", "removed", "kept"),
    [(SURE_CAT, "dog/2.jpg", "cat/0.jpg"), (SURE_DOG, "cat/0.jpg", "dog/2.jpg")],
)
def test_of_two_labels_the_supported_one_stays(
    exact: bool, row: list[float], removed: str, kept: str
) -> None:
    probabilities = np.array([row, SURE_CAT, row, SURE_DOG])
    same = {"hashes": ["x", "1", "x", "3"]} if exact else {"pairs": [(0, 2)]}
    evidence = evidence_of([0, 0, 1, 1], probabilities=probabilities, alike={2: 0}, **same)
    (found,) = find_two_labels(evidence)
    assert (found.kind, found.severity) == ("same-photo-two-labels", "error")
    assert found.title == "The same photo appears under two labels"
    assert found.groups == ((0, 2),)
    assert found.lines == ("cat/0.jpg (cat) = dog/2.jpg (dog)",)
    (fix,) = found.fixes
    assert (fix.path, fix.action) == (removed, "remove")
    assert f"the same photo as {kept}" in fix.reason and "9" in fix.reason


@pytest.mark.parametrize("judged", [True, False])
def test_two_labels_that_nothing_settles_are_left_to_people(judged: bool) -> None:
    probabilities = np.array([UNSURE, UNSURE]) if judged else None
    evidence = evidence_of([0, 1], hashes=["x", "x"], alike={1: 0}, probabilities=probabilities)
    (found,) = find_two_labels(evidence)
    assert found.fixes == (
        Fix("cat/0.jpg", "keep", "", "the same photo as dog/1.jpg, labeled dog: remove one"),
        Fix("dog/1.jpg", "keep", "", "the same photo as cat/0.jpg, labeled cat: remove one"),
    )


def test_many_copies_of_one_photo_are_one_group() -> None:
    labels = [0, 0, 0, 1, 1, 2]
    evidence = evidence_of(
        labels,
        class_names=("a", "b", "c"),
        hashes=["x"] * 6,
        alike=dict.fromkeys(range(1, 6), 0),
    )
    assert two_label_copies(evidence) == [(0, 3, 5, 1, 2, 4)]
    (found,) = find_two_labels(evidence)
    assert found.title == "The same photo appears under two labels" and len(found.fixes) == 6


def test_alike_but_no_copy_is_a_warning_without_fixes() -> None:
    (found,) = find_two_labels(evidence_of([0, 1, 1], pairs=[(0, 1)]))
    assert found.severity == "warning" and found.fixes == ()
    assert found.title == "1 pair of very similar photos has different labels"
    assert found.lines == ("cat/0.jpg (cat) ~ dog/1.jpg (dog)",)


@pytest.mark.parametrize(
    ("parts", "removed"),
    [
        (["train", "validation"], [0]),
        (["validation", "train"], [1]),
        (["test", "validation"], [1]),
        (["train", "test"], [0]),
        (["train", "train"], None),
        (["", "train"], None),
    ],
)
def test_of_a_leak_the_copy_that_is_learned_from_goes(
    parts: list[str], removed: list[int] | None
) -> None:
    evidence = evidence_of([0, 0], parts=parts, pairs=[(0, 1)])
    found = list(find_leaks(evidence))
    if removed is None:
        assert found == []
        return
    (leak,) = found
    assert (leak.kind, leak.severity) == ("leak", "error")
    assert [fix.path for fix in leak.fixes] == [evidence.index.paths[row] for row in removed]
    assert all(fix.action == "remove" for fix in leak.fixes)
    first, second = sorted(parts, key=("train", "validation", "test").index)
    assert leak.title == f"1 pair of near-duplicates is in {first} and in {second}"
    assert list(find_copies(evidence)) == []


def test_a_leaks_command_is_the_fix_list_or_drop_leaks() -> None:
    parts = ["train", "validation"]
    with_list = evidence_of([0, 0], parts=parts, pairs=[(0, 1)])
    without = evidence_of([0, 0], parts=parts, pairs=[(0, 1)], fix_list="")
    assert next(find_leaks(with_list)).command == "handful train photos --fixes fixes.csv"
    assert next(find_leaks(without)).command == "handful train photos --drop-leaks"


def test_what_was_never_learned_from_is_not_said_to_have_been() -> None:
    parts = ["train", "validation", "test", "validation", "test"]
    pairs = [(0, 1), (0, 2), (3, 4)]
    evidence = evidence_of([0] * 5, parts=parts, pairs=pairs, fix_list="")
    learned, chosen = find_leaks(evidence)
    assert learned.groups == ((0, 1), (0, 2)) and chosen.groups == ((3, 4),)
    assert learned.title == "2 pairs of near-duplicates are in train and in validation and test"
    assert "while learning" in learned.advice and "while learning" not in chosen.advice
    assert "Leave the validation copies out" in chosen.advice
    # --drop-leaks leaves training photos out, and no others.
    assert chosen.command == "handful check photos --fix-list fixes.csv"
    with_list = evidence_of([0] * 5, parts=parts, pairs=pairs)
    assert [found.command for found in find_leaks(with_list)] == [
        "handful train photos --fixes fixes.csv"
    ] * 2


def test_a_divided_group_is_a_leak_and_no_near_duplicate() -> None:
    parts = ["train", "validation", "train", "train", "", "validation"]
    evidence = evidence_of([0, 1, 0, 1, 0, 1], parts=parts, fix_list="")
    named = replace(evidence.index, groups=("a", "a", "b", "b", "c", "c"))
    groups, pairs = duplicate_groups(named, ())
    evidence = replace(evidence, index=named, groups=groups, pairs=pairs)
    (leak,) = find_leaks(evidence)
    assert (leak.kind, leak.severity) == ("leak", "error") and leak.groups == ((0, 1),)
    assert leak.title == "1 group of photos that belong together is in more than one part"
    assert leak.lines == ("a: cat/0.jpg, dog/1.jpg",)
    assert leak.command == "handful train photos --drop-leaks"
    assert groups.tolist() == [0, 0, 1, 1, 2, 2]
    assert list(find_copies(evidence)) == list(find_two_labels(evidence)) == []
    assert two_label_copies(evidence) == []


def test_a_leak_with_two_labels_is_settled_by_its_label_first() -> None:
    evidence = evidence_of([0, 1], parts=["train", "validation"], hashes=["x", "x"], alike={1: 0})
    (leak,) = find_leaks(evidence)
    assert leak.groups == ((0, 1),) and leak.fixes == ()


def test_one_of_each_copy_stays_and_judging_comes_first() -> None:
    evidence = evidence_of(
        [0, 0, 0, 1, 1],
        parts=["train", "train", "validation", "train", "train"],
        hashes=["x", "x", "x", "y", "y"],
    )
    (found,) = find_copies(evidence)
    assert (found.kind, found.severity) == ("duplicate", "warning")
    assert found.title == "3 photos are exact copies of others"
    assert found.groups == ((2, 0, 1), (3, 4))
    assert [fix.path for fix in found.fixes] == ["cat/0.jpg", "cat/1.jpg", "dog/4.jpg"]
    assert found.fixes[0].reason == "the same file as cat/2.jpg"


def test_near_duplicates_are_shown_by_content_the_largest_group_first() -> None:
    evidence = evidence_of(
        [0] * 6,
        pairs=[(0, 1), (2, 3), (3, 4)],
        hashes=["a", "b", "c", "d", "e", "e"],
    )
    exact, near = find_copies(evidence)
    assert exact.kind == "duplicate"
    assert (near.kind, near.severity, near.fixes) == ("near-duplicate", "note", ())
    assert near.groups == ((2, 3, 4), (0, 1))
    assert near.title == "5 photos form 2 groups of near-duplicates"
