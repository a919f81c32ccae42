from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handful.data.index import ImageIndex
from handful.data.splits import (
    Split,
    assign_parts,
    can_be_held_out,
    fold_count,
    read_manifest,
    stratified_folds,
    stratified_holdout,
    write_manifest,
)
from handful.errors import DataError


def make_index(
    labels: list[int], splits: list[str] | None = None, hashes: list[str] | None = None
) -> ImageIndex:
    """An index of photos that exist in name only."""
    count = len(labels)
    return ImageIndex(
        source=Path("photos"),
        paths=tuple(f"{number:05d}.jpg" for number in range(count)),
        labels=np.array(labels, dtype=np.int64),
        class_names=tuple(f"class {number}" for number in range(max(labels) + 1)),
        splits=tuple(splits or [""] * count),
        content_hashes=tuple(hashes or [f"{number * 7919:032x}" for number in range(count)]),
        rejected=(),
        warnings=(),
    )


def parts(split: Split) -> dict[str, str]:
    return dict(zip(split.index.content_hashes, split.part_names(), strict=True))


def test_every_class_is_split_by_the_fraction() -> None:
    split = assign_parts(make_index([0] * 50 + [1] * 30 + [2] * 10), (), validation_fraction=0.2)
    assert np.bincount(split.index.labels[split.validation]).tolist() == [10, 6, 2]
    assert np.bincount(split.index.labels[split.train]).tolist() == [40, 24, 8]
    assert len(split.test) == len(split.leaks) == len(split.dropped) == 0


def test_two_photos_a_class_are_enough() -> None:
    split = assign_parts(make_index([0, 0, 1, 1]), ())
    assert split.index.labels[split.train].tolist() == [0, 1]
    assert split.index.labels[split.validation].tolist() == [0, 1]


def test_names_and_order_of_files_do_not_matter() -> None:
    labels = [0, 1] * 40
    index = make_index(labels)
    rows = np.random.default_rng(0).permutation(80)
    shuffled = make_index(
        [labels[row] for row in rows], hashes=[index.content_hashes[row] for row in rows]
    )
    assert parts(assign_parts(index, ())) == parts(assign_parts(shuffled, ()))
    assert parts(assign_parts(index, ())) != parts(assign_parts(index, (), seed=1))


def test_few_more_photos_move_few_old_ones() -> None:
    before = parts(assign_parts(make_index([0] * 100 + [1] * 100), ()))
    index = make_index([0] * 100 + [1] * 100 + [0] * 5)
    after = parts(assign_parts(index, ()))
    assert sum(after[key] != part for key, part in before.items()) <= 3


def test_a_manifest_keeps_old_photos_in_place(tmp_path: Path) -> None:
    old = assign_parts(make_index([0] * 100 + [1] * 100), ())
    write_manifest(old, tmp_path / "split.csv")
    manifest = read_manifest(tmp_path / "split.csv")
    index = make_index([0] * 100 + [1] * 100 + [0] * 60 + [1] * 40)
    new = assign_parts(index, (), seed=99, manifest=manifest)
    assert {key: parts(new)[key] for key in parts(old)} == parts(old)
    assert len(new.validation) == 60
    assert len(new.train) == 240


def test_a_manifest_of_other_photos_is_refused() -> None:
    with pytest.raises(DataError, match=r"The split lists none of the photos of .*; give"):
        assign_parts(make_index([0, 0, 1, 1]), (), manifest={"f" * 32: "train"})


def test_a_new_copy_joins_its_old_photo(tmp_path: Path) -> None:
    old = assign_parts(make_index([0] * 20 + [1] * 20), ())
    write_manifest(old, tmp_path / "split.csv")
    index = make_index([0] * 20 + [1] * 20 + [0] * 4)
    held = int(old.validation[0])
    pairs = [(held, 40), (held, 41), (int(old.train[0]), 42)]
    new = assign_parts(index, pairs, manifest=read_manifest(tmp_path / "split.csv"))
    assert {40, 41} <= set(new.validation.tolist())
    assert 42 in new.train
    assert new.leaks == ()


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=12, max_size=60),
    st.integers(0, 5),
)
@settings(max_examples=200)
def test_no_group_straddles(rows: list[tuple[int, int]], seed: int) -> None:
    """Whatever the groups, a split either holds them together or refuses."""
    rows = [*rows, *((label, 100 + label * 2 + n) for label in range(3) for n in (0, 1))]
    labels, names = [row[0] for row in rows], [row[1] for row in rows]
    first = {name: names.index(name) for name in names}
    pairs = [(first[n], row) for row, n in enumerate(names) if first[n] != row]
    split = assign_parts(make_index(labels), pairs, seed=seed)
    sides = [{names[row] for row in part} for part in (split.train, split.validation)]
    assert not sides[0] & sides[1]
    assert sorted([*split.train, *split.validation]) == list(range(len(rows)))
    for part in (split.train, split.validation):
        assert set(split.index.labels[part].tolist()) == {0, 1, 2}


def test_large_groups_are_not_held_out_more_often() -> None:
    """Validation would be all copies and training all single photos, or the reverse."""
    groups = [number for number in range(40) for _ in range(5)] + list(range(40, 240))
    pairs = [(row - 1, row) for row in range(1, 200) if groups[row - 1] == groups[row]]
    shares = []
    for seed in range(20):
        split = assign_parts(make_index([0, 1] * 200), pairs, seed=seed)
        shares.append(float(np.mean(split.validation < 200)))
    assert 0.4 < np.mean(shares) < 0.6


def test_equal_contents_are_one_group_whatever_their_names() -> None:
    index = make_index([0] * 6 + [1] * 6, hashes=[*"aaabcdeefghi"])
    split = assign_parts(index, (), validation_fraction=0.5)
    together = parts(split)
    assert split.groups.tolist() == [0, 0, 0, 1, 2, 3, 4, 4, 5, 6, 7, 8]
    assert split.duplicates == ((0, 1), (0, 2), (6, 7))
    assert len({split.part_names()[row] for row in (0, 1, 2)}) == 1
    assert together["e"] in ("train", "validation")


def test_given_parts_are_kept_and_leaks_listed() -> None:
    given_parts = ["train"] * 6 + ["validation"] * 4 + ["test"] * 2
    index = make_index([0, 1] * 6, given_parts)
    pairs = [(0, 2), (0, 6), (3, 11), (7, 9)]
    split = assign_parts(index, pairs)
    assert split.part_names() == given_parts
    assert split.leaks == ((0, 6), (3, 11))
    dropped = assign_parts(index, pairs, drop_leaks=True)
    assert dropped.dropped.tolist() == [0, 2, 3]  # 2 is a copy of 0
    assert dropped.train.tolist() == [1, 4, 5]
    assert dropped.part_names()[0] == ""
    assert len(dropped.validation) == 4


def test_leaks_are_found_through_a_chain_of_copies() -> None:
    """Row 0 = row 1 = row 4, found as two pairs, of which only the second crosses."""
    index = make_index(
        [0, 0, 0, 0, 0, 0, 1, 1], ["train"] * 4 + ["validation"] * 2 + ["train", "validation"]
    )
    split = assign_parts(index, [(0, 1), (1, 4)], drop_leaks=True)
    assert split.leaks == ((1, 4),)
    assert split.dropped.tolist() == [0, 1]


def test_train_and_test_alone_get_validation_from_train() -> None:
    index = make_index([0, 1] * 20, ["train"] * 30 + ["test"] * 10)
    split = assign_parts(index, [(0, 38)])
    assert split.test.tolist() == list(range(30, 40))
    assert np.bincount(index.labels[split.validation]).tolist() == [3, 3]
    assert split.leaks == ((0, 38),)


def test_too_small_a_class_is_named() -> None:
    with pytest.raises(DataError, match='Class "class 1" in photos has 1 readable image; a valid'):
        assign_parts(make_index([0, 0, 0, 1]), ())
    with pytest.raises(DataError, match='Class "class 1" in photos has 0 readable images'):
        index = make_index([0, 0, 0, 1])
        assign_parts(index.select([0, 1, 2]), ())
    with pytest.raises(DataError, match=r"3 images form 1 group\(s\) of near-duplicates"):
        assign_parts(make_index([0, 0, 0, 1, 1, 1]), [(3, 4), (4, 5)])
    with pytest.raises(
        ValueError, match=r"`validation_fraction` is 1\.0; expected a number between 0 and 1"
    ):
        assign_parts(make_index([0, 0, 1, 1]), (), validation_fraction=1.0)


@pytest.mark.slow
@given(st.lists(st.integers(0, 3), min_size=8, max_size=80), st.integers(2, 5), st.integers(0, 9))
def test_folds_are_stratified(labels: list[int], num_folds: int, seed: int) -> None:
    numbers = np.array(labels)
    folds = stratified_folds(numbers, np.arange(len(labels)), num_folds, seed)
    assert folds.min() >= 0 and folds.max() < num_folds
    for label in set(labels):
        counts = np.bincount(folds[numbers == label], minlength=num_folds)
        assert counts.max() - counts.min() <= 1


def test_folds_keep_groups() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 25, 100)
    labels = rng.integers(0, 2, 100)
    folds = stratified_folds(labels, groups, 4)
    assert all(len(set(folds[groups == group].tolist())) == 1 for group in range(25))
    assert np.bincount(folds).min() >= 20


@pytest.mark.parametrize("sizes", [[100], [30], [40, 40]])
def test_large_groups_leave_no_fold_empty(sizes: list[int]) -> None:
    """Single photos and bursts, alike in two classes."""
    each = np.repeat(np.arange(8 + len(sizes)), [1] * 8 + sizes)
    groups = np.concatenate([each, each + each.max() + 1])
    labels = np.repeat([0, 1], len(each))
    for seed in range(20):
        folds = stratified_folds(labels, groups, 5, seed)
        assert all(len(set(folds[groups == group].tolist())) == 1 for group in set(groups))
        for label in (0, 1):
            first = np.unique(groups[labels == label], return_index=True)[1]
            counts = np.bincount(folds[labels == label][first], minlength=5)
            assert counts.max() - counts.min() <= 1  # spread by groups
        assert np.array_equal(folds, stratified_folds(labels, groups, 5, seed))


def test_a_class_whose_groups_are_shared_is_not_left_to_one_fold() -> None:
    # Each photo of class 0 near-duplicates one of class 1, which has 20 others.
    labels, groups = np.repeat([0, 1], [2, 22]), np.concatenate([[0, 1], np.arange(22)])
    assert fold_count(labels, groups) == 2
    # Four classes of two groups each, and all groups shared: two ways to divide them.
    ring = np.array([0, 1, 1, 2, 2, 3, 3, 0])
    for seed in range(200):
        folds = stratified_folds(labels, groups, 2, seed)
        assert set(folds[labels == 0].tolist()) == {0, 1}
        assert np.bincount(folds).min() >= 11
        folds = stratified_folds(ring, np.arange(8) // 2, 2, seed)
        assert all(set(folds[ring == label].tolist()) == {0, 1} for label in range(4))


def test_folds_that_cannot_be_had_are_not_looked_for_forever() -> None:
    # Three groups, each of two of three classes: two folds must leave a class to one.
    labels, groups = np.array([0, 1, 1, 2, 2, 0]), np.arange(6) // 2
    assert set(stratified_folds(labels, groups, 2).tolist()) == {0, 1}
    # More folds than groups.
    assert len(np.unique(stratified_folds(labels, groups, 5))) == 3


def test_a_holdout_takes_a_share_of_each_class() -> None:
    labels = np.repeat([0, 1, 2], [50, 20, 2])
    held = stratified_holdout(labels, np.arange(72), 0.2)
    assert np.bincount(labels[held]).tolist() == [10, 4, 1]
    assert not np.array_equal(held, stratified_holdout(labels, np.arange(72), 0.2, seed=1))
    # The groups of class 0 are larger than its share: the smallest is held out.
    groups = np.repeat([0, 1, 2, 3, 4], [4, 6, 1, 1, 1])
    held = stratified_holdout(np.repeat([0, 1], [10, 3]), groups, 0.1)
    assert held[:10].tolist() == [True] * 4 + [False] * 6 and held[10:].sum() == 1


def test_fold_count_is_what_the_smallest_class_allows() -> None:
    assert fold_count(np.array([0] * 9 + [1] * 9), np.arange(18)) == 5
    assert fold_count(np.array([0] * 9 + [1] * 3), np.arange(12)) == 3
    assert fold_count(np.array([0] * 9 + [1] * 3), np.array([*range(9), 9, 9, 10])) == 2
    assert fold_count(np.array([0] * 9 + [1] * 3), np.array([*range(9), 9, 9, 9])) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"content_hash,split\n\xfd", "line 2: it is not UTF-8 text"),
        (b"a,b\n1,2\n", "is not a split manifest; expected the columns content_hash,split"),
        (b"content_hash,split,class_name,path\nx,tests,c,p\n", "line 2: expected a content hash"),
        (b"content_hash,split,class_name,path\nx,test\n", "line 2: expected a content hash"),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "split.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_manifest(path)


def test_a_part_is_an_index_of_its_photos() -> None:
    index = make_index([0, 1, 2] * 8)
    split = assign_parts(index, (), validation_fraction=0.25)
    for name in ("train", "validation", "test"):
        part, rows = split.part(name), getattr(split, name)
        assert part.paths == tuple(index.paths[row] for row in rows)
        assert part.class_names == index.class_names
        assert np.array_equal(part.labels, index.labels[rows])
    assert len(split.part("train")) + len(split.part("validation")) == 24
    assert len(split.part("test")) == 0
    with pytest.raises(
        ValueError, match="`part` is 'all'; expected one of train, validation, test"
    ):
        split.part("all")


def test_what_can_be_held_out() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 3, 3])
    groups = np.array([0, 1, 2, 3, 3, 2, 4, 4, 5])
    # Class 1 is one group. Class 2 has two groups, shared with others, and class 3 too.
    held = can_be_held_out(labels, groups)
    assert held.tolist() == [True, True, True, False, False, True, True, True, True]
    # With class 1 in group 4 that stays in training; nothing else is left of classes 2 and 3.
    groups[3:5] = 4
    held = can_be_held_out(labels, groups)
    assert held.tolist() == [True, True, False, *[False] * 6]
    assert not can_be_held_out(np.array([0, 1]), np.array([0, 1])).any()
    assert can_be_held_out(np.zeros(0, np.int64), np.zeros(0, np.int64)).shape == (0,)
