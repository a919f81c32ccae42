"""What files there are, in a folder or in a zip; what the system or handful put there is none."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath

from handful.data.found_files import FoundFiles
from handful.data.ignored import is_ignored, made_folders
from handful.data.storage import FoundFile, ZipFiles, open_zip, read_file
from handful.errors import DataError
from handful.files.atomic import reason_of


@dataclass(frozen=True)
class Listing:
    """What was found.

    Args:
        files: Each once.
        empty: Paths of folders with nothing in them.
        unreadable: Paths of folders that cannot be read, each with a clause that says why.
        linked: Paths of folders that were found under another name before, with that name.
        repeated: Names that several files of an archive have; the last of them counts.
    """

    files: Sequence[FoundFile]
    empty: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    linked: dict[str, str] = field(default_factory=dict)
    repeated: Sequence[str] = ()

    def below(self, source: str) -> "Listing":
        """The listing with whole paths, sorted.

        Args:
            source: What was listed.

        Returns:
            Each path begins with the source.
        """
        found = sorted(self.files, key=lambda file: file.path)
        return Listing(
            [replace(file, path=join(source, file.path)) for file in found],
            unreadable={join(source, path): why for path, why in self.unreadable.items()},
            repeated=[join(source, name) for name in self.repeated],
        )

    def kept(self, source: str | Path) -> "Listing":
        """The listing less what handful or another program made for itself.

        Args:
            source: What was listed.

        Returns:
            A listing of the rest.

        Raises:
            DataError: When all of it is such.
        """
        made = made_folders(self.files)
        if () in made:
            raise DataError(
                f"{source} holds what handful made of photos, no photos; give the photos themselves"
            )
        if not made:
            return self

        def is_kept(parts: tuple[str, ...]) -> bool:
            return not any(parts[:depth] in made for depth in range(1, len(parts) + 1))

        files = FoundFiles.of(file for file in self.files if is_kept(file.parts))
        empty = [path for path in self.empty if is_kept(PurePosixPath(path).parts)]
        return replace(self, files=files, empty=empty)


def join(source: str, path: str) -> str:
    """Put a path after what it is relative to.

    Args:
        source: A path or an address.
        path: Relative to it; "" for itself.

    Returns:
        Both as one, as the system or the address writes it.
    """
    if "://" in source:
        return f"{source.rstrip('/')}/{path}" if path else source
    return str(Path(source, path))


def list_folder(root: Path) -> Listing:
    """Find the files below a folder; linked folders are followed once.

    Args:
        root: The folder.

    Returns:
        All but the hidden and the system's, and what programs made for themselves.

    Raises:
        DataError: When it cannot be read, or holds what handful made.
    """
    found = Listing([])
    return replace(found, files=FoundFiles.of(_walk(root, found))).kept(root)


def _walk(root: Path, found: Listing) -> Iterator[FoundFile]:
    """Go through a folder, and say in a listing what else is odd or empty there."""
    seen: dict[tuple[int, int], str] = {}

    def refuse(error: OSError) -> None:
        place = Path(os.fsdecode(error.filename or root))
        if place == root:
            raise DataError(f"{root} cannot be read ({reason_of(error)}); check its permissions.")
        path = place.relative_to(root).as_posix()
        found.unreadable[path] = f"cannot be read ({reason_of(error)})"

    for folder, names, files in os.walk(root, onerror=refuse, followlinks=True):
        try:
            status = os.stat(folder)
        except OSError as error:
            refuse(error)
            names.clear()
            continue
        place, all_names = Path(folder), list(names)
        path_here = place.relative_to(root).as_posix()
        known = seen.setdefault((status.st_dev, status.st_ino), path_here)
        if known != path_here:
            names.clear()
            if not place.relative_to(root).is_relative_to(known):  # a link to a folder around it
                found.linked[path_here] = known
            continue
        names[:] = sorted(name for name in names if not is_ignored(name))
        files = sorted(name for name in files if not is_ignored(name))
        if not all_names and not files:
            found.empty.append(path_here)
        for name in files:
            path = place / name
            yield FoundFile(path.relative_to(root).as_posix(), partial(read_file, path))


def list_zip(path: Path) -> Listing:
    """Find the files in a zip.

    Args:
        path: The archive.

    Returns:
        All but the hidden and the system's, and what programs made for themselves.

    Raises:
        DataError: When it is damaged or unsafe, or holds what handful made.
    """
    reader = open_zip(path)
    if "[Content_Types].xml" in reader.members or path.suffix.lower() in (".ods", ".numbers"):
        raise DataError(
            f"{path} is an office document, whose tables and photos are not read; save a table "
            "as CSV UTF-8, and photos as files."
        )
    zipped = ZipFiles(path)
    files = (FoundFile(name, partial(zipped, name)) for name in sorted(reader.members))
    kept = FoundFiles.of(file for file in files if not any(map(is_ignored, file.parts)))
    return Listing(kept, repeated=reader.repeated).kept(path)
