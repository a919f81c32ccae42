"""The HTTP application: what each address takes and gives."""

import asyncio
import json
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from handful.batching import Answer, Batcher, QueueFullError
from handful.classifier import Prediction
from handful.errors import DataError
from handful.guards import Guard
from handful.problems import KINDS, MEDIA_TYPE, Problem, busy
from handful.serving_metrics import MEDIA_TYPE as METRICS_TYPE
from handful.serving_metrics import ServingMetrics
from handful.uploads import Disconnected, HeldBytes, Receive, Upload, UploadLimits, read_uploads

_PAGE_TYPES = {
    "app.js": "text/javascript; charset=utf-8",
    "app.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
# So long an answer may take on a busy machine; looking after each client would cost more.
_PATIENCE_SECONDS = 0.5
_HTML = "text/html; charset=utf-8"

ErrorRate = Annotated[
    float | None,
    Query(
        description='Say of each photo whether its answer is sure ("is_sure"): of those that are, '
        "this share is wrong at most. Above 0, below 1, such as 0.01.",
    ),
]
Coverage = Annotated[
    float | None,
    Query(
        description='Give each photo a set of classes ("label_set"): this share of the sets holds '
        "the right one. Above 0, below 1, such as 0.95.",
    ),
]


@dataclass(eq=False)
class Service:
    """What the application works with.

    Args:
        batcher: Answers.
        card: What /model gives.
        limits: Of requests.
        metrics: What /metrics gives.
        allowed_hosts: As for `Guard`.
        token: As for `Guard`.
        is_ready: Whether the network is compiled.
        is_stopping: Whether the server is about to end.
    """

    batcher: Batcher
    card: dict[str, Any]
    limits: UploadLimits = field(default_factory=UploadLimits)
    metrics: ServingMetrics = field(default_factory=ServingMetrics)
    allowed_hosts: tuple[str, ...] = ()
    token: str | None = None
    is_ready: bool = False
    is_stopping: bool = False

    def __post_init__(self) -> None:
        # Options repeat from request to request, and sorting the calibration takes a while.
        self._check = lru_cache(256)(self.batcher.classifier.check_promises)
        self._abstaining = lru_cache(256)(self.batcher.classifier.abstain_at)

    def check_ready(self) -> None:
        """Refuse while there can be no answer.

        Raises:
            Problem: When the network is not compiled yet, or the server is stopping.
        """
        if self.is_stopping:
            raise busy("stopping", "the server is stopping; try again later.")
        if not self.is_ready:
            raise busy("not-ready", "the network is being compiled; try again in 1 s.")

    def check_promises(self, error_rate: float | None, coverage: float | None) -> None:
        """Refuse, before the work, what the classifier cannot promise.

        Args:
            error_rate: As for `Classifier.predict`.
            coverage: As for `Classifier.predict`.

        Raises:
            Problem: When it cannot, or one is out of range.
        """
        if error_rate is None and coverage is None:
            return
        try:
            self._check(error_rate, coverage)
        except (DataError, ValueError) as error:
            raise Problem("option", str(error)) from error

    def abstaining(self, error_rate: float) -> dict[str, Any]:
        """The rule behind `is_sure`.

        Args:
            error_rate: As for `Classifier.predict`.

        Returns:
            As `handful predict --json` has it.
        """
        return asdict(self._abstaining(error_rate))


def create_app(service: Service) -> FastAPI:
    """Make the application.

    Args:
        service: What it works with.

    Returns:
        An ASGI application.
    """
    app = FastAPI(
        title="handful",
        version=version("handful"),
        summary="Names what photos show.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    held = HeldBytes(service.limits.held_bytes)
    service.metrics.watch(service.batcher)
    service.metrics.held_bytes.set_function(lambda: held.num_bytes)
    service.metrics.ready.set_function(lambda: service.is_ready and not service.is_stopping)
    _add_predict(app, service, held)
    _add_facts(app, service)
    _add_pages(app)
    _add_problems(app)
    app.add_middleware(
        Guard,
        allowed_hosts=service.allowed_hosts,
        token=service.token,
        observe=service.metrics.observe_request,
    )
    return app


def _add_predict(app: FastAPI, service: Service, held: HeldBytes) -> None:
    answers = _Answers()

    @app.post("/predict", openapi_extra=_predict_body(), responses=_predict_responses())
    async def predict(
        request: Request, error_rate: ErrorRate = None, coverage: Coverage = None
    ) -> Response:
        """Name what one or more photos show.

        The answer is that of `handful predict --json`. Files that cannot be read are in `errors`;
        when none can, the answer is a problem of status 422.
        """
        service.check_ready()
        service.check_promises(error_rate, coverage)
        facts = request.scope["facts"] = {}
        try:
            service.batcher.check_room()
            headers = {
                k.decode("latin-1"): v.decode("latin-1") for k, v in request.scope["headers"]
            }
            with held.hold() as add:
                uploads = await read_uploads(headers, request.receive, service.limits, add)
                facts["files"] = len(uploads)
                futures = service.batcher.submit([upload.data for upload in uploads])
                results = await answers.of(futures, request.receive)
        except QueueFullError as error:
            raise busy("queue-full", str(error), error.retry_seconds) from error
        except Disconnected:
            return Response(status_code=499)
        answer = _answer(service, uploads, results, error_rate, coverage)
        return Response(json.dumps(answer, ensure_ascii=False), media_type="application/json")


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
    uploads: Sequence[Upload],
    results: Sequence[Any],
    error_rate: float | None,
    coverage: float | None,
) -> dict[str, Any]:
    pairs = list(zip(uploads, results, strict=True))
    named = [(upload.name, result) for upload, result in pairs if isinstance(result, Answer)]
    errors = [
        {"path": upload.name, "reason": str(result)}
        for upload, result in pairs
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


def _add_facts(app: FastAPI, service: Service) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Say that the process is alive."""
        return {"status": "alive"}

    @app.get("/readyz", responses=_problems_of(503))
    async def readyz() -> dict[str, str]:
        """Say whether photos will be answered now."""
        service.check_ready()
        return {"status": "ready"}

    @app.get("/model")
    async def model() -> dict[str, Any]:
        """Tell the classes, the network with its licence, how good it was, and the limits."""
        limits = service.limits
        return {
            **service.card,
            "limits": {
                "max_body_bytes": limits.body_bytes,
                "max_files": limits.num_files,
                "body_seconds": limits.body_seconds,
                "max_waiting": service.batcher.max_waiting,
            },
        }

    @app.get("/metrics", response_class=Response, responses={200: {"content": {METRICS_TYPE: {}}}})
    async def metrics() -> Response:
        """Give figures for Prometheus."""
        return Response(service.metrics.text(), headers={"content-type": METRICS_TYPE})


def _add_pages(app: FastAPI) -> None:
    folder = files("handful") / "page"
    texts = {name: (folder / name).read_bytes() for name in _PAGE_TYPES}
    pages = {"/": "index.html", "/docs": "docs.html"}
    texts |= {address: (folder / name).read_bytes() for address, name in pages.items()}
    fresh = {"cache-control": "no-cache"}

    @app.get("/", include_in_schema=False)
    @app.get("/docs", include_in_schema=False)
    async def page(request: Request) -> Response:
        return Response(texts[request.url.path], headers={"content-type": _HTML, **fresh})

    @app.get("/page/{name}", include_in_schema=False)
    async def page_part(name: str) -> Response:
        if name not in _PAGE_TYPES:
            raise HTTPException(404)
        return Response(texts[name], headers={"content-type": _PAGE_TYPES[name], **fresh})


def _add_problems(app: FastAPI) -> None:
    def respond(request: Request, problem: Problem) -> Response:
        body = problem.body(request.scope.get("request_id", ""))
        headers = {**problem.headers, "content-type": MEDIA_TYPE}
        return Response(body, problem.status, headers=headers)

    @app.exception_handler(Problem)
    async def of_ours(request: Request, problem: Problem) -> Response:
        return respond(request, problem)

    @app.exception_handler(RequestValidationError)
    async def of_options(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        name = first["loc"][-1]
        detail = f"{name} is no number ({first['msg']}); expected one such as 0.01."
        return respond(request, Problem("option", detail))

    @app.exception_handler(HTTPException)
    async def of_routes(request: Request, error: HTTPException) -> Response:
        known = {404: "not-found", 405: "method"}
        kind = known.get(error.status_code, "bad-request")
        detail = {
            "not-found": "there is nothing at this address; /docs lists what there is.",
            "method": "this address does not take this method; see Allow, and /docs.",
        }.get(kind, str(error.detail))
        return respond(request, Problem(kind, detail, headers=dict(error.headers or {})))


def _predict_body() -> dict[str, Any]:
    picture = {"type": "string", "format": "binary"}
    form = {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {"type": "array", "items": picture}},
    }
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form},
                "image/*": {"schema": picture},
                "application/octet-stream": {"schema": picture},
            },
        }
    }


def _predict_responses() -> dict[int | str, dict[str, Any]]:
    text, number, flag = {"type": "string"}, {"type": "number"}, {"type": "boolean"}
    prediction = {
        "path": text,
        "label": text,
        "probability": number,
        "probabilities": {"type": "object", "additionalProperties": number},
        "unlike_training": {"type": ["boolean", "null"]},
        "is_sure": flag,
        "label_set": {"type": "array", "items": text},
    }
    error = {"type": "object", "properties": {"path": text, "reason": text}}
    answer = {
        "type": "object",
        "required": ["predictions", "errors"],
        "properties": {
            "predictions": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": list(prediction)[:5],
                    "properties": prediction,
                },
            },
            "errors": {"type": "array", "items": error},
            "abstaining": {"type": "object"},
        },
    }
    found = {"description": "Answers, and files that could not be read."}
    return {
        200: {**found, "content": {"application/json": {"schema": answer}}},
        **_problems_of(400, 401, 408, 413, 415, 422, 503),
    }


def _problems_of(*statuses: int) -> dict[int | str, dict[str, Any]]:
    names = ("type", "title", "detail", "request_id")
    schema = {
        "type": "object",
        "properties": {"status": {"type": "integer"}, **{n: {"type": "string"} for n in names}},
    }
    titles = {code: "; ".join(t for c, t in KINDS.values() if c == code) for code in statuses}
    return {
        code: {"description": titles[code], "content": {MEDIA_TYPE: {"schema": schema}}}
        for code in statuses
    }
