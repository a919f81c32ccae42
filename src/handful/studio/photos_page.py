"""Photos: the grid in which they are sorted."""

from nicegui import ui

from handful.studio.desk import Desk
from handful.studio.elements import LOOK_SECONDS


class PhotoGrid(ui.element, component="page/photo_grid.js"):  # type: ignore[call-arg,misc]
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
