"""The process behind the studio: its project, its address, its end."""

import os
import secrets
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

from handful.config import StudioConfig, is_loopback
from handful.data.project_folder import is_project
from handful.errors import DataError
from handful.extras import require
from handful.projects.project import Project
from handful.serving.addresses import invitation, open_at
from handful.serving.server import listening, return_large_memory
from handful.studio.desk import Desk
from handful.studio.photos_view import source_name


def open_studio(
    photos: Path | None,
    config: StudioConfig,
    *,
    announce: Callable[[str], None] = print,
) -> None:
    """Show a project's pages in a browser until Ctrl-C.

    Args:
        photos: A folder, a zip or a file of photos, which are taken where they lie; a project; None
            begins with no photos, or goes on with the studio's own project.
        config: Where the project lies, and the port.
        announce: Called with the lines that say the address.

    Raises:
        HandfulError: When the photos or the project cannot be used, the port is taken, or nicegui
            is not installed.
    """
    require("studio", "The studio", "nicegui", "fastapi", "uvicorn", "python_multipart")
    if photos is not None and not os.path.lexists(photos):
        raise DataError(f"{photos} does not exist; expected a folder or a zip of photos.")
    with listening(config.host, config.port) as listener:
        project, source = find_project(photos, config.project)
        desk = Desk(project)
        if source is not None:
            desk.take(source)
        token = secrets.token_urlsafe(24)
        addresses = [f"{one}/?token={token}" for one in open_at(config.host, listener)]
        if not is_loopback(config.host):
            desk.sharing.addresses = tuple(addresses)

        def on_ready() -> None:
            announce(f"The studio is open at {addresses[0]}")
            announce(f"Labels and runs are kept in {project.folder}; press Ctrl-C to stop.")
            if desk.sharing.addresses and sys.stdout.isatty():
                for line in invitation(addresses, addresses[0], sys.stdout.encoding).splitlines():
                    announce(line)
            # Ten thousand photos' log is read while the browser starts.
            threading.Thread(target=desk.warm_up, daemon=True).start()
            if not config.no_browser:
                # Some browsers return only when they are closed.
                threading.Thread(target=webbrowser.open, args=addresses[:1], daemon=True).start()

        return_large_memory()
        app = _make_app(desk, token, listener.getsockname()[1])
        with suppress(KeyboardInterrupt):
            _make_server(app, on_ready).run(sockets=[listener])


def find_project(photos: Path | None, folder: str | None) -> tuple[Project, Path | None]:
    """Open the project that goes with photos, or make it.

    Args:
        photos: As for `open_studio`.
        folder: The project's, or None.

    Returns:
        The project, and what is to be looked through for photos; None for nothing.

    Raises:
        DataError: When something else lies there.
        OutputError: When it cannot be made.
    """
    if photos is not None and folder is None and is_project(photos):
        return Project.open(photos), None
    name = "studio" if photos is None else source_name(photos)
    return Project.open(folder or f"{name}.handful"), photos


def _make_app(desk: Desk, token: str, port: int) -> Any:
    """The studio's pages and routes, behind its guard."""
    # Nothing is kept by the framework itself, but it asks for a place when it is imported.
    os.environ.setdefault("NICEGUI_STORAGE_PATH", str(desk.project.folder / "pages"))
    from fastapi import FastAPI
    from nicegui import ui

    from handful.studio.guard import StudioGuard
    from handful.studio.pages import add_pages
    from handful.studio.routes import make_routes
    from handful.studio.use_routes import make_use_routes

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(make_routes(desk))
    app.include_router(make_use_routes(desk))
    add_pages(desk)
    ui.run_with(
        app,
        title="handful studio",
        favicon=Path(str(files("handful.serving") / "page" / "icon.svg")),
        dark=None,
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
    )
    name = socket.gethostname().lower()
    names = {name, f"{name}.local"} if desk.sharing.addresses else ()
    return StudioGuard(app, token, port, frozenset(names))


def _make_server(app: Any, on_ready: Callable[[], None]) -> Any:
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                on_ready()

    return Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
            ws="websockets-sansio",
        )
    )
