"""Train, validation and test parts that leak nothing into one another.

Photos of a burst, a re-saved copy or a slight crop are near-duplicates: on both sides of a split
they turn validation into recall. They are found by small thumbnails, whatever is trained on them,
and are always kept together, as are photos that a table says are of one animal, plant, day or
patient.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handful.data.columns import DigestColumn, content_order, equal_numbers
from handful.data.index import ImageIndex
from handful.data.part_names import SPLIT_NAMES
from handful.display import Shown
from handful.errors import DataError, UsageError
from handful.files.tables import read_table, write_csv
from handful.options import check_fraction
from handful.wording import name_counts, number_of

_MOST_DEALS = 20
_NAMED = 20
_WAY_OUT = " (`drop_leaks` leaves these training photos out)"
_ROWS_A_BLOCK = 16_384
# Pairs of rows, or a (P, 2) array of them.
Pairs = Iterable[tuple[int, int]] | NDArray[np.int64]
_MANIFEST_COLUMNS = ("content_hash", "split", "class_name", "path")


@dataclass(frozen=True, eq=False, repr=False)
class Split(Shown):
    """An index with each photo's part; parts are disjoint.

    Args:
        index: All photos.
        train: (n,) int64 rows of `index` to fit on.
        validation: (m,) int64 rows to choose and report on.
        test: (k,) int64 rows to touch once, at the end; often empty.
        groups: (N,) int64 group of each photo, 0, 1, ...; photos with equal numbers belong
            together: near-duplicates, exact copies, and those with one text in `index.groups`.
        duplicates: Pairs of rows found to be near-duplicates.
        leaks: Those of them whose two photos are in different parts. Only splits given with
            the photos, or by a manifest, can have any.
        dropped: (d,) int64 training rows left out because they leaked.
    """

    index: ImageIndex
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    groups: NDArray[np.int64]
    duplicates: tuple[tuple[int, int], ...]
    leaks: tuple[tuple[int, int], ...]
    dropped: NDArray[np.int64]

    def _in_words(self) -> str:
        counts = {name: len(getattr(self, name)) for name in SPLIT_NAMES}
        pairs = number_of(len(self.duplicates), "pair")
        leaks = f", {len(self.leaks):,} of them in different parts" if self.leaks else ""
        return f"{name_counts(counts)}; {pairs} of near-duplicates{leaks}"

    def part(self, name: str) -> ImageIndex:
        """The photos of one part.

        Args:
            name: "train", "validation" or "test".

        Returns:
            An index of them, with the class names of all.

        Raises:
            ValueError: For another name.
        """
        if name not in SPLIT_NAMES:
            raise UsageError(f"`part` is {name!r}; expected one of {', '.join(SPLIT_NAMES)}.")
        return self.index.select(getattr(self, name))

    def part_names(self) -> list[str]:
        """Part of each photo.

        Returns:
            N texts: "train", "validation", "test", or "" for a dropped one.
        """
        names = [""] * len(self.index)
        for name in SPLIT_NAMES:
            for row in getattr(self, name):
                names[row] = name
        return names


def duplicate_groups(
    index: ImageIndex, pairs: Pairs
) -> tuple[NDArray[np.int64], tuple[tuple[int, int], ...]]:
    """Join what belongs together: exact and near-duplicates, and photos of one group of a table.

    Args:
        index: N photos; those with equal content hashes always belong together.
        pairs: Near-duplicate pairs of rows.

    Returns:
        (N,) int64 group numbers 0, 1, ... in order of first appearance, and all pairs of
        duplicates, exact copies included, sorted.
    """
    copies = _chains(equal_numbers(index.content_hashes))
    joined = np.unique(np.concatenate([_as_array(pairs), copies]), axis=0)
    all_pairs = np.concatenate([joined, _chains(equal_numbers(index.groups))])
    return joined_groups(len(index), all_pairs), tuple(map(tuple, joined.tolist()))


def _as_array(pairs: Pairs) -> NDArray[np.int64]:
    """Pairs as (P, 2)."""
    given = pairs if isinstance(pairs, np.ndarray) else [*pairs]
    return np.asarray(given, np.int64).reshape(-1, 2)


def _chains(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pair each row (P, 2) with the first one of its number, but for negative ones."""
    _, firsts, places = np.unique(numbers, return_index=True, return_inverse=True)
    rows = np.flatnonzero((numbers >= 0) & (firsts[places] != np.arange(len(numbers))))
    return np.stack([firsts[places[rows]], rows], axis=1)


def joined_groups(count: int, pairs: Pairs) -> NDArray[np.int64]:
    """Join rows that belong together in pairs.

    Args:
        count: Number of rows N.
        pairs: Pairs of rows.

    Returns:
        (N,) int64 group numbers 0, 1, ... in order of first appearance.
    """
    left, right = _as_array(pairs).T
    parents = np.arange(count)
    while len(left):
        roots = np.sort(np.stack([parents[left], parents[right]]), axis=0)
        np.minimum.at(parents, roots[1], roots[0])
        while np.any(parents != parents[parents]):
            parents = parents[parents]
        apart = parents[left] != parents[right]
        left, right = left[apart], right[apart]
    # Each root is the first row of its group.
    return np.unique(parents, return_inverse=True)[1].astype(np.int64)


def assign_parts(
    index: ImageIndex,
    pairs: Iterable[tuple[int, int]],
    *,
    validation_fraction: float = 0.2,
    seed: int = 0,
    manifest: Mapping[str, str] | None = None,
    drop_leaks: bool = False,
) -> Split:
    """Give each photo its part.

    Parts that came with the photos are kept; with `train/` and `test/` only, validation is held
    out of train. Otherwise each class is split by `validation_fraction`, whole groups at a
    time, in an order drawn from the photos' contents and the seed: the order, names and place
    of files do not matter, and a few more photos move few of the old ones.

    Args:
        index: N labeled photos.
        pairs: All pairs that `near_duplicate_pairs` finds among them.
        validation_fraction: Share of each class to hold out, in (0, 1).
        seed: Another seed, another split.
        manifest: Content hash to part, from `read_manifest`: photos listed there stay there.
        drop_leaks: Leave training photos out that near-duplicate a held-out one.

    Returns:
        The split. What of a part that was given belongs to another is among its index's warnings.

    Raises:
        DataError: When a class is too small to be in both parts.
        ValueError: When the fraction is outside (0, 1).
    """
    check_fraction(validation_fraction, "validation_fraction", 0.2)
    groups, duplicates = duplicate_groups(index, pairs)
    parts = _given_parts(index, manifest or {})
    if "validation" in index.splits:
        parts[parts == ""] = "train"
    else:
        _hold_out(index, parts, groups, validation_fraction, seed)
    split = _join(index, parts, groups, duplicates, drop_leaks)
    _check_classes(split)
    return split


def join_split(
    split: Split, pairs: Iterable[tuple[int, int]], *, drop_leaks: bool = False
) -> Split:
    """Look for leaks in a split that was made elsewhere, by hand or by a rule of one's own.

    Args:
        split: The split; each photo stays in its part.
        pairs: All pairs that `near_duplicate_pairs` finds among its photos.
        drop_leaks: Leave training photos out that near-duplicate a held-out one.

    Returns:
        The split with its pairs, leaks and warnings, and groups of all that belongs together.

    Raises:
        DataError: When dropping leaves a class no photo to learn from.
    """
    index = split.index
    groups, duplicates = duplicate_groups(index, [*pairs, *split.duplicates])
    groups = joined_groups(len(index), np.concatenate([_chains(groups), _chains(split.groups)]))
    parts = np.array([*split.part_names(), ""], dtype=object)[:-1]
    joined = _join(index, parts, groups, duplicates, drop_leaks)
    if len(joined.dropped):
        _check_classes(joined)
    return replace(
        joined,
        leaks=tuple(sorted({*joined.leaks, *split.leaks})),
        dropped=np.union1d(joined.dropped, split.dropped),
    )


def _join(
    index: ImageIndex,
    parts: NDArray[np.object_],
    groups: NDArray[np.int64],
    duplicates: tuple[tuple[int, int], ...],
    drop_leaks: bool,
) -> Split:
    """The split of given parts, "" for no part, with the leaks that it has."""
    leaks = tuple((i, j) for i, j in duplicates if parts[i] and parts[j] and parts[i] != parts[j])
    if drop_leaks:
        # By group: a copy of a copy leaks as well.
        held = np.isin(groups, groups[np.isin(parts, ("validation", "test"))])
        dropped = held & (parts == "train")
        parts = np.where(dropped, "", parts)
    else:
        dropped = np.zeros(len(index), dtype=bool)
    warnings = dict.fromkeys((*index.warnings, *_leak_warnings(index, parts, leaks)))
    return Split(
        replace(index, warnings=tuple(warnings)),
        np.flatnonzero(parts == "train"),
        np.flatnonzero(parts == "validation"),
        np.flatnonzero(parts == "test"),
        groups,
        duplicates,
        leaks,
        np.flatnonzero(dropped),
    )


def _leak_warnings(
    index: ImageIndex, parts: NDArray[np.object_], leaks: Sequence[tuple[int, int]]
) -> Iterator[str]:
    """Name the photos that belong together and are in different parts all the same."""
    across: dict[tuple[str, str], list[str]] = {}
    for i, j in leaks:
        if parts[i] and parts[j]:
            one, other = sorted((i, j), key=lambda row: SPLIT_NAMES.index(parts[row]))
            line = f"{index.paths[one]} = {index.paths[other]}"
            across.setdefault((parts[one], parts[other]), []).append(line)
    for (part, held), lines in across.items():
        yield (
            f"{len(lines):,} pair{'s' * (len(lines) > 1)} of near-duplicates "
            f"{'are' if len(lines) > 1 else 'is'} in {part} and in {held}, so scores are too "
            f"good{_WAY_OUT * (part == 'train')}: {_some(lines)}"
        )
    divided = divided_groups(index, parts.tolist())
    if divided:
        is_learned = any("train" in found for found in divided.values())
        lines = [
            f'"{name}" ({", ".join(index.paths[rows[0]] for rows in found.values())})'
            for name, found in divided.items()
        ]
        yield (
            f"{len(lines):,} group{'s' * (len(lines) > 1)} of photos that belong together "
            f"{'are' if len(lines) > 1 else 'is'} in more than one part, so scores are too good"
            f"{_WAY_OUT * is_learned}: {_some(lines)}"
        )


def divided_groups(index: ImageIndex, parts: Sequence[str]) -> dict[str, dict[str, list[int]]]:
    """Find the groups of a table whose photos are in more than one part.

    Args:
        index: N photos.
        parts: (N,) "train", "validation", "test", or "" where a photo is in none.

    Returns:
        Name of each such group to its parts to their rows.
    """
    members: dict[str, dict[str, list[int]]] = {}
    for row, (name, part) in enumerate(zip(index.groups, parts, strict=True)):
        if name and part:
            members.setdefault(name, {}).setdefault(part, []).append(row)
    return {name: found for name, found in members.items() if len(found) > 1}


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def stratified_folds(
    labels: NDArray[np.int64], groups: NDArray[np.int64], num_folds: int, seed: int = 0
) -> NDArray[np.int64]:
    """Cross-validation folds with every class spread evenly and no group divided.

    Classes are spread by photos. Where groups so large, or in two classes at once, would leave a
    fold empty or a class to one fold, they are spread by groups.

    Args:
        labels: (N,) int64 class numbers.
        groups: (N,) int64 group numbers 0, 1, ..., none left out.
        num_folds: Number of folds F, 2 or more.
        seed: Another seed, other folds.

    Returns:
        (N,) int64 fold of each photo, 0 to F - 1. Of F groups or more none of the folds is empty.
        A class of two groups or more is in two folds or more, but for classes that share so many
        of their groups that no such folds were found.
    """
    counts = np.bincount(labels)
    bounds = [counts * fold // num_folds for fold in range(num_folds + 1)]
    targets = np.stack([high - low for low, high in pairwise(bounds)])
    rng = np.random.default_rng(seed)
    order = rng.permutation(int(groups.max()) + 1)
    folds = _assign(labels, groups, targets, order)
    for _ in range(_MOST_DEALS):
        if _is_spread(labels, groups, folds, num_folds):
            break
        folds = _deal(labels, groups, num_folds, order)
        order = rng.permutation(order)
    return folds


def stratified_holdout(
    labels: NDArray[np.int64], groups: NDArray[np.int64], fraction: float, seed: int = 0
) -> NDArray[np.bool_]:
    """Hold out a random share of every class, no group divided.

    Args:
        labels: (N,) int64 class numbers.
        groups: (N,) int64 group numbers 0, 1, ..., none left out.
        fraction: Share of each class to hold out, in (0, 1).
        seed: Another seed, other photos.

    Returns:
        (N,) whether a photo is held out. Of every class at least one is; where groups are single
        photos, and a class has two of them, at least one is not.
    """
    counts = np.bincount(labels)
    targets = np.clip(np.rint(fraction * counts), 1, np.maximum(counts - 1, 1)).astype(np.int64)
    targets = np.minimum(targets, counts)
    order = np.random.default_rng(seed).permutation(int(groups.max()) + 1)
    parts = _assign(labels, groups, np.stack([targets, counts - targets]), order)
    held: NDArray[np.bool_] = parts == 0
    _hold_smallest(held, labels, groups, np.flatnonzero(counts))
    return held


def write_manifest(split: Split, path: Path) -> None:
    """Write each photo's content hash, part, class and path as CSV.

    Args:
        split: The split to keep.
        path: File to write.
    """
    index = split.index
    names = index.label_names()
    rows = zip(index.content_hashes, split.part_names(), names, index.paths, strict=True)
    write_csv(path, [_MANIFEST_COLUMNS, *rows])


def read_manifest(path: Path, *, dropped: str | None = None) -> dict[str, str]:
    """Read the parts of photos from a manifest that `write_manifest` wrote.

    Args:
        path: The CSV file.
        dropped: Part to give photos that were dropped, "train" where they are to be dropped
            again; None leaves them out.

    Returns:
        Content hash to "train", "validation" or "test".

    Raises:
        DataError: When the file is missing or not a manifest.
    """
    table = read_table(path, "give the split.csv of a run")
    if table.names != _MANIFEST_COLUMNS:
        raise DataError(
            f"{path} is not a split manifest; expected the columns "
            f"{','.join(_MANIFEST_COLUMNS)}, as in the split.csv of a run."
        )
    parts: dict[str, str] = {}
    for line, cells in table.rows:
        row = tuple(cells.values())
        if not (row[0] and row[2] and row[3]) or row[1] not in (*SPLIT_NAMES, ""):
            raise DataError(
                f"{path}, line {line}: expected a content hash and one of "
                f"{', '.join(SPLIT_NAMES)}, found {','.join(row)!r}."
            )
        if row[1]:
            parts[row[0]] = row[1]
        elif dropped is not None:
            # A copy of the same content that was kept says more.
            parts.setdefault(row[0], dropped)
    return parts


def count_manifest(path: Path) -> dict[str, dict[str, int]]:
    """Count the photos of a manifest that `write_manifest` wrote.

    Args:
        path: The CSV file.

    Returns:
        Part to class to number of photos; those that were dropped are left out.

    Raises:
        DataError: When the file is missing or not a manifest.
    """
    read_manifest(path)
    counts: dict[str, dict[str, int]] = {}
    for _, row in read_table(path, "give the split.csv of a run").rows:
        if part := row["split"]:
            classes = counts.setdefault(part, {})
            classes[row["class_name"]] = classes.get(row["class_name"], 0) + 1
    return counts


def _given_parts(index: ImageIndex, manifest: Mapping[str, str]) -> NDArray[np.object_]:
    """Part of each photo as given by the manifest, then by the photos' own folders; "" if not."""
    if manifest and not any(name in manifest for name in index.content_hashes):
        raise DataError(
            f"The split lists none of the photos of {index.source}; give the split.csv of a run "
            "on these photos, or none."
        )
    parts = np.array([*index.splits, ""], dtype=object)[:-1]
    # `train/` without `validation/` says what is test, not what is validation.
    if "validation" not in index.splits:
        parts[parts == "train"] = ""
    if manifest:
        for row, content_hash in enumerate(index.content_hashes):
            parts[row] = manifest.get(content_hash, parts[row])
    return parts


def _hold_out(
    index: ImageIndex,
    parts: NDArray[np.object_],
    groups: NDArray[np.int64],
    validation_fraction: float,
    seed: int,
) -> None:
    """Fill the empty entries of `parts` with "train" and "validation"."""
    part_of_group = np.full(int(groups.max()) + 1, "", dtype=object)
    given, free = parts != "", parts == ""
    part_of_group[groups[given]] = parts[given]
    # Near a test photo is no place to learn from or to choose by, but never test itself.
    part_of_group[part_of_group == "test"] = "train"
    parts[free] = part_of_group[groups[free]]
    pool = np.isin(parts, ("", "train", "validation"))
    strata = index.strata()
    wanted, present = (
        np.bincount(strata[rows], minlength=int(strata.max()) + 1)
        for rows in (parts == "validation", pool)
    )
    target = np.rint(validation_fraction * present).astype(np.int64)
    target = np.clip(target, 1, np.maximum(present - 1, 1)) - wanted
    free = np.flatnonzero(parts == "")
    if not len(free):
        return
    _, dense = np.unique(groups[free], return_inverse=True)
    order = _shuffled_by_content(index, free, dense, seed)
    counts = np.bincount(strata[free], minlength=len(target))
    target = np.clip(target, 0, counts)
    held = _assign(strata[free], dense, np.stack([target, counts - target]), order) == 0
    _hold_smallest(held, strata[free], dense, np.flatnonzero((target > 0) & (counts > 0)))
    parts[free] = np.where(held, "validation", "train")


def _hold_smallest(
    held: NDArray[np.bool_],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    classes: NDArray[np.int64],
) -> None:
    """Mark a group as held out for each class of which none is, all being above the target."""
    sizes = np.bincount(groups)
    for label in classes:
        mine = labels == label
        if not np.any(mine & held):
            # The smallest does the least harm.
            held[groups == min(groups[mine], key=lambda group: sizes[group])] = True


def _shuffled_by_content(
    index: ImageIndex, rows: NDArray[np.int64], groups: NDArray[np.int64], seed: int
) -> NDArray[np.int64]:
    """A random-looking order of groups, made from their contents and the seed alone."""
    order = content_order(index.content_hashes)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    first = np.full(int(groups.max()) + 1, len(order))
    np.minimum.at(first, groups, place[rows])
    # Hashed again: the least of many hashes is small, and large groups would come first.
    key = seed.to_bytes(8, "little")
    digests = np.empty((len(first), 16), np.uint8)
    for group, row in enumerate(order[first].tolist()):
        text = index.content_hashes[row].encode()
        digests[group] = np.frombuffer(hashlib.blake2b(text, key=key).digest()[:16], np.uint8)
    return content_order(DigestColumn(digests))


def _assign(
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    targets: NDArray[np.int64],
    order: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Fill parts with whole groups, in order, so that class counts come close to the targets.

    Args:
        labels: (N,) class numbers.
        groups: (N,) group numbers 0 to G - 1.
        targets: (P, C) photos of each class wanted in each part; the last takes what is left.
        order: (G,) order in which groups are offered; it must not depend on their size, or a
            part would get the large groups and another the single photos.

    Returns:
        (N,) part of each photo, 0 to P - 1.
    """
    num_classes = targets.shape[1]
    cells, sizes = np.unique(groups * num_classes + labels, return_counts=True)
    starts = np.searchsorted(cells, np.arange(len(order) + 1) * num_classes)
    classes = cells % num_classes
    *need, _ = targets.tolist()
    part_of = np.full(len(order), len(targets) - 1, dtype=np.int64)
    for first in range(0, len(order), _ROWS_A_BLOCK):
        block = order[first : first + _ROWS_A_BLOCK]
        spans = zip(block.tolist(), starts[block].tolist(), starts[block + 1].tolist(), strict=True)
        for group, start, end in spans:
            own = list(zip(classes[start:end].tolist(), sizes[start:end].tolist(), strict=True))
            for part, room in enumerate(need):
                # Taking the group must bring the part closer to its targets.
                change = 0
                for c, n in own:
                    change += abs(room[c] - n) - abs(room[c])
                if change < 0:
                    for c, n in own:
                        room[c] -= n
                    part_of[group] = part
                    break
    return part_of[groups]


def _classes_of_groups(
    labels: NDArray[np.int64], groups: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """Class numbers in each group 0 to G - 1."""
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(row)
    return [np.unique(labels[members[group]]) for group in range(len(members))]


def _is_spread(
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    folds: NDArray[np.int64],
    num_folds: int,
) -> bool:
    """Whether no fold is empty, and no class in one fold alone, that need not be."""
    num_groups, num_classes = int(groups.max()) + 1, int(labels.max()) + 1
    if len(np.unique(folds)) < min(num_folds, num_groups):
        return False
    groups_of, folds_of = (
        np.bincount(np.unique(labels * size + places) // size, minlength=num_classes)
        for places, size in ((groups, num_groups), (folds, num_folds))
    )
    return not np.any((groups_of > 1) & (folds_of == 1))


def _deal(
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    num_folds: int,
    order: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Give each group to the fold that has the fewest groups of its classes.

    Of folds alike, that with the fewest photos takes it, so an empty one comes before all others.

    Args:
        labels: (N,) class numbers.
        groups: (N,) group numbers 0 to G - 1.
        num_folds: Number of folds F.
        order: (G,) order in which groups are dealt; those of the rarest classes come first.

    Returns:
        (N,) fold of each photo, 0 to F - 1.
    """
    classes_of, sizes = _classes_of_groups(labels, groups), np.bincount(groups)
    frequency = np.bincount(np.concatenate(classes_of))
    rarest = np.array([frequency[columns].min() for columns in classes_of])
    taken = np.zeros((num_folds, len(frequency)))
    num_photos = np.zeros(num_folds, dtype=np.int64)
    fold_of = np.empty(len(order), dtype=np.int64)
    for group in order[np.argsort(rarest[order], kind="stable")]:
        columns = classes_of[group]
        shares = (taken[:, columns] / frequency[columns]).sum(axis=1)
        fold = np.lexsort((num_photos, shares))[0]
        taken[fold, columns] += 1
        num_photos[fold] += sizes[group]
        fold_of[group] = fold
    return fold_of[groups]


def _check_classes(split: Split) -> None:
    """Refuse a split in which a class cannot be learned or cannot be checked."""
    index = split.index
    total = index.class_counts()
    held = {part: index.class_counts(getattr(split, part)) for part in ("train", "validation")}
    kind = "photos that belong together" if any(index.groups) else "near-duplicates"
    for number, name in enumerate(index.class_names):
        count = int(total[number])
        if count < 2:
            raise DataError(
                f'Class "{name}" in {index.source} has {count} readable '
                f"image{'s' * (count != 1)}; a validation split needs 2. "
                "Add images, or merge the class."
            )
        for part in ("train", "validation"):
            if not held[part][number]:
                rows = np.flatnonzero(index.members()[:, number])
                raise DataError(
                    f'Class "{name}" in {index.source} has no photo left for {part}: its '
                    f"{count} images form {len(np.unique(split.groups[rows]))} "
                    f"group(s) of {kind}. Add different images, or merge the class."
                )


def can_be_held_out(labels: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which photos can be held out while others of their class are learned from.

    Args:
        labels: (N,) int64 class numbers.
        groups: (N,) int64 group numbers.

    Returns:
        (N,) bool. A class of one group stays in the training part, and with it all photos of that
        group; classes that have one group besides such do too.
    """
    free = np.ones(len(labels), dtype=bool)
    while free.any():
        classes = _unique_pairs(labels[free], groups[free])
        rare = np.flatnonzero(np.bincount(classes, minlength=int(labels.max(initial=0)) + 1) < 2)
        found = free & ~np.isin(groups, groups[np.isin(labels, rare)])
        if np.array_equal(found, free):
            break
        free = found
    return free


def fold_count(labels: NDArray[np.int64], groups: NDArray[np.int64], most: int = 5) -> int:
    """Largest number of folds that leaves every class in every fold's training part.

    Args:
        labels: (N,) int64 class numbers.
        groups: (N,) int64 group numbers.
        most: Upper bound.

    Returns:
        2 to `most`, or 0 where a class has one group only and nothing can be held out of it.
    """
    classes = _unique_pairs(labels, groups)
    fewest = int(np.bincount(classes)[np.unique(classes)].min())
    return min(most, fewest) if fewest >= 2 else 0


def _unique_pairs(labels: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """The class of each pair of a class and a group that occurs."""
    size = int(groups.max()) + 1
    return np.asarray(np.unique(labels * size + groups) // size)
