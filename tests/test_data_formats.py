"""What kind of file some bytes are."""

import pytest

from handful.data.formats import looks_like, sniff_format, why_not_read


def box(brand: bytes, *others: bytes) -> bytes:
    content = b"ftyp" + brand + bytes(4) + b"".join(others)
    return (len(content) + 4).to_bytes(4, "big") + content


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (box(b"heic", b"mif1", b"heic"), "HEIC"),
        (box(b"mif1", b"heic"), "HEIC"),
        (box(b"mif1", b"mif1", b"avif", b"miaf"), "AVIF"),
        (box(b"avis", b"msf1"), "AVIF"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51\0", "JPEG 2000"),
        (box(b"isom", b"mp41"), None),
        (box(b"crx ", b"isom"), None),
    ],
)
def test_formats_are_told_by_their_first_bytes(start: bytes, name: str | None) -> None:
    assert sniff_format(start) == name
    assert (why_not_read(start) == "") == (name is not None)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"\xff\x0a", "a JPEG XL image"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
        (box(b"crx ", b"isom"), "a camera's raw file (Canon CR3)"),
        (b"FUJIFILMCCD-RAW 0201", "a camera's raw file (Fujifilm RAF)"),
        (b"IIU\0\x18", "a camera's raw file (Panasonic RW2)"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"\0\0\2\0\0\0\0\0\0\0\0\0", "a Targa image"),
        (b"\0\0\2\0\1\0\x20\x20", "a cursor"),
        (bytes(128) + b"DICM", "a DICOM image"),
        (b"P6\n2 2\n255\n", "a Netpbm image"),
        (b"<?xml version='1.0'?><svg/>", "an SVG drawing"),
        (b"v/1\x01\2", "an OpenEXR image"),
    ],
)
def test_pictures_that_are_not_read_are_named(start: bytes, words: str) -> None:
    reason = why_not_read(start + bytes(300))
    assert reason == f"is {words}, which handful does not read; save it as JPEG or PNG"


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (box(b"qt  "), "a video"),
        (b"RIFF\1\1\1\1AVI LIST", "a video"),
        (box(b"M4A "), "a sound file"),
        (b"\0\x05\x16\x07\0\2", "the macOS companion of another file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"%PDF-1.7", "a PDF"),
        (b"", "data of an unknown kind"),
    ],
)
def test_what_is_no_picture_is_named_too(start: bytes, words: str) -> None:
    assert looks_like(start).startswith(words)
    if start:
        assert why_not_read(start).startswith(f"is not a photo: it looks like {words}")
