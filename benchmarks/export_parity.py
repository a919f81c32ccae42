"""What exporting costs: answers, accuracy, speed and size of every format and precision.

    python benchmarks/export_parity.py RUN [--photos PHOTOS] [--json] [--num-answers 100]

The run's photos are taken from where its run.json says, or from --photos. For each format and
precision the run is exported into a temporary folder. Differences are those from handful's own
classifier of the same precision: on up to 64 validation photos as `handful export` measures them,
on the raw photos and on pixels that handful had resized; then on all validation photos, of which
accuracy is of, too. Speed is from raw arrays, one photo at a time, each model in a process of its
own, for runtimes' threads get in each other's way; two turns, handful's own among them; median
over the photos of both.
"""

import argparse
import json
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from handful.data.decoding import decode_whole
from handful.data.index import ImageIndex, load_index
from handful.errors import HandfulError
from handful.exporting.export_jobs import PRECISIONS, export
from handful.exporting.export_runtime import open_export
from handful.models.classifier import Classifier
from handful.run_store.store import RunStore
from pipelines import machine


def validation_photos(run: Path, photos: Path | None) -> ImageIndex:
    """The run's validation photos, labeled."""
    stored = RunStore().read(run)
    index, parts = load_index(photos or stored.photos), stored.parts
    hashes = enumerate(index.content_hashes)
    return index.select([row for row, name in hashes if parts.get(name) == "validation"])


def export_all(run: Path, folder: Path) -> dict[str, Any]:
    """Name to what was exported, or to the reason why it was not."""
    made: dict[str, Any] = {}
    for format, precisions in PRECISIONS.items():
        for precision in precisions:
            name = f"{format} {precision}"
            try:
                made[name] = export(run, format, precision=precision, output=folder / name)
            except HandfulError as error:
                made[name] = str(error)
    return made


def measure(
    run: Path, index: ImageIndex, made: dict[str, Any], num_speed: int, num_answers: int | None
) -> dict[str, Any]:
    """Answers of every model on every photo, and seconds on the first ones."""
    own = Classifier.load(run)
    runners = {"handful": lambda image: own.predict_proba([image])[0]}
    for name, found in made.items():
        if not isinstance(found, str):
            runners[name] = open_export(found.file, found.format)
    answers: dict[str, list[Any]] = {name: [] for name in runners}
    order = np.random.default_rng(0).permutation(len(index))
    images = [decode_whole(index.read(row)) for row in order[:num_speed]]
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for name in (*runners, *runners):
        found = made.get(name)
        model = (run, "handful") if found is None else (found.file, found.format)
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            seconds[name] += pool.submit(measure_speed, *model, images).result()
    for row in order[:num_answers]:
        image = decode_whole(index.read(int(row)))
        for name, classify in runners.items():
            answers[name].append((int(row), classify(image)))
    return {"answers": answers, "seconds": seconds}


def measure_speed(path: Path, format: str, images: list[Any]) -> list[float]:
    """Seconds of a model for each picture, after one to warm up."""
    if format == "handful":
        own = Classifier.load(path)
        classify: Any = lambda image: own.predict_proba([image])  # noqa: E731
    else:
        classify = open_export(path, format)
    classify(images[0])
    seconds = []
    for image in images:
        start = time.perf_counter()
        classify(image)
        seconds.append(time.perf_counter() - start)
    return seconds


def row_of(name: str, found: Any, measured: dict[str, Any], index: ImageIndex) -> dict[str, Any]:
    """One line of the table."""
    answers = measured["answers"][name]
    rows = [row for row, _ in answers]
    probabilities = np.array([values for _, values in answers])
    own = dict(measured["answers"]["handful"])
    expected = np.array([own[row] for row in rows])
    facts: dict[str, Any] = {
        "name": name,
        "num_photos": len(rows),
        "accuracy": float((probabilities.argmax(axis=1) == index.labels[rows]).mean()),
        "other_answers": int((probabilities.argmax(axis=1) != expected.argmax(axis=1)).sum()),
        "from_run": float(np.abs(probabilities - expected).max()),
        "photos_per_second": 1 / float(np.median(measured["seconds"][name])),
    }
    if found is not None:
        facts["parity"] = found.parity.largest_difference
        facts["above"] = found.parity.num_above
        facts["resized"] = found.parity.largest_difference_resized
        facts["megabytes"] = found.num_bytes / 1e6
    return facts


def print_table(rows: list[dict[str, Any]], refused: dict[str, str]) -> None:
    """As Markdown."""
    print(
        "| format, precision | difference, 64 raw photos | above the bar | on resized pixels | "
        "accuracy | named otherwise | photos/s | MB |\n|---|---|---|---|---|---|---|---|"
    )
    for row in rows:
        parity = "- | - | -"
        if "parity" in row:
            parity = f"{row['parity']:.1e} | {row['above']} | {row['resized']:.1e}"
        note = "" if row["num_photos"] == rows[0]["num_photos"] else f" of {row['num_photos']}"
        size = f"{row['megabytes']:.1f}" if "megabytes" in row else "-"
        print(
            f"| {row['name']} | {parity} | {100 * row['accuracy']:.1f} %{note} | "
            f"{row['other_answers']} | {row['photos_per_second']:.0f} | {size} |"
        )
    for name, reason in refused.items():
        print(f"\n{name}: {reason}")


def main() -> None:
    """Export, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--num-speed", type=int, default=40)
    parser.add_argument("--num-answers", type=int, help="photos for accuracy [all]")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    index = validation_photos(options.run, options.photos)
    with tempfile.TemporaryDirectory(prefix="handful-export-") as folder:
        made = export_all(options.run, Path(folder))
        measured = measure(options.run, index, made, options.num_speed, options.num_answers)
    good = {name: found for name, found in made.items() if not isinstance(found, str)}
    rows = [row_of("handful", None, measured, index)]
    rows += [row_of(name, found, measured, index) for name, found in good.items()]
    refused = {name: found for name, found in made.items() if isinstance(found, str)}
    if options.json:
        print(json.dumps({"machine": machine(), "rows": rows, "refused": refused}, indent=2))
        return
    print(machine(), end="\n\n")
    print_table(rows, refused)


if __name__ == "__main__":
    main()
