"""What the pages' own scripts ask for: photos, labels, uploads; plain JSON over HTTP."""

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from handful.errors import HandfulError
from handful.projects.label_store import check_photo_ids
from handful.projects.thumbnails import large_picture
from handful.serving.uploads import HeldBytes, Upload
from handful.studio.desk import Desk
from handful.studio.dropped_zips import keep_zip
from handful.studio.exchanges import (
    LIMITS,
    answer_file,
    answer_json,
    answer_said,
    answer_uploads,
    read_json,
)
from handful.studio.photos_view import act
from handful.studio.results_routes import add_results_routes


def make_routes(desk: Desk) -> APIRouter:
    """Make the routes below /data.

    Args:
        desk: What they work with.

    Returns:
        A router for the application.
    """
    router = APIRouter(prefix="/data")
    _add_photo_routes(router, desk)
    _add_upload_routes(router, desk)
    add_results_routes(router, desk.results)
    return router


def _add_photo_routes(router: APIRouter, desk: Desk) -> None:
    def checked(id: str) -> str:
        check_photo_ids([id])  # before it becomes a part of a path
        return id

    @router.get("/thumbnails/{id}")
    def thumbnail(id: str) -> Response:
        return answer_file(lambda: desk.project.thumbnail(checked(id)))

    @router.get("/pictures/{id}")
    def picture(id: str) -> Response:
        return answer_file(lambda: large_picture(desk.project.read(checked(id))))

    @router.get("/photos/{id}")
    def details(id: str) -> Response:
        return answer_json(desk.details(id))

    @router.get("/photos")
    def photos(shown: str = "all") -> Response:
        return answer_json(desk.photos_view(shown).to_dict())

    @router.post("/act")
    async def change(request: Request) -> Response:
        given = await read_json(request)

        def do() -> str:
            ids = [str(id) for id in given.get("ids", [])]
            return act(desk.project, given.get("action", ""), ids, str(given.get("name", "")))

        return await answer_said(do)

    @router.post("/example")
    async def example() -> Response:
        return await answer_said(desk.take_example)


def _add_upload_routes(router: APIRouter, desk: Desk) -> None:
    held = HeldBytes(LIMITS.held_bytes)

    @router.post("/upload")
    async def upload(request: Request) -> Response:
        return await answer_uploads(request, held, lambda files: _add(desk, files))

    @router.post("/zips")
    async def zips(request: Request, name: str = "photos.zip") -> Response:
        try:
            path = await keep_zip(request.stream(), desk.project.folder, name)
        except HandfulError as error:
            return answer_json({"error": str(error)}, 422)
        await run_in_threadpool(desk.take, path)
        return answer_json({"added": 0, "rejected": []})

    @router.post("/classify")
    async def classify(request: Request, map: bool = False) -> Response:
        def answer(files: list[Upload]) -> dict[str, Any]:
            return desk.classifier.answer(files[0].name, files[0].data, with_map=map)

        return await answer_uploads(request, held, answer)


def _add(desk: Desk, files: list[Upload]) -> dict[str, Any]:
    added, rejected = 0, []
    for file in files:
        try:
            desk.project.add_photo(file.name, file.data)
            added += 1
        except HandfulError as error:
            rejected.append(str(error))
    return {"added": added, "rejected": rejected}
