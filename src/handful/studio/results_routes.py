"""What the page of results asks for beside its own socket: maps and reports of runs."""

import asyncio

from fastapi import APIRouter, Response
from starlette.concurrency import run_in_threadpool

from handful.errors import HandfulError
from handful.projects.label_store import check_photo_ids
from handful.studio.exchanges import NO_STORE, answer_file
from handful.studio.results_desk import ResultsDesk

_AN_HOUR = {"cache-control": "private, max-age=3600"}
# Beside the studio's own policy: a report needs no script and nothing from anywhere.
_REPORT_HEADERS = {
    **NO_STORE,
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
}


def add_results_routes(router: APIRouter, results: ResultsDesk) -> None:
    """Add the routes to those of the studio.

    Args:
        router: The studio's.
        results: What they work with.
    """
    # One map at a time: those that wait hold no thread, so that a click never waits for them.
    one_by_one = asyncio.Lock()

    @router.get("/maps/{run}/{id}")
    async def map_of(run: str, id: str) -> Response:
        try:
            check_photo_ids([id])  # before it becomes a part of a path
            async with one_by_one:
                data = await run_in_threadpool(results.map, run, id)
        except HandfulError as error:
            return Response(str(error), 404, NO_STORE, "text/plain")
        except asyncio.CancelledError:
            return Response(status_code=503)  # the studio ends, and waits for no map
        return Response(data, headers=_AN_HOUR, media_type="image/jpeg")

    @router.get("/reports/{run}")
    def report(run: str) -> Response:
        return answer_file(lambda: results.report(run), "text/html", _REPORT_HEADERS)
