"""What the page of the check works with: findings, and what was decided on them."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from handful.errors import HandfulError
from handful.files.atomic import MALFORMED, json_text, read_json
from handful.files.json_lines import JsonLines
from handful.projects.project import Project
from handful.studio.check_view import FindingCard, finding_cards
from handful.studio.jobs import CHECK_FOLDER, LABELS_FILE, JobFolder

_KEPT_FILE = "kept.jsonl"


class CheckDesk:
    """The last check of a project; safe to use from several threads.

    Args:
        project: The project.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.job = JobFolder(project.folder, "check")
        self._kept = JsonLines(project.folder / _KEPT_FILE)
        self._decided: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._made: tuple[object, tuple[FindingCard, ...] | None] | None = None

    @property
    def version(self) -> object:
        """Changes with everything that the page shows."""
        self._read_kept()
        try:
            written = (self.project.folder / CHECK_FOLDER / "check.json").stat().st_mtime_ns
        except OSError:
            written = 0
        return written, self.project.version, self.project.labels.version, self._kept.position

    def cards(self) -> tuple[FindingCard, ...] | None:
        """What was found.

        Returns:
            A card for each finding; None before the first check.
        """
        version = self.version
        made = self._made
        if made is None or made[0] != version:
            made = self._made = version, self._make_cards()
        return made[1]

    @property
    def num_open(self) -> int:
        """How many findings want a decision; those that are only good to know do not."""
        return sum(card.wants_decision and not card.is_done for card in self.cards() or ())

    def keep(self, kind: str, ids: Sequence[str], is_kept: bool = True) -> None:
        """Note that photos stay as they are, whatever a check found.

        Args:
            kind: Of the finding.
            ids: The photos; of a finding without photos its title.
            is_kept: False takes it back.
        """
        with self._lock, self._kept.locked():
            self._note(self._kept.read_new())  # of another process
            entries: list[dict[str, Any]] = [{"kind": kind, "id": id} for id in ids]
            if not is_kept:
                entries = [{**entry, "is_kept": False} for entry in entries]
            self._kept.append(entries)
            self._note(entries)

    def begin(self) -> None:
        """Start a check, and note which labels it looks at."""
        self.job.folder.mkdir(parents=True, exist_ok=True)
        text = json_text(self.project.labels.all())
        (self.job.folder / LABELS_FILE).write_text(text, encoding="utf-8")
        self.job.begin()

    def _read_kept(self) -> None:
        if self._kept.has_more():
            with self._lock:
                self._note(self._kept.read_new())

    def _note(self, entries: Sequence[dict[str, Any]]) -> None:
        for one in entries:
            decision = str(one.get("kind")), str(one.get("id"))
            (self._decided.discard if one.get("is_kept") is False else self._decided.add)(decision)

    def _make_cards(self) -> tuple[FindingCard, ...] | None:
        folder = self.project.folder
        try:
            report = read_json(folder / CHECK_FOLDER / "check.json")
        except (HandfulError, *MALFORMED):
            return None
        labels: dict[str, Any] = {}
        with suppress(HandfulError, *MALFORMED):
            labels = read_json(self.job.folder / LABELS_FILE)
        with self._lock:
            kept = set(self._decided)
        return finding_cards(self.project, report, labels, kept)
