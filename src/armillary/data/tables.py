"""Tables in text files of a user's, in the dialects of spreadsheets, pandas and R: cells as text, and numbers in them.

Cells are parted by commas, semicolons or tabs, whichever gives every row as many as the header; a first line
``sep=;`` says which. Rows count from 1, the header not among them.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from armillary.errors import UsageError
from armillary.files import read_text

TABLES = (".csv", ".tsv")
"""Endings of files that are read as tables."""

Mark = Literal[".", ","]
"""Sign before the decimals of a number."""

_SEPARATORS = ",;\t"
_NAMED = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_POINT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|[+-]?(?:nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_COMMA = re.compile(r"[+-]?(?:\d+,\d*|,\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_GROUPED = re.compile(
    r"[+-]?[1-9]\d{0,2}(?:(?:[,'\u2019]\d{3})+"
    r"|(?P<sign>[,.'\u2019 \u00a0\u202f])\d{3}(?:(?P=sign)\d{3})*(?!(?P=sign))[.,]\d+)",
    re.ASCII,
)
"""What may have thousands separators."""

_PLAIN = re.compile(r"(?:[+-]?\d{1,15}(?:\.\d*)?(?:e[+-]?\d+)?\n)+", re.ASCII | re.IGNORECASE)
"""A whole column that needs no second look."""

_LONGEST_CELL = 2**31 - 1


@dataclass(frozen=True, eq=False)
class TextTable:
    """Rows of text under names of columns; every row has a cell for each."""

    path: Path
    columns: tuple[str, ...]
    """Without white space around them; a name may be empty or come twice."""

    rows: list[list[str]]
    lines: list[int]
    """Line of the file on which each row begins."""

    separator: str

    def column(self, name: str) -> list[str]:
        """The cells under a name. UsageError where no column or several have it."""
        if name not in self.columns:
            listed = listed_names(self.columns)
            hint = "; cells are parted by commas, semicolons or tabs" if len(self.columns) == 1 else ""
            raise UsageError(f"{self.path} has no column {name!r}; its columns are {listed}{hint}.")
        if self.columns.count(name) > 1:
            raise UsageError(f"{self.path} has two columns {name!r}; give them different names.")
        position = self.columns.index(name)
        return [row[position] for row in self.rows]


def read_table(
    path: Path | str, *, short_rows: bool = False, errors: Literal["strict", "replace"] = "strict"
) -> TextTable:
    """The table in a file.

    With ``short_rows`` cells may be missing at a row's end, where some spreadsheets leave empty ones out; they are
    empty. Raises as ``read_text``; UsageError, naming the row, for one with more or fewer cells than the header, for
    quotes that don't close, and where two separators would do.
    """
    text = read_text(path, errors=errors)
    end = "\n" if "\n" in text else "\r"
    first, _, rest = text.partition(end)
    named = _NAMED.fullmatch(first)
    if named is not None:
        text = end + rest  # so that lines count as in the file
    heading = next((line for line in io.StringIO(text, newline=end) if line.strip()), "")
    separators = [named[1]] if named else [sign for sign in _SEPARATORS if sign in heading] or [","]
    readings: dict[str, list[tuple[int, list[str]]]] = {}
    failure: csv.Error | None = None
    for separator in separators:
        try:
            readings[separator] = _records(text, end, separator)
        except csv.Error as error:
            failure = failure or error
    if not readings:
        raise UsageError(f"{path} can't be read as comma-separated text ({failure}).")
    widths = {sign: [len(cells) for _, cells in records] for sign, records in readings.items() if records}
    fitting = [sign for sign, numbers in widths.items() if numbers[0] > 1 and set(numbers) == {numbers[0]}]
    if len(fitting) > 1:
        signs = " or ".join(map(repr, fitting))
        raise UsageError(f"the cells of {path} may be parted by {signs}; say which in a first line, such as sep=,")
    separator = fitting[0] if fitting else max(readings, key=lambda sign: widths.get(sign, [0])[0])
    return _table(Path(path), readings[separator], separator, short_rows)


def _records(text: str, end: str, separator: str) -> list[tuple[int, list[str]]]:
    """The cells of each line that is not blank, and where it begins."""
    before = csv.field_size_limit(_LONGEST_CELL)  # an embedding written as text is longer than the usual limit
    reader = csv.reader(io.StringIO(text, newline=end), delimiter=separator, strict=True)
    records, line = [], 1
    try:
        for cells in reader:
            if cells:
                records.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        hint = "a carriage return stands alone in a line" if "new-line" in str(error) else str(error)
        raise csv.Error(f"line {line}: {hint}") from None
    finally:
        csv.field_size_limit(before)
    return records


def _table(path: Path, records: list[tuple[int, list[str]]], separator: str, short_rows: bool) -> TextTable:
    """The table with every row as long as the header, and without what is empty at its ends."""
    while len(records) > 1 and len(records[-1][1]) > 1 and not any(cell.strip() for cell in records[-1][1]):
        records.pop()
    if not records:
        raise UsageError(f"{path} is empty; it needs a line with the columns' names and one row or more.")
    columns = [name.strip() for name in records[0][1]]
    rows, lines = [cells for _, cells in records[1:]], [line for line, _ in records[1:]]
    # A separator at the end of every line, as some programs write it, is no column.
    while len(columns) > 1 and not columns[-1] and not any("".join(row[len(columns) - 1 :]).strip() for row in rows):
        columns.pop()
    width = len(columns)
    for number, row in enumerate(rows, 1):
        if len(row) < width and short_rows:
            row += [""] * (width - len(row))
        if len(row) < width or any(cell.strip() for cell in row[width:]):
            raise UsageError(
                f"row {number} of {path} has {len(row)} cells and its header {width} (line {lines[number - 1]})."
            )
        del row[width:]
    return TextTable(path, tuple(columns), rows, lines, separator)


def is_number(cell: str) -> bool:
    """Whether a cell is meant as a number: NaN, infinity and thousands with signs between them count, too."""
    return any(form.fullmatch(cell.strip()) for form in (_POINT, _COMMA, _GROUPED))


def plain_numbers(cells: Sequence[str]) -> list[float] | None:
    """The numbers of a column that are all written with a point, at once; None for any other, to be seen by cell."""
    return list(map(float, cells)) if _PLAIN.fullmatch("\n".join(cells) + "\n") else None


def decimal_mark(cells: Iterable[str], where: str, separator: str = ",") -> Mark:
    """The sign before the decimals of all numbers among the cells of ``where``.

    UsageError where points and commas are mixed, or where, with commas between the cells, each comma may part
    thousands.
    """
    given = [cell.strip() for cell in cells]
    commas = [cell for cell in given if _COMMA.fullmatch(cell)]
    if not commas:
        return "."
    point = next((cell for cell in given if "." in cell and _POINT.fullmatch(cell)), None)
    if point is not None:
        raise UsageError(
            f"{where} has numbers with a decimal point ({point!r}) and with a comma ({commas[0]!r}); write all with a "
            "point, and thousands without a sign."
        )
    if separator == "," and all(_GROUPED.fullmatch(cell) for cell in commas):
        raise UsageError(
            f"{where} has numbers such as {commas[0]!r}, where the comma may be a decimal comma or part thousands; "
            "write decimals with a point, and thousands without a sign."
        )
    return ","


def number_in(cell: str, mark: Mark = ".") -> float | None:
    """The number of a cell; None for any other text, and for a whole number that 64 bits of a float don't hold."""
    text = cell.strip()
    if mark == "," and _COMMA.fullmatch(text):
        text = text.replace(",", ".")
    if not _POINT.fullmatch(text):
        return None
    value = float(text)
    if abs(value) >= 2**53 and text.lstrip("+-").isdecimal() and abs(value) < float("inf") and int(text) != value:
        return None
    return value


def listed_names(names: Sequence[str]) -> str:
    """The first eight names in quotes, and how many more there are."""
    shown = ", ".join(repr(name) for name in names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
