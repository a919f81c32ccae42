"""The HTTP application: what each address takes and gives."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from handful.reports.photo_page import page_script, page_style, render_page
from handful.serving.corrections import take_correction
from handful.serving.guards import Guard
from handful.serving.predict_endpoint import predict
from handful.serving.problems import Problem, encode_json
from handful.serving.schemas import (
    TOKEN_MAYBE,
    Coverage,
    ErrorRate,
    Predictions,
    describe_body,
    describe_problems,
)
from handful.serving.service import Service
from handful.serving.serving_metrics import MEDIA_TYPE as METRICS_TYPE
from handful.serving.uploads import printable

_PAGE_TYPES = {
    "app.js": "text/javascript; charset=utf-8",
    "app.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_PAGES = {"/": "index.html", "/docs": "docs.html"}
_HINT = "Photos are sent to this server only, and it keeps none of them."
_FRESH = {"cache-control": "no-cache"}


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
        summary="Classifies photos.",
        servers=[{"url": "."}],  # relative to the description, wherever a proxy has it
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.add_middleware(Guard, service=service)
    _add_predict(app, service)
    _add_corrections(app, service)
    _add_health(app, service)
    _add_descriptions(app, service)
    _add_pages(app)
    _add_refusals(app)
    return app


def _add_predict(app: FastAPI, service: Service) -> None:
    refused = describe_problems(400, 401, 403, 408, 413, 415, 421, 422, 431, 500, 503)
    extra = {**TOKEN_MAYBE["openapi_extra"], **describe_body(service.limits)}

    @app.post(
        "/predict",
        response_model=Predictions,
        responses=refused,
        operation_id="predict",
        **{**TOKEN_MAYBE, "openapi_extra": extra},
    )
    async def classify(
        request: Request, error_rate: ErrorRate = None, coverage: Coverage = None
    ) -> Response:
        """Classify one or more photos.

        The answer is that of `handful predict --json`. Files that cannot be read are in `errors`;
        when none can, the answer is a problem of status 422.
        """
        return await predict(service, request, error_rate, coverage)


def _add_corrections(app: FastAPI, service: Service) -> None:
    refused = describe_problems(400, 401, 403, 404, 408, 413, 415, 421, 422, 431, 500, 503)
    extra = {**TOKEN_MAYBE["openapi_extra"], **describe_body(service.limits)}

    @app.post(
        "/corrections",
        status_code=204,
        responses=refused,
        operation_id="correct",
        **{**TOKEN_MAYBE, "openapi_extra": extra},
    )
    async def correct(request: Request, label: str = "", predicted: str = "") -> Response:
        """Say what a photo is that was classified wrong.

        Photo and class wait in the project's inbox, where somebody takes them over or not.
        """
        return await take_correction(service, request, label, predicted)


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", responses=describe_problems(403, 421))
    async def healthz() -> dict[str, str]:
        """Say that the process is alive."""
        return {"status": "alive"}

    @app.get("/readyz", responses=describe_problems(403, 421, 503))
    async def readyz() -> dict[str, str]:
        """Say whether photos will be answered now."""
        service.check_ready()
        return {"status": "ready"}


def _add_descriptions(app: FastAPI, service: Service) -> None:
    guarded = describe_problems(401, 403, 421)

    @app.get("/model", response_model=dict[str, Any], responses=guarded, **TOKEN_MAYBE)
    async def model() -> Response:
        """Tell the classes, the network with its license, how good it was, and the limits."""
        limits = {
            "max_body_bytes": service.limits.body_bytes,
            "max_files": service.limits.num_files,
            "body_seconds": service.limits.body_seconds,
            "decode_seconds": service.limits.decode_seconds,
            "max_waiting": service.batcher.max_waiting,
        }
        takes = {"takes_corrections": service.project is not None}
        fields = {**service.card, **takes, "limits": limits}
        return Response(encode_json(fields), media_type="application/json")

    @app.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {METRICS_TYPE: {}}}, **guarded},
        **TOKEN_MAYBE,
    )
    async def metrics() -> Response:
        """Give figures for Prometheus."""
        return Response(service.metrics.text(), headers={"content-type": METRICS_TYPE})


def _add_pages(app: FastAPI) -> None:
    texts = _page_texts()

    @app.get("/", include_in_schema=False)
    @app.get("/docs", include_in_schema=False)
    async def page(request: Request) -> Response:
        return Response(texts[_PAGES[request.scope["path"]]], 200, _FRESH, "text/html")

    @app.get("/page/{name}", include_in_schema=False)
    async def page_part(name: str) -> Response:
        if name not in _PAGE_TYPES:
            raise HTTPException(404)
        return Response(texts[name], headers={"content-type": _PAGE_TYPES[name], **_FRESH})


def _page_texts() -> dict[str, str]:
    folder = Path(__file__).parent / "page"
    texts = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    return {
        **texts,
        "index.html": render_page(folder / "index.html", hint=_HINT, is_live=False),
        "app.css": page_style(texts["app.css"]),
        "app.js": page_script(texts["app.js"]),
    }


def _add_refusals(app: FastAPI) -> None:
    """What Starlette and FastAPI refuse, as problems; `Guard` answers with them."""

    @app.exception_handler(404)
    async def of_addresses(request: Request, error: Exception) -> Response:
        raise Problem("not-found", "there is nothing at this address; /docs lists what there is.")

    @app.exception_handler(405)
    async def of_methods(request: Request, error: HTTPException) -> Response:
        allowed = (error.headers or {}).get("Allow", "").replace("GET", "GET, HEAD")
        detail = f"this address takes {allowed} alone; see /docs."
        raise Problem("method", detail, headers={"Allow": allowed})

    @app.exception_handler(RequestValidationError)
    async def of_options(request: Request, error: RequestValidationError) -> Response:
        found = error.errors()[0]
        given = printable(str(found["input"])[:40])
        raise Problem(
            "option", f'`{found["loc"][-1]}` is "{given}"; expected a number such as 0.01.'
        )
