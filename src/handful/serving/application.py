"""The HTTP application: what each address takes and gives."""

from collections.abc import MutableMapping
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from handful.serving.guards import Application, Guard, Send
from handful.serving.openapi import (
    BEARER_SCHEME,
    TOKEN_MAYBE,
    describe_predict,
    describe_problems,
)
from handful.serving.predict_endpoint import PredictEndpoint
from handful.serving.problems import MEDIA_TYPE, Problem, encode_json
from handful.serving.service import Service
from handful.serving.serving_metrics import MEDIA_TYPE as METRICS_TYPE
from handful.serving.uploads import HeldBytes, Receive

_PAGE_TYPES = {
    "app.js": "text/javascript; charset=utf-8",
    "app.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_HTML = "text/html; charset=utf-8"
_PREDICT = "/predict"


def create_app(service: Service) -> Guard:
    """Make the application.

    Args:
        service: What it works with.

    Returns:
        An ASGI application.
    """
    app = _Described(
        title="handful",
        version=version("handful"),
        summary="Names what photos show.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
    )
    held = HeldBytes(service.limits.held_bytes)
    service.metrics.watch(service.batcher)
    service.metrics.held_bytes.set_function(lambda: held.num_bytes)
    service.metrics.ready.set_function(lambda: service.is_ready and not service.is_stopping)
    _add_facts(app, service)
    _add_pages(app)
    _add_problems(app)
    return Guard(
        _switch(PredictEndpoint(service, held), app),
        allowed_hosts=service.allowed_hosts,
        public_names=service.public_names,
        root_path=service.root_path,
        token=service.token,
        observe=service.metrics.observe_request,
    )


class _Described(FastAPI):
    """FastAPI, which also describes the address that it does not route."""

    def openapi(self) -> dict[str, Any]:
        schema = super().openapi()
        schema["servers"] = [{"url": "."}]  # relative to this description, wherever a proxy has it
        schema["paths"].setdefault(_PREDICT, {"post": describe_predict()})
        schema.setdefault("components", {})["securitySchemes"] = BEARER_SCHEME
        return schema


def _switch(predict: Application, others: Application) -> Application:
    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope.get("path") == _PREDICT:
            await predict(scope, receive, send)
            return
        if scope.get("method") == "HEAD":  # uvicorn leaves the body out
            scope = {**scope, "method": "GET"}
        await others(scope, receive, send)

    return app


def _add_facts(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", responses=describe_problems(403, 421))
    async def healthz() -> dict[str, str]:
        """Say that the process is alive."""
        return {"status": "alive"}

    @app.get("/readyz", responses=describe_problems(403, 421, 503))
    async def readyz() -> dict[str, str]:
        """Say whether photos will be answered now."""
        service.check_ready()
        return {"status": "ready"}

    guarded = describe_problems(401, 403, 421)

    @app.get(
        "/model",
        response_model=dict[str, Any],
        responses=guarded,
        openapi_extra=TOKEN_MAYBE,
    )
    async def model() -> Response:
        """Tell the classes, the network with its licence, how good it was, and the limits."""
        limits = service.limits
        facts = {
            **service.card,
            "limits": {
                "max_body_bytes": limits.body_bytes,
                "max_files": limits.num_files,
                "body_seconds": limits.body_seconds,
                "decode_seconds": limits.decode_seconds,
                "max_waiting": service.batcher.max_waiting,
            },
        }
        return Response(encode_json(facts), media_type="application/json")

    @app.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {METRICS_TYPE: {}}}, **guarded},
        openapi_extra=TOKEN_MAYBE,
    )
    async def metrics() -> Response:
        """Give figures for Prometheus."""
        return Response(service.metrics.text(), headers={"content-type": METRICS_TYPE})


def _add_pages(app: FastAPI) -> None:
    folder = files("handful.serving") / "page"
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

    @app.exception_handler(HTTPException)
    async def of_routes(request: Request, error: HTTPException) -> Response:
        known = {404: "not-found", 405: "method"}
        kind = known.get(error.status_code, "bad-request")
        detail = {
            "not-found": "there is nothing at this address; /docs lists what there is.",
            "method": "this address does not take this method; see Allow, and /docs.",
        }.get(kind, str(error.detail))
        headers = dict(error.headers or {})
        if "Allow" in headers:  # all that is routed here is GET
            headers["Allow"] = "GET, HEAD"
        return respond(request, Problem(kind, detail, headers=headers))
