import codecs
import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handful.errors import DataError
from handful.files.tables import read_csv, read_table, row_line, write_csv

cells = st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=20)
cells |= st.text("'=+-@\t\r\n,;\"\uff1d a", max_size=6)


@pytest.mark.slow
@given(st.lists(st.lists(cells, min_size=2, max_size=2), min_size=1))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    path = tmp_path_factory.mktemp("tables") / "table.csv"
    write_csv(path, [["a", "b"], *rows])
    assert read_csv(path) == [["a", "b"], *rows]
    text = io.StringIO(path.read_bytes().decode("utf-8", "surrogatepass"), newline="")
    seen = [cell for row in csv.reader(text) for cell in row]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in seen)


def test_bytes_that_are_no_text_come_back(tmp_path: Path) -> None:
    rows = [["path", "label"], ["x\r.jpg", "y"], ["x\udcff.jpg", 'a "b",\nc\r'], ["ü.jpg", ""]]
    write_csv(tmp_path / "table.csv", rows)
    assert read_csv(tmp_path / "table.csv") == rows
    assert (tmp_path / "table.csv").read_bytes().startswith(b"path,label\n")


def test_no_cell_is_a_formula_and_numbers_are_numbers() -> None:
    row = ("=1+1", "+1", "-2+3", "@SUM(1)", "\t=1", "'=1", "'tis", "a=b", -0.5, 3, None, "a;=b")
    assert row_line(row) == ("'=1+1,'+1,'-2+3,'@SUM(1),\"'\t=1\",''=1,'tis,a=b,-0.5,3,,\"a;=b\"\n")


def table(path: Path, data: str | bytes) -> tuple[tuple[str, ...], list[tuple[int, list[str]]]]:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    found = read_table(path, "do this")
    return found.names, [(line, list(row.values())) for line, row in found.rows]


def test_tables_as_spreadsheets_write_them(tmp_path: Path) -> None:
    expected = (("path", "label"), [(2, ["ä.jpg", "x"]), (4, ["b\n.jpg", ""]), (6, ["c", "'"])])
    text = 'Path,LABEL \nä.jpg,x\n,\n"b\n.jpg"\nc,\'\n'
    for data in (
        text,
        text.replace("\n", "\r\n").replace("b\r\n", "b\n"),
        "\ufeff" + text,
        codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + text.replace(",", "\t").encode("utf-16-be"),
        text.replace(",", ";"),
        text.replace("\n", ",,\n").replace("b,,\n", "b\n"),
    ):
        assert table(tmp_path / "t.csv", data) == expected, data
    names, rows = table(tmp_path / "t.csv", 'sep=;\n"a,b,c,d";e\n1;2\n')
    assert names == ("a,b,c,d", "e") and rows == [(3, ["1", "2"])]
    assert table(tmp_path / "t.csv", "") == ((), [])
    spaced = table(tmp_path / "t.csv", '"a", "b, c"\n"1", "2, 3"\n')
    assert spaced == (("a", "b, c"), [(2, ["1", "2, 3"])])
    assert table(tmp_path / "t.csv", "a,b\n x, y\n") == (("a", "b"), [(2, [" x", " y"])])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ('a,b\n1,2\n"3,4\n5,6\n', "line 3: a quote is never closed; do this."),
        ('a,b\n1,2\n"3' + ",4\n5" * 50_000, "line 3: a quote is never closed, or a cell has over"),
        ("a,b\n1," + "x" * 200_000, "line 2: a quote is never closed, or a cell has over 131,072"),
        ('a,b\n"1"x,2\n', "line 2: something follows a closing quote"),
        ("a,b\n1,\0\n", "line 2: it holds a null character, so it is no text; do this."),
        ("a,b\n1,2,3\n", "line 2: 3 cells, and the first line names 2 columns; put a name"),
        ("a, A\n", 'line 1: the column "a" is there twice; keep one.'),
        ("a,b\nx,y\nGröße,x\n".encode("latin-1"), "line 3: it is not UTF-8 text; in a spreadsheet"),
        (b"\xff\xfea\x00\x00\xd8", "is damaged: it begins as UTF-16 text and goes on as none"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, data: str | bytes, words: str) -> None:
    with pytest.raises(DataError) as caught:
        table(tmp_path / "t.csv", data)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ValueError):
        read_csv(tmp_path / "t.csv")
        raise ValueError  # what only a table with named columns has to heed


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent", tmp_path / ("n" * 300)):
        with pytest.raises(DataError, match=r"cannot be read \(.+\); do this\.$"):
            read_table(path, "do this")
