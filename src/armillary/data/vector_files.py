"""Vectors and targets in files of a user's: arrays (.npy), or tables of text with a header (.csv, .tsv).

Rows are counted from 1, a header not among them. Legend: N rows, E numbers a vector.
"""

import math
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from armillary.data.tables import (
    TABLES,
    TextTable,
    decimal_mark,
    is_number,
    listed_names,
    number_in,
    plain_numbers,
    read_table,
)
from armillary.errors import UsageError
from armillary.files import numbered_lines

Task = Literal["classify", "regress", "describe"]
Vectors = NDArray[np.float64]

MOST_CLASSES = 20
"""Different texts that are still taken for names of classes: each needs demonstrations in every prompt."""

_COLUMN = re.compile(r"(?P<file>.+?\.[ct]sv):(?P<column>.+)", re.IGNORECASE)
"""A column of a file; the name of a column may hold colons and that of a file, before its ending, too."""

_NAMELESS = re.compile(r"(?:Unnamed: ?\d+.*)?")
"""What pandas calls the column of its row numbers when it writes them, and when it reads them back."""

_NO_LINES = (".npy", ".npz", ".json", ".jsonl", ".parquet", ".xlsx")
"""Endings of files that hold no plain lines."""

_ID_NAME = re.compile(r"(?:(?i:[\W_]id)|[a-z]I[dD])$")
_ROW_NAMES = {"id", "index", "idx", "level_0", "row", "row_id", "rowid", "rownum", "nr", "no", "#"}
"""Columns of numbers, all different, under these names or one such as sample_id tell rows apart and are no part of a
vector."""

_LIKE_LIST = re.compile(
    r"(?:[\w.]*(?:array|tensor)\()?\s*\[[^\d]{0,20}\d.*[\])]"  # of NumPy, PyTorch, JSON
    r"|\((?:\s*(?:[\w.]+\()?[-+.\de]+\)?\s*,)+[^,]*\)"  # a tuple
    r"|\{?(?:[-+.\de]+[,;|\s]+){7,}[-+.\de]+\}?",  # eight numbers or more without brackets, or in those of databases
    re.DOTALL,
)
_LIST = re.compile(r"(?:[\w.]*(?:array|tensor)\()?\s*[\[({]?([^\[\](){}]*)[\])}]?(?:,\s*\w+=[^,()]+)*\)?", re.ASCII)


@dataclass(frozen=True, eq=False, kw_only=True)
class VectorFile:
    """What was read, ``[n, e]`` float64 and finite, with the names of its columns where it had any."""

    vectors: Vectors
    columns: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None
    """One text a row; None where none were asked for."""

    separator: str = ","
    """Between the cells of the file that the targets are from."""


def read_labelled(path: Path | str, targets: str) -> VectorFile:
    """Vectors with a target each. Of a table ``targets`` names a column; the vector is the one column of lists of
    numbers, else all other columns of numbers. Columns that are left out are told by a warning. For a .npy ``targets``
    is a text file with one target a line, or FILE.csv:COLUMN.

    UsageError for files that can't be read or aren't tables of finite numbers, for unknown and nameless columns, other
    numbers of targets than of rows, and an empty target.
    """
    path = Path(path)
    if path.suffix.lower() in TABLES:
        table = _table(path)
        texts = table.column(targets)
        columns, notes = _own_columns(table, targets)
        if not columns:
            others = "".join(f" ({note.removesuffix('.')})" for note in notes)
            raise UsageError(
                f"{path} has no column of numbers beside the target {targets!r}{others}; vectors need one."
            )
        for note in notes:
            warnings.warn(f"{path}: {note}", UserWarning, stacklevel=2)
        file = VectorFile(
            vectors=_values(table, columns), columns=columns, targets=tuple(texts), separator=table.separator
        )
    else:
        vectors = _array(path)
        texts, separator = _targets(targets)
        if len(texts) != len(vectors):
            raise UsageError(f"{path} has {len(vectors)} rows and {targets} has {len(texts)} targets; give one each.")
        file = VectorFile(vectors=vectors, targets=tuple(texts), separator=separator)
    for number, text in enumerate(texts, 1):
        if not text.strip():
            raise UsageError(f"the target of row {number} is empty; each row needs one.")
    return file


def targets_file(targets: str) -> Path:
    """The file that ``targets`` names for a .npy: FILE, or that of FILE.csv:COLUMN."""
    named = _COLUMN.fullmatch(targets)
    return Path(targets if named is None else named["file"])


def read_vectors(
    path: Path | str, *, columns: Sequence[str] | None = None, target: str | None = None, size: int | None = None
) -> VectorFile:
    """Vectors alone. Of a table these ``columns`` in their order, else those that ``read_labelled`` would take.

    UsageError as ``read_labelled``, for columns that are missing, and for vectors of another ``size``. A warning tells
    of other columns of numbers.
    """
    path = Path(path)
    if path.suffix.lower() in TABLES:
        table = _table(path, columns)
        names = tuple(columns) if columns is not None else _own_columns(table, target)[0]
        missing = [name for name in names if name not in table.columns]
        if missing:
            raise UsageError(f"{path} has no column {missing[0]!r}; expected are {listed_names(names)}.")
        others = [name for name in table.columns if name not in (*names, target)]
        others = [name for name in others if table.columns.count(name) == 1 and _share(table.column(name))]
        if columns is not None and others:
            note = f"{path}: not in the vectors, which have the columns of the fit: {listed_names(others)}."
            warnings.warn(note, UserWarning, stacklevel=2)
        vectors = _values(table, names)
    else:
        names, vectors = (), _array(path)
    if size is not None and vectors.shape[1] != size:
        raise UsageError(f"{path} has vectors of {vectors.shape[1]} numbers; {size} are expected.")
    return VectorFile(vectors=vectors, columns=names or None)


def task_of(targets: Sequence[str]) -> tuple[Task, str]:
    """What kind of target these texts are, and why, in words.

    At most ``MOST_CLASSES`` different texts that come twice or more on the mean are classes; numbers alone are values;
    all else is described.
    """
    different = len(set(targets))
    if different <= MOST_CLASSES and 2 * different <= len(targets):
        return "classify", f"{different} different targets that repeat"
    if not all(map(is_number, targets)):
        return "describe", f"{different} different targets that are not all numbers"
    return "regress", f"{different} different targets, all numbers"


def numbers_of(targets: Sequence[str], separator: str = ",") -> list[float]:
    """The targets as numbers; ``separator`` stood between cells (``decimal_mark``). UsageError, naming the row, for
    one that is none, or is not finite."""
    mark = decimal_mark(targets, "the column of targets", separator)
    values = []
    for number, text in enumerate(targets, 1):
        value = number_in(text, mark)
        if value is None:
            raise UsageError(f"the target of row {number} is {text!r}, which is not a number.")
        if not math.isfinite(value):
            raise UsageError(f"the target of row {number} is {text!r}; targets must be finite.")
        values.append(value)
    return values


def held_out_rows(targets: Sequence[str], share: float, most: int, seed: int, *, of_each: bool) -> list[int]:
    """Indices of rows to be kept from training, in ascending order: this ``share`` of them, ``most`` at most.

    With ``of_each`` the share is taken of every target that comes twice or more, at least one row, and one row at
    least of each stays for training. UsageError where nothing or everything would be held out.
    """
    generator = np.random.default_rng(seed)
    share = min(share, most / len(targets))
    groups: dict[str, list[int]] = {}
    for index, text in enumerate(targets):
        groups.setdefault(text if of_each else "", []).append(index)
    ranked: list[tuple[float, int]] = []
    for rows in groups.values():
        taken = min(max(1, round(share * len(rows))), len(rows) - 1)
        chosen = [rows[i] for i in generator.permutation(len(rows))[:taken]]
        # A row's rank is the share of its group up to it, so that a cut takes from all groups alike.
        ranked += [((order + 0.5) / len(rows), index) for order, index in enumerate(chosen)]
    kept = sorted(index for _, index in sorted(ranked)[:most])
    if not kept:
        raise UsageError(f"{len(targets)} rows are too few to hold some out; give two or more (of a class).")
    return kept


def usual(targets: Sequence[str]) -> str:
    """The most frequent target; of several the first in order."""
    counts = Counter(targets)
    return min(counts, key=lambda text: (-counts[text], text))


def _targets(targets: str) -> tuple[list[str], str]:
    """Lines of a text file, or a column of a table; and what parts its cells."""
    named = _COLUMN.fullmatch(targets)
    if named is not None:
        table = read_table(named["file"])
        return table.column(named["column"]), table.separator
    if Path(targets).suffix.lower() in TABLES:
        raise UsageError(f"which column of {targets} are the targets? Give {targets}:COLUMN.")
    if Path(targets).suffix.lower() in _NO_LINES:
        raise UsageError(f"targets are read from a text file, one a line, or as FILE.csv:COLUMN; got {targets}.")
    return [line for _, line in numbered_lines(targets, blank=True)], ","


def _array(path: Path) -> Vectors:
    if path.suffix.lower() != ".npy":
        raise UsageError(f"{path} is neither a .npy nor a .csv or .tsv file; vectors are read from these.")
    try:
        # From an open file, so that an archive under this name is let go of.
        with path.open("rb") as file:
            array = np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}.") from None
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} can't be read as a table of numbers ({' '.join(str(error).split())}).") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise UsageError(f"{path} holds no table of real numbers.")
    vectors = _checked(np.ascontiguousarray(array, dtype=np.float64), path)
    if array.dtype.kind in "iu" and (large := np.argwhere(np.abs(vectors) >= 2**53)).size:
        row = large[0][0] + 1
        raise UsageError(f"row {row} of {path} holds a whole number of 2**53 or more, which loses its last digits.")
    return vectors


def _checked(vectors: Vectors, path: Path) -> Vectors:
    if vectors.ndim != 2:
        raise UsageError(f"{path} must have two dimensions, one row a vector; it has shape {vectors.shape}.")
    if not vectors.size:
        raise UsageError(f"{path} holds no vectors; its shape is {vectors.shape}.")
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise UsageError(f"row {bad[0] + 1} of {path} holds NaN, infinity or nothing; vectors must be finite.")
    return vectors


# Which columns of a table are the vector, and the numbers in them.


def _table(path: Path, wanted: Sequence[str] | None = None) -> TextTable:
    """A table with rows and names; UsageError for a header that is none, unless it holds all the names ``wanted``."""
    table = read_table(path)
    if not table.rows:
        raise UsageError(f"{path} needs a line with the columns' names and one row or more.")
    if wanted is not None and set(wanted) <= set(table.columns):
        return table
    # Columns 0, 1, 2, ... are what pandas calls those of an array.
    if all(map(is_number, table.columns)) and table.columns != tuple(map(str, range(len(table.columns)))):
        raise UsageError(f"{path} begins with numbers; its first line must name the columns.")
    nameless = [place for place, name in enumerate(table.columns, 1) if _NAMELESS.fullmatch(name)]
    if nameless:
        raise UsageError(
            f"column {nameless[0]} of {path} has no name, as where pandas or R write row numbers; leave it out "
            "(index=False, row.names=FALSE), or name it if it belongs to the vectors."
        )
    if len(set(table.columns)) < len(table.columns):
        table.column(next(name for name in table.columns if table.columns.count(name) > 1))  # which refuses it
    return table


def _own_columns(table: TextTable, target: str | None) -> tuple[tuple[str, ...], list[str]]:
    """The columns that are the vector where none are named, and sentences on those that are not."""
    cells = {name: table.column(name) for name in table.columns if name != target}
    plain = [name for name, column in cells.items() if plain_numbers(column) is not None]
    lists = [name for name, column in cells.items() if name not in plain and _holds_lists(column)]
    if len(lists) > 1:
        raise UsageError(f"{table.path} has several columns of lists, {listed_names(lists)}; leave one.")
    numeric = [name for name in cells if name in plain or (name not in lists and _share(cells[name]) >= 0.5)]
    named = [name for name in numeric if name.casefold() in _ROW_NAMES or _ID_NAME.search(name)]
    rows = [name for name in named if len(set(cells[name])) == len(table.rows)]
    chosen = tuple(lists or [name for name in numeric if name not in rows])
    others = [name for name in cells if name not in (*chosen, *numeric)]
    beside = [name for name in numeric if lists and name not in rows]
    notes = [
        (others, f"not in the vectors, without numbers: {listed_names(others)}."),
        (rows, f"not in the vectors, numbers of rows: {listed_names(rows)}."),
        (beside, f"the vectors are the lists of {listed_names(lists)}, without {listed_names(beside)}."),
    ]
    return chosen, [note for names, note in notes if names]


def _share(cells: Sequence[str]) -> float:
    """Share of numbers among the cells that are not empty."""
    filled = [cell for cell in cells if cell.strip()]
    return sum(map(is_number, filled)) / len(filled) if filled else 0.0


def _holds_lists(cells: Sequence[str]) -> bool:
    """Whether more than half of the cells look like lists of numbers."""
    filled = [cell.strip() for cell in cells if cell.strip()]
    return 2 * sum(bool(_LIKE_LIST.fullmatch(cell)) for cell in filled) > len(filled)


def _numbers_of_list(cell: str) -> list[float] | None:
    """The numbers of "[0.1, 0.2]" and its like; None where it is another text, or commas may be decimal ones."""
    match = _LIST.fullmatch(cell.strip())
    if match is None:
        return None
    spaced = {sign != "," for sign in re.findall(r",\s*", match[1])}
    values = [number_in(item) for item in (match[1].split(",") if spaced else match[1].split())]
    return None if len(spaced) > 1 or None in values else [value for value in values if value is not None]


def _values(table: TextTable, names: Sequence[str]) -> Vectors:
    """These columns, ``[n, e]``; UsageError naming the row of a cell that is no number, or no list like the others."""
    cells: Mapping[str, list[str]] = {name: table.column(name) for name in names}
    if len(names) == 1 and _holds_lists(cells[names[0]]):
        lists = [_numbers_of_list(cell) for cell in cells[names[0]]]
        for number, (cell, values) in enumerate(zip(cells[names[0]], lists, strict=True), 1):
            if not values or len(values) != len(lists[0] or ()):
                shown = cell if len(cell) < 40 else f"{cell[:36]} ..."
                raise UsageError(
                    f"column {names[0]!r} of {table.path} holds {shown!r} in row {number}; it needs lists of numbers, "
                    "all as long as the first, such as [0.1, 0.2]."
                )
        return _checked(np.array(lists, dtype=np.float64), table.path)
    plain = {name: plain_numbers(column) for name, column in cells.items()}
    others = [cell for name in names if plain[name] is None for cell in cells[name]]
    pointed = [cell for name in names if plain[name] is not None for cell in cells[name] if others and "." in cell]
    mark = decimal_mark([*pointed[:1], *others], str(table.path), table.separator)
    out = np.full((len(table.rows), len(names)), np.nan)
    for position, (name, column) in enumerate(cells.items()):
        if plain[name] is not None:
            out[:, position] = plain[name]
            continue
        for number, cell in enumerate(column, 1):
            value = number_in(cell, mark)
            if value is None and cell.strip():
                what = "digits that a number loses, or signs between thousands" if is_number(cell) else "no number"
                raise UsageError(f"column {name!r} of {table.path} holds {cell!r} in row {number}: {what}.")
            out[number - 1, position] = np.nan if value is None else value
    return _checked(out, table.path)
