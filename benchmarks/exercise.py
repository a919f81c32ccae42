"""The well-known exercise, Keras' own way against ours, side by side on the same photos.

Three parts, each a table. Rounds alternate between the two ways, each measurement is a process of
its own, and medians are shown.

- augment: the exercise's augmentation alone, on photos in memory at 150x150.
- epoch: an epoch of the exercise's network on augmented photos, validation included. Keras' way is
  `flow_from_directory` of its ImageDataGenerator and `fit`, as everybody writes it; ours is
  `handful train --strategy augmented --recipe keras-tutorial`, which reads and decodes the photos
  once, before the epochs. The first epoch, in which TensorFlow traces, is left out of both.
- transfer: a head on a frozen Xception. Keras' way runs the body in every epoch: some epochs are
  timed and ten reckoned, start included. Ours is the whole process, from `python` to the report on
  disk, without cached embeddings; the one-time conversion of the network is timed apart.

    python benchmarks/exercise.py [cats_and_dogs_filtered.zip] [--weights xception.weights.h5]
        [--parts augment,epoch,transfer] [--rounds 3] [--epochs 3]
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from augmentation import time_keras, time_ours
from pipelines import EPOCHS_RECKONED, WEIGHTS, find_photos, machine, timed

PARTS = ("augment", "epoch", "transfer")
SIZE = 150
BATCH_SIZE = 64
# What the two ways were asked to differ by.
EPOCH_RATIO_ASKED = 0.65
WAITED_ASKED = 0.05
TRANSFER_RATIO_ASKED = 15


def unpack(archive: Path, folder: Path, num_photos: int | None) -> Path:
    """Unpack train/ and validation/; for a quick try, as many training photos and half of them."""
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    (root,) = (path.parent for path in folder.rglob("train") if path.is_dir())
    if num_photos is not None:
        for part, count in (("train", num_photos), ("validation", num_photos // 2)):
            classes = [path for path in (root / part).iterdir() if path.is_dir()]
            for path in classes:
                for extra in sorted(path.iterdir())[max(count // len(classes), 1) :]:
                    extra.unlink()
    return root


# --- what each process does ---


def augment(folder: Path, ours: bool, **_: Any) -> dict[str, Any]:
    """Augment the training photos once."""
    from handful.cores import available_cores
    from handful.data.decoding import DecodeSettings
    from handful.data.index import load_index
    from handful.training.batches import decode_images

    images = decode_images(load_index(folder / "train"), DecodeSettings(SIZE, "squash"))
    threads = available_cores()
    first = images[:BATCH_SIZE]
    if ours:
        time_ours(first, threads)
        seconds, alone = time_ours(images, threads), time_ours(images, 1)
        return {"rate": len(images) / seconds, "alone": len(images) / alone, "threads": threads}
    time_keras(first)
    return {"rate": len(images) / time_keras(images)}


def keras_epochs(folder: Path, epochs: int, **_: Any) -> dict[str, Any]:
    """Train the exercise's network on augmented photos, Keras' own way."""
    from handful.data.augmentation import EXERCISE_POLICY
    from handful.training.networks import build_scratch

    network = build_scratch((SIZE, SIZE, 3), 2)
    import keras
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    network.compile(keras.optimizers.Adam(5e-4), "binary_crossentropy", metrics=["accuracy"])
    policy = {
        name: getattr(EXERCISE_POLICY, name)
        for name in (
            "rotation_range",
            "width_shift_range",
            "height_shift_range",
            "shear_range",
            "zoom_range",
            "horizontal_flip",
            "fill_mode",
        )
    }
    train, validation = (
        ImageDataGenerator(rescale=1 / 255, **options).flow_from_directory(
            str(folder / part),
            target_size=(SIZE, SIZE),
            batch_size=BATCH_SIZE,
            class_mode="binary",
        )
        for part, options in (("train", policy), ("validation", {}))
    )
    return fit_timed(network, train, validation, epochs)


def fit_timed(network: Any, train: Any, validation: Any, epochs: int) -> dict[str, Any]:
    """Seconds of each epoch, validation included, and the last validation accuracy."""
    import keras

    ends = [time.perf_counter()]
    clock = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ends.append(time.perf_counter()))
    history = network.fit(
        train, validation_data=validation, epochs=epochs, callbacks=[clock], verbose=0
    ).history
    seconds = [after - before for before, after in pairwise(ends)]
    return {"epochs": seconds, "accuracy": history["val_accuracy"][-1]}


def our_epochs(folder: Path, epochs: int, **_: Any) -> dict[str, Any]:
    """Train the same network our way."""
    from handful.config import TrainConfig
    from handful.workflows.train import train

    config = TrainConfig(strategy="augmented", recipe="keras-tutorial", epochs=epochs)
    run = train(folder, config, use_cache=False, output=False)
    assert run.trained is not None
    history = run.trained.fitted.history
    return {
        "epochs": history["seconds"],
        "waited": history["waited_share"],
        "accuracy": history["val_accuracy"][-1],
        # The photos are read twice before the epochs: for near-duplicates, and to learn from.
        "before": run.seconds["index"]
        + run.seconds["decode"]
        + run.seconds["train"]
        - run.trained.fitted.seconds,
    }


def keras_transfer(folder: Path, epochs: int, weights: str, **_: Any) -> dict[str, Any]:
    """Train a head on a frozen Xception, Keras' own way: the body runs in every epoch."""
    started = time.perf_counter()
    import keras
    from keras import layers
    from keras.applications.xception import Xception, preprocess_input
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    body = Xception(weights=None, include_top=False, input_shape=(SIZE, SIZE, 3))
    body.load_weights(weights)
    body.trainable = False
    images = keras.Input((SIZE, SIZE, 3))
    features = layers.GlobalAveragePooling2D()(body(images, training=False))
    answer = layers.Dense(1, activation="sigmoid")(layers.Dropout(0.5)(features))
    network = keras.Model(images, answer)
    network.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy", metrics=["accuracy"])
    train, validation = (
        ImageDataGenerator(preprocessing_function=preprocess_input).flow_from_directory(
            str(folder / part),
            target_size=(SIZE, SIZE),
            batch_size=BATCH_SIZE,
            class_mode="binary",
        )
        for part in ("train", "validation")
    )
    ready = time.perf_counter() - started
    return {"ready": ready, **fit_timed(network, train, validation, epochs)}


WORKERS: dict[str, Callable[..., dict[str, Any]]] = {
    "augment-keras": lambda **options: augment(ours=False, **options),
    "augment-ours": lambda **options: augment(ours=True, **options),
    "epoch-keras": keras_epochs,
    "epoch-ours": our_epochs,
    "transfer-keras": keras_transfer,
}


# --- the tables ---


class Bench:
    """Photos and options that all measurements share.

    Args:
        folder: Unpacked photos, train/ and validation/.
        work: Folder for what runs write.
        options: The command line's.
    """

    def __init__(self, folder: Path, work: Path, options: argparse.Namespace) -> None:
        self.folder, self.work, self.options = folder, work, options
        self.cache = work / "cache"

    def measure(self, worker: str, epochs: int | None = None) -> dict[str, Any]:
        """Run a worker in a process of its own."""
        print(f"  {worker} ...", file=sys.stderr, flush=True)
        command = [sys.executable, __file__, "--worker", worker, "--folder", str(self.folder)]
        command += ["--epochs", str(epochs or self.options.epochs)]
        command += ["--weights", str(self.options.weights or "")]
        _, _, output = timed(command, self.cache)
        found: dict[str, Any] = json.loads(output.splitlines()[-1])
        return found

    def alternate(self, *workers: str) -> list[list[dict[str, Any]]]:
        """Measure several workers in turn; a list of the rounds for each."""
        rounds = [[self.measure(name) for name in workers] for _ in range(self.options.rounds)]
        return [list(column) for column in zip(*rounds, strict=True)]


def median(rows: list[dict[str, Any]], name: str) -> float:
    """Median over the rounds of a figure."""
    return statistics.median(row[name] for row in rows)


def later_epochs(rows: list[dict[str, Any]], name: str = "epochs") -> float:
    """Median over the rounds of the median epoch, the first of each round left out."""
    return statistics.median(statistics.median(row[name][1:]) for row in rows)


def print_augment(bench: Bench) -> None:
    """Table of augmentation alone."""
    theirs, ours = bench.alternate("augment-keras", "augment-ours")
    rate, alone, all_threads = (
        median(theirs, "rate"),
        median(ours, "alone"),
        median(ours, "rate"),
    )
    threads = ours[0]["threads"]
    print(f"\n| augmenting at {SIZE}x{SIZE} | photos/s | ratio |\n|---|---|---|")
    print(f"| Keras' ImageDataGenerator | {rate:,.0f} | 1.0 |")
    print(f"| handful, 1 thread | {alone:,.0f} | {alone / rate:.1f} |")
    print(f"| handful, {threads} threads | {all_threads:,.0f} | {all_threads / rate:.1f} |")


def print_epoch(bench: Bench) -> None:
    """Table of an augmented epoch."""
    theirs, ours = bench.alternate("epoch-keras", "epoch-ours")
    slow, fast = later_epochs(theirs), later_epochs(ours)
    waited = later_epochs(ours, "waited")
    print("\n| one augmented epoch, validation included | seconds | ratio | spent waiting |")
    print("|---|---|---|---|")
    print(f"| Keras' generators and `fit` | {slow:.1f} | 1.00 | |")
    print(
        f"| `handful train --strategy augmented --recipe keras-tutorial` | {fast:.1f} | "
        f"{fast / slow:.2f} (asked: at most {EPOCH_RATIO_ASKED}) | "
        f"{100 * waited:.1f} % (asked: under {100 * WAITED_ASKED:.0f} %) |"
    )
    print(f"\nReading and decoding before the epochs: {median(ours, 'before'):.1f} s, once.")


def print_transfer(bench: Bench) -> None:
    """Table of a head on a frozen Xception."""
    weights, photos = str(bench.options.weights), str(bench.folder)
    command = [sys.executable, "-m", "handful", "train", photos, "--json", "--no-cache"]
    command += ["--strategy", "transfer", "--recipe", "keras-tutorial", "--weights", weights]
    print("  converting ...", file=sys.stderr, flush=True)
    # A first process converts the network, as the user's first one does.
    first, _, _ = timed([*command, "-o", str(bench.work / "first")], bench.cache)
    theirs, ours = [], []
    for number in range(bench.options.rounds):
        row = bench.measure("transfer-keras", max(bench.options.epochs, 2))
        begun, *later = row["epochs"]
        row["ten"] = row["ready"] + begun + (EPOCHS_RECKONED - 1) * statistics.median(later)
        theirs.append(row)
        print("  transfer-ours ...", file=sys.stderr, flush=True)
        seconds, _, output = timed([*command, "-o", str(bench.work / f"run{number}")], bench.cache)
        ours.append({"seconds": seconds, "accuracy": json.loads(output)["accuracy"]})
    slow, fast = median(theirs, "ten"), median(ours, "seconds")
    print("\n| a head on a frozen Xception | seconds | times faster | validation accuracy |")
    print("|---|---|---|---|")
    print(
        f"| Keras' way, {EPOCHS_RECKONED} epochs ({len(theirs[0]['epochs'])} timed) | {slow:.0f} | "
        f"1 | {median(theirs, 'accuracy'):.4f} |"
    )
    print(
        f"| `handful train --strategy transfer --recipe keras-tutorial` | {fast:.1f} | "
        f"{slow / fast:.1f} (asked: at least {TRANSFER_RATIO_ASKED}) | "
        f"{median(ours, 'accuracy'):.4f} |"
    )
    print(
        f"\nA first process, which converts the network once: {first:.1f} s, "
        f"{slow / first:.1f} times faster."
    )


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, nargs="?", help="cats_and_dogs_filtered.zip")
    parser.add_argument("--parts", default=",".join(PARTS), help="which tables, with commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--epochs", type=int, default=3, help="trained or timed in a round, 2 or more"
    )
    parser.add_argument("--photos", type=int, help="training photos to take, for a quick try")
    parser.add_argument(
        "--weights",
        type=Path,
        default=WEIGHTS if WEIGHTS.exists() else None,
        help="Xception's weights without the top; the part transfer needs them",
    )
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.parts = options.parts.split(",")
    if wrong := [name for name in options.parts if name not in PARTS]:
        parser.error(f"--parts has {', '.join(wrong)}; expected {', '.join(PARTS)}")
    if options.epochs < 2:
        parser.error("--epochs is below 2; the first epoch is left out")
    return options


def main() -> None:
    """Measure and print the tables."""
    options = parse()
    if options.worker:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        warnings.simplefilter("ignore")
        made = WORKERS[options.worker](
            folder=options.folder, epochs=options.epochs, weights=str(options.weights or "")
        )
        print(json.dumps(made))
        return
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        folder = unpack(find_photos(options.archive), work / "photos", options.photos)
        bench = Bench(folder, work, options)
        print(machine())
        if "augment" in options.parts:
            print_augment(bench)
        if "epoch" in options.parts:
            print_epoch(bench)
        if "transfer" in options.parts and options.weights is None:
            print("\nThe part transfer is left out: give Xception's weights with --weights.")
        elif "transfer" in options.parts:
            print_transfer(bench)


if __name__ == "__main__":
    main()
