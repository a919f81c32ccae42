"""POST /predict: photos in a request's body -> their names, as JSON.

A plain ASGI application. FastAPI's own steps from a request to a handler and back take 0.3 ms, a
fifteenth of what a photo takes; so this address, the one that is asked often, is not routed by it.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

import numpy as np

from handful.errors import DataError
from handful.models.classifier import Prediction
from handful.serving.batching import Answer, QueueFullError
from handful.serving.guards import Send
from handful.serving.problems import Problem, busy, encode_json
from handful.serving.service import Service
from handful.serving.uploads import Disconnected, HeldBytes, Receive, printable, read_uploads

# So long an answer may take on a busy machine; looking after each client would cost more.
_PATIENCE_SECONDS = 0.5
# Looking through more than this is not done by the event loop's thread.
_QUICK_BYTES = 1_000_000


class PredictEndpoint:
    """Names what one or more photos show.

    The answer is that of `handful predict --json`. Files that cannot be read are in `errors`; when
    none can, the answer is a problem of status 422.

    Args:
        service: What it works with.
        held: Counts the bytes in memory.
    """

    def __init__(self, service: Service, held: HeldBytes) -> None:
        self.service = service
        self.held = held
        self._answers = _Answers()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one request, as ASGI has it.

        Args:
            scope: What is asked, with the `header_texts` that `Guard` adds; `facts` for the log are
                added to it.
            receive: Gives the body.
            send: Takes the response.

        Raises:
            Problem: When there is no answer but this.
        """
        if scope["method"] != "POST":
            detail = "this address takes POST alone; see /docs."
            raise Problem("method", detail, headers={"Allow": "POST"})
        service = self.service
        service.check_ready()
        error_rate, coverage = read_options(scope["query_string"])
        service.check_promises(error_rate, coverage)
        facts = scope["facts"] = {}
        try:
            service.batcher.check_room()
            with self.held.hold() as add:
                uploads = await read_uploads(scope["header_texts"], receive, service.limits, add)
                names = [upload.name for upload in uploads]
                facts["files"] = len(names)
                pictures = [upload.data for upload in uploads]
                del uploads  # the batcher lets go of the bytes one by one
                if sum(map(len, pictures)) > _QUICK_BYTES:
                    costs = await asyncio.to_thread(service.batcher.weigh, pictures)
                else:
                    costs = service.batcher.weigh(pictures)
                service.check_costs(costs)
                futures = service.batcher.submit(pictures, costs)
                del pictures
                results = await self._answers.of(futures, receive)
        except QueueFullError as error:
            raise busy("queue-full", str(error), error.retry_seconds) from error
        except Disconnected:
            # Nobody reads this; the log gets the status that proxies use for it.
            await _respond(send, 499, b"")
            return
        answer = _answer(service, names, results, error_rate, coverage)
        await _respond(send, 200, encode_json(answer))


async def _respond(send: Send, status: int, body: bytes) -> None:
    length = str(len(body)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def read_options(query: bytes) -> tuple[float | None, float | None]:
    """Read what a request wants to be promised.

    Args:
        query: The address behind its question mark; unknown options are ignored, of several the
            last counts.

    Returns:
        Error rate and coverage, None where they are not asked for.

    Raises:
        Problem: When one is no number.
    """
    if not query:
        return None, None
    given = parse_qs(query.decode("latin-1"), keep_blank_values=True)

    def number(name: str) -> float | None:
        if name not in given:
            return None
        text = given[name][-1]
        try:
            return float(text)
        except ValueError:
            found = f'"{printable(text[:40])}"'
            raise Problem("option", f"{name} is {found}; expected a number such as 0.01.") from None

    return number("error_rate"), number("coverage")


class _Answers:
    """Answers of a pool's threads, brought to the event loop; several at one call if need be."""

    def __init__(self) -> None:
        self._done: deque[asyncio.Future[None]] = deque()
        self._lock = threading.Lock()

    async def of(self, futures: Sequence[Future[Answer]], receive: Receive) -> list[Any]:
        """Answers or errors, in order; what a client that went away asked for is not worked on."""
        loop = asyncio.get_running_loop()
        all_done = loop.create_future()
        left = len(futures)
        lock = threading.Lock()

        def count(_: Future[Answer]) -> None:
            nonlocal left
            with lock:
                left -= 1
                if left:
                    return
            with self._lock:
                self._done.append(all_done)
                is_first = len(self._done) == 1
            # While one call is under way, it takes along what is added.
            if is_first:
                with suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(self._tell)

        for future in futures:
            future.add_done_callback(count)
        try:
            await _unless_gone(all_done, receive)
        finally:
            for future in futures:
                future.cancel()
        results = [future.exception() or future.result() for future in futures]
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, DataError):
                raise result
        return results

    def _tell(self) -> None:
        while self._done:
            future = self._done[0]
            if not future.done():
                future.set_result(None)
            self._done.popleft()


async def _unless_gone(done: asyncio.Future[None], receive: Receive) -> None:
    """Wait for a future; where that takes long, look whether the client is still there."""
    finished, _ = await asyncio.wait((done,), timeout=_PATIENCE_SECONDS)
    if finished:
        return
    gone = asyncio.ensure_future(receive())
    try:
        await asyncio.wait((done, gone), return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            raise Disconnected
    finally:
        gone.cancel()


def _answer(
    service: Service,
    names: Sequence[str],
    results: Sequence[Any],
    error_rate: float | None,
    coverage: float | None,
) -> dict[str, Any]:
    pairs = list(zip(names, results, strict=True))
    named = [(name, result) for name, result in pairs if isinstance(result, Answer)]
    errors = [
        {"path": name, "reason": str(result)}
        for name, result in pairs
        if isinstance(result, DataError)
    ]
    predictions = _name(service, named, error_rate, coverage)
    service.metrics.observe_predictions(predictions, len(errors))
    if not named:
        reasons = "; ".join(f"{error['path']} {error['reason']}" for error in errors[:5])
        raise Problem("unreadable", f"no file could be read: {reasons}.", errors=errors)
    answer: dict[str, Any] = {
        "predictions": [prediction.to_dict() for prediction in predictions],
        "errors": errors,
    }
    if error_rate is not None:
        answer["abstaining"] = service.abstaining(error_rate)
    return answer


def _name(
    service: Service,
    named: Sequence[tuple[str, Answer]],
    error_rate: float | None,
    coverage: float | None,
) -> list[Prediction]:
    if not named:
        return []
    flags = [answer.unlike_training for _, answer in named]
    return service.batcher.classifier.name_predictions(
        [name for name, _ in named],
        np.stack([answer.probabilities for _, answer in named]),
        None if None in flags else np.array(flags, dtype=np.bool_),
        error_rate=error_rate,
        coverage=coverage,
    )
