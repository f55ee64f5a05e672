"""One page of ``armillary diff`` on each plant, kept as what it said of every comparison."""

from dataclasses import dataclass

from armillary.diff.result import DiffResult
from armillary.records.record import RunRecord
from armillary.records.sections import Cell
from reproductions.diff_calibration.plants import UNCHANGED, Plant

FROM_FILES = ("identity", "weights")
"""Instruments that read the models' files alone."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One comparison of a page."""

    id: str
    change: float
    """In its own unit."""

    p: float
    """Corrected for the page."""

    floor: float
    in_verdict: bool


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the page of one plant said."""

    plant: Plant
    comparisons: list[Comparison]
    lines: list[str]
    """The verdict, in words."""

    seconds: float

    @property
    def verdict(self) -> list[str]:
        """Ids of the comparisons that have a line in the verdict."""
        return [comparison.id for comparison in self.comparisons if comparison.in_verdict]

    @property
    def behaviour(self) -> list[str]:
        """The same without those that are read off the files, which tell of any change there."""
        return [id for id in self.verdict if id.partition("/")[0] not in FROM_FILES]

    @property
    def unchanged(self) -> bool:
        """Whether both sides compute the same."""
        return self.plant.kind in UNCHANGED

    @property
    def alarms(self) -> list[str]:
        """False ones: lines where both sides compute the same; of other files those about files are none."""
        if not self.unchanged:
            return []
        return self.verdict if self.plant.kind == "identity" else self.behaviour


def read_page(plant: Plant, record: RunRecord, seconds: float) -> Page:
    """What a record of ``armillary diff`` says of each of its comparisons."""
    return Page(
        plant=plant,
        comparisons=[
            Comparison(
                id=str(row["comparison"]),
                change=_number(row["change"]),
                p=_number(row["corrected p"]),
                floor=_number(row["noise floor"]),
                in_verdict=bool(row["in the verdict"]),
            )
            for row in DiffResult(record).comparisons()
        ],
        lines=[finding.text for finding in record.findings if finding.label != "not seen"],
        seconds=seconds,
    )


def _number(cell: Cell) -> float:
    """Figures alone stand in these columns."""
    assert isinstance(cell, int | float)
    return float(cell)
