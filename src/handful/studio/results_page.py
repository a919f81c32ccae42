"""Results: what to expect of new photos, and what went wrong."""

from nicegui import ui

from handful.errors import HandfulError
from handful.studio.desk import Desk
from handful.studio.elements import article, decide, empty, picture, status, whenever, words
from handful.studio.results_view import Mistake, ResultsView


def results_page(desk: Desk) -> None:
    """Make the page.

    Args:
        desk: What it works with.
    """

    def render() -> None:
        words("h1", "Results", "unseen")
        try:
            view = desk.results()
        except HandfulError as error:
            words("p", str(error), "wrong-text")
            return
        if view is None:
            empty("There are no results yet", "Train a classifier; how good it is stands here.")
            return
        _headline(view)
        _mistakes(desk, view)

    whenever(lambda: (desk.version, status(desk.train_job)), render)


def _headline(view: ResultsView) -> None:
    words("p", view.verdict, "verdict")
    with ui.element("div").classes("card figure"):
        words("p", view.share, "huge")
        with ui.element("div").classes("interval").props('aria-hidden="true"'):
            with ui.element("div").classes("track"):
                width = 100 * (view.high - view.low)
                ui.element("span").classes("reach").style(
                    f"left:{100 * view.low:.1f}%;width:{width:.1f}%"
                )
                ui.element("span").classes("dot").style(f"left:{100 * view.accuracy:.1f}%")
            with ui.element("div").classes("ticks"):
                for tick in ("0 %", "50 %", "100 %"):
                    words("span", tick)
        words("p", view.summary, "faint")
        words("p", view.made, "faint small")


def _mistakes(desk: Desk, view: ResultsView) -> None:
    if not view.num_mistakes:
        words("p", "No test photo was classified wrong.", "note good")
        return
    words("h2", f"Classified wrong ({view.num_mistakes:,})")
    words("p", "The surest first. Often it is the label that is wrong: fix it here.", "faint")
    if view.changed:
        with ui.element("p").classes("note row"):
            words("span", view.changed)
            words("a", "Train again", "primary button").props('href="/train"')
    with ui.element("div").classes("cards"):
        for mistake in view.mistakes:
            _mistake(desk, mistake)


def _mistake(desk: Desk, mistake: Mistake) -> None:
    with article(mistake.name):
        picture(mistake.id, mistake.name)
        with ui.element("p"):
            words("span", "actual ")
            words("b", mistake.actual)
            ui.element("br")
            words("span", "predicted ")
            words("b", mistake.predicted, "wrong-text")
            words("span", f" ({mistake.confidence})", "faint")
        if mistake.done:
            words("p", mistake.done, "done")
            return
        decide(desk, mistake.id, mistake.name, mistake.actual, mistake.predicted)
