import errno
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handful.errors import HandfulError, OutputError
from handful.files.atomic import (
    explain_damage,
    json_text,
    new_file,
    new_folder,
    open_regular,
    read_json,
    read_regular,
    reason_of,
    sha256_of,
    write_json,
)
from handful.wording import printable


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "run"
    with new_folder(target) as folder:
        (folder / "a.txt").write_text("a")
        assert not target.exists()
    assert (target / "a.txt").read_text() == "a"
    assert [path.name for path in target.parent.iterdir()] == ["run"]
    (tmp_path / "plain").mkdir()
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_nothing_is_left_of_a_broken_one(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), new_folder(tmp_path / "run") as folder:
        (folder / "half.txt").write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "permission denied"),
    ],
)
def test_the_systems_refusals_are_explained(tmp_path: Path, code: int, reason: str) -> None:
    with (
        pytest.raises(OutputError, match=f"run cannot be written: {reason}. Free it, or choose"),
        new_folder(tmp_path / "run"),
    ):
        raise OSError(code, os.strerror(code))
    assert list(tmp_path.iterdir()) == []


def test_a_really_full_disk(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, which this system lacks")
    with pytest.raises(OutputError, match="the disk is full"), new_folder(tmp_path / "run"):
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x")


def test_an_existing_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").write_text("mine")
    with pytest.raises(OutputError, match="run exists already; choose another `output`"):
        with new_folder(tmp_path / "run"):
            raise AssertionError("never entered")
    assert (tmp_path / "run" / "mine").read_text() == "mine"


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="a file stands where a folder is needed"):
        with new_folder(tmp_path / "file" / "run"):
            raise AssertionError("never entered")


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert sha256_of(tmp_path / "empty").startswith("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b")


def test_a_file_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.png"
    with new_file(target) as path:
        path.write_text("a")
        assert not target.exists()
    assert target.read_text() == "a"
    assert [path.name for path in target.parent.iterdir()] == ["a.png"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_nothing_is_left_of_a_broken_file(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), new_file(tmp_path / "a.png") as path:
        path.write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept_unless_it_may_be_replaced(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    target.write_text("old")
    with pytest.raises(OutputError, match=r"a\.png exists already; choose another `output`"):
        with new_file(target):
            raise AssertionError("never entered")
    with new_file(target, replace=True) as path:
        path.write_text("new")
    assert target.read_text() == "new"
    with pytest.raises(OutputError, match="exists already"), new_file(tmp_path, replace=True):
        raise AssertionError("never entered")


def test_a_file_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"a folder is needed\. Free it, or"):
        with new_file(tmp_path / "file" / "a.png"):
            raise AssertionError("never entered")


def test_a_folder_may_be_replaced_once_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "run"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with new_folder(target, replace=True) as folder:
        (folder / "new.txt").write_text("new")
        assert (target / "old.txt").read_text() == "old"
    assert [path.name for path in target.iterdir()] == ["new.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_broken_replacement_keeps_the_old_folder(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "run"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with pytest.raises(error), new_folder(target, replace=True) as folder:
        (folder / "new.txt").write_text("new")
        raise error
    assert [path.name for path in target.iterdir()] == ["old.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_may_be_replaced_need_not_be_there(tmp_path: Path) -> None:
    with new_folder(tmp_path / "run", replace=True) as folder:
        (folder / "new.txt").write_text("new")
    assert (tmp_path / "run" / "new.txt").exists()


@given(st.text(st.characters(exclude_categories=())))
def test_json_is_exact_and_can_be_shown(name: str) -> None:
    facts = {name: [name, 1.5, None]}
    text = json_text(facts)
    assert json.loads(text) == json.loads(json.dumps(facts))
    assert all(printable(line) == line for line in text.split("\n"))


def test_text_that_is_no_valid_utf_8_comes_back(tmp_path: Path) -> None:
    facts = {"path": "x\udcff.jpg", "name": "ü", "turned": "\u202egpj.exe"}
    write_json(tmp_path / "facts.json", facts)
    text = (tmp_path / "facts.json").read_text(encoding="utf-8")
    assert json.loads(text) == facts and "ü" in text and text.endswith("}\n")


def other_kinds(folder: Path) -> Iterator[tuple[Path, str]]:
    """What lies in folders and is no file, and what the system says of it."""
    os.mkfifo(folder / "pipe")
    yield folder / "pipe", "named pipe"
    (folder / "zero").symlink_to("/dev/zero")
    yield folder / "zero", "device"
    (folder / "null").symlink_to("/dev/null")
    yield folder / "null", "device"
    (folder / "folder").mkdir()
    yield folder / "folder", "folder"
    (folder / "loop").symlink_to("loop")
    yield folder / "loop", "circle"
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(folder / "socket"))
    yield folder / "socket", "socket"
    yield folder / ("n" * 300), "longer than the system allows"
    yield folder / "null\0character", "no file can have this name"
    yield folder / "surrogate\ud800", "no file can have this name"
    yield folder / "absent", "No such file"


def test_only_files_are_opened(tmp_path: Path) -> None:
    for path, words in other_kinds(tmp_path):
        with pytest.raises(OSError) as caught:
            open_regular(path)
        assert words in reason_of(caught.value), path


def test_a_file_is_read_as_far_as_it_said(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("a")
    assert read_regular(tmp_path / "link", 3) == b"abc"
    with pytest.raises(OSError, match="larger than 0 MB"):
        read_regular(tmp_path / "a", 2)
    if Path("/proc/self/maps").exists():  # has no size, and more to read than its size
        assert read_regular(Path("/proc/self/maps"), 10) == b""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a":' * 100_000, "nested too deeply"),
        ("[1]", "it holds no object"),
        ('{"a": NaN}', "it holds NaN, which is no number"),
        ('{"a": ' + "1" * 5000 + "}", "integer string conversion"),
        ("{", "Expecting"),
        ("\ufeff{}", "BOM"),
    ],
)
def test_json_that_is_none_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        read_json(tmp_path / "a.json")


def test_json_that_was_written_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name\udcff": [1, 0.5, None]})
    assert read_json(tmp_path / "a.json") == {"name\udcff": [1, 0.5, None]}
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="named pipe"):
        read_json(tmp_path / "pipe")


def test_only_the_outputs_own_failures_are_blamed_on_it(tmp_path: Path) -> None:
    photo = tmp_path / "photos" / "1.jpg"
    for error, words in (
        (OSError(errno.EIO, "x", str(photo)), r"photos/1\.jpg cannot be used: the disk or network"),
        (FileNotFoundError(errno.ENOENT, "No such file", str(photo)), r"photos/1\.jpg cannot be"),
    ):
        with pytest.raises(HandfulError, match=words) as caught, new_folder(tmp_path / "run"):
            raise error
        assert "--output" not in str(caught.value)
    with pytest.raises(OutputError, match="run cannot be written: the disk is full"):
        with new_folder(tmp_path / "run") as folder:  # as shutil.copyfile says it
            raise OSError(errno.ENOSPC, "x", str(photo), None, str(folder / "copy"))
    with pytest.raises(OutputError) as caught, new_folder(tmp_path / "run") as folder:
        with new_folder(folder / "classifier"):
            raise OSError(errno.ENOSPC, "x")
    assert str(caught.value).startswith(f"{tmp_path / 'run' / 'classifier'} cannot be written: ")
    with pytest.raises(ConnectionError), new_folder(tmp_path / "run"):
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
    with pytest.raises(OutputError, match="run cannot be written: permission denied"):
        with new_folder(tmp_path / "run") as folder:
            raise PermissionError(errno.EACCES, "x", str(folder / "deep" / "file"))
    assert [entry.name for entry in tmp_path.iterdir()] == []


def test_what_a_library_says_to_programmers_is_left_out() -> None:
    error = RuntimeError(
        "Exception from src/inference/src/cpp/core.cpp:84:\nException from src/inference/src/"
        'model_reader.cpp:148:\nUnable to read the model: "g.onnx" Please check that model format: '
        '".onnx" is supported and the model is correct. Available frontends: onnx tflite.\n'
    )
    assert explain_damage(error) == 'Unable to read the model: "g.onnx"'
    assert explain_damage(ValueError("no number.")) == "no number"
