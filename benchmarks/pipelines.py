"""Time the well-known exercise's pipeline against `handful train`, on the same photos.

The exercise: Keras' legacy ImageDataGenerator at 150x150 feeds a frozen Xception with a one-neuron
head, trained for ten epochs. Two epochs are timed (validation included) and ten reckoned from the
second, so that start-up and graph building count once. handful: the whole process, from `python`
to the report on disk, without cached embeddings; then again with them; then one photo predicted.
Each handful command runs several times; medians are given. The one-time conversion of the network
is timed apart.

    python benchmarks/pipelines.py [cats_and_dogs_filtered.zip] [--weights xception.weights.h5]
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

EPOCHS_TIMED = 2
EPOCHS_RECKONED = 10
WEIGHTS = Path("../shared/weights/xception_imagenet_notop.weights.h5")


def find_photos(given: Path | None) -> Path:
    """The photos given, or those that `handful demo` would take."""
    if given is not None:
        return given
    from handful.datasets.registry import find_demo_data
    from handful.environment import cache_folder

    return find_demo_data(None, cache_folder()).path


def machine() -> str:
    """Processor, cores used and system, for the head of a table."""
    names = (
        [
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
        if Path("/proc/cpuinfo").exists()
        else []
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{names[0] if names else platform.machine()}, {cores} cores, {platform.system()}"


def run_exercise(folder: Path, weights: str) -> None:
    """Train the exercise's network for two epochs and print the seconds of each as JSON."""
    started = time.perf_counter()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    body = keras.applications.Xception(weights=None, include_top=False, input_shape=(150, 150, 3))
    if weights:
        body.load_weights(weights)
    body.trainable = False
    inputs = keras.Input((150, 150, 3))
    features = keras.layers.Flatten()(body(inputs, training=False))
    outputs = keras.layers.Dense(1, activation="sigmoid")(features)
    model = keras.Model(inputs, outputs)
    model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["accuracy"])
    flows = [
        ImageDataGenerator(rescale=1 / 255).flow_from_directory(
            str(folder / part), target_size=(150, 150), batch_size=20, class_mode="binary"
        )
        for part in ("train", "validation")
    ]
    ready = time.perf_counter() - started
    seconds, accuracies = [], []
    for _ in range(EPOCHS_TIMED):
        begun = time.perf_counter()
        history = model.fit(flows[0], validation_data=flows[1], epochs=1, verbose=0)
        seconds.append(time.perf_counter() - begun)
        accuracies.append(history.history["val_accuracy"][-1])
    print(json.dumps({"ready": ready, "epochs": seconds, "accuracies": accuracies}))


def timed(command: list[str], cache: Path) -> tuple[float, float, str]:
    """Seconds, peak memory in MB and standard output of a whole process."""
    environment = {**os.environ, "HANDFUL_CACHE": str(cache)}
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - begun
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} exited with {process.returncode}")
    return seconds, usage.ru_maxrss / 1024, output


def measure(photos: Path, work: Path, repeats: int) -> dict[str, object]:
    """Medians of the handful commands."""
    cache = work / "cache"
    handful = [sys.executable, "-m", "handful"]
    first, _, output = timed(
        [*handful, "train", str(photos), "--json", "-o", str(work / "first")], cache
    )
    conversion = json.loads(output)["seconds"]["convert"]
    bf16 = ["--precision", "bf16"]
    timed([*handful, "train", str(photos), *bf16, "-o", str(work / "first16")], cache)
    rows: dict[str, list[float]] = {"cold": [], "warm": [], "bf16": [], "predict": []}
    memory, results = 0.0, {}
    for number in range(repeats):
        for name, options in (("cold", []), ("warm", []), ("bf16", bf16)):
            if name != "warm":
                for leftover in cache.glob("embeddings.sqlite*"):
                    leftover.unlink()
            run = work / f"{name}{number}"
            command = [*handful, "train", str(photos), "--json", "-o", str(run), *options]
            seconds, megabytes, output = timed(command, cache)
            rows[name].append(seconds)
            memory = max(memory, megabytes)
            results[name] = json.loads(output)
        picture = next((work / "photos").rglob("*.jpg"))
        seconds, _, _ = timed([*handful, "predict", str(work / "cold0"), str(picture)], cache)
        rows["predict"].append(seconds)
    return {
        "first run": first,
        "conversion": conversion,
        "peak MB": memory,
        "accuracy": results["cold"]["accuracy"],
        "bf16 accuracy": results["bf16"]["accuracy"],
        "phases": results["cold"]["seconds"],
        **{name: statistics.median(values) for name, values in rows.items()},
    }


def main() -> None:
    """Run both and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", type=Path, nargs="?", help="cats_and_dogs_filtered.zip")
    parser.add_argument(
        "--weights",
        default=str(WEIGHTS) if WEIGHTS.exists() else "",
        help="Xception's weights; random without, which takes the same time",
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--skip-exercise", action="store_true")
    parser.add_argument("--exercise", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.exercise:
        run_exercise(arguments.exercise, arguments.weights)
        return
    arguments.photos = find_photos(arguments.photos)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        with zipfile.ZipFile(arguments.photos) as archive:
            archive.extractall(work / "photos")
        (folder,) = (path.parent for path in (work / "photos").rglob("train"))
        ours = measure(arguments.photos, work, arguments.repeats)
        ten = None
        if not arguments.skip_exercise:
            command = [sys.executable, __file__, str(folder), "--exercise", str(folder)]
            command += ["--weights", arguments.weights]
            output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            theirs = json.loads(output.splitlines()[-1])
            first, second = theirs["epochs"]
            ten = theirs["ready"] + first + (EPOCHS_RECKONED - 1) * second
    print(machine())
    print("| what | seconds | note |")
    print("|---|---|---|")
    if ten is not None:
        print(
            f"| the exercise, ten epochs | {ten:.0f} | epochs timed: {first:.1f}, {second:.1f}; "
            f"accuracy {theirs['accuracies'][-1]:.3f} |"
        )
    faster = f"{ten / ours['cold']:.0f} times faster; " if ten else ""
    print(
        f"| `handful train`, nothing cached | {ours['cold']:.2f} | {faster}"
        f"accuracy {ours['accuracy']:.4f}; peak {ours['peak MB']:.0f} MB |"
    )
    faster = f"{ten / ours['bf16']:.0f} times faster; " if ten else ""
    print(
        f"| the same with `--precision bf16` | {ours['bf16']:.2f} | {faster}"
        f"accuracy {ours['bf16 accuracy']:.4f} |"
    )
    print(f"| converting the network, once | {ours['conversion']:.2f} | |")
    print(f"| `handful train` again, cached | {ours['warm']:.2f} | |")
    print(f"| `handful predict`, one photo | {ours['predict']:.2f} | |")
    print(f"\nphases of the uncached run: {ours['phases']}")


if __name__ == "__main__":
    main()
