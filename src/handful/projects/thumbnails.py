"""Small copies of photos for pages: made once, kept as files, readable while more are made."""

import io
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from PIL import Image

from handful.data.decoding import shrunken
from handful.errors import DataError, OutputError
from handful.files.atomic import reason_of
from handful.reporting import Progress

THUMBNAIL_SIDE = 256
_LARGE_SIDE = 1024
_QUALITY, _METHOD = 75, 2  # method 4, WebP's own default, takes twice the time for 5 % less
_LITTER_SECONDS = 24 * 3600


def large_picture(data: bytes) -> bytes:
    """A photo as a page shows it large, in any browser.

    Args:
        data: Its file's bytes, of any format.

    Returns:
        WebP file, upright, 1,024 pixels at most.

    Raises:
        DataError: When it cannot be decoded; a clause.
    """
    return _webp(data, _LARGE_SIDE)


def _webp(data: bytes, side: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(shrunken(data, side)).save(file, "WEBP", quality=_QUALITY, method=_METHOD)
    return file.getvalue()


class Thumbnails:
    """A folder of WebP files, one for each photo, by its id.

    They can be made again, so deleting them is safe. Safe to use from any number of threads and
    processes.

    Args:
        folder: Where they lie; it is made at need.
        side: Longest side in pixels; smaller photos keep their size.
    """

    def __init__(self, folder: Path, side: int = THUMBNAIL_SIDE) -> None:
        self.folder, self.side = folder, side

    def path(self, id: str) -> Path:
        """Where a photo's thumbnail lies, or would.

        Args:
            id: The photo.

        Returns:
            A path two folders deep: ten thousand files in one slow file managers down.
        """
        return self.folder / id[:2] / f"{id}.webp"

    def get(self, id: str) -> bytes | None:
        """A photo's thumbnail.

        Args:
            id: The photo.

        Returns:
            WebP file; None where none was made yet, or the computer lost its power meanwhile.
        """
        with suppress(OSError):
            data = self.path(id).read_bytes()
            if data[:4] == b"RIFF" and int.from_bytes(data[4:8], "little") + 8 == len(data):
                return data
        return None

    def make(self, id: str, data: bytes) -> bytes:
        """Make a thumbnail and keep it.

        Args:
            id: The photo.
            data: Its file's bytes.

        Returns:
            WebP file, upright.

        Raises:
            DataError: When the photo cannot be decoded; a clause.
            OutputError: When the thumbnail cannot be written.
        """
        made = _webp(data, self.side)
        path = self.path(id)
        part = self.folder / f"{id}-{os.getpid()}-{threading.get_ident()}.part"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(made)
            part.replace(path)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {reason_of(error)}.") from error
        return made

    def fill(
        self,
        photos: Mapping[str, Callable[[], bytes]],
        progress: Progress | None = None,
        *,
        threads: int | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> dict[str, str]:
        """Make all that are missing, the first first.

        Args:
            photos: Id to what reads the photo.
            progress: Called with (thumbnails there, photos in all).
            threads: How many make them; None takes one a processor core.
            cancelled: Asked after each; True stops.

        Returns:
            Id to the reason why there is none, as a clause.
        """
        self._remove_litter()
        missing = [id for id in photos if not self.path(id).exists()]
        num_done, failed = len(photos) - len(missing), dict[str, str]()
        workers = threads or os.cpu_count() or 1

        def make(id: str) -> str:
            try:
                self.make(id, photos[id]())
            except DataError as error:
                return str(error)
            return ""

        with ThreadPoolExecutor(workers, thread_name_prefix="thumbnail") as pool:
            try:
                for id, reason in _few_ahead(pool, make, missing, 2 * workers):
                    num_done += 1
                    if reason:
                        failed[id] = reason
                    if progress is not None:
                        progress(num_done, len(photos))
                    if cancelled():
                        break
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        return failed

    def _remove_litter(self) -> None:
        """What killed processes left."""
        with suppress(OSError):
            for part in self.folder.glob("*.part"):
                if time.time() - part.stat().st_mtime > _LITTER_SECONDS:
                    part.unlink(missing_ok=True)


def _few_ahead(
    pool: ThreadPoolExecutor, make: Callable[[str], str], ids: list[str], ahead: int
) -> Iterator[tuple[str, str]]:
    """Results in order; little is under way when they are not wanted any more."""
    rest = iter(ids)
    pending: deque[tuple[str, Future[str]]] = deque()
    while True:
        while len(pending) < ahead and (id := next(rest, None)) is not None:
            pending.append((id, pool.submit(make, id)))
        if not pending:
            return
        id, future = pending.popleft()
        yield id, future.result()
