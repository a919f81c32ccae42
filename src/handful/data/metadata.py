"""What a picture's file and its pixels tell in a few numbers, whatever it shows.

They say which photos are dark, blurred or odd, and whether the way the photos were made, rather
than what they show, gives their classes away.
"""

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from handful.data.decoding import MAX_MEGAPIXELS, bits_in_use, read_header

# Raised when a change here changes any value; part of the cache keys.
METADATA_VERSION = 2
# Pixels are measured at one size, so that thresholds do not depend on the network's.
_SIDE = 224
_BORDER = 2  # of 56
_DARK, _BRIGHT = 32, 224  # of 255: the darkest and the brightest eighth
MEASURES = (
    "brightness",
    "contrast",
    "sharpness",
    "dark_share",
    "bright_share",
    "saturation",
    *(
        f"{side}_{color}"
        for side in ("top", "bottom", "left", "right")
        for color in ("red", "green", "blue")
    ),
)
BORDER_MEASURES = MEASURES[6:]


@dataclass(frozen=True, slots=True)
class FileMetadata:
    """What a picture's file says without being decoded.

    Args:
        format: As in `ImageHeader`.
        width: Stored width in pixels.
        height: Stored height in pixels.
        mode: Color mode: Pillow's, or libjpeg's for JPEG.
        num_bytes: Size of the file.
        camera: Make and model that EXIF names, or "".
        encoder: Short digest of a JPEG's quantization tables, which the program that saved it
            and its quality setting decide; "" for other formats.
        deep_bits: Of 16 bits a sample, as many as are in use, see `bits_in_use`; else 0.
    """

    format: str
    width: int
    height: int
    mode: str
    num_bytes: int
    camera: str
    encoder: str
    deep_bits: int = 0


def read_metadata(data: bytes, max_megapixels: float = MAX_MEGAPIXELS) -> FileMetadata:
    """Read what a picture's file says of itself.

    Args:
        data: The whole file.
        max_megapixels: As for `decode`: pictures of 16 bits a sample are looked into.

    Returns:
        The metadata.

    Raises:
        DataError: When it is not a picture that handful takes.
    """
    header = read_header(data)
    tables = header.tables
    encoder = hashlib.blake2b(tables, digest_size=4).hexdigest() if tables else ""
    return FileMetadata(
        header.format,
        header.width,
        header.height,
        header.mode,
        len(data),
        header.camera,
        encoder,
        bits_in_use(data, max_megapixels) if header.is_deep else 0,
    )


def measure(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure a decoded picture; about 0.1 ms.

    Args:
        image: (S, S, 3) uint8 RGB.

    Returns:
        (18,) float32 in the order of `MEASURES`. In units of the full range, 0 to 1: mean
        brightness, its standard deviation, [2], shares of pixels in the darkest and the
        brightest eighth, mean of largest less smallest channel, and the mean color of a border
        of a 28th of the side. [2], sharpness, is the energy of the Laplacian over that of
        the gradient (Sobel's, eight times as large as the slope): the mean square frequency of
        the edges, whatever their contrast and number; 0 for a flat picture. What rounding adds
        to either, by the squares in their kernels, is taken off.

    Source:
        The ratio is ours. The variance of the Laplacian alone (Pech-Pacheco et al., ICPR 2000)
        calls every sharp photo with a plain background blurred.
    """
    if image.shape[:2] != (_SIDE, _SIDE):
        image = np.asarray(cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA))
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    mean, std = (float(value[0, 0]) for value in cv2.meanStdDev(gray))
    across, down = cv2.spatialGradient(gray)
    slopes = cv2.norm(across, cv2.NORM_L2SQR) + cv2.norm(down, cv2.NORM_L2SQR)
    bends = cv2.norm(cv2.Laplacian(gray, cv2.CV_16S), cv2.NORM_L2SQR)
    # Rounding to 256 levels (variance 1/12) looks like detail where there is none.
    slopes = max(slopes - gray.size * 24 / 12, 0.0)
    bends = max(bends - gray.size * 20 / 12, 0.0)
    # Tones and colors need no more than every fourth pixel of every fourth row.
    few = cv2.resize(image, (_SIDE // 4, _SIDE // 4), interpolation=cv2.INTER_NEAREST)
    tones = cv2.calcHist([cv2.cvtColor(few, cv2.COLOR_RGB2GRAY)], [0], None, [256], [0, 256])
    shares = tones.ravel() / tones.sum()
    red, green, blue = cv2.split(few)
    largest, smallest = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
    strips = (few[:_BORDER], few[-_BORDER:], few[:, :_BORDER], few[:, -_BORDER:])
    values = [
        mean / 255,
        std / 255,
        bends / slopes if slopes else 0.0,
        float(shares[:_DARK].sum()),
        float(shares[_BRIGHT:].sum()),
        cv2.mean(cv2.subtract(largest, smallest))[0] / 255,
        *(value / 255 for strip in strips for value in cv2.mean(strip)[:3]),
    ]
    return np.array(values, dtype=np.float32)


def pack_metadata(metadata: FileMetadata, measures: NDArray[np.float32]) -> bytes:
    """Facts and measures of a picture as bytes, for the cache.

    Args:
        metadata: The file's.
        measures: (18,) float32 from `measure`.

    Returns:
        The measures, then the metadata as JSON.
    """
    return measures.astype("<f4").tobytes() + json.dumps(list(asdict(metadata).values())).encode()


def unpack_metadata(value: bytes) -> tuple[FileMetadata, NDArray[np.float32]]:
    """The opposite of `pack_metadata`.

    Args:
        value: What it returned.

    Returns:
        The same metadata and measures.
    """
    num_bytes = 4 * len(MEASURES)
    measures = np.frombuffer(value[:num_bytes], dtype="<f4").astype(np.float32)
    found: list[Any] = json.loads(value[num_bytes:])
    # A few texts for all photos, of which a million are kept in memory.
    values: list[Any] = [sys.intern(item) if isinstance(item, str) else item for item in found]
    return FileMetadata(*values), measures
