"""Labels as a log: actions, undoing, two writers, what a kill leaves."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from handful.data.label_log import LabelChange
from handful.errors import DataError, UsageError
from handful.projects.label_store import LabelStore, check_class_name

A, B, C, D = (letter * 32 for letter in "abcd")


@pytest.fixture
def labels(tmp_path: Path) -> LabelStore:
    return LabelStore(tmp_path / "labels.jsonl")


def test_photos_get_classes_and_lose_them(labels: LabelStore) -> None:
    assert labels.classes == () and labels.version == 0 and labels.of(A) is None
    assert labels.add_class("  Leaf   blight ") == "Leaf blight"
    change = labels.assign([A, B, A], "Leaf blight")
    assert change == LabelChange("assign", (A, B), "Leaf blight")
    labels.assign([C], "Healthy")  # made where there is none
    assert labels.classes == ("Leaf blight", "Healthy")
    assert labels.counts == {"Leaf blight": 2, "Healthy": 1}
    assert labels.leave_out([B, C]) == LabelChange("leave_out", (B, C))
    assert (labels.of(B), labels.is_left_out(B), labels.left_out) == (None, True, {B, C})
    labels.unsort([B])
    assert not labels.is_left_out(B) and labels.all() == {A: "Leaf blight"}


def test_what_changes_nothing_is_no_action(labels: LabelStore) -> None:
    labels.assign([A], "x")
    version = labels.version
    assert labels.assign([A], "x") is None
    assert labels.assign([], "new") is None
    assert labels.unsort([B]) is None
    assert labels.rename_class("x", "x") == "x"
    assert labels.version == version and labels.classes == ("x",)
    # Of several photos only those count whose label changes.
    assert labels.assign([A, B], "x") == LabelChange("assign", (B,), "x")


def test_classes_are_renamed_and_removed_with_their_photos(labels: LabelStore) -> None:
    labels.assign([A, B], "x")
    labels.assign([C], "y")
    labels.rename_class("x", "z")
    assert labels.of(A) == "z" and labels.classes == ("z", "y")
    removed = labels.remove_class("z")
    assert removed is not None and set(removed.ids) == {A, B}
    assert labels.classes == ("y",) and labels.of(A) is None
    labels.undo()
    assert labels.classes == ("z", "y") and labels.counts == {"z": 2, "y": 1}
    labels.undo()
    assert labels.all() == {A: "x", B: "x", C: "y"}


def test_undo_goes_back_to_the_start_and_redo_to_the_end(labels: LabelStore) -> None:
    states = [(labels.classes, labels.all(), labels.left_out)]
    for action in (
        lambda: labels.add_class("x"),
        lambda: labels.assign([A, B], "x"),
        lambda: labels.assign([B, C], "y"),
        lambda: labels.leave_out([A, D]),
        lambda: labels.rename_class("y", "z"),
        lambda: labels.remove_class("x"),
        lambda: labels.unsort([D]),
    ):
        action()
        states.append((labels.classes, labels.all(), labels.left_out))
    for state in reversed(states[:-1]):
        assert labels.undo() is not None
        assert (labels.classes, labels.all(), labels.left_out) == state
    assert labels.undo() is None and labels.next_undo is None
    for state in states[1:]:
        assert labels.redo() is not None
        assert (labels.classes, labels.all(), labels.left_out) == state
    assert labels.redo() is None and labels.next_redo is None


def test_a_new_action_ends_what_could_be_done_again(labels: LabelStore) -> None:
    labels.assign([A], "x")
    labels.assign([B], "x")
    undone = labels.undo()
    assert undone == LabelChange("assign", (B,), "x") == labels.next_redo
    labels.assign([C], "x")
    assert labels.redo() is None and labels.all() == {A: "x", C: "x"}


def test_two_stores_on_one_log_are_one(labels: LabelStore, tmp_path: Path) -> None:
    other = LabelStore(tmp_path / "labels.jsonl")
    labels.assign([A], "x")
    other.assign([B], "x")
    assert labels.all() == other.all() == {A: "x", B: "x"}
    assert labels.version == other.version
    assert other.undo() == LabelChange("assign", (B,), "x")
    assert labels.next_redo == LabelChange("assign", (B,), "x")
    assert LabelStore(tmp_path / "labels.jsonl").all() == {A: "x"}


def test_threads_with_stores_of_their_own_lose_nothing(tmp_path: Path) -> None:
    def work(number: int) -> None:
        store = LabelStore(tmp_path / "labels.jsonl")
        for place in range(25):
            store.assign([f"{number:016x}{place:016x}"], f"class {number}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = LabelStore(tmp_path / "labels.jsonl")
    assert found.counts == {f"class {number}": 25 for number in found_order(found)}


def found_order(store: LabelStore) -> list[int]:
    assert sorted(store.classes) == [f"class {number}" for number in range(4)]
    return [int(name[-1]) for name in store.classes]


def test_a_torn_line_is_dropped_and_the_next_action_mends_the_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    LabelStore(path).assign([A], "x")
    whole = path.read_bytes()
    for torn in (b'{"op":"assign","ids":["', b"\0\0\0\0"):
        path.write_bytes(whole + torn)
        store = LabelStore(path)
        assert store.all() == {A: "x"} and store.version == len(whole)
        store.assign([B], "x")
        assert [json.loads(line)["op"] for line in path.read_text().splitlines()] == ["assign"] * 2
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"nonsense", "line 2 is damaged: it is no JSON object"),
        (b"[]", "line 2 is damaged"),
        (b'{"op":"fly"}', "line 2 makes no sense: 'fly' is no action that this version knows"),
        (b'{"op":"assign","ids":[3],"class":"x"}', "its photos or classes are no names"),
        (b'{"op":"remove_class","class":"q"}', 'there is no class "q"'),
        (b'{"op":"redo"}', "there is nothing to undo or redo"),
    ],
)
def test_a_damaged_log_names_the_line(tmp_path: Path, line: bytes, words: str) -> None:
    path = tmp_path / "labels.jsonl"
    LabelStore(path).assign([A], "x")
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(DataError, match=r"labels\.jsonl, ") as caught:
        LabelStore(path)
    assert words in str(caught.value)


def test_a_log_that_became_shorter_is_not_written_to(labels: LabelStore, tmp_path: Path) -> None:
    labels.assign([A], "x")
    (tmp_path / "labels.jsonl").write_bytes(b"")
    with pytest.raises(DataError, match="has become shorter"):
        labels.assign([B], "x")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("  ", "has no name"),
        ("x" * 101, "longer than 100"),
        ("a/b", "slashes and invisible"),
        ("a\\b", "slashes and invisible"),
        ("a\u202eb", "slashes and invisible"),
        (".hidden", "are the system's"),
        ("Thumbs.db", "are the system's"),
        ("..", "are the system's"),
        ("end.", "are the system's"),
    ],
)
def test_names_that_no_folder_could_have_are_refused(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_class_name(name)


def test_names_are_kept_in_one_form() -> None:
    assert check_class_name(" Bla\u0308tter  gru\u0308n ") == "Blätter grün"


def test_wrong_names_and_photos_are_told(labels: LabelStore) -> None:
    labels.add_class("Cats")
    with pytest.raises(UsageError, match='There is a class "Cats" already'):
        labels.add_class("cats")
    with pytest.raises(UsageError, match='no class "dogs"; there are "Cats"'):
        labels.remove_class("dogs")
    labels.add_class("dogs")
    with pytest.raises(UsageError, match='There is a class "Cats" already'):
        labels.rename_class("dogs", "CATS")
    assert labels.rename_class("Cats", "CATS") == "CATS"
    for id in ("", "../../etc/passwd", A[:-1], A.upper()):
        with pytest.raises(UsageError, match="is no photo's id"):
            labels.assign([id], "dogs")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_kill_loses_the_last_click_at_most(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    code = (
        "import sys; from pathlib import Path\n"
        "from handful.projects.label_store import LabelStore\n"
        "store = LabelStore(Path(sys.argv[1]))\n"
        "first = len(store.all())\n"
        "for number in range(first, first + 100_000):\n"
        "    store.assign([f'{number:032x}'], f'class {number % 3}')\n"
        "    print(number + 1, flush=True)\n"
    )
    for delay in (0.0, 0.03, 0.11):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(delay)
            os.kill(process.pid, signal.SIGKILL)
            said = process.stdout.read().split("\n")
        told = int(said[-2]) if len(said) > 1 and said[-2] else 1
        num_labels = len(LabelStore(path).all())
        assert told <= num_labels <= told + 1


@pytest.mark.slow
def test_a_log_of_100_000_actions_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    with path.open("w") as file:
        for number in range(100_000):
            entry = {"op": "assign", "ids": [f"{number % 7919:032x}"], "class": f"c{number % 9}"}
            file.write(json.dumps({**entry, "time": "2025-06-01T12:00:00+00:00"}) + "\n")
    store = LabelStore(path)
    assert len(store.all()) == 7919 and len(store.classes) == 9
