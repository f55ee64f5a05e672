"""Sheets go out and come back by id; whatever a spreadsheet makes of them is read or refused by line."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from armillary.errors import UsageError
from armillary.methods.modeldiff.sheets import SheetRow, export_sheet, rate, rating_column, read_ratings

NAN = math.nan


def rows(*texts: str) -> list[SheetRow]:
    return [SheetRow(id=f"a-{number}", direction="a", text=text) for number, text in enumerate(texts)]


def cells(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def test_a_sheet_goes_out_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "sheet.csv"
    texts = ["plain", 'with, comma and "quotes"', "two\nlines", "Überraschung 猫", "end\r\nof line", *"fghij"]
    order = export_sheet(rows(*texts), path, seed=3)
    assert sorted(order) == sorted(f"a-{number}" for number in range(10)) and order != tuple(sorted(order))
    assert export_sheet(rows(*texts), path, seed=3) == order != export_sheet(rows(*texts), path, seed=4)
    export_sheet(rows(*texts), path, seed=3)
    head, *body = cells(path)
    assert head == ["id", "direction", "text", "rating"]
    assert [(line[0], line[2], line[3]) for line in body] == [(id, texts[int(id[2:])], "") for id in order]
    assert read_ratings(path, order) == {}
    filled = [[*line[:3], {"a-0": "1", "a-4": " 0.25 "}.get(line[0], "")] for line in body]
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *filled])
    assert read_ratings(path, order) == {"a-0": 1.0, "a-4": 0.25}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_no_text_reaches_a_spreadsheet_as_a_formula(start: str, tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    export_sheet(rows(f"{start}1+1", "a=b"), path)
    found = {line[0]: line[2] for line in cells(path)[1:]}
    assert found == {"a-0": f"'{start}1+1", "a-1": "a=b"}


def test_what_a_spreadsheet_makes_of_a_sheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_bytes('\ufeffID;Rating;text\r\na-1;0,5;"x;y"\r\n;;\r\na-2;;z\r\n'.encode())
    assert read_ratings(path) == {"a-1": 0.5}
    path.write_bytes("rating\tid\ttext\n1\ta-1\tna\xefve\n".encode("latin-1"))
    assert read_ratings(path) == {"a-1": 1.0}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id,text\na-1,x\n", "line 1: no column 'rating'"),
        ("", "is empty; it needs a line with"),
        ('id,text,rating\na-1,"two\nlines",1\na-2,x,1.5\n', r"line 4: a rating is a number from 0 .* got '1.5'"),
        ("id,rating\na-1,good\n", "line 2: a rating is a number"),
        ("id,rating\na-1,nan\n", "line 2: a rating is a number"),
        ("id,rating\na-1,\na-1,1\n", "line 3: the id 'a-1' comes twice"),
        ("id,rating\na-3,1\n", "line 2: the id 'a-3' is not one of the 2"),
    ],
)
def test_wrong_sheets_are_told_by_line(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_bytes(text.encode())
    with pytest.raises(UsageError, match=told):
        read_ratings(path, ["a-1", "a-2"])


def test_wrong_rows_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="given twice"):
        export_sheet([*rows("x"), *rows("y")], tmp_path / "sheet.csv")
    with pytest.raises(UsageError, match="must be a letter"):
        export_sheet([SheetRow("=1+1", "a", "x")], tmp_path / "sheet.csv")
    with pytest.raises(UsageError, match="nothing to rate"):
        export_sheet([], tmp_path / "sheet.csv")
    with pytest.raises(UsageError, match="there is no file of that name"):
        read_ratings(tmp_path / "none.csv")


def test_a_function_can_stand_in_for_people() -> None:
    found = rate({"a-1": "ab", "a-2": ""}, lambda text: len(text) / 2)
    assert found == {"a-1": 1.0, "a-2": 0.0}
    np.testing.assert_array_equal(rating_column(["a-2", "a-3", "a-1"], found), [0, NAN, 1])
    assert rate({"a-1": "x"}, lambda text: 1) == {"a-1": 1.0}
    with pytest.raises(UsageError, match=r"rater on 'a-1': .* got 2"):
        rate({"a-1": "x"}, lambda text: 2)
