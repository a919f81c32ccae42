"""The five places: each is thin, shows a view model, and has its work done elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.resources import files
from typing import Any

from nicegui import run, ui
from nicegui.elements.mixins.text_element import TextElement

from handful.errors import HandfulError
from handful.studio.desk import Desk
from handful.studio.view_models import (
    QUALITIES,
    FindingCard,
    FoundPhoto,
    JobLine,
    Mistake,
    ResultsView,
    act,
    line_of,
    train_view,
)

PLACES = (
    ("/", "Photos"),
    ("/check", "Check"),
    ("/train", "Train"),
    ("/results", "Results"),
    ("/use", "Use"),
)
_HINTS = {
    "fast": "some seconds: the last layer of a small network",
    "good": "about a minute: several layers, for photos unlike everyday ones",
    "best": "up to ten minutes: tries several networks and larger photos",
}
_LOOK_SECONDS = 0.5


class PhotoGrid(ui.element, component="page/photo_grid.js"):  # type: ignore[call-arg,misc]
    """The grid of photos."""


class TryPhotos(ui.element, component="page/try_photos.js"):  # type: ignore[call-arg,misc]
    """Where photos are dropped to be classified."""


def add_pages(desk: Desk) -> None:
    """Register all pages.

    Args:
        desk: What they work with.
    """
    tokens = (files("handful.reports") / "templates" / "tokens.css").read_text("utf-8")
    own = (files("handful.studio") / "page" / "studio.css").read_text("utf-8")
    ui.add_css(tokens + own, shared=True)
    makers = (_photos_page, _check_page, _train_page, _results_page, _use_page)
    for (path, name), make in zip(PLACES, makers, strict=True):
        ui.page(path, title=f"{name} – {desk.project.name}")(_page_of(desk, name, make))


def _page_of(desk: Desk, name: str, make: Callable[[Desk], None]) -> Callable[[], None]:
    def page() -> None:
        with _frame(desk, name):
            make(desk)

    return page


def _words(tag: str, text: str, classes: str = "") -> TextElement:
    return TextElement(tag=tag, text=text).classes(classes)


def _button(text: str, do: Callable[[], Any], classes: str = "", label: str = "") -> TextElement:
    found = _words("button", text, classes)
    found._props["type"] = "button"
    if label:
        found._props["aria-label"] = label
    found.on("click", do, args=[])
    return found


@contextmanager
def _frame(desk: Desk, here: str) -> Iterator[None]:
    """The rail on the left (below, on a phone), the page, and the line that is always there."""
    with ui.element("div").classes("studio"):
        with ui.element("nav").classes("rail").props('aria-label="Places"'):
            _words("p", desk.project.name, "project")
            for path, name in PLACES:
                link = _words("a", name).props(f'href="{path}"')
                if name == here:
                    link.props('aria-current="page"')
        # The framework has the landmark "main" around all.
        with ui.element("div").classes(f"place {here.lower()}"):
            yield
        _job_line(desk)


def _job_line(desk: Desk) -> None:
    with ui.element("div").classes("job").props('role="status"') as area:
        text = _words("span", "", "job-text")
        track = ui.element("i").classes("bar")
        with track:
            fill = ui.element("i")
        link = _words("a", "")
        cancel = _button("Cancel", lambda: _cancel(desk))
    shown: list[JobLine | None] = [None]

    def show() -> None:
        line = line_of(desk.jobs, time.time())
        if line == shown[0]:
            return
        shown[0] = line
        text.set_text(line.text)
        area.set_visibility(bool(line.text))
        area.classes(add="wrong" if line.is_error else "", remove="" if line.is_error else "wrong")
        track.set_visibility(line.share is not None)
        link.set_visibility(bool(line.result))
        link.props(f'href="{line.result}"')
        link.set_text("See the results" if line.result == "/results" else "See what was found")
        fill.style(f"width:{100 * (line.share or 0):.0f}%")
        cancel.set_visibility(line.is_running)

    show()
    ui.timer(_LOOK_SECONDS, show)


def _cancel(desk: Desk) -> None:
    for job in (desk.train_job, desk.check_job):
        job.cancel()


def _said(text: str) -> None:
    """A toast; everything that it tells of can be undone on the page of photos, with Ctrl+Z."""
    if text:
        ui.notify(f"{text}.", timeout=5000, position="bottom", classes="note-toast")


def _whenever(changes: Callable[[], Any], render: Callable[[], None]) -> None:
    """Render a part of a page, and again when something has changed."""
    part = ui.refreshable(render)
    part()
    seen = [changes()]

    def look() -> None:
        now = changes()
        if now != seen[0]:
            seen[0] = now
            part.refresh()

    ui.timer(_LOOK_SECONDS, look)


def _photos_page(desk: Desk) -> None:
    grid = PhotoGrid()
    seen = [desk.version]

    def look() -> None:
        if desk.version != seen[0]:
            seen[0] = desk.version
            grid.run_method("refresh")

    ui.timer(_LOOK_SECONDS, look)


def _status(job: Any) -> tuple[str, float]:
    state = job.read()
    return ("", 0.0) if state is None else (state.status, state.started)


def _train_page(desk: Desk) -> None:
    _words("h1", "Train")
    quality = ["fast"]

    def render() -> None:
        view = train_view(desk.project)
        _words("p", view.sentence, "lead")
        if view.advice:
            _words("p", view.advice, "faint")
        if not view.is_ready:
            _words("a", "Sort photos", "primary button").props('href="/"')
            return
        running = _status(desk.train_job)[0] == "running"
        with ui.element("div").classes("card choice"):
            _quality_slider(quality)
            train = _button("Train", lambda: desk.train_job.begin(quality[0]), "primary large")
            if running:
                train.props("disabled")
                _words("p", "It is training; you may close this page.", "faint")

    _whenever(lambda: (desk.version, _status(desk.train_job)), render)
    if train_view(desk.project).is_ready:
        _enough(desk)


def _enough(desk: Desk) -> None:
    """The question whether more labels would help, and its answer."""

    async def ask() -> None:
        answer.set_text("Looking at the photos ...")
        button.props("disabled")
        try:
            answer.set_text(await run.io_bound(desk.outlook))
        except HandfulError as error:
            answer.set_text(str(error))
        button.props(remove="disabled")

    with ui.element("div").classes("enough"):
        button = _button("Have I labeled enough?", ask)
        answer = _words("p", "").props('role="status"')


def _quality_slider(quality: list[str]) -> None:
    """Fast, good or best, each with what it costs."""
    _words("label", "Quality", "quality-label").props('for="quality"')
    slider = ui.element("input").props(
        f'id="quality" type="range" min="0" max="2" step="1" value="{QUALITIES.index(quality[0])}" '
        f'aria-valuetext="{quality[0]}"'
    )
    with ui.element("div").classes("marks").props('aria-hidden="true"'):
        for name in QUALITIES:
            _words("span", name)
    hint = _words("p", f"{quality[0]}: {_HINTS[quality[0]]}", "faint").props('aria-live="polite"')

    def change(event: Any) -> None:
        quality[0] = QUALITIES[int(event.args)]
        hint.set_text(f"{quality[0]}: {_HINTS[quality[0]]}")
        slider.props(f'aria-valuetext="{quality[0]}"')

    slider.on("input", change, js_handler="(event) => emit(event.target.value)")


def _results_page(desk: Desk) -> None:
    def render() -> None:
        _words("h1", "Results", "unseen")
        try:
            view = desk.results()
        except HandfulError as error:
            _words("p", str(error), "wrong-text")
            return
        if view is None:
            _empty("There are no results yet", "Train a classifier; how good it is stands here.")
            return
        _headline(view)
        _mistakes(desk, view)

    _whenever(lambda: (desk.version, _status(desk.train_job)), render)


def _empty(title: str, text: str, path: str = "/train", name: str = "Go to Train") -> None:
    with ui.element("div").classes("empty"):
        _words("p", title, "title")
        _words("p", text, "faint")
        _words("a", name, "primary button").props(f'href="{path}"')


def _headline(view: ResultsView) -> None:
    _words("p", view.verdict, "verdict")
    with ui.element("div").classes("card figure"):
        _words("p", view.share, "huge")
        with ui.element("div").classes("interval").props('aria-hidden="true"'):
            with ui.element("div").classes("track"):
                width = 100 * (view.high - view.low)
                ui.element("span").classes("reach").style(
                    f"left:{100 * view.low:.1f}%;width:{width:.1f}%"
                )
                ui.element("span").classes("dot").style(f"left:{100 * view.accuracy:.1f}%")
            with ui.element("div").classes("ticks"):
                for tick in ("0 %", "50 %", "100 %"):
                    _words("span", tick)
        _words("p", view.summary, "faint")
        _words("p", view.made, "faint small")


def _mistakes(desk: Desk, view: ResultsView) -> None:
    if not view.num_mistakes:
        _words("p", "No test photo was classified wrong.", "note good")
        return
    _words("h2", f"Classified wrong ({view.num_mistakes:,})")
    _words("p", "The surest first. Often it is the label that is wrong: fix it here.", "faint")
    if view.changed:
        with ui.element("p").classes("note row"):
            _words("span", view.changed)
            _words("a", "Train again", "primary button").props('href="/train"')
    with ui.element("div").classes("cards"):
        for mistake in view.mistakes:
            _mistake(desk, mistake)


def _picture(id: str, name: str) -> None:
    with ui.element("div").classes("frame"):
        ui.element("img").props["src"] = f"/data/thumbnails/{id}"
    _words("p", name, "faint name")


def _mistake(desk: Desk, mistake: Mistake) -> None:
    with _article(mistake.name):
        _picture(mistake.id, mistake.name)
        with ui.element("p"):
            _words("span", "actual ")
            _words("b", mistake.actual)
            ui.element("br")
            _words("span", "predicted ")
            _words("b", mistake.predicted, "wrong-text")
            _words("span", f" ({mistake.confidence})", "faint")
        if mistake.done:
            _words("p", mistake.done, "done")
            return
        _decide(desk, mistake.id, mistake.name, mistake.actual, mistake.predicted)


def _article(name: str) -> ui.element:
    found = ui.element("article").classes("card photo-card")
    found.props["aria-label"] = name
    return found


def _decide(desk: Desk, id: str, name: str, label: str, suggested: str) -> None:
    """Buttons that say what a photo is."""
    project = desk.project

    def is_now(class_name: str) -> None:
        _said(act(project, "assign", [id], class_name))

    others = [one for one in project.labels.classes if one not in (label, suggested)]
    if suggested and suggested != label:
        text = f"The label is wrong, it is {suggested}"
        _button(text, lambda: is_now(suggested), "", f"{text}: {name}")
    if others:
        select = ui.element("select")
        select.props["aria-label"] = f"What {name} is"
        with select:
            _words("option", "It is ...").props('value=""')
            for other in others:
                _words("option", other).props["value"] = other
        select.on(
            "change",
            lambda event: is_now(event.args) if event.args in others else None,
            js_handler="(event) => emit(event.target.value)",
        )
    leave_out = partial(act, project, "leave_out", [id])
    _button("Leave out", lambda: _said(leave_out()), "", f"Leave {name} out")


def _check_page(desk: Desk) -> None:
    _words("h1", "Check")

    def render() -> None:
        cards = desk.check_cards()
        running = _status(desk.check_job)[0] == "running"
        intro = "Looks for what would spoil a classifier: wrong labels, copies, shortcuts."
        _words("p", intro, "intro")
        name = "Check" if cards is None else "Check again"
        button = _button(name, desk.begin_check, "primary")
        is_sorted = any(desk.project.labels.counts.values())
        if running or not is_sorted:
            button.props("disabled")
        if not is_sorted:
            _words("p", "Sort some photos first.", "faint")
        elif cards is not None and not cards:
            _words("p", "Nothing was found: the photos look fine.", "note good")
        for card in cards or ():
            _finding(desk, card)

    _whenever(lambda: (desk.version, _status(desk.check_job), desk.num_kept), render)


def _finding(desk: Desk, card: FindingCard) -> None:
    left = [photo.id for photo in card.photos if not photo.done]
    kind = "card finding severe" if card.is_severe else "card finding"
    with ui.element("details").classes(kind) as area:
        if not card.is_done:
            area.props("open")
        _words("summary", card.title + (" – done" if card.is_done else ""))
        _words("p", card.advice, "faint")
        for line in card.lines:
            _words("p", line)
        if len(left) > 1:
            with ui.element("p").classes("row"):
                keep = partial(desk.keep, card.kind, left)
                leave_out = partial(act, desk.project, "leave_out", left)
                _button(f"Keep all {len(left)}", lambda: _said(keep()))
                _button(f"Leave all {len(left)} out", lambda: _said(leave_out()))
        with ui.element("div").classes("cards"):
            for photo in card.photos:
                _found_photo(desk, card, photo)


def _found_photo(desk: Desk, card: FindingCard, photo: FoundPhoto) -> None:
    with _article(photo.name):
        _picture(photo.id, photo.name)
        if photo.label:
            with ui.element("p"):
                _words("span", "label ")
                _words("b", photo.label)
        if photo.line:
            _words("p", photo.line, "faint small")
        if photo.done:
            _words("p", photo.done, "done")
            return
        keep = partial(desk.keep, card.kind, [photo.id])
        _button("Keep", lambda: _said(keep()), "", f"Keep {photo.name}")
        _decide(desk, photo.id, photo.name, photo.label, photo.suggested)


def _use_page(desk: Desk) -> None:
    _words("h1", "Use")

    def render() -> None:
        if desk.latest_run() is None:
            _empty("There is no classifier yet", "Train one; then try it here on new photos.")
        else:
            TryPhotos()

    _whenever(lambda: desk.latest_run() is None, render)
