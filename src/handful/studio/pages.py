"""The five places in their frame; each is thin, and has its work done elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files

from nicegui import ui

from handful.studio.check_page import check_page
from handful.studio.desk import Desk
from handful.studio.elements import LOOK_SECONDS, button, words
from handful.studio.photos_page import photos_page
from handful.studio.results_page import results_page
from handful.studio.train_page import train_page
from handful.studio.train_view import JobLine, line_of
from handful.studio.use_page import use_page

PLACES = (
    ("/", "Photos"),
    ("/check", "Check"),
    ("/train", "Train"),
    ("/results", "Results"),
    ("/use", "Use"),
)
# What links to what came of a job say.
_SEE = {"/results": "See the results", "/check": "See what was found", "/use": "See it"}
# In the order in which one overrides another; first what reports look like too.
_SHARED_STYLES = ("tokens", "charts")
_STYLES = ("studio", "photos", "check", "train", "results", "use", "small")


def add_pages(desk: Desk) -> None:
    """Register all pages.

    Args:
        desk: What they work with.
    """
    shared, folder = files("handful.reports") / "templates", files("handful.studio") / "page"
    styles = [shared / f"{name}.css" for name in _SHARED_STYLES]
    styles += [folder / f"{name}.css" for name in _STYLES]
    ui.add_css("\n".join(style.read_text("utf-8") for style in styles), shared=True)
    makers = (photos_page, check_page, train_page, results_page, use_page)
    for (path, name), make in zip(PLACES, makers, strict=True):
        ui.page(path, title=f"{name} – {desk.project.name}")(_page_of(desk, name, make))


def _page_of(desk: Desk, name: str, make: Callable[[Desk], None]) -> Callable[[], None]:
    def page() -> None:
        with _frame(desk, name):
            make(desk)

    return page


@contextmanager
def _frame(desk: Desk, here: str) -> Iterator[None]:
    """The rail on the left (below, on a phone), the page, and the line that is always there."""
    with ui.element("div").classes("studio"):
        with ui.element("nav").classes("rail").props('aria-label="Places"'):
            words("p", desk.project.name, "project")
            for path, name in PLACES:
                with ui.element("div").classes("rail-place"):
                    link = words("a", name).props(f'href="{path}"')
                    if name == "Check":
                        _open_findings(desk)
                if name == here:
                    link.props('aria-current="page"')
        # The framework has the landmark "main" around all.
        with ui.element("div").classes(f"place {here.lower()}"):
            yield
        _job_line(desk)


def _open_findings(desk: Desk) -> None:
    """How many findings want a decision, beside the name of the page."""
    with ui.element("span").classes("open-findings") as area:
        number = words("span", "")
        words("span", "open", "unseen")

    def show() -> None:
        count = desk.check.num_open
        number.set_text(f"{count} ")
        area.set_visibility(count > 0)

    show()
    ui.timer(LOOK_SECONDS, show)


def _job_line(desk: Desk) -> None:
    with ui.element("div").classes("job").props('role="status"') as area:
        text = words("span", "", "job-text")
        track = ui.element("i").classes("bar")
        with track:
            fill = ui.element("i")
        link = words("a", "")
        cancel = button("Cancel", lambda: _cancel(desk))
    shown: list[JobLine | None] = [None]

    def show() -> None:
        line = line_of([job.read() for job in desk.jobs], time.time())
        if line == shown[0]:
            return
        shown[0] = line
        text.set_text(line.text)
        area.set_visibility(bool(line.text))
        area.classes(add="wrong" if line.is_error else "", remove="" if line.is_error else "wrong")
        track.set_visibility(line.share is not None)
        link.set_visibility(bool(line.result))
        link.props(f'href="{line.result}"')
        link.set_text(_SEE.get(line.result, ""))
        fill.style(f"width:{100 * (line.share or 0):.0f}%")
        cancel.set_visibility(line.is_running)

    show()
    ui.timer(LOOK_SECONDS, show)


def _cancel(desk: Desk) -> None:
    for job in desk.jobs:
        job.cancel()
