"""POST /predict: photos in a request's body -> their classes, as JSON."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any

import numpy as np
from fastapi import Request, Response

from handful.errors import DataError
from handful.models.classifier import Prediction
from handful.serving.batching import Answer, QueueFullError
from handful.serving.problems import Problem, encode_json
from handful.serving.service import Service
from handful.serving.uploads import Disconnected, read_uploads

# So long an answer may take on a busy machine; looking after each client would cost more.
_PATIENCE_SECONDS = 0.5
# Looking through more than this is not done by the event loop's thread.
_QUICK_BYTES = 1_000_000


async def predict(
    service: Service, request: Request, error_rate: float | None, coverage: float | None
) -> Response:
    """Classify the photos of a request.

    Args:
        service: What it works with.
        request: Its `fields`, for the log, get the number of files.
        error_rate: As for `Classifier.predict`.
        coverage: As for `Classifier.predict`.

    Returns:
        The answer of `handful predict --json`.

    Raises:
        Problem: When there is no answer but this.
    """
    service.check_ready()
    service.check_guarantees(error_rate, coverage)
    try:
        service.batcher.check_room()
        names, results = await _embed_all(service, request)
    except QueueFullError as error:
        raise Problem("queue-full", str(error), retry_seconds=error.retry_seconds) from error
    except Disconnected:
        # Nobody reads this; the log gets the status that proxies use for it.
        return Response(status_code=499)
    answer = _answer(service, names, results, error_rate, coverage)
    return Response(encode_json(answer), media_type="application/json")


async def _embed_all(service: Service, request: Request) -> tuple[list[str], list[Any]]:
    """Names of the files, and what the batcher says of each: an `Answer`, or a `DataError`."""
    with service.held.hold() as add:
        uploads = await read_uploads(request.headers, request.receive, service.limits, add)
        names = [upload.name for upload in uploads]
        request.scope["fields"]["files"] = len(names)
        pictures = [upload.data for upload in uploads]
        del uploads  # the batcher lets go of the bytes one by one
        if sum(map(len, pictures)) > _QUICK_BYTES:
            costs = await asyncio.to_thread(service.batcher.weigh, pictures)
        else:
            costs = service.batcher.weigh(pictures)
        service.check_costs(costs)
        futures = service.batcher.submit(pictures, costs)
        del pictures
        return names, await _results(futures, request)


async def _results(futures: Sequence[Future[Answer]], request: Request) -> list[Any]:
    """Answers or errors, in order; what a client that went away asked for is not worked on."""
    waiting = [asyncio.wrap_future(future) for future in futures]
    try:
        while (await asyncio.wait(waiting, timeout=_PATIENCE_SECONDS))[1]:
            if await request.is_disconnected():
                raise Disconnected
    finally:
        for future in waiting:
            if not future.cancel() and not future.cancelled():
                future.exception()  # else asyncio logs one that nobody took
    results = [future.exception() or future.result() for future in futures]
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, DataError):
            raise result
    return results


def _answer(
    service: Service,
    names: Sequence[str],
    results: Sequence[Any],
    error_rate: float | None,
    coverage: float | None,
) -> dict[str, Any]:
    pairs = list(zip(names, results, strict=True))
    errors = [
        {"path": name, "reason": str(result)}
        for name, result in pairs
        if isinstance(result, DataError)
    ]
    found = [(name, result) for name, result in pairs if isinstance(result, Answer)]
    predictions = _name(service, found, error_rate, coverage) if found else []
    service.metrics.observe_predictions(predictions, len(errors))
    if not found:
        reasons = "; ".join(f"{error['path']} {error['reason']}" for error in errors[:5])
        raise Problem("unreadable", f"no file could be read: {reasons}.", errors=errors)
    answer: dict[str, Any] = {
        "predictions": [prediction.to_dict() for prediction in predictions],
        "errors": errors,
    }
    if error_rate is not None:
        answer["abstaining"] = asdict(service.batcher.classifier.abstain_at(error_rate))
    return answer


def _name(
    service: Service,
    found: Sequence[tuple[str, Answer]],
    error_rate: float | None,
    coverage: float | None,
) -> list[Prediction]:
    flags = [answer.is_out_of_distribution for _, answer in found]
    return service.batcher.classifier.name_predictions(
        [name for name, _ in found],
        np.stack([answer.probabilities for _, answer in found]),
        None if None in flags else np.array(flags, dtype=np.bool_),
        error_rate=error_rate,
        coverage=coverage,
    )
