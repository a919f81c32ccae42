"""What several pages are made of: words, buttons, parts that follow changes, photos."""

from collections.abc import Callable, Iterable
from typing import Any

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from handful.studio.desk import Desk
from handful.studio.jobs import JobFolder
from handful.studio.photos_view import act

LOOK_SECONDS = 0.5


def words(tag: str, text: str, classes: str = "") -> TextElement:
    """An element with a text.

    Args:
        tag: Name of the HTML element.
        text: What it says.
        classes: CSS classes, spaces between.

    Returns:
        The element.
    """
    return TextElement(tag=tag, text=text).classes(classes)


def button(text: str, do: Callable[[], Any], classes: str = "", label: str = "") -> TextElement:
    """A button.

    Args:
        text: What it says.
        do: Called when it is clicked.
        classes: CSS classes, spaces between.
        label: What a screen reader says instead of the text, or "".

    Returns:
        The button.
    """
    found = words("button", text, classes)
    found._props["type"] = "button"
    if label:
        found._props["aria-label"] = label
    found.on("click", do, args=[])
    return found


def said(text: str) -> None:
    """A toast; everything that it tells of can be undone on the page of photos, with Ctrl+Z.

    Args:
        text: What was done; "" shows nothing.
    """
    if text:
        ui.notify(f"{text}.", timeout=5000, position="bottom", classes="note-toast")


def whenever(changes: Callable[[], Any], render: Callable[[], None]) -> None:
    """Render a part of a page, and again when something has changed.

    Args:
        changes: Gives another value after each change.
        render: Makes the part.
    """
    part = ui.refreshable(render)
    part()
    seen = [changes()]

    def look() -> None:
        now = changes()
        if now != seen[0]:
            seen[0] = now
            part.refresh()

    ui.timer(LOOK_SECONDS, look)


def status(job: JobFolder) -> tuple[str, float]:
    """How a job stands.

    Args:
        job: The job.

    Returns:
        Its status and when it began; ("", 0.0) where there was none.
    """
    state = job.read()
    return ("", 0.0) if state is None else (state.status, state.started)


def empty(title: str, text: str) -> None:
    """What a page shows before a classifier was trained.

    Args:
        title: What there is not.
        text: What to do.
    """
    with ui.element("div").classes("empty"):
        words("p", title, "title")
        words("p", text, "faint")
        words("a", "Go to Train", "primary button").props('href="/train"')


def article(name: str) -> ui.element:
    """A card about one photo.

    Args:
        name: The photo's name, for screen readers.

    Returns:
        The card, to be filled.
    """
    found = ui.element("article").classes("card photo-card")
    found.props["aria-label"] = name
    return found


def picture(id: str, name: str) -> None:
    """A small picture with its name.

    Args:
        id: The photo.
        name: Its file's name.
    """
    with ui.element("div").classes("frame"):
        # Its name stands below.
        ui.element("img").props(f'src="/data/thumbnails/{id}" alt=""')
    words("p", name, "faint name")


def choose_class(text: str, label: str, names: Iterable[str], do: Callable[[str], Any]) -> None:
    """A list to choose a class from.

    Args:
        text: What it says while none is chosen.
        label: What a screen reader says.
        names: The classes.
        do: Called with the class that was chosen.
    """
    offered = list(names)
    select = ui.element("select")
    select.props["aria-label"] = label
    with select:
        words("option", text).props('value=""')
        for name in offered:
            words("option", name).props["value"] = name
    select.on(
        "change",
        lambda event: do(event.args) if event.args in offered else None,
        js_handler="(event) => emit(event.target.value)",
    )


def decide(
    desk: Desk,
    id: str,
    name: str,
    label: str,
    suggested: str,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Buttons that say what a photo is.

    Args:
        desk: What the page works with.
        id: The photo.
        name: Its file's name.
        label: Its class.
        suggested: The class that it may be of, or "".
        after: Called when something was decided.
    """
    project = desk.project

    def is_now(class_name: str) -> None:
        said(act(project, "assign", [id], class_name))
        after()

    def leave_out() -> None:
        said(act(project, "leave_out", [id]))
        after()

    others = [one for one in project.labels.classes if one not in (label, suggested)]
    if suggested and suggested != label:
        text = f"The label is wrong, it is {suggested}"
        button(text, lambda: is_now(suggested), "", f"{text}: {name}")
    if others:
        choose_class("It is ...", f"What {name} is", others, is_now)
    button("Leave out", leave_out, "", f"Leave out: {name}")
