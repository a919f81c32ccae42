"""Trainings and checks in a process of their own: begun, watched, canceled, found again.

A job's folder in the project has a state that the process writes as it goes on, so that a page or
a server that starts later sees the same. docs/file-formats.md says what is in it.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from handful.errors import HandfulError
from handful.files.atomic import MALFORMED, json_text, read_json
from handful.files.json_lines import JsonLines

CHECK_FOLDER, LABELS_FILE = "check", "labels.json"
Verb = Literal["train", "check", "classify", "share"]
_STATE_FILE, _CANCEL_FILE, _ASKED_FILE = "state.json", "cancel", "asked.json"
_EPOCHS_FILE, _LOCK_FILE = "epochs.jsonl", "lock"
# A process says that it is alive each second; where the system has no locks, one that is silent
# for so long has been killed.
_SILENCE_SECONDS = 20.0
_KILLED = "It ended unexpectedly."


@dataclass(frozen=True)
class JobState:
    """How far a job is.

    Args:
        verb: "train", "check", "classify" or "share".
        status: "running", "done", "canceled" or "failed".
        what: What is being done, in a word or two.
        done: Work done of this.
        total: Work in all; 0 where that is not known.
        message: Why it failed, or what was left of it; or the last line for people.
        asked: What a training was asked for, in a word or two.
        started: When, in seconds since 1970.
        updated: When this was written.
        seconds_left: What it will still take from then on; None where that is not known.
        accuracy: Of what there is by now, in [0, 1]; None where that is not known.
        was_killed: Whether its process ended without a word.
        pid: Its process; 0 before that has begun.
    """

    verb: Verb
    status: Literal["running", "done", "canceled", "failed"] = "running"
    what: str = ""
    done: int = 0
    total: int = 0
    message: str = ""
    asked: str = ""
    started: float = 0.0
    updated: float = 0.0
    seconds_left: float | None = None
    accuracy: float | None = None
    was_killed: bool = False
    pid: int = 0


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
        self._looking = threading.RLock()

    def read(self) -> JobState | None:
        """How far the job is that was begun last.

        Returns:
            Its state; None where there was none. A process that was killed has failed.
        """
        try:
            state = JobState(**read_json(self.folder / _STATE_FILE))
        except (OSError, *MALFORMED):
            return None
        if state.status == "running" and self._is_dead(state):
            return replace(state, status="failed", message=_KILLED, was_killed=True)
        return state

    def write(self, state: JobState) -> None:
        """Say how far the job is.

        Args:
            state: What to say.
        """
        self._write(_STATE_FILE, asdict(replace(state, updated=time.time())))

    @property
    def is_canceled(self) -> bool:
        """Whether somebody asked the job to stop."""
        return (self.folder / _CANCEL_FILE).exists()

    def cancel(self) -> None:
        """Ask the job to stop."""
        with suppress(OSError):
            (self.folder / _CANCEL_FILE).touch()

    @property
    def asked(self) -> dict[str, Any]:
        """What the job was asked to do, as `begin` was told; empty where nothing was."""
        try:
            return dict(read_json(self.folder / _ASKED_FILE))
        except (OSError, *MALFORMED):
            return {}

    def epochs(self) -> list[dict[str, Any]]:
        """What each epoch of a network's training came to.

        Returns:
            Fields of `Epoch` by name, None for what is no number; of the training that came last,
            where a job has several.
        """
        found: list[dict[str, Any]] = []
        try:
            for line in JsonLines(self.folder / _EPOCHS_FILE).read_new():
                found = found if not found or line["epoch"] > found[-1]["epoch"] else []
                found.append(line)
        except (HandfulError, *MALFORMED):
            return []
        return found

    def add_epoch(self, values: dict[str, Any]) -> None:
        """Keep what an epoch came to.

        Args:
            values: Plain values.
        """
        lines = JsonLines(self.folder / _EPOCHS_FILE)
        with lines.locked():
            lines.read_new()
            lines.append([values])

    def begin(
        self,
        name: str = "",
        *given: str,
        asked: dict[str, Any] | None = None,
        goes_on: bool = False,
    ) -> None:
        """Start the job's process, unless one is running.

        Args:
            name: What it is asked for, in a word or two.
            given: What else the process is told.
            asked: The same as plain values, which the process reads.
            goes_on: Whether it is a job that was interrupted, so that its epochs are kept.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        found = self.read()
        if found is not None and found.status == "running":
            return
        # One that has said its last word may still be ending, and has a lock of its own.
        (self.folder / _LOCK_FILE).unlink(missing_ok=True)
        if not goes_on:
            (self.folder / _EPOCHS_FILE).unlink(missing_ok=True)
        with self._looking, self._lock() as lock:
            self._write(_ASKED_FILE, asked or {})
            self.write(JobState(self.verb, what="starting", asked=name, started=time.time()))
            (self.folder / _CANCEL_FILE).unlink(missing_ok=True)
            # The lock goes with the process, and ends with it, however that ends.
            kept = {"pass_fds": (lock,)} if isinstance(lock, int) else {}
            # Without -P, a file of the user's here could be taken for one of Python's modules.
            command = [sys.executable, "-P", "-m", self._module, self.verb, str(self.project)]
            process = subprocess.Popen(
                [*command, name, *given],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # it goes on when the server has ended
                **kept,  # type: ignore[call-overload]
            )
        # Waited for, so that it is no zombie.
        threading.Thread(target=process.wait, name="job", daemon=True).start()

    def _is_dead(self, state: JobState) -> bool:
        if not (self.folder / _LOCK_FILE).exists():
            return time.time() - state.updated > _SILENCE_SECONDS
        with self._looking, self._lock() as lock:
            if lock is None:
                return time.time() - state.updated > _SILENCE_SECONDS
            return lock is not False

    @contextmanager
    def _lock(self) -> Iterator[int | Literal[False] | None]:
        """The job's lock: an open file; False where its process has it; None where there is none.

        Held for the block, and for as long as a process lives that was given the file.
        """
        try:
            import fcntl
        except ImportError:  # Windows
            yield None
            return
        opened = os.open(self.folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            except OSError:  # a file system without locks
                yield None
                return
            yield opened
        finally:
            os.close(opened)

    def _write(self, name: str, values: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"{name}.part"
        part.write_text(json_text(values), encoding="utf-8")
        part.replace(self.folder / name)
