import io
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from conftest import draw_photo
from handful.data.index import load_unlabeled
from handful.errors import DataError
from handful.features import embed
from handful.models.classifier import Classifier
from handful.serving import batching
from handful.serving.batching import Batcher, QueueFullError
from live_server import wait_until


@pytest.fixture
def batcher(tiny_run: Path) -> Iterator[Batcher]:
    found = Batcher(Classifier.load(tiny_run), max_waiting=8)
    found.warm_up()
    yield found
    found.close()


class Gate:
    """Holds up the embedding of pictures until it is opened."""

    def __init__(self, batcher: Batcher, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.num_embedded = 0
        embed = batcher._embed

        def held(data: bytes) -> np.ndarray:
            assert self.open.wait(120)
            self.num_embedded += 1
            return embed(data)

        monkeypatch.setattr(batcher, "_embed", held)


@pytest.fixture
def gate(batcher: Batcher, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    found = Gate(batcher, monkeypatch)
    yield found
    found.open.set()


@pytest.fixture(scope="module")
def photos(photo_folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(photo_folder.rglob("*.jpg"))]


def test_answers_are_those_of_the_classifier_to_the_bit(
    tiny_run: Path, photo_folder: Path, photos: list[bytes]
) -> None:
    classifier = Classifier.load(tiny_run)
    expected = classifier.predict_index(load_unlabeled([photo_folder]))
    assert expected.is_out_of_distribution is not None
    batcher = Batcher(classifier, max_waiting=64)
    sizes: list[int] = []
    batcher.on_batch = sizes.append
    answers = [future.result(120) for future in batcher.submit(photos)]
    batcher.close()
    assert np.array_equal([answer.probabilities for answer in answers], expected.probabilities)
    assert [
        answer.is_out_of_distribution for answer in answers
    ] == expected.is_out_of_distribution.tolist()
    assert sum(sizes) == len(photos) and max(sizes) <= batcher.max_batch


def test_a_mirror_image_is_averaged_in_as_the_classifier_does(
    tiny_run: Path, photo_folder: Path, photos: list[bytes]
) -> None:
    classifier = Classifier.load(tiny_run)
    plain = classifier.predict_index(load_unlabeled([photo_folder]))
    classifier.test_time_mirror = True
    expected = classifier.predict_index(load_unlabeled([photo_folder]))
    batcher = Batcher(classifier, max_waiting=64)
    answers = [future.result(120).probabilities for future in batcher.submit(photos)]
    batcher.close()
    assert np.array_equal(answers, expected.probabilities)
    assert not np.array_equal(answers, plain.probabilities)


def test_pictures_that_wait_are_named_together_and_a_single_one_at_once(
    batcher: Batcher, gate: Gate, photos: list[bytes]
) -> None:
    batcher.max_delay_seconds = 100.0
    sizes: list[int] = []
    batcher.on_batch = sizes.append
    futures = batcher.submit(photos[:8])
    gate.open.set()
    for future in futures:
        future.result(120)
    assert sum(sizes) == 8 and len(sizes) <= batcher.num_threads
    sizes.clear()
    batcher.submit(photos[:1])[0].result(120)
    assert sizes == [1]


def test_an_embedded_picture_waits_for_others_so_long_and_no_longer(
    batcher: Batcher, gate: Gate, photos: list[bytes]
) -> None:
    batcher.max_delay_seconds = 0.0
    sizes: list[int] = []
    batcher.on_batch = sizes.append
    gate.open.set()
    for future in batcher.submit(photos[:8]):
        future.result(120)
    assert sum(sizes) == 8 and max(sizes) <= batcher.num_threads


def test_a_batch_is_never_larger_than_allowed(
    batcher: Batcher, gate: Gate, photos: list[bytes]
) -> None:
    batcher.max_batch = 2
    batcher.max_delay_seconds = 100.0
    sizes: list[int] = []
    batcher.on_batch = sizes.append
    gate.open.set()
    for future in batcher.submit(photos[:8]):
        future.result(120)
    assert sum(sizes) == 8 and max(sizes) <= 2


def test_a_file_that_is_no_picture_gets_its_reason_and_spoils_no_other(
    batcher: Batcher, photos: list[bytes]
) -> None:
    files = [photos[0], b"plain words", photos[1], b"", photos[2][:900]]
    futures = batcher.submit(files)
    assert futures[0].result(120).probabilities.sum() == pytest.approx(1)
    assert futures[2].result(120).probabilities.sum() == pytest.approx(1)
    for place, reason in ((1, "it looks like text"), (3, "is empty"), (4, "is truncated")):
        with pytest.raises(DataError, match=reason):
            futures[place].result(120)


def test_any_other_failure_reaches_who_asked_and_no_one_else(
    batcher: Batcher, photos: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(batcher.classifier.extractor, "embed", fail)
        with pytest.raises(RuntimeError, match="no memory"):
            batcher.submit(photos[:1])[0].result(120)
        patch.undo()
    with monkeypatch.context() as patch:
        patch.setattr(type(batcher.classifier.head), "predict_proba", fail)
        with pytest.raises(RuntimeError, match="no memory"):
            batcher.submit(photos[:1])[0].result(120)
    assert batcher.submit(photos[:1])[0].result(120)


def test_a_full_queue_refuses_all_of_a_request_and_grows_by_none(
    batcher: Batcher, gate: Gate, photos: list[bytes]
) -> None:
    working = batcher.submit(photos[: batcher.num_threads])
    wait_until(lambda: batcher.num_waiting == 0)
    waiting = batcher.submit(photos[:6])
    assert (batcher.num_working, batcher.num_waiting) == (batcher.num_threads, 6)
    with pytest.raises(QueueFullError, match=r"6 pictures are waiting and 3 more .* at most 8"):
        batcher.submit(photos[:3])
    assert batcher.num_waiting == 6
    batcher.check_room(2)
    with pytest.raises(QueueFullError):
        batcher.check_room(3)
    gate.open.set()
    assert all(future.result(120) for future in (*working, *waiting))
    assert batcher.num_waiting == 0


def test_retrying_is_advised_for_when_the_queue_will_be_done(
    batcher: Batcher, gate: Gate, photos: list[bytes]
) -> None:
    assert batcher.retry_seconds == 1
    batcher._lane.seconds_a_picture = 10.0 * batcher.num_threads
    batcher.submit(photos[: batcher.num_threads])
    wait_until(lambda: batcher.num_waiting == 0)
    batcher.submit(photos[:4])
    assert batcher.retry_seconds == 40
    batcher.submit(photos[:4])
    assert batcher.retry_seconds == 60


@pytest.mark.parametrize(("kind", "most_at_once"), [(".png", 1), (".jpg", 2)])
def test_pictures_that_take_much_memory_are_decoded_one_at_a_time(
    batcher: Batcher, monkeypatch: pytest.MonkeyPatch, kind: str, most_at_once: int
) -> None:
    data = cv2.imencode(kind, draw_photo("round", 1))[1].tobytes()
    monkeypatch.setattr(batching, "_LARGE_BYTES", 60_000)
    num_now, seen = 0, []
    lock = threading.Lock()
    together = threading.Barrier(2)
    decode = embed.decode

    def watched(*arguments: Any) -> Any:
        nonlocal num_now
        with lock:
            num_now += 1
            seen.append(num_now)
        if most_at_once > 1:
            together.wait(120)  # reached only if two are here at once
        time.sleep(0.05)
        with lock:
            num_now -= 1
        return decode(*arguments)

    monkeypatch.setattr(embed, "decode", watched)
    for future in batcher.submit([data] * 4):
        assert future.result(120)
    assert len(seen) == 4 and (max(seen) == 1) == (most_at_once == 1)


@pytest.fixture
def slow_png(batcher: Batcher, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[bytes, Gate]]:
    """A picture that counts as large, and a gate that holds its like up."""
    monkeypatch.setattr(batching, "_LARGE_BYTES", 60_000)
    found, taken = Gate(batcher, monkeypatch), batcher.__class__._embed
    held = batcher._embed

    def sort(data: bytes) -> np.ndarray:
        return held(data) if data.startswith(b"\x89PNG") else taken(batcher, data)

    monkeypatch.setattr(batcher, "_embed", sort)
    yield cv2.imencode(".png", draw_photo("round", 1))[1].tobytes(), found
    found.open.set()


def test_large_pictures_leave_the_threads_to_the_others(
    batcher: Batcher, slow_png: tuple[bytes, Gate], photos: list[bytes]
) -> None:
    data, gate = slow_png
    batcher.max_waiting = 100
    # What is named by itself must not wait for those that are held up.
    batcher.max_delay_seconds = 100.0
    large = batcher.submit([data] * 3 * batcher.num_threads)
    small = batcher.submit(photos[:8])
    assert all(future.result(120) for future in small)
    wait_until(lambda: batcher.num_working == 1)
    assert batcher.num_waiting == len(large) - 1 and not any(future.done() for future in large)
    gate.open.set()
    assert all(future.result(120) for future in large)
    wait_until(lambda: batcher.num_working == batcher.num_waiting == 0)


def test_large_pictures_count_in_the_bound_and_in_the_time_to_retry(
    batcher: Batcher, slow_png: tuple[bytes, Gate], photos: list[bytes]
) -> None:
    data, _ = slow_png
    batcher.submit([data] * 6)
    wait_until(lambda: batcher.num_waiting == 5)
    batcher._large_lane.seconds_a_picture = 7.0
    assert batcher.retry_seconds == 35
    with pytest.raises(QueueFullError, match=r"5 pictures are waiting and 4 more .* at most 8"):
        batcher.submit(photos[:4])
    assert all(future.result(120) for future in batcher.submit(photos[:3]))


def test_closing_ends_the_large_picture_that_is_begun_and_cancels_the_others(
    batcher: Batcher, slow_png: tuple[bytes, Gate]
) -> None:
    data, gate = slow_png
    futures = batcher.submit([data] * 4)
    wait_until(lambda: (batcher.num_working, batcher.num_waiting) == (1, 3))
    threading.Timer(0.1, gate.open.set).start()
    batcher.close()
    # Which of four that came together is the first is not said.
    (begun,) = (future for future in futures if not future.cancelled())
    assert begun.result(0)
    assert batcher.num_waiting == batcher.num_working == 0


def test_the_bytes_of_what_was_cancelled_are_let_go_at_once(
    batcher: Batcher, gate: Gate, photos: list[bytes]
) -> None:
    batcher.submit(photos[: batcher.num_threads])
    wait_until(lambda: batcher.num_waiting == 0)
    data = bytes(bytearray(photos[0]))
    before = sys.getrefcount(data)
    (future,) = batcher.submit([data])
    assert sys.getrefcount(data) == before + 1
    assert future.cancel() and batcher.num_waiting == 0
    assert sys.getrefcount(data) == before


def test_what_was_cancelled_is_not_worked_on(
    batcher: Batcher, gate: Gate, photos: list[bytes]
) -> None:
    first = batcher.submit(photos[: batcher.num_threads])
    wait_until(lambda: batcher.num_waiting == 0)
    second = batcher.submit(photos[:8])
    assert all(future.cancel() for future in second[:5])
    gate.open.set()
    for future in (*first, *second[5:]):
        assert future.result(120)
    assert gate.num_embedded == batcher.num_threads + 3


def test_what_was_cancelled_waits_no_more_and_leaves_its_place(
    batcher: Batcher, gate: Gate, photos: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    png = cv2.imencode(".png", draw_photo("round", 1))[1].tobytes()
    monkeypatch.setattr(batching, "_LARGE_BYTES", 60_000)
    first = batcher.submit(photos[: batcher.num_threads])
    wait_until(lambda: batcher.num_waiting == 0)
    first += batcher.submit([png])
    wait_until(lambda: batcher.num_working == batcher.num_threads + 1)
    gone = [*batcher.submit(photos[:5]), *batcher.submit([png] * 3)]
    assert batcher.num_waiting == 8
    assert all(future.cancel() for future in gone)
    assert batcher.num_waiting == 0 and batcher.retry_seconds == 1
    second = batcher.submit(photos[:8])
    gate.open.set()
    assert all(future.result(120) for future in (*first, *second))
    assert gate.num_embedded == batcher.num_threads + 1 + 8


def test_costs_are_told_before_decoding_and_what_is_refused_costs_nothing(
    batcher: Batcher, photos: list[bytes]
) -> None:
    large = io.BytesIO()
    Image.new("L", (4000, 4000)).save(large, "PNG")
    jpeg, png, text, cut, none = batcher.weigh(
        [photos[0], large.getvalue(), b"text", photos[0][:50], b""]
    )
    assert 0 < jpeg.bytes < 1e6 < 64e6 < png.bytes and 0 < jpeg.seconds < png.seconds
    assert text.bytes == cut.bytes == none.bytes == 0


def test_closing_waits_so_long_and_says_whether_all_has_ended(
    batcher: Batcher, gate: Gate, photos: list[bytes]
) -> None:
    (future,) = batcher.submit(photos[:1])
    wait_until(lambda: batcher.num_working == 1)
    assert not batcher.close(0.1)
    gate.open.set()
    assert batcher.close(120) and future.result(0)


def test_closing_ends_what_is_begun_and_cancels_what_waits(
    batcher: Batcher, gate: Gate, photos: list[bytes]
) -> None:
    first = batcher.submit(photos[: batcher.num_threads])
    wait_until(lambda: batcher.num_waiting == 0)
    second = batcher.submit(photos[:8])
    threading.Timer(0.1, gate.open.set).start()
    batcher.close()
    assert all(future.result(0) for future in first)
    assert all(future.cancelled() for future in second)
    with pytest.raises(QueueFullError, match="is stopping"):
        batcher.submit(photos[:1])


@pytest.mark.slow
def test_many_threads_can_ask_at_once_and_all_are_answered(
    tiny_run: Path, photos: list[bytes]
) -> None:
    batcher = Batcher(Classifier.load(tiny_run), max_waiting=10_000)
    alone = [batcher.submit([photo])[0].result(120).probabilities for photo in photos]
    wrong: list[int] = []

    def ask(first: int) -> None:
        for number in range(first, first + 40):
            place = number % len(photos)
            (future,) = batcher.submit([photos[place]])
            if not np.array_equal(future.result(120).probabilities, alone[place]):
                wrong.append(place)

    threads = [threading.Thread(target=ask, args=(7 * n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == [] and batcher.num_waiting == batcher.num_working == 0
    batcher.close()
