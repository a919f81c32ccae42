"""Where photos' bytes come from: files, or members of a zip that is read in place.

Archives are not unpacked, but for a known one by `handful data`, so a hostile one has nowhere to
write; its names are checked all the same, since a path like `../x` says that the archive is not
what it seems.
"""

import errno
import hashlib
import os
import threading
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path

from handful.errors import DataError
from handful.files.atomic import open_regular, read_regular, reason_of
from handful.forks import start_anew_in_children

MAX_PICTURE_BYTES = 200_000_000
_ARCHIVES_OPEN = 16
_MAX_RATIO = 200  # deflate's best on a picture is far below; a bomb's is about 1,000


@dataclass(frozen=True)
class FoundFile:
    """A file found, before it is looked into.

    Args:
        path: Relative to what was given, with forward slashes.
        read: From nothing to its bytes, or with `first` to so many of the first of them; DataError
            where they cannot be had. Its function and arguments are plain: it can be pickled.
        class_name: The class that it is of; "" where that is not known.
        split: The part: "train", "validation", "test" or "".
        group: What a table says that it belongs together with.
    """

    path: str
    read: partial[bytes]
    class_name: str = ""
    split: str = ""
    group: str = ""

    @cached_property
    def parts(self) -> tuple[str, ...]:
        r"""Names of the folders on the way, and its own.

        Programs that unpack archives of Windows' leave whole paths in names: photos\cats\0.jpg.
        """
        return path_parts(self.path)


def path_parts(path: str) -> tuple[str, ...]:
    """Names of the folders on the way and the file's own, as `FoundFile.parts`."""
    *folders, name = path.split("/")
    names = (*folders, *name.split("\\")) if "\\" in name else (*folders, name)
    return tuple(name for name in names if name not in ("", "."))


def read_file(path: Path, first: int | None = None) -> bytes:
    """Read a file.

    Args:
        path: The file.
        first: Number of bytes to read; None for all.

    Returns:
        Its bytes.

    Raises:
        DataError: When it cannot be read or is too large for a picture; a clause.
    """
    try:
        if first is not None:
            with open_regular(path) as file:
                return file.read(first)
        return read_regular(path, MAX_PICTURE_BYTES)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise DataError(f"is {error.strerror}") from error
        raise DataError(f"cannot be read ({reason_of(error)})") from error


def hash_content(data: bytes) -> str:
    """Content hash of a file's bytes: 32 hexadecimal characters of BLAKE2b."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


class ZipReader:
    """Members of a zip, read by name from any number of threads.

    Names are those of the folder that was packed: with forward slashes, whatever system packed
    it, and each once. `members` are the files by name, `repeated` names that several have.

    Args:
        path: The archive.

    Raises:
        DataError: When it cannot be read, is damaged, or has unsafe, linked, encrypted or nameless
            members.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.start_anew()
        start_anew_in_children(self)
        try:
            members = self._archive().infolist()
        except OSError as error:
            raise DataError(f"{path} cannot be read ({reason_of(error)}).") from error
        except Exception as error:
            raise DataError(
                f"{path} is damaged or no zip ({_damage(error)}); fetch or pack it again."
            ) from error
        for info in members:
            _check_member(path, info)
        names = _plain_names(members)
        # Of files with one name the last counts, as it does for programs that unpack.
        self.members = dict(zip(names, members, strict=True))
        self.members.pop("", None)
        self.repeated = sorted(
            name for name, number in Counter(names).items() if name and number > 1
        )

    def start_anew(self) -> None:
        """Open the file again: its place in it is the parent's too."""
        self._lock = threading.Lock()
        self._opened: zipfile.ZipFile | None = None

    def read(self, name: str, first: int | None = None) -> bytes:
        """Read one member.

        Args:
            name: As in `members`.
            first: Number of bytes to read, whatever the size; None for all.

        Returns:
            Its bytes.

        Raises:
            DataError: When it is too large, packed suspiciously tightly, or damaged; a clause.
        """
        info = self.members[name]
        if first is not None:
            return self._read(info, first)
        if info.file_size > MAX_PICTURE_BYTES:
            raise DataError(f"is larger than {MAX_PICTURE_BYTES / 1e6:.0f} MB")
        if info.file_size > 1_000_000 and info.file_size > _MAX_RATIO * info.compress_size:
            raise DataError("is packed too tightly for a photo; it may be an archive bomb")
        # One byte more than declared would be read from a member that lies.
        data = self._read(info, info.file_size + 1)
        if len(data) != info.file_size:
            raise DataError("is damaged in the archive (its size is not the declared one)")
        return data

    def _read(self, info: zipfile.ZipInfo, num_bytes: int) -> bytes:
        try:
            with self._lock:  # zipfile counts what is open without one
                file = self._archive().open(info)
            try:
                return file.read(num_bytes)
            finally:
                with self._lock:
                    file.close()
        except OSError as error:
            # bzip2's word for damage is an OSError too, with no number of the system's.
            reason = _damage(error) if error.errno is None else reason_of(error)
            raise DataError(f"cannot be read from the archive ({reason})") from error
        except Exception as error:
            raise DataError(f"is damaged in the archive ({_damage(error)})") from error

    def _archive(self) -> zipfile.ZipFile:
        """The archive, for all threads: its list of members is read once."""
        if self._opened is None:
            with open_regular(self.path):
                self._opened = zipfile.ZipFile(self.path)
        return self._opened


@lru_cache(_ARCHIVES_OPEN)
def _reader(path: Path, _stamp: tuple[int, int]) -> ZipReader:
    return ZipReader(path)


def open_zip(path: Path) -> ZipReader:
    """Open an archive, or go on with what a process has open, as long as the file is the same.

    Args:
        path: The archive.

    Returns:
        It, opened.

    Raises:
        DataError: As `ZipReader` does.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason_of(error)}).") from error
    return _reader(path, (status.st_mtime_ns, status.st_size))


@dataclass(frozen=True)
class ZipFiles:
    """Reads files in a zip, by name, in whatever process: it is a plain value.

    Args:
        path: The archive.
    """

    path: Path

    def __call__(self, name: str, first: int | None = None) -> bytes:
        """Read a file.

        Args:
            name: Its name in the archive.
            first: As for `ZipReader.read`.

        Returns:
            Its bytes.

        Raises:
            DataError: When it cannot be read; a clause.
        """
        try:
            return open_zip(self.path).read(name, first)
        except KeyError as error:
            raise DataError("is not in the archive any more") from error


def read_known(
    content_hash: str, places: Iterable[tuple[Path, str]], first: int | None = None
) -> bytes:
    """Read a photo from the first of its places where it still is.

    Args:
        content_hash: Of its bytes.
        places: One or more: a file and "", or an archive and a name in it.
        first: As for `read_file`; what a file's beginning is, is not checked.

    Returns:
        Its bytes, the same as when it was found.

    Raises:
        DataError: When it is at none of them, or has changed; a clause.
    """
    problem = DataError("is nowhere")
    for path, name in places:
        try:
            data = ZipFiles(path)(name, first) if name else read_file(path, first)
        except DataError as error:
            problem = error
            continue
        if first is not None or hash_content(data) == content_hash:
            return data
        problem = DataError("has changed since it was added; look for new photos there")
    raise problem


def _plain_names(members: Sequence[zipfile.ZipInfo]) -> list[str]:
    """Names as of files below a folder; "" for folders, which have none."""
    given = {info.filename for info in members}
    names = []
    for info in members:
        name = info.filename.replace("\\", "/")
        if name != info.filename and name in given:
            name = info.filename  # a backslash that is no separator
        folder = info.is_dir() or name.endswith("/")
        names.append("" if folder else "/".join(_parts(name)))
    return names


def _parts(name: str) -> list[str]:
    """Names of folders and file on the way; pathlib's takes ten times as long."""
    return [part for part in name.split("/") if part not in ("", ".")]


def _damage(error: Exception) -> str:
    """What is wrong, in words.

    Hostile bytes make zipfile and its unpackers raise nearly anything (LZMA and zstandard have
    errors of their own; lists and numbers run over), and whatever it is, the archive is damaged.
    """
    if isinstance(error, UnicodeDecodeError):
        return "the name of a member is not the UTF-8 text that it says it is"
    if isinstance(error, MemoryError):
        return "unpacking it takes more memory than there is"
    return " ".join(str(error).split()) or type(error).__name__


def _check_member(path: Path, info: zipfile.ZipInfo) -> None:
    name = info.filename
    if not name:
        raise DataError(f"{path} is damaged (a member has no name); fetch or pack it again.")
    parts = _parts(name.replace("\\", "/"))
    if ".." in parts or name.startswith(("/", "\\")) or (parts and parts[0][1:2] == ":"):
        raise DataError(f'{path} has a member "{name}" that points outside the archive.')
    if (info.external_attr >> 16) & 0o170000 == 0o120000:
        raise DataError(f'{path} has a member "{name}" that is a symbolic link; pack the files.')
    if info.flag_bits & 0x1:
        raise DataError(f'{path} has an encrypted member "{name}"; pack it without a password.')
