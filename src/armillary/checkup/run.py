"""The check-up itself: open the model, run every listed diagnosis, leave one record."""

from functools import partial
from pathlib import Path
from typing import Any

from armillary.checkup import neurons, relations
from armillary.checkup.anatomy import ANATOMY
from armillary.checkup.config import CheckupConfig
from armillary.checkup.diagnosis import CORPORA, Context, Diagnosed, Diagnosis
from armillary.checkup.keys import KEYS
from armillary.checkup.layers import LAYERS
from armillary.checkup.neurons import NEURONS
from armillary.checkup.predictions import PREDICTIONS
from armillary.checkup.relations import RELATIONS
from armillary.data.texts.corpora import corpus_source
from armillary.progress import found, piece, planned, watched
from armillary.records.record import RunRecord
from armillary.records.sections import Finding
from armillary.runs.run import Job, Outcome, Run

DIAGNOSES: tuple[Diagnosis[Any], ...] = (RELATIONS, KEYS, LAYERS, NEURONS, PREDICTIONS, ANATOMY)
"""Everything the check-up looks at, in the order of the report. A new diagnosis is plugged in by being listed here."""

FIRST = 3
"""Findings that are shown while others are still sought: as many as the command ends with."""

Results = dict[str, Any]
"""The result of each diagnosis by its name, of the class that the diagnosis gives."""


def examine(run: Run[CheckupConfig]) -> Outcome:
    """Every diagnosis of the model."""
    results = _measured(Context(loaded=run.model, config=run.settings, parts=run.parts))
    diagnosed = _diagnosed(results)
    return Outcome(
        title=f"Check-up of {run.model.name}",
        measures={name: value for outcome in diagnosed for name, value in outcome.measures.items()},
        findings=_ranked(diagnosed),
        sections=[outcome.section for outcome in diagnosed],
        data=(*relations.sources(), *map(corpus_source, CORPORA), *neurons.sources()),
    )


def run_checkup(config: CheckupConfig, out: Path, *, fresh: bool = False) -> RunRecord:
    """The record of a check-up, also left in ``out`` with its report.

    A run that was killed goes on with the first unfinished part; one that is finished is returned as it stands unless
    ``fresh``. Raises ``ArmillaryError`` for a model that can't be opened or gives unusable numbers.
    """
    return Job(settings=CheckupConfig, work=examine).run(config, out, fresh=fresh)


def _measured(context: Context) -> Results:
    """All results. The quickest diagnosis comes first, so that there is something to see soon."""
    results: Results = {}
    costs = {diagnosis.name: diagnosis.cost(context.config) for diagnosis in DIAGNOSES}
    with planned(f"Check-up of {context.loaded.name}", costs):
        for diagnosis in sorted(DIAGNOSES, key=lambda one: costs[one.name]):
            with piece(diagnosis.name):
                results[diagnosis.name] = context.parts.decoded(
                    diagnosis.result, diagnosis.name, partial(diagnosis.measure, context)
                )
            if watched():
                first = _ranked(_diagnosed(results))[:FIRST]
                heading = f"Most interesting so far ({len(results)} of {len(DIAGNOSES)} diagnoses):"
                found(heading if first else "", [(f"{place}.", one.text) for place, one in enumerate(first, 1)])
    return results


def _diagnosed(results: Results) -> list[Diagnosed]:
    """What each diagnosis that has a result adds, in the order of the report."""
    there = [diagnosis for diagnosis in DIAGNOSES if diagnosis.name in results]
    return [describe(results[diagnosis.name]) for diagnosis in there for describe in diagnosis.descriptions]


def _ranked(diagnosed: list[Diagnosed]) -> list[Finding]:
    findings = [finding for outcome in diagnosed for finding in outcome.findings]
    return sorted(findings, key=lambda finding: -finding.interest)
