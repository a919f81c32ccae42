"""Photos -> minibatches for training: decoded once, augmented ahead of the step in threads."""

import functools
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.augmentation_policy import AugmentationPolicy
from handful.cores import available_cores
from handful.data.augmentation import apply_views, draw_views
from handful.data.decoding import DecodeSettings, decode
from handful.data.index import ImageIndex, load_index
from handful.errors import DataError, UsageError
from handful.features.extractor import FeatureExtractor
from handful.features.keras_runtime import prepare_keras, require_keras
from handful.files.tensors import empty_array
from handful.forks import start_anew_in_children
from handful.reporting import Progress

Teacher = Callable[[NDArray[np.uint8]], NDArray[np.float64]]
LABEL_KINDS = ("binary", "sparse", "categorical")


def decode_images(
    index: ImageIndex,
    settings: DecodeSettings,
    *,
    memory_bytes: int | None = None,
    progress: Progress | None = None,
) -> NDArray[np.uint8]:
    """Decode every photo of an index once, in threads.

    Args:
        index: N photos.
        settings: How pictures are decoded to S x S.
        memory_bytes: A result larger than this is a memory map of a temporary file, which goes
            when the array does; None takes 1 GiB.
        progress: Called with (photos done, photos in all).

    Returns:
        (N, S, S, 3) uint8 RGB.

    Raises:
        DataError: When photos cannot be decoded; the first five are named.
    """
    shape = (len(index), settings.image_size, settings.image_size, 3)
    images = empty_array(shape, np.uint8, memory_bytes)
    problems: list[str] = []

    def fill(row: int) -> None:
        try:
            images[row] = decode(index.read(row), settings)
        except DataError as error:
            problems.append(f"{index.paths[row]} {error}")

    with ThreadPoolExecutor(available_cores(), thread_name_prefix="decode") as pool:
        for done, _ in enumerate(pool.map(fill, range(len(index))), start=1):
            if progress is not None:
                progress(done, len(index))
    if problems:
        raise DataError(
            f"{len(problems)} photos of {index.source} cannot be decoded: "
            f"{'; '.join(sorted(problems)[:5])}. Remove them, or see `handful check`."
        )
    return images


@dataclass(frozen=True, eq=False)
class _Plan:
    """One epoch: its number, the order of the pictures, and the views' height and width."""

    epoch: int
    order: NDArray[np.int64]
    view_size: tuple[int, int] | None


class BatchSource:
    """Minibatches of pictures (or of feature vectors) of one epoch after the other.

    Batch n of epoch e is a function of the seed, e and n alone, whichever thread makes it and
    whatever was made before: training that goes on after a break sees the same pictures.

    Args:
        images: (N, H, W, 3) uint8 pictures; or (N, D) float32 features; or (N, V, D) features of
            V views of each picture, of which one is drawn for each batch, or the first where
            there is no shuffling.
        labels: (N,) int64 class numbers.
        num_classes: Number of classes C.
        batch_size: Pictures a batch B; the last of an epoch may have fewer.
        policy: What to draw views from; None takes the pictures as they are.
        label_kind: "binary" gives (B,) float32 0 or 1, "sparse" (B,) int64, "categorical"
            (B, C) float32.
        shuffle: Draw the order of each epoch anew; else the order is that of the pictures.
        drop_last: Leave out what does not fill a batch.
        scale: Factor on the values.
        offset: Added to them then.
        gray: Give one channel, the mean of the three, instead of three.
        seed: Seed of order and views.
        teacher: Gives the probabilities (B, C) of uint8 views (B, h, w, 3), which take the place
            of the labels; called in several threads at once.
        threads: Threads that work ahead; None takes as many as there are cores.
        rows: (n,) int64 pictures to take, one for each label, of those in `images`, which are not
            copied; None takes all.
        lower: The part of a network that is not trained: it embeds the uint8 views, and batches
            are (B, D); called in several threads at once. None gives the views themselves.

    Raises:
        ValueError: When arguments do not fit each other.
    """

    def __init__(
        self,
        images: NDArray[Any],
        labels: NDArray[np.int64],
        num_classes: int,
        batch_size: int = 64,
        *,
        policy: AugmentationPolicy | None = None,
        label_kind: str = "binary",
        shuffle: bool = True,
        drop_last: bool = False,
        scale: float = 1.0,
        offset: float = 0.0,
        gray: bool = False,
        seed: int = 0,
        teacher: Teacher | None = None,
        threads: int | None = None,
        rows: NDArray[np.int64] | None = None,
        lower: FeatureExtractor | None = None,
    ) -> None:
        count = len(images) if rows is None else len(rows)
        if count != len(labels) or not count:
            raise UsageError(
                f"There are {count} photos and {len(labels)} labels; expected one label "
                "for each of 1 or more photos."
            )
        if label_kind not in LABEL_KINDS:
            raise UsageError(f"labels is {label_kind!r}; expected one of {', '.join(LABEL_KINDS)}.")
        if label_kind == "binary" and num_classes != 2:
            raise UsageError(
                f'labels is "binary" and there are {num_classes} classes; expected 2, or "sparse" '
                'or "categorical".'
            )
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}; expected 1 or more.")
        self.images, self.labels, self.num_classes = images, labels, num_classes
        self.batch_size, self.policy, self.label_kind = batch_size, policy, label_kind
        self.shuffle, self.scale, self.gray, self.seed = shuffle, scale, gray, seed
        self.offset, self.teacher, self.lower = offset, teacher, lower
        self.rows = np.arange(count) if rows is None else rows
        whole = count // batch_size
        self.drop_last = drop_last and whole > 0
        self.num_batches = whole if self.drop_last else math.ceil(count / batch_size)
        self.threads = threads or available_cores()
        self.waited_seconds = 0.0
        # Keras reads ahead in a thread of its own, which may still ask when an epoch has ended.
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._pending: dict[int, Future[tuple[NDArray[Any], NDArray[Any]]]] = {}
        start_anew_in_children(self)
        self.start_epoch(0)

    def __len__(self) -> int:
        return self.num_batches

    def start_epoch(self, epoch: int, image_size: int | None = None) -> None:
        """Go to an epoch.

        Args:
            epoch: Number of the epoch, 0 or more.
            image_size: Side of the views in this epoch in pixels; None takes the pictures' own.
        """
        order = np.arange(len(self.rows))
        if self.shuffle:
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self.rows))
        view_size = None if image_size is None else (image_size, image_size)
        with self._lock:
            self._cancel()
            self._plan = _Plan(epoch, order, view_size)
            self.waited_seconds = 0.0

    @property
    def epoch(self) -> int:
        """Number of the present epoch."""
        return self._plan.epoch

    def batch(self, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Take a batch, and have the next ones made meanwhile; any thread may.

        Args:
            number: 0 to `len(self) - 1`.

        Returns:
            Pictures (B, h, w, 3) float32 and labels, see `label_kind`.

        Raises:
            IndexError: When there is no such batch.
        """
        if not 0 <= number < self.num_batches:
            raise IndexError(f"batch {number} of {self.num_batches}")
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="augment")
            for ahead in range(number, min(number + 1 + 2 * self.threads, self.num_batches)):
                if ahead not in self._pending:
                    self._pending[ahead] = self._pool.submit(self._make, ahead, self._plan)
            for passed in [key for key in self._pending if key < number]:
                self._pending.pop(passed).cancel()
            future = self._pending.pop(number)
        started = time.perf_counter()
        made = future.result()
        self.waited_seconds += time.perf_counter() - started
        return made

    def signature(self) -> tuple[tuple[tuple[int, ...], Any], tuple[tuple[int, ...], Any]]:
        """Shape and dtype of a batch's pictures and of its labels, in this epoch.

        Returns:
            Two pairs; the first axis is the batch's.
        """
        shape: tuple[int, ...] = (self.batch_size, self.images.shape[-1])
        if self.lower is not None:
            shape = (self.batch_size, self.lower.embedding_dim)
        elif self.images.ndim == 4:
            height, width = self._plan.view_size or self.images.shape[1:3]
            shape = (self.batch_size, height, width, 1 if self.gray else 3)
        classes = (self.num_classes,) if self.label_kind == "categorical" else ()
        dtype = np.int64 if self.label_kind == "sparse" else np.float32
        return (shape, np.float32), ((self.batch_size, *classes), dtype)

    def start_anew(self) -> None:
        """Start threads anew in a forked process: the parent's are not in it."""
        self._lock, self._pool, self._pending = threading.Lock(), None, {}

    def close(self) -> None:
        """End the threads; the source can be used again and starts new ones."""
        with self._lock:
            self._cancel()
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def _cancel(self) -> None:
        for future in self._pending.values():
            future.cancel()
        self._pending = {}

    def _make(self, number: int, plan: "_Plan") -> tuple[NDArray[Any], NDArray[Any]]:
        rows = plan.order[number * self.batch_size : (number + 1) * self.batch_size]
        rng = np.random.default_rng((self.seed, plan.epoch, number))
        taken = self.rows[rows]
        if self.images.ndim == 3:
            num_views = self.images.shape[1] if self.shuffle else 1
            images = self.images[taken, rng.integers(0, num_views, len(rows))]
        else:
            images = self.images[taken]
        if self.policy is not None:
            height, width = images.shape[1:3]
            views = draw_views(self.policy, len(rows), height, width, rng)
            images = apply_views(images, views, self.policy, plan.view_size)
        taught = None if self.teacher is None else self.teacher(images)
        if self.lower is not None:
            return self.lower.embed(images), self._coded(self.labels[rows])
        if self.gray:
            images = images.mean(axis=3, keepdims=True, dtype=np.float32)
        values = np.multiply(images, np.float32(self.scale), dtype=np.float32)
        if self.offset:
            values += np.float32(self.offset)
        if taught is None:
            return values, self._coded(self.labels[rows])
        return values, (taught[:, 1] if self.label_kind == "binary" else taught).astype(np.float32)

    def _coded(self, labels: NDArray[np.int64]) -> NDArray[Any]:
        if self.label_kind == "binary":
            return labels.astype(np.float32)
        if self.label_kind == "sparse":
            return labels
        return np.eye(self.num_classes, dtype=np.float32)[labels]


@functools.cache
def _dataset_class() -> Any:
    """A `keras.utils.PyDataset` over a `BatchSource`; made late, for it needs Keras."""
    prepare_keras()
    import keras

    class ImageBatches(keras.utils.PyDataset):  # type: ignore[misc]
        """Minibatches that any Keras model's `fit` takes.

        `for images, labels in batches` goes through one epoch, `next(batches)` on and on.
        """

        def __init__(self, source: BatchSource, index: ImageIndex) -> None:
            # With two workers Keras leaves TensorFlow's tuning of data sets off: it would have each
            # epoch wait for up to ten seconds for a thread that sleeps.
            super().__init__(workers=2)
            self.source, self._next = source, (0, 0)
            self.filenames, self.class_names = list(index.paths), list(index.class_names)
            self.class_indices = {name: place for place, name in enumerate(index.class_names)}
            self.classes, self.samples = source.labels, len(source.labels)
            self.batch_size, self.num_classes = source.batch_size, source.num_classes

        def __repr__(self) -> str:
            return (
                f"<{self.samples:,} photos of {self.num_classes} classes in {len(self):,} batches "
                f"of {self.batch_size}>"
            )

        def __len__(self) -> int:
            return len(self.source)

        def __getitem__(self, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
            return self.source.batch(number)

        def __iter__(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
            try:
                for number in range(len(self)):
                    yield self[number]
            finally:  # who leaves early sees other views next time, too
                self.on_epoch_end()

        def __next__(self) -> tuple[NDArray[Any], NDArray[Any]]:
            epoch, number = self._next
            if epoch != self.source.epoch:  # `fit` or a loop went on meanwhile
                epoch, number = self.source.epoch, 0
            made = self[number]
            if number + 1 == len(self):
                self.on_epoch_end()
            self._next = (epoch, number + 1)
            return made

        def on_epoch_end(self) -> None:
            self.source.start_epoch(self.source.epoch + 1)

    return ImageBatches


def epoch_dataset(source: BatchSource, num_batches: int | None = None) -> Any:
    """The batches of a source's present epoch, for Keras' `fit` and `evaluate`.

    Args:
        source: The batches; the caller starts its epochs.
        num_batches: The first ones only; None takes all.

    Returns:
        A `tf.data.Dataset` where Keras computes with TensorFlow, else a `keras.utils.PyDataset`.
    """
    prepare_keras()
    import keras

    count = len(source) if num_batches is None else min(num_batches, len(source))
    if keras.backend.backend() != "tensorflow":
        return _epoch_class()(source, count)
    import tensorflow as tf

    signature = tuple(
        tf.TensorSpec((None, *shape[1:]), dtype) for shape, dtype in source.signature()
    )
    dataset = tf.data.Dataset.from_generator(
        lambda: map(source.batch, range(count)), output_signature=signature
    )
    options = tf.data.Options()
    # There is nothing to tune, and the end of an epoch would wait for the tuner to wake up: up to
    # ten seconds each time.
    options.autotune.enabled = False
    options.threading.private_threadpool_size = 1
    dataset = dataset.prefetch(2).with_options(options)
    return dataset.apply(tf.data.experimental.assert_cardinality(count))


@functools.cache
def _epoch_class() -> Any:
    import keras

    class EpochBatches(keras.utils.PyDataset):  # type: ignore[misc]
        """One epoch's batches."""

        def __init__(self, source: BatchSource, count: int) -> None:
            super().__init__()
            self.source, self.count = source, count

        def __len__(self) -> int:
            return self.count

        def __getitem__(self, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
            return self.source.batch(number)

    return EpochBatches


def batches(
    photos: ImageIndex | str | Path,
    image_size: tuple[int, int] = (150, 150),
    batch_size: int = 64,
    *,
    policy: AugmentationPolicy | None = None,
    labels: str = "binary",
    shuffle: bool = True,
    resize: str = "squash",
    seed: int = 0,
) -> Any:
    """Make minibatches for any Keras model's `fit`: the successor of `ImageDataGenerator`.

    `ImageDataGenerator(...).flow_from_directory(folder)`, which Keras keeps for old code alone, is
    `batches(folder, policy=AugmentationPolicy(...))`, with parameters of the same names;
    docs/keras.md has each of them, and those of `image_dataset_from_directory`.

    Photos are decoded once, views are made in threads ahead of the step, anew in each epoch. For
    validation give no policy but, where values are to be rescaled, one with `rescale` alone.
    Keras' `fit` draws an order of the batches of its own; `fit(..., shuffle=False)` leaves theirs,
    and the same seed gives the same training.

    Args:
        photos: Photos of one part, such as `split.part("train")`; or a folder, zip or CSV.
        image_size: Height and width in pixels; they must be equal.
        batch_size: Photos a batch B.
        policy: What to draw views from; its `rescale` is applied too. None gives the photos,
            values 0 to 255.
        labels: "binary" gives (B,) float32, "sparse" (B,) int64, "categorical" (B, C) float32.
        shuffle: Draw the order of each epoch anew.
        resize: What becomes of the proportions, see `DecodeSettings`.
        seed: Seed of order and views.

    Returns:
        A `keras.utils.PyDataset` of (B, H, W, 3) float32 and labels: for `fit`, `evaluate` and
        `predict`; `for images, labels in it` is one epoch, `next(it)` goes on epoch after epoch.
        `len(it)` counts batches; `class_indices`, `classes`, `filenames`, `samples`,
        `class_names`, `num_classes` and `batch_size` are as in Keras.

    Raises:
        MissingExtraError: When Keras, or what it computes with, is not installed.
        DataError: When photos cannot be used.
        ValueError: When an argument is out of its range.

    Example:
        ```python
        policy = AugmentationPolicy(rotation_range=40, horizontal_flip=True, rescale=1 / 255)
        train = batches("photos/train", batch_size=20, policy=policy)
        images, labels = next(train)
        model.fit(train, epochs=20)
        ```
    """
    require_keras("handful.batches")
    height, width = image_size
    if height != width:
        raise UsageError(f"`image_size` is {image_size}; expected equal height and width.")
    index = photos if isinstance(photos, ImageIndex) else load_index(photos)
    parts = sorted(set(index.splits))
    if len(parts) > 1:
        raise UsageError(
            f"{index.source} comes split into {', '.join(parts)}; give one part, such as "
            'split_index(load_index(photos)).part("train").'
        )
    images = decode_images(index, DecodeSettings(height, resize))
    still = policy is None or policy.changes_nothing
    source = BatchSource(
        images,
        index.labels,
        len(index.class_names),
        batch_size,
        policy=None if still else policy,
        label_kind=labels,
        shuffle=shuffle,
        scale=1.0 if policy is None or policy.rescale is None else policy.rescale,
        seed=seed,
    )
    return _dataset_class()(source, index)
