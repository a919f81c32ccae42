"""Use: photos are dropped and classified, and what the camera sees."""

from nicegui import ui

from handful.reports.photo_page import CAMERA
from handful.studio.corrections_card import corrections_card
from handful.studio.desk import Desk
from handful.studio.elements import empty, whenever, words
from handful.studio.share_card import share_card

ASKING = "page/asking.js"


class TryPhotos(  # type: ignore[call-arg]
    ui.element,  # type: ignore[misc]
    component="page/try_photos.js",
    dependencies=[CAMERA, ASKING],
):
    """Where photos are dropped to be classified, and the camera's image is.

    Args:
        classes: What a photo may be said to be.
    """

    def __init__(self, classes: tuple[str, ...]) -> None:
        super().__init__()
        self._props["classes"] = list(classes)


class FolderTable(  # type: ignore[call-arg]
    ui.element,  # type: ignore[misc]
    component="page/folder_table.js",
    dependencies=[ASKING],
):
    """A folder that is classified, and its table."""


def use_page(desk: Desk) -> None:
    """Make the page.

    Args:
        desk: What it works with.
    """
    words("h1", "Use")
    corrections_card(desk)

    def render() -> None:
        if desk.latest_run() is None:
            empty("There is no classifier yet", "Train one; then try it here on new photos.")
        else:
            TryPhotos(desk.project.labels.classes)
            FolderTable()

    whenever(lambda: (desk.latest_run() is None, desk.project.labels.classes), render)
    share_card(desk)
