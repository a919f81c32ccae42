"""Are photos of something else flagged as unlike the training photos?

A classifier is trained on cats and dogs. Its validation photos are what it should know; solar
cells and handwritten digits are what it should not. AUROC is the chance that one of those is
farther from the training photos than a validation photo is. Few training photos are tried too.

    python benchmarks/trust_novelty.py [cats_and_dogs_filtered.zip] [--digits 1000]
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handful.data.decoding import resize
from handful.data.index import ImageIndex, load_index
from handful.datasets.digits import find_digits, read_digits
from handful.datasets.solar_cells import fetch_solar_cells
from handful.environment import cache_folder
from handful.features.embed import EmbeddingSpec
from handful.features.table import embed_index
from handful.models.classifier import Classifier
from handful.models.novelty import reference_of
from handful.statistics.metrics import roc_auc
from handful.workflows import train as train_workflow
from pipelines import find_photos, machine

SAMPLES = (10, 50, 200, 1_000)


def embed(classifier: Classifier, index: ImageIndex) -> NDArray[np.float32]:
    """(N, D) of an index's photos."""
    table = embed_index(index, EmbeddingSpec(classifier.extractor, classifier.settings))
    return table.embeddings[:, 0]


def embed_digits(classifier: Classifier, count: int) -> NDArray[np.float32]:
    """(N, D) of the first test digits, as gray pictures."""
    path, _ = find_digits(cache_folder())
    images, _ = read_digits(path)["test"]
    pictures = [
        resize(np.repeat(image[..., np.newaxis], 3, axis=2), classifier.settings)
        for image in images[:count]
    ]
    return classifier.extractor.embed(np.stack(pictures))


def main() -> None:
    """Train, embed, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, nargs="?")
    parser.add_argument("--digits", type=int, default=1_000)
    options = parser.parse_args()
    run = train_workflow.train(find_photos(options.photos), output=False)
    classifier, split = run.classifier, run.split
    seen, known = (embed(classifier, split.part(part)) for part in ("train", "validation"))
    with tempfile.TemporaryDirectory() as folder:
        cells = embed(classifier, load_index(fetch_solar_cells(Path(folder))))
    others = {"solar cells": cells, "digits": embed_digits(classifier, options.digits)}
    print(f"{machine()}\n")
    heads = "".join(f" AUROC, {name} ({len(rows):,}) | flagged |" for name, rows in others.items())
    print(f"| training photos | validation photos flagged ({len(known):,}) |{heads}")
    print("|---|---|" + "---|---|" * len(others))
    rng = np.random.default_rng(0)
    groups = split.groups[split.train]
    for count in (*SAMPLES, len(seen)):
        rows = np.sort(rng.permutation(len(seen))[:count])
        reference = reference_of(seen[rows], groups[rows])
        assert reference is not None
        near = reference.distances(known)
        cells_of_table = [f"{count:,}", f"{100 * reference.unlike(near).mean():.1f} %"]
        for embeddings in others.values():
            far = reference.distances(embeddings)
            truth = np.repeat([False, True], [len(near), len(far)])
            area = roc_auc(np.concatenate([near, far]), truth)
            cells_of_table += [f"{area:.4f}", f"{100 * reference.unlike(far).mean():.1f} %"]
        print(f"| {' | '.join(cells_of_table)} |", flush=True)


if __name__ == "__main__":
    main()
