"""What `--views` draws from, chosen by cross-validation on training photos alone.

For each set of photos and policy, heads are fitted to few photos a class, with the views of each,
and scored on the other photos as they are. Log loss (nats) and accuracy are means over draws of
photos; the same draws for every policy. Validation parts are never looked at.

    python benchmarks/views.py SETS... [--photos 240] [--draws 12]
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from choices import training_part
from handful.augmentation_policy import AugmentationPolicy
from handful.data.augmentation import EXERCISE_POLICY, HANDFUL_POLICY, VIEWS_POLICY
from handful.data.decoding import DecodeSettings
from handful.data.index import load_index
from handful.data.near_duplicates import near_duplicate_pairs
from handful.data.splits import assign_parts
from handful.features.embed import EmbeddingSpec
from handful.features.registry import find_backbone, load_extractor
from handful.features.table import embed_index
from handful.models.heads import fit_head
from pipelines import machine

VIEWS = 4
FEW = (5, 20, 60)  # photos a class
POLICIES = {
    "flips alone": AugmentationPolicy(horizontal_flip=True),
    "mild": VIEWS_POLICY,
    "mild, no flips": replace(VIEWS_POLICY, horizontal_flip=False),
    "handful's for training from scratch": HANDFUL_POLICY,
    "the exercise's": EXERCISE_POLICY,
}


def draw(
    labels: NDArray[np.int64], groups: NDArray[np.int64], count: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of `count` photos a class, and of the photos that are in no group with those."""
    rng = np.random.default_rng(seed)
    classes = [np.flatnonzero(labels == number) for number in range(int(labels.max()) + 1)]
    rows = np.concatenate([rng.choice(own, min(count, len(own) // 2), False) for own in classes])
    return rows, np.flatnonzero(~np.isin(groups, groups[rows]))


def judge(
    fitted: NDArray[np.float32],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    count: int,
    draws: int,
) -> NDArray[np.float64]:
    """Log loss and accuracy of heads fitted to (N, V, D) views, on the photos as they are."""
    found = []
    for seed in range(draws):
        rows, rest = draw(labels, groups, count, seed)
        head = fit_head(fitted[rows], labels[rows], int(labels.max()) + 1, groups=groups[rows])
        chances = head.predict_proba(fitted[rest, 0])
        right = (chances.argmax(axis=1) == labels[rest]).mean()
        found.append((-np.log(chances[np.arange(len(rest)), labels[rest]]).mean(), right))
    return np.mean(found, axis=0)


def main() -> None:
    """Print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sets", type=Path, nargs="+", help="labeled photos")
    parser.add_argument("--photos", type=int, default=240, help="photos of each set at most")
    parser.add_argument("--draws", type=int, default=12)
    options = parser.parse_args()
    embedder = load_extractor(find_backbone(), "int8")
    settings = DecodeSettings(embedder.image_size, "halfway")
    print(f"{machine()}; {options.draws} draws; log loss, accuracy in brackets")
    for path in options.sets:
        index = training_part(load_index(path))
        chosen = np.random.default_rng(0).permutation(len(index))[: options.photos]
        index = index.select(np.sort(chosen))
        print(f"\n{path.stem}, {len(index)} photos, {len(index.class_names)} classes\n")
        print(f"| views | {' | '.join(f'{count} a class' for count in FEW)} |")
        print(f"|---|{'---|' * len(FEW)}", flush=True)
        groups = None
        for name, policy in POLICIES.items():
            table = embed_index(
                index, EmbeddingSpec(embedder, settings, tuple(range(VIEWS)), policy)
            )
            if groups is None:
                groups = assign_parts(index, near_duplicate_pairs(table.fingerprints)).groups
                rows = [("none", table.embeddings[:, :1])]
            else:
                rows = []
            for label, fitted in [*rows, (name, table.embeddings)]:
                results = [
                    judge(fitted, index.labels, groups, count, options.draws) for count in FEW
                ]
                cells = [f"{loss:.4f} ({100 * right:.1f} %)" for loss, right in results]
                print(f"| {label} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
