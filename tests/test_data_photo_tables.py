from pathlib import Path

import pytest

from handful.data.index import load_index
from handful.errors import DataError
from photo_files import PNG, labeled, put


def write_csv(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    put(tmp_path, "p/1.png", "p/2.png", "p/3.png", "p/4.png")
    (tmp_path / "labels.csv").write_text(text, encoding=encoding)
    return tmp_path / "labels.csv"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_table(tmp_path: Path, separator: str, encoding: str) -> None:
    lines = ["path,label,split", "p/1.png,Ärger,train", "p/2.png,b,train", "p/3.png,Ärger,val"]
    lines += [f"{tmp_path}/p/4.png,b,valid"]
    text = "\n".join(lines).replace(",", separator)
    index = load_index(write_csv(tmp_path, text, encoding))
    assert labeled(index) == {
        "p/1.png": "Ärger train",
        "p/2.png": "b train",
        "p/3.png": "Ärger validation",
        f"{tmp_path}/p/4.png": "b validation",
    }
    assert index.read(0).endswith((b"p/1.png", b"p/2.png"))


def test_a_table_without_splits_and_with_repeated_rows(tmp_path: Path) -> None:
    text = "label,path\na,p/1.png\nb,p/2.png\na,p/1.png\n"
    index = load_index(write_csv(tmp_path, text))
    assert len(index) == 2
    assert index.warnings == ("labels.csv lists 1 rows twice; each counts once",)


TWO = "path,label{}\np/1.png,a{}\np/2.png,b{}\n"


@pytest.mark.parametrize(
    "path", ["./p/1.png", "p//1.png", "p/../p/1.png", "{}/p/1.png", "p\\1.png"]
)
def test_ways_of_writing_one_path_are_one_photo(tmp_path: Path, path: str) -> None:
    path = path.format(tmp_path)
    text = TWO.format("", "", "")
    index = load_index(write_csv(tmp_path, f"{text}{path},a\n"))
    assert index.paths == ("p/1.png", "p/2.png")
    assert index.warnings == ("labels.csv lists 1 rows twice; each counts once",)
    with pytest.raises(DataError, match=r'lines 2 and 4: ".*1\.png" is "a" and "b"; keep one'):
        load_index(write_csv(tmp_path, f"{text}{path},b\n"))
    index = load_index(write_csv(tmp_path, f"path,label\n{path},a\np/2.png,b\n"))
    assert index.read(0) == PNG + b"p/1.png" and (index.paths[0] == "p/1.png" or path[0] == "/")


def test_a_backslash_in_a_files_name_stays(tmp_path: Path) -> None:
    put(tmp_path, "p\\1.png")
    index = load_index(write_csv(tmp_path, "path,label\np\\1.png,a\np/1.png,b\n"))
    assert index.paths == ("p\\1.png", "p/1.png") and index.read(0) == PNG + b"p\\1.png"


def test_accents_in_one_character_or_two_are_one_name(tmp_path: Path) -> None:
    put(tmp_path, "p/Jose\u0301.png")
    text = "path,label\np/Jos\u00e9.png,caf\u00e9\np/1.png,cafe\u0301\np/2.png,b\n"
    index = load_index(write_csv(tmp_path, text))
    assert index.class_names == ("b", "caf\u00e9") and len(index) == 3


def test_paths_of_another_computer_are_told_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"do not exist: .* Paths of another computer lead nowhere"):
        load_index(write_csv(tmp_path, "path,label\nC:\\photos\\1.png,a\np/1.png,b\n"))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("Training", "Test", "test"),
        ("train_set", "dev", "validation"),
        ("X_train", "X_val", "validation"),
    ],
)
def test_parts_in_a_table_go_by_the_names_of_folders(
    tmp_path: Path, first: str, second: str, expected: str
) -> None:
    text = f"path,label,split\np/1.png,a,{first}\np/2.png,b,{first}\n"
    index = load_index(write_csv(tmp_path, f"{text}p/3.png,a,{second}\np/4.png,b,{second}\n"))
    assert index.splits == ("train", "train", expected, expected)


@pytest.mark.parametrize(
    "label",
    ["cat;cute", "cat | cute", "['cat', 'cute']", '"cat,cute"', "cat dog", "cat+dog", "cat/dog"],
)
def test_several_labels_in_a_cell_are_no_class(tmp_path: Path, label: str) -> None:
    cell = f'"{label}"' if "," in label and label[0] != '"' else label
    with pytest.raises(DataError, match=r'line 4: the label ".*" seems to be several: "cat", "'):
        load_index(write_csv(tmp_path, f"path,label\np/1.png,cat\np/2.png,dog\np/3.png,{cell}\n"))


def test_class_names_may_hold_signs_of_many_kinds(tmp_path: Path) -> None:
    labels = ("golden retriever", "black/white", '"Siamese, seal point"', "a+b")
    rows = "".join(f"p/{number}.png,{label}\n" for number, label in enumerate(labels, 1))
    index = load_index(write_csv(tmp_path, f"path,label\n{rows}"))
    assert len(index.class_names) == 4 and index.warnings == ()


def test_labels_that_share_what_commas_divide_are_said(tmp_path: Path) -> None:
    labels = ("cat,cute", "cat,ugly", "dog,cute", "dog,ugly")
    rows = "".join(f'p/{number}.png,"{label}"\n' for number, label in enumerate(labels, 1))
    (warning,) = load_index(write_csv(tmp_path, f"path,label\n{rows}")).warnings
    assert warning.startswith('Each of these labels is one class, commas and all: "cat,cute", "cat')


def number_table(tmp_path: Path, values: list[str], copies: int) -> Path:
    rows = []
    for place, value in enumerate(values):
        for copy in range(copies):
            put(tmp_path, f"n/{place}-{copy}.png")
            rows.append(f'n/{place}-{copy}.png,"{value}"\n')
    return write_csv(tmp_path, "path,label\n" + "".join(rows))


def test_numbers_that_measure_something_are_no_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the labels are numbers, 4 different ones for 8 photos"):
        load_index(number_table(tmp_path, ["1.5", "2,5", "-3", "1e3"], 2))
    with pytest.raises(DataError, match="the labels are numbers, 4 different ones for 8 photos"):
        load_index(number_table(tmp_path, ["1.5", "2,5", "unknown", "-3", "1e3"], 2))
    assert len(load_index(number_table(tmp_path, ["10", "20"], 2), least_classes=1)) == 4
    (warning,) = load_index(number_table(tmp_path, ["2", "2,5", "3,5"], 5)).warnings
    assert "labels are numbers, 3 different ones for 15 photos" in warning
    index = load_index(number_table(tmp_path, ["1.5", "2.5"], 5))
    (warning,) = index.warnings
    assert "labels are numbers, 2 different ones" in warning and "write ranges" in warning
    index = load_index(number_table(tmp_path, [str(number) for number in range(12)], 2))
    assert "labels are numbers, 12 different ones" in index.warnings[0]


@pytest.mark.parametrize("values", [["0", "1"], ["1", "2", "3"], ["0", "1", "2", "4", "7"]])
def test_numbers_that_count_classes_are_classes(tmp_path: Path, values: list[str]) -> None:
    index = load_index(number_table(tmp_path, values, 2))
    assert index.class_names == tuple(values) and index.warnings == ()


def test_a_table_of_groups(tmp_path: Path) -> None:
    lines = [
        "path,label,group",
        "p/4.png,b, Rex ",
        "p/1.png,a,",
        "p/3.png,b,Rex",
        "p/2.png,a,Ti\u0301a",
    ]
    index = load_index(write_csv(tmp_path, "\n".join(lines)))
    assert index.paths == ("p/1.png", "p/2.png", "p/3.png", "p/4.png")
    assert index.groups == ("", "T\u00eda", "Rex", "Rex") and set(index.splits) == {""}
    assert index.select([3, 0]).groups == ("Rex", "")
    assert index.without({1: "is truncated"}).groups == ("", "Rex", "Rex")
    assert index.with_class_names(("b", "a")).groups == index.groups
    plain = load_index(write_csv(tmp_path, "\n".join(line.rpartition(",")[0] for line in lines)))
    assert plain.groups == ("",) * 4 and plain.digest() != index.digest()


def test_groups_stand_beside_given_parts(tmp_path: Path) -> None:
    text = "split,group,label,path\ntrain,1,a,p/1.png\ntrain,2,b,p/2.png\nval,3,a,p/3.png\n"
    index = load_index(write_csv(tmp_path, text + "val,3,b,p/4.png\n"))
    assert index.groups == ("1", "2", "3", "3") and index.splits[2:] == ("validation",) * 2
    with pytest.raises(DataError, match=r'"p/1\.png" is "a", "train", "1" and "a", "train", "2"'):
        load_index(write_csv(tmp_path, text + "train,2,a,p/1.png\nval,3,b,p/4.png\n"))


def test_absolute_paths_are_shown_without_what_they_share(tmp_path: Path) -> None:
    text = f"path,label\n{tmp_path}/p/1.png,a\n{tmp_path}/p/2.png,b\n"
    index = load_index(write_csv(tmp_path, text))
    assert index.paths == ("1.png", "2.png")
    assert index.read(1) == PNG + b"p/2.png"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has the columns none; expected path,label and"),
        ("file,class\nx,y\n", 'has the columns "file", "class"; expected path,label'),
        ("path,label,weight\np/1.png,a,3\n", 'has unknown columns "weight"; expected path,label'),
        ("path,label\np/1.png,a\np/9.png,b\n", '1 files that do not exist: "p/9.png"'),
        ("path,label\np/1.png,a\np/1.png,b\n", 'lines 2 and 3: "p/1.png" is "a" and "b"; keep one'),
        ("path,label\np/1.png,\n", "line 2: the label is empty"),
        ("path,label\n,a\n", "line 2: the path is empty"),
        ("path,label,split\np/1.png,a,half\n", "line 2: the split is 'half'; expected one of"),
        ("path,label\np/1.png,a\np/2.png,a\n", 'has one class, "a"'),
        ("path,label\np/1.png,a\np/2.png,nan\n", 'line 3: the label is "nan", which stands for'),
        ("path,label\np/1.png,1.5\np/2.png,NaN\n", 'line 3: the label is "NaN", which stands'),
    ],
)
def test_a_wrong_table_is_explained(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_index(write_csv(tmp_path, text))


def test_what_stands_for_an_empty_cell_is_no_group_and_no_part(tmp_path: Path) -> None:
    rows = "p/1.png,a,nan,NaN\np/2.png,b,nan,NaN\n"
    index = load_index(write_csv(tmp_path, f"path,label,split,group\n{rows}"))
    assert index.splits == index.groups == ("", "")


def test_a_table_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"path,label\n\xff\xfe")
    with pytest.raises(DataError, match=r"labels\.csv, line 2: it is not UTF-8 text"):
        load_index(tmp_path / "labels.csv")
