"""Check: the findings as cards, with buttons on each photo."""

from functools import partial

from nicegui import ui

from handful.studio.check_view import FindingCard, FoundPhoto
from handful.studio.desk import Desk
from handful.studio.elements import article, button, decide, picture, said, status, whenever, words
from handful.studio.photos_view import act


def check_page(desk: Desk) -> None:
    """Make the page.

    Args:
        desk: What it works with.
    """
    words("h1", "Check")

    def render() -> None:
        cards = desk.check_cards()
        running = status(desk.check_job)[0] == "running"
        intro = "Looks for what would spoil a classifier: wrong labels, copies, shortcuts."
        words("p", intro, "intro")
        name = "Check" if cards is None else "Check again"
        begin = button(name, desk.begin_check, "primary")
        is_sorted = any(desk.project.labels.counts.values())
        if running or not is_sorted:
            begin.props("disabled")
        if not is_sorted:
            words("p", "Sort some photos first.", "faint")
        elif cards is not None and not cards:
            words("p", "Nothing was found: the photos look fine.", "note good")
        for card in cards or ():
            _finding(desk, card)

    whenever(lambda: (desk.version, status(desk.check_job), desk.num_kept), render)


def _finding(desk: Desk, card: FindingCard) -> None:
    left = [photo.id for photo in card.photos if not photo.done]
    kind = "card finding severe" if card.is_severe else "card finding"
    with ui.element("details").classes(kind) as area:
        if not card.is_done:
            area.props("open")
        words("summary", card.title + (" – done" if card.is_done else ""))
        words("p", card.advice, "faint")
        for line in card.lines:
            words("p", line)
        if len(left) > 1:
            with ui.element("p").classes("row"):
                keep = partial(desk.keep, card.kind, left)
                leave_out = partial(act, desk.project, "leave_out", left)
                button(f"Keep all {len(left)}", lambda: said(keep()))
                button(f"Leave all {len(left)} out", lambda: said(leave_out()))
        with ui.element("div").classes("cards"):
            for photo in card.photos:
                _found_photo(desk, card, photo)


def _found_photo(desk: Desk, card: FindingCard, photo: FoundPhoto) -> None:
    with article(photo.name):
        picture(photo.id, photo.name)
        if photo.label:
            with ui.element("p"):
                words("span", "label ")
                words("b", photo.label)
        if photo.line:
            words("p", photo.line, "faint small")
        if photo.done:
            words("p", photo.done, "done")
            return
        keep = partial(desk.keep, card.kind, [photo.id])
        button("Keep", lambda: said(keep()), "", f"Keep {photo.name}")
        decide(desk, photo.id, photo.name, photo.label, photo.suggested)
