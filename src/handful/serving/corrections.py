"""POST /corrections: a photo, and what somebody says that it is, for a project's inbox."""

import asyncio
import threading
from pathlib import Path

from fastapi import Request, Response

from handful.data.project_folder import is_project
from handful.errors import DataError
from handful.projects.project import Project
from handful.serving.problems import Problem
from handful.serving.service import Service
from handful.serving.uploads import Disconnected, read_uploads

ORIGIN = "serve"
# More than anybody looks through; strangers cannot fill the disk.
MOST_WAITING = 1_000
# A photo is decoded for each: one at a time, beside those that are classified.
_ONE = threading.Lock()


def find_project(run: Path, folder: str | None) -> Project | None:
    """Open the project that corrections go to.

    Args:
        run: The run that is served.
        folder: The project's, which is made where nothing is; None takes the project that the run
            lies in.

    Returns:
        The project; None where the run lies in none.

    Raises:
        DataError: When something else lies there.
        OutputError: When it cannot be made.
    """
    if folder is not None:
        return Project.open(folder)
    around = run.resolve().parent.parent
    return Project.open(around) if is_project(around) else None


async def take_correction(
    service: Service, request: Request, label: str, predicted: str
) -> Response:
    """Keep a photo and what it is said to be, until somebody decides.

    Args:
        service: What it works with.
        request: Brings the photo.
        label: What it is said to be.
        predicted: What it was taken for; anything that is no class is left out.

    Returns:
        204.

    Raises:
        Problem: When corrections are not taken, or not this one.
    """
    project = service.project
    if project is None:
        raise Problem("not-found", "this server takes no corrections; its run is in no project.")
    names = service.batcher.classifier.class_names
    if label not in names:
        shown = ", ".join(names[:8])
        raise Problem("option", f"`label` is none of this classifier's classes: {shown}.")
    if len(project.inbox.waiting) >= MOST_WAITING:
        raise Problem(
            "inbox-full",
            f"{MOST_WAITING:,} corrections wait already; they are decided on in the studio.",
        )
    try:
        with service.held.hold() as add:
            files = await read_uploads(request.headers, request.receive, service.limits, add)
            costs = await asyncio.to_thread(service.batcher.weigh, [file.data for file in files])
            service.check_costs(costs)

            def keep() -> None:
                with _ONE:
                    given = predicted if predicted in names else ""
                    for file in files:
                        project.suggest(file.name, file.data, label, predicted=given, origin=ORIGIN)

            await asyncio.to_thread(keep)
    except DataError as error:
        raise Problem("unreadable", f"the photo cannot be kept: {error}.") from error
    except Disconnected:
        return Response(status_code=499)
    request.scope["fields"]["files"] = len(files)
    return Response(status_code=204)
