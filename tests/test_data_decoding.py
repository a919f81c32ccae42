import base64
import io
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from conftest import draw_photo
from handful.data.containers import jpeg_segments
from handful.data.decoding import (
    MIN_SIDE,
    DecodeSettings,
    bits_in_use,
    check_cost,
    decode,
    decode_whole,
    decoding_cost,
    fingerprint,
    mirror,
    read_header,
    resize,
    thumbnail,
)
from handful.data.formats import sniff_format
from handful.errors import CostError, DataError

PICTURE = draw_photo("round", 1, (150, 200))
FORMATS = ("JPEG", "PNG", "WebP", "BMP", "GIF", "TIFF")


def encode(image: Image.Image | NDArray[np.uint8], name: str, **options: object) -> bytes:
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    file = io.BytesIO()
    picture.save(file, name, **options)
    return file.getvalue()


def by_pillow(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    return float(np.abs(first.astype(int) - second.astype(int)).mean())


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_decoded_as_pillow_does(name: str) -> None:
    data = encode(PICTURE, name)
    header = read_header(data)
    assert (header.format, header.width, header.height) == (name, 200, 150)
    image = decode_whole(data)
    assert image.dtype == np.uint8 and image.shape == (150, 200, 3)
    # Both use libjpeg-turbo for JPEG, but may differ in the last bit of upsampling.
    assert difference(image, by_pillow(data)) <= (0.5 if name == "JPEG" else 0)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("how", ["squash", "crop", "halfway"])
def test_decoding_gives_an_upright_square(name: str, how: str) -> None:
    image = decode(encode(PICTURE, name), DecodeSettings(64, how))
    assert image.shape == (64, 64, 3) and image.dtype == np.uint8
    assert image.flags.c_contiguous


def test_proportions_are_kept_as_the_settings_say() -> None:
    image = np.zeros((100, 400, 3), np.uint8)
    image[:, :100] = (255, 0, 0)
    image[:, 300:] = (0, 0, 255)
    data = encode(image, "PNG")
    ends = {
        how: (decode(data, DecodeSettings(40, how))[20, [0, 39]] > 128).any(axis=1).tolist()
        for how in ("squash", "crop", "halfway")
    }
    assert ends == {"squash": [True, True], "crop": [False, False], "halfway": [False, False]}
    # Half-way keeps half of the excess, as a ratio: 400 x 100 becomes 200 x 50, which is 4 : 1
    # squashed to a square from 2 : 1 too wide.
    wide = np.zeros((100, 200, 3), np.uint8)
    wide[:, 40:160] = 255
    square = decode(encode(wide, "PNG"), DecodeSettings(100, "halfway"))
    assert square[50, :, 0].mean() / 255 == pytest.approx(120 / (200 / 2**0.5), abs=0.02)


def test_scaled_decoding_is_close_to_full_decoding() -> None:
    """libjpeg averages blocks in frequency space; the result differs in fine noise only."""
    large = cv2.resize(draw_photo("square", 3, (150, 200)), (1600, 1200))
    data = encode(large, "JPEG", quality=95)
    for how in ("squash", "crop", "halfway"):
        settings_ = DecodeSettings(224, how)
        assert difference(decode(data, settings_), resize(decode_whole(data), settings_)) < 1.0


def exif(orientation: int, order: str = "<") -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0" + mark + struct.pack(f"{order}IH", 8, 1) + entry + b"\0\0\0\0"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WebP", "TIFF"])
def test_exif_orientation_is_undone(name: str, orientation: int) -> None:
    image = np.zeros((64, 96, 3), np.uint8)
    image[:20, :30] = (250, 30, 30)
    image[44:, :30] = (30, 30, 250)
    picture = Image.fromarray(image)
    tags = Image.Exif()
    tags[0x0112] = orientation
    options = {"quality": 100} if name in ("JPEG", "WebP") else {}
    data = encode(picture, name, exif=tags, **options)
    assert read_header(data).orientation in (orientation, 1 if name == "TIFF" else orientation)
    stored = {
        1: image,
        2: image[:, ::-1],
        3: image[::-1, ::-1],
        4: image[::-1],
        5: image.transpose(1, 0, 2),
        6: np.rot90(image, -1),
        7: image.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(image, 1),
    }[orientation]
    assert difference(decode_whole(data), stored) < 3
    expected = resize(np.ascontiguousarray(stored), DecodeSettings(32))
    assert difference(decode(data, DecodeSettings(32)), expected) < 4


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_is_read_in_both_byte_orders(order: str) -> None:
    plain = encode(PICTURE, "JPEG")
    block = exif(6, order)
    data = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + plain[2:]
    assert read_header(data).orientation == 6
    assert decode_whole(data).shape == (200, 150, 3)


@pytest.mark.parametrize(
    "block", [b"Exif\0\0", exif(9), exif(0), exif(6)[:20], b"Exif\0\0II*\0\xff\xff\xff\xff"]
)
def test_broken_exif_is_no_obstacle(block: bytes) -> None:
    plain = encode(PICTURE, "JPEG")
    data = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + plain[2:]
    assert np.array_equal(decode_whole(data), decode_whole(plain))


def test_cmyk_jpeg_and_adobes_inverted_one_look_alike() -> None:
    picture = Image.fromarray(PICTURE).convert("CMYK")
    inverted = encode(picture, "JPEG", quality=95)  # Pillow writes Adobe's marker and inverts
    assert b"Adobe" in inverted
    assert difference(decode_whole(inverted), by_pillow(inverted)) == 0
    assert difference(decode_whole(inverted), PICTURE) < 12
    assert decode(inverted, DecodeSettings(64)).shape == (64, 64, 3)
    assert read_header(inverted).mode in ("CMYK", "YCCK")


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_16_bit_grey_is_scaled_by_the_range_in_use(name: str, bits: int) -> None:
    white = 2**bits - 1
    ramp = np.linspace(0, white, 64 * 32).astype(np.uint16).reshape(32, 64)
    data = encode(Image.fromarray(ramp), name)
    image = decode_whole(data)
    assert np.abs(image[..., 0] - 255 * (ramp / white)).max() <= 0.5
    assert image.min() == 0 and image.max() == 255
    assert bits_in_use(data) == bits
    dark = encode(Image.fromarray((ramp * 0.3).astype(np.uint16)), name)
    if bits > 8:  # a darker photo of the same camera is as bright as it was
        assert np.abs(decode_whole(dark)[..., 0] - 0.3 * 255 * (ramp / white)).max() <= 1


@pytest.mark.parametrize("compression", ["raw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("white", [4095, 65535])
def test_grey_whose_zero_is_white_is_no_negative(compression: str, white: int) -> None:
    ramp = np.linspace(0, white, 64 * 32).astype(np.uint16).reshape(32, 64)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = 0
    data = encode(Image.fromarray(white - ramp), "TIFF", tiffinfo=tags, compression=compression)
    assert np.abs(decode_whole(data)[..., 0] - 255 * (ramp / white)).max() <= 0.5


@pytest.mark.parametrize("name", [".png", ".tiff"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_16_bit_color_is_scaled_by_the_range_in_use(name: str, bits: int) -> None:
    white = 2**bits - 1
    deep = np.rint(PICTURE[..., ::-1] / PICTURE.max() * white).astype(np.uint16)
    data = cv2.imencode(name, deep)[1].tobytes()
    expected = PICTURE / PICTURE.max() * 255
    assert np.abs(decode_whole(data) - expected).max() <= 1
    assert bits_in_use(data) == bits
    assert bits_in_use(encode(PICTURE, "PNG")) == 8


def test_16_bit_color_keeps_its_tones() -> None:
    deep = (PICTURE.astype(np.uint16) * 257)[..., ::-1]
    ok, data = cv2.imencode(".png", deep)
    assert ok
    assert difference(decode_whole(data.tobytes()), PICTURE) <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_plain_modes_are_pillows(mode: str) -> None:
    data = encode(Image.fromarray(PICTURE).convert(mode), "PNG")
    assert np.array_equal(decode_whole(data), by_pillow(data))


def test_grey_jpeg() -> None:
    data = encode(Image.fromarray(PICTURE).convert("L"), "JPEG")
    image = decode_whole(data)
    assert np.array_equal(image[..., 0], image[..., 2])
    assert difference(image, by_pillow(data)) < 0.5


@pytest.mark.parametrize("name", ["PNG", "WebP", "TIFF"])
def test_transparency_is_laid_over_white(name: str) -> None:
    rgba = np.dstack([PICTURE, np.full(PICTURE.shape[:2], 255, np.uint8)])
    rgba[:50, :, 3] = 0
    rgba[50:100, :, 3] = 128
    options = {"lossless": True, "exact": True} if name == "WebP" else {}
    image = decode_whole(encode(rgba, name, **options))
    assert (image[:50] == 255).all()
    half = 255 - (255 - PICTURE[50:100].astype(int)) * 128 / 255
    assert np.abs(image[50:100] - half).max() <= 1
    assert np.array_equal(image[100:], PICTURE[100:])


def test_transparent_palette_and_grey() -> None:
    grey = Image.fromarray(PICTURE).convert("LA")
    grey.putalpha(0)
    assert (decode_whole(encode(grey, "PNG")) == 255).all()
    palette = Image.fromarray(PICTURE).convert("P")
    first = palette.getpixel((0, 0))
    image = decode_whole(encode(palette, "PNG", transparency=first))
    assert (image[0, 0] == 255).all()
    assert np.array_equal(
        image[np.asarray(palette) != first],
        np.asarray(palette.convert("RGB"))[np.asarray(palette) != first],
    )


@pytest.mark.parametrize("name", ["GIF", "WebP", "PNG"])
def test_an_animations_first_frame_counts(name: str) -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if name == "WebP" else {}
    data = encode(frames[0], name, save_all=True, append_images=frames[1:], **options)
    assert (decode_whole(data) == (255, 0, 0)).all()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("percent", range(5, 100, 5))
def test_a_jpeg_cut_at_every_5_percent_is_refused(percent: int, progressive: bool) -> None:
    data = encode(PICTURE, "JPEG", progressive=progressive)
    cut = data[: len(data) * percent // 100]
    for settings_ in (DecodeSettings(32), DecodeSettings(300)):
        with pytest.raises(DataError, match=r"is truncated|no readable JPEG header"):
            decode(cut, settings_)


@pytest.mark.parametrize("name", ["PNG", "WebP", "BMP", "GIF", "TIFF"])
@pytest.mark.parametrize("percent", [1, 10, 30, 50, 70, 90, 97])
def test_other_formats_cut_are_refused_too(name: str, percent: int) -> None:
    data = encode(PICTURE, name)
    with pytest.raises(DataError, match=r"truncated|damaged|no readable|not a photo"):
        decode(data[: len(data) * percent // 100], DecodeSettings(32))


def segment_at(data: bytes, marker: int) -> int:
    return next(place for found, place, *_ in jpeg_segments(data) if found == marker)


def oddities(data: bytes) -> dict[str, bytes]:
    """A JPEG with what libjpeg warns of, or skips, and what costs no pixel."""
    jfif, tables, scan = (segment_at(data, marker) for marker in (0xE0, 0xDB, 0xDA))
    scan_end = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\7"  # a transform that does not exist
    profile = b"\xff\xe2\0\x10ICC_PROFILE\0\2\1"  # the second of one
    return {
        "JFIF revision 0.00": data[: jfif + 9] + b"\0\0" + data[jfif + 11 :],
        "JFIF revision 3.01": data[: jfif + 9] + b"\3\1" + data[jfif + 11 :],
        "stray bytes before tables": data[:tables] + b"\x12\x34\xff\0" + data[tables:],
        "stray bytes before the scan": data[:scan] + b"\0" * 40 + data[scan:],
        "Adobe's transform 7": data[:tables] + adobe + data[tables:],
        "a broken profile": data[:tables] + profile + data[tables:],
        "selection 0, 0, 0": data[: scan_end - 3] + b"\0\0\0" + data[scan_end:],
        "zeros before the end": data[:-2] + bytes(57) + b"\xff\xd9",
        "fill bytes before the end": data[:-2] + b"\xff" * 9 + b"\xff\xd9",
        "no end": data[:-2],
        "half an end": data[:-1],
        "a trailer": data + b"\0\0SEFH" + bytes(range(256)) * 3,
        "all of it": b"".join(
            (
                data[:2],
                adobe,
                profile,
                data[2 : scan_end - 3],
                bytes(3),
                data[scan_end:-2],
                bytes(9),
            )
        ),
    }


@pytest.mark.parametrize("what", oddities(encode(PICTURE, "JPEG")))
def test_what_libjpeg_says_of_other_than_pixels_is_no_damage(what: str) -> None:
    data = encode(PICTURE, "JPEG", quality=92)
    odd = oddities(data)[what]
    assert np.array_equal(decode_whole(odd), decode_whole(data))
    settings_ = DecodeSettings(32)
    assert np.array_equal(decode(odd, settings_), decode(data, settings_))
    assert read_header(odd) == read_header(data)
    assert thumbnail(odd, 64) == thumbnail(data, 64)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("what", ["zeros", "lost", "closed", "restarted"])
def test_what_libjpeg_says_of_pixels_is_damage(mode: str, what: str) -> None:
    picture = Image.fromarray(draw_photo("round", 1, (240, 320))).convert(mode)
    data = encode(picture, "JPEG", quality=90, restart_marker_rows=2 * (what == "restarted"))
    middle = len(data) * 2 // 3
    damaged = {
        "zeros": data[:middle] + bytes(400) + data[middle + 400 :],
        "lost": data[:middle] + data[middle + 700 :],
        "closed": data[:middle] + b"\xff\xd9",
        "restarted": data.replace(b"\xff\xd1", b"\x12\x34" * 40 + b"\xff\xd1", 1),
    }[what]
    for odd in (damaged, oddities(damaged)["all of it"] if mode == "RGB" else damaged):
        with pytest.raises(DataError, match=r"is (damaged|truncated) \("):
            decode_whole(odd)
        with pytest.raises(DataError, match=r"is (damaged|truncated) \("):
            decode(odd, DecodeSettings(32))


@pytest.mark.parametrize("name", ["AVIF", "JPEG2000"])
def test_avif_and_jpeg_2000_are_read(name: str) -> None:
    tags = Image.Exif()
    tags[0x0112], tags[0x0110] = 6, "D90"
    rgba = np.dstack([PICTURE, np.full(PICTURE.shape[:2], 255, np.uint8)])
    rgba[:50, :, 3] = 0
    for options in ({}, {"no_jp2": True} if name == "JPEG2000" else {"speed": 10}):
        data = (
            encode(PICTURE, name, quality=100, **options)
            if name == "AVIF"
            else encode(PICTURE, name, **options)
        )
        assert read_header(data).format == {"JPEG2000": "JPEG 2000"}.get(name, name)
        assert difference(decode_whole(data), PICTURE) < 6
        assert decode(data, DecodeSettings(32)).shape == (32, 32, 3)
        for percent in (10, 30, 50, 70, 90, 97):
            with pytest.raises(DataError, match=r"truncated|damaged|no readable|not a photo"):
                decode(data[: len(data) * percent // 100], DecodeSettings(32))
    clear = decode_whole(encode(rgba, name))
    assert clear[:45].min() > 250 and difference(clear[55:], PICTURE[55:]) < 6
    if name == "AVIF":
        turned = encode(PICTURE, name, exif=tags, quality=100)
        assert decode_whole(turned).shape == (200, 150, 3)
        assert read_header(turned).camera == "D90"


HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAVZtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAA"
    "AAAAAAAAACJpbG9jAAAAAERAAAEAAQAAAAABegABAAAAAAAAAZMAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABo"
    "dmMxAAAAAA5waXRtAAAAAAABAAAA1mlwcnAAAAC3aXBjbwAAAHhodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEA"
    "GEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQArQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbqSSmubgIaDAgAAAMAyAAA"
    "AwAIQGIAAQAHRAHBcrAiQAAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAABBwaXhpAAAAAAMI"
    "CAgAAAAXaXBtYQAAAAAAAAABAAEEgQIDBAAAAZttZGF0AAABjygBrxmAsOd4XT9A9Azm7w6foB+VQmpFtl3Fe9qwsdRN"
    "bclylb4DM9kFacC45+wcBi+RyzZkwa2oanQaqH/bAe51xDr1rpE0OOD6AoOiVp63WzZ1u2ZxZfAdRnIrJ1o+pxO79Tiu"
    "9L6uEVE3gBhEr7pr3wzzQe7swYK7NIeqRcZeefI3yEZ6M8ObqqiWjtAQzwlkirC9r0pZe4xJYznd5TnnG/JA5UnZ2D0X"
    "UafIR0FpSicQMaKXMDtCg1GzVzGPtzok8BrwKOVnCn6lRfA3gFB8zJXJhEOrrkpfy7V11KDmjFiHvTOsd+Ft3O+JC+RG"
    "2kZxPlAF3Qi0maStqjkTXMNL5vXqt5/ssFFeqUWAMf6W6SmCEHKHeSZcGYK3EuhuUKAJyJWwb2UnWCIRKRhE788VbWo2"
    "kEn8FPXqHclFjVNCPblc1wGLfbr6H3F0spKfz0a0ImSd8U00UNK5j3Dd5g37Ak0grcMJK+sY7JLCvk/AOr9mxrUxdsev"
    "TpNJYtxTOd2nqOyRT+pkGw68x/qm1g=="
)


def turned_heic(angle: int) -> bytes:
    """The same with a property "irot", as phones write it: quarter turns to the left."""
    where = HEIC.index(b"ipma")
    box = struct.pack(">I4sB", 9, b"irot", angle)
    association = HEIC[where - 4 : where + 19].replace(b"\4\x81\2\3\4", b"\5\x81\2\3\4\x85")
    association = struct.pack(">I", 24) + association[4:]
    data = HEIC[: where - 4] + box + association + HEIC[where + 19 :]
    for name, more in ((b"meta", 10), (b"iprp", 10), (b"ipco", 9)):
        at = data.index(name) - 4
        (size,) = struct.unpack_from(">I", data, at)
        data = data[:at] + struct.pack(">I", size + more) + data[at + 4 :]
    offset = data.index(b"\0\0\x01\x7a\0\1")
    return data[:offset] + struct.pack(">I", 0x17A + 10) + data[offset + 4 :]


def test_heic_is_read() -> None:
    header = read_header(HEIC)
    assert (header.format, header.width, header.height, header.mode) == ("HEIC", 64, 64, "RGB")
    image = decode_whole(HEIC)
    assert image.shape == (64, 64, 3) and image.std() > 20
    for angle in range(4):
        assert np.array_equal(decode_whole(turned_heic(angle)), np.rot90(image, angle))
    for percent in (10, 40, 60, 80, 97):
        with pytest.raises(DataError, match=r"truncated|damaged|no readable|not a photo"):
            decode_whole(HEIC[: len(HEIC) * percent // 100])


def test_damaged_tiffs_are_refused() -> None:
    photo = Image.fromarray(draw_photo("round", 1, (240, 320)))
    kinds = {
        "tiff_adobe_deflate": photo,
        "tiff_deflate": photo,
        "jpeg": photo,
        "group4": photo.convert("1"),
        "group3": photo.convert("1"),
    }
    rng = np.random.default_rng(0)
    for compression, picture in kinds.items():
        for fill_order in (1, 2) if compression == "group4" else (1,):
            data = encode(picture, "TIFF", compression=compression, tiffinfo={266: fill_order})
            whole = decode_whole(data)
            assert difference(whole, by_pillow(data)) == 0
            for _ in range(10):
                bad = bytearray(data)
                place = int(rng.integers(len(data) // 3, len(data) * 2 // 3))
                bad[place : place + 60] = bytes(60)
                with pytest.raises(DataError, match=r"is (damaged|truncated)"):
                    decode_whole(bytes(bad))


def test_fax_with_white_as_zero_is_read() -> None:
    picture = Image.fromarray(PICTURE).convert("1")
    for photometric in (0, 1):
        data = encode(picture, "TIFF", compression="group4", tiffinfo={262: photometric, 278: 32})
        assert np.array_equal(decode_whole(data), by_pillow(data))


def rle_bmp(width: int, height: int, body: bytes) -> bytes:
    start = 14 + 40 + 1024
    head = b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    palette = b"".join(bytes((value, 255 - value, value // 2, 0)) for value in range(256))
    return head + info + palette + body


@pytest.mark.slow
def test_packed_bmps_are_read_and_cost_no_time() -> None:
    rows = b"".join(bytes((20, 10 * row, 12, 200)) + b"\0\0" for row in range(1, 17))
    data = rle_bmp(32, 16, rows + b"\0\1")
    assert np.array_equal(decode_whole(data), by_pillow(data))
    started = time.process_time()
    bomb = rle_bmp(990_000, 100, b"\1\0\0\0" * 100 + b"\0\1")
    assert decode(bomb, DecodeSettings(32)).shape == (32, 32, 3)
    assert time.process_time() - started < 20


def png_header(width: int, height: int) -> bytes:
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + body
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(body)) + chunk
    data += struct.pack(">I", zlib.crc32(chunk))
    packed = zlib.compress(b"\0" * 100)
    data += struct.pack(">I", len(packed)) + b"IDAT" + packed
    data += struct.pack(">I", zlib.crc32(b"IDAT" + packed))
    return data + b"\0\0\0\0IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


def test_huge_pictures_are_refused_by_their_header() -> None:
    data = png_header(60_000, 60_000)
    for function in (decode_whole, thumbnail, lambda d: decode(d, DecodeSettings())):
        with pytest.raises(DataError, match="has 3,600 megapixels; the limit is 100, save"):
            function(data)
    with pytest.raises(CostError, match=r"has 0 megapixels; the limit is 0\.01"):
        decode(encode(PICTURE, "JPEG"), DecodeSettings(max_megapixels=0.01))


def large_jpeg(width: int, height: int, **options: object) -> bytes:
    return encode(Image.new("L", (width, height), 90), "JPEG", quality=30, **options)


def test_jpegs_count_as_they_are_decoded() -> None:
    data = large_jpeg(12_000, 9_000)
    assert decoding_cost(data).megapixels == 108
    assert decoding_cost(data, DecodeSettings()).megapixels == 108 / 64
    assert decode(data, DecodeSettings()).shape == (224, 224, 3)
    assert decode_whole(thumbnail(data)).shape == (120, 160, 3)
    with pytest.raises(CostError, match="has 108 megapixels; the limit is 100"):
        decode_whole(data)
    assert decode_whole(data, 200).shape == (9_000, 12_000, 3)
    # Whatever the megapixels: no option is named that a command may not have.
    with pytest.raises(CostError, match=r"^has 2 megapixels; the limit is 1, save it smaller$"):
        decode(data, DecodeSettings(max_megapixels=1))


@pytest.mark.slow
def test_memory_and_time_are_limited_too() -> None:
    cmyk = encode(Image.new("CMYK", (6_000, 6_000)), "JPEG", progressive=True)
    assert decoding_cost(cmyk, DecodeSettings()).bytes > 2 * 4 * 36e6
    bomb = encode(Image.new("L", (6_000, 6_000)), "JPEG", progressive=True)
    scan = bomb[bomb.rindex(b"\xff\xda") : -2]
    bomb = bomb[:-2] + scan * 480 + b"\xff\xd9"
    with pytest.raises(CostError, match=r"takes [5-9] s to decode; the limit is 5 s"):
        decode(bomb, DecodeSettings())
    webp = encode(Image.new("RGB", (8_100, 8_100)), "WebP", lossless=True)
    with pytest.raises(CostError, match=r"takes 1\.4 GB of memory to decode; the limit is 1\.2 GB"):
        decode(webp, DecodeSettings())
    assert decoding_cost(webp).megapixels < 100
    check_cost(decoding_cost(webp), max_megapixels=130)
    with pytest.raises(DataError, match="is not a photo"):
        decoding_cost(b"hello, world")


def test_the_limit_is_no_part_of_the_key() -> None:
    assert DecodeSettings(max_megapixels=5).key() == DecodeSettings().key()


@pytest.mark.slow
def test_large_pictures_are_decoded_one_at_a_time() -> None:
    """Four threads need hardly more memory than one: measured in a process of its own."""
    code = """
import sys, threading
from handful.data.decoding import DecodeSettings, decode
data = open(sys.argv[1], "rb").read()
work = [threading.Thread(target=decode, args=(data, DecodeSettings(32))) for _ in range(4)]
[thread.start() for thread in work], [thread.join() for thread in work]
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.png"
        Image.new("RGB", (7_000, 7_000), "red").save(path, compress_level=1)
        found = subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
        )
    # One takes 350 MB, besides 100 MB for Python; 850 MB were seen where memory is given back late.
    assert int(found.stdout) * 1024 < 1e9


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (MIN_SIDE - 1, 50)])
def test_slivers_are_refused(size: tuple[int, int]) -> None:
    data = encode(Image.new("RGB", size), "PNG")
    with pytest.raises(DataError, match=f"is {size[0]} x {size[1]} pixels; at least 8 x 8"):
        decode(data, DecodeSettings())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"hello, world", "is not a photo of a known format"),
        (b"\xff\xd8\xff", "has no readable JPEG header"),
        (b"\x89PNG\r\n\x1a\n", "has no readable PNG header"),
        (b"GIF89a", "has no readable GIF header"),
        (b"II*\0", "has no readable TIFF header"),
        (b"II+\0\x08\0\0\0" + b"\xff" * 8, "has no readable TIFF header"),
        (b"RIFF\x20\0\0\0WEBPVP8 ", "has no readable WebP header"),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        decode(data, DecodeSettings())


def test_floating_point_pixels_are_refused() -> None:
    data = encode(Image.fromarray(np.ones((20, 20), np.float32)), "TIFF")
    with pytest.raises(DataError, match="has floating-point pixels; save it with 8 or 16 bits"):
        decode_whole(data)
    deep = encode(Image.fromarray(np.full((20, 20), 70_000, np.int32)), "TIFF")
    with pytest.raises(DataError, match="has 32-bit pixels"):
        decode_whole(deep)


@pytest.mark.slow
@given(st.sampled_from(FORMATS), st.data())
@settings(max_examples=300)
def test_no_bytes_raise_anything_but_a_reason(name: str, data: st.DataObject) -> None:
    """Bit flips and cuts give a picture or a DataError, never another error or warning."""
    content = bytearray(encode(draw_photo("round", 2, (90, 110))[:30, :40], name))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    content = content[: data.draw(st.integers(len(content) // 2, len(content)))]
    try:
        image = decode(bytes(content), DecodeSettings(24))
    except DataError:
        return
    assert image.shape == (24, 24, 3) and image.dtype == np.uint8


@given(
    st.sampled_from([b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"BM"]),
    st.binary(max_size=200),
)
@settings(max_examples=200)
def test_random_bytes_after_a_magic_number(magic: bytes, rest: bytes) -> None:
    try:
        image = decode(magic + rest, DecodeSettings(16))
    except DataError:
        return
    assert image.shape == (16, 16, 3)


def test_two_passes_and_any_threads_give_the_same_bytes() -> None:
    files = [encode(draw_photo("round", seed), name) for seed in range(8) for name in FORMATS]
    alone = [decode(data, DecodeSettings(48)).tobytes() for data in files]
    for threads in (1, 8):
        with ThreadPoolExecutor(threads) as pool:
            again = list(pool.map(lambda data: decode(data, DecodeSettings(48)).tobytes(), files))
        assert again == alone


def test_fingerprints_survive_re_encoding() -> None:
    image = resize(PICTURE, DecodeSettings(224))
    again = decode(encode(PICTURE, "JPEG", quality=40), DecodeSettings(224))
    other = resize(draw_photo("square", 9, (150, 200)), DecodeSettings(224))
    prints = [fingerprint(picture).astype(float) for picture in (image, again, other)]
    assert prints[0].shape == (1024,)
    assert np.corrcoef(prints)[0, 1] > 0.995 > np.corrcoef(prints)[0, 2]
    flat = np.full((224, 224, 3), (10, 200, 30), np.uint8)
    assert set(fingerprint(flat).tolist()) == {124}  # 0.299 R + 0.587 G + 0.114 B


def test_mirror_is_its_own_inverse() -> None:
    assert np.array_equal(mirror(PICTURE), PICTURE[:, ::-1])
    assert np.array_equal(mirror(mirror(PICTURE)), PICTURE)


@pytest.mark.parametrize("name", FORMATS)
def test_thumbnails_are_small_upright_jpegs(name: str) -> None:
    small = thumbnail(encode(PICTURE, name), 64)
    assert sniff_format(small) == "JPEG" and len(small) < 6000
    assert decode_whole(small).shape == (48, 64, 3)
    tiny = thumbnail(encode(PICTURE[:20, :30], name), 64)
    assert decode_whole(tiny).shape == (20, 30, 3)
    if name == "JPEG":
        tags = Image.Exif()
        tags[0x0112] = 6
        assert decode_whole(thumbnail(encode(PICTURE, name, exif=tags), 64)).shape == (64, 48, 3)


def test_settings_are_told_apart_by_their_key() -> None:
    assert DecodeSettings().key() == "decode2:224:halfway"
    keys = {DecodeSettings(s, r).key() for s in (150, 224) for r in ("squash", "crop")}
    assert len(keys) == 4


@pytest.mark.real
def test_all_3000_real_photos_decode(shared_folder: Path) -> None:
    with zipfile.ZipFile(shared_folder / "data" / "cats_and_dogs_filtered.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        assert len(names) == 3000
        for name in names:
            assert decode(archive.read(name), DecodeSettings(64)).shape == (64, 64, 3)
