"""What a GPU brings, measured whole in a few minutes on a machine with Keras on JAX or PyTorch.

Nothing of handful need be installed: it runs from a copy of the repository, leaves out what the
machine lacks, and says what. Three parts:

- embed: photos a second through a frozen network at 224 pixels. By `handful` itself where OpenVINO
  and the network's weights are there, on the device that `--device` names; and the same network
  with drawn weights by Keras, and by PyTorch where timm is there, in batches.
- exercise: seconds of the well-known exercise's three trainings (2,000 photos at 150 pixels, 1,000
  for validation): from scratch, augmented, and a head on a frozen Xception (drawn weights).
- scratch: seconds of handful's own epochs from scratch on the same photos.

Each training gets a share of the time, and seconds are reckoned from the epochs that fit: those of
each size after the first, times their number; the first, in which kernels are compiled, once.
Photos are those given, else drawn; they are in memory before the clock starts. What is waited for
batches, which the processor augments, is shown.

    python benchmarks/gpu.py [cats_and_dogs_filtered.zip] [--minutes 4] [--device auto|cpu|gpu]
        [--parts embed,exercise,scratch] [--json FILE] [--quick]
"""

import argparse
import contextlib
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
# Only files of photos need these.
_FOR_FILES = ("simplejpeg", "pi_heif")
SIDE = 224
BATCH_SIZE = 64
# Share of the time for each part; the trainings of "exercise" share theirs as their epochs cost.
SHARES = {"embed": 0.15, "exercise": 0.45, "scratch": 0.4}
EXERCISE_SHARES = {"scratch": 0.3, "augmented": 0.5, "transfer": 0.2}
# What of a share is for epochs, the rest being for compilation.
FOR_EPOCHS = 0.6

Images = np.ndarray


def drawn(count: int, side: int, seed: int) -> tuple[Images, np.ndarray]:
    """Clouds in two colors under noise: (count, side, side, 3) uint8, and labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    coarse = rng.integers(40, 216, (count, 8, 8, 3))
    coarse[..., 0] += 30 * labels[:, np.newaxis, np.newaxis]
    grown = np.repeat(np.repeat(coarse, -(-side // 8), axis=1), -(-side // 8), axis=2)
    images = grown[:, :side, :side] + rng.integers(-9, 10, (count, side, side, 1))
    return np.clip(images, 0, 255).astype(np.uint8), labels


def photos(given: Path | None, side: int, counts: tuple[int, int]) -> list[tuple[Images, Any]]:
    """Photos for training and validation, from an archive of both or drawn."""
    if given is None:
        return [drawn(count, side, seed) for seed, count in enumerate(counts)]
    from handful.data.decoding import DecodeSettings
    from handful.data.index import load_index
    from handful.training.batches import decode_images

    index = load_index(given)
    found = []
    for part, count in zip(("train", "validation"), counts, strict=True):
        rows = [row for row, name in enumerate(index.splits) if name == part][:count]
        if not rows:
            sys.exit(f"{given} has no photos for {part}; expected parts train and validation.")
        chosen = index.select(rows)
        found.append((decode_images(chosen, DecodeSettings(side, "squash")), chosen.labels))
    return found


class Table:
    """Rows, printed as they come: what ends early has shown what it found."""

    def __init__(self, minutes: float) -> None:
        self.started = time.perf_counter()
        self.seconds = 60 * minutes
        self.rows: list[dict[str, Any]] = []
        print("| what | by | figure | note |\n|---|---|---|---|", flush=True)

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.seconds - (time.perf_counter() - self.started)

    def add(self, what: str, by: str, value: float | None, unit: str, note: str = "") -> None:
        """Print and keep a row; a value of None is one that could not be measured."""
        shown = "-" if value is None else f"{value:,.1f} {unit}"
        print(f"| {what} | {by} | {shown} | {note} |", flush=True)
        self.rows.append({"what": what, "by": by, "value": value, "unit": unit, "note": note})

    def attempt(self, what: str, measure: Callable[[], None], *modules: str) -> None:
        """Measure; what is lacking, or fails, becomes a row that says so."""
        try:
            if self.left <= 0:
                raise RuntimeError("no time left")
            if missing := [name for name in modules if find_spec(name) is None]:
                raise RuntimeError(f"not installed: {', '.join(missing)}")
            measure()
        except (Exception, SystemExit) as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())[:160].replace("|", "/")
            self.add(what, "", None, "", text.removeprefix("RuntimeError: "))


def rate(embed: Callable[[Images], Any], images: Images, seconds: float) -> float:
    """Photos a second, all of them again and again for so long, after one warm-up."""
    embed(images[:BATCH_SIZE])
    begun, count = time.perf_counter(), 0
    while True:
        for start in range(0, len(images), BATCH_SIZE):
            part = images[start : start + BATCH_SIZE]
            embed(part)
            count += len(part)
            passed = time.perf_counter() - begun
            if passed >= seconds:
                return count / passed


# --- embed ---


def embed(table: Table, options: argparse.Namespace) -> None:
    """Photos a second through a frozen network."""
    images, _ = drawn(64 if options.quick else 512, SIDE, 2)
    seconds = 0.0 if options.quick else SHARES["embed"] * table.seconds / 6
    batches = f"embed, batches of {BATCH_SIZE}"

    def own() -> None:
        by, network = _own_network(options.device)
        table.add("embed, photos in memory", by, rate(network, images, seconds), "photos/s")

    def by_keras() -> None:
        network = _keras_network()
        speed = rate(network, images, seconds)
        table.add(batches, f"Keras on {_backend()}", speed, "photos/s", "drawn weights, float32")

    def by_torch() -> None:
        network = _torch_network(options.device)
        speed = rate(network, images, seconds)
        table.add(batches, "PyTorch, timm", speed, "photos/s", "drawn weights, float32")

    table.attempt("embed, handful", own, "openvino", "threadpoolctl", "safetensors")
    table.attempt("embed, Keras", by_keras, "keras")
    table.attempt("embed, PyTorch", by_torch, "torch", "timm")


def _own_network(device: str) -> tuple[str, Callable[[Images], Any]]:
    from handful.data.decoding import DecodeSettings
    from handful.features.devices import device_of, suited_precision
    from handful.features.embed import EmbeddingSpec, embed_pixels
    from handful.features.registry import find_backbone, load_extractor

    backbone = find_backbone()
    precision = suited_precision("auto", backbone.metadata.precision, device)
    extractor = load_extractor(backbone, precision, device)
    spec = EmbeddingSpec(extractor, DecodeSettings(SIDE), scans=False)
    by = f"handful, {backbone.metadata.name}, {extractor.precision}, {device_of(extractor)}"
    return by, lambda images: embed_pixels(list(images), spec)


def _keras_network() -> Callable[[Images], Any]:
    from handful.features.backbones.efficientnet_lite import LITE_VARIANTS, build_lite

    network = build_lite(LITE_VARIANTS["efficientnet-lite0"], SIDE, include_top=False)
    return lambda images: network.predict(images, batch_size=BATCH_SIZE, verbose=0)


def _torch_network(device: str) -> Callable[[Images], Any]:
    import timm
    import torch

    where = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    network = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval().to(where)

    def run(images: Images) -> None:
        with torch.inference_mode():
            for start in range(0, len(images), BATCH_SIZE):
                batch = torch.from_numpy(images[start : start + BATCH_SIZE]).to(where)
                network(batch.permute(0, 3, 1, 2).float().div_(127).sub_(1)).cpu()

    return run


# --- trainings ---


def reckon(history: dict[str, list[float]], sizes: list[int]) -> float:
    """Seconds of all epochs from those that were run.

    Args:
        history: "seconds" and "image_size" of the epochs that were run.
        sizes: Side of the photos in each epoch of the whole training.

    Returns:
        Seconds; an epoch of a size that was not run costs as its pixels do.
    """
    runs: dict[int, list[float]] = {}
    for seconds, size in zip(history["seconds"], history["image_size"], strict=True):
        runs.setdefault(int(size), []).append(seconds)
    each = {size: float(np.median(found[1:] or found)) for size, found in runs.items()}
    largest = max(runs)
    total = 0.0
    for size in sorted(set(sizes)):
        usual = each.get(size, each[largest] * (size / largest) ** 2)
        first = runs[size][0] if size in runs else usual
        total += first + usual * (sizes.count(size) - 1)
    return total


def train(
    table: Table,
    what: str,
    recipe: Any,
    network: Any,
    parts: list[tuple[Images, Any]],
    seconds: float,
    before: float = 0.0,
) -> None:
    """Train for so long at most, and add the row of the whole training."""
    from handful.training.batches import BatchSource
    from handful.training.loop import fit_network

    sources = [
        BatchSource(
            images,
            np.asarray(labels, np.int64),
            2,
            recipe.batch_size if learns else max(recipe.batch_size, BATCH_SIZE),
            policy=recipe.policy if learns else None,
            label_kind="binary" if network.output_shape[-1] == 1 else "categorical",
            shuffle=learns,
            drop_last=learns and recipe.cosine,
            scale=recipe.scale,
        )
        for learns, (images, labels) in zip((True, False), parts, strict=True)
    ]
    fitted = fit_network(network, *sources, recipe, time_budget_seconds=seconds)
    sizes = [recipe.size_at(epoch, recipe.epochs) for epoch in range(recipe.epochs)]
    whole = reckon(fitted.history, sizes) + before
    waited = float(np.median(fitted.history["waited_share"]))
    note = f"{fitted.epochs} of {recipe.epochs} epochs run; {waited:.0%} spent waiting for batches"
    table.add(what, f"Keras on {_backend()}", whole, "s", note)


def exercise(table: Table, options: argparse.Namespace) -> None:
    """Time the exercise's three trainings."""
    from handful.training.networks import build_head, build_scratch
    from handful.training.recipes import find_recipe

    parts = photos(options.archive, 150, options.counts)
    budget = min(SHARES["exercise"] * table.seconds, table.left) * FOR_EPOCHS

    def recipe_of(strategy: str) -> Any:
        return shortened(find_recipe("keras-tutorial", strategy), options.quick)

    def from_pixels(strategy: str) -> None:
        seconds = budget * EXERCISE_SHARES[strategy]
        network = build_scratch((150, 150, 3), 2)
        train(table, f"exercise, {strategy}", recipe_of(strategy), network, parts, seconds)

    def transfer() -> None:
        seconds = budget * EXERCISE_SHARES["transfer"]
        features, before = _features(parts, seconds)
        head = build_head(features[0][0].shape[1], 2)
        train(
            table, "exercise, transfer", recipe_of("transfer"), head, features, seconds / 4, before
        )

    for strategy in ("scratch", "augmented"):
        table.attempt(f"exercise, {strategy}", lambda strategy=strategy: from_pixels(strategy))
    table.attempt("exercise, transfer", transfer)


def _features(
    parts: list[tuple[Images, Any]], seconds: float
) -> tuple[list[tuple[Images, Any]], float]:
    """Xception's features of the photos, and the seconds for all of them.

    Where time is short they are those of some of the photos, repeated.
    """
    import keras

    body = keras.applications.Xception(
        weights=None, include_top=False, input_shape=(150, 150, 3), pooling="avg"
    )

    def run(images: Images) -> Images:
        return np.asarray(body.predict(images, batch_size=BATCH_SIZE, verbose=0))

    first = parts[0][0][:BATCH_SIZE]
    run(first)
    begun = time.perf_counter()
    run(first)
    fits = max(1, int(seconds / (time.perf_counter() - begun))) * BATCH_SIZE
    total, before = sum(len(images) for images, _ in parts), 0.0
    found = []
    for images, labels in parts:
        part = images[: max(BATCH_SIZE, fits * len(images) // total)]
        begun = time.perf_counter()
        vectors = run(part)
        before += (time.perf_counter() - begun) * len(images) / len(part)
        found.append((np.resize(vectors, (len(images), vectors.shape[1])), labels))
    return found, before


def scratch(table: Table, options: argparse.Namespace) -> None:
    """Time handful's own training from scratch."""
    from handful.training.networks import NETWORKS
    from handful.training.recipes import find_recipe

    recipe = shortened(find_recipe("handful", "augmented"), options.quick)
    learned = photos(options.archive, recipe.stored_size, options.counts)[0]
    held_out = photos(options.archive, recipe.image_size, options.counts)[1]
    network = NETWORKS[recipe.network]((recipe.image_size, recipe.image_size, 3), 2)
    seconds = min(SHARES["scratch"] * table.seconds, table.left) * FOR_EPOCHS
    what = f"handful, {recipe.epochs} epochs from scratch"
    train(table, what, recipe, network, [learned, held_out], seconds)


def shortened(recipe: Any, is_quick: bool) -> Any:
    """A recipe of two epochs for a quick look."""
    return replace(recipe, epochs=2) if is_quick else recipe


# --- the machine ---


def _backend() -> str:
    import keras

    name = keras.backend.backend()
    from handful.features.keras_runtime import sees_gpu

    return f"{name}, {'GPU' if sees_gpu() else 'CPU'}"


def machine() -> dict[str, Any]:
    """Processor, GPU and versions."""
    gpu = ""
    if shutil.which("nvidia-smi"):
        asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        gpu = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = {}
    for name in ("keras", "jax", "torch", "tensorflow", "openvino", "onnxruntime"):
        with contextlib.suppress(Exception):
            from importlib.metadata import version

            versions[name] = version(name)
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": cores,
        "gpu": gpu,
        "python": platform.python_version(),
        "versions": versions,
    }


PARTS: dict[str, Callable[[Table, argparse.Namespace], None]] = {
    "embed": embed,
    "exercise": exercise,
    "scratch": scratch,
}


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, nargs="?", help="photos in train and validation")
    parser.add_argument("--minutes", type=float, default=4.0, help="to be done in")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    parser.add_argument("--parts", default=",".join(PARTS), help="which, with commas")
    parser.add_argument("--json", type=Path, help="file to write the figures to as well")
    parser.add_argument("--quick", action="store_true", help="a few photos and two epochs")
    options = parser.parse_args()
    options.parts = options.parts.split(",")
    if wrong := [name for name in options.parts if name not in PARTS]:
        parser.error(f"--parts has {', '.join(wrong)}; expected {', '.join(PARTS)}")
    if not 0 < options.minutes < math.inf:
        parser.error("--minutes is not above 0")
    options.counts = (40, 20) if options.quick else (2000, 1000)
    return options


def start_keras(device: str) -> None:
    """Import Keras on the backend that handful would take."""
    from handful.features.keras_runtime import claim_process, prepare_keras

    claim_process()
    prepare_keras(device=device)


def on_device(
    part: Callable[[Table, argparse.Namespace], None], table: Table, options: argparse.Namespace
) -> None:
    """Measure a part with Keras, where it has started, on the device that was asked for."""
    if "keras" not in sys.modules:
        part(table, options)
        return
    from handful.features.keras_runtime import trains_on

    with trains_on(options.device):
        part(table, options)


def main() -> None:
    """Measure, and print table and JSON."""
    options = parse()
    # Drawn photos are never decoded, and what decodes is imported all the same.
    if options.archive is None:
        for name in _FOR_FILES:
            if find_spec(name) is None:
                sys.modules[name] = ModuleType(name)
    found = machine()
    print(json.dumps(found))
    table = Table(options.minutes)
    if find_spec("keras") is not None:
        table.attempt("Keras", lambda: start_keras(options.device))
    for name in options.parts:
        needed = () if name == "embed" else ("keras",)
        table.attempt(name, lambda name=name: on_device(PARTS[name], table, options), *needed)
    made = {
        "machine": found,
        "photos": "drawn" if options.archive is None else options.archive.name,
        "seconds": round(time.perf_counter() - table.started, 1),
        "rows": table.rows,
    }
    print(json.dumps(made))
    if options.json is not None:
        options.json.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
