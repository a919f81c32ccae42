import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from handful.errors import OutputError
from handful.files import drafts
from handful.files.atomic import new_file, new_folder
from handful.files.drafts import Draft, exchange, remove_leftovers, without_draft

KILLED = """
import os, pathlib, signal, sys
from handful.files import drafts
from handful.files.atomic import new_file, new_folder
parent = pathlib.Path(sys.argv[1])
"""


def kill_in(parent: Path, code: str) -> None:
    """Run lines in a process that kills itself."""
    done = subprocess.run([sys.executable, "-c", KILLED + code, str(parent)], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A result with a list of the user's in it."""
    folder = tmp_path / "run"
    (folder / "mine").mkdir(parents=True)
    (folder / "result.txt").write_text("old")
    (folder / "fixes.csv").write_text("path,action\n")
    (folder / "mine" / "note.txt").write_text("remember")
    return folder


@pytest.fixture(params=["exchange", "renames"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of putting a folder in the place of another."""
    if request.param == "renames":
        monkeypatch.setattr(drafts, "exchange", lambda first, second: False)
    return str(request.param)


def test_two_folders_change_places(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system cannot exchange two names")
    assert names(tmp_path / "a") == ["b"] and names(tmp_path / "b") == ["a"]
    assert not exchange(tmp_path / "a", tmp_path / "absent") and names(tmp_path) == ["a", "b"]


def test_what_only_the_old_folder_has_is_kept(run: Path, way: str) -> None:
    with new_folder(run, replace=True, keep_others=True) as folder:
        (folder / "result.txt").write_text("new")
    assert names(run) == ["fixes.csv", "mine", "result.txt"] and names(run.parent) == ["run"]
    assert (run / "result.txt").read_text() == "new"
    assert (run / "fixes.csv").read_text() == "path,action\n"
    assert (run / "mine" / "note.txt").read_text() == "remember"


def test_a_link_to_a_folder_stays_one(run: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(run)
    with new_folder(tmp_path / "link", replace=True, keep_others=True) as folder:
        (folder / "result.txt").write_text("new")
    assert (tmp_path / "link").is_symlink() and (run / "result.txt").read_text() == "new"
    assert (run / "fixes.csv").exists() and names(tmp_path) == ["link", "run"]


@pytest.mark.parametrize("failing", [0, 1])
def test_whichever_rename_fails_the_old_folder_stays(
    run: Path, failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drafts, "exchange", lambda first, second: False)
    real, calls = Path.rename, []

    def rename(self: Path, target: Path) -> Any:
        calls.append(self)
        if len(calls) == failing + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OutputError, match="the disk is full"):
        with new_folder(run, replace=True, keep_others=True) as folder:
            (folder / "result.txt").write_text("new")
    assert (run / "result.txt").read_text() == "old"
    assert names(run) == ["fixes.csv", "mine", "result.txt"] and names(run.parent) == ["run"]


def test_where_nothing_can_be_renamed_the_old_folder_waits_for_the_next_start(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Path.rename, []

    def rename(self: Path, target: Path) -> Any:
        calls.append(self)
        if len(calls) > 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(drafts, "exchange", lambda first, second: False)
        patch.setattr(Path, "rename", rename)
        with pytest.raises(OutputError), new_folder(run, replace=True, keep_others=True) as folder:
            (folder / "result.txt").write_text("new")
    assert not run.exists()
    remove_leftovers(run.parent)
    assert names(run.parent) == ["run"] and (run / "result.txt").read_text() == "old"
    assert (run / "fixes.csv").exists()


def test_an_old_folder_is_not_lost_to_what_took_its_name(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.rename

    def rename(self: Path, target: Path) -> Any:
        moved = real(self, target)
        if self == run:  # another process is faster
            (run / "theirs").mkdir(parents=True)
        return moved

    monkeypatch.setattr(drafts, "exchange", lambda first, second: False)
    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OutputError), new_folder(run, replace=True, keep_others=True) as folder:
        (folder / "result.txt").write_text("new")
    assert names(run) == ["theirs"] and names(run.parent) == ["run", "run-2"]
    assert (run.parent / "run-2" / "fixes.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "result"),
    [
        # Before anything is moved.
        (
            "with new_folder(parent / 'run', replace=True, keep_others=True) as folder:\n"
            "    (folder / 'result.txt').write_text('new')\n"
            "    os.kill(os.getpid(), signal.SIGKILL)",
            "old",
        ),
        # Between the two renames.
        (
            "drafts.exchange = lambda *_: False\n"
            "real = pathlib.Path.rename\n"
            "def rename(self, target):\n"
            "    real(self, target)\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
            "pathlib.Path.rename = rename\n"
            "with new_folder(parent / 'run', replace=True, keep_others=True) as folder:\n"
            "    (folder / 'result.txt').write_text('new')",
            "old",
        ),
        # After them, before the old one is removed.
        (
            "drafts._clear = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
            "with new_folder(parent / 'run', replace=True, keep_others=True) as folder:\n"
            "    (folder / 'result.txt').write_text('new')",
            "new",
        ),
        (
            "drafts.exchange = lambda *_: False\n"
            "drafts._clear = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
            "with new_folder(parent / 'run', replace=True, keep_others=True) as folder:\n"
            "    (folder / 'result.txt').write_text('new')",
            "new",
        ),
    ],
)
def test_what_a_killed_process_left_is_put_back_or_removed(
    run: Path, code: str, result: str
) -> None:
    kill_in(run.parent, code)
    assert [name for name in names(run.parent) if name.startswith(".")]
    with new_file(run.parent / "other.txt") as file:
        file.touch()
    assert names(run.parent) == ["other.txt", "run"]
    assert (run / "result.txt").read_text() == result
    assert names(run) == ["fixes.csv", "mine", "result.txt"]


@pytest.mark.slow
def test_a_forked_process_removes_nothing_of_its_parents(tmp_path: Path) -> None:
    with Draft(tmp_path) as draft:
        pid = os.fork()
        if not pid:
            draft.close()
            os._exit(0)
        os.waitpid(pid, 0)
        assert draft.path.is_dir()


@pytest.mark.slow
def test_a_living_process_keeps_its_draft(tmp_path: Path) -> None:
    with new_folder(tmp_path / "run") as folder:
        (folder / "half.txt").touch()
        code = "from pathlib import Path; import sys; from handful.files.drafts import Draft\n"
        code += "Draft(Path(sys.argv[1])).close()"
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
        remove_leftovers(tmp_path)
        assert (folder / "half.txt").exists()
    assert names(tmp_path) == ["run"]


@pytest.mark.slow
def test_a_name_that_another_process_is_about_to_give_is_taken(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from handful.errors import OutputError
from handful.files.atomic import new_folder
from handful.run_store.store import RunStore
parent = Path(sys.argv[1])
print(RunStore(parent).new_path("photos").name)
try:
    with new_folder(parent / "photos"):
        print("made twice")
except OutputError as error:
    print(error)
"""
    with new_folder(tmp_path / "photos"):
        found = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
        )
    assert found.stdout.splitlines() == [
        "photos-2",
        f"{tmp_path}/photos is being made by another process; choose another `output`, "
        "or wait for it.",
    ]
    kill_in(tmp_path, "with new_folder(parent / 'other'): os.kill(os.getpid(), signal.SIGKILL)")
    with new_folder(tmp_path / "other"):
        pass


def test_only_drafts_are_removed(tmp_path: Path) -> None:
    mine = [".handful", ".handful-1", ".handful-1-0123456789abcdef.txt", ".run-abc123"]
    for name in mine:
        (tmp_path / name).mkdir()
    (tmp_path / ".handful-1-0123456789abcdef").write_text("a file")
    (tmp_path / "photos").mkdir()
    (tmp_path / ".handful-2-0123456789abcdef").symlink_to(tmp_path / "photos")
    remove_leftovers(tmp_path)
    assert len(names(tmp_path)) == len(mine) + 3


def test_where_there_are_no_locks_a_day_has_to_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    dead, living = "999999999", str(os.getpid())
    for pid, age in ((dead, 60), (dead, 100_000), (living, 100_000)):
        left = tmp_path / f".handful-{pid}-{age:016x}"
        left.mkdir()
        then = left.stat().st_mtime - age
        os.utime(left, (then, then))
    with Draft(tmp_path) as draft:
        (draft.path / "half.txt").touch()
    assert names(tmp_path) == sorted(
        [f".handful-{dead}-{60:016x}", f".handful-{living}-{100_000:016x}"]
    )


def test_a_process_that_cleans_does_not_take_a_draft_that_is_being_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may lie there unlocked for a moment."""
    real, removed = Path.mkdir, []

    def mkdir(self: Path, *rest: Any, **named: Any) -> None:
        real(self, *rest, **named)
        if not removed:
            removed.append(self)
            remove_leftovers(tmp_path)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with Draft(tmp_path) as draft:
        assert draft.path.is_dir() and removed and draft.path != removed[0]
    assert names(tmp_path) == []


def test_a_file_that_appeared_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(OutputError), new_file(tmp_path / "fixes.csv") as file:
        file.write_text("ours")
        (tmp_path / "fixes.csv").write_text("theirs")
    assert (tmp_path / "fixes.csv").read_text() == "theirs" and names(tmp_path) == ["fixes.csv"]


def test_results_are_as_readable_as_other_new_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process's mask is not touched: other threads make files meanwhile."""

    def refuse(mask: int) -> int:
        raise AssertionError("umask is the whole process's")

    monkeypatch.setattr(os, "umask", refuse)
    with new_folder(tmp_path / "run"):
        pass
    with new_file(tmp_path / "a.txt") as file:
        file.touch()
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain.txt").touch()
    for made, plain in (("run", "plain"), ("a.txt", "plain.txt")):
        assert (tmp_path / made).stat().st_mode == (tmp_path / plain).stat().st_mode


def test_a_long_name_has_room(tmp_path: Path) -> None:
    with new_folder(tmp_path / ("n" * 250)) as folder:
        (folder / "a").touch()
    shutil.rmtree(tmp_path / ("n" * 250))


def test_a_place_is_told_without_its_drafts(tmp_path: Path) -> None:
    with Draft(tmp_path) as outer:
        folder = outer.place("run")
        folder.mkdir()
        with Draft(folder) as inner:
            assert without_draft(inner.place("classifier")) == tmp_path / "run" / "classifier"
    assert without_draft(tmp_path) == tmp_path


@pytest.mark.slow
def test_any_command_removes_what_killed_ones_left(tmp_path: Path) -> None:
    folders = [tmp_path / "tmp", tmp_path / "cache" / "networks", tmp_path / "runs"]
    for folder in folders:
        folder.mkdir(parents=True)
        kill_in(folder, "drafts.Draft(parent); os.kill(os.getpid(), signal.SIGKILL)")
        assert len(names(folder)) == 1
    changed = {"TMPDIR": str(folders[0]), "HANDFUL_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "handful", "--version"]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, **changed}, check=True)
    assert [names(folder) for folder in folders] == [[], [], []]


def test_on_windows_names_are_not_exchanged_and_no_process_is_signaled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, the C library has no such function, and `os.kill(pid, 0)` is a Ctrl-C."""
    draft = tmp_path / f".handful-{os.getpid()}-{'0' * 16}"
    draft.mkdir()
    (tmp_path / "a").touch()
    os.utime(draft, (0, 0))
    monkeypatch.setattr(drafts.sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(drafts.os, "kill", lambda pid, number: pytest.fail("it was signaled"))
    assert not exchange(tmp_path / "a", draft)
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["a"]
