"""Folders of Parquet that a job fills and goes on filling."""

import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from handful.errors import OutputError
from handful.files import parts
from handful.files.parts import ITEMS_FILE, JOB_FILE, PartFolder

JOB = {"kind": "answers", "coverage": None}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PartFolder:
    monkeypatch.setattr(parts, "ITEMS_A_PART", 3)
    return PartFolder.open(tmp_path / "answers", JOB, lambda: map(str, range(8)))


def test_items_become_parts_whose_names_tell_them(folder: PartFolder, tmp_path: Path) -> None:
    found = list(folder.parts())
    assert [part.lines for part in found] == [("0", "1", "2"), ("3", "4", "5"), ("6", "7")]
    assert folder.num_items == 8 and not folder.done()
    other = PartFolder.open(
        tmp_path / "other", {**JOB, "coverage": 0.9}, lambda: map(str, "01234567")
    )
    assert not {part.name for part in found} & {part.name for part in other.parts()}
    again = PartFolder.open(tmp_path / "again", JOB, lambda: map(str, range(7)))
    same = {part.name for part in found} & {part.name for part in again.parts()}
    assert same == {found[0].name, found[1].name}


def test_a_job_is_gone_on_with(folder: PartFolder) -> None:
    for part in list(folder.parts())[:2]:
        folder.write(part.name, pyarrow.table({"line": part.lines}), {"num": len(part.lines)})

    def nothing() -> list[str]:
        raise AssertionError("what was listed is not listed again")

    again = PartFolder.open(folder.path, JOB, nothing)
    assert again.num_items == 8
    assert again.done() == {part.name for part in list(again.parts())[:2]}
    last = list(again.parts())[2]
    again.write(last.name, pyarrow.table({"line": last.lines}), {"num": 2})
    assert [note["num"] for note in again.notes()] == [3, 3, 2]
    # Other programs see the table alone.
    assert parquet.read_table(folder.path)["line"].to_pylist() == list("01234567")
    assert {name.name for name in folder.path.iterdir()} == {JOB_FILE, ITEMS_FILE} | again.done()


def test_other_work_is_not_mixed_in(folder: PartFolder, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"`coverage` was not given and is 0\.9\. Choose another"):
        PartFolder.open(folder.path, {**JOB, "coverage": 0.9}, list)
    (tmp_path / "full").mkdir()
    with pytest.raises(OutputError, match="full exists already and is nothing to go on with"):
        PartFolder.open(tmp_path / "full", JOB, list)
    found = json.loads((folder.path / JOB_FILE).read_text())
    (folder.path / JOB_FILE).write_text(json.dumps({**found, "format_version": 2}))
    with pytest.raises(OutputError, match="nothing to go on with"):
        PartFolder.open(folder.path, JOB, list)


def test_a_listing_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        PartFolder.open(tmp_path / "answers", JOB, lambda: (_ for _ in [1]).throw(RuntimeError()))
    assert not any(tmp_path.iterdir())


def test_a_damaged_part_is_named(folder: PartFolder) -> None:
    for part in folder.parts():
        folder.write(part.name, pyarrow.table({"line": part.lines}), {})
    first = folder.path / next(folder.parts()).name
    first.write_bytes(first.read_bytes()[:-20])
    with pytest.raises(OutputError, match="is damaged; remove it and repeat the command"):
        list(folder.notes())
