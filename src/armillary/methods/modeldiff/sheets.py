"""Ratings of sequences by people: samples go out on a sheet without the differences and come back by id.

A rating says how good a text is, from 1 ("perfectly good") to 0 ("completely bad") (arXiv 2412.12177). The sheet goes
out as CSV in an order that tells nothing of which model prefers what; any function of a text can stand in for people.
"""

import csv
import io
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import SupportsFloat

import numpy as np

from armillary.data.tables import number_in, read_table
from armillary.errors import UsageError
from armillary.files import write_atomic
from armillary.methods.modeldiff.core import Direction, Floats
from armillary.methods.modeldiff.ratings import RatedDirection
from armillary.methods.modeldiff.result import Comparison

COLUMNS = ("id", "direction", "text", "rating")

_ID = re.compile(r"[A-Za-z][\w.:-]*")

# A spreadsheet takes a cell that begins so for a formula; the full-width forms of the signs count in some locales.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")

EACH = 60
"""Texts of each model on a sheet: more narrow the intervals and cost the raters time."""

BIN = 0.5
"""Width (nats per token) of the bins of D from which the texts of a sheet are taken in turn."""


@dataclass(frozen=True)
class SheetRow:
    """One sequence to be rated."""

    id: str
    """A letter, then letters, digits and ``_ . : -``: forms that a spreadsheet leaves as they are. Ratings come back
    under it, so it should say nothing of the difference; the number of the draw is fine."""

    direction: str
    """Whose sequences it is one of, such as "a" or "b"."""

    text: str


def sheet_rows(comparison: Comparison, each: int = EACH, seed: int = 0) -> list[SheetRow]:
    """Plausible samples to be rated, at most ``each`` of either model, taken in turn from bins of the difference.

    The same comparison and seed give the same rows. Raises UsageError where the samples have no text.
    """
    sheet: list[SheetRow] = []
    width = BIN * comparison.space.length
    for direction in (comparison.a, comparison.b):
        side = direction.side
        if direction.text_N is None:
            raise UsageError(f"The samples of model {side.upper()} have no text, so that nobody could rate them.")
        _, first = np.unique(direction.ids_NL, axis=0, return_index=True)
        distinct = np.intersect1d(first, np.flatnonzero(direction.inside_N))
        bins: dict[float, list[int]] = {}
        for row in np.random.default_rng(seed).permutation(distinct).tolist():
            # The side of the drawing model counts as in the evaluation, so that both cut at the same places.
            preferred = -direction.difference_N[row] if side == "a" else direction.difference_N[row]
            bins.setdefault(float(np.floor(preferred / width)), []).append(row)
        turns = [(turn, bin_, row) for bin_, rows in sorted(bins.items()) for turn, row in enumerate(rows)]
        sheet += [
            SheetRow(id=f"{side}{row}", direction=side, text=str(direction.text_N[row]))
            for _, _, row in sorted(turns)[:each]
        ]
    return sheet


def rated_direction(direction: Direction, ratings: Mapping[str, float]) -> RatedDirection:
    """Samples with their ratings by the ids of a sheet; a sequence that was drawn twice is rated twice alike."""
    _, first, same_N = np.unique(direction.ids_NL, axis=0, return_index=True, return_inverse=True)
    of_first = rating_column([f"{direction.side}{row}" for row in first.tolist()], ratings)
    return RatedDirection.of(direction, of_first[same_N.reshape(-1)])


def export_sheet(rows: Sequence[SheetRow], path: Path | str, *, seed: int = 0) -> tuple[str, ...]:
    """Write a sheet with an empty column ``rating`` and give the ids in the order of its lines.

    The order is drawn from ``seed``. UTF-8 with a byte-order mark, which spreadsheets need to read it; a text that a
    spreadsheet would run as a formula gets an apostrophe in front. UsageError for an id that is used twice, is not of
    the accepted form, or for no rows at all; StorageError where the file can't be written.
    """
    if not rows:
        raise UsageError("there is nothing to rate: give at least one row.")
    seen: set[str] = set()
    for row in rows:
        if not _ID.fullmatch(row.id):
            raise UsageError(f"the id {row.id!r} must be a letter, then letters, digits and _ . : - only.")
        if row.id in seen:
            raise UsageError(f"the id {row.id!r} was given twice; ratings could not be told apart.")
        seen.add(row.id)
    order = [rows[index] for index in np.random.default_rng(seed).permutation(len(rows))]
    sheet = io.StringIO()
    writer = csv.writer(sheet)
    writer.writerow(COLUMNS)
    writer.writerows([row.id, _harmless(row.direction), _harmless(row.text), ""] for row in order)
    write_atomic(path, sheet.getvalue().encode("utf-8-sig", "replace"))
    return tuple(row.id for row in order)


def read_ratings(path: Path | str, ids: Collection[str] | None = None) -> dict[str, float]:
    """Rating by id from a filled sheet; rows without one are left out. Only ``id`` and ``rating`` are looked at.

    Commas, semicolons or tabs may separate the cells (the last two with a decimal comma too), as spreadsheets write
    them. ``ids`` are those that were handed out: any other is refused. UsageError naming the line for a missing
    column, a row with too many cells, a rating that is no number from 0 to 1, an unknown id or one that comes twice.
    Raises as ``read_table``, too.
    """
    # Only ids and numbers count, so a sheet saved in another encoding of ASCII still serves.
    table = read_table(path, short_rows=True, errors="replace")
    table = replace(table, columns=tuple(name.lower() for name in table.columns))
    missing = [name for name in ("id", "rating") if name not in table.columns]
    if missing:
        raise UsageError(f"{path} line 1: no column {missing[0]!r}; a sheet has the columns {', '.join(COLUMNS)}.")
    ratings: dict[str, float | None] = {}
    columns = (table.lines, table.rows, table.column("id"), table.column("rating"))
    for line, cells, id, cell in zip(*columns, strict=True):
        where, id, cell = f"{path} line {line}", id.strip(), cell.strip()
        if not any(map(str.strip, cells)):
            continue
        if id in ratings:
            raise UsageError(f"{where}: the id {id!r} comes twice.")
        if ids is not None and id not in ids:
            raise UsageError(f"{where}: the id {id!r} is not one of the {len(ids)} that were handed out.")
        ratings[id] = _rating(cell, where) if cell else None
    return {id: rating for id, rating in ratings.items() if rating is not None}


def rate(texts_by_id: Mapping[str, str], rater: Callable[[str], float]) -> dict[str, float]:
    """What ``rater`` says of each text, by id; UsageError where it says anything but a number from 0 to 1."""
    return {id: _rating(rater(text), f"the rater on {id!r}") for id, text in texts_by_id.items()}


def rating_column(ids: Sequence[str], ratings: Mapping[str, float]) -> Floats:
    """Ratings in the order of ``ids``, float64 ``[n]``, NaN where there is none."""
    return np.array([ratings.get(id, math.nan) for id in ids], dtype=np.float64)


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _rating(value: str | SupportsFloat, where: str) -> float:
    try:
        rating = number_in(value, ",") if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        rating = None
    if rating is None or not 0 <= rating <= 1:
        raise UsageError(f"{where}: a rating is a number from 0 (bad) to 1 (good), got {value!r}.")
    return rating
