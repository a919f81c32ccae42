"""Trainings and checks in a process of their own: begun, watched, canceled, found again.

A job's folder in the project has a state that the process writes as it goes on, so that a page or
a server that starts later sees the same. docs/file-formats.md says what is in it.
"""

import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from handful.files.atomic import MALFORMED, json_text, read_json

CHECK_FOLDER, LABELS_FILE = "check", "labels.json"
Verb = Literal["train", "check", "classify", "share"]
_STATE_FILE, _CANCEL_FILE = "state.json", "cancel"
# A process says that it is alive each second; one that is silent for so long has been killed.
_SILENCE_SECONDS = 20.0


@dataclass(frozen=True)
class JobState:
    """How far a job is.

    Args:
        verb: "train", "check", "classify" or "share".
        status: "running", "done", "canceled" or "failed".
        what: What is being done, in a word or two.
        done: Work done of this.
        total: Work in all; 0 where that is not known.
        message: Why it failed; or the last line for people.
        quality: What a training was asked for.
        started: When, in seconds since 1970.
        updated: When this was written.
    """

    verb: Verb
    status: Literal["running", "done", "canceled", "failed"] = "running"
    what: str = ""
    done: int = 0
    total: int = 0
    message: str = ""
    quality: str = ""
    started: float = 0.0
    updated: float = 0.0


class JobFolder:
    """Where a job says how far it is; one job of each verb at a time.

    Args:
        folder: The project's.
        verb: "train", "check", "classify" or "share".
        module: What its process runs.
    """

    def __init__(self, folder: Path, verb: Verb, module: str = "handful.studio.worker") -> None:
        self.project, self.verb, self._module = folder, verb, module
        self.folder = folder / "jobs" / verb

    def read(self) -> JobState | None:
        """How far the job is that was begun last.

        Returns:
            Its state; None where there was none. A process that was killed has failed.
        """
        try:
            state = JobState(**read_json(self.folder / _STATE_FILE))
        except (OSError, *MALFORMED):
            return None
        if state.status == "running" and time.time() - state.updated > _SILENCE_SECONDS:
            return replace(state, status="failed", message="It ended unexpectedly; begin it again.")
        return state

    def write(self, state: JobState) -> None:
        """Say how far the job is.

        Args:
            state: What to say.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"{_STATE_FILE}.part"
        part.write_text(json_text(asdict(replace(state, updated=time.time()))), encoding="utf-8")
        part.replace(self.folder / _STATE_FILE)

    @property
    def is_canceled(self) -> bool:
        """Whether somebody asked the job to stop."""
        return (self.folder / _CANCEL_FILE).exists()

    def cancel(self) -> None:
        """Ask the job to stop."""
        with suppress(OSError):
            (self.folder / _CANCEL_FILE).touch()

    def begin(self, quality: str = "", *given: str) -> None:
        """Start the job's process, unless one is running.

        Args:
            quality: What a training is asked for.
            given: What else the process is told.
        """
        found = self.read()
        if found is not None and found.status == "running":
            return
        now = time.time()
        self.write(JobState(self.verb, what="starting", quality=quality, started=now))
        (self.folder / _CANCEL_FILE).unlink(missing_ok=True)
        command = [sys.executable, "-m", self._module, self.verb, str(self.project)]
        process = subprocess.Popen(
            [*command, quality, *given],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # it goes on when the server has ended
        )
        # Waited for, so that it is no zombie.
        threading.Thread(target=process.wait, name="job", daemon=True).start()
