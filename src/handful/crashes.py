"""What nobody foresaw, kept as a file that a user can look into and pass on."""

import os
import platform
import shlex
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path

from handful.environment import cache_folder
from handful.wording import printable

_KEPT = 20


def keep_traceback(error: BaseException) -> Path | None:
    """Write down what happened, for a message that names the file.

    Args:
        error: What was raised.

    Returns:
        The file, below the cache folder, or among the system's temporary files where that cannot
        be written; None where nothing can.
    """
    from importlib.metadata import version  # 50 ms that each start would wait for

    # `platform.platform()` starts a process.
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    lines = [
        f"handful {version('handful')}, Python {platform.python_version()}, {system}",
        shlex.join(sys.argv),
        os.getcwd(),
        *"".join(traceback.format_exception(error)).splitlines(),
    ]
    text = "".join(printable(line) + "\n" for line in lines)
    for folder in (cache_folder() / "logs", Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            prefix = time.strftime("handful-%Y%m%d-%H%M%S-")
            descriptor, name = tempfile.mkstemp(".log", prefix, folder)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError:
            continue
        _remove_oldest(folder, Path(name))
        return Path(name)
    return None


def _remove_oldest(folder: Path, newest: Path) -> None:
    with suppress(OSError):  # another process may be doing the same
        others = {file.stat().st_mtime_ns: file for file in folder.glob("handful-*.log")}
        for moment in sorted(others)[:-_KEPT]:
            if others[moment] != newest:
                others[moment].unlink()
