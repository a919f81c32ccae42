"""What kind of file some bytes are: formats that are read, and names for what is not.

Formats are told by a file's first bytes, never by its name.
"""

import re

_WAY_OUT = "which handful does not read; save it as JPEG or PNG"
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_HEIF_BRANDS = {b"mif1", b"mif2", b"msf1", b"miaf"}
_JP2_START = b"\0\0\0\x0cjP  \r\n\x87\n"

# First bytes of pictures that are not read, then of what else is found among photos.
_PICTURES = (
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
    (b"II\xbc\x01", "a JPEG XR image"),
    (b"8BPS", "a Photoshop file"),
    (b"gimp xcf", "a GIMP file"),
    (b"v/1\x01", "an OpenEXR image"),
    (b"#?RADIANCE", "a Radiance HDR image"),
    (b"#?RGBE", "a Radiance HDR image"),
    (b"\0\0\x01\0", "an icon"),
    *((bytes([0, 0, kind, 0, 0, 0, 0, 0]), "a Targa image") for kind in (2, 3, 10, 11)),
    (b"\0\0\x02\0", "a cursor"),
    (b"\x0a\x05\x01\x08", "a PCX image"),
    (b"icns", "an icon"),
    (b"qoif", "a QOI image"),
    (b"DDS ", "a DDS texture"),
    (b"BPG\xfb", "a BPG image"),
    (b"FLIF", "a FLIF image"),
    (b"SIMPLE  =", "a FITS image"),
    (b"\x8aMNG\r\n\x1a\n", "an MNG animation"),
    (b"\x8bJNG\r\n\x1a\n", "a JNG image"),
    (b"\xd7\xcd\xc6\x9a", "a WMF drawing"),
    (b"AT&TFORM", "a DjVu document"),
    (b"%!PS", "a PostScript drawing"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript drawing"),
    (b"IIRO", "a camera's raw file (Olympus ORF)"),
    (b"IIRS", "a camera's raw file (Olympus ORF)"),
    (b"MMOR", "a camera's raw file (Olympus ORF)"),
    (b"IIU\0", "a camera's raw file (Panasonic RW2)"),
    (b"II\x1a\0\0\0HEAPCCDR", "a camera's raw file (Canon CRW)"),
    (b"FUJIFILMCCD-RAW", "a camera's raw file (Fujifilm RAF)"),
    (b"FOVb", "a camera's raw file (Sigma X3F)"),
    (b"\0MRM", "a camera's raw file (Minolta MRW)"),
)
_OTHERS = (
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a zip archive or office document"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"(\xb5/\xfd", "a Zstandard archive"),
    (b"Rar!", "a RAR archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an office document or Thumbs.db"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"\0\0\x01\xba", "a video"),
    (b"\0\0\x01\xb3", "a video"),
    (b"FLV\x01", "a video"),
    (b"0&\xb2u\x8ef\xcf\x11", "a video"),
    (b"ID3", "a sound file"),
    (b"OggS", "a sound file or video"),
    (b"fLaC", "a sound file"),
    (b"\0\x05\x16\x07", "the macOS companion of another file"),
    (b"\0\x05\x16\0", "the macOS companion of another file"),
    (b"\0\0\0\x01Bud1", "a folder's settings (.DS_Store)"),
    (b"bplist", "an Apple property list"),
    (b"L\0\0\0\x01\x14\x02\0", "a Windows shortcut"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file itself with git lfs pull"),
    (b"SQLite format 3\0", "a database"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a program"),
)


def sniff_format(data: bytes) -> str | None:
    """Tell a format that handful takes by the first bytes.

    Args:
        data: The file, or its first 512 bytes.

    Returns:
        "JPEG", "PNG", "WebP", "BMP", "GIF", "TIFF", "HEIC", "AVIF", "JPEG 2000", or None.
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
    if data[:12] == _JP2_START or data[:4] == b"\xff\x4f\xff\x51":
        return "JPEG 2000"
    brands = _brands(data)
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIC" if brands & (_HEIC_BRANDS | _HEIF_BRANDS) else None


def why_not_read(data: bytes) -> str:
    """Say why a file is no picture that handful takes, by its first bytes.

    Args:
        data: The whole file.

    Returns:
        A clause that follows the file's name, or "" for a picture.
    """
    if not data:
        return "is empty (0 bytes)"
    if sniff_format(data) is not None:
        return ""
    looks = looks_like(data)
    return f"is {looks}" if looks.endswith(_WAY_OUT) else f"is not a photo: it looks like {looks}"


def looks_like(data: bytes) -> str:
    """Say what a file seems to be.

    Args:
        data: The file, or its first 512 bytes.

    Returns:
        Words such as "a web page", with the way out for a picture that is not read.
    """
    start = data[:512]
    if sniff_format(start):
        return "a single photo"
    for magic, words in _PICTURES:
        if start.startswith(magic):
            return f"{words}, {_WAY_OUT}"
    if start[128:132] == b"DICM":
        return f"a DICOM image, {_WAY_OUT}"
    if re.match(rb"P[1-7][ \t\r\n#]", start):
        return f"a Netpbm image, {_WAY_OUT}"
    brands = _brands(start)
    if b"crx " in brands:
        return f"a camera's raw file (Canon CR3), {_WAY_OUT}"
    if brands:
        return "a sound file" if brands & {b"M4A ", b"M4B "} else "a video"
    if start[4:8] in (b"moov", b"mdat", b"wide"):
        return "a video"
    if start[:4] == b"RIFF":
        return "a video" if start[8:12] == b"AVI " else "a sound file"
    if start[257:262] == b"ustar":
        return "a tar archive"
    for magic, words in _OTHERS:
        if start.startswith(magic):
            return words
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<svg", b"<?xml", b"<!doctype svg")) and b"svg" in text:
        return f"an SVG drawing, {_WAY_OUT}"
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    printable = sum(32 <= byte < 127 or byte in (9, 10, 13) for byte in start)
    return "text" if start and printable > 0.95 * len(start) else "data of an unknown kind"


def _brands(start: bytes) -> set[bytes]:
    """What a file of the ISO base media kind says that it is."""
    if start[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(start[:4], "big"), 512)
    return {start[8:12], *(start[place : place + 4] for place in range(16, end - 3, 4))}
