"""The body of a request -> the files in it, kept in memory and within limits; nothing is written.

Every limit is looked at while the bytes come in. What a form's header says of sizes and types is
not believed; a picture's format is told by its first bytes, later.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header
from starlette.types import Receive

from handful.serving.problems import Problem

FIELD = "file"
RAW_NAME = "picture"
_MAX_NAME = 255
_MAX_PARTS = 64  # files and other fields, where no more files than usual are taken
_MAX_OTHER_PARTS = 32
# Parsing a form's headers is slow, byte by byte: other requests get their turn after each piece.
_PIECE_BYTES = 65536


@dataclass(frozen=True)
class Upload:
    """A file that came in.

    Args:
        name: As the client calls it, with what cannot be printed replaced.
        data: The whole file.
    """

    name: str
    data: bytes


@dataclass(frozen=True)
class UploadLimits:
    """How much a request may bring.

    Args:
        body_bytes: Of one request's body.
        num_files: In one request.
        body_seconds: Time in which the whole body must have come.
        held_bytes: Of all requests' bodies at the same time.
        decode_seconds: Cost of decoding the pictures of one request, see `Service.check_costs`.
    """

    body_bytes: int = 20_000_000
    num_files: int = 32
    body_seconds: float = 30.0
    held_bytes: int = 256_000_000
    decode_seconds: float = 10.0


class Disconnected(Exception):
    """The client has gone; nobody waits for an answer."""


class HeldBytes:
    """How many bytes of bodies are in memory; used by the event loop's thread alone.

    Args:
        limit: Most that may be held.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.num_bytes = 0

    @contextmanager
    def hold(self) -> Iterator[Callable[[int], None]]:
        """Count bytes for as long as the block lasts.

        Yields:
            Adds so many bytes; raises `Problem` when they are too many.
        """
        held = 0

        def add(num_bytes: int) -> None:
            nonlocal held
            if self.num_bytes + num_bytes > self.limit:
                raise Problem(
                    "queue-full",
                    f"{self.num_bytes / 1e6:,.0f} MB of photos are in memory; at most "
                    f"{self.limit / 1e6:,.0f} MB may be. Try again in 1 s.",
                )
            held += num_bytes
            self.num_bytes += num_bytes

        try:
            yield add
        finally:
            self.num_bytes -= held


async def read_uploads(
    headers: Mapping[str, str],
    receive: Receive,
    limits: UploadLimits,
    add: Callable[[int], None],
) -> list[Upload]:
    """Read the files of a request: a form's, or the body as one.

    Args:
        headers: The request's.
        receive: ASGI's.
        limits: How much is taken.
        add: Told of bytes before they are kept, see `HeldBytes.hold`.

    Returns:
        One or more files.

    Raises:
        Problem: When there are none, too many or too large ones, or the form is malformed.
        Disconnected: When the client went away.
    """
    parser = _parser_for(headers.get("content-type", ""), limits)
    _check_length(headers.get("content-length"), limits)
    num_bytes = 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in _chunks(receive):
                num_bytes += len(chunk)
                if num_bytes > limits.body_bytes:
                    raise _too_large(f"more than {limits.body_bytes / 1e6:g} MB", limits)
                add(len(chunk))
                for start in range(0, len(chunk), _PIECE_BYTES):
                    if start:
                        await asyncio.sleep(0)
                    parser.write(chunk[start : start + _PIECE_BYTES])
    except TimeoutError:
        raise Problem(
            "too-slow",
            f"{num_bytes:,} bytes of the body came in {limits.body_seconds:g} s; all of it must. "
            "Send smaller photos, or fewer in a request.",
        ) from None
    else:
        return parser.finish()
    finally:
        parser.close()


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body"):
            return


def _check_length(text: str | None, limits: UploadLimits) -> None:
    """Refuse by its declared length what is too large, before any of it is read."""
    if text is not None and text.isdecimal() and int(text) > limits.body_bytes:
        raise _too_large(f"{int(text) / 1e6:,.1f} MB", limits)


def _too_large(found: str, limits: UploadLimits) -> Problem:
    return Problem(
        "too-large",
        f"the body has {found}; at most {limits.body_bytes / 1e6:g} MB are taken. Send smaller "
        "photos, or fewer in a request.",
    )


def _parser_for(content_type: str, limits: UploadLimits) -> "_Raw | _Form":
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        boundary = options.get(b"boundary")
        if not boundary:
            raise Problem(
                "bad-form",
                "the content type multipart/form-data has no boundary; let the client set this "
                "header itself, as curl -F does.",
            )
        return _Form(boundary, limits)
    if kind.startswith(b"image/") or kind == b"application/octet-stream":
        return _Raw()
    found = kind.decode("latin-1") or "none"
    raise Problem(
        "content-type",
        f"the content type is {printable(found)}; expected multipart/form-data with the field "
        f'"{FIELD}", or a photo alone as image/jpeg or the like, or application/octet-stream.',
    )


class _Raw:
    """A body that is one file."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, piece: bytes) -> None:
        self.data += piece

    def finish(self) -> list[Upload]:
        if not self.data:
            raise Problem("no-file", "the body is empty; expected a photo.")
        return [Upload(RAW_NAME, bytes(self.data))]

    def close(self) -> None:
        self.data = bytearray()


class _Form:
    """A multipart form, of which the parts named "file" are kept."""

    def __init__(self, boundary: bytes, limits: UploadLimits) -> None:
        self.limits = limits
        self.most_parts = max(_MAX_PARTS, limits.num_files + _MAX_OTHER_PARTS)
        self.uploads: list[Upload] = []
        self.num_parts = 0
        self.is_whole = False
        with _telling_of_malformed():
            self.parser = FormParser(
                "multipart/form-data",
                self._take_field,
                self._take_file,
                self._end,
                boundary,
                config={"MAX_MEMORY_FILE_SIZE": math.inf},  # nothing is written to the disk
            )

    def write(self, piece: bytes) -> None:
        with _telling_of_malformed():
            self.parser.write(piece)

    def finish(self) -> list[Upload]:
        if not self.is_whole:
            raise _malformed("it ends before its closing boundary")
        if not self.uploads:
            raise Problem(
                "no-file",
                f'the form has no file in the field "{FIELD}"; add one, such as '
                f"curl -F {FIELD}=@photo.jpg.",
            )
        return self.uploads

    def close(self) -> None:
        # Parsers and this refer to each other, and to what has come of a file: all of it would
        # stay until it is looked for.
        self.uploads, self.parser.parser = [], None

    def _take_field(self, field: Field) -> None:
        self._count_part()
        if field.field_name == FIELD.encode():
            self._add(b"", field.value or b"")

    def _take_file(self, file: File) -> None:
        self._count_part()
        field = file.field_name or b""
        if field != FIELD.encode():
            raise Problem(
                "bad-form",
                f'a file came in the field "{printable(_text(field))}"; expected it in "{FIELD}".',
            )
        data = file.file_object.getvalue()  # type: ignore[union-attr]
        file.close()  # it refers to the same bytes
        self._add(file.file_name or b"", data)

    def _count_part(self) -> None:
        self.num_parts += 1
        if self.num_parts > self.most_parts:
            raise _malformed(f"it has more than {self.most_parts} parts")

    def _add(self, name: bytes, data: bytes) -> None:
        if not data and not name:  # browsers send it for a field in which nothing was chosen
            return
        if len(self.uploads) >= self.limits.num_files:
            raise Problem(
                "too-many-files",
                f"the form has more than {self.limits.num_files} files; send the rest in another "
                "request.",
            )
        shown = printable(_text(name)) or f"{RAW_NAME} {len(self.uploads) + 1}"
        self.uploads.append(Upload(shown, data))

    def _end(self) -> None:
        self.is_whole = True


@contextmanager
def _telling_of_malformed() -> Iterator[None]:
    try:
        yield
    except FormParserError as error:
        raise _malformed(error) from error


def _malformed(reason: object) -> Problem:
    return Problem(
        "bad-form", f"the form is malformed: {printable(str(reason))}. Send it again, whole."
    )


def _text(name: bytes) -> str:
    return name.decode("utf-8", errors="replace")


def printable(text: str) -> str:
    """Make a client's text safe to show: it can neither break a line nor turn it around.

    Args:
        text: Any text.

    Returns:
        At most 255 characters, all of them printable.
    """
    return "".join(char if char.isprintable() else "�" for char in text[:_MAX_NAME])
