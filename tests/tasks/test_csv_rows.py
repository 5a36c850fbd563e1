"""Tables in text: what stands between cells, numbers, and what is no table."""

from __future__ import annotations

from pathlib import Path

import pytest

from gnivo_edu.tasks.csv_rows import read_csv
from gnivo_edu.tasks.data_sets import load_rows


def rows_of(folder: Path, text: str, encoding: str = "utf-8") -> list[dict[str, object]]:
    path = folder / "some.csv"
    path.write_bytes(text.encode(encoding))
    return read_csv(path)


@pytest.mark.parametrize("between", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_cells_stand_between_commas_semicolons_or_tabs(
    between: str, encoding: str, tmp_path: Path
) -> None:
    lines = ["question|result", '"What is|so ""far""?"|4', "two\\n?|5", ""]
    text = "\r\n".join(lines).replace("|", between)
    assert rows_of(tmp_path, text, encoding) == [
        {"question": f'What is{between}so "far"?', "result": 4},
        {"question": "two\\n?", "result": 5},
    ]


def test_a_column_of_numbers_alone_is_numbers(tmp_path: Path) -> None:
    text = "a,b,c,d,e\n1,1.5,007,1,\n-2,2,8,x,\n,1e3,9,3\n"
    assert rows_of(tmp_path, text) == [
        {"a": 1, "b": 1.5, "c": "007", "d": "1", "e": None},
        {"a": -2, "b": 2.0, "c": "8", "d": "x", "e": None},
        {"a": None, "b": 1000.0, "c": "9", "d": "3", "e": None},
    ]
    assert [type(row["a"]) for row in rows_of(tmp_path, text)][:2] == [int, int]


def test_a_cell_may_run_over_lines_and_a_file_may_be_empty(tmp_path: Path) -> None:
    assert rows_of(tmp_path, '\na,b\n"one\ntwo",3\n') == [{"a": "one\ntwo", "b": 3}]
    assert rows_of(tmp_path, "") == rows_of(tmp_path, "a,b\n") == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2,3\n", "line 2 of .* has 3 cells, the head 2: put a cell that holds ','"),
        ("a,,c\n1,2,3\n", "line 1 of .* a column without a name"),
        ("a,b,a\n1,2,3\n", "line 1 of .* has the column 'a' twice"),
        ('a,b\n1,"two\n', "line 2 of .* is no CSV"),
    ],
)
def test_what_is_no_table_is_one_line_with_its_number(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says) as error:
        rows_of(tmp_path, text)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"line 2 of .* is not UTF-8"):
        rows_of(tmp_path, "a,b\nä,2\n", encoding="latin-1")


def test_a_data_set_may_be_such_a_table(tmp_path: Path) -> None:
    rows_of(tmp_path, "prompt,level\nHow?,3\n")
    assert load_rows(tmp_path / "some.csv", "train") == [{"prompt": "How?", "level": 3}]
