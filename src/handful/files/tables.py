"""Tables as people, spreadsheets and handful itself write them, read in one place.

Cells are any text, for file names are. What a spreadsheet would take for a formula is written
with an apostrophe before it, which reading takes off again.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handful.errors import DataError
from handful.files.atomic import read_regular, reason_of

MAX_BYTES = 1_000_000_000
MAX_CELL = 131_072  # characters; the csv module's own limit
_DELIMITERS = ",;\t"
_FORMULA = re.compile(r"'*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")
# Spreadsheets of another country divide a line at another of these.
_QUOTED = re.compile(r'[,;\t"\r\n]|^\s|\s$')
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Table:
    """A table with named columns.

    Args:
        names: Of the columns, in lower case.
        rows: Line of the file at which a row begins, and its cells by column. Rows of nothing are
            left out, and missing cells are "".
    """

    names: tuple[str, ...]
    rows: tuple[tuple[int, Mapping[str, str]], ...]


def read_table(path: Path, advice: str) -> Table:
    """Read a table of a user's: divided by commas, semicolons or tabs; UTF-8, or Excel's UTF-16.

    Args:
        path: The file.
        advice: What to do when it cannot be read; follows a semicolon.

    Returns:
        The table.

    Raises:
        DataError: When the file cannot be read or is no table; names the line.
    """
    try:
        rows = list(_rows(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason_of(error)}); {advice}.") from error
    except ValueError as error:
        raise DataError(f"{path}{error}; {advice}.") from error
    line, header = rows.pop(0) if rows else (1, [])
    names = [cell.strip().lower() for cell in header]
    while names and not names[-1]:  # spreadsheets keep columns that were emptied
        names.pop()
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f'{path}, line {line}: the column "{twice[0]}" is there twice; keep one.')
    for line, cells in rows:
        while len(cells) > len(names) and not cells[-1].strip():
            cells.pop()
        if len(cells) > len(names):
            raise DataError(
                f"{path}, line {line}: {len(cells)} cells, and the first line names {len(names)} "
                'columns; put a name that holds a comma, semicolon or tab between "quotes".'
            )
    padding = [""] * len(names)
    return Table(
        tuple(names),
        tuple(
            (line, dict(zip(names, cells + padding, strict=False)))
            for line, cells in rows
            if any(map(str.strip, cells))
        ),
    )


def read_csv(path: Path) -> list[list[str]]:
    """Read a table that `write_csv` wrote.

    Args:
        path: The file.

    Returns:
        Cells of each row, the names of the columns first.

    Raises:
        OSError: When it cannot be read.
        ValueError: When it is no table.
    """
    try:
        return [cells for _, cells in _rows(path, ",")]
    except ValueError as error:
        raise ValueError(str(error).lstrip(", ")) from error


def _rows(path: Path, delimiter: str = "") -> Iterator[tuple[int, list[str]]]:
    """Number of the line at which each row begins, and its cells.

    Raises ValueError with a clause that follows the path, the line first.
    """
    text = _decode(read_regular(path, MAX_BYTES))
    if "\0" in text:
        number = 1 + text.count("\n", 0, text.index("\0"))
        raise ValueError(f", line {number}: it holds a null character, so it is no text")
    skipped = 0
    if line := re.match(r'"?sep=([,;\t])"?\r?\n', text):  # Excel's own way to name the delimiter
        text, skipped = text[line.end() :], 1
        delimiter = delimiter or line[1]
    header = re.sub(r'"[^"]*"', "", text.partition("\n")[0])
    delimiter = delimiter or max(_DELIMITERS, key=header.count)
    # People write a space after a comma; before a quote it would make that a letter of the cell.
    spaced = re.search(rf'{delimiter} +"', text) is not None
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=spaced)
    while True:
        first = skipped + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(f", line {first}: {_problem(error)}") from error
        if cells:
            yield first, [_plain(cell) for cell in cells]


def write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write a table for `read_csv` and `read_table`, and for spreadsheets.

    Args:
        path: File to write.
        rows: Cells of each row, the names of the columns first. Texts that begin as a formula
            does get an apostrophe before them; numbers are numbers.

    Raises:
        OSError: When it cannot be written.
    """
    # A file name that is no valid text has surrogates for the bytes in question.
    with path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        file.writelines(map(row_line, rows))


def row_line(row: Sequence[Any]) -> str:
    """Write one row of a table.

    Args:
        row: Its cells.

    Returns:
        A line, with its end.
    """
    return (",".join(map(_cell, row)) or '""') + "\n"


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    if isinstance(value, str) and _FORMULA.match(text):
        text = "'" + text
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def _plain(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell) else cell


def _decode(data: bytes) -> str:
    """Text of a table; refuses what would have to be guessed."""
    try:
        if data.startswith(_UTF_16):
            return data.decode("utf-16")
        return data.decode("utf-8-sig", "surrogatepass")
    except UnicodeDecodeError as error:
        if data.startswith(_UTF_16):
            raise ValueError(" is damaged: it begins as UTF-16 text and goes on as none") from error
        number = 1 + data.count(b"\n", 0, error.start)
        raise ValueError(
            f", line {number}: it is not UTF-8 text; in a spreadsheet, save it as CSV UTF-8"
        ) from error


def _problem(error: csv.Error) -> str:
    words = str(error)
    if "field limit" in words:
        return f"a quote is never closed, or a cell has over {MAX_CELL:,} characters"
    if "end of data" in words:
        return "a quote is never closed"
    if "expected after" in words:
        return "something follows a closing quote; write a quote inside a cell twice"
    return words
