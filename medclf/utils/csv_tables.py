"""The one reader of CSV files: every cell as text, within limits, from regular files only."""

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from medclf.utils.errors import DataError, format_list, suggest
from medclf.utils.file_limits import BYTES_PER_CELL, TABLE_CELLS
from medclf.utils.regular_files import NotRegularFileError, open_regular

if TYPE_CHECKING:
    import pandas as pd

DELIMITER = ","
SHOWN = 5
"""Row numbers that a message names."""


@dataclass(frozen=True)
class CsvTable:
    """A table of text: every row has one cell for each column. Columns without a name are left out.

    ``columns`` are unique. ``numbers`` has the number of each row as a spreadsheet shows it; the header is row 1.
    """

    columns: list[str]
    rows: list[list[str]]
    numbers: list[int] = field(repr=False)


def read_csv(path: Path, name: str | None = None, max_cells: int | None = None) -> CsvTable:
    """Read a CSV file: UTF-8, separated by commas, a header in its first row. Blank lines are skipped.

    Args:
        path: the file.
        name: what messages call it; None: its path.
        max_cells: rows times columns that it may have; None: ``MEDCLF_MAX_TABLE_CELLS``.

    Raises:
        DataError: if it is not a regular file, is too large, is not text, has no rows, a quote that is not closed, a
            column name that occurs twice, or rows with more or fewer cells than the header.
    """
    shown = str(path) if name is None else name
    cells = TABLE_CELLS.value if max_cells is None else max_cells
    try:
        with open_regular(path) as file:
            _check_size(file, shown, cells * BYTES_PER_CELL)
            rows = _rows(_lines(file, shown, cells), shown, cells)
            _, header = next(rows, (0, []))
            if not header:
                raise DataError(f"{shown}: is empty; a table needs a header and rows")
            _check_header(header, shown)
            numbered = list(_whole_rows(rows, len(header), shown))
    except NotRegularFileError as error:
        raise DataError(f"{shown}: is {error.strerror}") from error
    except FileNotFoundError as error:
        raise DataError(f"{shown}: there is no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise DataError(f"{shown}: cannot be read: {getattr(error, 'strerror', None) or 'invalid path'}") from error
    if not numbered:
        raise DataError(f"{shown}: has a header but no rows")
    return _without_unnamed(header, [row for _, row in numbered], [number for number, _ in numbered])


def read_frame(path: Path, needed: Sequence[str]) -> "pd.DataFrame":
    """Read a table that medclf wrote, every cell as text.

    Args:
        path: of the CSV file.
        needed: names of the columns that it must have.

    Raises:
        DataError: as ``read_csv`` does, and for a missing column.
    """
    import pandas as pd  # half a second, which readers of plain rows do not pay

    # such a file repeats a table that was within the limit, with some columns of ours
    table = read_csv(path, max_cells=2 * TABLE_CELLS.value)
    require_columns(table.columns, needed, str(path))
    return pd.DataFrame(table.rows, columns=table.columns, dtype=str)


def read_numbers(path: Path) -> "pd.DataFrame":
    """Read a table of numbers that medclf wrote, such as history.csv; pandas finds the type of each column.

    Raises:
        DataError: as ``read_csv`` does.
    """
    import pandas as pd

    read_csv(path)  # within the limits, and a table
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a table of numbers") from error


def require_columns(columns: Sequence[str], needed: Sequence[str], name: str) -> None:
    """Raise DataError if a table lacks one of the columns, naming it, the nearest one and those that there are."""
    missing = [column for column in needed if column not in columns]
    if missing:
        raise DataError(
            f"{name}: has no column '{missing[0]}'; {suggest(missing[0], columns)}"
            f"Columns: {format_list(columns) or 'none'}"
        )


def _check_size(file: IO[bytes], shown: str, most: int) -> None:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if size > most:
        raise DataError(f"{shown}: has {size:,} bytes, over {most:,}; {TABLE_CELLS.remedy(-(-size // BYTES_PER_CELL))}")


def _lines(file: IO[bytes], shown: str, cells: int) -> Iterator[str]:
    """Yield the lines of a file, each checked before it is cut into cells."""
    if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise DataError(f"{shown}: is UTF-16 text; save it as CSV UTF-8")
    file.seek(0)
    left = cells * BYTES_PER_CELL  # counted too, since a file can grow while it is read
    try:
        for number, line in enumerate(io.TextIOWrapper(file, "utf-8-sig", newline=""), start=1):
            left -= len(line)
            count = line.count(DELIMITER) + 1
            if "\0" in line:
                raise DataError(f"{shown}, line {number}: holds a NUL byte; the file is damaged or is not a table")
            if count > cells or left < 0:
                raise DataError(f"{shown}, line {number}: over {cells:,} cells; {TABLE_CELLS.remedy(2 * count)}")
            yield line
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise DataError(f"{shown}: is not UTF-8 text (byte 0x{byte:02x}); save it as CSV UTF-8") from error


def _rows(lines: Iterator[str], shown: str, cells: int) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not blank with its number, and stop where there are more cells than allowed."""
    reader = csv.reader(lines, delimiter=DELIMITER, strict=True)
    number, total = 0, 0
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{shown}, row {number + 1}: {_reason(str(error))}") from error
        if row is None:
            return
        number += 1
        total += len(row)
        if total > cells:
            raise DataError(f"{shown}, row {number}: over {cells:,} cells; {TABLE_CELLS.remedy(2 * total)}")
        if row:
            yield number, row


def _reason(message: str) -> str:
    """Return what an error of the csv module means."""
    if "field limit" in message:
        return f"a cell has over {csv.field_size_limit():,} characters; is a quote opened and never closed?"
    if "unexpected end" in message:
        return "a quote is opened and never closed"
    return "text follows a closing quote; double each quote within a quoted cell"


def _check_header(header: list[str], shown: str) -> None:
    named = Counter(name for name in header if name.strip())
    if not named:
        raise DataError(f"{shown}: no column has a name; the first row must name the columns")
    twice = [name for name, count in named.items() if count > 1]
    if twice:
        raise DataError(
            f"{shown}: column {format_list(map(repr, twice), SHOWN)} occurs more than once; rename or remove one"
        )


def _whole_rows(rows: Iterator[tuple[int, list[str]]], width: int, shown: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows, and raise at the end if some have more or fewer cells than the header."""
    wrong: dict[int, list[int]] = {}
    for number, row in rows:
        if len(row) == width:
            yield number, row
        else:
            wrong.setdefault(len(row), []).append(number)
    if wrong:
        raise DataError(f"{shown}: {'; '.join(_wrong_rows(wrong, width))}")


def _wrong_rows(wrong: dict[int, list[int]], width: int) -> Iterator[str]:
    for count, numbers in sorted(wrong.items())[:SHOWN]:
        rows, have = ("rows", "have") if len(numbers) > 1 else ("row", "has")
        place = f"{rows} {format_list(numbers, SHOWN)}"
        yield f"{len(numbers)} {rows} {have} {_cells(count)}, the header has {width}: {place}"
    if max(wrong) > width:
        yield "put a value that holds a comma in double quotes"
    else:
        yield "complete or remove them"


def _cells(count: int) -> str:
    return f"{count} cell{'' if count == 1 else 's'}"


def _without_unnamed(header: list[str], rows: list[list[str]], numbers: list[int]) -> CsvTable:
    kept = [place for place, name in enumerate(header) if name.strip()]
    if len(kept) < len(header):
        rows = [[row[place] for place in kept] for row in rows]
    return CsvTable([header[place] for place in kept], rows, numbers)
