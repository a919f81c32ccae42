"""Bytes of a picture file -> upright RGB pixels, or the reason why not.

JPEG goes through libjpeg-turbo, decoded at the smallest scale that is large enough; Pillow takes
the other formats. Nothing is guessed: a truncated file is refused, not filled with grey. Colour
profiles are ignored, as they are by the tools that the pretrained networks were trained with.

Reasons are clauses that follow the file's name: "is truncated", "has 3,600 megapixels; ...".
"""

import io
import math
import struct
import warnings
from dataclasses import dataclass
from importlib import import_module

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from handful.errors import DataError

DECODER_VERSION = 1  # part of every cache key: raise it when a change here changes any pixel
MIN_SIDE = 8
FINGERPRINT_SIDE = 32

_PLUGINS = {
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "WebP": ("PIL.WebPImagePlugin", "WebPImageFile"),
}
_ORIENTATION_TAG = 0x0112

# Pictures are decoded in threads by the callers; OpenCV's own threads would only compete.
cv2.setNumThreads(1)
# Pillow warns about harmless oddities (broken EXIF, odd palettes) of files that it then reads.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True)
class DecodeSettings:
    """How a picture becomes a square of pixels.

    Args:
        image_size: Side S of the square in pixels.
        resize: What becomes of the proportions: "squash" keeps the whole picture and not its
            proportions, as Keras' `target_size` does; "crop" keeps the proportions and cuts the
            longer side's ends off; "halfway" does half of each.
        max_megapixels: Larger pictures are rejected by their header, before decoding.
    """

    image_size: int = 224
    resize: str = "halfway"
    max_megapixels: float = 100.0

    def key(self) -> str:
        """Stable text of what decides the pixels, for cache keys.

        Returns:
            Such as "decode1:224:halfway:100".
        """
        return f"decode{DECODER_VERSION}:{self.image_size}:{self.resize}:{self.max_megapixels:g}"


@dataclass(frozen=True)
class PictureHeader:
    """What a picture's header says.

    Args:
        format: "JPEG", "PNG", "WebP", "BMP", "GIF" or "TIFF".
        width: Stored width in pixels, before any rotation.
        height: Stored height in pixels.
        mode: Colour mode: Pillow's, or libjpeg's for JPEG.
        orientation: EXIF orientation, 1 (upright) to 8.
        num_frames: Frames of an animation; only the first is used.
    """

    format: str
    width: int
    height: int
    mode: str
    orientation: int
    num_frames: int


def sniff_format(data: bytes) -> str | None:
    """Tell a format that handful takes by the first bytes.

    Args:
        data: The file, or its first 16 bytes.

    Returns:
        "JPEG", "PNG", "WebP", "BMP", "GIF", "TIFF", or None.
    """
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if data[:2] == b"BM" and data[6:10] == b"\0\0\0\0":
        return "BMP"
    return None


def read_header(data: bytes) -> PictureHeader:
    """Read a picture's format and size without decoding it.

    Args:
        data: The whole file.

    Returns:
        The header.

    Raises:
        DataError: When it is not a picture that handful takes.
    """
    name = sniff_format(data)
    if name is None:
        raise DataError("is empty (0 bytes)" if not data else "is not a picture of a known format")
    if name == "JPEG":
        try:
            height, width, space, _ = simplejpeg.decode_jpeg_header(data)
        except ValueError as error:
            raise DataError(f"has no readable JPEG header ({_brief(error)})") from error
        return PictureHeader(name, width, height, space, _jpeg_orientation(data), 1)
    with _opened(name, data) as image:
        try:
            frames = getattr(image, "n_frames", 1) if name != "TIFF" else 1
            # Pillow's getexif decodes all of a PNG in search of it.
            block = image.info.get("exif", b"").removeprefix(b"Exif\0\0") if name == "PNG" else None
            orientation = (
                image.getexif().get(_ORIENTATION_TAG, 1)
                if block is None
                else _tiff_orientation(block)
            )
        except Exception as error:  # Pillow raises whatever a broken file makes it
            raise DataError(_damage(error)) from error
        width, height = image.size
        return PictureHeader(name, width, height, image.mode, _valid(orientation), frames)


def decode(data: bytes, settings: DecodeSettings) -> NDArray[np.uint8]:
    """Decode a picture to a square.

    Args:
        data: The whole file.
        settings: Size, proportions and limit.

    Returns:
        (S, S, 3) uint8 RGB, upright.

    Raises:
        DataError: When the file is truncated, damaged, too small, too large or no picture.
    """
    header = _checked_header(data, settings.max_megapixels)
    if header.format != "JPEG" or header.mode in ("CMYK", "YCCK"):
        return resize(_decode_with_pillow(header, data), settings)
    size = settings.image_size
    kept_height, kept_width = _kept(header.height, header.width, settings.resize)
    # The part that is kept must still be as large as the square.
    scale = max(size / kept_height, size / kept_width)
    image = _decode_jpeg(data, math.ceil(header.height * scale), math.ceil(header.width * scale))
    return _upright(resize(image, settings), header.orientation)


def decode_picture(data: bytes, max_megapixels: float = 100.0) -> NDArray[np.uint8]:
    """Decode a picture at its own size.

    Args:
        data: The whole file.
        max_megapixels: Larger pictures are rejected before decoding.

    Returns:
        (H, W, 3) uint8 RGB, upright.

    Raises:
        DataError: As for `decode`.
    """
    header = _checked_header(data, max_megapixels)
    if header.format != "JPEG" or header.mode in ("CMYK", "YCCK"):
        return _decode_with_pillow(header, data)
    return _upright(_decode_jpeg(data, 0, 0), header.orientation)


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
    """Make a tiny grey thumbnail that survives re-encoding and resizing.

    Args:
        image: (S, S, 3) uint8 RGB.

    Returns:
        (1024,) uint8, 32 x 32 averages of luma (ITU-R BT.601), row by row.
    """
    side = FINGERPRINT_SIDE
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8).reshape(side * side)


def thumbnail(data: bytes, size: int = 160, max_megapixels: float = 100.0) -> bytes:
    """Make a small JPEG of a picture, for pages.

    Args:
        data: The whole file.
        size: Longest side in pixels; smaller pictures stay as they are.
        max_megapixels: Larger pictures are rejected before decoding.

    Returns:
        JPEG file, upright.

    Raises:
        DataError: As for `decode`.
    """
    header = _checked_header(data, max_megapixels)
    if header.format != "JPEG" or header.mode in ("CMYK", "YCCK"):
        image = _decode_with_pillow(header, data)
        height, width = image.shape[:2]
    else:
        scale = size / max(header.height, header.width)
        least = (math.ceil(header.height * scale), math.ceil(header.width * scale))
        image = _upright(_decode_jpeg(data, *least), header.orientation)
        # The decoder rounds each side up; proportions are the header's.
        height, width = header.height, header.width
        if header.orientation >= 5:
            height, width = width, height
    scale = min(1.0, size / max(height, width))
    target = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.ascontiguousarray(cv2.resize(image, target, interpolation=cv2.INTER_AREA))
    return bytes(simplejpeg.encode_jpeg(small, quality=80, colorsubsampling="420"))


def rgb_of(image: Image.Image) -> NDArray[np.uint8]:
    """Pixels of an image that Pillow has opened.

    Args:
        image: The image, in any mode.

    Returns:
        (H, W, 3) uint8 RGB, upright.

    Raises:
        DataError: When it cannot be loaded, or has pixels that are no colours; a clause.
    """
    try:
        image.load()
        return np.ascontiguousarray(_to_rgb(ImageOps.exif_transpose(image)))
    except DataError:
        raise
    except Exception as error:  # Pillow raises whatever a broken file makes it
        raise DataError(_damage(error)) from error


def _checked_header(data: bytes, max_megapixels: float) -> PictureHeader:
    header = read_header(data)
    megapixels = header.width * header.height / 1e6
    if megapixels > max_megapixels:
        raise DataError(
            f"has {megapixels:,.0f} megapixels; the limit is {max_megapixels:g} "
            "(--max-megapixels raises it)"
        )
    if min(header.width, header.height) < MIN_SIDE:
        raise DataError(
            f"is {header.width} x {header.height} pixels; at least {MIN_SIDE} x {MIN_SIDE} "
            "are needed"
        )
    return header


def _kept(height: int, width: int, how: str) -> tuple[int, int]:
    """Height and width of the middle part that is kept."""
    if how == "squash":
        return height, width
    shorter = min(height, width)
    if how == "crop":
        return shorter, shorter
    return round(math.sqrt(height * shorter)), round(math.sqrt(width * shorter))


def _decode_jpeg(data: bytes, min_height: int, min_width: int) -> NDArray[np.uint8]:
    try:
        image = simplejpeg.decode_jpeg(data, "RGB", min_height=min_height, min_width=min_width)
    except ValueError as error:
        if not _ends_as_jpeg(data):
            raise DataError(f"is truncated ({_brief(error)})") from error
        if "extraneous bytes" not in str(error):
            raise DataError(_damage(error)) from error
        # Stray bytes between segments: cameras write them, and no pixel is lost.
        try:
            image = simplejpeg.decode_jpeg(
                data, "RGB", min_height=min_height, min_width=min_width, strict=False
            )
        except ValueError as second:
            raise DataError(_damage(second)) from second
    return np.asarray(image, dtype=np.uint8)


def _ends_as_jpeg(data: bytes) -> bool:
    """Whether the last scan is closed by an end marker; a truncated file's is not."""
    return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")


def _damage(error: Exception) -> str:
    text = _brief(error)
    if "remature end" in text or "truncated" in text.lower():
        return f"is truncated ({text})"
    return f"is damaged ({text})"


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _jpeg_orientation(data: bytes) -> int:
    """EXIF orientation from a JPEG's APP1 segment; 1 when there is none or it is broken.

    Source:
        JEITA CP-3451 (EXIF 2.3), 4.5.4 and 4.6.4; only the first directory is read.
    """
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        segment = data[place + 4 : place + 2 + length]
        if marker == 0xE1 and segment[:6] == b"Exif\0\0":
            return _tiff_orientation(segment[6:])
        # A fill byte 0xFF before a marker is allowed and stands alone.
        place += 1 if marker == 0xFF else 2 + max(length, 2)
    return 1


def _tiff_orientation(block: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 8:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _ = struct.unpack_from(f"{order}HHI", block, entry)
            if tag == _ORIENTATION_TAG and kind == 3:
                (value,) = struct.unpack_from(f"{order}H", block, entry + 8)
                return _valid(value)
    except struct.error:
        pass
    return 1


def _valid(orientation: object) -> int:
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo the EXIF orientation."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def _opened(name: str, data: bytes) -> ImageFile.ImageFile:
    """Open with one of Pillow's readers, by name.

    `Image.open` would try others too, and warns of or refuses large pictures by a limit of its
    own before ours is looked at.
    """
    module, reader = _PLUGINS[name]
    try:
        opened: ImageFile.ImageFile = getattr(import_module(module), reader)(io.BytesIO(data))
    except Exception as error:  # Pillow's readers raise whatever a broken file makes them
        raise DataError(f"has no readable {name} header ({_brief(error)})") from error
    return opened


def _decode_with_pillow(header: PictureHeader, data: bytes) -> NDArray[np.uint8]:
    if _is_cut(header.format, data):
        raise DataError(f"is truncated (the {header.format} file has no end)")
    with _opened(header.format, data) as image:
        return rgb_of(image)


def _is_cut(name: str, data: bytes) -> bool:
    """Whether the end that the format prescribes is missing, which Pillow does not always mind."""
    if name == "PNG":
        return data.rfind(b"IEND") < 0
    if name == "WebP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if name == "GIF":
        return b"\x3b" not in data[-1024:]
    if name == "JPEG":
        return not _ends_as_jpeg(data)
    return False


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Any of Pillow's modes as RGB; transparency over white."""
    if image.mode.startswith("I"):
        return _grey_to_rgb(image)
    if image.mode == "F":
        raise DataError("has floating-point pixels; save it with 8 or 16 bits")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def _grey_to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """16-bit grey, scaled; Pillow's own conversion would clip all but the darkest tones."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise DataError("has 32-bit pixels; save it with 8 or 16 bits")
    grey = ((values + 128) // 257).astype(np.uint8)
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)
