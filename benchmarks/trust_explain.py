"""Whether `handful explain` shows where the network looked: three tests on real photos.

    python benchmarks/trust_explain.py [cats_and_dogs_filtered.zip] [--sheet sheet.png]

Inside: how much of a map's strongest fifth lies in a box drawn by hand around the animal, on ten
validation photos, against the box's own share of what the network saw.
Random head: the same after the head's weights are drawn at random, and the rank correlation of the
two maps (Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018). The sign of a random
head is random too, so the mean correlation is 0 by symmetry. Its size says more: it should be no
larger than that of two random heads' maps.
Hiding: how far the log of the odds falls when the strongest fifth is blurred, against what a
random head's strongest fifth and the weakest fifth do, on 200 other validation photos.
"""

import argparse
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from handful.data.decoding import decode
from handful.data.index import ImageIndex
from handful.models.activation_maps import Explainer, Explanation, overlay
from handful.models.classifier import Classifier
from handful.workflows import train as train_workflow
from pipelines import find_photos, machine

# Left, top, right, bottom as shares of width and height, drawn around the whole animal before any
# map of them was made. The photos: five of each class by numpy's default_rng(0).
BOXES = {
    "cats/cat.4135.jpg": (0.02, 0.00, 0.98, 1.00),
    "cats/cat.4154.jpg": (0.29, 0.42, 0.68, 0.75),
    "cats/cat.4255.jpg": (0.33, 0.12, 0.89, 1.00),
    "cats/cat.4317.jpg": (0.11, 0.08, 0.85, 1.00),
    "cats/cat.4422.jpg": (0.10, 0.00, 0.80, 0.98),
    "dogs/dog.4252.jpg": (0.19, 0.00, 0.58, 1.00),
    "dogs/dog.4304.jpg": (0.15, 0.05, 0.88, 0.95),
    "dogs/dog.4323.jpg": (0.20, 0.11, 1.00, 1.00),
    "dogs/dog.4404.jpg": (0.21, 0.00, 0.92, 1.00),
    "dogs/dog.4455.jpg": (0.02, 0.08, 0.79, 1.00),
}
TOP = 0.2
NUM_HEADS = 20
NUM_HIDDEN = 200
SIDE = 224
CELL = 240


def with_random_head(classifier: Classifier, seed: int) -> Classifier:
    """The same network under weights drawn with the deviation of the fitted ones."""
    rng, head = np.random.default_rng(seed), classifier.head
    weights = rng.normal(0, head.weights.std(), head.weights.shape).astype(np.float32)
    return Classifier(
        classifier.class_names,
        classifier.extractor,
        replace(head, weights=weights),
        classifier.settings,
    )


def strongest(values: NDArray[np.float32], share: float = TOP) -> NDArray[np.bool_]:
    """The strongest share of a map's area, (SIDE, SIDE) bool."""
    smooth = cv2.resize(values, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth > np.quantile(smooth, 1 - share))


def in_box(found: Explanation, box: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    """The box over the part of the photo that the network saw, (SIDE, SIDE) bool."""
    left, top, right, bottom = found.seen
    middles = (np.arange(SIDE) + 0.5) / SIDE
    across, down = left + middles * (right - left), top + middles * (bottom - top)
    return np.outer((down >= box[1]) & (down <= box[3]), (across >= box[0]) & (across <= box[2]))


def rank_correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Spearman's, of two maps; no two places of a real map are equal."""
    ranks = [np.argsort(np.argsort(values, axis=None)) for values in (first, second)]
    return float(np.corrcoef(*ranks)[0, 1])


def find_rows(index: ImageIndex) -> dict[str, int]:
    """Rows of the ten photos."""
    rows = {"/".join(Path(path).parts[-2:]): row for row, path in enumerate(index.paths)}
    return {name: rows[name] for name in BOXES}


def check_boxes(index: ImageIndex, true: Explainer, shams: list[Explainer], sheet: Path) -> None:
    """Print a line for each of the ten photos, and write them with their maps."""
    print(
        "| photo | named | box's share | top fifth inside | random heads' | correlation | size | "
        "of two random heads |\n|---|---|---|---|---|---|---|---|"
    )
    table, cells = [], []
    for name, row in find_rows(index).items():
        data = index.read(row)
        found = true.explain(data)
        inside = in_box(found, BOXES[name])
        sham = [other.explain(data, found.class_name, found.rival_name) for other in shams]
        shares = [inside[strongest(one.map)].mean() for one in (found, *sham)]
        correlations = np.array([rank_correlation(found.map, one.map) for one in sham])
        # What two maps of this photo that have nothing in common but the network come to.
        among = [rank_correlation(a.map, b.map) for a, b in pairwise(sham)]
        line = (
            inside.mean(),
            shares[0],
            np.mean(shares[1:]),
            correlations.mean(),
            np.abs(correlations).mean(),
            np.abs(among).mean(),
        )
        table.append(line)
        numbers = " | ".join(f"{number:.2f}" for number in line)
        print(f"| {name} | {found.class_name} {found.probability:.3f} | {numbers} |", flush=True)
        cells.append(np.hstack([cell(found.image), *(cell(overlay(e)) for e in (found, sham[0]))]))
    print("| mean | | " + " | ".join(f"{number:.2f}" for number in np.mean(table, axis=0)) + " |")
    pictures = np.vstack([np.hstack(cells[n : n + 2]) for n in range(0, len(cells), 2)])
    cv2.imwrite(str(sheet), cv2.cvtColor(pictures, cv2.COLOR_RGB2BGR))
    print(f"\nPhoto, map, map of a random head, twice a row: {sheet}")


def cell(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture fitted into a white square."""
    height, width = picture.shape[:2]
    scale = CELL / max(height, width)
    size = (round(width * scale), round(height * scale))
    square = np.full((CELL + 6, CELL + 6, 3), 255, np.uint8)
    square[: size[1], : size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return square


def check_hiding(
    index: ImageIndex, rows: NDArray[np.int64], true: Explainer, sham: Explainer
) -> None:
    """Print how far the log of the odds falls when a fifth of the photo is blurred."""
    falls: dict[str, list[float]] = {"strongest": [], "random head's": [], "weakest": []}
    before = []
    for row in rows:
        picture = decode(index.read(int(row)), true.classifier.settings)
        blurred = cv2.GaussianBlur(picture, (0, 0), len(picture) / 8)
        found = true.explain(picture)
        names = found.class_name, found.rival_name
        before.append(found.map.mean())
        maps = (found.map, sham.explain(picture, *names).map, -found.map)
        for what, values in zip(falls, maps, strict=True):
            mask = cv2.resize(strongest(values).astype(np.uint8), picture.shape[1::-1])
            hidden = np.where(mask[:, :, np.newaxis] > 0, blurred, picture)
            falls[what].append(before[-1] - true.explain(hidden, *names).map.mean())
    print(
        f"\n| fifth that is blurred | log odds, {np.mean(before):.2f} before, fall by "
        "| most of the three |\n|---|---|---|"
    )
    every = np.array(list(falls.values()))
    for what, fall, most in zip(
        falls, every, every.argmax(0) == np.arange(3)[:, None], strict=True
    ):
        error = fall.std(ddof=1) / np.sqrt(len(fall))
        print(f"| {what} | {fall.mean():.2f} ± {error:.2f} | {most.mean():.0%} |")


def main() -> None:
    """Run the three tests."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="?", type=Path)
    parser.add_argument("--sheet", type=Path, default=Path("trust_explain.png"))
    options = parser.parse_args()
    print(machine())
    run = train_workflow.train(find_photos(options.photos), output=False)
    index = run.split.index
    true = Explainer(run.classifier)
    shams = [Explainer(with_random_head(run.classifier, seed)) for seed in range(NUM_HEADS)]
    check_boxes(index, true, shams, options.sheet)
    others = np.setdiff1d(run.split.validation, list(find_rows(index).values()))
    rows = np.random.default_rng(0).choice(others, NUM_HIDDEN, replace=False)
    check_hiding(index, rows, true, shams[0])


if __name__ == "__main__":
    main()
