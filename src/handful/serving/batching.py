"""Pictures' bytes -> answers: a bounded queue, a pool of threads, and naming in batches.

Each picture is decoded and embedded on its own, in one of four threads a core: its answer does not
depend on its neighbors. Pictures that take much memory or time to decode have a queue and a single
thread of their own, beside which the others go on. What is left, the head and the comparison with
the training photos, is a matrix product that reads megabytes for one picture and no more for
sixteen; so under load the pictures that are embedded meanwhile are named together, and without load
each at once. Whoever finishes a picture does the naming, when a batch is due.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from handful.cores import num_workers
from handful.data.decoding import Cost, check_cost, decoding_cost
from handful.data.index import why_no_image
from handful.errors import DataError
from handful.features.embed import embed_one, mean_view
from handful.models.classifier import Classifier

MAX_BATCH = 16
MAX_DELAY_SECONDS = 0.06
_LONGEST_RETRY_SECONDS = 60
# What costs more is decoded one at a time.
_LARGE_BYTES = 64_000_000
_LARGE_SECONDS = 1.0
_NOTHING = Cost(0.0, 0, 0.0)


class QueueFullError(Exception):
    """No room for more pictures now.

    Args:
        message: What was found, and what to do.
        retry_seconds: When to try again, 1 to 60.
    """

    def __init__(self, message: str, retry_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


@dataclass(frozen=True, eq=False)
class Answer:
    """What the classifier says of one picture, before names are put to it.

    Args:
        probabilities: (C,) float64, summing to 1.
        is_out_of_distribution: As in `Prediction`.
    """

    probabilities: NDArray[np.float64]
    is_out_of_distribution: bool | None


class _Job(Future[Answer]):
    """One picture on its way; its bytes are let go once it is embedded, or canceled."""

    def __init__(self, data: bytes, leave: "Callable[[_Job], None] | None" = None) -> None:
        super().__init__()
        self.data = data
        self._leave = leave
        self.embedding: NDArray[np.float32] | None = None
        self.embedded_at = 0.0

    def cancel(self) -> bool:
        is_canceled = super().cancel()
        if is_canceled:
            self.data = b""
            if self._leave is not None:
                self._leave(self)
        return is_canceled


class _Lane:
    """Pictures that wait, and the threads that they wait for."""

    def __init__(self, num_threads: int, name: str, seconds_a_picture: float) -> None:
        self.num_threads = num_threads
        self.pool = ThreadPoolExecutor(num_threads, thread_name_prefix=name)
        self.queue: deque[_Job] = deque()
        self.seconds_a_picture = seconds_a_picture

    @property
    def seconds_left(self) -> float:
        """Time in which what waits now will be done."""
        return len(self.queue) * self.seconds_a_picture / self.num_threads

    def learn(self, seconds: float) -> None:
        """Take in how long a picture took."""
        self.seconds_a_picture += 0.05 * (seconds - self.seconds_a_picture)


def _is_large(cost: Cost) -> bool:
    return cost.bytes > _LARGE_BYTES or cost.seconds > _LARGE_SECONDS


class Batcher:
    """Answers for pictures, several at the same time and never more than there is room for.

    Args:
        classifier: Says what they show.
        max_waiting: Pictures that may wait for a thread; more are refused, not kept.

    Attributes:
        max_batch: Embedded pictures that are named together at most.
        max_delay_seconds: Time that an embedded picture may wait for others, while more are queued.
        on_batch: Called with the size of each batch that was named, from any thread; or None.
    """

    def __init__(self, classifier: Classifier, *, max_waiting: int = 128) -> None:
        self.classifier = classifier
        self.max_waiting = max_waiting
        self.max_batch = MAX_BATCH
        self.max_delay_seconds = MAX_DELAY_SECONDS
        # Twice as many as elsewhere: while the event loop holds Python's lock, inference goes on.
        self.num_threads = 2 * num_workers()
        self.on_batch: Callable[[int], None] | None = None
        self._lock = threading.Lock()
        self._naming = threading.Lock()
        self._lane = _Lane(self.num_threads, "serve", 0.01)
        self._large_lane = _Lane(1, "large", 0.5)  # each may take hundreds of megabytes
        self._embedded: deque[_Job] = deque()
        self._num_working = 0
        self._is_closed = False

    @property
    def num_waiting(self) -> int:
        """Pictures that wait for a thread; not those that were canceled."""
        return len(self._lane.queue) + len(self._large_lane.queue)

    @property
    def num_working(self) -> int:
        """Pictures that a thread works on."""
        return self._num_working

    @property
    def retry_seconds(self) -> int:
        """Time in which what waits now will be done, 1 to 60 seconds."""
        seconds = max(self._lane.seconds_left, self._large_lane.seconds_left)
        return int(min(max(1.0, np.ceil(seconds)), _LONGEST_RETRY_SECONDS))

    def warm_up(self) -> None:
        """Compile the network and take one drawn picture all the way, so that the first is fast.

        Raises:
            ModelFileError: When the network's files cannot be read.
        """
        data = simplejpeg.encode_jpeg(np.full((64, 64, 3), 127, dtype=np.uint8))
        job = _Job(data)
        job.embedding = self._embed(data)
        self._name([job])
        job.result()

    def check_room(self, num_pictures: int = 1) -> None:
        """Refuse pictures that there is no room for, before their bytes are taken.

        Args:
            num_pictures: How many.

        Raises:
            QueueFullError: When there is no room.
        """
        if self._is_closed:
            raise QueueFullError("the server is stopping; ask another, or later.")
        if self.num_waiting + num_pictures > self.max_waiting:
            raise QueueFullError(
                f"{self.num_waiting} pictures are waiting and {num_pictures} more came; at most "
                f"{self.max_waiting} may wait. Try again in {self.retry_seconds} s.",
                self.retry_seconds,
            )

    def weigh(self, pictures: Sequence[bytes]) -> list[Cost]:
        """Tell what decoding pictures would cost, without decoding them.

        Args:
            pictures: Whole files.

        Returns:
            A cost for each; nothing for what decoding refuses by itself.
        """
        settings = self.classifier.settings
        costs = []
        for data in pictures:
            cost = _NOTHING
            with suppress(Exception):  # whatever it is, decoding meets it again and says it
                found = decoding_cost(data, settings)
                check_cost(found, settings.max_megapixels)
                cost = found
            costs.append(cost)
        return costs

    def submit(
        self, pictures: Sequence[bytes], costs: Sequence[Cost] | None = None
    ) -> list[Future[Answer]]:
        """Queue pictures, all of them or none.

        Args:
            pictures: Whole files.
            costs: What `weigh` says of them; None finds it out.

        Returns:
            A future for each, in order. It gives the answer, or raises `DataError` with the reason
            why the picture cannot be read. One that is canceled in time is not worked on.

        Raises:
            QueueFullError: When there is no room for all of them.
        """
        if costs is None:
            costs = self.weigh(pictures)
        jobs = [_Job(data, self._leave) for data in pictures]
        with self._lock:
            self.check_room(len(jobs))
            for job, cost in zip(jobs, costs, strict=True):
                lane = self._large_lane if _is_large(cost) else self._lane
                lane.queue.append(job)
                lane.pool.submit(self._work_on_next, lane)
        return list(jobs)

    def close(self, seconds: float | None = None) -> bool:
        """Finish what is worked on, cancel what waits, take no more.

        Args:
            seconds: Time for that; None waits for as long as it takes.

        Returns:
            Whether all has ended.
        """
        with self._lock:
            self._is_closed = True
            lanes = (self._lane, self._large_lane)
            waiting = [job for lane in lanes for job in lane.queue]
            for lane in lanes:
                lane.queue.clear()
        for job in waiting:
            job.cancel()
        end = None if seconds is None else time.monotonic() + seconds
        while end is not None and self._num_working:
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        for lane in lanes:
            lane.pool.shutdown(wait=True)
        return True

    def _leave(self, job: _Job) -> None:
        """Let go of a picture that was canceled."""
        with self._lock:
            for lane in (self._lane, self._large_lane):
                with suppress(ValueError):  # a thread has taken it, or it was never queued
                    lane.queue.remove(job)
        self._name_what_is_due()  # this may have been the last in the queue

    def _work_on_next(self, lane: _Lane) -> None:
        with self._lock:
            if not lane.queue:  # closed, or canceled
                return
            job = lane.queue.popleft()
            self._num_working += 1
        self._work(job, lane)

    def _work(self, job: _Job, lane: _Lane) -> None:
        started = time.monotonic()
        try:
            if not job.set_running_or_notify_cancel():
                return
            job.embedding = self._embed(job.data)
            job.embedded_at = time.monotonic()
            self._embedded.append(job)
        except BaseException as error:  # whoever asked is told
            job.set_exception(error)
        finally:
            job.data = b""
            with self._lock:
                self._num_working -= 1
                if not job.cancelled():
                    lane.learn(time.monotonic() - started)
            self._name_what_is_due()

    def _embed(self, data: bytes) -> NDArray[np.float32]:
        """Embedding (D,) of a picture, as `predict_index` computes it."""
        reason = why_no_image(data)
        if reason:
            raise DataError(reason)
        return mean_view(embed_one(data, self.classifier.spec).vectors)

    def _name_what_is_due(self) -> None:
        # Looked at again after each batch: what came meanwhile found the lock taken, and left.
        while self._is_due() and self._naming.acquire(blocking=False):
            try:
                batch = self._take()
                if batch:
                    self._name(batch)
            finally:
                self._naming.release()

    def _is_due(self) -> bool:
        """Whether to name now: no others are queued, a batch is full, or one waited too long.

        Large pictures are not waited for: each may take a second.
        """
        with self._lock:
            if not self._embedded:
                return False
            waited = time.monotonic() - self._embedded[0].embedded_at
            return (
                not self._lane.queue
                or len(self._embedded) >= self.max_batch
                or waited >= self.max_delay_seconds
            )

    def _take(self) -> list[_Job]:
        with self._lock:
            size = min(len(self._embedded), self.max_batch)
            return [self._embedded.popleft() for _ in range(size)]

    def _name(self, batch: list[_Job]) -> None:
        try:
            embeddings = np.stack([job.embedding for job in batch if job.embedding is not None])
            probabilities = self.classifier.head.predict_proba(embeddings)
            reference = self.classifier.reference
            unlike = None
            if reference is not None:
                unlike = reference.unlike(reference.distances(embeddings))
        except BaseException as error:  # all of them are told
            for job in batch:
                job.set_exception(error)
            return
        if self.on_batch is not None:
            self.on_batch(len(batch))
        for row, job in enumerate(batch):
            flag = None if unlike is None else bool(unlike[row])
            job.set_result(Answer(probabilities[row], flag))
