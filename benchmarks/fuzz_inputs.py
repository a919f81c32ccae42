"""What `benchmarks/fuzz.py` feeds: small seeds that it makes itself, and mutators of them.

Every input is a function of its number and the seed, so that any of them can be made again alone.
"""

import base64
import csv
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image

# A drawn picture of 64 x 64 pixels; no encoder for HEIC is among the dependencies.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAVZtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAA"
    "AAAAAAAAACJpbG9jAAAAAERAAAEAAQAAAAABegABAAAAAAAAAZMAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABo"
    "dmMxAAAAAA5waXRtAAAAAAABAAAA1mlwcnAAAAC3aXBjbwAAAHhodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEA"
    "GEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQArQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbqSSmubgIaDAgAAAMAyAAA"
    "AwAIQGIAAQAHRAHBcrAiQAAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAABBwaXhpAAAAAAMI"
    "CAgAAAAXaXBtYQAAAAAAAAABAAEEgQIDBAAAAZttZGF0AAABjygBrxmAsOd4XT9A9Azm7w6foB+VQmpFtl3Fe9qwsdRN"
    "bclylb4DM9kFacC45+wcBi+RyzZkwa2oanQaqH/bAe51xDr1rpE0OOD6AoOiVp63WzZ1u2ZxZfAdRnIrJ1o+pxO79Tiu"
    "9L6uEVE3gBhEr7pr3wzzQe7swYK7NIeqRcZeefI3yEZ6M8ObqqiWjtAQzwlkirC9r0pZe4xJYzndTjnnG/JA5UnZ2D0X"
    "UafIR0FpSicQMaKXMDtCg1GzVzGPtzok8BrwKOVnCn6lRfA3gFB8zJXJhEOrrkpfy7V11KDmjFiHvTOsd+Ft3O+JC+RG"
    "2kZxPlAF3Qi0maStqjkTXMNL5vXqt5/ssFFeqUWAMf6W6SmCEHKHeSZcGYK3EuhuUKAJyJWwb2UnWCIRKRhE788VbWo2"
    "kEn8FPXqHclFjVNCPblc1wGLfbr6H3F0spKfz0a0ImSd8U00UNK5j3Dd5g37Ak0grcMJK+sY7JLCvk/AOr9mxrUxdsev"
    "TpNJYtxTOd2nqOyRT+pkGw68x/qm1g=="
)
_SIZES = ((24, 16), (40, 56), (97, 64), (160, 120))

Mutator = Callable[[random.Random, bytearray, bytes], bytes | bytearray]


def _draw(number: int, size: tuple[int, int]) -> Image.Image:
    """Smooth colors with some noise, so that every codec has something to do."""
    rng = np.random.default_rng([7, number])
    coarse = Image.fromarray(rng.integers(0, 255, (5, 6, 3), dtype=np.uint8)).resize(size, 3)
    pixels = np.asarray(coarse, np.int64) + rng.integers(-9, 10, (size[1], size[0], 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _saved(image: Image.Image, name: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def _run_length_bmp(image: Image.Image) -> bytes:
    """Eight bits, run-length encoded, which Pillow reads and does not write."""
    grey = np.asarray(image.convert("L"))[::-1] // 32 * 32
    body = bytearray()
    for row in grey:
        for value in row:
            body += bytes([1, int(value)])
        body += b"\0\0"
    body += b"\0\1"
    width, height = image.size
    start = 14 + 40 + 1024
    palette = b"".join(bytes([n, n, n, 0]) for n in range(256))
    sizes = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    head = b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start)
    return head + sizes + palette + bytes(body)


def _grey16(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


def _with_exif(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"
    return _saved(image, "JPEG", exif=exif)


def _frames(image: Image.Image) -> list[Image.Image]:
    return [image.rotate(90 * turn) for turn in (1, 2)]


# Format to what makes a file of it; "," separates what one reader tells apart.
_WRITERS: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG": lambda i: _saved(i, "JPEG", quality=85),
    "JPEG, progressive": lambda i: _saved(i, "JPEG", progressive=True),
    "JPEG, grey": lambda i: _saved(i.convert("L"), "JPEG"),
    "JPEG, CMYK": lambda i: _saved(i.convert("CMYK"), "JPEG"),
    "JPEG, restarts, EXIF": _with_exif,
    "PNG": lambda i: _saved(i, "PNG"),
    "PNG, transparent": lambda i: _saved(i.convert("RGBA").rotate(20), "PNG"),
    "PNG, palette": lambda i: _saved(i.quantize(64), "PNG", transparency=3),
    "PNG, 16 bits": lambda i: _saved(_grey16(i), "PNG"),
    "PNG, animated": lambda i: _saved(i, "PNG", save_all=True, append_images=_frames(i)),
    "GIF": lambda i: _saved(i.quantize(128), "GIF"),
    "GIF, animated": lambda i: _saved(i, "GIF", save_all=True, append_images=_frames(i)),
    "BMP": lambda i: _saved(i, "BMP"),
    "BMP, run lengths": _run_length_bmp,
    "TIFF": lambda i: _saved(i, "TIFF"),
    "TIFF, LZW": lambda i: _saved(i, "TIFF", compression="tiff_lzw"),
    "TIFF, deflate": lambda i: _saved(_grey16(i), "TIFF", compression="tiff_adobe_deflate"),
    "TIFF, 64-bit offsets": lambda i: _saved(i, "TIFF", big_tiff=True),
    "TIFF, fax": lambda i: _saved(i.convert("1"), "TIFF", compression="group4"),
    "WebP": lambda i: _saved(i, "WEBP"),
    "WebP, lossless": lambda i: _saved(i.convert("RGBA").rotate(20), "WEBP", lossless=True),
    "AVIF": lambda i: _saved(i, "AVIF", speed=10),
    "JPEG 2000": lambda i: _saved(i, "JPEG2000"),
}


@cache
def picture_seeds() -> tuple[tuple[str, bytes], ...]:
    """Four sizes of each format, but for HEIC, of which there is one: (format, file)."""
    made = [
        (name, write(_draw(number, size)))
        for name, write in _WRITERS.items()
        for number, size in enumerate(_SIZES)
    ]
    return (*made[:-1], ("HEIC", HEIC))


def _place(rng: random.Random, data: bytes) -> int:
    """Anywhere, and as often near the beginning, where sizes and offsets stand."""
    return rng.randrange(len(data) if rng.random() < 0.5 else min(len(data), 200))


def _cut(rng: random.Random, data: bytearray, other: bytes) -> bytes | bytearray:
    return data[: rng.randrange(len(data))]


def _flip(rng: random.Random, data: bytearray, other: bytes) -> bytes | bytearray:
    for _ in range(rng.randint(1, 20)):
        data[_place(rng, data)] ^= 1 << rng.randrange(8)
    return data


def _extreme(rng: random.Random, data: bytearray, other: bytes) -> bytes | bytearray:
    """Numbers of 1, 2 or 4 bytes at their ends."""
    for _ in range(rng.randint(1, 4)):
        width, place = rng.choice((1, 2, 4)), _place(rng, data)
        value = rng.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**15, 65535, 255, 10000))
        number = value % 256**width
        data[place : place + width] = number.to_bytes(width, rng.choice(("big", "little")))
    return data


def _splice(rng: random.Random, data: bytearray, other: bytes) -> bytes | bytearray:
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def _zero(rng: random.Random, data: bytearray, other: bytes) -> bytes | bytearray:
    start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    data[start:end] = bytes(end - start)
    return data


def _remove(rng: random.Random, data: bytearray, other: bytes) -> bytes | bytearray:
    start = _place(rng, data)
    del data[start : start + rng.choice((1, 2, 4, 16, 300))]
    return data


def _insert(rng: random.Random, data: bytearray, other: bytes) -> bytes | bytearray:
    start = _place(rng, data)
    data[start:start] = rng.randbytes(rng.choice((1, 2, 4, 16, 300)))
    return data


def _repeat(rng: random.Random, data: bytearray, other: bytes) -> bytes | bytearray:
    start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    data[start:start] = data[start:end] * rng.choice((1, 1, 2, 40))
    return data


def _reseal(rng: random.Random, data: bytearray, other: bytes) -> bytes | bytearray:
    """Damage that a PNG's checksums then agree with, so that it gets past them."""
    broken = bytearray(_flip(rng, data, other))
    place = 8
    while place + 12 <= len(broken):
        (length,) = struct.unpack_from(">I", broken, place)
        if place + 12 + length > len(broken):
            break
        checksum = zlib.crc32(broken[place + 4 : place + 8 + length])
        struct.pack_into(">I", broken, place + 8 + length, checksum)
        place += 12 + length
    return broken


MUTATORS: tuple[Mutator, ...] = (
    _cut,
    _flip,
    _extreme,
    _splice,
    _zero,
    _remove,
    _insert,
    _repeat,
    _reseal,
)


def mutate(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """One of the nine mutations, now and then two."""
    for _ in range(1 if rng.random() < 0.8 else 2):
        if data:
            data = bytes(rng.choice(MUTATORS)(rng, bytearray(data), other))
    return data


def picture(rng: random.Random) -> bytes:
    """A mutated picture."""
    (_, data), (_, other) = rng.choice(picture_seeds()), rng.choice(picture_seeds())
    return mutate(rng, data, other)


@cache
def small_pictures() -> tuple[bytes, ...]:
    """Pictures that zips and folders hold."""
    return tuple(data for _, data in picture_seeds()[:20:4])


def archive(rng: random.Random) -> bytes:
    """A mutated zip of two class folders."""
    file = io.BytesIO()
    kinds = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    kind = rng.choice(kinds)
    tops = rng.choice((("",), ("train/", "validation/"), ("wrapper/",)))
    with zipfile.ZipFile(file, "w", kind) as made:
        for top in tops:
            for label in ("cat", "d\u00f6g"):
                for number in range(2):
                    name = f"{top}{label}/{number}.jpg"
                    made.writestr(name, rng.choice(small_pictures()))
    return mutate(rng, file.getvalue(), small_pictures()[0])


_CELLS = (
    *(
        "cat/0.jpg",
        "dog/1.jpg",
        "./cat/0.jpg",
        "cat\\0.jpg",
        "../x.jpg",
        "/etc/passwd",
        "cat",
        "dog",
    ),
    *("", " ", '"', '""', "\0", "\r", "\n", "=1+1", "a;b", "train", "validation", "test", "remove"),
    *("relabel", "keep", "1", "2.5", "nan", "\ud800", "\u202e", "x" * 300, "x" * 140_000),
    *("path", "label", "split", "group", "action", "reason", "cat;cute", "a" * 256 + ".jpg"),
)


def table(rng: random.Random, columns: tuple[str, ...]) -> bytes:
    """A mutated CSV that lists photos of `cat/` and `dog/`."""
    file = io.StringIO(newline="")
    writer = csv.writer(
        file, delimiter=rng.choice(",;\t"), lineterminator=rng.choice(("\n", "\r\n"))
    )
    writer.writerow(columns)
    for number in range(rng.randint(0, 12)):
        label = rng.choice(("cat", "dog"))
        values = {
            "path": f"{label}/{number % 6}.jpg",
            "label": label,
            "split": rng.choice(("", "train", "validation")),
            "group": str(number // 2),
            "action": rng.choice(("", "remove", "relabel", "keep")),
        }
        row = [values.get(name, "") for name in columns]
        if rng.random() < 0.1:
            row[rng.randrange(len(row))] = rng.choice(_CELLS)
        if rng.random() < 0.03:
            row = row[: rng.randrange(len(row) + 1)] or [rng.choice(_CELLS)] * 9
        writer.writerow(row)
    encoding = rng.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"))
    data = file.getvalue().encode(encoding, "replace" if encoding == "latin-1" else "surrogatepass")
    if rng.random() < 0.7 and data:
        data = mutate(rng, data, rng.choice(_CELLS).encode("utf-8", "surrogatepass") or b"\0")
    return data


def json_text(rng: random.Random, data: bytes) -> bytes:
    """A mutated JSON file: of its text, or of one of its values."""
    if rng.random() < 0.3:
        return mutate(rng, data, rng.choice((b"[" * 100_000, b'{"a":' * 5000, b"9" * 9000, b"NaN")))
    value = json.loads(data)
    _change(rng, value)
    return json.dumps(value, indent=2, ensure_ascii=False).encode("utf-8", "surrogatepass")


_VALUES = (None, True, 0, -1, 2**63, 1e308, float("nan"), "", "x" * 1000, [], {}, [[]], "../x")


def _change(rng: random.Random, value: object) -> None:
    """Replace, remove or add something in nested plain values."""
    here = value
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        if not keys:
            return
        key = rng.choice(keys)
        inner = here[key]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.7:
            here = inner
            continue
        if rng.random() < 0.3:
            del here[key]
        else:
            here[key] = rng.choice(_VALUES)
        return


def request(rng: random.Random) -> bytes:
    """A whole HTTP request: of mutated pictures, or itself mutated."""
    files = [picture(rng) for _ in range(rng.choice((1, 1, 1, 2, 5)))]
    boundary = b"----fuzz"
    parts = []
    for number, data in enumerate(files):
        head = b'Content-Disposition: form-data; name="file"; filename="%d.jpg"' % number
        parts += [b"--", boundary, b"\r\n", head, b"\r\n\r\n", data, b"\r\n"]
    body = b"".join([*parts, b"--", boundary, b"--\r\n"])
    query = rng.choice(
        (b"", b"?error_rate=0.01", b"?coverage=0.9", b"?coverage=1e-12", b"?%ff=%00")
    )
    shape = rng.random()
    if shape < 0.15:
        body = mutate(rng, body, files[0] or b"x")
    lines = [b"POST /predict%s HTTP/1.1" % query, b"Host: 127.0.0.1"]
    lines += [b"Content-Type: multipart/form-data; boundary=" + boundary]
    if shape > 0.9:
        lines += [b"Transfer-Encoding: chunked"]
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    else:
        lines += [b"Content-Length: %d" % len(body)]
    head = b"\r\n".join([*lines, b"Connection: close", b"\r\n"])
    if rng.random() < 0.15:
        head = mutate(rng, head, b"Host: x\r\n")
    return head + body
