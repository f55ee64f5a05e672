"""What a run leaves: its record, its claims and what a report is drawn from. Plain data; nothing here needs torch."""

from armillary.records.claims import Claim, ClaimResult, Verdict, judge
from armillary.records.record import RunRecord
from armillary.records.sections import Figure, Finding, Section, Table

__all__ = ["Claim", "ClaimResult", "Figure", "Finding", "RunRecord", "Section", "Table", "Verdict", "judge"]
