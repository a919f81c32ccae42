"""Bytes of a picture file -> upright RGB pixels, or the reason why not.

JPEG goes through libjpeg-turbo, decoded at the smallest scale that is large enough; Pillow takes
the other formats, and pi-heif HEIC. What decoding would cost is told from the header and refused
where it is too much. Nothing is guessed: a truncated or damaged file is refused, not filled with
gray. Color profiles are ignored, as they are by the tools that the pretrained networks were
trained with.

Reasons are clauses that follow the file's name: "is truncated", "has 3,600 megapixels; ...".
"""

import io
import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageOps

from handful.data import containers
from handful.data.containers import Exif, JpegLayout, TiffDirectory, TiffLayout
from handful.data.formats import sniff_format
from handful.errors import CostError, DataError
from handful.forks import start_anew_in_children

DECODER_VERSION = 2  # part of every cache key: raise it when a change here changes any pixel
MIN_SIDE = 8
FINGERPRINT_SIDE = 32
MAX_MEGAPIXELS = 100.0
# What decoding one picture may take; more where the limit of megapixels was raised.
MAX_BYTES = 1_200_000_000
MAX_SECONDS = 5.0
# Pictures that take more memory than this are decoded one at a time.
_LARGE_BYTES = 200_000_000

_PLUGINS = {
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "WebP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "JPEG 2000": ("PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile"),
}
# By format: bytes a pixel at the decoder's peak; pixels, and bytes of the file, that it does in a
# second. Measured on noise, which costs most, and rounded to the safe side.
_DECODERS = {
    "PNG": (8, 40e6, 50e6),
    "GIF": (6, 80e6, 50e6),
    "BMP": (8, 300e6, 300e6),
    "TIFF": (8, 60e6, 100e6),
    "WebP": (22, 60e6, 15e6),
    "AVIF": (16, 40e6, 12e6),
    "JPEG 2000": (24, 12e6, 8e6),
    "HEIC": (16, 25e6, 8e6),
}
_TIFF_FAX = {2: "tiff_ccitt", 3: "group3", 4: "group4"}
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_BAND_PIXELS = 2_000_000


@dataclass(frozen=True)
class DecodeSettings:
    """How a picture becomes a square of pixels.

    Args:
        image_size: Side S of the square in pixels.
        resize: What becomes of the proportions: "squash" keeps the whole picture and not its
            proportions, as Keras' `target_size` does; "crop" keeps the proportions and cuts the
            longer side's ends off; "halfway" does half of each.
        max_megapixels: Larger pictures are rejected by their header, before decoding. Of a JPEG,
            which is decoded at a reduced size, the reduced size counts.
    """

    image_size: int = 224
    resize: str = "halfway"
    max_megapixels: float = MAX_MEGAPIXELS

    def key(self) -> str:
        """Stable text of what decides the pixels, for cache keys.

        Returns:
            Such as "decode2:224:halfway".
        """
        return f"decode{DECODER_VERSION}:{self.image_size}:{self.resize}"


@dataclass(frozen=True)
class ImageHeader:
    """What a picture's header says.

    Args:
        format: As `sniff_format` tells it.
        width: Stored width in pixels, before any rotation.
        height: Stored height in pixels.
        mode: Color mode: Pillow's, or libjpeg's for JPEG.
        orientation: What EXIF says that is still to be done, 1 (upright) to 8.
        camera: Make and model that EXIF names, or "".
        taken: When, as EXIF says it, or "": "2025-06-01T12:30:00".
        tables: A JPEG's quantization tables; nothing for other formats.
        is_deep: Whether samples have more than 8 bits, which are scaled by the range in use.
    """

    format: str
    width: int
    height: int
    mode: str
    orientation: int
    camera: str = ""
    tables: bytes = b""
    is_deep: bool = False
    taken: str = ""


@dataclass(frozen=True)
class Cost:
    """What decoding a picture takes, told by its header; an estimate on the safe side.

    Args:
        megapixels: Pixels that are decoded, in millions; of a JPEG after its reduction.
        bytes: Memory at the peak, besides the file itself.
        seconds: Time of one processor core of 2020 or later.
    """

    megapixels: float
    bytes: int
    seconds: float


@dataclass(frozen=True)
class _Parsed:
    """A picture's file, taken apart."""

    header: ImageHeader
    lean: bytes = b""  # what the decoder is given; nothing where it is still to be made
    jpeg: JpegLayout | None = None
    tiff: TiffLayout | None = None
    opened: Any = None  # by Pillow or pi-heif, where they read the header


def read_header(data: bytes) -> ImageHeader:
    """Read a picture's format and size without decoding it.

    Args:
        data: The whole file.

    Returns:
        The header.

    Raises:
        DataError: When it is not a picture that handful takes.
    """
    return _parse(data).header


def decoding_cost(data: bytes, settings: DecodeSettings | None = None) -> Cost:
    """Tell what decoding a picture would take, without decoding it.

    `decode` refuses by itself what costs more than `check_cost` lets pass. Whoever has less to
    give, such as a server, compares these figures with limits of its own first:

        cost = decoding_cost(data, classifier.settings)
        if cost.bytes > 300e6 or cost.seconds > 2:
            ...

    Args:
        data: The whole file.
        settings: How `decode` would be told to decode it; None for `decode_whole`, which
            decodes at full size.

    Returns:
        The cost; found in about 0.02 ms for a JPEG.

    Raises:
        DataError: When it is not a picture that handful takes.
    """
    parsed = _parse(data)
    header = parsed.header
    return _cost(parsed, len(data), *_least_size(header.width, header.height, settings))


def decoded_megapixels(
    name: str, width: int, height: int, settings: DecodeSettings | None = None
) -> float:
    """Tell how many pixels of a picture are decoded.

    Args:
        name: Its format.
        width: Stored width.
        height: Stored height.
        settings: How `decode` would be told to decode it; None for its full size.

    Returns:
        Millions of pixels; of a JPEG at the scale, in eighths, that libjpeg decodes it at.
    """
    return _decoded_pixels(name, width, height, *_least_size(width, height, settings)) / 1e6


def check_cost(cost: Cost, max_megapixels: float = MAX_MEGAPIXELS) -> None:
    """Refuse what takes too much to decode: the one limit of every command.

    Args:
        cost: Of a picture.
        max_megapixels: Most that are decoded. Memory (1.2 GB) and time (5 s) are limited too, and
            rise with it past 100.

    Raises:
        CostError: When it is too much; a clause.
    """
    if cost.megapixels > max_megapixels:
        raise CostError(
            f"has {cost.megapixels:,.0f} megapixels; the limit is {max_megapixels:g}, save it "
            "smaller"
        )
    factor = max(1.0, max_megapixels / MAX_MEGAPIXELS)
    if cost.bytes > factor * MAX_BYTES:
        raise CostError(
            f"takes {cost.bytes / 1e9:,.1f} GB of memory to decode; the limit is "
            f"{factor * MAX_BYTES / 1e9:g} GB, save it smaller or as JPEG"
        )
    if cost.seconds > factor * MAX_SECONDS:
        raise CostError(
            f"takes {cost.seconds:,.0f} s to decode; the limit is {factor * MAX_SECONDS:g} s, save "
            "it smaller or as an ordinary JPEG"
        )


def decode(data: bytes, settings: DecodeSettings) -> NDArray[np.uint8]:
    """Decode a picture to a square.

    Args:
        data: The whole file.
        settings: Size, proportions and limit.

    Returns:
        (S, S, 3) uint8 RGB, upright.

    Raises:
        CostError: When decoding would take too much memory or time.
        DataError: When the file is truncated, damaged, too small or no picture.
    """
    parsed = _parse(data)
    least = _least_size(parsed.header.width, parsed.header.height, settings)
    image = _decoded(parsed, data, *least, settings.max_megapixels)
    # Turning a square is cheaper than turning all of the picture, and the same.
    return _upright(resize(image, settings), parsed.header.orientation)


def decode_whole(data: bytes, max_megapixels: float = MAX_MEGAPIXELS) -> NDArray[np.uint8]:
    """Decode a picture at its own size.

    Args:
        data: The whole file.
        max_megapixels: Larger pictures are rejected before decoding.

    Returns:
        (H, W, 3) uint8 RGB, upright.

    Raises:
        CostError: When decoding would take too much memory or time.
        DataError: As for `decode`.
    """
    parsed = _parse(data)
    return _upright(_decoded(parsed, data, 0, 0, max_megapixels), parsed.header.orientation)


def resize(image: NDArray[np.uint8], settings: DecodeSettings) -> NDArray[np.uint8]:
    """Make a picture a square, as the settings say.

    Args:
        image: (H, W, 3) uint8.
        settings: Size and proportions.

    Returns:
        (S, S, 3) uint8; averaged over areas where it shrinks, bicubic where it grows.
    """
    height, width = image.shape[:2]
    kept_height, kept_width = _kept(height, width, settings.resize)
    top, left = (height - kept_height) // 2, (width - kept_width) // 2
    part = image[top : top + kept_height, left : left + kept_width]
    size = settings.image_size
    shrinks = min(kept_height, kept_width) >= size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(part, (size, size), interpolation=method), dtype=np.uint8)


def mirror(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Swap left and right.

    Args:
        image: (H, W, 3) uint8.

    Returns:
        (H, W, 3) uint8, contiguous.
    """
    return np.ascontiguousarray(image[:, ::-1])


def fingerprint(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Make a tiny gray thumbnail that survives re-encoding and resizing.

    Args:
        image: (S, S, 3) uint8 RGB.

    Returns:
        (1024,) uint8, 32 x 32 averages of luma (ITU-R BT.601), row by row.
    """
    side = FINGERPRINT_SIDE
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8).reshape(side * side)


def thumbnail(data: bytes, size: int = 160, max_megapixels: float = MAX_MEGAPIXELS) -> bytes:
    """Make a small JPEG of a picture, for pages.

    Args:
        data: The whole file.
        size: As for `shrunken`.
        max_megapixels: As for `shrunken`.

    Returns:
        JPEG file, upright.

    Raises:
        CostError: As for `shrunken`.
        DataError: As for `decode`.
    """
    small = shrunken(data, size, max_megapixels)
    return bytes(simplejpeg.encode_jpeg(small, quality=80, colorsubsampling="420"))


def shrunken(
    data: bytes, size: int = 160, max_megapixels: float = MAX_MEGAPIXELS
) -> NDArray[np.uint8]:
    """Decode a picture small, in its own proportions.

    Args:
        data: The whole file.
        size: Longest side in pixels; smaller pictures stay as they are.
        max_megapixels: Larger pictures are rejected before decoding.

    Returns:
        (H, W, 3) uint8 RGB, upright.

    Raises:
        CostError: When decoding would take too much memory or time.
        DataError: As for `decode`.
    """
    parsed = _parse(data)
    header = parsed.header
    scale = size / max(header.height, header.width)
    least = (math.ceil(header.height * scale), math.ceil(header.width * scale))
    image = _upright(_decoded(parsed, data, *least, max_megapixels), header.orientation)
    # The decoder rounds each side up; proportions are the header's.
    height, width = header.height, header.width
    if header.orientation >= 5:
        height, width = width, height
    scale = min(1.0, scale)
    target = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.ascontiguousarray(
        cv2.resize(image, target, interpolation=cv2.INTER_AREA), dtype=np.uint8
    )


def bits_in_use(data: bytes, max_megapixels: float = MAX_MEGAPIXELS) -> int:
    """Tell how many bits a picture's samples use, for it is scaled by what is in use.

    Args:
        data: The whole file.
        max_megapixels: As for `decode`.

    Returns:
        8 for usual pictures; 8, 10, 12, 14 or 16 for those with 16 bits a sample: as many as its
        largest value needs.

    Raises:
        DataError: As for `decode`.
    """
    parsed = _parse(data)
    if not parsed.header.is_deep:
        return 8
    counted = _counted(parsed, data, 0, 0, max_megapixels)
    with counted, _in_words(), _pillow_image(parsed, data) as image:
        if not image.mode.startswith("I"):
            deep = _deep_color(parsed, data, image)
            return 16 if deep is None else _white(int(deep.max())).bit_length()
        return _white(int(np.asarray(image).max())).bit_length()


def rgb_of(image: Image.Image) -> NDArray[np.uint8]:
    """Pixels of an image that Pillow has opened.

    Args:
        image: The image, in any mode.

    Returns:
        (H, W, 3) uint8 RGB, upright.

    Raises:
        DataError: When it cannot be loaded, or has pixels that are no colors; a clause.
    """
    with _in_words():
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image))


@contextmanager
def _in_words() -> Iterator[None]:
    """A reason instead of whatever hostile bytes make readers and decoders raise."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(_damage(error)) from error


# --- headers and costs -----------------------------------------------------------------------


def _parse(data: bytes) -> _Parsed:
    """Take a file apart; nothing of it is decoded."""
    with _in_words():
        return _take_apart(data)


def _take_apart(data: bytes) -> _Parsed:
    name = sniff_format(data)
    if name is None:
        raise DataError("is empty (0 bytes)" if not data else "is not a photo of a known format")
    if name == "JPEG":
        return _parse_jpeg(data)
    if name == "PNG":
        width, height, bits, color, exif = containers.read_png(data)
        mode = containers.png_mode(bits, color)
        return _Parsed(_header(name, (width, height), mode, exif, is_deep=bits == 16))
    if name == "GIF":
        lean, width, height = containers.lean_gif(data)
        return _Parsed(_header(name, (width, height), "P"), lean)
    if name == "WebP":
        webp = containers.read_webp(data)
        mode = "RGBA" if webp.has_alpha else "RGB"
        return _Parsed(_header(name, (webp.width, webp.height), mode, webp.exif), webp.lean)
    if name == "HEIC":
        return _parse_heic(data)
    tiff = containers.read_tiff(data) if name == "TIFF" else None
    opened = _opened(name, tiff.lean if tiff else data)
    if tiff and (tiff.width, tiff.height) != opened.size:
        raise DataError("has no readable TIFF header (its size is given twice)")
    exif = tiff.exif if tiff else containers.read_exif(opened.info.get("exif") or b"")
    is_deep = tiff is not None and tiff.bits > 8
    header = _header(name, opened.size, opened.mode, exif, is_deep=is_deep)
    return _Parsed(header, tiff.lean if tiff else data, tiff=tiff, opened=opened)


def _parse_heic(data: bytes) -> _Parsed:
    pi_heif = import_module("pi_heif")
    try:
        image = pi_heif.open_heif(data)
        exif = containers.read_exif(image.info.get("exif") or b"")
        size, mode = image.size, image.mode
    except Exception as error:  # libheif raises whatever a broken file makes it
        raise DataError(f"has no readable HEIC header ({_brief(error)})") from error
    # Turned by means of its own; what EXIF says of it has been done.
    return _Parsed(_header("HEIC", size, mode, replace(exif, orientation=1)), opened=image)


def _header(
    name: str,
    size: tuple[int, int],
    mode: str,
    exif: Exif | None = None,
    *,
    is_deep: bool = False,
    tables: bytes = b"",
) -> ImageHeader:
    exif = exif or Exif()
    return ImageHeader(
        name, *size, mode, exif.orientation, exif.camera, tables, is_deep, exif.taken
    )


def _parse_jpeg(data: bytes) -> _Parsed:
    layout = containers.read_jpeg(data)
    if layout.bits != 8 or layout.is_lossless:
        kind = "lossless JPEG" if layout.is_lossless else f"JPEG of {layout.bits} bits"
        raise DataError(f"is a {kind}, which handful does not read; save it as PNG")
    try:
        try:
            height, width, space, _ = simplejpeg.decode_jpeg_header(data)
        except ValueError:  # or a warning, which is no matter here
            height, width, space, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError) as error:
        reason = error.__context__ or error
        raise DataError(f"has no readable JPEG header ({_brief(reason)})") from error
    header = _header("JPEG", (width, height), space, layout.exif, tables=layout.tables)
    return _Parsed(header, jpeg=layout)


def _least_size(width: int, height: int, settings: DecodeSettings | None) -> tuple[int, int]:
    """Height and width that a JPEG must at least be decoded at; 0, 0 for its full size."""
    if settings is None:
        return 0, 0
    size = settings.image_size
    kept_height, kept_width = _kept(height, width, settings.resize)
    # The part that is kept must still be as large as the square.
    scale = max(size / max(1, kept_height), size / max(1, kept_width))
    return math.ceil(height * scale), math.ceil(width * scale)


def _decoded_pixels(name: str, width: int, height: int, min_height: int, min_width: int) -> int:
    if name != "JPEG" or not min_height:
        return width * height
    share = max(min_height / max(1, height), min_width / max(1, width))
    eighths = min(8, max(1, math.ceil(8 * share)))
    return math.ceil(width * eighths / 8) * math.ceil(height * eighths / 8)


def _cost(parsed: _Parsed, num_bytes: int, min_height: int, min_width: int) -> Cost:
    header = parsed.header
    pixels = _decoded_pixels(header.format, header.width, header.height, min_height, min_width)
    if parsed.jpeg is not None:
        bytes_a_pixel = 10 if header.mode in ("CMYK", "YCCK") else 6
        return Cost(
            pixels / 1e6,
            bytes_a_pixel * pixels + 2 * parsed.jpeg.buffered,
            20e-9 * parsed.jpeg.block_passes + 15e-9 * pixels + num_bytes / 30e6,
        )
    bytes_a_pixel, pixels_a_second, bytes_a_second = _DECODERS[header.format]
    if header.is_deep and not header.mode.startswith("I"):  # decoded again, with all bits
        bytes_a_pixel += 9
        pixels_a_second /= 2
    extra = max(parsed.tiff.piece_bytes) if parsed.tiff else 0
    return Cost(
        pixels / 1e6,
        bytes_a_pixel * pixels + 2 * num_bytes + extra,
        pixels / pixels_a_second + num_bytes / bytes_a_second,
    )


class _LargeOnes:
    """Large pictures are decoded one at a time, lest all threads' together take all memory."""

    def __init__(self) -> None:
        self.start_anew()
        start_anew_in_children(self)

    def start_anew(self) -> None:
        """Have a lock that nobody holds: a forked child does not have the thread that does."""
        self.lock = threading.Lock()


_LARGE_ONES = _LargeOnes()


@contextmanager
def _counted(
    parsed: _Parsed, data: bytes, min_height: int, min_width: int, max_megapixels: float
) -> Iterator[None]:
    """Decode within the block: refused when it costs too much, alone when it costs much."""
    header = parsed.header
    cost = _cost(parsed, len(data), min_height, min_width)
    check_cost(cost, max_megapixels)
    if min(header.width, header.height) < MIN_SIDE:
        raise DataError(
            f"is {header.width} x {header.height} pixels; at least {MIN_SIDE} x {MIN_SIDE} "
            "are needed"
        )
    with _LARGE_ONES.lock if cost.bytes > _LARGE_BYTES else nullcontext():
        yield


def _decoded(
    parsed: _Parsed, data: bytes, min_height: int, min_width: int, max_megapixels: float
) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) as they are stored; a JPEG's at the smallest scale that is large enough."""
    with _counted(parsed, data, min_height, min_width, max_megapixels), _in_words():
        if parsed.jpeg is not None:
            return _decode_jpeg(data, parsed.header, min_height, min_width)
        if parsed.header.format == "HEIC":
            return _to_rgb(parsed.opened.to_pillow())
        if parsed.header.format == "BMP" and containers.is_packed_bmp(data):
            return _decode_with_opencv(data, parsed.header)
        with _pillow_image(parsed, data) as image:
            if parsed.header.is_deep and not image.mode.startswith(("I", "F")):
                deep = _deep_color(parsed, data, image)
                if deep is not None:
                    return _scaled(deep)
            if image.mode.startswith("I"):
                is_inverted = parsed.tiff is not None and parsed.tiff.photometric == 0
                return _gray_to_rgb(image, is_inverted)
            return _to_rgb(image)


# --- decoders --------------------------------------------------------------------------------


def _decode_jpeg(
    data: bytes, header: ImageHeader, min_height: int, min_width: int
) -> NDArray[np.uint8]:
    """Decode strictly: what libjpeg warns of in the pixels' own data is damage.

    What it warns of elsewhere costs no pixel: the file is then cleared of everything else, and
    what libjpeg still warns of is damage.
    """
    is_cmyk = header.mode in ("CMYK", "YCCK")
    options: dict[str, Any] = {
        "colorspace": "CMYK" if is_cmyk else "RGB",
        "min_height": min_height,
        "min_width": min_width,
    }
    try:
        image = simplejpeg.decode_jpeg(data, **options)
    except ValueError:
        image = _decode_odd_jpeg(data, options)
    if is_cmyk:
        return _cmyk_to_rgb(image)
    return np.asarray(image, dtype=np.uint8)


def _decode_odd_jpeg(data: bytes, options: dict[str, Any]) -> Any:
    lean = containers.lean_jpeg(data)
    try:
        return simplejpeg.decode_jpeg(lean, **options)
    except ValueError as error:
        # Cameras fill up the last scan with zeros, which no pixel needs.
        strays = re.search(r"(\d+) extraneous bytes before marker 0xd9", str(error))
        num_strays = int(strays[1]) if strays else 0
        if not num_strays or any(lean[-2 - num_strays : -2]):
            raise DataError(_damage(error)) from error
    try:
        return simplejpeg.decode_jpeg(containers.lean_jpeg(data, num_strays), **options)
    except ValueError as error:
        raise DataError(_damage(error)) from error


def _cmyk_to_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """As Pillow does it: JPEGs are taken for inverted, as Adobe's are."""
    height, width = image.shape[:2]
    result = np.empty((height, width, 3), dtype=np.uint8)
    for rows in _bands(height, width):
        part = np.ascontiguousarray(255 - image[rows])
        layer = Image.frombytes("CMYK", (width, part.shape[0]), part.tobytes())
        result[rows] = np.asarray(layer.convert("RGB"))
    return result


def _decode_with_opencv(data: bytes, header: ImageHeader) -> NDArray[np.uint8]:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        image = None
    if image is None or image.shape != (header.height, header.width, 3):
        raise DataError("is damaged (it cannot be unpacked)")
    return np.asarray(image, dtype=np.uint8)


@contextmanager
def _pillow_image(parsed: _Parsed, data: bytes) -> Iterator[Image.Image]:
    """The picture, loaded by Pillow and found undamaged."""
    name, tiff = parsed.header.format, parsed.tiff
    if tiff is not None:
        containers.check_tiff(data, tiff)
        _check_jpeg_pieces(data, tiff)
    image = parsed.opened
    if image is None:
        image = _opened(name, parsed.lean or containers.lean_png(data))
    with image:
        image.load()
        if image.size != (parsed.header.width, parsed.header.height):
            raise DataError("is damaged (its size is not the header's)")
        if tiff is not None and tiff.compression in _TIFF_FAX:
            _check_fax(image, tiff, data)
        yield image


def _opened(name: str, data: bytes) -> Any:
    """Open with one of Pillow's readers, by name.

    `Image.open` would try others too, and warns of or refuses large pictures by a limit of its
    own before ours is looked at.
    """
    module, reader = _PLUGINS[name]
    try:
        return getattr(import_module(module), reader)(io.BytesIO(data))
    except Exception as error:  # Pillow's readers raise whatever a broken file makes them
        raise DataError(f"has no readable {name} header ({_brief(error)})") from error


def _check_jpeg_pieces(data: bytes, tiff: TiffLayout) -> None:
    """Refuse a TIFF of JPEG pieces that are damaged, which libtiff keeps to itself."""
    if tiff.compression == 6:
        raise DataError("has an outdated compression (JPEG before 1995); save it anew")
    if tiff.compression != 7:
        return
    tables = tiff.tables.removesuffix(b"\xff\xd9") or b"\xff\xd8"
    for place, size in tiff.pieces:
        piece = tables + data[place : place + size].removeprefix(b"\xff\xd8")
        try:
            parsed = _parse_jpeg(piece)
            check_cost(_cost(parsed, size, 1, 1))
            _decode_jpeg(piece, parsed.header, 1, 1)
        except DataError as error:
            raise DataError(f"is damaged (one of its JPEG pieces {error})") from error


def _check_fax(image: Image.Image, tiff: TiffLayout, data: bytes) -> None:
    """Refuse a fax-packed TIFF that is damaged, which libtiff guesses its way through.

    The packing is determined by the pixels, up to its padding: packed anew, what was decoded must
    give the same bytes.
    """
    fields = TiffDirectory(tiff.lean)
    options: dict[int, int] = {
        tag: fields.number(tag, 0) for tag in (292, 293) if tag in fields.fields
    }
    options[278] = min(fields.number(278, tiff.height), tiff.height)
    file = io.BytesIO()
    # What is stored is 1 for black in either case.
    stored = ImageChops.invert(image) if tiff.photometric == 0 else image.copy()
    try:
        stored.save(file, "TIFF", compression=_TIFF_FAX[tiff.compression], tiffinfo=options)
    except Exception as error:  # options that nothing was ever packed with
        raise DataError(_damage(error)) from error
    packed = file.getvalue()
    again = containers.read_tiff(packed)
    table = _REVERSED_BITS if fields.number(266, 1) == 2 else None
    for (start, size), (place, length) in zip(tiff.pieces, again.pieces, strict=True):
        found = data[start : start + size].translate(table).rstrip(b"\0")
        expected = packed[place : place + length].rstrip(b"\0")
        # Whether an end mark follows is left open, and how the last byte is filled.
        if abs(len(found) - len(expected)) > 4 or found[:-4] != expected[: len(found[:-4])]:
            raise DataError("is damaged (its packed pixels lead to others)")


def _deep_color(parsed: _Parsed, data: bytes, image: Image.Image) -> NDArray[np.uint16] | None:
    """All bits of 16-bit color (H, W, 3), where Pillow's 8 of them would lose tones.

    Pillow takes the upper 8 bits, which is right where all 16 are in use.
    """
    if np.asarray(image.getextrema()).reshape(-1, 2)[:3, 1].max() > 63:
        return None
    file = np.frombuffer(parsed.lean or data, np.uint8)
    try:
        deep = cv2.imdecode(file, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if deep is None or deep.dtype != np.uint16 or deep.shape[:2] != image.size[::-1]:
        return None
    if deep.ndim != 3 or deep.shape[2] < 3:
        return None
    return np.asarray(deep[:, :, 2::-1], dtype=np.uint16)  # without transparency


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Any of Pillow's modes as RGB; transparency over white."""
    if image.mode.startswith("I"):
        return _gray_to_rgb(image)
    if image.mode == "F":
        raise DataError("has floating-point pixels; save it with 8 or 16 bits")
    width, height = image.size
    result = np.empty((height, width, 3), dtype=np.uint8)
    for rows in _bands(height, width):
        part = image.crop((0, rows.start, width, rows.stop))
        if part.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
            layer = part.convert("RGBA")
            part = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        result[rows] = np.asarray(part.convert("RGB"))
    return result


def _bands(height: int, width: int) -> Iterator[slice]:
    """Rows in bands, so that what is made on the way to the result stays small."""
    rows = max(1, _BAND_PIXELS // max(1, width))
    for top in range(0, height, rows):
        yield slice(top, min(height, top + rows))


def _gray_to_rgb(image: Image.Image, is_inverted: bool = False) -> NDArray[np.uint8]:
    """Gray of 16 bits a sample; Pillow's own conversion would clip all but the darkest tones."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise DataError("has 32-bit pixels; save it with 8 or 16 bits")
    white = _white(int(values.max()))
    if is_inverted:
        values = (white - values).astype(np.uint16)
    return np.repeat(_scaled(values)[:, :, np.newaxis], 3, axis=2)


def _white(largest: int) -> int:
    """Value that stands for white: the largest one of as many bits as are in use.

    Cameras and microscopes store 10, 12 or 14 bits in 16. Nothing in the file says so; a set's
    photos come out alike as long as each has a pixel in the upper three quarters of the range.
    """
    return next(white for white in (255, 1023, 4095, 16383, 65535) if largest <= white)


def _scaled(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Values of up to 16 bits as 8 bits, the range in use as the whole range."""
    white = _white(int(values.max()))
    table = ((np.arange(white + 1, dtype=np.int64) * 510 + white) // (2 * white)).astype(np.uint8)
    result = np.empty(values.shape, dtype=np.uint8)
    for rows in _bands(*values.shape[:2]):
        result[rows] = table[values[rows]]
    return result


def _kept(height: int, width: int, how: str) -> tuple[int, int]:
    """Height and width of the middle part that is kept."""
    if how == "squash":
        return height, width
    shorter = min(height, width)
    if how == "crop":
        return shorter, shorter
    return round(math.sqrt(height * shorter)), round(math.sqrt(width * shorter))


def _upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo the EXIF orientation."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def _damage(error: Exception) -> str:
    text = _brief(error)
    if "remature end" in text or "truncated" in text.lower():
        return f"is truncated ({text})"
    return f"is damaged ({text})"


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
