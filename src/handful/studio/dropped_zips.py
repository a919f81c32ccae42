"""Zips that were dropped on a page: kept whole in the project's folder, and read where they lie."""

import secrets
import shutil
from collections.abc import AsyncIterable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from handful.errors import DataError, OutputError
from handful.files.atomic import reason_of
from handful.projects.photo_store import ZIPS_FOLDER

MOST_BYTES = 4_000_000_000
_SPARE_BYTES = 500_000_000  # a full disk is worse than a zip that was refused


async def keep_zip(
    chunks: AsyncIterable[bytes], folder: Path, name: str, most_bytes: int = MOST_BYTES
) -> Path:
    """Write a zip to disk as it comes.

    Args:
        chunks: Its bytes.
        folder: The project's.
        name: Its file's name, which may be anything.
        most_bytes: A longer one is refused.

    Returns:
        Where it lies; another place for each.

    Raises:
        DataError: When it is too long, or no zip.
        OutputError: When it cannot be written.
    """
    shown = PurePosixPath(name.replace("\\", "/")).name or "photos.zip"
    path = folder / ZIPS_FOLDER / f"{secrets.token_hex(8)}.zip"
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        room = min(most_bytes, shutil.disk_usage(path.parent).free - _SPARE_BYTES)
        with part.open("xb") as file:
            async for chunk in chunks:
                if file.tell() + len(chunk) > room:
                    raise DataError(
                        f"{shown} is too large to be dropped: unpack it, and name its folder when "
                        "you start the studio, which then takes its photos where they are."
                    )
                if not file.tell() and chunk and not chunk.startswith(b"PK"):
                    raise DataError(f"{shown} is no zip.")
                file.write(chunk)
        part.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {reason_of(error)}.") from error
    finally:
        with suppress(OSError):
            part.unlink()
    return path
