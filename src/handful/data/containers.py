"""Picture files taken apart by their formats' own rules, before anything is decoded.

One walker a format. It finds what the pixels of the first picture need, and only that is handed
to a decoder: text, profiles, previews and further frames can cost nothing and break nothing, and
an oddity outside of the pixels' data is no damage. Checksums are looked at on the way.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from handful.errors import DataError

MOST_SCANS = 500  # of a JPEG; programs write about ten
_MOST_PARTS = 100_000
_ORIENTATION, _MAKE, _MODEL = 0x0112, 0x010F, 0x0110
_DATE, _EXIF_BLOCK, _DATE_TAKEN = 0x0132, 0x8769, 0x9003
_TIME = re.compile(r"^(\d{4}):(\d\d):(\d\d)(?= \d\d:\d\d:\d\d$)")


@dataclass(frozen=True)
class Exif:
    """What is used of EXIF.

    Args:
        orientation: 1 (upright) to 8.
        camera: Make and model, or "".
        taken: When, as "2025-06-01T12:30:00" of the camera's own clock, or "".
    """

    orientation: int = 1
    camera: str = ""
    taken: str = ""


_TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 6: "b", 7: "s", 8: "h", 9: "i", 13: "I", 16: "Q"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}


class TiffDirectory:
    """The fields of a directory of a TIFF file or of an EXIF block.

    Args:
        data: The file or block.
        start: Place of the directory; None for the first one.

    Attributes:
        fields: Tag to (type, number of values, place of the values, the entry's own bytes); what
            lies beyond the end of the data is left out.
        is_big: Whether offsets have 64 bits.
        entry_bytes: Size of an entry.

    Raises:
        ValueError: When there is no directory.

    Source:
        TIFF 6.0, section 2; JEITA CP-3451 (EXIF 2.3), 4.6.
    """

    def __init__(self, data: bytes, start: int | None = None) -> None:
        self.order = {b"II": "<", b"MM": ">"}.get(data[:2], "")
        self.data = data
        self.fields: dict[int, tuple[int, int, int, bytes]] = {}
        self.is_big = data[2:4] in (b"+\0", b"\0+")
        offset, small, head = ("Q", 8, "Q") if self.is_big else ("I", 4, "H")
        self.entry_bytes = 20 if self.is_big else 12
        try:
            if not self.order:
                raise ValueError("has no byte order")
            if start is None:
                (start,) = struct.unpack_from(self.order + offset, data, small)
            (count,) = struct.unpack_from(self.order + head, data, start)
            first = start + struct.calcsize(head)
        except (struct.error, OverflowError) as error:  # it lies beyond the end, or far beyond
            raise ValueError("has no directory") from error
        for entry in range(first, first + self.entry_bytes * min(count, 4096), self.entry_bytes):
            if entry + self.entry_bytes > len(data):
                break
            tag, kind, number = struct.unpack_from(f"{self.order}HH{offset}", data, entry)
            place = entry + 4 + small
            if _SIZES.get(kind, 8) * number > small:
                (place,) = struct.unpack_from(self.order + offset, data, place)
            raw = data[entry : entry + self.entry_bytes]
            if place + _SIZES.get(kind, 8) * number <= len(data) or kind == 2:
                self.fields.setdefault(tag, (kind, number, place, raw))

    def numbers(self, tag: int) -> tuple[int, ...]:
        """Values of a field.

        Args:
            tag: Its number.

        Returns:
            Whole numbers; none when the field is missing or holds something else.
        """
        kind, number, place, _ = self.fields.get(tag, (0, 0, 0, b""))
        code = _TYPES.get(kind, "s")
        if code == "s" or number > 2_000_000:
            return ()
        return struct.unpack_from(f"{self.order}{number}{code}", self.data, place)

    def number(self, tag: int, default: int) -> int:
        """First value of a field.

        Args:
            tag: Its number.
            default: What stands for a missing field.

        Returns:
            The value.
        """
        return next(iter(self.numbers(tag)), default)

    def text(self, tag: int) -> str:
        """A field's text.

        Args:
            tag: Its number.

        Returns:
            At most 64 characters, or "".
        """
        kind, number, place, _ = self.fields.get(tag, (0, 0, 0, b""))
        text = self.data[place : place + min(number, 64)] if kind == 2 else b""
        return text.split(b"\0")[0].decode("ascii", "replace").strip()

    def exif(self) -> Exif:
        """Orientation and camera.

        Returns:
            What the fields say; what they do not say, or say wrongly, as if there were none.
        """
        kind = self.fields.get(_ORIENTATION, (0,))[0]
        orientation = self.number(_ORIENTATION, 1) if kind == 3 else 1
        make, model = self.text(_MAKE), self.text(_MODEL)
        camera = model if model.lower().startswith(make.lower()) else f"{make} {model}".strip()
        return Exif(orientation if 1 <= orientation <= 8 else 1, camera, self._taken())

    def _taken(self) -> str:
        """When the shutter was released; else when the file was changed last."""
        texts = [self.text(_DATE)]
        with suppress(ValueError):
            if place := self.number(_EXIF_BLOCK, 0):
                texts.insert(0, TiffDirectory(self.data, place).text(_DATE_TAKEN))
        for text in texts:
            with suppress(ValueError):  # zeros, where the clock was never set
                return datetime.fromisoformat(_TIME.sub(r"\1-\2-\3", text)).isoformat()
        return ""


def read_exif(block: bytes) -> Exif:
    """Read an EXIF block, which may be broken.

    Args:
        block: TIFF data, with or without the six bytes "Exif" and zeros before it.

    Returns:
        What it says.
    """
    try:
        return TiffDirectory(block.removeprefix(b"Exif\0\0")).exif()
    except ValueError:
        return Exif()


# --- JPEG ------------------------------------------------------------------------------------

# Any number of 0xFF, then what is no stuffed zero and no restart marker: as libjpeg looks for it.
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Walk over a JPEG's segments; stray bytes and scans between them are stepped over.

    Args:
        data: The whole file.

    Yields:
        Marker, place of the marker, and where its content starts and ends; the end marker, 0xD9,
        is the last one. A scan's data go from the end of a 0xDA to the next marker.

    Source:
        ITU-T T.81, B.1 and B.2.
    """
    place = 2
    for _ in range(_MOST_PARTS):
        found = _MARKER.search(data, place)
        if found is None:
            return
        marker, start = found[1][0], found.end()
        if marker == 0xD9:
            yield marker, found.start(), start, start
            return
        if marker in (0x01, 0xD8):  # they stand alone
            place = start
            continue
        place = start + max(2, int.from_bytes(data[start : start + 2], "big"))
        yield marker, found.start(), start + 2, place
    raise DataError(f"has more than {_MOST_PARTS:,} segments")


@dataclass
class JpegLayout:
    """What a JPEG's segments say.

    Args:
        exif: Of its first EXIF block.
        tables: Its quantization tables.
        block_passes: Blocks of 8 x 8 samples that its scans go over, all scans together.
        buffered: Coefficients that are kept until all scans have been read; 0 where the first
            scan is the only one, which needs no keeping.
        bits: Bits a sample.
        is_lossless: Whether it is of the kind without a cosine transform.
    """

    exif: Exif = Exif()
    tables: bytes = b""
    block_passes: int = 0
    buffered: int = 0
    bits: int = 8
    is_lossless: bool = False


def read_jpeg(data: bytes) -> JpegLayout:
    """Read a JPEG's segments.

    Args:
        data: The whole file.

    Returns:
        What they say. Past the first scan is looked only where there may be others.

    Raises:
        DataError: When there are more scans or segments than any program writes.
    """
    layout = JpegLayout()
    blocks: dict[int, int] = {}
    is_progressive = False
    for marker, _, start, end in jpeg_segments(data):
        if marker == 0xE1 and data[start : start + 6] == b"Exif\0\0":
            if layout.exif == Exif():
                layout.exif = read_exif(data[start:end])
        elif marker == 0xDB:
            layout.tables += data[start:end]
        elif marker in _FRAMES and not blocks:
            layout.bits = int.from_bytes(data[start : start + 1], "big")
            layout.is_lossless = marker & 3 == 3
            is_progressive = marker & 3 == 2
            blocks = _blocks(data[start:end])
        elif marker == 0xDA:
            names = _scanned(data, start)
            layout.block_passes = sum(blocks.get(name, 0) for name in names)
            if is_progressive or len(names) < len(blocks):
                layout.buffered = 64 * sum(blocks.values())
                for names in _later_scans(data, end):
                    layout.block_passes += sum(blocks.get(name, 0) for name in names)
            break
    return layout


def _scanned(data: bytes, start: int) -> bytes:
    """Identifiers of the components in a scan."""
    return data[start + 1 : start + 1 + 2 * data[start] : 2] if start < len(data) else b""


def _later_scans(data: bytes, place: int) -> Iterator[bytes]:
    """Components of each scan after the first; no marker occurs in the data between them."""
    end = data.find(b"\xff\xd9", place)
    end = len(data) if end < 0 else end
    for _ in range(MOST_SCANS):
        place = data.find(b"\xff\xda", place, end)
        if place < 0:
            return
        yield _scanned(data, place + 4)
        place += 2
    raise DataError(f"has more than {MOST_SCANS} scans, where about ten are usual")


def _blocks(frame: bytes) -> dict[int, int]:
    """Number of blocks of each component, by its identifier."""
    if len(frame) < 6:
        return {}
    height, width, count = struct.unpack_from(">HHB", frame, 1)
    parts = [frame[place : place + 2] for place in range(6, min(len(frame) - 2, 6 + 3 * count), 3)]
    factors = {part[0]: (part[1] >> 4 or 1, part[1] & 15 or 1) for part in parts}
    most_across = max((across for across, _ in factors.values()), default=1)
    most_down = max((down for _, down in factors.values()), default=1)
    return {
        name: -(-width * across // (8 * most_across)) * -(-height * down // (8 * most_down))
        for name, (across, down) in factors.items()
    }


def lean_jpeg(data: bytes, num_strays: int = 0) -> bytes:
    """A JPEG of the same pixels about which libjpeg has nothing to remark but in its scans' data.

    Markers of versions, applications and comments are left out or brought into order, stray bytes
    between segments too; what libjpeg still warns of comes from the data of the pixels.

    Args:
        data: The whole file.
        num_strays: Bytes to leave out at the end of the last scan's data.

    Returns:
        Another file; as far as its scans reach, when it has no end.

    Raises:
        DataError: When it has more segments than any program writes, or no end and too few scans.

    Source:
        What decides the color space: default_decompress_parms in libjpeg's jdapimin.c.
    """
    parts = [b"\xff\xd8"]
    adobe, has_jfif, has_end, frame, num_components = b"", False, False, 0, 0
    scan_end = 0  # where the header of the scan ended whose data follow
    complete: set[tuple[int, int]] = set()  # component and coefficient
    for marker, place, start, end in jpeg_segments(data):
        if scan_end:
            parts.append(data[scan_end:place])
            scan_end = 0
        content = data[start:end]
        if marker == 0xD9:
            has_end = True
        elif marker == 0xE0 and content[:5] == b"JFIF\0" and len(content) >= 14 and not has_jfif:
            has_jfif = True
            parts.append(_segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"))
        elif marker == 0xEE and content[:5] == b"Adobe" and len(content) >= 12:
            adobe = content[:12]
        elif marker in _FRAMES:
            frame, num_components = marker, content[5] if len(content) > 5 else 0
            if adobe:
                usual = 2 if num_components == 4 else 1
                parts.append(_segment(0xEE, adobe[:11] + bytes([usual if adobe[11] else 0])))
            parts.append(_segment(marker, content))
        elif marker == 0xDA and len(content) >= 4:
            first, last, low = content[-3], content[-2], content[-1] & 15
            if frame & 3 != 2:
                # Phones write 0, 0, 0 here, where nothing but 0, 63, 0 makes sense.
                first, last, low = 0, 63, 0
                content = content[:-3] + b"\0\x3f\0"
            if low == 0:
                names = content[1 : 1 + 2 * content[0] : 2]
                complete |= {(name, at) for name in names for at in range(first, last + 1)}
            scan_end = end
            parts.append(_segment(marker, content))
        elif marker in (0xC4, 0xCC, 0xDB, 0xDD):
            parts.append(_segment(marker, content))
    if not has_end:
        if len(complete) < 64 * num_components:
            raise DataError("is truncated (its last scans are missing)")
        parts.append(data[scan_end:] if scan_end else b"")
    if num_strays:
        parts[-1] = parts[-1][:-num_strays]
    parts.append(b"\xff\xd9")
    return b"".join(parts)


def _segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + (len(content) + 2).to_bytes(2, "big") + content


# --- PNG -------------------------------------------------------------------------------------

# Samples a pixel, by color type.
_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_MODES = {2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}
_PNG_NEEDED = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
# First column, first row, steps across and down of the seven passes of interlacing.
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Walk over a PNG's chunks.

    Args:
        data: The whole file.

    Yields:
        Type, and where the content starts and ends; four bytes of checksum follow.

    Raises:
        DataError: When there are more than any program writes, or one is cut off.
    """
    place = 8
    for _ in range(_MOST_PARTS):
        length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        if place + 12 + length > len(data):
            raise DataError("is truncated (the PNG file has no end)")
        yield kind, place + 8, place + 8 + length
        if kind == b"IEND":
            return
        place += 12 + length
    raise DataError(f"has more than {_MOST_PARTS:,} chunks")


def read_png(data: bytes) -> tuple[int, int, int, int, Exif]:
    """Read a PNG's header.

    Args:
        data: The whole file.

    Returns:
        Width, height, bits a sample, color type, and what its EXIF chunk says, whose checksum must
        be right for that.

    Raises:
        DataError: When it has no readable header.
    """
    exif = Exif()
    width, height, bits, color, _ = _png_header(data)
    for kind, start, end in png_chunks(data):
        if kind == b"eXIf" and exif == Exif() and _is_right(data, start, end):
            exif = read_exif(data[start:end])
    return width, height, bits, color, exif


def png_mode(bits: int, color: int) -> str:
    """Pillow's name for a PNG's kind of pixels.

    Args:
        bits: Bits a sample.
        color: The header's color type.

    Returns:
        Such as "RGB".
    """
    if color == 0:
        return {1: "1", 16: "I;16"}.get(bits, "L")
    return _PNG_MODES[color]


def _png_header(data: bytes) -> tuple[int, int, int, int, int]:
    """Width, height, bits a sample, color type, and whether it is interlaced."""
    if data[8:16] != b"\0\0\0\rIHDR" or len(data) < 33:
        raise DataError("has no readable PNG header (it does not begin with IHDR)")
    width, height, bits, color, _, _, interlace = struct.unpack_from(">IIBBBBB", data, 16)
    if color not in _PNG_SAMPLES or bits not in (1, 2, 4, 8, 16):
        raise DataError(f"has no readable PNG header ({bits} bits of color type {color})")
    return width, height, bits, color, interlace


def _is_right(data: bytes, start: int, end: int) -> bool:
    """Whether the checksum of a chunk fits its type and content."""
    return zlib.crc32(data[start - 4 : end]) == int.from_bytes(data[end : end + 4], "big")


def lean_png(data: bytes) -> bytes:
    """A PNG's pixels and nothing else, once their checksums have been found right.

    Args:
        data: The whole file.

    Returns:
        Another file: header, palette, transparency and pixels.

    Raises:
        DataError: When a chunk that decides the pixels, or the packed pixels, are damaged or not
            all there.
    """
    width, height, bits, color, interlace = _png_header(data)
    kept = [data[:8]]
    unpacker, left = _Unpacker(), _png_bytes(width, height, bits * _PNG_SAMPLES[color], interlace)
    for kind, start, end in png_chunks(data):
        if kind not in _PNG_NEEDED:
            if kind[:1].isupper():
                raise DataError(f"has an unknown part ({ascii(kind)[2:-1]}); save it anew")
            continue
        if not _is_right(data, start, end):
            raise DataError(f"is damaged (the checksum of its part {kind.decode()} is wrong)")
        if kind == b"IDAT":
            unpacker.feed(data[start:end], left)
        kept.append(data[start - 8 : end + 4])
    unpacker.finish(left)
    return b"".join(kept)


def _png_bytes(width: int, height: int, pixel_bits: int, interlace: int) -> int:
    """Bytes of the unpacked pixels: each row has one byte more."""
    total = 0
    for left, top, across, down in _PASSES if interlace else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * pixel_bits + 7) // 8)
    return total


class _Unpacker:
    """Unpacks a zlib stream for its checksum and its length; the content is let go."""

    def __init__(self) -> None:
        self.stream = zlib.decompressobj()
        self.num_bytes = 0

    def feed(self, packed: bytes, most: int) -> None:
        """Unpack a part, and of it no more than makes `most` bytes in all and a few."""
        try:
            while packed and not self.stream.eof and self.num_bytes <= most + 65536:
                self.num_bytes += len(self.stream.decompress(packed, 262_144))
                packed = self.stream.unconsumed_tail
        except zlib.error as error:
            raise DataError(f"is damaged ({error})") from error

    def finish(self, expected: int) -> None:
        """Refuse what has no end or is too short."""
        if self.num_bytes < expected:
            raise DataError(
                f"is truncated (its pixels end after {self.num_bytes:,} of {expected:,} bytes)"
            )
        # A stream that is longer than its picture is not unpacked to its end.
        if not self.stream.eof and self.num_bytes <= expected + 65536:
            raise DataError("is truncated (its packed pixels have no end)")


# --- GIF -------------------------------------------------------------------------------------


def lean_gif(data: bytes) -> tuple[bytes, int, int]:
    """The first picture of a GIF.

    Args:
        data: The whole file.

    Returns:
        Another file of that picture alone, its width and its height.

    Raises:
        DataError: When there is none, or it is cut off.

    Source:
        GIF89a specification, sections 15 and 18 to 27.
    """
    if len(data) < 13:
        raise DataError("has no readable GIF header (it is cut off)")
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    head = place = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    control = b""
    for _ in range(_MOST_PARTS):
        kind = data[place : place + 1]
        if kind == b"!":
            end = _blocks_end(data, place + 2)
            if data[place + 1] == 0xF9:
                control = data[place:end]
            place = end
        elif kind == b",":
            if place + 10 > len(data):
                break
            left, top, across, down, own = struct.unpack_from("<HHHHB", data, place + 1)
            start = place + 10 + (3 << (own & 7) + 1 if own & 0x80 else 0)
            picture = data[place : _blocks_end(data, start + 1)]
            return (
                data[:head] + control + picture + b";",
                max(width, left + across),
                max(height, top + down),
            )
        elif kind in (b";", b""):
            break
        else:
            place += 1
    raise DataError("has no photo in it, or is truncated")


def _blocks_end(data: bytes, place: int) -> int:
    """Where a row of blocks ends, each of which says its length; the last one has none."""
    for _ in range(_MOST_PARTS + len(data) // 32):
        if place >= len(data):
            raise DataError("is truncated (the GIF file has no end)")
        if not data[place]:
            return place + 1
        place += 1 + data[place]
    raise DataError("has its data in too many pieces")


# --- WebP ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WebpLayout:
    """What a WebP's chunks say.

    Args:
        width: Of the canvas.
        height: Of the canvas.
        has_alpha: Whether there may be transparency.
        exif: What its EXIF chunk says.
        lean: Another file, of the first picture alone.
    """

    width: int
    height: int
    has_alpha: bool
    exif: Exif
    lean: bytes


def read_webp(data: bytes) -> WebpLayout:
    """Take a WebP apart.

    Args:
        data: The whole file.

    Returns:
        Its layout.

    Raises:
        DataError: When it is cut off or has no picture.

    Source:
        RFC 9649, 2.3 to 2.7; RFC 6386, 9.1.
    """
    end = 8 + int.from_bytes(data[4:8], "little")
    if len(data) < 26:
        raise DataError("has no readable WebP header (it is cut off)")
    if len(data) < end:
        raise DataError("is truncated (the WebP file has no end)")
    kept: list[bytes] = []
    exif, size, has_alpha, has_picture = Exif(), (0, 0), False, False
    place = 12
    for _ in range(_MOST_PARTS):
        if place + 8 > end:
            break
        kind, length = (
            data[place : place + 4],
            int.from_bytes(data[place + 4 : place + 8], "little"),
        )
        content = data[place + 8 : place + 8 + length]
        whole = data[place : place + 8 + length + (length & 1)]
        place += len(whole)
        if len(content) < length:
            raise DataError("is truncated (the WebP file has no end)")
        if kind == b"EXIF" and exif == Exif():
            exif = read_exif(content)
        elif kind == b"VP8X" and not kept and length >= 10:
            size = (_uint24(content[4:7]) + 1, _uint24(content[7:10]) + 1)
            has_alpha = bool(content[0] & 0x10)
            # Profile, EXIF and XMP are not handed on.
            kept.append(whole[:8] + bytes([content[0] & 0x12]) + whole[9:])
        elif kind in (b"ANIM", b"ALPH", b"VP8 ", b"VP8L", b"ANMF") and not has_picture:
            kept.append(whole)
            if kind in (b"ANIM", b"ALPH"):
                continue
            has_picture = True
            if size == (0, 0):
                size, has_alpha = _webp_size(kind, content)
    if not has_picture:
        raise DataError("has no photo in it, or is truncated")
    body = b"WEBP" + b"".join(kept)
    lean = b"RIFF" + len(body).to_bytes(4, "little") + body
    return WebpLayout(*size, has_alpha, exif, lean)


def _webp_size(kind: bytes, content: bytes) -> tuple[tuple[int, int], bool]:
    """Size, and whether there is transparency, of a picture without an extended header."""
    if kind == b"VP8 " and content[3:6] == b"\x9d\x01\x2a" and len(content) >= 10:
        width, height = struct.unpack_from("<HH", content, 6)
        return (width & 0x3FFF, height & 0x3FFF), False
    if kind == b"VP8L" and content[:1] == b"\x2f" and len(content) >= 5:
        bits = int.from_bytes(content[1:5], "little")
        return ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1), bool(bits >> 28 & 1)
    raise DataError("has no readable WebP header")


def _uint24(data: bytes) -> int:
    return int.from_bytes(data, "little")


# --- TIFF ------------------------------------------------------------------------------------

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIPS, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANAR = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 322, 323, 324, 325
_SUBFILES, _JPEG_TABLES, _DNG_VERSION = 330, 347, 50706
_RAW_PHOTOMETRIC = {32803, 34892}  # a color filter's samples, and what was computed of them
# What the decoder is told; all else, such as profiles, notes and further directories, is not.
_TIFF_NEEDED = {
    _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, 266, _STRIPS, _SAMPLES, _ROWS,
    _STRIP_BYTES, _PLANAR, 292, 293, 317, 320, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES,
    332, 338, 339, _JPEG_TABLES, 512, 513, 514, 515, 519, 520, 521, 529, 530, 531, 532,
}  # fmt: skip


@dataclass(frozen=True)
class TiffLayout:
    """What a TIFF's first directory says.

    Args:
        width: Stored width.
        height: Stored height.
        bits: Bits of the widest sample.
        samples: Samples a pixel.
        compression: As the format numbers them: 1 none, 4 Group 4, 7 JPEG, 8 deflate.
        photometric: 0 for white as zero.
        exif: What it says of EXIF's fields.
        pieces: Place and length of each strip or tile.
        piece_bytes: Bytes that a piece has unpacked; the last ones of a plane may have fewer.
        tables: What JPEG pieces share.
        lean: Another file, whose directory has no more than decoding needs.
    """

    width: int
    height: int
    bits: int
    samples: int
    compression: int
    photometric: int
    exif: Exif
    pieces: tuple[tuple[int, int], ...]
    piece_bytes: tuple[int, ...]
    tables: bytes
    lean: bytes = field(repr=False)


def read_tiff(data: bytes) -> TiffLayout:
    """Take a TIFF apart.

    Args:
        data: The whole file.

    Returns:
        The layout of its first picture.

    Raises:
        DataError: When it has no readable directory, pieces are missing, or it is a camera's raw
            file, whose first picture is a preview.

    Source:
        TIFF 6.0, sections 2, 8 and 15; TIFF/EP (ISO 12234-2).
    """
    try:
        fields = TiffDirectory(data)
    except ValueError as error:
        raise DataError(f"has no readable TIFF header ({error})") from error
    if _is_raw(data, fields):
        raise DataError(
            "is a camera's raw file, which handful does not read; save it as JPEG or PNG"
        )
    width, height = fields.number(_WIDTH, 0), fields.number(_HEIGHT, 0)
    bits, samples = max(fields.numbers(_BITS) or (1,)), fields.number(_SAMPLES, 1)
    if width <= 0 or height <= 0 or not 0 < bits <= 64 or not 0 < samples <= 64:
        raise DataError(
            f"has no readable TIFF header ({width} x {height}, {samples} x {bits} bits)"
        )
    is_tiled = _TILES in fields.fields
    across, rows = width, min(max(1, fields.number(_ROWS, height)), height)
    if is_tiled:
        across, rows = fields.number(_TILE_WIDTH, 0), fields.number(_TILE_HEIGHT, 0)
        if not 0 < across <= 65_536 or not 0 < rows <= 65_536:
            raise DataError(f"has no readable TIFF header (tiles of {across} x {rows})")
    planes = samples if fields.number(_PLANAR, 1) == 2 else 1
    down = -(-height // rows)
    count = down * -(-width // across)
    places = fields.numbers(_TILES if is_tiled else _STRIPS)
    sizes = fields.numbers(_TILE_BYTES if is_tiled else _STRIP_BYTES)
    if not sizes and len(places) == 1:
        sizes = (max(0, len(data) - places[0]),)  # old programs leave it out
    if len(places) < count * planes or len(sizes) < count * planes:
        raise DataError(f"is damaged ({len(places)} of {count * planes} pieces are listed)")
    if len(places) > 2 * count * planes + 100:
        raise DataError(f"is damaged ({len(places):,} pieces are listed, not {count * planes:,})")
    pieces = tuple(zip(places, sizes, strict=False))[: count * planes]
    if any(place + size > len(data) for place, size in pieces):
        raise DataError("is truncated (pieces of it lie beyond its end)")
    row_bytes = (across * bits * (samples if planes == 1 else 1) + 7) // 8
    last = rows if is_tiled else height - (down - 1) * rows
    expected = tuple(
        row_bytes * (last if not is_tiled and at % down == down - 1 else rows)
        for at in range(len(pieces))
    )
    tables = fields.fields.get(_JPEG_TABLES, (0, 0, 0, b""))
    return TiffLayout(
        width,
        height,
        bits,
        samples,
        fields.number(_COMPRESSION, 1),
        fields.number(_PHOTOMETRIC, 1),
        fields.exif(),
        pieces,
        expected,
        data[tables[2] : tables[2] + tables[1]],
        _lean_tiff(data, fields),
    )


def _is_raw(data: bytes, fields: TiffDirectory) -> bool:
    if _DNG_VERSION in fields.fields or data[8:10] == b"CR":
        return True
    found = [fields]
    for start in fields.numbers(_SUBFILES)[:16]:
        try:
            found.append(TiffDirectory(data, start))
        except ValueError:
            continue
    return any(each.number(_PHOTOMETRIC, 1) in _RAW_PHOTOMETRIC for each in found)


def _lean_tiff(data: bytes, fields: TiffDirectory) -> bytes:
    """The file with another directory at its end."""
    needed = [raw for tag, (*_, raw) in sorted(fields.fields.items()) if tag in _TIFF_NEEDED]
    place = len(data) + (-len(data) % 8)
    order, is_big = fields.order, fields.is_big
    head = struct.pack(order + ("Q" if is_big else "I"), place)
    start = 8 if is_big else 4
    count = struct.pack(order + ("Q" if is_big else "H"), len(needed))
    rest = data[start + len(head) :]
    padding = bytes(place - len(data))
    return b"".join((data[:start], head, rest, padding, count, *needed, bytes(8)))


def check_tiff(data: bytes, layout: TiffLayout) -> None:
    """Refuse a TIFF whose packed pieces their own checksums call damaged.

    Args:
        data: The whole file.
        layout: Its layout.

    Raises:
        DataError: When one is damaged or too short.
    """
    if layout.compression not in (8, 32946):
        return
    for (place, size), expected in zip(layout.pieces, layout.piece_bytes, strict=True):
        unpacker = _Unpacker()
        unpacker.feed(data[place : place + size], expected)
        unpacker.finish(expected)


# --- BMP -------------------------------------------------------------------------------------


def is_packed_bmp(data: bytes) -> bool:
    """Whether a BMP's runs of equal pixels are packed (RLE).

    Args:
        data: The whole file.

    Returns:
        True when they are.
    """
    size = int.from_bytes(data[14:18], "little")
    return size >= 40 and int.from_bytes(data[30:34], "little") in (1, 2)
