"""Does the label review find wrong labels, and does cleaning repair what they spoil?

A share of the training photos' labels is changed at random, the review sees the training photos
alone, and the changed ones are looked for among the first of its list. A head is then fitted to the
true labels, to the wrong ones, and to what three rules make of those: leave all suspected photos
out; give them the suggested label; let somebody who knows the truth correct the first of the
list. Only the last rule uses the truth. Each head is scored on the validation photos, which choose
nothing. At the end the labels as they came are reviewed.

    python benchmarks/trust_labels.py [cats_and_dogs_filtered.zip | elpv-dataset] [--seeds 3]
        [--share 0.05] [--json] [--picture FOLDER]
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from handful.checks.labels import LabelReview, review_embeddings
from handful.config import TrainConfig, cache_folder
from handful.data.decoding import decode_whole
from handful.data.index import ImageIndex, load_index
from handful.data.near_duplicates import near_duplicate_pairs
from handful.data.splits import Split, assign_parts
from handful.datasets.solar_cells import SOLAR_CELLS, fetch_solar_cells
from handful.features.store import open_store
from handful.features.table import embed_index
from handful.models.heads import fit_head
from handful.reporting import Reporter
from handful.training.steps import keep_readable, open_backbone
from pipelines import find_photos, machine

# The list is read half again as far as labels are wrong.
DEPTH = 1.5
SHOWN = 20
TILE = 224
RULES = ("as they came", "changed", "suspected left out", "suspected renamed", "first corrected")


@dataclass(frozen=True, eq=False)
class Part:
    """Photos of one part: embeddings (N, D), labels (N,) and near-duplicate groups (N,)."""

    index: ImageIndex
    embeddings: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]

    def review(self, labels: NDArray[np.int64], seed: int = 0) -> LabelReview:
        """Review the photos under some labels."""
        names = self.index.class_names
        found = review_embeddings(self.embeddings, labels, names, self.groups, seed)
        if found is None:
            raise SystemExit("a class has one photo only; nothing can be held out")
        return found


def load_parts(photos: Path) -> dict[str, Part]:
    """Embed photos as `handful train` does, and split them where they do not come split."""
    config = TrainConfig()
    _, spec = open_backbone(config, Reporter())
    index = load_index(photos)
    with open_store(True) as store:
        table = embed_index(index, spec, store=store)
    index, table = keep_readable(index, table)
    embeddings = table.embeddings[:, 0]
    split = assign_parts(index, near_duplicate_pairs(table.fingerprints))
    return {name: _part(split, name, embeddings) for name in ("train", "validation")}


def _part(split: Split, name: str, embeddings: NDArray[np.float32]) -> Part:
    rows: NDArray[np.int64] = getattr(split, name)
    index = split.part(name)
    return Part(index, embeddings[rows], index.labels, split.groups[rows])


def change_labels(
    labels: NDArray[np.int64], num_classes: int, share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give a random share of the photos another label; returns labels and the rows changed."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(labels), round(share * len(labels)), replace=False)
    changed = labels.copy()
    changed[rows] = (changed[rows] + rng.integers(1, num_classes, len(rows))) % num_classes
    return changed, rows


def measure(train: Part, validation: Part, share: float, seed: int) -> dict[str, Any]:
    """Figures of one seed."""
    names = train.index.class_names
    labels, rows = change_labels(train.labels, len(names), share, seed)
    started = time.perf_counter()
    review = train.review(labels)
    seconds = time.perf_counter() - started
    first = review.ranking[: round(DEPTH * len(rows))]
    everything = np.ones(len(labels), dtype=bool)
    unsuspected = everything.copy()
    unsuspected[review.suspected] = False
    renamed, corrected = labels.copy(), labels.copy()
    renamed[review.suspected] = review.suggested[review.suspected]
    corrected[first] = train.labels[first]
    sets = [(train.labels, everything), (labels, everything), (labels, unsuspected)]
    sets += [(renamed, everything), (corrected, everything)]
    right = np.isin(review.suspected, rows)
    return {
        "seed": seed,
        "num_changed": len(rows),
        "depth": len(first),
        "found": float(np.isin(rows, first).mean()),
        "num_suspected": len(review.suspected),
        "suspected_changed": float(right.mean()) if len(right) else None,
        "found_suspected": float(right.sum() / len(rows)),
        "noise_rate": review.noise_rate,
        "accuracy": {
            rule: score(train, used, kept, validation)
            for rule, (used, kept) in zip(RULES, sets, strict=True)
        },
        "seconds": seconds,
    }


def score(
    train: Part, labels: NDArray[np.int64], kept: NDArray[np.bool_], validation: Part
) -> float:
    """Validation accuracy of a head that is fitted to some photos under some labels."""
    num_classes = len(train.index.class_names)
    head = fit_head(train.embeddings[kept], labels[kept], num_classes, groups=train.groups[kept])
    predicted = head.predict_proba(validation.embeddings).argmax(axis=1)
    return float((predicted == validation.labels).mean())


def review_as_they_came(parts: dict[str, Part], folder: Path | None) -> Iterator[dict[str, Any]]:
    """Review each part's own labels, and draw the first of each list."""
    for name, part in parts.items():
        review = part.review(part.labels)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            draw_first(part.index, review, folder / f"{name}.png")
        yield {"part": name, **review.to_dict(part.index.paths, SHOWN)}


def draw_first(index: ImageIndex, review: LabelReview, path: Path) -> None:
    """Write the first photos of a list as one picture, each with its place and label."""
    tiles = []
    for place, row in enumerate(review.ranking[:SHOWN].tolist(), start=1):
        image = decode_whole(index.read(row))[:, :, ::-1]
        scale = TILE / max(image.shape[:2])
        size = [max(1, round(scale * side)) for side in image.shape[1::-1]]
        tile = np.full((TILE + 24, TILE, 3), 255, dtype=np.uint8)
        shown = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA)
        tile[24 : 24 + size[1], : size[0]] = shown
        text = f"{place}. {index.class_names[review.labels[row]]} {review.scores[row]:.3f}"
        cv2.putText(tile, text, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        tiles.append(tile)
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % 5)
    lines = [np.hstack(tiles[first : first + 5]) for first in range(0, len(tiles), 5)]
    cv2.imwrite(str(path), np.vstack(lines))


def print_tables(facts: dict[str, Any]) -> None:
    """Print what was measured."""
    print(f"{facts['machine']}; {facts['num_train']:,} training photos of {facts['photos']}\n")
    found = facts["seeds"]
    print(
        "| seed | changed | of them in the first | suspected | of them changed | noise rate | s |"
    )
    print("|---|---|---|---|---|---|---|")
    for row in found:
        share = row["suspected_changed"]
        right = "-" if share is None else f"{100 * share:.1f} %"
        print(
            f"| {row['seed']} | {row['num_changed']} | {100 * row['found']:.1f} % of "
            f"{row['depth']} | {row['num_suspected']} | {right} | "
            f"{100 * row['noise_rate']:.1f} % | {row['seconds']:.1f} |"
        )
    print("\n| validation accuracy, by seed | " + " | ".join(RULES) + " |")
    print("|---|" + "---|" * len(RULES))
    for row in found:
        cells = [f"{100 * row['accuracy'][rule]:.2f} %" for rule in RULES]
        print(f"| {row['seed']} | " + " | ".join(cells) + " |")
    for part in facts["as_they_came"]:
        print(
            f"\nLabels as they came, {part['part']}: {part['num_suspected']} suspected, noise rate "
            f"{100 * part['noise_rate']:.2f} %."
        )
        for place, photo in enumerate(part["photos"], start=1):
            mark = "*" if photo["suspected"] else " "
            name = "/".join(Path(photo["path"]).parts[-2:])
            print(f"  {place:2d}{mark} {photo['score']:.3f} {name}: rather {photo['suggested']}?")


def main() -> None:
    """Measure, and print tables or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="?", help=f'labeled photos, or "{SOLAR_CELLS}"')
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.05, help="of labels that are changed")
    parser.add_argument("--json", action="store_true", help="print one JSON object, no tables")
    parser.add_argument("--picture", type=Path, help="folder for pictures of the lists' first")
    options = parser.parse_args()
    if not 0 < options.share < 1:
        parser.error(f"--share is {options.share}; expected 0 to 1, such as 0.05")
    if options.photos == SOLAR_CELLS:
        cache_folder().mkdir(parents=True, exist_ok=True)
        photos = fetch_solar_cells(cache_folder())
    else:
        photos = find_photos(Path(options.photos) if options.photos else None)
    parts = load_parts(photos)
    facts = {
        "photos": photos.name,
        "machine": machine(),
        "num_train": len(parts["train"].labels),
        "num_validation": len(parts["validation"].labels),
        "share": options.share,
        "seeds": [
            measure(parts["train"], parts["validation"], options.share, seed)
            for seed in range(options.seeds)
        ],
        "as_they_came": list(review_as_they_came(parts, options.picture)),
    }
    if options.json:
        print(json.dumps(facts))
    else:
        print_tables(facts)


if __name__ == "__main__":
    main()
