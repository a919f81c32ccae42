"""What the defaults were chosen by: cross-validation on training photos alone.

Compares ways to make a photo a square, mirror averaging, augmented views, and how few photos are
enough. Validation photos are never looked at. Log loss (nats) and accuracy are means over seeds.

    python benchmarks/choices.py [cats_and_dogs_filtered.zip]
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handful.config import RESIZES
from handful.data.decoding import DecodeSettings
from handful.data.index import ImageIndex, load_index
from handful.data.near_duplicates import near_duplicate_pairs
from handful.data.splits import assign_parts
from handful.features.embed import EmbeddingSpec
from handful.features.registry import find_backbone, load_extractor
from handful.features.table import embed_index
from handful.models.heads import fit_head
from pipelines import find_photos, machine

SEEDS = 3
DRAWS = 12
VIEWS = (0, "mirror", 1, 2, 3)


def cross_validate(
    name: str, embeddings: NDArray[np.float32], labels: NDArray[np.int64], groups: NDArray[np.int64]
) -> None:
    """Print a line: the best strength's log loss and accuracy."""
    best = [
        min(
            fit_head(embeddings, labels, int(labels.max()) + 1, groups=groups, seed=seed).scores,
            key=lambda score: score.log_loss,
        )
        for seed in range(SEEDS)
    ]
    loss, accuracy = (
        np.mean([getattr(score, what) for score in best]) for what in ("log_loss", "accuracy")
    )
    print(f"| {name} | {loss:.4f} | {100 * accuracy:.2f} % |", flush=True)


def learn_from_few(embeddings: NDArray[np.float32], labels: NDArray[np.int64], count: int) -> None:
    """Print a line: fitted on `count` photos a class, scored on the other training photos."""
    results = []
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        classes = range(int(labels.max()) + 1)
        rows = [rng.choice(np.flatnonzero(labels == c), count, replace=False) for c in classes]
        train = np.concatenate(rows)
        rest = np.setdiff1d(np.arange(len(labels)), train)
        head = fit_head(embeddings[train], labels[train], len(rows))
        chances = head.predict_proba(embeddings[rest])
        right = (chances.argmax(axis=1) == labels[rest]).mean()
        results.append((-np.log(chances[np.arange(len(rest)), labels[rest]]).mean(), right))
    loss, accuracy = np.mean(results, axis=0)
    print(f"| {count} photos a class | {loss:.4f} | {100 * accuracy:.2f} % |", flush=True)


def training_part(index: ImageIndex) -> ImageIndex:
    """The training photos, where the data comes split."""
    if "train" not in index.splits:
        return index
    return index.select([row for row, part in enumerate(index.splits) if part == "train"])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", type=Path, nargs="?", help="labeled photos")
    index = training_part(load_index(find_photos(parser.parse_args().photos)))
    embedder = load_extractor(find_backbone(), "bf16")
    print(f"{machine()}; {len(index):,} training photos of {index.source.name}\n")
    print("| choice | log loss | accuracy |\n|---|---|---|")
    for how in RESIZES:
        settings = DecodeSettings(embedder.image_size, how)
        table = embed_index(index, EmbeddingSpec(embedder, settings, VIEWS))
        if table.rejected:
            raise SystemExit(
                f"{len(table.rejected)} photos cannot be decoded; see `handful check`."
            )
        whole = np.arange(len(index))
        pairs = near_duplicate_pairs(table.fingerprints)
        unsplit = ImageIndex(**{**vars(index), "splits": ("",) * len(index)})
        groups = assign_parts(unsplit, pairs).groups[whole]
        cross_validate(f"--resize {how}", table.embeddings[:, :1], index.labels, groups)
    for precision in ("f32", "int8"):
        other = load_extractor(find_backbone(), precision)
        alone = embed_index(index, EmbeddingSpec(other, settings)).embeddings
        cross_validate(f"{how}, --precision {precision}", alone, index.labels, groups)
    everything = table.embeddings
    mirrored = everything[:, :2].mean(axis=1)
    cross_validate(f"{how}, mirror averaged", mirrored, index.labels, groups)
    cross_validate(f"{how}, --views 2", everything[:, [0, 2]], index.labels, groups)
    cross_validate(f"{how}, --views 4", everything[:, [0, 2, 3, 4]], index.labels, groups)
    for count in (1, 2, 3, 5, 10, 20, 50):
        learn_from_few(everything[:, 0], index.labels, count)


if __name__ == "__main__":
    main()
