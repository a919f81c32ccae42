"""The card of corrections that wait: take them or ignore them, one by one or all."""

from collections.abc import Callable
from functools import partial

from nicegui import ui

from handful.projects.inbox import Correction
from handful.studio.corrections_view import (
    CorrectionsView,
    corrections_view,
    ignore,
    put_back,
    take,
)
from handful.studio.desk import Desk
from handful.studio.elements import article, button, picture, said, whenever, words


def corrections_card(desk: Desk) -> None:
    """Make the card; there is none where nothing waits.

    Args:
        desk: What the page works with.
    """
    project, ignored = desk.project, list[tuple[Correction, ...]]()

    def do_ignore(corrections: tuple[Correction, ...]) -> None:
        ignore(project, corrections)
        ignored.append(corrections)

    def undo() -> None:
        put_back(project, ignored.pop())

    def render() -> None:
        view = corrections_view(project)
        if view is not None:
            with ui.element("section").classes("card waiting").props('aria-label="Corrections"'):
                _show(desk, view, do_ignore)
        if ignored:
            with ui.element("p").classes("row note"):
                words("span", f"{sum(map(len, ignored)):,} ignored.")
                button("Undo", undo)

    whenever(lambda: (project.inbox.version, len(ignored)), render)


def _show(
    desk: Desk, view: CorrectionsView, do_ignore: Callable[[tuple[Correction, ...]], None]
) -> None:
    project = desk.project

    def do_take(corrections: tuple[Correction, ...]) -> None:
        said(take(project, corrections))

    words("h2", view.title)
    words("p", "They count for nothing before you take them.", "faint")
    with ui.element("p").classes("row"):
        button("Take them all", lambda: do_take(project.inbox.waiting), "primary")
        button("Ignore all", lambda: do_ignore(project.inbox.waiting))
    with ui.element("div").classes("cards"):
        for correction, name, text in view.photos:
            with article(name):
                picture(correction.id, name)
                words("p", text)
                button("Take", partial(do_take, (correction,)), "", f"Take: {name}, {text}")
                button("Ignore", partial(do_ignore, (correction,)), "", f"Ignore: {name}, {text}")
    if view.more:
        words("p", view.more, "faint")
