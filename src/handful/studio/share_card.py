"""The card of sharing: the offline page, phones nearby, files for programs."""

from nicegui import ui

from handful.errors import HandfulError
from handful.serving.addresses import code_as_svg
from handful.studio.desk import Desk
from handful.studio.elements import button, said, status, whenever, words
from handful.studio.share_view import ShareLine, phones_told, share_view
from handful.studio.sharing import WEB


def share_card(desk: Desk) -> None:
    """Make the card.

    Args:
        desk: What the page works with.
    """
    job = desk.sharing.job

    def render() -> None:
        run = desk.latest_run()
        if run is None:
            return
        state = job.read()
        doing = state.asked if state is not None and state.status == "running" else ""
        page, *others = share_view(desk.sharing.made(run))
        words("h2", "Share")
        with ui.element("section").classes("card sharing").props('aria-label="Share"'):
            _show_line(desk, page, doing)
            if state is not None and state.status == "failed":
                words("p", state.message, "wrong-text").props('role="alert"')
            _show_phones(desk)
            with ui.element("details") as details:
                # What was begun or made in there is seen.
                if doing not in ("", WEB) or any(line.address for line in others):
                    details.props("open")
                words("summary", "Files for programs")
                for line in others:
                    _show_line(desk, line, doing)

    def changes() -> object:
        run = desk.latest_run()
        return None if run is None else run.path, status(job)

    whenever(changes, render)


def _show_line(desk: Desk, line: ShareLine, doing: str) -> None:
    def begin() -> None:
        try:
            desk.sharing.begin(desk.latest_run(), line.format)
        except HandfulError as error:
            said(str(error).rstrip("."))

    with ui.element("div").classes("share-line"):
        with ui.element("div"):
            words("p", line.title, "share-title")
            words("p", line.made or line.missing or line.purpose, "faint small")
        kind = "primary" if line.format == WEB else ""
        if doing == line.format:
            words("span", "Writing ...", "faint")
        elif line.address:
            words("a", "Download", f"button {kind}").props(f'href="{line.address}" download')
        elif not line.missing:
            name = "Make the page" if line.format == WEB else "Make"
            made = button(name, begin, kind, f"{name}: {line.title}")
            if doing:
                made.props("disabled")


def _show_phones(desk: Desk) -> None:
    addresses = desk.sharing.addresses
    with ui.element("div").classes("share-line"), ui.element("div"):
        words("p", "Phones nearby", "share-title")
        words("p", phones_told(addresses), "faint small")
        for address in addresses:
            words("p", address, "small address")
    if addresses:
        code = ui.html(code_as_svg(addresses[0]), sanitize=False).classes("code")
        code.props('role="img" aria-label="The first address as a QR code"')
