"""What the page of results is made of: the figure, a table, a slider, cards of test photos."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from handful.errors import HandfulError
from handful.studio.answering import AnswerStep, choose_error_rate, chosen_error_rate, step_of
from handful.studio.desk import Desk
from handful.studio.elements import article, button, decide, picture, said, words
from handful.studio.parts import Parts
from handful.studio.results_desk import ResultsDesk
from handful.studio.results_view import (
    Cell,
    Confusions,
    Details,
    Figure,
    Pair,
    PhotoList,
    TestPhoto,
)

# A network that has no map has no frame for one either.
_HIDE = """(event) => {
  event.target.closest(".frame").hidden = true;
  for (const legend of document.querySelectorAll(".legend")) legend.hidden = true;
}"""
_LEGEND = (
    "Beside each photo, where the network looked: orange spoke for its answer, blue for the class "
    "held against it; a dark border was not seen."
)


def figure_card(figure: Figure, runs: ResultsDesk) -> None:
    """What a training came to, and what it came to before.

    Args:
        figure: What to show.
        runs: Other runs to compare with.
    """
    words("p", figure.verdict, "verdict")
    with ui.element("div").classes("card figure"):
        words("p", figure.share, "huge")
        with ui.element("div").classes("interval").props('aria-hidden="true"'):
            with ui.element("div").classes("track"):
                width = 100 * (figure.high - figure.low)
                ui.element("span").classes("reach").style(
                    f"left:{100 * figure.low:.1f}%;width:{width:.1f}%"
                )
                ui.element("span").classes("dot").style(f"left:{100 * figure.accuracy:.1f}%")
            with ui.element("div").classes("ticks"):
                for tick in ("0 %", "50 %", "100 %"):
                    words("span", tick)
        words("p", figure.summary, "faint")
        words("p", figure.made, "faint small")
        if choices := runs.earlier():
            _compared(runs, {choice.name: choice.text for choice in choices})


def _compared(runs: ResultsDesk, choices: dict[str, str]) -> None:
    def compare(name: str) -> None:
        try:
            sentence.set_text(runs.compare(name))
        except HandfulError as error:
            sentence.set_text(str(error))

    with ui.element("div").classes("compared"):
        with ui.element("label"):
            words("span", "Compared with ")
            with ui.element("select") as select:
                for name, text in choices.items():
                    words("option", text).props["value"] = name
        sentence = words("p", "").props('role="status"')
    select.on(
        "change",
        lambda event: compare(event.args) if event.args in choices else None,
        js_handler="(event) => emit(event.target.value)",
    )
    compare(next(iter(choices)))


def confusion_table(confusions: Confusions, choose: Callable[[Pair], None]) -> None:
    """What gets mixed up with what; each number is a button.

    Args:
        confusions: What to show.
        choose: Called with the pair whose photos are wanted; None for all mistakes.
    """
    buttons: dict[tuple[str, str], TextElement] = {}

    def press(pair: tuple[str, str]) -> None:
        is_on = buttons[pair].props.get("aria-pressed") == "true"
        for other, found in buttons.items():
            found.props(f'aria-pressed="{str(other == pair and not is_on).lower()}"')
        choose(None if is_on else pair)

    def add(cell: Cell, text: str, classes: str = "") -> None:
        pair = cell.actual, cell.predicted
        made = button(text, partial(press, pair), classes, cell.label)
        buttons[pair] = made.props('aria-pressed="false"')

    if not confusions.rows:
        with ui.element("ul").classes("pairs"):
            for cell, text in confusions.pairs:
                with ui.element("li"):
                    add(cell, text)
        return
    with ui.element("div").classes("scroll").props('role="region" tabindex="0"') as area:
        area.props["aria-label"] = "What gets mixed up"
        with ui.element("table").classes("confusions"):
            words("caption", "Rows: what the photos are. Columns: what they were taken for.")
            with ui.element("thead"), ui.element("tr"):
                words("td", "")
                for name in confusions.class_names:
                    words("th", name).props('scope="col"')
            with ui.element("tbody"):
                for name, row in zip(confusions.class_names, confusions.rows, strict=True):
                    with ui.element("tr"):
                        words("th", name).props('scope="row"')
                        for cell in row:
                            with ui.element("td"):
                                _count(cell, add)


def _count(cell: Cell, add: Callable[[Cell, str, str], None]) -> None:
    if not cell.count:
        words("span", "0", "faint zero")
        return
    with ui.element("div").classes("shade").style(f"--shade:{cell.shade}"):
        add(cell, f"{cell.count:,}", "right" if cell.is_correct else "wrong")


class PhotoCards:
    """Test photos as cards, with maps and buttons.

    Args:
        desk: What the page works with.
        run: The run's name.
        refresh: Shows everything anew.
    """

    AT_FIRST: ClassVar[int] = 12
    MORE: ClassVar[int] = 24

    def __init__(self, desk: Desk, run: str, refresh: Callable[[], None]) -> None:
        self.desk, self.run, self.refresh = desk, run, refresh
        self.limit = self.AT_FIRST
        self._head = Parts(_head)
        self._cards = Parts(self._card, "cards photo-cards")
        self._more = button("", self._show_more)

    def show(self, found: PhotoList, about: str = "", changed: str = "") -> None:
        """Show these photos.

        Args:
            found: The photos.
            about: A line on them, or "".
            changed: That labels have changed, or "".
        """
        self._head.show(
            {"head": (found.title if about else "", about, changed, bool(found.photos))}
        )
        self._cards.show({photo.id: photo for photo in found.photos})
        self._more.set_text(f"Show more ({found.num_more:,})")
        self._more.set_visibility(found.num_more > 0)

    def _show_more(self) -> None:
        self.limit += self.MORE
        self.refresh()

    def _card(self, photo: TestPhoto) -> None:
        with article(photo.name):
            with ui.element("div").classes("looks"):
                with ui.element("div"):
                    picture(photo.id, photo.name)
                self._map(photo)
            with ui.element("p"):
                words("span", "actual ")
                words("b", photo.actual)
                ui.element("br")
                words("span", "predicted ")
                words("b", photo.predicted, "wrong-text" if photo.is_wrong else "")
                words("span", f" ({photo.confidence})", "faint")
            if photo.done:
                words("p", photo.done, "done")
                return
            decide(self.desk, photo.id, photo.name, photo.actual, photo.predicted, self.refresh)

    def _map(self, photo: TestPhoto) -> None:
        with ui.element("div").classes("frame"):
            image = ui.element("img").props('loading="lazy" decoding="async"')
            image.props["src"] = f"/data/maps/{quote(self.run)}/{photo.id}"
            image.props["alt"] = f"Where the network looked in {photo.name}"
            image.on("error", js_handler=_HIDE)


def _head(texts: tuple[str, str, str, bool]) -> None:
    title, about, changed, has_maps = texts
    if title:
        words("h2", title)
        words("p", about, "faint")
        if has_maps:
            words("p", _LEGEND, "faint legend")
    if changed:
        with ui.element("p").classes("note row"):
            words("span", changed)
            words("a", "Train again", "primary button").props('href="/train"')


def answer_slider(steps: Sequence[AnswerStep], folder: Path) -> None:
    """What answering only when sure brings, step by step, and a button that keeps one.

    Args:
        steps: From answering always to the most careful.
        folder: The project's, which keeps the choice.
    """
    place = [step_of(steps, chosen_error_rate(folder))]

    def show() -> None:
        step = steps[place[0]]
        text.set_text(step.text)
        promise.set_text(step.promise)
        slider.props["aria-valuetext"] = step.text
        is_kept = step_of(steps, chosen_error_rate(folder)) == place[0]
        use.set_text("In use" if is_kept else "Use this")
        use.props("disabled" if is_kept else "", remove="" if is_kept else "disabled")

    def move(event: Any) -> None:
        place[0] = min(max(int(event.args), 0), len(steps) - 1)
        show()

    def keep() -> None:
        said(choose_error_rate(folder, steps[place[0]].error_rate))
        show()

    with ui.element("div").classes("card answering"):
        text = words("p", "", "lead").props('aria-live="polite"')
        words("label", "How sure an answer must be", "unseen").props('for="sure"')
        slider = ui.element("input").props(
            f'id="sure" type="range" min="0" max="{len(steps) - 1}" step="1" value="{place[0]}"'
        )
        with ui.element("div").classes("marks").props('aria-hidden="true"'):
            words("span", "answer always")
            words("span", "only when sure")
        promise = words("p", "", "faint")
        use = button("", keep)
    slider.on("input", move, js_handler="(event) => emit(event.target.value)")
    show()


def details(found: Details, run: str) -> None:
    """Measures for those who know them, folded; the whole report.

    Args:
        found: The measures.
        run: The run's name.
    """
    with ui.element("details").classes("card measures"):
        words("summary", "Details")
        with ui.element("dl"):
            for name, value in found.measures:
                with ui.element("div"):
                    words("dt", name)
                    words("dd", value)
        with ui.element("div").classes("scroll").props('role="region" tabindex="0"') as area:
            area.props["aria-label"] = "Classes"
            with ui.element("table"):
                with ui.element("thead"), ui.element("tr"):
                    for name in ("Class", "Test photos", "Precision", "Recall (95 %)", "F1"):
                        words("th", name).props('scope="col"')
                with ui.element("tbody"):
                    for row in found.classes:
                        with ui.element("tr"):
                            words("th", row[0]).props('scope="row"')
                            for value in row[1:]:
                                words("td", value)
    with ui.element("p").classes("report-link"):
        link = words("a", "The whole report of this run", "button")
        link.props('target="_blank"')
        link.props["href"] = f"/data/reports/{quote(run)}"
