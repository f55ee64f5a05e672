"""What a diagnosis is: something measured with the model, then described without it.

``measure`` is the slow half: it reads the model and returns a result of plain fields, which is kept, so that a killed
check-up goes on after the last finished diagnosis. ``describe`` turns it into words and pictures and needs no model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from armillary.checkup.config import CheckupConfig
from armillary.data.texts.corpora import corpus_texts
from armillary.models import LoadedModel
from armillary.numerics.intervals import Interval
from armillary.records.sections import Finding, Section, Table
from armillary.runs.parts import Parts

ResultT = TypeVar("ResultT")

CORPORA = ("world-factbook", "python-reference")


@dataclass(frozen=True, kw_only=True)
class Context:
    """One model under examination, with the place where its finished parts are kept."""

    loaded: LoadedModel
    config: CheckupConfig
    parts: Parts

    def corpus(self) -> list[tuple[str, str]]:
        """``(corpus, text)`` pairs, corpora in turn, the same for every model at a given seed."""
        half = max(1, self.config.texts // len(CORPORA))
        drawn = [corpus_texts(name, limit=half, seed=self.config.seed, split="test") for name in CORPORA]
        # A corpus may hold fewer texts than were asked for; the corpora stay balanced.
        return [pair for row in zip(*drawn, strict=False) for pair in zip(CORPORA, row, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Diagnosed:
    """What one diagnosis adds to the record."""

    section: Section
    measures: dict[str, Interval] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Diagnosis(Generic[ResultT]):
    """One thing the check-up measures; listing it in ``checkup.run.DIAGNOSES`` plugs it in."""

    name: str
    result: type[ResultT]
    """Read back from the kept parts of a run, so a dataclass of plain fields."""

    cost: Callable[[CheckupConfig], float]
    """About how many seconds one core takes with SmolLM2. Only the ratios count: the shorter comes first, and the time
    left is told by the share that is done. A wrong one makes nothing else wrong."""

    measure: Callable[[Context], ResultT]
    descriptions: tuple[Callable[[ResultT], Diagnosed], ...]
    """One a section."""


def nothing_to_show(id: str, title: str, reason: str, meaning: str, tables: Sequence[Table] = ()) -> Diagnosed:
    """A section that says why there is nothing to see."""
    section = Section(
        id=id, title=title, summary=reason, meaning=meaning, caution="Nothing was measured here.", tables=[*tables]
    )
    return Diagnosed(section=section)
