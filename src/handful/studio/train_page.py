"""Train: one slider, one button; what was interrupted is gone on with."""

from collections.abc import Callable
from functools import partial
from typing import Any

from nicegui import run, ui

from handful.errors import HandfulError
from handful.studio.desk import Desk
from handful.studio.elements import LOOK_SECONDS, button, status, whenever, words
from handful.studio.student_page import student_part
from handful.studio.train_view import (
    BUDGETS,
    HINTS,
    QUALITIES,
    estimate_of,
    interrupted_view,
    train_view,
)
from handful.studio.trainer import Asked
from handful.workflows.forecast import Forecast


def train_page(desk: Desk) -> None:
    """Make the page.

    Args:
        desk: What it works with.
    """
    words("h1", "Train")
    chosen = _Chosen()

    def render() -> None:
        view = train_view(desk.project)
        words("p", view.sentence, "lead")
        if view.advice:
            words("p", view.advice, "faint")
        if not view.is_ready:
            words("a", "Sort photos", "primary button").props('href="/"')
            return
        running = status(desk.train_job)[0] == "running"
        if not running:
            _interrupted(desk)
        with ui.element("div").classes("card choice"):
            chosen.render()
            train = button("Train", lambda: begin(desk, chosen.options), "primary large")
            if running:
                train.props("disabled")
                words("p", "It is training; you may close this page.", "faint")

    whenever(lambda: (desk.version, status(desk.train_job)), render)
    if train_view(desk.project).is_ready:
        _keep_estimates(desk, chosen)
        _enough(desk)
        student_part(desk, partial(begin, desk))


def begin(desk: Desk, options: dict[str, Any]) -> None:
    """Begin a training, or say why not.

    Args:
        desk: What the page works with.
        options: What was chosen, as plain values.
    """
    _tried(lambda: desk.trainer.begin(options))


def _tried(do: Callable[[], None]) -> None:
    try:
        do()
    except HandfulError as error:
        ui.notify(str(error), timeout=10_000, position="bottom", classes="note-toast")


def _interrupted(desk: Desk) -> None:
    """What became of the last training, and the button that goes on with it."""
    trainer, job = desk.trainer, desk.train_job
    is_same = Asked.of(job).photos == trainer.digest
    view = interrupted_view(job.read(), len(job.epochs()), is_same, trainer.is_unfinished)
    if view is not None:
        with ui.element("div").classes("note row"):
            words("p", view.sentence)
            button(view.button, lambda: _tried(trainer.go_on), "primary")


def _keep_estimates(desk: Desk, chosen: "_Chosen") -> None:
    """Have the qualities' estimates made in the background, and again when something changes."""

    async def look() -> None:
        estimates = await run.io_bound(desk.trainer.estimates)
        if estimates is None or len(estimates) < len(QUALITIES):
            desk.trainer.measure()
        if estimates is not None and estimates != chosen.estimates:
            chosen.estimates = estimates
            chosen.show()

    ui.timer(LOOK_SECONDS, look)


class _Chosen:
    """The quality and, for the best, the time that it may take; with what they cost."""

    def __init__(self) -> None:
        self.quality, self.budget = 0, BUDGETS.index(10)
        self.estimates: dict[str, Forecast] = {}
        self.show: Callable[[], None] = lambda: None

    @property
    def options(self) -> dict[str, Any]:
        """What is asked for, as plain values."""
        name = QUALITIES[self.quality]
        if name != "best":
            return {"quality": name}
        return {"quality": name, "time_budget": BUDGETS[self.budget]}

    def render(self) -> None:
        """Make the sliders."""
        slider = _slider("quality", "Quality", len(QUALITIES) - 1, self.quality)
        with ui.element("div").classes("marks").props('aria-hidden="true"'):
            marks = [words("span", "") for _ in QUALITIES]
        hint = words("p", "", "faint").props('aria-live="polite"')
        with ui.element("div").classes("budget") as budget:
            time = _slider("budget", "At most", len(BUDGETS) - 1, self.budget)
            minutes = words("p", "", "faint").props('aria-live="polite"')

        def show() -> None:
            name, most = QUALITIES[self.quality], BUDGETS[self.budget]
            for mark, one in zip(marks, QUALITIES, strict=True):
                within = most if one == "best" else None
                cost = estimate_of(self.estimates.get(one), within)
                mark.set_text(f"{one} · {cost}" if cost else one)
            unknown = "" if name in self.estimates else "; some photos are being timed"
            hint.set_text(f"{name}: {HINTS[name]}{unknown}")
            budget.set_visibility(name == "best")
            minutes.set_text(f"{most} min to try networks in; what does not fit is left out")
            # Whoever changes one property sends all.
            slider.props(f'value="{self.quality}" aria-valuetext="{name}"')
            time.props(f'value="{self.budget}" aria-valuetext="{most} minutes"')

        def change(name: str, event: Any) -> None:
            setattr(self, name, int(event.args))
            self.show()

        for name, element in (("quality", slider), ("budget", time)):
            element.on(
                "input",
                lambda event, name=name: change(name, event),
                js_handler="(event) => emit(event.target.value)",
            )
        self.show = show
        show()


def _slider(name: str, label: str, last: int, place: int) -> ui.element:
    words("label", label, "quality-label").props(f'for="{name}"')
    return ui.element("input").props(
        f'id="{name}" type="range" min="0" max="{last}" step="1" value="{place}"'
    )


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
