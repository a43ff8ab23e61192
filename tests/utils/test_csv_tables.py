"""The reader of CSV files: what it refuses, in one line that says what to change, and what its limits are."""

import os
import tracemalloc

import pytest

from medclf.utils.csv_tables import read_csv, read_frame, read_numbers
from medclf.utils.errors import ConfigError, DataError
from medclf.utils.file_limits import TABLE_CELLS


@pytest.fixture
def table(tmp_path):
    def table(content):
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return table


def refusal(path):
    with pytest.raises(DataError) as error:
        read_csv(path, "table.csv")
    return str(error.value)


def test_cells_are_text_and_rows_are_numbered_as_in_a_spreadsheet(table):
    found = read_csv(table('\ufeffpath,,note\r\n1.png,0,"a, ""b""\nc"\r\n\r\n2.png,1, NA \r\n'))
    assert found.columns == ["path", "note"]  # pandas writes its index under no name
    assert found.rows == [["1.png", 'a, "b"\nc'], ["2.png", " NA "]]
    assert found.numbers == [2, 4]


SHORT = "".join(f"{at}.png\n" if at % 5 == 0 else f"{at}.png,x\n" for at in range(40))
LONG = "".join(f"{at}.png,left, breast,p\n" if at % 8 == 3 else f"{at}.png,x,p\n" for at in range(40))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,label\n" + SHORT, ": 8 rows have 1 cell, the header has 2: rows 2, 7, 12, 17, 22 and 3 more; complete "
         "or remove them"),
        ("path,label,patient\n" + LONG, ": 5 rows have 4 cells, the header has 3: rows 5, 13, 21, 29, 37; put a value "
         "that holds a comma in double quotes"),
        ("path,label\n1.png,x\n2.png,\"y\n" + SHORT, ", row 3: a quote is opened and never closed"),
        ("path,label\n1.png,\"" + "x" * 140_000, ", row 2: a cell has over 131,072 characters; is a quote opened and "
         "never closed?"),
        ('path,label\n1.png,"x"y\n', ", row 2: text follows a closing quote; double each quote within a quoted cell"),
        ("path,label,label\n1.png,x,y\n", ": column 'label' occurs more than once; rename or remove one"),
        (",\n1.png,x\n", ": no column has a name; the first row must name the columns"),
        ("path,label\n1.png,\0\n", ", line 2: holds a NUL byte; the file is damaged or is not a table"),
        ("path,label\n", ": has a header but no rows"),
        ("\n\n", ": is empty; a table needs a header and rows"),
        (b"path,label\n\xe4.png,x\n", ": is not UTF-8 text (byte 0xe4); save it as CSV UTF-8"),
        ("path,label\n1.png,x\n".encode("utf-16"), ": is UTF-16 text; save it as CSV UTF-8"),
    ],
)  # fmt: skip
def test_a_broken_table_is_refused_in_one_short_message(table, content, message):
    assert refusal(table(content)) == f"table.csv{message}"


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    assert refusal(tmp_path / "pipe.csv") == "table.csv: is a named pipe, not a file"
    assert refusal(tmp_path / "zero.csv") == "table.csv: is a device, not a file"
    assert refusal(tmp_path) == "table.csv: is a folder, not a file"
    assert refusal(tmp_path / "none.csv") == "table.csv: there is no such file"
    assert refusal(tmp_path / ("x" * 300)) == "table.csv: cannot be read: File name too long"


@pytest.mark.parametrize("content", ["a,b\n" + "1,2\n" * 60, "a,b\n" + "," * 120, "a,b\n1," + "x" * 2000])
def test_a_table_over_the_limit_is_refused_with_the_line_that_allows_it(table, content, monkeypatch):
    monkeypatch.setenv(TABLE_CELLS.variable, "100")
    path = table(content)
    message = refusal(path)
    assert "over 100 cells" in message or "has 2,006 bytes, over 1,600" in message
    variable, _, number = message.rpartition("export ")[2].partition("=")
    monkeypatch.setenv(variable, number)
    if "2,006" in message or "1,2" in content:
        assert len(read_csv(path).rows) in (1, 60)


def test_a_limit_that_is_no_number_is_refused(table, monkeypatch):
    monkeypatch.setenv(TABLE_CELLS.variable, "many")
    with pytest.raises(ConfigError, match="MEDCLF_MAX_TABLE_CELLS=many: must be a whole number above 0"):
        read_csv(table("a\n1\n"))


def test_a_row_of_commas_is_refused_before_it_becomes_cells(table, monkeypatch):
    monkeypatch.setenv(TABLE_CELLS.variable, "1000000")
    path = table("a,b\n" + "," * 10_000_000)
    tracemalloc.start()
    assert "over 1,000,000 cells" in refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6  # its cells alone are 80 MB


def test_tables_that_medclf_wrote_are_checked_for_their_columns(table):
    assert read_frame(table("path,split\n1.png,NA\n"), ["path"]).to_numpy().tolist() == [["1.png", "NA"]]
    with pytest.raises(
        DataError, match=r"table.csv: has no column 'split'; did you mean 'spilt'\? Columns: path, spilt"
    ):
        read_frame(table("path,spilt\n1.png,NA\n"), ["path", "split"])


def test_numbers_are_parsed_as_pandas_does(table):
    frame = read_numbers(table("epoch,val/loss\n0,0.1\n1,\n"))
    assert frame["epoch"].tolist() == [0, 1]
    assert frame["val/loss"].isna().tolist() == [False, True]
    with pytest.raises(DataError, match="1 row has 1 cell"):
        read_numbers(table("epoch,val/loss\n0\n"))
