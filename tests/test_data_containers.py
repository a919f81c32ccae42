"""Picture files taken apart: what is left out, what is held for damage."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from conftest import draw_photo
from handful.data.containers import (
    MOST_SCANS,
    Exif,
    TiffDirectory,
    jpeg_segments,
    lean_gif,
    lean_jpeg,
    lean_png,
    png_chunks,
    read_exif,
    read_jpeg,
    read_tiff,
    read_webp,
)
from handful.errors import DataError

PICTURE = Image.fromarray(draw_photo("round", 1, (90, 120)))


def encode(name: str, image: Image.Image = PICTURE, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content).to_bytes(4, "big")
    return len(content).to_bytes(4, "big") + kind + content + checksum


def segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + (len(content) + 2).to_bytes(2, "big") + content


def by_pillow(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB").tobytes()


def test_a_lean_jpeg_has_what_its_pixels_need_and_the_same_pixels() -> None:
    exif = Image.Exif()
    exif[0x0110] = "D90"
    for options in ({}, {"progressive": True}, {"restart_marker_rows": 1}):
        data = encode("JPEG", exif=exif, comment=b"hello", icc_profile=b"x" * 999, **options)
        lean = lean_jpeg(data[:2] + b"stray" + data[2:] + b"trailer")
        kinds = {marker for marker, *_ in jpeg_segments(lean)}
        assert not kinds & {0xE1, 0xE2, 0xFE} and len(lean) < len(data)
        assert by_pillow(lean) == by_pillow(data)


def test_a_jpegs_scans_are_counted_where_there_may_be_several() -> None:
    baseline, progressive = encode("JPEG"), encode("JPEG", progressive=True)
    blocks = 15 * 12 + 2 * 8 * 6  # of luma, then of each color at half the size
    assert (read_jpeg(baseline).block_passes, read_jpeg(baseline).buffered) == (blocks, 0)
    assert read_jpeg(progressive).block_passes > 2 * blocks
    assert read_jpeg(progressive).buffered == 64 * blocks
    place = progressive.rindex(b"\xff\xda")
    bomb = progressive[:-2] + progressive[place:-2] * MOST_SCANS + b"\xff\xd9"
    with pytest.raises(DataError, match="has more than 500 scans, where about ten are usual"):
        read_jpeg(bomb)
    with pytest.raises(DataError, match="has more than 100,000 segments"):
        read_jpeg(baseline[:2] + segment(0xEF, b"") * 100_001 + baseline[2:])


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_is_whole_when_its_scans_are(progressive: bool) -> None:
    data = encode("JPEG", progressive=progressive)
    assert lean_jpeg(data[:-2])[-2:] == b"\xff\xd9"
    first = data.index(b"\xff\xda")
    last = data.rindex(b"\xff\xda")
    for end in {first, last}:
        with pytest.raises(DataError, match="is truncated"):
            lean_jpeg(data[:end])


def test_exif_is_read_the_same_in_every_format() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0110] = 6, "Nikon", "Nikon D90"
    expected = Exif(6, "Nikon D90")
    assert read_exif(exif.tobytes()) == expected
    assert read_jpeg(encode("JPEG", exif=exif)).exif == expected
    assert read_webp(encode("WebP", exif=exif)).exif == expected
    assert read_tiff(encode("TIFF", exif=exif)).exif == expected


@pytest.mark.parametrize("data", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"II+\0" + b"\xff" * 12])
def test_broken_directories_have_a_reason(data: bytes) -> None:
    assert read_exif(data) == Exif()
    with pytest.raises(ValueError, match="has no"):
        TiffDirectory(data)


def test_a_lean_png_has_pixels_alone() -> None:
    data = encode("PNG", PICTURE.quantize(16), transparency=0)
    more = chunk(b"tEXt", b"a\0b") + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(9_000_000)))
    lean = lean_png(data[:33] + more + data[33:] + b"trailer")
    assert [kind for kind, *_ in png_chunks(lean)] == [
        kind
        for kind, *_ in png_chunks(data)
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
    ]
    assert by_pillow(lean) == by_pillow(data)


def test_a_pngs_own_checksums_are_heeded() -> None:
    data = encode("PNG", PICTURE.quantize(16), transparency=0)
    for kind, _, end in png_chunks(data):
        bad = bytearray(data)
        bad[end] ^= 1
        with pytest.raises(DataError, match=f"the checksum of its part {kind.decode()} is wrong"):
            lean_png(bytes(bad))
    text = chunk(b"tEXt", b"a\0b")
    assert lean_png(data[:33] + text[:-1] + b"!" + data[33:]) == lean_png(data)
    header, rows = data[:33], 90 * (1 + 120)
    grey = header[:24] + b"\x08\0" + header[26:29]
    grey = grey[:8] + chunk(b"IHDR", grey[16:29])
    for packed, reason in (
        (zlib.compress(bytes(rows // 2)), "is truncated"),
        (zlib.compress(bytes(rows))[:-4], "is truncated"),
        (zlib.compress(bytes(rows))[:-1] + b"!", "is damaged"),
        (b"no zlib at all", "is damaged"),
    ):
        with pytest.raises(DataError, match=reason):
            lean_png(grey + chunk(b"IDAT", packed) + chunk(b"IEND", b""))
    assert lean_png(grey + chunk(b"IDAT", zlib.compress(bytes(rows))) + chunk(b"IEND", b""))


def test_interlaced_pngs_have_rows_of_seven_passes() -> None:
    for width, height in ((1, 1), (5, 3), (8, 8), (17, 9)):
        sizes = [
            (-(-(width - x) // across), -(-(height - y) // down))
            for x, y, across, down in (
                (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
                (0, 1, 1, 2),
            )
        ]  # fmt: skip
        rows = b"".join(bytes(1 + w) * h for w, h in sizes if w > 0 and h > 0)
        head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1)
        start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
        end = chunk(b"IEND", b"")
        assert lean_png(start + chunk(b"IDAT", zlib.compress(rows)) + end)
        with pytest.raises(DataError, match="is truncated"):
            lean_png(start + chunk(b"IDAT", zlib.compress(rows[:-1])) + end)


def test_an_animations_first_frame_is_all_that_is_handed_on() -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "lime", "blue")]
    gif = encode("GIF", frames[0], save_all=True, append_images=frames[1:])
    lean, width, height = lean_gif(gif)
    assert (width, height) == (40, 30) and len(lean) < len(gif) * 2 / 3
    assert by_pillow(lean) == by_pillow(gif)
    webp = encode("WebP", frames[0], save_all=True, append_images=frames[1:], lossless=True)
    assert by_pillow(read_webp(webp).lean) == by_pillow(webp)
    with Image.open(io.BytesIO(read_webp(webp).lean)) as image:
        assert image.n_frames == 1
    for cut in range(0, len(gif) - 60, 7):
        with pytest.raises(DataError):
            lean_gif(gif[: min(cut, len(lean) - 9)])


def test_a_tiffs_decoder_is_told_what_it_needs_alone() -> None:
    for big_tiff in (False, True):
        data = encode("TIFF", compression="tiff_adobe_deflate", software="x", big_tiff=big_tiff)
        layout = read_tiff(data)
        assert 305 in TiffDirectory(data).fields
        assert 305 not in TiffDirectory(layout.lean).fields
        assert by_pillow(layout.lean) == by_pillow(data)
        assert sum(layout.piece_bytes) == 90 * 120 * 3


def test_raw_files_are_not_their_previews() -> None:
    data = encode("TIFF", tiffinfo={50706: bytes([1, 4, 0, 0])})
    with pytest.raises(DataError, match="is a camera's raw file"):
        read_tiff(data)
    with pytest.raises(DataError, match="is a camera's raw file"):
        read_tiff(encode("TIFF")[:8] + b"CR\2\0" + encode("TIFF")[12:])


def test_pieces_must_be_there() -> None:
    array = np.asarray(PICTURE)
    data = encode("TIFF", Image.fromarray(array))
    with pytest.raises(DataError, match=r"pieces of it lie beyond its end|no directory"):
        read_tiff(data[:-50] if data[4:8] == b"\x08\0\0\0" else data[: len(data) // 2])
    fields = TiffDirectory(data)
    entry = data.index(fields.fields[273][3])
    bad = data[: entry + 4] + struct.pack("<I", 9_000_000) + data[entry + 8 :]
    with pytest.raises(DataError, match=r"is damaged|no readable"):
        read_tiff(bad)
