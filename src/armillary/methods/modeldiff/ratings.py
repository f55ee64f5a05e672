"""Ratings of sequences by people: a sheet without the differences, filled in anywhere, read back by id.

A rating says how good a text is, from 1 ("perfectly good") to 0 ("completely bad") (arXiv 2412.12177). The sheet goes
out as CSV in an order that tells nothing of which model prefers what; any function of a text can stand in for people.
"""

import csv
import io
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, SupportsFloat

import numpy as np

from armillary.errors import StorageError, UsageError
from armillary.files import write_atomic
from armillary.methods.modeldiff.rated import PrivateInputs, RatedDirection, private_inputs
from armillary.methods.modeldiff.source import Floats

COLUMNS = ("id", "direction", "text", "rating")

_ID = re.compile(r"[A-Za-z][\w.:-]*")

# A spreadsheet takes a cell that begins so for a formula; the full-width forms of the signs count in some locales.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_SEPARATORS = ",;\t"


@dataclass(frozen=True)
class SheetRow:
    """One sequence to be rated."""

    id: str
    """A letter, then letters, digits and ``_ . : -``: forms that a spreadsheet leaves as they are. Ratings come back
    under it, so it should say nothing of the difference; the number of the draw is fine."""

    direction: str
    """Whose sequences it is one of, such as "a" or "b"."""

    text: str


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
    column, a rating that is no number from 0 to 1, an unknown id or one that comes twice; StorageError where the file
    can't be read.
    """
    try:
        # Only ids and numbers count, so a sheet saved in another encoding of ASCII still serves.
        text = Path(path).read_bytes().decode("utf-8-sig", "replace")
    except OSError as error:
        raise StorageError(f"{path} could not be read: {error.strerror or error}.") from error
    heading = text.partition("\n")[0]
    separator = max(_SEPARATORS, key=heading.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    columns = [name.strip().lower() for name in next(reader, [])]
    missing = [name for name in ("id", "rating") if name not in columns]
    if missing:
        raise UsageError(f"{path} line 1: no column {missing[0]!r}; a sheet has the columns {', '.join(COLUMNS)}.")
    at_id, at_rating = columns.index("id"), columns.index("rating")
    ratings: dict[str, float | None] = {}
    line = reader.line_num + 1
    for cells in reader:
        where, line = f"{path} line {line}", reader.line_num + 1
        if not any(cell.strip() for cell in cells):
            continue
        id = cells[at_id].strip() if at_id < len(cells) else ""
        if id in ratings:
            raise UsageError(f"{where}: the id {id!r} comes twice.")
        if ids is not None and id not in ids:
            raise UsageError(f"{where}: the id {id!r} is not one of the {len(ids)} that were handed out.")
        cell = cells[at_rating].strip() if at_rating < len(cells) else ""
        ratings[id] = _rating(cell.replace(",", "."), where) if cell else None
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
        rating = float(value)
    except (TypeError, ValueError):
        rating = math.nan
    if not 0 <= rating <= 1:
        raise UsageError(f"{where}: a rating is a number from 0 (bad) to 1 (good), got {value!r}.")
    return rating


# Which of two models agrees better with people about the inputs that only one of them prefers.
#
# Of the plausible inputs of A that A prefers by ``lambda`` nats or more (``D = z_A - z_B <= -lambda``), the precision
# is the share that people find good, and the good inputs are their number in multiples of the overlap of both models'
# inputs; for B's inputs with ``D >= lambda`` the mirror. That people rate such inputs is the paper's (arXiv
# 2412.12177); the two formulas and the verdict are ours, in the manner of OmniInput's precision (arXiv 2312.03291).

Verdict = Literal["A agrees better", "B agrees better", "undecided"]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Both models at one threshold."""

    threshold: float
    """Lambda, nats summed over the sequence."""

    a: PrivateInputs
    b: PrivateInputs
    verdict: Verdict
    reason: str
    """The verdict's ground, in words."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; the ends of an interval that is not known are None."""
        return asdict(self)


def agreement_with_people(
    a: RatedDirection,
    b: RatedDirection,
    thresholds: Sequence[float],
    *,
    bin_width: float | None = None,
    seed: int = 0,
    replicates: int = 1000,
    level: float = 0.95,
) -> list[Agreement]:
    """Precision and good inputs of both models at each threshold (lambda, nats), with percentile bootstrap intervals.

    A and B are resampled independently. A agrees better where its precision is higher and the two intervals do not
    overlap. ``bin_width`` (nats) is for ratings of samples that were chosen by their difference: the mean rating of a
    bin then stands for all of its samples, rated or not; None takes the rated samples beyond the threshold as a
    random part of them. In a replicate with nothing rated beyond the threshold the precision counts as 0 for the lower
    end and as 1 for the upper. UsageError for a negative threshold or sides in the wrong order.
    """
    if (a.side, b.side) != ("a", "b"):
        raise UsageError(f'the samples of A come first, then those of B; got sides "{a.side}" and "{b.side}".')
    for threshold in thresholds:
        if not 0 <= threshold < math.inf:
            raise UsageError(f"a threshold is a number of nats from 0 upwards, got {threshold}.")
    if replicates < 2 or not 0 < level < 1 or (bin_width is not None and not bin_width > 0):
        raise UsageError(
            "replicates must be 2 or more, level between 0 and 1 and bin_width above 0; "
            f"got {replicates}, {level} and {bin_width}."
        )
    seeds = [int(part) for part in np.random.SeedSequence(seed).generate_state(2)]
    options: dict[str, Any] = {"bin_width": bin_width, "replicates": replicates, "level": level}
    of_a = private_inputs(a, thresholds, seed=seeds[0], **options)
    of_b = private_inputs(b, thresholds, seed=seeds[1], **options)
    return [_judged(*row) for row in zip(thresholds, of_a, of_b, strict=True)]


def _judged(threshold: float, a: PrivateInputs, b: PrivateInputs) -> Agreement:
    verdict: Verdict = "undecided"
    empty = [_lacking(name, one, threshold) for name, one in (("A", a), ("B", b)) if one.precision is None]
    if a.precision is None or b.precision is None:
        reason = "; ".join(empty)
    elif a.precision.lower > b.precision.upper:
        verdict, reason = "A agrees better", "A's precision is higher and the intervals do not overlap"
    elif b.precision.lower > a.precision.upper:
        verdict, reason = "B agrees better", "B's precision is higher and the intervals do not overlap"
    else:
        reason = "the intervals of the two precisions overlap"
    return Agreement(threshold=threshold, a=a, b=b, verdict=verdict, reason=reason)


def _lacking(name: str, one: PrivateInputs, threshold: float) -> str:
    what = f"none of {one.found:,} samples is rated" if one.found else "no sample lies there"
    return f"of the inputs of {name} that it prefers by {threshold:g} nats or more, {what}"
