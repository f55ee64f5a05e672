"""The page of a reproduction, generated from its claims: a section a claim, with its numbers in one figure."""

from collections.abc import Mapping, Sequence

from armillary.numerics.intervals import Interval
from armillary.records.claims import ClaimResult
from armillary.records.sections import Figure, Finding, Section, Table, interval_bars
from armillary.report.wording import ends, number

INTEREST = {"fails": 0.9, "holds": 0.6, "undecided": 0.3}
"""What fails is the most worth knowing, what is undecided the least."""


def claim_sections(
    claims: Sequence[ClaimResult],
    *,
    figures: Mapping[str, Figure] | None = None,
    tables: Mapping[str, Sequence[Table]] | None = None,
) -> list[Section]:
    """One section for each claim: the verdict with its numbers, what was measured, the rule, and a figure.

    The figure shows the measures that decide, as bars with their intervals; ``figures`` gives another one by claim id
    (a curve, a map), ``tables`` what a reader should see beside it (examples).
    """
    figures, tables = figures or {}, tables or {}
    return [
        Section(
            id=claim.id,
            title=claim.statement,
            summary=f"{claim.verdict}: {_numbers(claim.measured)}.",
            meaning=claim.quantity,
            caution=" ".join(part for part in (claim.rule, claim.note) if part),
            figures=[figures.get(claim.id) or interval_bars(claim.quantity, claim.measured, "measured")],
            tables=list(tables.get(claim.id, ())),
        )
        for claim in claims
    ]


def claim_findings(claims: Sequence[ClaimResult]) -> list[Finding]:
    """One sentence a claim, what fails first."""
    return [
        Finding(text=f"{claim.verdict}: {claim.statement}", interest=INTEREST[claim.verdict], section=claim.id)
        for claim in claims
    ]


def _numbers(measured: Mapping[str, Interval]) -> str:
    shown = [
        f"{name} {number(interval.estimate)}" + (f" [{ends(interval)}]" if ends(interval) else "")
        for name, interval in measured.items()
    ]
    return "; ".join(shown) or "nothing was measured"
