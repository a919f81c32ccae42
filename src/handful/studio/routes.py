"""What the pages' own scripts ask for: photos, labels, uploads; plain JSON over HTTP."""

import json
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from handful.errors import HandfulError
from handful.projects.label_store import check_photo_ids
from handful.serving.problems import Problem, encode_json
from handful.serving.uploads import Disconnected, HeldBytes, Upload, UploadLimits, read_uploads
from handful.studio.desk import Desk
from handful.studio.photos_view import act

# A photo's content never changes under its id.
_FOREVER = {"cache-control": "private, max-age=31536000, immutable"}
_NO_STORE = {"cache-control": "no-store"}
_MOST_JSON = 2_000_000  # the ids of 50,000 photos
LIMITS = UploadLimits(body_bytes=40_000_000, num_files=16, body_seconds=120.0)


def make_routes(desk: Desk) -> APIRouter:
    """Make the routes below /data.

    Args:
        desk: What they work with.

    Returns:
        A router for the application.
    """
    router, held = APIRouter(prefix="/data"), HeldBytes(LIMITS.held_bytes)

    @router.get("/thumbnails/{id}")
    def thumbnail(id: str) -> Response:
        try:
            check_photo_ids([id])  # before it becomes a part of a path
            data = desk.project.thumbnail(id)
        except HandfulError as error:
            return Response(str(error), 404, _NO_STORE, "text/plain")
        return Response(data, headers=_FOREVER, media_type="image/webp")

    @router.get("/photos")
    def photos(shown: str = "all") -> Response:
        return _json(desk.photos_view(shown).to_dict())

    @router.post("/act")
    async def change(request: Request) -> Response:
        given = await _read_json(request)

        def do() -> str:
            ids = [str(id) for id in given.get("ids", [])]
            return act(desk.project, given.get("action", ""), ids, str(given.get("name", "")))

        return await _answer(do, "said")

    @router.post("/upload")
    async def upload(request: Request) -> Response:
        return await _with_uploads(request, held, lambda files: _add(desk, files))

    @router.post("/classify")
    async def classify(request: Request, map: bool = False) -> Response:
        def answer(files: list[Upload]) -> dict[str, Any]:
            return desk.classifier.answer(files[0].name, files[0].data, with_map=map)

        return await _with_uploads(request, held, answer)

    return router


def _json(values: dict[str, Any], status: int = 200) -> Response:
    return Response(encode_json(values), status, _NO_STORE, "application/json")


async def _read_json(request: Request) -> dict[str, Any]:
    """A small JSON object; anything else is an empty one."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_JSON:
            return {}
    try:
        given = json.loads(bytes(body))
    except ValueError:
        return {}
    return given if isinstance(given, dict) else {}


async def _answer(do: Callable[[], Any], name: str) -> Response:
    try:
        return _json({name: await run_in_threadpool(do)})
    except HandfulError as error:
        return _json({"error": str(error)}, 400)


def _add(desk: Desk, files: list[Upload]) -> dict[str, Any]:
    added, rejected = 0, []
    for file in files:
        try:
            desk.project.add_photo(file.name, file.data)
            added += 1
        except HandfulError as error:
            rejected.append(str(error))
    return {"added": added, "rejected": rejected}


async def _with_uploads(
    request: Request, held: HeldBytes, do: Callable[[list[Upload]], dict[str, Any]]
) -> Response:
    """Read a form's files within the limits of a server, and do something with them."""
    try:
        with held.hold() as add:
            files = await read_uploads(request.headers, request.receive, LIMITS, add)
            return _json(await run_in_threadpool(do, files))
    except Problem as problem:
        return _json({"error": str(problem)}, problem.status)
    except HandfulError as error:
        return _json({"error": str(error)}, 422)
    except Disconnected:
        return Response(status_code=499)
