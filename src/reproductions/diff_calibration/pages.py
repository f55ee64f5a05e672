"""One page of ``armillary diff`` on each plant, kept as what it said of every comparison."""

from dataclasses import dataclass

from armillary.records.record import RunRecord
from reproductions.diff_calibration.plants import UNCHANGED, Plant


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One comparison of a page."""

    id: str
    change: float
    """In its own unit."""

    p: float
    """Corrected for the page."""

    floor: float
    told: bool
    """Whether the verdict has a line of it."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the page of one plant said."""

    plant: Plant
    comparisons: list[Comparison]
    lines: list[str]
    """The verdict, in words."""

    seconds: float

    @property
    def told(self) -> list[str]:
        """Ids of the comparisons that the verdict tells."""
        return [comparison.id for comparison in self.comparisons if comparison.told]

    @property
    def unchanged(self) -> bool:
        """Whether both sides compute the same, so that each line is a false alarm."""
        return self.plant.kind in UNCHANGED


HOW_SURE = "how-sure"


def read_page(plant: Plant, record: RunRecord, seconds: float) -> Page:
    """What a record of ``armillary diff`` says of each of its comparisons."""
    section = next(section for section in record.sections if section.id == HOW_SURE)
    table = section.tables[0]
    at = {name: table.columns.index(name) for name in ("comparison", "change", "corrected p", "noise floor")}
    told = table.columns.index("in the verdict")
    return Page(
        plant=plant,
        comparisons=[
            Comparison(
                id=str(row[at["comparison"]]),
                change=_number(row[at["change"]]),
                p=_number(row[at["corrected p"]]),
                floor=_number(row[at["noise floor"]]),
                told=bool(row[told]),
            )
            for row in table.rows
        ],
        lines=[finding.text for finding in record.findings if finding.label != "not seen"],
        seconds=seconds,
    )


def _number(cell: object) -> float:
    return float(cell) if isinstance(cell, int | float) else float("nan")
