"""Use: photos are dropped and classified."""

from nicegui import ui

from handful.studio.desk import Desk
from handful.studio.elements import empty, whenever, words


class TryPhotos(ui.element, component="page/try_photos.js"):  # type: ignore[call-arg,misc]
    """Where photos are dropped to be classified."""


def use_page(desk: Desk) -> None:
    """Make the page.

    Args:
        desk: What it works with.
    """
    words("h1", "Use")

    def render() -> None:
        if desk.latest_run() is None:
            empty("There is no classifier yet", "Train one; then try it here on new photos.")
        else:
            TryPhotos()

    whenever(lambda: desk.latest_run() is None, render)
