"""Corrections that wait in a project's inbox: what is shown of them, and what is done with them."""

from collections.abc import Sequence
from dataclasses import dataclass

from handful.projects.inbox import Correction
from handful.projects.label_store import check_class_name
from handful.projects.project import Project
from handful.wording import number_of

SHOWN = 24
_ORIGINS = {"serve": " from the served page"}


@dataclass(frozen=True)
class CorrectionsView:
    """The card of corrections.

    Args:
        title: How many there are, and where from.
        photos: Those that are shown: the correction, the file's name, and what was said.
        more: How many more there are, in words; or "".
    """

    title: str
    photos: tuple[tuple[Correction, str, str], ...]
    more: str = ""


def corrections_view(project: Project) -> CorrectionsView | None:
    """Show what waits.

    Args:
        project: The project.

    Returns:
        The view; None where nothing waits.
    """
    waiting = project.inbox.waiting
    if not waiting:
        return None
    origins = {correction.origin for correction in waiting}
    where = _ORIGINS.get(origins.pop(), "") if len(origins) == 1 else ""
    names = {photo.id: photo.name for photo in project.photos}
    rest = len(waiting) - SHOWN
    return CorrectionsView(
        f"{number_of(len(waiting), 'correction')}{where}",
        tuple((one, names.get(one.id, "a photo"), _said(one)) for one in waiting[:SHOWN]),
        f"and {number_of(rest, 'more correction')}" if rest > 0 else "",
    )


def _said(one: Correction) -> str:
    return f"{one.predicted}, said to be {one.class_name}" if one.predicted else one.class_name


def take(project: Project, corrections: Sequence[Correction]) -> str:
    """Take corrections over as labels, all as they came.

    Args:
        project: The project.
        corrections: Of its inbox.

    Returns:
        What was done.
    """
    project.accept(corrections)
    return f"{number_of(len(corrections), 'correction')} taken as labels"


def ignore(project: Project, corrections: Sequence[Correction]) -> str:
    """Take corrections out of the inbox; their photos stay, without a label from them.

    Args:
        project: The project.
        corrections: Of its inbox.

    Returns:
        What was done.
    """
    project.inbox.close([correction.id for correction in corrections])
    return f"{number_of(len(corrections), 'correction')} ignored"


def put_back(project: Project, corrections: Sequence[Correction]) -> None:
    """Let corrections that were ignored wait again.

    Args:
        project: The project.
        corrections: As `ignore` took them.
    """
    for one in corrections:
        project.inbox.add(one.id, one.class_name, predicted=one.predicted, origin=one.origin)


def correct(project: Project, name: str, data: bytes, class_name: str) -> str:
    """Say what a photo is that was classified: it becomes one of the project's, with that label.

    Args:
        project: The project.
        name: The file's name.
        data: Its bytes.
        class_name: The class.

    Returns:
        What was done.

    Raises:
        DataError: When it is no photo that can be used.
        UsageError: When no class can be called so.
    """
    class_name = check_class_name(class_name)
    project.labels.assign([project.add_photo(name, data)], class_name)
    return f"{name} is {class_name} now, and one of your photos"
