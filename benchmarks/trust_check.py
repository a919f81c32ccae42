"""How long does `handful check` take, and what does it find, and overlook?

Whole processes are timed with an empty cache of embeddings and with a full one; the network is
converted before, once, and that is not counted. Then three experiments with known answers: photos
blurred as the network sees them; photos of one class made in another way; small folders with one
fault of each kind planted, which must be found under its own name. What is found in the photos as
they came is told beside it.

    python benchmarks/trust_check.py [cats_and_dogs_filtered.zip] [--rounds 3] [--draws 5]
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handful.checks.findings import Evidence
from handful.checks.photos import find_problems
from handful.config import TrainConfig
from handful.data.decoding import DecodeSettings, decode, decode_whole
from handful.data.index import ImageIndex, load_index
from handful.data.metadata import MEASURES, measure
from handful.datasets.solar_cells import fetch_solar_cells
from handful.environment import cache_folder
from handful.features.store import open_store
from handful.features.table import EmbeddingTable, scan_index
from handful.reporting import Reporter
from handful.training.steps import keep_readable, open_backbone
from handful.workflows.check import PhotoCheck, check
from pipelines import find_photos, machine, timed

ASKED = {"nothing cached": 20, "everything cached": 4}
BLURS = (1.5, 3, 8, 30)
BLANK = ("near-black", "near-white", "flat", "tiny")
PHOTOS_A_CLASS = 200
QUALITY, LOW_QUALITY = 95, 60
FRAME = 8
SHORTCUTS = (
    "file size",
    "picture dimensions",
    "file format, encoder and camera",
    "border colour",
)
WAYS = ("saved alike", "one class resized", "one class in low quality", "one class framed")
# 12 photos of either class to learn from, and 8 for validation, before faults are added.
LEARNT, HELD_OUT = 12, 8
FAULTS = {
    "cut off half-way": "unreadable",
    "text named .jpg": "unreadable",
    "black": "near-black",
    "white": "near-white",
    "blurred, 2 % of the side": "blurred",
    "tiny, 40 pixels": "tiny",
    "CMYK": "odd-colour-mode",
    "in two classes": "same-photo-two-labels",
    "in train and validation": "leak",
}


def time_check(
    photos: Path, work: Path, rounds: int
) -> Iterator[tuple[str, float, float, list[float]]]:
    """What was cached, median seconds, median processor seconds, and the seconds of each round."""
    cache = work / "cache"
    open_backbone(TrainConfig(), Reporter())
    shutil.copytree(cache_folder() / "networks", cache / "networks")
    command = [sys.executable, "-m", "handful", "check", str(photos), "--json", "--quiet"]
    command += ["--output", str(work / "check")]
    seconds: dict[str, list[float]] = {name: [] for name in ASKED}
    processor: dict[str, list[float]] = {name: [] for name in ASKED}
    for _ in range(rounds):
        for leftover in cache.glob("embeddings.sqlite*"):
            leftover.unlink()
        for name in ASKED:
            before = processor_seconds()
            wall, _, output = timed(command, cache)
            json.loads(output)
            seconds[name].append(wall)
            processor[name].append(processor_seconds() - before)
    for name, each in seconds.items():
        yield name, statistics.median(each), statistics.median(processor[name]), each


def processor_seconds() -> float:
    """Processor time of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def scan(photos: Path) -> tuple[ImageIndex, EmbeddingTable]:
    """Photos with what their files and pixels tell, as `handful check` sees them."""
    index = load_index(photos)
    with open_store(True) as store:
        return keep_readable(index, scan_index(index, store=store))


def rows_called(
    kinds: tuple[str, ...],
    index: ImageIndex,
    table: EmbeddingTable,
    measures: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Which photos the doctor names in findings of some kinds, by files and measures alone."""
    evidence = Evidence(
        index,
        index.splits,
        tuple(fact for fact in table.facts if fact is not None),
        measures,
        table.fingerprints,
        pairs=(),
        groups=np.arange(len(index)),
        shortcuts=(),
        review=None,
        reviewed=np.zeros(0, np.int64),
        outliers=(),
        photos="",
        fix_list="",
    )
    found = [finding for finding in find_problems(evidence) if finding.kind in kinds]
    rows = [row for finding in found for (row,) in finding.groups]
    return np.isin(np.arange(len(index)), rows)


def measure_blur(photos: Path, count: int, seed: int) -> Iterator[tuple[float, ...]]:
    """Pixels, median sharpness, shares called blurred and either that or blank, and others."""
    index, table = scan(photos)
    rows = np.random.default_rng(seed).permutation(len(index))[:count]
    images = [decode(index.read(row), DecodeSettings()) for row in rows.tolist()]
    for pixels in (0.0, *BLURS):
        measures = table.measures.copy()
        if pixels:
            blurred = [cv2.GaussianBlur(image, (0, 0), pixels) for image in images]
            measures[rows] = [measure(np.asarray(image, np.uint8)) for image in blurred]
        flagged = rows_called(("blurred",), index, table, measures)
        named = rows_called(("blurred", *BLANK), index, table, measures)
        others = int(flagged.sum() - flagged[rows].sum())
        sharpness = float(np.median(measures[rows, MEASURES.index("sharpness")]))
        yield pixels, sharpness, flagged[rows].mean(), named[rows].mean(), others


def make_in_other_way(index: ImageIndex, folder: Path, way: str, seed: int) -> Path:
    """Save some photos of two classes as JPEG, those of the second in another way."""
    rng = np.random.default_rng(seed)
    for label, name in enumerate(index.class_names[:2]):
        (folder / name).mkdir(parents=True)
        rows = rng.permutation(np.flatnonzero(index.labels == label))[:PHOTOS_A_CLASS]
        for row in np.sort(rows).tolist():
            image = read_bgr(index, row)
            quality = QUALITY
            if label and way == "one class resized":
                image = cv2.resize(image, (400, 320), interpolation=cv2.INTER_AREA)
            elif label and way == "one class in low quality":
                quality = LOW_QUALITY
            elif label and way == "one class framed":
                sides = [FRAME] * 4
                image = cv2.copyMakeBorder(image, *sides, cv2.BORDER_CONSTANT, value=(9, 9, 9))
            save_jpeg(folder / name / f"{row}.jpg", image, quality)
    return folder


def read_bgr(index: ImageIndex, row: int) -> NDArray[np.uint8]:
    """A photo at full size, (H, W, 3) in OpenCV's order."""
    return np.ascontiguousarray(decode_whole(index.read(row))[:, :, ::-1])


def save_jpeg(path: Path, image: NDArray[np.uint8], quality: int = QUALITY) -> None:
    """Save a picture of OpenCV's."""
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, quality])


def shortcut_cells(found: PhotoCheck) -> list[str]:
    """Balanced accuracy, interval and severity, for each kind of side information."""
    told = {shortcut.name: shortcut for shortcut in found.shortcuts}
    severities = {
        finding.title.split(" alone tell")[0].lower(): finding.severity
        for finding in found.findings
        if finding.kind == "shortcut"
    }
    cells = []
    for name in SHORTCUTS:
        if name not in told:
            cells.append("alike in all")
            continue
        low, high = (100 * end for end in told[name].interval)
        severity = severities.get(name, "not told")
        accuracy = 100 * told[name].balanced_accuracy
        cells.append(f"{accuracy:.1f} % ({low:.0f} to {high:.0f}), {severity}")
    return cells


def plant(index: ImageIndex, folder: Path, seed: int) -> dict[str, Path]:
    """Write a split folder of two classes with one fault of each kind; the file of each."""
    rng = np.random.default_rng(seed)
    names = index.class_names[:2]
    spare: list[int] = []
    for label, name in enumerate(names):
        rows = rng.permutation(np.flatnonzero(index.labels == label)).tolist()
        for part, count in (("train", LEARNT), ("validation", HELD_OUT)):
            (folder / part / name).mkdir(parents=True)
            for _ in range(count):
                row = rows.pop()
                (folder / part / name / f"{row}.jpg").write_bytes(index.read(row))
        if not label:
            spare = rows
    home, other = folder / "train" / names[0], folder / "train" / names[1]
    files = {fault: home / f"fault{number}.jpg" for number, fault in enumerate(FAULTS)}
    for fault, path in files.items():
        spoil(index, spare.pop(), fault, path)
    shutil.copy(files["in two classes"], other / "fault-copy.jpg")
    again = folder / "validation" / names[0] / "fault-copy.jpg"
    shutil.copy(files["in train and validation"], again)
    return files


def spoil(index: ImageIndex, row: int, fault: str, path: Path) -> None:
    """Write one photo with a fault."""
    data, image = index.read(row), read_bgr(index, row)
    side = min(image.shape[:2])
    if fault == "cut off half-way":
        path.write_bytes(data[: len(data) // 2])
    elif fault == "text named .jpg":
        path.write_text("This is no picture.\n")
    elif fault in ("black", "white"):
        save_jpeg(path, np.full_like(image, 255 * (fault == "white")))
    elif fault.startswith("blurred"):
        save_jpeg(path, np.asarray(cv2.GaussianBlur(image, (0, 0), 0.02 * side), np.uint8))
    elif fault.startswith("tiny"):
        small = cv2.resize(image, None, fx=40 / side, fy=40 / side, interpolation=cv2.INTER_AREA)
        save_jpeg(path, np.asarray(small, np.uint8))
    elif fault == "CMYK":
        Image.fromarray(np.asarray(image[:, :, ::-1])).convert("CMYK").save(path)
    else:
        path.write_bytes(data)


def find_planted(index: ImageIndex, work: Path, draws: int) -> tuple[dict[str, int], list[str]]:
    """Times that each fault is found under its name, and what else is warned of."""
    times, others = dict.fromkeys(FAULTS, 0), []
    for draw in range(draws):
        folder = work / f"planted{draw}"
        files = plant(index, folder, draw)
        found = check(folder, use_cache=False, output=False)
        for fault, path in files.items():
            name = path.relative_to(folder).as_posix()
            lines = [line for f in found.findings if f.kind == FAULTS[fault] for line in f.lines]
            times[fault] += any(name in line for line in lines)
        for finding in found.findings:
            if finding.severity != "note":
                others += [line for line in finding.lines if "fault" not in line]
    return times, others


def print_row(*cells: object) -> None:
    """Print one row of a table."""
    print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)


def print_head(*cells: str) -> None:
    """Print the head of a table."""
    print()
    print_row(*cells)
    print(f"|{'---|' * len(cells)}")


def print_times(photos: Path, work: Path, rounds: int) -> None:
    """Time whole processes."""
    print_head("whole process, network converted", "asked", "median", "rounds", "processor time")
    for name, median, processor, seconds in time_check(photos, work, rounds):
        each = ", ".join(f"{value:.1f}" for value in seconds)
        print_row(name, f"{ASKED[name]} s", f"{median:.1f} s", each, f"{processor:.1f} s")


def print_blur(photos: Path, count: int) -> None:
    """Blur photos and count."""
    print_head(
        "Gaussian, pixels of 224",
        "median sharpness",
        f"of {count} called blurred",
        "or of one tone, or tiny",
        "blurred among the others",
    )
    for pixels, sharpness, blurred, named, others in measure_blur(photos, count, 0):
        blur = f"{pixels:g}" if pixels else "none, as they came"
        shares = [f"{100 * share:.1f} %" for share in (blurred, named)]
        print_row(blur, f"{sharpness:.4f}", *shares, others)


def print_shortcuts(photos: Path, index: ImageIndex, work: Path) -> PhotoCheck:
    """Measure shortcuts; what the doctor found in the photos as they came."""
    found = check(photos, output=False)
    cache_folder().mkdir(parents=True, exist_ok=True)
    cells = check(fetch_solar_cells(cache_folder()), output=False)
    print_head("balanced accuracy (95 % interval), finding", *SHORTCUTS)
    print_row(photos.stem, *shortcut_cells(found))
    print_row("solar cells", *shortcut_cells(cells))
    for number, way in enumerate(WAYS):
        folder = make_in_other_way(index, work / f"way{number}", way, 0)
        name = f"{2 * PHOTOS_A_CLASS} photos, {way}"
        print_row(name, *shortcut_cells(check(folder, use_cache=False, output=False)))
    return found


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=3, help="of timing")
    parser.add_argument("--blurred", type=int, default=300, help="photos to blur")
    parser.add_argument("--draws", type=int, default=5, help="folders with planted faults")
    options = parser.parse_args()
    photos = find_photos(options.photos)
    index = load_index(photos)
    busy = f"; load average {os.getloadavg()[0]:.1f} at the start"
    print(f"{machine()}{busy}; {len(index):,} photos of {photos.name}")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        print_times(photos, work, options.rounds)
        print_blur(photos, options.blurred)
        found = print_shortcuts(photos, index, work)
        times, others = find_planted(index, work, options.draws)
    print_head("planted fault", "kind of finding", "found, of all folders")
    for fault, number in times.items():
        print_row(fault, FAULTS[fault], f"{number} of {options.draws}")
    print(f"\nErrors and warnings about other photos there: {len(others)}")
    for line in others:
        print(f"- {line}")
    print("\nFindings in the photos as they came:")
    for finding in found.findings:
        print(f"- {finding.severity}, {finding.kind}: {finding.title}")
        for line in finding.lines[:5]:
            print(f"  {line}")


if __name__ == "__main__":
    main()
