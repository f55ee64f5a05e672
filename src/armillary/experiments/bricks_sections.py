"""How a Bricks reproduction is told: plain data of the stages to sections with pictures. Needs no model."""

from collections.abc import Mapping, Sequence
from typing import Any

from armillary.numerics.intervals import Interval
from armillary.runs.claims import ClaimResult, verdict_findings
from armillary.runs.sections import Finding, Section

Found = dict[str, Any]
Measures = Mapping[str, Interval]


def findings(claims: Sequence[ClaimResult]) -> list[Finding]:
    """One sentence a claim."""
    return verdict_findings(claims, {}, "neurons")


def notes(found: Found) -> dict[str, str]:
    return {}


def sections(found: Found, m: Measures) -> list[Section]:
    return []
