"""What every reproduction does around its stages: open folder and model, resume, judge, leave one record."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from armillary.experiments.config import ReproduceConfig
from armillary.models import LoadedModel, load
from armillary.numerics.intervals import Interval
from armillary.runs.claims import ClaimResult
from armillary.runs.environment import machine, versions
from armillary.runs.folder import RunFolder
from armillary.runs.record import RunRecord
from armillary.runs.sections import Finding, Section

Judged = Callable[[ReproduceConfig, LoadedModel, RunFolder], RunRecord]


def reproduced(config: ReproduceConfig, out: Path, judged: Judged, *, fresh: bool = False) -> RunRecord:
    """The record that ``judged`` makes, also left in ``out`` with its report; one that is finished already is read.

    ``judged`` keeps its stages in the folder, so that a killed run goes on with the next. Raises ``ArmillaryError``.
    """
    with RunFolder.open(out, {"command": "reproduce", **asdict(config)}) as folder:
        loaded = load(config.model)
        folder.bind({"model": loaded.fingerprint})
        finished = None if fresh else folder.finished()
        if finished is not None:
            return finished
        record = judged(config, loaded, folder)
        folder.finish(record)
        return record


def reproduction_record(
    config: ReproduceConfig,
    loaded: LoadedModel,
    folder: RunFolder,
    *,
    title: str,
    measures: Mapping[str, Interval],
    claims: Sequence[ClaimResult],
    findings: Sequence[Finding],
    sections: Sequence[Section],
    data: Sequence[dict[str, Any]],
) -> RunRecord:
    """The record of a reproduction, its circumstances filled in."""
    return RunRecord(
        kind="reproduce",
        title=f"{title} ({config.preset})",
        config=folder.config,
        models={"model": loaded.facts()},
        seed=config.seed,
        measures=dict(measures),
        findings=list(findings),
        sections=list(sections),
        claims=list(claims),
        data=list(data),
        versions=versions(),
        machine=machine(),
        started=folder.started,
        seconds=folder.seconds,
    )
