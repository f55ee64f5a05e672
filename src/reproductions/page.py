"""The page of a reproduction, generated from its claims: a section a claim, with its numbers in one figure."""

from collections.abc import Mapping, Sequence

from armillary.data.sources import DataSource
from armillary.numerics.intervals import Interval
from armillary.records.claims import Claim, ClaimResult, judge
from armillary.records.sections import Figure, Finding, Section, Table, interval_bars
from armillary.report.wording import ends, number
from armillary.runs.run import Outcome

INTEREST = {"fails": 0.9, "holds": 0.6, "undecided": 0.3, "not tested": 0.1}
"""What fails is the most worth knowing, what is undecided the least."""


def judged_outcome(
    title: str,
    claims: Sequence[Claim],
    measures: Mapping[str, Interval],
    *,
    notes: Mapping[str, str] | None = None,
    figures: Mapping[str, Figure] | None = None,
    tables: Mapping[str, Sequence[Table]] | None = None,
    more: Sequence[Section] = (),
    data: Sequence[DataSource],
) -> Outcome:
    """Every claim judged, with a finding and a section each; what fails is the finding of most interest.

    ``notes`` adds a sentence to a claim, ``figures`` another figure than its bars, ``tables`` what a reader should see
    beside it, all by claim id; ``more`` are sections behind those of the claims.
    """
    results = judge(claims, measures, notes)
    findings = [
        Finding(text=f"{claim.outcome}: {claim.statement}", interest=INTEREST[claim.verdict], section=claim.id)
        for claim in results
    ]
    sections = [*_sections(results, figures or {}, tables or {}), *more]
    return Outcome(title=title, measures=measures, claims=results, findings=findings, sections=sections, data=data)


def _sections(
    claims: Sequence[ClaimResult], figures: Mapping[str, Figure], tables: Mapping[str, Sequence[Table]]
) -> list[Section]:
    """One a claim: the verdict with its numbers, what was measured, the rule, and a figure.

    The figure shows the measures that decide, as bars with their intervals, where ``figures`` has no other.
    """
    return [
        Section(
            id=claim.id,
            title=claim.statement,
            summary=f"{claim.outcome}: {_numbers(claim)}.",
            meaning=claim.quantity,
            caution=" ".join(part for part in (claim.rule, _basis(claim), claim.note) if part),
            figures=[figures.get(claim.id) or interval_bars(claim.quantity, claim.measured, "measured")],
            tables=list(tables.get(claim.id, ())),
        )
        for claim in claims
    ]


def _basis(claim: ClaimResult) -> str:
    """What the verdict rests on beside the rule."""
    controls = "; ".join(f"{control.what} ({'so' if control.held else 'not so'})" for control in claim.controls)
    sentences = [f"Null: {claim.null}"] if claim.null else []
    if controls:
        sentences.append(f"Controls: {controls}")
    return " ".join(f"{sentence.rstrip('.')}." for sentence in sentences)


def _numbers(claim: ClaimResult) -> str:
    shown = []
    for name, interval in claim.measured.items():
        limits = claim.limits.get(name, ())
        span = ends(interval, limits)
        shown.append(f"{name} {number(interval.estimate, limits)}" + (f" [{span}]" if span else ""))
    return "; ".join(shown) or "nothing was measured"
