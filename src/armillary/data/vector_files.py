"""Vectors and targets in files of a user's: tables of numbers (.npy), or comma-separated text with a header (.csv).

Rows are counted from 1, a header not among them. Legend: N rows, E numbers a vector.
"""

import csv
import io
import math
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from armillary.errors import UsageError
from armillary.files import read_text

Task = Literal["classify", "regress", "describe"]
Vectors = NDArray[np.float64]

MOST_CLASSES = 20
"""Different texts that are still taken for names of classes: each needs demonstrations in every prompt."""

_COLUMN = re.compile(r"(?P<file>.+?\.csv):(?P<column>.+)", re.IGNORECASE)
"""A column of a file; the name of a column may hold colons and that of a file, before its ending, too."""


@dataclass(frozen=True, eq=False, kw_only=True)
class VectorFile:
    """What was read, ``[n, e]`` float64 and finite, with the names of its columns where it had any."""

    vectors: Vectors
    columns: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None
    """One text a row; None where none were asked for."""


@dataclass(frozen=True)
class _Sheet:
    path: Path
    header: tuple[str, ...]
    rows: list[list[str]]

    def column(self, name: str) -> list[str]:
        if name not in self.header:
            raise UsageError(f"{self.path} has no column {name!r}; its columns are {_listed(self.header)}.")
        position = self.header.index(name)
        return [row[position] for row in self.rows]

    def numeric(self, *, but: str | None) -> tuple[str, ...]:
        """The columns with a number in some row, in their order."""
        return tuple(name for name in self.header if name != but and any(map(_is_number, self.column(name))))

    def numbers(self, names: Sequence[str]) -> Vectors:
        """These columns; UsageError naming the row of a text. A cell without anything is NaN."""
        out = np.empty((len(self.rows), len(names)))
        for position, name in enumerate(names):
            for number, cell in enumerate(self.column(name), 1):
                try:
                    out[number - 1, position] = float(cell or "nan")
                except ValueError:
                    raise UsageError(
                        f"column {name!r} of {self.path} holds {cell!r} in row {number}, which is not a number."
                    ) from None
        return out


def read_labelled(path: Path | str, targets: str) -> VectorFile:
    """Vectors with a target each. Of a .csv ``targets`` names a column, and the other columns of numbers are the
    vector; a column of texts alone is left out with a warning. For a .npy it is a text file with one target a line,
    or FILE.csv:COLUMN.

    UsageError for files that can't be read or aren't tables of finite numbers, for unknown columns, other numbers of
    targets than of rows, and an empty target.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        sheet = _sheet(path)
        texts = sheet.column(targets)
        columns = sheet.numeric(but=targets)
        if not columns:
            raise UsageError(f"{path} has no column of numbers beside the target {targets!r}; vectors need one.")
        unused = [name for name in sheet.header if name not in columns and name != targets]
        if unused:
            warnings.warn(
                f"{path}: not in the vectors, without numbers: {_listed(unused)}.", UserWarning, stacklevel=2
            )
        file = VectorFile(vectors=_checked(sheet.numbers(columns), path), columns=columns, targets=tuple(texts))
    else:
        vectors = _array(path)
        texts = _targets(targets)
        if len(texts) != len(vectors):
            raise UsageError(f"{path} has {len(vectors)} rows and {targets} has {len(texts)} targets; give one each.")
        file = VectorFile(vectors=vectors, targets=tuple(texts))
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
    """Vectors alone. Of a .csv these ``columns`` in their order, else all columns of numbers but ``target``.

    UsageError as ``read_labelled``, for columns that are missing, for columns of numbers that are none of them, and
    for vectors of another ``size``.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        sheet = _sheet(path)
        numeric = sheet.numeric(but=target)
        names = numeric if columns is None else tuple(columns)
        missing = [name for name in names if name not in sheet.header]
        width = len({*names, *numeric} - {*missing})
        if size is not None and width != size:
            raise UsageError(f"{path} has vectors of {width} numbers; {size} are expected.")
        if missing:
            raise UsageError(f"{path} has no column {missing[0]!r}; expected are {_listed(names)}.")
        return VectorFile(vectors=_checked(sheet.numbers(names), path), columns=names)
    vectors = _array(path)
    if size is not None and vectors.shape[1] != size:
        raise UsageError(f"{path} has vectors of {vectors.shape[1]} numbers; {size} are expected.")
    return VectorFile(vectors=vectors)


def task_of(targets: Sequence[str]) -> tuple[Task, str]:
    """What kind of target these texts are, and why, in words.

    At most ``MOST_CLASSES`` different texts that come twice or more on the mean are classes; numbers alone are values;
    all else is described.
    """
    different = len(set(targets))
    if different <= MOST_CLASSES and 2 * different <= len(targets):
        return "classify", f"{different} different targets that repeat"
    try:
        [float(text) for text in targets]
    except ValueError:
        return "describe", f"{different} different targets that are not all numbers"
    return "regress", f"{different} different targets, all numbers"


def numbers_of(targets: Sequence[str]) -> list[float]:
    """The targets as numbers; UsageError naming the row of one that is none, or is not finite."""
    values = []
    for number, text in enumerate(targets, 1):
        try:
            values.append(float(text))
        except ValueError:
            raise UsageError(f"the target of row {number} is {text!r}, which is not a number.") from None
        if not math.isfinite(values[-1]):
            raise UsageError(f"the target of row {number} is {text!r}; targets must be finite.")
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


def _targets(targets: str) -> list[str]:
    """Lines of a text file, or a column of a .csv."""
    named = _COLUMN.fullmatch(targets)
    if named is not None:
        return _sheet(Path(named["file"])).column(named["column"])
    if targets.lower().endswith(".csv"):
        raise UsageError(f"which column of {targets} are the targets? Give {targets}:COLUMN.")
    lines = read_text(targets).split("\n")
    return [line.rstrip("\r") for line in (lines[:-1] if not lines[-1] else lines)]


def _array(path: Path) -> Vectors:
    if path.suffix.lower() != ".npy":
        raise UsageError(f"{path} is neither a .npy nor a .csv file; vectors are read from these.")
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}.") from None
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path} can't be read as a table of numbers ({' '.join(str(error).split())}).") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise UsageError(f"{path} holds no table of real numbers.")
    return _checked(array.astype(np.float64), path)


def _checked(vectors: Vectors, path: Path) -> Vectors:
    if vectors.ndim != 2:
        raise UsageError(f"{path} must have two dimensions, one row a vector; it has shape {vectors.shape}.")
    if not vectors.size:
        raise UsageError(f"{path} holds no vectors; its shape is {vectors.shape}.")
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise UsageError(f"row {bad[0] + 1} of {path} holds NaN, infinity or nothing; vectors must be finite.")
    return vectors


def _sheet(path: Path) -> _Sheet:
    try:
        lines = [line for line in csv.reader(io.StringIO(read_text(path), newline=""), strict=True) if line]
    except csv.Error as error:
        raise UsageError(f"{path} can't be read as comma-separated text ({error}).") from None
    if len(lines) < 2:
        raise UsageError(f"{path} needs a line with the columns' names and one row or more.")
    header, rows = tuple(name.strip() for name in lines[0]), lines[1:]
    if all(_is_number(name) for name in header):
        raise UsageError(f"{path} begins with numbers; its first line must name the columns.")
    twice = next((name for name, count in Counter(header).items() if count > 1), None)
    if twice is not None:
        raise UsageError(f"{path} has two columns {twice!r}; give them different names.")
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise UsageError(f"row {number} of {path} has {len(row)} cells and its header {len(header)}.")
    return _Sheet(path, header, rows)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
