"""Requests of the pages' own scripts read, and answers to them: JSON, and files within limits."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from handful.errors import HandfulError
from handful.serving.problems import Problem, encode_json
from handful.serving.uploads import Disconnected, HeldBytes, Upload, UploadLimits, read_uploads

# A photo's content never changes under its id.
FOREVER = {"cache-control": "private, max-age=31536000, immutable"}
NO_STORE = {"cache-control": "no-store"}
_MOST_JSON = 2_000_000  # the ids of 50,000 photos
LIMITS = UploadLimits(body_bytes=40_000_000, num_files=16, body_seconds=120.0)


def answer_json(values: dict[str, Any], status: int = 200) -> Response:
    """An answer that is kept nowhere.

    Args:
        values: Plain values.
        status: The HTTP status.

    Returns:
        The response.
    """
    return Response(encode_json(values), status, NO_STORE, "application/json")


def answer_file(
    read: Callable[[], bytes],
    media_type: str = "image/webp",
    headers: Mapping[str, str] = FOREVER,
) -> Response:
    """Answer with a file, or with the reason why there is none.

    Args:
        read: Gives its bytes.
        media_type: Its kind.
        headers: Those of the file.

    Returns:
        The response.
    """
    try:
        return Response(read(), headers=dict(headers), media_type=media_type)
    except HandfulError as error:
        return Response(str(error), 404, NO_STORE, "text/plain")


async def read_json(request: Request) -> dict[str, Any]:
    """Read what a script sends.

    Args:
        request: Its request.

    Returns:
        A small JSON object; anything else is an empty one.
    """
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


async def answer_said(do: Callable[[], str | None]) -> Response:
    """Do something, and answer with what was done.

    Args:
        do: Does it, and says so in a sentence without its period.

    Returns:
        The response: "said", or "error" with a sentence.
    """
    try:
        return answer_json({"said": await run_in_threadpool(do) or ""})
    except HandfulError as error:
        return answer_json({"error": str(error)}, 400)


async def answer_uploads(
    request: Request, held: HeldBytes, do: Callable[[list[Upload]], dict[str, Any]]
) -> Response:
    """Read a form's files within the limits of a server, and do something with them.

    Args:
        request: Its request.
        held: Counts the bytes of all requests.
        do: Takes the files, gives plain values.

    Returns:
        The response: what `do` gives, or "error" with a sentence.
    """
    try:
        with held.hold() as add:
            files = await read_uploads(request.headers, request.receive, LIMITS, add)
            return answer_json(await run_in_threadpool(do, files))
    except Problem as problem:
        return answer_json({"error": str(problem)}, problem.status)
    except HandfulError as error:
        return answer_json({"error": str(error)}, 422)
    except Disconnected:
        return Response(status_code=499)
