import os
import stat
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from handful.data import storage
from handful.data.storage import ZipReader, read_file
from handful.errors import DataError

PNG = b"\x89PNG\r\n\x1a\n"


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "name", ["../x.png", "a/../../x.png", "/etc/x.png", "C:/x.png", "\\x.png", "a\\..\\..\\x.png"]
)
def test_members_that_point_outside_are_refused(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "z.zip", {"a/1.png": PNG, name: PNG})
    with pytest.raises(DataError, match=r"has a member .* that points outside the archive"):
        ZipReader(path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["z.zip"]


def test_linked_members_are_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("a/link.png")
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match=r'"a/link\.png" that is a symbolic link'):
        ZipReader(tmp_path / "z.zip")


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "z.zip", {"a/1.png": PNG})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="has an encrypted member"):
        ZipReader(path)


def test_nameless_members_and_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "z.zip", {"a/1.png": PNG, "ä.png": PNG})
    content = path.read_bytes()
    path.write_bytes(content.replace("ä.png".encode(), b"\xff\xff.png"))
    with pytest.raises(DataError, match=r"the name of a member is not the UTF-8 text"):
        ZipReader(path)
    path.write_bytes(content.replace(b"a/1.png", b"\0/1.png"))
    with pytest.raises(DataError, match=r"is damaged \(a member has no name\)"):
        ZipReader(path)


@pytest.mark.parametrize(
    "packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_whatever_is_damaged_is_said_to_be(tmp_path: Path, packing: int) -> None:
    path = tmp_path / "z.zip"
    contents = {f"a/{number}.png": PNG + bytes(range(256)) * 2 for number in range(2)}
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    whole = path.read_bytes()
    rng = np.random.default_rng(packing)
    num_refused = 0
    for _ in range(400):
        content = bytearray(whole)
        for place in rng.integers(0, len(content), rng.integers(1, 4)):
            content[place] = rng.choice([0, 255, rng.integers(256)])
        path.write_bytes(content)
        try:
            reader = ZipReader(path)
            for name in reader.members:
                reader.read(name)
        except DataError:
            num_refused += 1
    assert num_refused > 200


def test_what_is_no_file_is_no_archive(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "z.zip")
    with pytest.raises(DataError, match=r"cannot be read \(it is a named pipe, not a file\)"):
        ZipReader(tmp_path / "z.zip")


def test_a_bomb_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = write_zip(tmp_path / "inner.zip", {"zeros": bytes(30_000_000)})
    path = write_zip(
        tmp_path / "z.zip", {"a/nested.zip": inner.read_bytes(), "a/bomb.png": bytes(30_000_000)}
    )
    reader = ZipReader(path)
    with pytest.raises(DataError, match="is packed too tightly for a photo"):
        reader.read("a/bomb.png")
    # An archive inside is bytes like any others: it is never opened.
    assert reader.read("a/nested.zip")[:2] == b"PK"
    monkeypatch.setattr(storage, "MAX_PICTURE_BYTES", 20_000_000)
    with pytest.raises(DataError, match="is larger than 20 MB"):
        reader.read("a/bomb.png")


def test_a_member_that_lies_about_its_size(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "z.zip", {"a/1.png": PNG + bytes(range(256)) * 40})
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x01\x02") + 24
    content[place : place + 4] = struct.pack("<I", 100)
    path.write_bytes(content)
    with pytest.raises(DataError, match="is damaged in the archive"):
        ZipReader(path).read("a/1.png")


def test_a_damaged_member_is_one_bad_file(tmp_path: Path) -> None:
    members = {"a/1.png": PNG + bytes(range(256)) * 8, "a/2.png": PNG + b"fine"}
    path = write_zip(tmp_path / "z.zip", members)
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(content)
    reader = ZipReader(path)
    with pytest.raises(DataError, match="is damaged in the archive"):
        reader.read("a/1.png")
    assert reader.read("a/2.png") == members["a/2.png"]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_archive_is_named(tmp_path: Path, share: float) -> None:
    path = write_zip(tmp_path / "z.zip", {f"a/{n}.png": PNG * 50 for n in range(20)})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"z\.zip is damaged or no zip .* fetch or pack it again"):
        ZipReader(path)


def test_any_number_of_threads_read_the_same(tmp_path: Path) -> None:
    members = {f"a/{n}.png": PNG + bytes([n]) * 5000 for n in range(200)}
    reader = ZipReader(write_zip(tmp_path / "z.zip", members))
    with ThreadPoolExecutor(8) as pool:
        contents = list(pool.map(reader.read, members))
    assert contents == list(members.values())


def test_files_too_large_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.png").write_bytes(PNG)
    assert read_file(tmp_path / "x.png") == PNG
    monkeypatch.setattr(storage, "MAX_PICTURE_BYTES", 4)
    with pytest.raises(DataError, match="is larger than 0 MB"):
        read_file(tmp_path / "x.png")
    with pytest.raises(DataError, match=r"cannot be read \(No such file or directory\)"):
        read_file(tmp_path / "absent.png")
