"""One page of ``armillary diff`` on each plant, kept as what it said of every comparison."""

from dataclasses import dataclass, field

from armillary.diff.page import EFFECTS, HOW_SURE
from armillary.records.sections import Cell
from armillary.runs.run import Outcome
from reproductions.diff_calibration.nulls import NullPage
from reproductions.diff_calibration.plants import SAVED, UNCHANGED, Plant

FROM_FILES = ("identity", "weights")
"""Instruments that read the models' files alone."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One comparison of a page."""

    id: str
    change: float
    """In ``unit``."""

    p: float
    """Corrected for the page."""

    floor: float
    in_verdict: bool
    unit: str = ""
    limit: float | None = None
    """From which size on the page says that it would be seen."""

    @property
    def instrument(self) -> str:
        """The first part of its id, which is the section's name."""
        return self.id.partition("/")[0]


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the page of one plant said."""

    plant: Plant
    comparisons: list[Comparison]
    lines: list[str]
    """The verdict, in words."""

    seconds: float
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds of each phase; of a page after the first, base's was read back."""

    costs: dict[str, float] = field(default_factory=dict)
    """Seconds of each instrument beyond the phases."""

    peak_gib: float | None = None
    """Largest memory while the page was made; None where the system does not tell."""

    tensors_changed: int = 1
    """Of which any number differs."""

    exchanged: list[NullPage] = field(default_factory=list)
    """Pages of the same numbers, exchanged between the two models at random."""

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
        """Whether both sides compute the same; saved in another dtype they do where that holds every number."""
        return self.plant.kind in UNCHANGED or (self.plant.kind == SAVED and self.tensors_changed == 0)

    @property
    def alarms(self) -> list[str]:
        """False ones: lines where both sides compute the same; of other files those about files are none."""
        if not self.unchanged:
            return []
        return self.verdict if self.plant.kind == "identity" else self.behaviour


def read_comparisons(outcome: Outcome) -> list[Comparison]:
    """What a page says of each of its comparisons."""
    section = next(section for section in outcome.sections if section.id == HOW_SURE)
    rows = [dict(zip(EFFECTS, row, strict=True)) for row in section.tables[0].rows]
    return [
        Comparison(
            id=str(row["comparison"]),
            change=_number(row["change"]),
            p=_number(row["corrected p"]),
            floor=_number(row["noise floor"]),
            in_verdict=bool(row["in the verdict"]),
            unit=str(row["unit"]),
            limit=None if row["seen from"] is None else _number(row["seen from"]),
        )
        for row in rows
    ]


def read_lines(outcome: Outcome) -> list[str]:
    """The verdict in words, without what was not seen."""
    return [finding.text for finding in outcome.findings if finding.label != "not seen"]


def _number(cell: Cell) -> float:
    """Figures alone stand in these columns."""
    assert isinstance(cell, int | float)
    return float(cell)
