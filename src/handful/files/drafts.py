"""Private folders in which results are made before they get their names.

A draft is locked for as long as its process lives. So whoever makes the next one in the same place
can tell what a killed process left, puts back what it was about to replace, and removes the rest.
"""

import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NAME = re.compile(r"\.handful-(\d+)-[0-9a-f]{16}")
# Where the system has no locks, what has no process any more is litter after a day.
_LITTER_SECONDS = 24 * 3600
_NEW, _REPLACED = "new", "replaced"


class Draft:
    """A private folder, locked until it is closed or its process ends, however it does.

    Args:
        parent: Existing folder to make it in; what killed processes left there is removed.

    Raises:
        OSError: When it cannot be made.
    """

    def __init__(self, parent: Path) -> None:
        remove_leftovers(parent)
        self._owner = os.getpid()
        while True:
            self.path = parent / f".handful-{os.getpid()}-{secrets.token_hex(8)}"
            self.path.mkdir(0o700)
            # Before it is locked, another process may take it for a dead one's and remove it.
            with suppress(BlockingIOError, FileNotFoundError), _locked(self.path) as lock:
                # The lock is the open file's: it holds as long as one number stands for that.
                self._lock = None if lock is None else os.dup(lock)
                return

    def close(self) -> None:
        """Remove it, after putting back what was to be replaced and was not."""
        if os.getpid() == self._owner:  # a forked process's copy is not its to remove
            _clear(self.path)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> "Draft":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def place(self, name: str) -> Path:
        """Where to make what will have a name.

        Args:
            name: Its name in the draft's parent folder.

        Returns:
            A path where nothing is, of that name.
        """
        folder = self.path / _NEW
        folder.mkdir(exist_ok=True)
        return folder / name

    def replace(self, target: Path, keep_others: bool = False) -> None:
        """Move a folder from its place to its name, where another folder may be.

        Where the system can exchange two names, there is a whole folder under this one at every
        moment.

        Args:
            target: The name in the draft's parent folder.
            keep_others: Whether the new folder gets what only the old one has.

        Raises:
            OSError: When the system refuses; the old folder is where it was, or will be put there
                when the draft is closed or the next one made.
        """
        new = self.place(target.name)
        if not target.is_dir():
            new.rename(target)
            return
        if keep_others:
            _keep_others(target, new)
        if not exchange(new, target):
            aside = self.path / _REPLACED
            aside.mkdir()
            target.rename(aside / target.name)
            new.rename(target)


def without_draft(path: Path) -> Path:
    """Say where something will be that lies in drafts now, for messages.

    Args:
        path: A path.

    Returns:
        It, less the folders that `Draft` makes.
    """
    parts = list(path.parts)
    for place in reversed(range(len(parts))):
        if _NAME.fullmatch(parts[place]):
            del parts[place : place + 2]
    return Path(*parts)


def remove_leftovers(parent: Path) -> None:
    """Remove the drafts of processes that were killed, and put back what they had in hand.

    Args:
        parent: The folder that they lie in; it need not exist.
    """
    with suppress(OSError):
        for entry in list(os.scandir(parent)):
            named = _NAME.fullmatch(entry.name)
            # A folder of another user's, such as in /tmp, is not ours to look into.
            if not named or (hasattr(os, "getuid") and entry.stat().st_uid != os.getuid()):
                continue
            with suppress(OSError), _locked(Path(entry.path)) as lock:
                if lock is not None or _is_old(entry, int(named[1])):
                    _clear(Path(entry.path))


def names_in_hand(parent: Path) -> set[str]:
    """Names that living processes will give what they are making.

    Args:
        parent: The folder that their drafts lie in; it need not exist.

    Returns:
        Names in that folder.
    """
    names: set[str] = set()
    with suppress(OSError):
        for entry in list(os.scandir(parent)):
            if _NAME.fullmatch(entry.name) and _is_locked(Path(entry.path)):
                with suppress(OSError):
                    names.update(os.listdir(Path(entry.path, _NEW)))
    return names


def _is_locked(draft: Path) -> bool:
    try:
        with _locked(draft):
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def _is_old(entry: "os.DirEntry[str]", pid: int) -> bool:
    if time.time() - entry.stat().st_mtime < _LITTER_SECONDS:
        return False
    if sys.platform == "win32":  # where os.kill(pid, 0) is a Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@contextmanager
def _locked(folder: Path) -> Iterator[int | None]:
    """Lock a folder: an open file, or None where the system has no locks.

    Raises BlockingIOError where another process holds it, FileNotFoundError where it is gone.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield None
        return
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        lock: int | None = opened
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:  # some network file systems
            lock = None
        os.stat(folder)  # it may have been removed between the two
        yield lock
    finally:
        os.close(opened)


def _clear(draft: Path) -> None:
    """Put back what a draft was about to replace, and remove it."""
    with suppress(OSError):
        for old in (draft / _REPLACED).iterdir():
            target = draft.parent / old.name
            if not (draft / _NEW / old.name).exists():
                continue  # the new one has its name, the old one is not wanted any more
            number = 1
            while os.path.lexists(target):
                number += 1
                target = draft.parent / f"{old.name}-{number}"
            try:
                old.rename(target)
            except OSError:
                return  # it is safe where it is
    shutil.rmtree(draft, ignore_errors=True)


def _keep_others(old: Path, new: Path) -> None:
    """Give a new folder what only the old one has."""
    for entry in os.scandir(old):
        kept = new / entry.name
        if os.path.lexists(kept) or _NAME.fullmatch(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.copytree(entry.path, kept, symlinks=True, copy_function=_link_or_copy)
        else:
            _link_or_copy(entry.path, kept)


def _link_or_copy(source: str, target: str | Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(source, target, follow_symlinks=False)


def exchange(first: Path, second: Path) -> bool:
    """Let two paths change places in one step.

    Args:
        first: One.
        second: The other, on the same file system.

    Returns:
        Whether they did; False where the system cannot, or refuses. Renaming says why.
    """
    if sys.platform == "win32":
        return False
    import ctypes

    library = ctypes.CDLL(None)
    paths = os.fsencode(first), os.fsencode(second)
    try:
        if sys.platform == "darwin":
            failed = library.renamex_np(*paths, 2)  # RENAME_SWAP
        else:
            here = -100  # AT_FDCWD
            failed = library.renameat2(here, paths[0], here, paths[1], 2)  # RENAME_EXCHANGE
    except AttributeError:  # an old C library
        return False
    return not failed
