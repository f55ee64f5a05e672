"""One run: its record, its claims, and a folder that survives being killed. Plain data; nothing here needs torch."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from armillary.runs.atomic import write_atomic
    from armillary.runs.claims import Claim, ClaimResult, Verdict, judge
    from armillary.runs.environment import machine, versions
    from armillary.runs.folder import RunFolder
    from armillary.runs.parts import Parts
    from armillary.runs.record import RunRecord
    from armillary.runs.sections import Figure, Finding, Section, Table

_HOMES = {
    "write_atomic": "atomic",
    "Claim": "claims", "ClaimResult": "claims", "Verdict": "claims", "judge": "claims",
    "machine": "environment", "versions": "environment",
    "RunFolder": "folder",
    "Parts": "parts",
    "RunRecord": "record",
    "Figure": "sections", "Finding": "sections", "Section": "sections", "Table": "sections",
}  # fmt: skip

__all__ = [
    "Claim", "ClaimResult", "Figure", "Finding", "Parts", "RunFolder", "RunRecord", "Section", "Table", "Verdict",
    "judge", "machine", "versions", "write_atomic",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
