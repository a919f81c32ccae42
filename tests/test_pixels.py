import io
import struct
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
from PIL import Image

from conftest import draw_photo
from handful.errors import DataError
from handful.photos.pixels import (
    MIN_SIDE,
    DecodeSettings,
    decode,
    decode_picture,
    fingerprint,
    mirror,
    read_header,
    resize,
    sniff_format,
    thumbnail,
)

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
    image = decode_picture(data)
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
        assert difference(decode(data, settings_), resize(decode_picture(data), settings_)) < 1.0


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
    assert difference(decode_picture(data), stored) < 3
    expected = resize(np.ascontiguousarray(stored), DecodeSettings(32))
    assert difference(decode(data, DecodeSettings(32)), expected) < 4


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_is_read_in_both_byte_orders(order: str) -> None:
    plain = encode(PICTURE, "JPEG")
    block = exif(6, order)
    data = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + plain[2:]
    assert read_header(data).orientation == 6
    assert decode_picture(data).shape == (200, 150, 3)


@pytest.mark.parametrize(
    "block", [b"Exif\0\0", exif(9), exif(0), exif(6)[:20], b"Exif\0\0II*\0\xff\xff\xff\xff"]
)
def test_broken_exif_is_no_obstacle(block: bytes) -> None:
    plain = encode(PICTURE, "JPEG")
    data = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + plain[2:]
    assert np.array_equal(decode_picture(data), decode_picture(plain))


def test_cmyk_jpeg_and_adobes_inverted_one_look_alike() -> None:
    picture = Image.fromarray(PICTURE).convert("CMYK")
    inverted = encode(picture, "JPEG", quality=95)  # Pillow writes Adobe's marker and inverts
    assert b"Adobe" in inverted
    assert difference(decode_picture(inverted), by_pillow(inverted)) == 0
    assert difference(decode_picture(inverted), PICTURE) < 12
    assert decode(inverted, DecodeSettings(64)).shape == (64, 64, 3)
    assert read_header(inverted).mode in ("CMYK", "YCCK")


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(name: str) -> None:
    ramp = np.linspace(0, 65535, 64 * 32).astype(np.uint16).reshape(32, 64)
    image = decode_picture(encode(Image.fromarray(ramp), name))
    assert np.array_equal(image[..., 0], ((ramp.astype(int) + 128) // 257).astype(np.uint8))
    assert image.min() == 0 and image.max() == 255


def test_16_bit_colour_keeps_its_tones() -> None:
    deep = (PICTURE.astype(np.uint16) * 257)[..., ::-1]
    ok, data = cv2.imencode(".png", deep)
    assert ok
    assert difference(decode_picture(data.tobytes()), PICTURE) <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_plain_modes_are_pillows(mode: str) -> None:
    data = encode(Image.fromarray(PICTURE).convert(mode), "PNG")
    assert np.array_equal(decode_picture(data), by_pillow(data))


def test_grey_jpeg() -> None:
    data = encode(Image.fromarray(PICTURE).convert("L"), "JPEG")
    image = decode_picture(data)
    assert np.array_equal(image[..., 0], image[..., 2])
    assert difference(image, by_pillow(data)) < 0.5


@pytest.mark.parametrize("name", ["PNG", "WebP", "TIFF"])
def test_transparency_is_laid_over_white(name: str) -> None:
    rgba = np.dstack([PICTURE, np.full(PICTURE.shape[:2], 255, np.uint8)])
    rgba[:50, :, 3] = 0
    rgba[50:100, :, 3] = 128
    options = {"lossless": True, "exact": True} if name == "WebP" else {}
    image = decode_picture(encode(rgba, name, **options))
    assert (image[:50] == 255).all()
    half = 255 - (255 - PICTURE[50:100].astype(int)) * 128 / 255
    assert np.abs(image[50:100] - half).max() <= 1
    assert np.array_equal(image[100:], PICTURE[100:])


def test_transparent_palette_and_grey() -> None:
    grey = Image.fromarray(PICTURE).convert("LA")
    grey.putalpha(0)
    assert (decode_picture(encode(grey, "PNG")) == 255).all()
    palette = Image.fromarray(PICTURE).convert("P")
    first = palette.getpixel((0, 0))
    image = decode_picture(encode(palette, "PNG", transparency=first))
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
    assert (decode_picture(data) == (255, 0, 0)).all()


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
    with pytest.raises(DataError, match=r"truncated|damaged|no readable|not a picture"):
        decode(data[: len(data) * percent // 100], DecodeSettings(32))


def test_stray_bytes_and_trailing_junk_are_no_damage() -> None:
    data = encode(PICTURE, "JPEG", restart_marker_rows=2)
    assert np.array_equal(decode_picture(data + b"junk" * 100), decode_picture(data))
    marker = data.index(b"\xff\xd0")
    stray = data[:marker] + b"\x12\x34" + data[marker:]
    assert decode_picture(stray).shape == PICTURE.shape
    with pytest.raises(DataError, match="truncated"):
        decode_picture(stray[: len(stray) * 3 // 4])


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
    for function in (decode_picture, thumbnail, lambda d: decode(d, DecodeSettings())):
        with pytest.raises(DataError, match="has 3,600 megapixels; the limit is 100, save"):
            function(data)
    with pytest.raises(DataError, match=r"has 0 megapixels; the limit is 0\.01"):
        decode(encode(PICTURE, "JPEG"), DecodeSettings(max_megapixels=0.01))


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (MIN_SIDE - 1, 50)])
def test_slivers_are_refused(size: tuple[int, int]) -> None:
    data = encode(Image.new("RGB", size), "PNG")
    with pytest.raises(DataError, match=f"is {size[0]} x {size[1]} pixels; at least 8 x 8"):
        decode(data, DecodeSettings())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"hello, world", "is not a picture of a known format"),
        (b"\xff\xd8\xff", "has no readable JPEG header"),
        (b"\x89PNG\r\n\x1a\n", "has no readable PNG header"),
        (b"GIF89a", "has no readable GIF header"),
        (b"II*\0", "has no readable TIFF header"),
        (b"RIFF\x20\0\0\0WEBPVP8 ", "has no readable WebP header"),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        decode(data, DecodeSettings())


def test_floating_point_pixels_are_refused() -> None:
    data = encode(Image.fromarray(np.ones((20, 20), np.float32)), "TIFF")
    with pytest.raises(DataError, match="has floating-point pixels; save it with 8 or 16 bits"):
        decode_picture(data)
    deep = encode(Image.fromarray(np.full((20, 20), 70_000, np.int32)), "TIFF")
    with pytest.raises(DataError, match="has 32-bit pixels"):
        decode_picture(deep)


@given(st.sampled_from(FORMATS), st.data())
@settings(max_examples=300, deadline=None)
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
@settings(max_examples=200, deadline=None)
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
    assert decode_picture(small).shape == (48, 64, 3)
    tiny = thumbnail(encode(PICTURE[:20, :30], name), 64)
    assert decode_picture(tiny).shape == (20, 30, 3)
    if name == "JPEG":
        tags = Image.Exif()
        tags[0x0112] = 6
        assert decode_picture(thumbnail(encode(PICTURE, name, exif=tags), 64)).shape == (64, 48, 3)


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
