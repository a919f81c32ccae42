"""Train: one slider, one button."""

from typing import Any

from nicegui import run, ui

from handful.errors import HandfulError
from handful.studio.desk import Desk
from handful.studio.elements import button, status, whenever, words
from handful.studio.train_view import QUALITIES, train_view

_HINTS = {
    "fast": "some seconds: the last layer of a small network",
    "good": "about a minute: several layers, for photos unlike everyday ones",
    "best": "up to ten minutes: tries several networks and larger photos",
}


def train_page(desk: Desk) -> None:
    """Make the page.

    Args:
        desk: What it works with.
    """
    words("h1", "Train")
    quality = ["fast"]

    def render() -> None:
        view = train_view(desk.project)
        words("p", view.sentence, "lead")
        if view.advice:
            words("p", view.advice, "faint")
        if not view.is_ready:
            words("a", "Sort photos", "primary button").props('href="/"')
            return
        running = status(desk.train_job)[0] == "running"
        with ui.element("div").classes("card choice"):
            _quality_slider(quality)
            train = button("Train", lambda: desk.train_job.begin(quality[0]), "primary large")
            if running:
                train.props("disabled")
                words("p", "It is training; you may close this page.", "faint")

    whenever(lambda: (desk.version, status(desk.train_job)), render)
    if train_view(desk.project).is_ready:
        _enough(desk)


def _enough(desk: Desk) -> None:
    """The question whether more labels would help, and its answer."""

    async def ask() -> None:
        answer.set_text("Looking at the photos ...")
        asking.props("disabled")
        try:
            answer.set_text(await run.io_bound(desk.outlook))
        except HandfulError as error:
            answer.set_text(str(error))
        asking.props(remove="disabled")

    with ui.element("div").classes("enough"):
        asking = button("Have I labeled enough?", ask)
        answer = words("p", "").props('role="status"')


def _quality_slider(quality: list[str]) -> None:
    """Fast, good or best, each with what it costs."""
    words("label", "Quality", "quality-label").props('for="quality"')
    slider = ui.element("input").props(
        f'id="quality" type="range" min="0" max="2" step="1" value="{QUALITIES.index(quality[0])}" '
        f'aria-valuetext="{quality[0]}"'
    )
    with ui.element("div").classes("marks").props('aria-hidden="true"'):
        for name in QUALITIES:
            words("span", name)
    hint = words("p", f"{quality[0]}: {_HINTS[quality[0]]}", "faint").props('aria-live="polite"')

    def change(event: Any) -> None:
        quality[0] = QUALITIES[int(event.args)]
        hint.set_text(f"{quality[0]}: {_HINTS[quality[0]]}")
        slider.props(f'aria-valuetext="{quality[0]}"')

    slider.on("input", change, js_handler="(event) => emit(event.target.value)")
