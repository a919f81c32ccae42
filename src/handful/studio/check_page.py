"""Check: the findings as cards, with buttons on each photo."""

from collections.abc import Callable, Sequence
from functools import partial

from nicegui import ui

from handful.studio.check_view import KEPT, FindingCard, FoundGroup, FoundPhoto
from handful.studio.desk import Desk
from handful.studio.elements import (
    LOOK_SECONDS,
    article,
    button,
    choose_class,
    decide,
    picture,
    said,
    status,
    words,
)
from handful.studio.parts import Parts, Update
from handful.studio.photos_view import act
from handful.wording import number_of

_AT_FIRST, _MORE = 24, 48
_INTRO = "Looks for what would spoil a classifier: wrong labels, copies, shortcuts."


def check_page(desk: Desk) -> None:
    """Make the page.

    Args:
        desk: What it works with.
    """
    words("h1", "Check")
    words("p", _INTRO, "intro")
    head = Parts(partial(_head, desk))
    page = _CheckPage(desk)
    seen: list[object] = [None]

    def show() -> None:
        now = desk.check.version, status(desk.check.job)[0]
        if now != seen[0]:
            seen[0] = now
            cards = desk.check.cards()
            is_sorted = any(desk.project.labels.counts.values())
            head.show({"head": (cards is not None, cards == (), is_sorted, now[1] == "running")})
            page.show(cards or ())

    page.refresh = show
    show()
    ui.timer(LOOK_SECONDS, show)


def _head(desk: Desk, now: tuple[bool, bool, bool, bool]) -> None:
    was_checked, is_clean, is_sorted, is_running = now
    begin = button("Check again" if was_checked else "Check", desk.check.begin, "primary")
    if is_running or not is_sorted:
        begin.props("disabled")
    if not is_sorted:
        words("p", "Sort some photos first.", "faint")
    elif is_running:
        words("p", "Looking at the photos; you may go on meanwhile.", "faint")
    elif is_clean:
        words("p", "Nothing was found: the photos look fine.", "note good")


class _CheckPage:
    """The cards, and what their buttons do."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.refresh: Callable[[], None] = lambda: None
        self._cards = Parts(self._card)

    def show(self, cards: Sequence[FindingCard]) -> None:
        """Show these cards."""
        self._cards.show({(card.kind, card.title): card for card in cards})

    def _do(self, what: Callable[[], str]) -> None:
        said(what())
        self.refresh()

    def _keep(self, kind: str, ids: Sequence[str]) -> None:
        self.desk.check.keep(kind, ids)
        said(f"{number_of(len(ids))} kept")
        self.refresh()

    def _take_back(self, kind: str, photo: FoundPhoto) -> None:
        if photo.done == KEPT:
            self.desk.check.keep(kind, [photo.id], is_kept=False)
            said(f"{photo.name} is open again")
        else:
            said(act(self.desk.project, "assign", [photo.id], photo.label))
        self.refresh()

    def _leave_out(self, ids: Sequence[str]) -> None:
        self._do(partial(act, self.desk.project, "leave_out", ids))

    def _assign(self, ids: Sequence[str], class_name: str) -> None:
        self._do(partial(act, self.desk.project, "assign", ids, class_name))

    def _card(self, card: FindingCard) -> Update:
        kind = "card finding severe" if card.severity == "error" else "card finding"
        shown = [_AT_FIRST]
        with ui.element("details").classes(kind) as area:
            heading = words("summary", card.heading)
            words("p", card.advice, "faint")
            for line in card.lines:
                words("p", line)
            _facts(card)
            for_all = Parts(self._for_all)
            make = self._group if card.is_paired else self._single
            groups = Parts(partial(make, card.kind), "groups" if card.is_paired else "cards")
            more = button("", lambda: show_more())
        is_open = [False]

        def update(card: FindingCard) -> None:
            heading.set_text(card.heading)
            for_all.show({} if card.is_done else {"all": card})
            some = card.groups[: shown[0]]
            groups.show(dict(enumerate(some)))
            more.set_visibility(len(card.groups) > len(some))
            more.set_text(f"Show more ({len(card.groups) - len(some):,})")
            latest[0] = card
            wants_open = card.wants_decision and not card.is_done
            if wants_open != is_open[0]:
                is_open[0] = wants_open
                area.props("open" if wants_open else "", remove="" if wants_open else "open")

        def show_more() -> None:
            shown[0] += _MORE
            update(latest[0])

        latest = [card]
        update(card)
        return update

    def _for_all(self, card: FindingCard) -> None:
        """What can be done with all that is left of a card."""
        left = [photo.id for photo in card.left]
        how_many = "both" if len(left) == 2 else f"all {len(left):,}"
        with ui.element("p").classes("row"):
            if not card.groups:
                button("Understood", lambda: self._keep(card.kind, [card.title]))
            if len(left) < 2:
                return
            if card.kind == "label-suspect" and all(photo.suggested for photo in card.left):
                button(
                    "All labels are wrong: take what is suggested", lambda: self._suggested(card)
                )
            if len(card.groups) == 1 and card.is_paired:
                return  # the group has these buttons
            button(f"Keep {how_many}", lambda: self._keep(card.kind, left))
            if card.is_paired:
                if card.has_one_label_each:
                    others = [id for group in card.groups for id in group.others]
                    button("Keep one of each", lambda: self._leave_out(others))
                return
            button(f"Leave {how_many} out", lambda: self._leave_out(left))
            if card.may_be_a_class:
                names = self.desk.project.labels.classes
                text = f"{how_many.capitalize()} are ..."
                choose_class(text, f"What {how_many} are", names, partial(self._assign, left))

    def _suggested(self, card: FindingCard) -> None:
        by_class: dict[str, list[str]] = {}
        for photo in card.left:
            by_class.setdefault(photo.suggested, []).append(photo.id)
        for class_name, ids in by_class.items():
            self._assign(ids, class_name)

    def _single(self, kind: str, group: FoundGroup) -> None:
        (photo,) = group.photos
        with article(photo.name):
            self._about(kind, photo)
            if not photo.done:
                keep = partial(self._keep, kind, [photo.id])
                button("Keep", lambda: keep(), "", f"Keep {photo.name}")
                suggested, after = photo.suggested, self.refresh
                decide(self.desk, photo.id, photo.name, photo.label, suggested, after)

    def _group(self, kind: str, group: FoundGroup) -> None:
        """Photos side by side that are copies or nearly so."""
        number, left = len(group.photos), [photo.id for photo in group.photos if not photo.done]
        with ui.element("div").classes("group").props("role=group") as area:
            area.props["aria-label"] = f"{number} photos that look alike"
            with ui.element("div").classes("cards"):
                for photo in group.photos:
                    self._one_of_several(kind, group, photo)
            if len(left) < 2:
                return
            with ui.element("p").classes("row"):
                both = "both" if len(left) == 2 else f"all {len(left):,}"
                for name in group.labels if len(group.labels) > 1 else ():
                    button(f"{both.capitalize()} are {name}", partial(self._assign, left, name))
                button(f"Keep {both}", lambda: self._keep(kind, left))

    def _one_of_several(self, kind: str, group: FoundGroup, photo: FoundPhoto) -> None:
        with article(photo.name):
            self._about(kind, photo)
            if photo.done:
                return
            others = [one.id for one in group.photos if one.id != photo.id and not one.done]
            if others:
                text = "Keep only this one"
                button(text, lambda: self._leave_out(others), "", f"{text}: {photo.name}")
            else:
                keep = partial(self._keep, kind, [photo.id])
                button("Keep", lambda: keep(), "", f"Keep {photo.name}")
            decide(self.desk, photo.id, photo.name, photo.label, "", self.refresh)

    def _about(self, kind: str, photo: FoundPhoto) -> None:
        picture(photo.id, photo.name)
        if photo.label:
            with ui.element("p"):
                words("span", "label ")
                words("b", photo.label)
        if photo.line:
            words("p", photo.line, "faint small")
        if photo.done:
            words("p", photo.done, "done")
            back = partial(self._take_back, kind, photo)
            button("Take it back", lambda: back(), "", f"Take it back: {photo.name}")


def _facts(card: FindingCard) -> None:
    """What tells the classes apart without a look at the photos."""
    if card.facts:
        with ui.element("dl").classes("facts"):
            for name, value in card.facts:
                with ui.element("div"):
                    words("dt", name)
                    words("dd", value)
