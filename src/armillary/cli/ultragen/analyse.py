"""``armillary ultragen analyse MODEL SETS``: where satisfaction falls: by place, by number, and by attention."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

from armillary.cli.command import run_job
from armillary.cli.ultragen.evaluate import UltragenSetsSettings
from armillary.errors import UsageError
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import at_least


@dataclass(frozen=True, kw_only=True)
class UltragenAnalyseSettings(UltragenSetsSettings):
    """Let a model respond to sets in random orders, and tell where satisfaction falls and what attention does.

    Sets of `armillary ultragen build` or `derive` come with the texts on which attention is read.
    """

    command: ClassVar[str] = "ultragen analyse"

    counts: tuple[int, ...] = (5, 15, 30, 45)
    """Numbers of attributes at which each set's nested parts are asked for; those larger than a set leave it out."""

    attention: int = 16
    """Texts on which attention is read at each count; 0 for none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, attention=0)
        if any(count < 1 for count in self.counts) or len(set(self.counts)) < len(self.counts):
            raise UsageError(f"counts must be different numbers of 1 or more, got {self.counts}.")

    def dry(self) -> Self:
        """Two small counts."""
        return replace(super().dry(), counts=(1, 2), attention=min(self.attention, 2))


def analyse(run: Run[UltragenAnalyseSettings]) -> Outcome:
    """Position bias, the curve over counts, attention."""
    from armillary.methods.ultragen.asking import AnalysisPlan, analysed
    from armillary.methods.ultragen.report import analyse_page
    from armillary.methods.ultragen.set_files import read_sets

    settings, loaded = run.settings, run.model
    plan = AnalysisPlan(
        counts=settings.counts, attention=settings.attention, sampling=settings.sampling(), seed=settings.seed
    )
    results = analysed(loaded, read_sets(settings.sets, settings.limit), plan, run.parts)
    page = analyse_page(results.bias, results.curve, results.dilution, model=loaded.name)
    return Outcome(
        title=f"Where {loaded.name} fails on {Path(settings.sets).name}",
        measures=page.measures,
        findings=page.findings,
        sections=page.sections,
    )


JOBS = {"ultragen analyse": Job(settings=UltragenAnalyseSettings, work=analyse)}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    return run_job(JOBS["ultragen analyse"], arguments)
