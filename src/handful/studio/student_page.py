"""Train, for students: strategy and network, curves, views of photos, the network's layers."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from nicegui import run, ui

from handful.augmentation_policy import FILL_MODES
from handful.errors import HandfulError
from handful.studio.desk import Desk
from handful.studio.elements import button, status, whenever, words
from handful.studio.student_previews import StripView, fill_strip, random_strip, range_strip
from handful.studio.student_view import (
    FILL_WORDS,
    FLIPS,
    RECIPE_WORDS,
    SLIDERS,
    Choice,
    Slider,
    change,
    curves,
    network_table,
    student_view,
)

_VALUE = "(event) => emit(event.target.value)"
_CHECKED = "(event) => emit(event.target.checked)"
_CURVES_CAPTION = (
    "Training dashed, validation solid. The number is how many points better training is than "
    "validation: where that grows, the network learns photos by heart."
)
_SECONDS_A_STRIP = 0.08  # while a slider moves


def student_part(desk: Desk, begin: Callable[[dict[str, Any]], None]) -> None:
    """Make the folded part of the page of trainings.

    Args:
        desk: What it works with.
        begin: Begins a training with options, or says why not.
    """
    part = _StudentPart(desk, begin)
    fold = ui.element("details").classes("students")
    with fold:
        words("summary", "For students")
        body = ui.element("div").classes("students-body")

    def fill() -> None:
        if not part.is_made:
            with body:
                part.make()

    # A training in epochs is looked at where its curves are.
    if desk.train_job.epochs():
        fold.props("open")
        fill()
    fold.on("toggle", lambda event: fill() if event.args else None, js_handler=_OPEN)


_OPEN = "(event) => emit(event.target.open)"


class _StudentPart:
    """The part, and what was chosen in it."""

    def __init__(self, desk: Desk, begin: Callable[[dict[str, Any]], None]) -> None:
        self.desk, self.begin = desk, begin
        self.choice, self.trouble = Choice(), ""
        self.photo = 0
        self.is_made = False

    def make(self) -> None:
        """Fill it."""
        self.is_made = True
        with ui.element("div").classes("card fields"):
            self.fields = ui.refreshable(self._fields)
            self.fields()
        job = self.desk.train_job
        whenever(lambda: (status(job), len(job.epochs())), self._curves)
        self.views = ui.refreshable(self._views)
        self.views()
        _Network(self.desk, lambda: self.choice)

    def _set(self, name: str, event: Any) -> None:
        had_policy, before = self.choice.has_policy, self.choice
        try:
            self.choice, self.trouble = change(self.choice, name, str(event.args)), ""
        except HandfulError as error:
            self.trouble = str(error)
        self.fields.refresh()
        moved = (before.recipe, before.strategy) != (self.choice.recipe, self.choice.strategy)
        if moved or had_policy != self.choice.has_policy:
            self.views.refresh()

    def _fields(self) -> None:
        view, choice = student_view(self.choice), self.choice
        self._select("recipe", "Recipe", list(RECIPE_WORDS.items()), choice.recipe)
        named = [(name, f"{name}: {text}") for name, text in view.strategies]
        self._select("strategy", "Strategy", named, choice.strategy)
        if view.backbones:
            chosen = choice.backbone or view.backbones[0][0]
            self._select("backbone", "Pretrained network", list(view.backbones), chosen)
        with ui.element("div").classes("row numbers"):
            if view.epochs is not None:
                self._number("epochs", "Epochs", choice.epochs, view.epochs)
            self._number("image_size", "Image side, pixels", choice.image_size, view.image_size)
            if view.has_views:
                self._number("views", "Copies of each photo", choice.views, 1)
        if view.needs:
            words("p", view.needs, "note")
        trouble = self.trouble or view.refusal
        if trouble:
            words("p", trouble, "wrong-text").props('role="alert"')
        train = button("Train this", lambda: self.begin(self.choice.options()), "primary")
        if view.needs or trouble:
            train.props("disabled")

    def _select(self, name: str, label: str, options: list[tuple[str, str]], chosen: str) -> None:
        with ui.element("label").classes("field"):
            words("span", label)
            with ui.element("select") as select:
                for value, text in options:
                    option = words("option", text)
                    option.props["value"] = value
                    if value == chosen:
                        option.props("selected")
            select.on("change", partial(self._set, name), js_handler=_VALUE)

    def _number(self, name: str, label: str, value: int | None, usual: int) -> None:
        with ui.element("label").classes("field"):
            words("span", label)
            field = ui.element("input").props(f'type="number" min="1" placeholder="{usual}"')
            if value is not None:
                field.props(f'value="{value}"')
            field.on("change", partial(self._set, name), js_handler=_VALUE)

    def _curves(self) -> None:
        job = self.desk.train_job
        state, epochs = job.read(), job.epochs()
        found = curves("" if state is None else state.asked, epochs)
        if not found:
            text = (
                "Curves of loss and accuracy are drawn here while a network learns in epochs. "
                "(A head on a pretrained network is fitted at once, without epochs.)"
            )
            words("p", text, "card faint")
            return
        with ui.element("div").classes("curves"):
            for curve in found:
                with ui.element("figure").classes("chart"):
                    words("h2", curve.title)
                    ui.html(curve.svg, sanitize=False)
            words("p", _CURVES_CAPTION, "faint small")

    def _views(self) -> None:
        if not self.choice.has_policy:
            return
        ids = self.desk.trainer.labeled
        if not ids:
            return
        with ui.element("section").classes("card views"):
            with ui.element("div").classes("row"):
                words("h2", "Views of a photo")
                ui.element("div").classes("space")
                button("Another photo", self._next_photo)
                button("As in the recipe", self._reset)
            text = "Training draws new views of each photo. Each strip shows one range by itself, "
            words("p", text + "from end to end.", "faint")
            try:
                photo = self.desk.project.thumbnail(ids[self.photo % len(ids)])
            except HandfulError as error:  # it is gone
                words("p", str(error), "wrong-text")
                return
            _Views(self, photo).make()

    def _next_photo(self) -> None:
        self.photo += 1
        self.views.refresh()

    def _reset(self) -> None:
        self.choice = replace(self.choice, policy=None)
        self.fields.refresh()
        self.views.refresh()


class _Views:
    """Sliders and boxes of the ranges, each with its strip."""

    def __init__(self, part: _StudentPart, photo: bytes) -> None:
        self.part, self.photo = part, photo
        self.strips: dict[str, Callable[[StripView], None]] = {}

    def make(self) -> None:
        """Make them all, and draw them."""
        policy = self.part.choice.shown_policy
        for slider in SLIDERS:
            value = getattr(policy, slider.name)
            low, high = policy.zoom_interval
            self._slider(slider, max(1 - low, high - 1) if slider.name == "zoom_range" else value)
        for name, label in FLIPS.items():
            with self._row(name, label):
                box = ui.element("input").props(f'id="{name}" type="checkbox"')
                if getattr(policy, name):
                    box.props("checked")
                box.on("change", partial(self._changed, name), js_handler=_CHECKED)
        with self._row("fill_mode", "Outside the photo"):
            with ui.element("select").props('id="fill_mode"') as select:
                for mode in FILL_MODES:
                    option = words("option", f"{mode}: {FILL_WORDS[mode]}").props(f'value="{mode}"')
                    if mode == policy.fill_mode:
                        option.props("selected")
            select.on("change", partial(self._changed, "fill_mode"), js_handler=_VALUE)
        with self._row("all", "All together"):
            pass
        kept = student_view(self.part.choice).kept
        if kept:
            words("p", f"The recipe's, without a slider: {kept}.", "faint small")
        self._draw(list(self.strips))

    def _slider(self, slider: Slider, value: float) -> None:
        with self._row(slider.name, slider.label):
            element = ui.element("input").props(
                f'id="{slider.name}" type="range" min="0" max="{slider.most:g}" '
                f'step="{slider.step:g}" value="{float(value):g}"'
            )
        element.on(
            "input",
            partial(self._changed, slider.name),
            throttle=_SECONDS_A_STRIP,
            js_handler="(event) => emit(Number(event.target.value))",
        )

    def _row(self, name: str, label: str) -> ui.element:
        row = ui.element("div").classes("view-row")
        with row:
            controls = ui.element("div").classes("view-controls")
            with ui.element("div").classes("view-strip"):
                with ui.element("div").classes("tiles") as tiles:
                    image = ui.element("img").props('alt=""')
                below = words("p", "", "faint small")
        with controls:
            words("label", label).props(f'for="{name}"')

        def show(strip: StripView) -> None:
            image.props["src"] = strip.uri
            image.props["alt"] = ", ".join(strip.labels) or strip.words
            image.update()
            tiles.style(f"--tiles:{strip.num_tiles}")
            below.set_text(strip.words)

        self.strips[name] = show
        return controls

    def _changed(self, name: str, event: Any) -> None:
        part = self.part
        before = student_view(part.choice).refusal, part.trouble
        try:
            part.choice, part.trouble = part.choice.with_policy(**{name: event.args}), ""
        except HandfulError as error:
            part.trouble = str(error)
        if (student_view(part.choice).refusal, part.trouble) != before:
            part.fields.refresh()
        outside = name == "fill_mode"
        self._draw(list(self.strips) if outside else [name, "all"])

    def _draw(self, names: list[str]) -> None:
        """Draw strips: some milliseconds each."""
        choice = self.part.choice
        policy, recipe = choice.shown_policy, choice.recipe
        for name in names:
            if name == "all":
                strip = random_strip(self.photo, policy, recipe)
            elif name == "fill_mode":
                strip = fill_strip(self.photo, recipe)
            else:
                strip = range_strip(self.photo, policy, name, recipe)
            self.strips[name](strip)


class _Network:
    """The network's layers, counted when somebody asks."""

    def __init__(self, desk: Desk, choice: Callable[[], Choice]) -> None:
        self.desk, self.choice = desk, choice
        with ui.element("section").classes("card network"):
            with ui.element("div").classes("row"):
                words("h2", "The network")
                ui.element("div").classes("space")
                self.asking = button("Show its layers", self._show)
            self.area = ui.element("div").props('role="status"')

    async def _show(self) -> None:
        choice = self.choice()
        view = student_view(choice)
        self.asking.props("disabled")
        self._fill(lambda: words("p", f"Building {view.network} ...", "faint"))
        try:
            size = choice.image_size or view.image_size
            summary = await run.io_bound(self.desk.trainer.summarize, view.network, size)
            self._fill(lambda: _table(view.network, summary))
        except HandfulError as error:
            self._fill(partial(words, "p", str(error), "wrong-text"))
        self.asking.props(remove="disabled")

    def _fill(self, make: Callable[[], Any]) -> None:
        self.area.clear()
        with self.area:
            make()


def _table(name: str, summary: dict[str, Any]) -> None:
    found = network_table(summary)
    words("p", f"{name}: {found.sentence}")
    with ui.element("div").classes("layers").props('tabindex="0" role="region"') as region:
        region.props["aria-label"] = f"Layers of {name}"
        with ui.element("table"):
            with ui.element("thead"), ui.element("tr"):
                for title in ("Layer", "Kind", "Output", "Parameters"):
                    words("th", title).props('scope="col"')
            with ui.element("tbody"):
                for row in found.rows:
                    with ui.element("tr"):
                        for cell in row:
                            words("td", cell)
