"""What the page of use asks for: a classified folder, its table, corrections, copies."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response

from handful.errors import HandfulError
from handful.serving.uploads import HeldBytes, Upload
from handful.studio.desk import Desk
from handful.studio.exchanges import (
    FOREVER,
    LIMITS,
    NO_STORE,
    answer_json,
    answer_said,
    answer_uploads,
    read_json,
)


def make_use_routes(desk: Desk) -> APIRouter:
    """Make the routes below /data/folder.

    Args:
        desk: What they work with.

    Returns:
        A router for the application.
    """
    router, held = APIRouter(prefix="/data/folder"), HeldBytes(LIMITS.held_bytes)
    table = desk.folder_table

    @router.get("")
    def view(shown: str = "all", first: int = 0) -> Response:
        return answer_json(table.view(shown, first))

    @router.get("/thumbnails/{row}")
    def thumbnail(row: int) -> Response:
        try:
            return Response(table.thumbnail(row), headers=FOREVER, media_type="image/webp")
        except HandfulError as error:
            return Response(str(error), 404, NO_STORE, "text/plain")

    @router.get("/answers.csv")
    def csv() -> Response:
        headers = {**NO_STORE, "content-disposition": 'attachment; filename="answers.csv"'}
        try:
            return Response(table.csv(), headers=headers, media_type="text/csv; charset=utf-8")
        except HandfulError as error:
            return Response(str(error), 404, NO_STORE, "text/plain")

    @router.post("/photos")
    async def add(request: Request) -> Response:
        def keep(files: list[Upload]) -> dict[str, Any]:
            for file in files:
                table.add(file.name, file.data)
            return {"added": len(files)}

        return await answer_uploads(request, held, keep)

    @router.post("/{action}")
    async def act(request: Request, action: str) -> Response:
        given = await read_json(request)
        row, source = given.get("row"), given.get("source")
        name = str(given.get("name", ""))
        actions: dict[str, Callable[[], str | None]] = {
            "clear": table.clear,
            "begin": lambda: table.begin(
                desk.latest_run(), source if isinstance(source, int) else None
            ),
            "correct": lambda: table.correct(row if isinstance(row, int) else -1, name),
            "sort": table.sort,
        }
        if action not in actions:
            return Response(status_code=404)
        return await answer_said(actions[action])

    return router
