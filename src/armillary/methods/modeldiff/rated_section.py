"""Sheets of samples for people to rate, and what their ratings say: which model agrees better with people.

Legend: N samples.
"""

from collections.abc import Mapping

import numpy as np

from armillary.errors import UsageError
from armillary.methods.modeldiff.annotate import SheetRow
from armillary.methods.modeldiff.direction import Direction
from armillary.methods.modeldiff.human_agreement import Agreement, agreement_with_people
from armillary.methods.modeldiff.protocols import Floats
from armillary.methods.modeldiff.rated import PrivateInputs, RatedDirection
from armillary.methods.modeldiff.report_tables import NOTHING, THRESHOLDS, told
from armillary.methods.modeldiff.result import Comparison
from armillary.numerics.intervals import Interval
from armillary.runs.sections import Cell, Finding, Section, Table

EACH = 60
"""Texts of each model on a sheet."""

BIN = 0.5
"""Width (nats per token) of the bins of D from which the texts of a sheet are taken in turn."""


def sheet_rows(comparison: Comparison, each: int = EACH, seed: int = 0) -> list[SheetRow]:
    """Plausible samples to be rated, at most ``each`` of either model, taken in turn from bins of the difference.

    The same comparison and seed give the same rows. Raises UsageError where the samples have no text.
    """
    return [row for held in (comparison.a, comparison.b) for row in _chosen(held, comparison, each, seed)]


def _chosen(held: Direction, comparison: Comparison, each: int, seed: int) -> list[SheetRow]:
    if held.text_N is None:
        raise UsageError(f"The samples of model {held.side.upper()} have no text, so that nobody could rate them.")
    _, first = np.unique(held.ids_NL, axis=0, return_index=True)
    rows = np.random.default_rng(seed).permutation(np.intersect1d(first, np.flatnonzero(held.inside_N)))
    bins: dict[float, list[int]] = {}
    width = BIN * comparison.space.length
    for row in rows.tolist():
        # The side of the drawing model counts as in the evaluation, so that both cut at the same places.
        preferred = -held.difference_N[row] if held.side == "a" else held.difference_N[row]
        bins.setdefault(float(np.floor(preferred / width)), []).append(row)
    turns = [(turn, place, row) for place, members in sorted(bins.items()) for turn, row in enumerate(members)]
    return [
        SheetRow(id=f"{held.side}{row}", direction=held.side, text=str(held.text_N[row]))
        for _, _, row in sorted(turns)[:each]
    ]


def rated_direction(held: Direction, ratings: Mapping[str, float]) -> RatedDirection:
    """Samples with their ratings by the ids of a sheet; a sequence that was drawn twice is rated twice alike."""
    _, first, same_N = np.unique(held.ids_NL, axis=0, return_index=True, return_inverse=True)
    of_first: Floats = np.array([ratings.get(f"{held.side}{row}", np.nan) for row in first.tolist()])
    return RatedDirection.of(held, of_first[same_N.reshape(-1)])


def rated(comparison: Comparison, ratings: Mapping[str, float]) -> tuple[Section, Finding, dict[str, Interval]]:
    """Which model agrees better with the people who rated, at each threshold. Raises UsageError for no ratings."""
    if not ratings:
        raise UsageError("The sheet holds no ratings; fill the column rating with numbers from 0 to 1.")
    length = comparison.space.length
    found = agreement_with_people(
        rated_direction(comparison.a, ratings),
        rated_direction(comparison.b, ratings),
        [threshold * length for threshold in THRESHOLDS],
        bin_width=BIN * length,
        seed=comparison.config.seed,
        replicates=comparison.config.replicates,
        level=comparison.config.level,
    )
    decided = [one for one in found if one.verdict != "undecided"]
    said = "; ".join(f"{one.verdict} at {one.threshold / length:g} nats per token" for one in decided)
    summary = f"{len(ratings)} ratings. " + (f"{said}." if said else "Undecided at every threshold.")
    measures = {
        f"people/mean rating of what {name} prefers by {one.threshold / length:g} nats per token": private.precision
        for one in found
        for name, private in (("A", one.a), ("B", one.b))
        if private.precision is not None
    }
    section = Section(
        id="people",
        title="Which model agrees better with people",
        summary=summary,
        meaning="Of the inputs that only one model prefers, people said how good they are (1 good, 0 bad). The model "
        "whose own inputs are rated higher agrees better, where the two intervals do not overlap. Good inputs are "
        "told as multiples of the inputs plausible to both.",
        caution="A few ratings stand for a bin of differences each, and by count nearly all inputs lie at the upper "
        "edge of the window. Where not all is covered by ratings, the number of good inputs is a lower bound.",
        tables=[_table(found, length)],
    )
    return section, Finding(text=summary, interest=0.8 if decided else 0.5, section=section.id), measures


def _table(found: list[Agreement], length: int) -> Table:
    rows: list[list[Cell]] = []
    for one in found:
        for name, private in (("A", one.a), ("B", one.b)):
            rows.append([one.threshold / length, name, *_figures(private), one.verdict, one.reason])
    return Table(
        title="Inputs that one model prefers by a threshold or more",
        columns=["nats per token", "preferred by", "mean rating", "good ones, times the overlap", "rated",
                 "covered by ratings", "verdict", "because"],
        rows=rows,
    )  # fmt: skip


def _figures(private: PrivateInputs) -> list[Cell]:
    precision, good = (NOTHING if one is None else told(one) for one in (private.precision, private.good))
    return [precision, good, f"{private.rated} of {private.found}", f"{private.covered:.0%}"]
