"""What the page of use asks for: a classified folder and its table; what was made for others."""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from handful.serving.uploads import HeldBytes, Upload
from handful.studio.corrections_view import correct
from handful.studio.desk import Desk
from handful.studio.exchanges import (
    LIMITS,
    NO_STORE,
    answer_file,
    answer_json,
    answer_said,
    answer_uploads,
    read_json,
)


def make_use_routes(desk: Desk) -> APIRouter:
    """Make the routes below /data/folder and /data/shared.

    Args:
        desk: What they work with.

    Returns:
        A router for the application.
    """
    router, held = APIRouter(prefix="/data"), HeldBytes(LIMITS.held_bytes)
    router.include_router(_folder_routes(desk, held))

    @router.post("/correct")
    async def correct_answer(request: Request, name: str = "") -> Response:
        def keep(files: list[Upload]) -> dict[str, Any]:
            return {"said": correct(desk.project, files[0].name, files[0].data, name)}

        return await answer_uploads(request, held, keep)

    @router.get("/shared/{format}")
    def shared(format: str) -> Response:
        run = desk.latest_run()
        found = None if run is None else desk.sharing.made(run).get(format)
        if found is None:
            return Response("This was not made yet.", 404, NO_STORE, "text/plain")
        name = f"{desk.project.name}-{found.path.name}"
        return FileResponse(found.path, headers=NO_STORE, filename=name)

    return router


def _folder_routes(desk: Desk, held: HeldBytes) -> APIRouter:
    router, table = APIRouter(prefix="/folder"), desk.folder_table

    @router.get("")
    def view(shown: str = "all", first: int = 0) -> Response:
        return answer_json(table.view(shown, first))

    @router.get("/thumbnails/{row}")
    def thumbnail(row: int) -> Response:
        return answer_file(lambda: table.thumbnail(row))

    @router.get("/answers.csv")
    def csv() -> Response:
        headers = {**NO_STORE, "content-disposition": 'attachment; filename="answers.csv"'}
        return answer_file(table.csv, "text/csv; charset=utf-8", headers)

    @router.post("/photos")
    async def add(request: Request) -> Response:
        def keep(files: list[Upload]) -> dict[str, Any]:
            for file in files:
                table.add(file.name, file.data)
            return {"added": len(files)}

        return await answer_uploads(request, held, keep)

    @router.post("/{action}")
    async def act(request: Request, action: str) -> Response:
        do = _folder_action(desk, action, await read_json(request))
        return Response(status_code=404) if do is None else await answer_said(do)

    return router


def _folder_action(
    desk: Desk, action: str, given: Mapping[str, Any]
) -> Callable[[], str | None] | None:
    table, row, source = desk.folder_table, given.get("row"), given.get("source")
    number, place = row if isinstance(row, int) else -1, source if isinstance(source, int) else None
    actions: dict[str, Callable[[], str | None]] = {
        "clear": table.clear,
        "begin": lambda: table.begin(desk.latest_run(), place),
        "correct": lambda: table.correct(number, str(given.get("name", ""))),
        "sort": table.sort,
    }
    return actions.get(action)
