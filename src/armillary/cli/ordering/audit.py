"""``armillary ordering audit FILE``: which steps stand before their support, and the data in a better order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import tyro

from armillary.cli.command import execute, print_summary
from armillary.cli.engine import EngineOptions
from armillary.cli.options import read_run
from armillary.errors import CheckFailed, UsageError
from armillary.runs.engines import Engine
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import File, RunSettings, at_least

DataFile = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]

LATE = "samples out of order"
"""The measure that --fail-above looks at."""


@dataclass(frozen=True, kw_only=True)
class OrderingAuditSettings(RunSettings):
    """Count the samples in which a step stands before what supports it, and show them beside a better order.

    FILE is a file of rows (.jsonl, .json, .csv, .tsv, .parquet) of any length, a text such as a Python module or a
    file of proofs, or a folder of these. Its format is told by its marks; where that fails --format says it. A next
    step can be learned only from what stands to its left, so that support on the right is lost for training.
    """

    command: ClassVar[str] = "ordering audit"

    file: DataFile
    """File or folder of step data."""

    format: str = "auto"
    """How steps and their dependencies are read; auto tells it by their marks, and a name that is none lists all."""

    graph: Literal["discovery", "logical"] = "discovery"
    """discovery: what helps to find a step; logical: what a step follows from, where the data tell the two apart."""

    order: str = "seq"
    """Order that is proposed: seq (support first), bfs, logical, reversed, random or swap:P."""

    to: File = None
    """Where the data are written in the proposed order, in the shape of FILE; a file of rows may become .jsonl."""

    examples: int = 6
    """Samples that are shown side by side."""

    def __post_init__(self) -> None:
        at_least(self, examples=0)

    def files(self) -> dict[str, str]:
        """The data."""
        return {"file": self.file}

    def names(self) -> tuple[str, ...]:
        """The file's name."""
        return (Path(self.file).stem,)

    def dry(self) -> Self:
        """One example; the data are read all the same, which takes no model."""
        return replace(self, examples=min(self.examples, 1))

    def check(self) -> None:
        """Refuse an order, a format, a file or a target that can't be."""
        from armillary.methods.ordering.audit.sources import opened_source
        from armillary.methods.ordering.orders import permutation
        from armillary.methods.ordering.steps import Sample

        permutation(Sample("", ()), self.order)
        opened_source(self.file, self.format)


@dataclass(frozen=True, kw_only=True)
class AuditOptions(EngineOptions):
    """Where a run goes, what does the work, and when the command fails."""

    fail_above: Annotated[float | None, tyro.conf.arg(metavar="SHARE")] = None
    """Exit with 1 where more than this share of the samples with dependencies is out of order (0 to 1)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fail_above is not None and not 0 <= self.fail_above <= 1:
            raise UsageError(f"fail_above must be a share from 0 to 1, got {self.fail_above}.")


def audit_order(run: Run[OrderingAuditSettings], engine: Engine = Engine()) -> Outcome:
    """All samples of the file or folder, counted piece by piece, and written where that is asked for."""
    from contextlib import nullcontext

    from armillary.methods.ordering.audit.auditing import AuditPlan, audit_piece
    from armillary.methods.ordering.audit.page import audit_page
    from armillary.methods.ordering.audit.sources import opened_source
    from armillary.methods.ordering.audit.tally import OrderTally
    from armillary.methods.ordering.audit.writing import written

    settings = run.settings
    source = opened_source(settings.file, settings.format)
    plan = AuditPlan(
        reader=source.reader, order=settings.order, graph=settings.graph, seed=settings.seed,
        examples=settings.examples, rewrite=settings.to is not None,
    )  # fmt: skip
    tally, cut = OrderTally(), list(source.pieces())
    results = engine.results(OrderTally, cut, partial(audit_piece, plan=plan), run.parts, "audit order")
    with nullcontext(None) if settings.to is None else written(source, Path(settings.to)) as write:
        for piece, counts in zip(cut, results, strict=True):
            if write is not None:
                write(piece, counts.changed)
            tally.merge(counts, settings.examples)
        if not tally.samples:
            first = f" ({tally.refusals[0]})" if tally.refusals else ""
            raise UsageError(f"{settings.file} holds no sample that is read as {source.reader.name}{first}.")
    page = audit_page(
        tally, Path(settings.file).name, format=source.reader.name, order=settings.order,
        logical=settings.graph == "logical",
    )  # fmt: skip
    return Outcome(title=page.title, measures=page.measures, findings=page.findings, sections=page.sections)


JOBS = {
    "ordering audit": Job(
        settings=OrderingAuditSettings,
        work=audit_order,
        is_complete=lambda out, settings: settings.to is None or Path(settings.to).exists(),
    )
}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    settings, options = read_run(OrderingAuditSettings, arguments, AuditOptions)
    job = replace(JOBS["ordering audit"], work=partial(audit_order, engine=options.chosen()))
    record, out = execute(job, settings, options)
    print_summary(record, out, as_json=options.json)
    if not options.json and settings.to is not None:
        print(f"\nIn the order {settings.order}: {settings.to}")
    share = record.measures[LATE].estimate if LATE in record.measures else 0.0
    if options.fail_above is not None and share > options.fail_above:
        raise CheckFailed(f"{share:.1%} of the samples are out of order, more than {options.fail_above:.1%}.")
    return 0
