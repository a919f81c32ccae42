"""What people decide about single photos, read back and applied."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import draw_photo, write_photo
from handful.data.fixes import Fix, apply_fixes, load_fixed_index, read_fixes, write_fixes
from handful.data.index import load_index
from handful.errors import DataError, OutputError

texts = st.text(st.characters(exclude_characters="\0"), max_size=12)


def fix(path: str, action: str = "remove", label: str = "") -> Fix:
    return Fix(path, action, label, "")  # type: ignore[arg-type]


def write_list(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(("path,action,label,reason", *lines)) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def copied_folder(photo_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(photo_folder, tmp_path / "photos"))


@pytest.mark.slow
@given(
    st.lists(
        st.builds(
            lambda path, action, label, reason: Fix(
                path, action, label if action == "relabel" else "", reason
            ),
            texts.filter(bool),
            st.sampled_from(("remove", "relabel", "keep")),
            texts.filter(bool),
            texts,
        ),
        unique_by=lambda fix: fix.path,
    )
)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, fixes: list[Fix]
) -> None:
    path = tmp_path_factory.mktemp("fixes") / "fixes.csv"
    write_fixes(fixes, path)
    assert read_fixes(path) == tuple(fixes)


def test_a_spreadsheets_ways_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "fixes.csv"
    table = 'Path;Action;Label;Reason;Mine\r\na/1.jpg; Relabel ;b;"x;y";?\r\na/2.jpg;;;;\r\n\r\n'
    path.write_bytes(b"\xef\xbb\xbf" + table.encode())
    assert read_fixes(path) == (Fix("a/1.jpg", "relabel", "b", "x;y"),)
    path.write_text("path\taction\na/1.jpg\tREMOVE\n")
    assert read_fixes(path) == (fix("a/1.jpg"),)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a.jpg,delete,,"], r"line 2: the action is 'delete'; expected one of remove, relabel"),
        (["a.jpg,keep,,", ",remove,,"], r"line 3: the path is empty"),
        (["a.jpg,relabel,,"], r"line 2: a\.jpg is to be relabeled, and the label is empty"),
        (
            ["a.jpg,remove,,", "b.jpg,keep,,", "a.jpg,relabel,dogs,"],
            r'lines 2 and 4: a\.jpg is to be removed and to get the class "dogs"; keep one',
        ),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_fixes(write_list(tmp_path / "fixes.csv", *lines))


def test_what_is_no_fix_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv cannot be read \(No such file"):
        read_fixes(tmp_path / "none.csv")
    path = tmp_path / "fixes.csv"
    path.write_bytes("path,action\nb\xe4r.jpg,keep\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"it is not UTF-8 text"):
        read_fixes(path)
    path.write_text("file,what\n")
    with pytest.raises(DataError, match=r"has the columns file,what; a fix list has path,action"):
        read_fixes(path)
    path.write_text("")
    with pytest.raises(DataError, match=r"has the columns none"):
        read_fixes(path)


def test_equal_lines_count_once(tmp_path: Path) -> None:
    path = write_list(tmp_path / "fixes.csv", "a.jpg,remove,,one", "a.jpg,remove,,two")
    assert read_fixes(path) == (Fix("a.jpg", "remove", "", "one"),)


def test_decisions_are_never_overwritten(tmp_path: Path) -> None:
    path = write_list(tmp_path / "fixes.csv", "a.jpg,keep,,mine")
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"fixes\.csv exists already, and may hold decisions"):
        write_fixes([fix("b.jpg")], path)
    assert path.read_bytes() == before


def test_photos_leave_and_change_class_and_files_stay(copied_folder: Path) -> None:
    index = load_index(copied_folder)
    fixed = apply_fixes(
        index,
        [
            fix("round/000.jpg"),
            fix("round/001.jpg", "relabel", "square"),
            fix("square/002.jpg", "keep"),
        ],
        "fixes.csv",
    )
    assert len(fixed) == 47 and "round/000.jpg" not in fixed.paths
    row = fixed.paths.index("round/001.jpg")
    assert fixed.class_names[fixed.labels[row]] == "square"
    assert fixed.warnings == ("fixes.csv: 1 photos left out, 1 relabeled",)
    assert len(load_index(copied_folder)) == 48
    assert fixed.read(row) == (copied_folder / "round" / "001.jpg").read_bytes()


def test_fixing_is_what_moving_the_files_would_be(copied_folder: Path) -> None:
    """Digest, order and classes are those of a folder that was put in order by hand."""
    fixes = [fix(f"round/{n:03d}.jpg", "relabel", "square") for n in (3, 9)]
    fixed = apply_fixes(load_index(copied_folder), [*fixes, fix("square/004.jpg")], "f.csv")
    for number in (3, 9):
        name = f"{number:03d}.jpg"
        (copied_folder / "round" / name).rename(copied_folder / "square" / f"0-{name}")
    (copied_folder / "square" / "004.jpg").unlink()
    by_hand = load_index(copied_folder)
    assert fixed.digest() == by_hand.digest()
    assert fixed.content_hashes == by_hand.content_hashes
    assert np.array_equal(fixed.labels, by_hand.labels)


def test_a_relabeled_photo_is_other_data(photo_folder: Path) -> None:
    index = load_index(photo_folder)
    kept = apply_fixes(index, [fix("round/000.jpg", "keep")], "f.csv")
    moved = apply_fixes(index, [fix("round/000.jpg", "relabel", "square")], "f.csv")
    assert kept.digest() == index.digest() != moved.digest()


def test_rejects_are_silenced_by_removing_them(copied_folder: Path) -> None:
    (copied_folder / "round" / "text.jpg").write_text("no photo")
    (copied_folder / "round" / "empty.jpg").write_bytes(b"")
    index = load_index(copied_folder)
    fixed = apply_fixes(index, [fix("round/text.jpg"), fix("round/empty.jpg", "keep")], "f.csv")
    assert [file.path for file in fixed.rejected] == ["round/empty.jpg"]


def test_settled_conflicts_are_no_longer_warned_of(copied_folder: Path) -> None:
    shutil.copy(copied_folder / "round" / "000.jpg", copied_folder / "square" / "a.jpg")
    shutil.copy(copied_folder / "round" / "001.jpg", copied_folder / "square" / "b.jpg")
    index = load_index(copied_folder)
    assert sum("same photo" in line for line in index.warnings) == 2
    fixed = apply_fixes(index, [fix("square/a.jpg")], "f.csv")
    (conflict, _) = fixed.warnings
    assert "square/b.jpg" in conflict


@pytest.mark.parametrize(
    ("fixes", "message"),
    [
        (
            [fix("round/0000.jpg")],
            r'fixes\.csv names 1 photo that .*photos.* does not have: "round/0000\.jpg"; '
            r'did you mean "round/000\.jpg"\?',
        ),
        ([fix(f"gone/{n}.png") for n in range(7)], r'names 7 photos .*"gone/4\.png" and 2 more;'),
        (
            [fix("round/000.jpg", "relabel", "squares")],
            r'gives "round/000\.jpg" the class "squares"; .* has "round", "square"; did you mean '
            r'"square"\?',
        ),
        (
            [fix(f"round/{n:03d}.jpg") for n in range(24)],
            r'fixes\.csv leaves the class "round" of .* without a photo',
        ),
        (
            [fix(f"round/{n:03d}.jpg", "relabel", "square") for n in range(24)],
            r'leaves the class "round"',
        ),
    ],
)
def test_fixes_that_do_not_fit_are_refused(
    photo_folder: Path, fixes: list[Fix], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        apply_fixes(load_index(photo_folder), fixes, "fixes.csv")


def test_jobs_load_photos_and_fixes_in_one_go(photo_folder: Path, tmp_path: Path) -> None:
    path = write_list(tmp_path / "fixes.csv", "round/000.jpg,remove,,")
    assert len(load_fixed_index(photo_folder)) == 48
    assert len(load_fixed_index(photo_folder, path)) == 47
    with pytest.raises(DataError, match="cannot be read"):
        load_fixed_index(photo_folder, tmp_path / "none.csv")


def test_classes_are_counted_after_the_fixes(tmp_path: Path) -> None:
    """A validation part without a class is no obstacle once a photo there is relabeled."""
    for part, kind, number in (
        ("train", "a", 0),
        ("train", "b", 1),
        ("validation", "a", 2),
        ("validation", "a", 3),
    ):
        image = draw_photo("round", number)
        write_photo(tmp_path / "photos" / part / kind / f"{number}.png", image)
    with pytest.raises(DataError, match=r'validation part has no photo of "b"'):
        load_fixed_index(tmp_path / "photos")
    path = write_list(tmp_path / "fixes.csv", "validation/a/3.png,relabel,b,")
    assert load_fixed_index(tmp_path / "photos", path).counts()["validation"] == {"a": 1, "b": 1}
    write_list(path, "train/b/1.png,remove,,")
    with pytest.raises(DataError, match=r'leaves the class "b"'):
        load_fixed_index(tmp_path / "photos", path)


def test_paths_are_taken_as_they_are_meant(
    copied_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = load_index(copied_folder)
    path = next(path for path in index.paths if path.startswith("round/"))
    monkeypatch.chdir(tmp_path)
    backslashes = path.replace("/", "\\")
    forms = [
        f"./{path}",
        f"square/../{path}",
        backslashes,
        f"{copied_folder}/{path}",
        f"photos/{path}",
    ]
    for form in forms:
        fixed = apply_fixes(index, [fix(form)], "fixes.csv")
        assert set(index.paths) - set(fixed.paths) == {path}
    with pytest.raises(DataError, match=f"{path} is to be removed and to be kept; keep one"):
        apply_fixes(index, [fix(path), fix(f"./{path}", "keep")], "fixes.csv")
    # A name that is there as it stands is that one.
    shutil.copy(copied_folder / path, copied_folder / "round" / "x\\y.png")
    shutil.copytree(copied_folder / "square", copied_folder / "round" / "x")
    index = load_index(copied_folder)
    fixed = apply_fixes(index, [fix("round/x\\y.png")], "fixes.csv")
    assert set(index.paths) - set(fixed.paths) == {"round/x\\y.png"}


def test_an_error_is_one_line_whatever_is_in_the_list(tmp_path: Path) -> None:
    path = tmp_path / "fixes.csv"
    path.write_text('path,action,label\na.jpg,relabel,"x\ny"\na.jpg,relabel,"\x1b[2J"\n')
    with pytest.raises(DataError) as caught:
        read_fixes(path)
    assert r'the class "x\ny" and to get the class "\x1b[2J"' in str(caught.value)
