"""What lies among photos and is none: the system's files, and what handful made itself.

One table and one predicate for folders, archives and what is to be named.
"""

import re
import struct
import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from handful.data.found_files import FoundFiles
from handful.data.storage import FoundFile
from handful.errors import DataError

# Written by storage boxes, Windows, macOS, galleries and tools; lower case. Hidden names, which
# begin with a dot, are ignored as such.
_SYSTEM = frozenset(
    {
        # Synology, QNAP, NetApp and other storage boxes
        *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "@sharebin", "@appstore"),
        *("#recycle", "#snapshot", "~snapshot", "lost+found", "@__thumb"),
        *("@synoresource", "@synoeastream", "_gsdata_"),
        # Windows
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin"),
        *("recycler", "system volume information", "$extend", "autorun.inf"),
        # macOS
        *("__macosx", "_ds_store", "icon\r", "network trash folder", "temporary items"),
        *("desktop db", "desktop df"),
        # galleries, version control, tools
        *("picasaoriginals", "picasa.ini", "zbthumbnail.info", "pspbrwse.jbf"),
        *("_svn", "_darcs", "__pycache__", "node_modules"),
    }
)
_SYSTEM_EXACT = frozenset({"CVS"})  # a class may be called so in another case
_PATTERN = re.compile(r"found\.\d{3}|thumbs\.db.+|.+\.lrdata")
_PREFIXES = ("synophoto_", "synovideo_", "synofile_", "synoindex_", "~$")
_SUFFIXES = ("@synoeastream", "@synoresource", ":zone.identifier")

_OWN = b'"format": "handful '
_OWN_FILES = frozenset(
    {
        *("run.json", "classifier.json", "comparison.json", "curve.json", "check.json"),
        *("export.json", "project.json", "_job.json"),
    }
)
# Other folders that a program made for itself, by a file in them and how it begins.
_TOOL_FILES = {
    "CACHEDIR.TAG": b"Signature: 8a477f597d28d172789f06886806bc55",
    "pyvenv.cfg": b"",
    "embeddings.sqlite": b"SQLite format 3\0",
    "checkpoint.npz": b"PK",
}
_START = 512
_PNG = b"\x89PNG\r\n\x1a\n"
_AFTER_HEADER = len(_PNG) + 25
FIGURE_MARK = {"Software": "handful"}


@lru_cache(1024)  # of folders that many files lie in
def is_ignored(name: str, *, hidden: bool = True) -> bool:
    """Tell whether a file or folder is the system's, and never a photo or a class.

    Args:
        name: Its own name, without the folders around it.
        hidden: Whether names that begin with a dot count too.

    Returns:
        Whether to pass it over without a word.
    """
    lower = name.lower()
    return (
        (hidden and name.startswith("."))
        or lower in _SYSTEM
        or name in _SYSTEM_EXACT
        or _PATTERN.fullmatch(lower) is not None
        or lower.startswith(_PREFIXES)
        or lower.endswith(_SUFFIXES)
    )


def made_folders(files: Sequence[FoundFile]) -> set[tuple[str, ...]]:
    """Find folders that handful or another program made for itself, by the notes in them.

    Args:
        files: What was found below one folder, or in one archive.

    Returns:
        Their places, each as names; () where handful made the one that was given.
    """
    found = FoundFiles.of(files)
    names = (path.rpartition("/")[2] for path in found.paths)
    noted = [row for row, name in enumerate(names) if name in _OWN_FILES or name in _TOOL_FILES]
    return {
        file.parts[:-1]
        for file in found.take(np.array(noted, np.int64))
        if _is_note(file, found.paths)
    }


def _is_note(file: FoundFile, paths: Sequence[str]) -> bool:
    """Whether a file says that its folder is no data."""
    name = file.path.rpartition("/")[2]
    if name in _OWN_FILES:
        start = _start(file)
        is_check = name == "check.json" and b'"num_images"' in start
        page = file.path.removesuffix("json") + "html"
        return _OWN in start or (is_check and page in paths)
    return (
        name in _TOOL_FILES and len(file.parts) > 1 and _start(file).startswith(_TOOL_FILES[name])
    )


def _start(file: FoundFile) -> bytes:
    try:
        return file.read(first=_START)
    except DataError:
        return b"\0"


def mark_figure(png: bytes) -> bytes:
    """Note in a PNG file that handful drew it, so that it is never taken for a photo.

    Args:
        png: The file.

    Returns:
        The file with the note, as `FIGURE_MARK` leaves it in figures of Matplotlib's.
    """
    (text,) = (f"{key}\0{value}".encode() for key, value in FIGURE_MARK.items())
    check = zlib.crc32(b"tEXt" + text)
    chunk = struct.pack(">I4s", len(text), b"tEXt") + text + struct.pack(">I", check)
    return png[:_AFTER_HEADER] + chunk + png[_AFTER_HEADER:]


def is_figure(data: bytes) -> bool:
    """Tell a figure that handful drew from a photo.

    Args:
        data: A file's first bytes, 512 or more.

    Returns:
        Whether it has the mark.
    """
    return data.startswith(_PNG) and b"tEXtSoftware\0handful" in data[:_START]
