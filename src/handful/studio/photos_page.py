"""Photos: the grid in which they are sorted."""

from pathlib import Path

from nicegui import ui

from handful.reports.photo_page import CAMERA
from handful.studio.desk import Desk
from handful.studio.elements import LOOK_SECONDS

_PARTS = Path(__file__).parent / "page"


class PhotoGrid(  # type: ignore[call-arg]
    ui.element,  # type: ignore[misc]
    component="page/photo_grid.js",
    dependencies=[CAMERA, _PARTS / "photo_camera.js", _PARTS / "photo_preview.js"],
):
    """The grid of photos."""


def photos_page(desk: Desk) -> None:
    """Make the page.

    Args:
        desk: What it works with.
    """
    grid = PhotoGrid()
    seen = [desk.version]

    def look() -> None:
        if desk.version != seen[0]:
            seen[0] = desk.version
            grid.run_method("refresh")

    ui.timer(LOOK_SECONDS, look)
