import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import draw_photo, write_photo
from handful.augmentation_policy import AugmentationPolicy
from handful.data.augmentation import EXERCISE_POLICY
from handful.data.decoding import DecodeSettings, decode
from handful.data.index import ImageIndex, load_index
from handful.data.splits import assign_parts
from handful.errors import DataError
from handful.training.batches import BatchSource, batches, decode_images, epoch_dataset

SETTINGS = DecodeSettings(48, "squash")


@pytest.fixture(scope="module")
def index(photo_folder: Path) -> ImageIndex:
    return load_index(photo_folder)


def source(index: ImageIndex, **options: object) -> BatchSource:
    images = decode_images(index, SETTINGS)
    return BatchSource(images, index.labels, 2, 10, policy=EXERCISE_POLICY, **options)  # type: ignore[arg-type]


def epoch_of(made: BatchSource, epoch: int, size: int | None = None) -> list[np.ndarray]:
    made.start_epoch(epoch, size)
    return [made.batch(number)[0] for number in range(len(made))]


def test_photos_are_decoded_in_order(index: ImageIndex) -> None:
    images = decode_images(index, SETTINGS)
    assert images.shape == (48, 48, 48, 3) and images.dtype == np.uint8
    assert np.array_equal(images[17], decode(index.read(17), SETTINGS))


def test_large_sets_lie_in_a_memory_map(index: ImageIndex) -> None:
    mapped = decode_images(index, SETTINGS, memory_bytes=1000)
    assert isinstance(mapped, np.memmap)
    assert np.array_equal(mapped, decode_images(index, SETTINGS))


def test_photos_that_cannot_be_decoded_are_named(tmp_path: Path) -> None:
    for kind in ("a", "b"):
        write_photo(tmp_path / kind / "1.jpg", draw_photo("round", 1))
    whole = (tmp_path / "a" / "1.jpg").read_bytes()
    (tmp_path / "a" / "2.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"1 photos of .* cannot be decoded: a/2\.jpg "):
        decode_images(load_index(tmp_path), SETTINGS)


def test_a_batch_is_a_function_of_seed_epoch_and_number(index: ImageIndex) -> None:
    first, again = source(index, threads=1), source(index, threads=3)
    expected = epoch_of(first, 2)
    again.start_epoch(0)
    again.batch(3)
    assert all(map(np.array_equal, epoch_of(again, 2), expected))
    assert not np.array_equal(epoch_of(first, 3)[0], expected[0])
    other = epoch_of(source(index, seed=1), 2)
    assert not np.array_equal(other[0], expected[0])


def test_asking_while_the_epoch_changes_mixes_nothing_up(index: ImageIndex) -> None:
    made = source(index)
    expected = [epoch_of(made, epoch) for epoch in range(6)]
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            made.batch(0)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(3):
            for epoch in range(6):
                assert all(map(np.array_equal, epoch_of(made, epoch), expected[epoch]))
    finally:
        stop.set()
        thread.join()
    made.close()


def test_every_photo_comes_once_an_epoch(index: ImageIndex) -> None:
    values = np.arange(48, dtype=np.float32)[:, None]
    made = BatchSource(values, index.labels, 2, 10, seed=3)
    seen = np.concatenate(epoch_of(made, 1))[:, 0]
    assert len(made) == 5 and sorted(seen) == list(range(48)) and list(seen) != sorted(seen)
    assert len(BatchSource(values, index.labels, 2, 10, drop_last=True)) == 4
    assert len(BatchSource(values[:3], index.labels[:3], 2, 10, drop_last=True)) == 1
    still = BatchSource(values, index.labels, 2, 10, shuffle=False)
    assert np.array_equal(np.concatenate(epoch_of(still, 5)), values)


def test_of_several_views_one_is_drawn(index: ImageIndex) -> None:
    values = np.arange(48, dtype=np.float32)[:, None, None] + np.array([[[0.0], [0.5]]])
    made = BatchSource(values.astype(np.float32), index.labels, 2, 10)
    seen = np.concatenate(epoch_of(made, 0))[:, 0]
    assert sorted(np.floor(seen)) == list(range(48)) and 10 < (seen % 1 > 0).sum() < 38
    assert not np.array_equal(np.sort(np.concatenate(epoch_of(made, 1))[:, 0]), np.sort(seen))
    still = BatchSource(values.astype(np.float32), index.labels, 2, 10, shuffle=False)
    assert np.array_equal(np.concatenate(epoch_of(still, 1)), values[:, 0])


def test_labels_come_in_three_kinds(index: ImageIndex) -> None:
    images = decode_images(index, SETTINGS)
    for kind, dtype, shape in (
        ("binary", np.float32, (10,)),
        ("sparse", np.int64, (10,)),
        ("categorical", np.float32, (10, 2)),
    ):
        made = BatchSource(images, index.labels, 2, 10, shuffle=False, label_kind=kind)
        labels = made.batch(4 - 1)[1]
        assert labels.dtype == dtype and labels.shape == shape
        number = labels.argmax(axis=1) if labels.ndim == 2 else labels
        assert np.array_equal(number, index.labels[30:40])


def test_views_have_the_asked_size_scale_and_channels(index: ImageIndex) -> None:
    made = source(index, scale=1 / 255, gray=True)
    (first, *_) = epoch_of(made, 0, 32)
    assert first.shape == (10, 32, 32, 1) and first.dtype == np.float32
    assert 0 <= first.min() and 0.3 < first.max() <= 1
    assert made.waited_seconds > 0


@pytest.mark.slow
def test_keras_generators_shapes(photo_folder: Path, index: ImageIndex) -> None:
    policy = AugmentationPolicy(rotation_range=40, horizontal_flip=True, rescale=1 / 255)
    part = assign_parts(index, ()).part("train")
    made = batches(part, image_size=(150, 150), batch_size=20, policy=policy)
    images, labels = next(iter(made))
    assert images.shape == (20, 150, 150, 3) and images.dtype == np.float32
    assert images.max() <= 1 and set(labels) == {0.0, 1.0}
    plain, _ = next(iter(batches(photo_folder, (48, 48), 48, shuffle=False)))
    assert np.array_equal(plain, decode_images(index, SETTINGS))
    rescaled = batches(
        photo_folder, (48, 48), 48, shuffle=False, policy=AugmentationPolicy(rescale=2)
    )
    assert np.array_equal(next(iter(rescaled))[0], 2 * plain)


@pytest.mark.slow
def test_batches_are_as_keras_iterators_were(photo_folder: Path, index: ImageIndex) -> None:
    policy = AugmentationPolicy(rotation_range=40)
    made, again = (batches(photo_folder, (32, 32), 20, policy=policy, seed=4) for _ in range(2))
    assert repr(made) == "<48 photos of 2 classes in 3 batches of 20>" and len(made) == 3
    assert made.class_indices == {"round": 0, "square": 1} and made.samples == 48
    assert np.array_equal(made.classes, index.labels) and made.filenames == list(index.paths)
    assert (made.batch_size, made.num_classes, made.class_names) == (20, 2, ["round", "square"])
    # A loop is one epoch, and the next one another; `next` knows no end.
    epochs = [[images for images, _ in made] for _ in range(3)]
    assert [[len(images) for images in epoch] for epoch in epochs] == [[20, 20, 8]] * 3
    assert not np.array_equal(epochs[0][0], epochs[1][0])
    endless = [next(again)[0] for _ in range(9)]
    assert all(map(np.array_equal, endless, (one for epoch in epochs for one in epoch)))
    first, other = next(iter(made))[0], next(iter(made))[0]
    assert first.shape == (20, 32, 32, 3) and not np.array_equal(first, other)


@pytest.mark.slow
def test_next_goes_on_where_fit_ended(index: ImageIndex) -> None:
    import keras

    made = batches(index, (32, 32), 20)
    model = keras.Sequential(
        [keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    model.compile(keras.optimizers.SGD(0.0), "mse")
    next(made)
    model.fit(made, epochs=2, verbose=0)
    epoch = made.source.epoch
    expected = made[0][0]
    assert epoch >= 2 and np.array_equal(next(made)[0], expected)
    assert model.predict(made, verbose=0).shape == (48, 1)


@pytest.mark.slow
def test_any_keras_model_can_be_fitted(index: ImageIndex) -> None:
    import keras

    made = batches(index, (48, 48), 16, policy=AugmentationPolicy(rescale=1 / 255))
    layers = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1, activation="sigmoid")]
    model = keras.Sequential([keras.Input((48, 48, 3)), *layers])
    model.compile(keras.optimizers.Adam(0.3), "binary_crossentropy")
    losses = model.fit(made, epochs=12, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * max(losses) and made.source.epoch >= 12


@pytest.mark.slow
def test_keras_sees_every_batch_of_an_epoch_once(photo_folder: Path) -> None:
    import keras

    values = np.arange(100, dtype=np.float32)[:, None]
    labels = (np.arange(100) >= 50).astype(np.int64)
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(inputs))
    # Says 1 from 30 on: right for 80 of 100, in each order of the batches.
    model.layers[-1].set_weights([np.array([[1.0]]), np.array([-29.5])])
    metric = keras.metrics.BinaryAccuracy(name="accuracy")
    model.compile(keras.optimizers.SGD(0.0), "binary_crossentropy", metrics=[metric])
    train = BatchSource(values, labels, 2, 16, seed=1)
    held_out = BatchSource(values, labels, 2, 16, shuffle=False)
    history = model.fit(
        epoch_dataset(train), validation_data=epoch_dataset(held_out), shuffle=False, verbose=0
    ).history
    assert history["accuracy"] == pytest.approx([0.8])
    assert history["val_accuracy"] == pytest.approx([0.8])
    assert model.evaluate(epoch_dataset(held_out), verbose=0)[1] == pytest.approx(0.8)
    assert model.evaluate(epoch_dataset(held_out, 3), verbose=0)[1] == pytest.approx(30 / 48)


@pytest.mark.slow
def test_the_users_batches_are_all_seen_too(photo_folder: Path, index: ImageIndex) -> None:
    import keras

    seen: list[np.ndarray] = []

    class Watched(keras.Model):  # type: ignore[misc]
        def call(self, images: Any) -> Any:
            return images[:, 0, 0, :1] * 0 + 0.5

        def test_step(self, data: Any) -> Any:
            seen.append(data[0].numpy())
            return {"loss": 0.0}

    model = Watched()
    model.compile(run_eagerly=True)
    model.evaluate(batches(photo_folder, (48, 48), 10, shuffle=False), verbose=0)
    assert np.array_equal(np.concatenate(seen), decode_images(index, SETTINGS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; expected 1 or more"),
        ({"label_kind": "int"}, "labels is 'int'; expected one of binary, sparse, categorical"),
        ({"num_classes": 3}, 'labels is "binary" and there are 3 classes'),
        ({"labels": np.zeros(3, np.int64)}, "2 photos and 3 labels"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, object], message: str) -> None:
    given = {
        "images": np.zeros((2, 8, 8, 3), np.uint8),
        "labels": np.array([0, 1]),
        "num_classes": 2,
    } | options
    with pytest.raises(ValueError, match=message):
        BatchSource(**given)  # type: ignore[arg-type]


def test_pictures_are_square_and_of_one_part(photo_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`image_size` is \(150, 120\); expected equal"):
        batches(photo_folder, (150, 120))
    for part in ("train", "validation"):
        for kind in ("a", "b"):
            write_photo(tmp_path / part / kind / "1.jpg", draw_photo("round", len(part + kind)))
    with pytest.raises(ValueError, match="comes split into train, validation; give one part"):
        batches(tmp_path)
    with pytest.raises(IndexError, match="batch 9 of 1"):
        BatchSource(np.zeros((2, 3)), np.array([0, 1]), 2).batch(9)
