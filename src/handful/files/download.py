"""One file from the web: in bounded time, resumed where an earlier try stopped, never half trusted.

Everything goes by `urllib`, which honours the proxies and certificates that the environment names.
"""

import contextlib
import json
import queue
import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO

from handful.errors import HandfulError
from handful.files.atomic import write_whole
from handful.reporting import Progress

# Name look-up, connection, proxy, redirects and headers together.
OPEN_SECONDS = 6.0
READ_SECONDS = 15.0
# Slower than this is a line that stalls, and a program that seems to hang.
STALL_SECONDS = 30.0
STALL_BYTES = 200_000

_BLOCK = 1 << 16
_NETWORK_ERRORS = (OSError, HTTPException, ValueError)


class DownloadError(HandfulError):
    """A file could not be fetched; the text is a reason, a clause without full stop."""


class _Cut(Exception):
    """The connection ended early; what came so far is kept."""


def download(
    url: str,
    path: Path,
    num_bytes: int,
    progress: Progress | None = None,
) -> None:
    """Fetch a file of known size, going on where an earlier call stopped.

    A cut connection is taken up again for as long as each try brings new bytes. What has come so
    far stays at `path`, with the server's mark of that version (ETag or date) in a file beside
    it, so that two versions never mix. The content is for the caller to verify.

    Args:
        url: Address of the file.
        path: Where to put it; its folder exists. A file there is an earlier call's part.
        num_bytes: Size of the whole file.
        progress: Called with (bytes so far, bytes in all).

    Raises:
        DownloadError: When the server cannot be reached in a few seconds, refuses, sends something
            else, or stalls.
        OSError: When `path` cannot be written.
    """
    while True:
        before = _size(path)
        try:
            _fetch_rest(url, path, num_bytes, progress)
        except _Cut as cut:
            if _size(path) <= before:
                raise DownloadError(str(cut)) from cut
        else:
            _mark_path(path).unlink(missing_ok=True)
            return


def _fetch_rest(url: str, path: Path, num_bytes: int, progress: Progress | None) -> None:
    """Fetch what is missing at `path`: one request."""
    mark = _read_mark(path, url)
    offset = _size(path)
    if offset == num_bytes and mark:
        return
    headers = {"Accept-Encoding": "identity", "User-Agent": "handful"}
    if mark and 0 < offset < num_bytes:
        headers |= {"Range": f"bytes={offset}-", "If-Range": mark}
    try:
        response = _open(urllib.request.Request(url, headers=headers))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and "Range" in headers:
            remove_part(path)
            _fetch_rest(url, path, num_bytes, progress)
            return
        raise DownloadError(f"the server answered {error.code} {error.reason}") from error
    except _NETWORK_ERRORS as error:
        raise _Cut(_reason(error)) from error
    with response:
        if response.status == 206:
            start = offset
            _check_part(response, path, num_bytes)
        else:
            start = 0
            _check_offer(response, num_bytes)
            _write_mark(path, url, response)
        with path.open("ab" if start else "wb") as file:
            _copy(response, file, start, num_bytes, progress)


def remove_part(path: Path) -> None:
    """Remove an unfinished or unwanted file and its mark.

    Args:
        path: As given to `download`.
    """
    path.unlink(missing_ok=True)
    _mark_path(path).unlink(missing_ok=True)


def _open(request: urllib.request.Request) -> HTTPResponse:
    """Open an address within OPEN_SECONDS of the clock.

    A look-up of a name has no time limit of its own, and each address of a host and each redirect
    starts the socket's anew. A thread that is past its time is left behind.
    """
    answers: queue.SimpleQueue[HTTPResponse | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            # An opener of its own reads the proxies as they are set now.
            answers.put(urllib.request.build_opener().open(request, timeout=READ_SECONDS))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=work, daemon=True, name="handful-download").start()
    try:
        answer = answers.get(timeout=OPEN_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"no answer in {OPEN_SECONDS:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _check_part(response: HTTPResponse, path: Path, num_bytes: int) -> None:
    """Refuse a part that is not the one asked for, and forget the one before it."""
    found = response.headers.get("Content-Range", "")
    expected = f"bytes {_size(path)}-{num_bytes - 1}/{num_bytes}"
    if found.strip() != expected:
        remove_part(path)
        raise DownloadError(f"the server sent the part {found!r}; expected {expected!r}")


def _check_offer(response: HTTPResponse, num_bytes: int) -> None:
    """Refuse what cannot be the file before it is read: a login page, another size."""
    kind = response.headers.get_content_type()
    if kind == "text/html":
        raise DownloadError("a web page came instead of the file, as proxies and log-ins send them")
    length = response.headers.get("Content-Length")
    if length is not None and length != str(num_bytes):
        raise DownloadError(f"the server offers {length} bytes; expected {num_bytes}")


def _copy(
    response: HTTPResponse,
    file: IO[bytes],
    done: int,
    num_bytes: int,
    progress: Progress | None,
) -> None:
    """Copy an answer to its end, refusing to wait for a stalled or to follow an endless one."""
    window_start, window_done = time.monotonic(), done
    while True:
        try:
            block = response.read1(_BLOCK)
        except _NETWORK_ERRORS as error:
            raise _Cut(f"the connection broke: {_reason(error)}") from error
        if not block:
            break
        done += len(block)
        if done > num_bytes:
            file.truncate(0)
            raise DownloadError(f"more than the expected {num_bytes} bytes came")
        file.write(block)
        if progress is not None:
            progress(done, num_bytes)
        if time.monotonic() - window_start > STALL_SECONDS:
            if done - window_done < STALL_BYTES:
                raise DownloadError(
                    f"the line is too slow: {done - window_done} bytes in {STALL_SECONDS:g} s"
                )
            window_start, window_done = time.monotonic(), done
    if done < num_bytes:
        raise _Cut(f"the connection ended after {done} of {num_bytes} bytes")


def _reason(error: Exception) -> str:
    """The plainest words that a network error has for itself."""
    inner = getattr(error, "reason", None) or error
    return str(getattr(inner, "strerror", None) or inner) or type(error).__name__


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _mark_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _write_mark(path: Path, url: str, response: HTTPResponse) -> None:
    """Note which version of the file is coming, if the server says so strongly."""
    etag = response.headers.get("ETag", "")
    # A weak mark guarantees the same meaning and not the same bytes.
    mark = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
    # The bytes of the last version must not stand beside the mark of this one, even for a moment.
    path.unlink(missing_ok=True)
    write_whole(_mark_path(path), json.dumps({"url": url, "mark": mark}))


def _read_mark(path: Path, url: str) -> str:
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        noted = json.loads(_mark_path(path).read_text(encoding="utf-8"))
        if noted.get("url") == url:
            return str(noted.get("mark", ""))
    return ""
