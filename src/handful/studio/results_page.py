"""Results: what to expect of new photos, what went wrong, and when to trust an answer."""

from nicegui import ui

from handful.errors import HandfulError
from handful.run_store.stored_run import StoredRun
from handful.studio.answering import answer_steps
from handful.studio.desk import Desk
from handful.studio.elements import LOOK_SECONDS, empty, status, words
from handful.studio.parts import Parts
from handful.studio.results_parts import (
    PhotoCards,
    answer_slider,
    confusion_table,
    details,
    figure_card,
)
from handful.studio.results_view import (
    Pair,
    PhotoList,
    changed_since,
    confusions_of,
    details_of,
    figure_of,
    photos_of,
    unusual_photos,
)
from handful.workflows.second_look import SecondLook

_LOOKING = "Looking at the test photos again ..."


def results_page(desk: Desk) -> None:
    """Make the page.

    Args:
        desk: What it works with.
    """
    words("h1", "Results", "unseen")
    body = ui.element("div")
    seen: list[object] = [None]
    shown: list[object] = [""]
    page: list[_RunPage | None] = [None]

    def show() -> None:
        now = _latest(desk)
        if now is not shown[0]:
            shown[0], page[0] = now, None
            body.clear()
            with body:
                if isinstance(now, StoredRun):
                    page[0] = _RunPage(desk, now)
                elif now is None:
                    text = "Train a classifier; how good it is stands here."
                    empty("There are no results yet", text)
                else:
                    words("p", now, "wrong-text")
        if page[0] is not None:
            page[0].update()

    def look() -> None:
        now = desk.version, status(desk.train_job), desk.results.num_looks
        if now != seen[0]:
            seen[0] = now
            show()

    look()
    ui.timer(LOOK_SECONDS, look)


def _latest(desk: Desk) -> StoredRun | str | None:
    """The run to show, its predictions read; why it cannot be shown; None where there is none."""
    try:
        run = desk.results.latest()
        if run is not None:
            _ = run.predictions
        return run
    except HandfulError as error:
        return str(error)


class _RunPage:
    """The page of one run."""

    def __init__(self, desk: Desk, run: StoredRun) -> None:
        self.desk, self.evaluation = desk, run.predictions
        self.run = run
        self.pair: Pair = None
        name = run.path.name
        figure_card(figure_of(self.evaluation, desk.results.made(run)), desk.results)
        words("h2", "What gets mixed up")
        words("p", "Click a number to see its photos below.", "faint")
        confusion_table(confusions_of(self.evaluation), self._chosen)
        self.mistakes = PhotoCards(desk, name, self.update)
        words("h2", "Answer only when sure")
        self.answers = Parts(self._answers)
        self.unusual_note = Parts(self._unusual_note)
        self.unusual = PhotoCards(desk, name, self.update)
        details(details_of(self.evaluation), name)

    def update(self) -> None:
        """Show what has changed: labels, and what was found out meanwhile."""
        project, evaluation = self.desk.project, self.evaluation
        found = photos_of(project, evaluation, self.pair, self.mistakes.limit)
        changed = changed_since(project, evaluation)
        self.mistakes.show(found, _about(found, self.pair), changed)
        look = self.desk.results.second_look(self.run)
        self.answers.show({"answers": look})
        self.unusual_note.show({"note": look})
        paths = look.unusual if isinstance(look, SecondLook) and look.unusual else ()
        unusual = unusual_photos(project, evaluation, paths, self.unusual.limit)
        self.unusual.show(unusual if paths else PhotoList("", ()))

    def _chosen(self, pair: Pair) -> None:
        self.pair = pair
        self.mistakes.limit = PhotoCards.AT_FIRST
        self.update()

    def _answers(self, look: SecondLook | str | None) -> None:
        if not isinstance(look, SecondLook):
            words("p", look or _LOOKING, "wrong-text" if look else "faint")
        elif not look.steps:
            text = "This classifier was tested on too few photos to tell when it can be trusted."
            words("p", text, "faint")
        else:
            steps = answer_steps(self.evaluation, look.steps, look.is_held_apart)
            answer_slider(steps, self.desk.project.folder)

    def _unusual_note(self, look: SecondLook | str | None) -> None:
        if not isinstance(look, SecondLook) or look.unusual is None:
            return
        words("h2", "Unusual photos")
        if not look.unusual:
            words("p", "All test photos look like the training photos.", "note good")
            return
        number, total = len(look.unusual), len(self.evaluation)
        one_in = round(1 / look.false_alarm_rate) if look.false_alarm_rate else 100
        words(
            "p",
            f"{number:,} of {total:,} test photos {'looks' if number == 1 else 'look'} unlike the "
            f"training photos; about one in {one_in:,} is what to expect. Of such photos Use says "
            "that they are unusual.",
            "faint",
        )


def _about(found: PhotoList, pair: Pair) -> str:
    if not found.photos:
        return "" if pair else "No test photo was classified wrong."
    order = "The surest first."
    if not pair or pair[0] != pair[1]:
        order += " Often it is the label that is wrong: fix it here."
    return order
