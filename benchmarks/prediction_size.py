"""Accuracy of networks trained from scratch, by the size at which photos are shown to them.

    python benchmarks/prediction_size.py PHOTOS RUN [RUN ...] [--sizes 96,112,128,144,160]

The runs are of the strategies augmented or distilled in our recipe, one for each seed; their
networks take pictures of any size. Prints mean and standard deviation over the runs, of the photo
alone and averaged with its mirror image.
"""

import argparse
import dataclasses
import statistics
from pathlib import Path

from handful.data.index import ImageIndex, load_index
from handful.features.conversion import FrozenNetwork
from handful.features.openvino import OpenVinoExtractor
from handful.models.classifier import Classifier
from handful.run_store.store import RunStore


def accuracy(run: Path, index: ImageIndex, size: int, mirror: bool) -> float:
    """Share of the photos that a run's network names right at a size."""
    saved = Classifier.load(run)
    network = FrozenNetwork(**{**vars(saved.network), "image_size": size})
    classifier = Classifier(
        saved.class_names,
        OpenVinoExtractor(network, saved.extractor.precision),
        saved.head,
        dataclasses.replace(saved.settings, image_size=size),
        test_time_mirror=mirror,
    )
    found = classifier.predict_index(index.with_class_names(saved.class_names))
    return float((found.probabilities.argmax(axis=1) == found.index.labels).mean())


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--sizes", default="96,112,128,144,160")
    options = parser.parse_args()
    for run in options.runs:
        config = RunStore().read(run).config
        if config.strategy not in ("augmented", "distilled") or config.recipe != "handful":
            parser.error(f"{run} is {config.recipe} {config.strategy}; expected handful augmented.")
    index = load_index(options.photos)
    index = index.select([row for row, part in enumerate(index.splits) if part == "validation"])
    print("| pixels | photo alone | with its mirror image |\n|---|---|---|")
    for size in map(int, options.sizes.split(",")):
        cells = []
        for mirror in (False, True):
            found = [100 * accuracy(run, index, size, mirror) for run in options.runs]
            spread = f" ± {statistics.stdev(found):.1f}" if len(found) > 1 else ""
            cells.append(f"{statistics.mean(found):.1f} %{spread}")
        print(f"| {size} | {cells[0]} | {cells[1]} |")


if __name__ == "__main__":
    main()
