"""The check-up itself: open the model (and the earlier one), run every listed diagnosis, leave one record."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from armillary.checkup import neurons, relations
from armillary.checkup.anatomy import ANATOMY
from armillary.checkup.config import CheckupConfig
from armillary.checkup.diagnosis import CORPORA, Context, Diagnosed, Diagnosis, PairDiagnosis
from armillary.checkup.disagreement import DISAGREEMENT
from armillary.checkup.keys import KEYS
from armillary.checkup.layers import LAYERS
from armillary.checkup.neurons import NEURONS
from armillary.checkup.predictions import PREDICTIONS
from armillary.checkup.relations import RELATIONS
from armillary.data.texts.corpora import corpus_source
from armillary.progress import counted
from armillary.records.record import RunRecord
from armillary.runs.run import Job, Outcome, Run

DIAGNOSES: tuple[Diagnosis[Any], ...] = (RELATIONS, KEYS, LAYERS, NEURONS, PREDICTIONS, ANATOMY)
"""Everything the check-up looks at, in the order of the report. A new diagnosis is plugged in by being listed here."""

PAIR_DIAGNOSES: tuple[PairDiagnosis[Any], ...] = (DISAGREEMENT,)
"""What needs the earlier model and this one at once; shown after the other changes."""

Results = dict[str, Any]
"""The result of each diagnosis by its name, of the class that the diagnosis gives."""


def examine(run: Run[CheckupConfig]) -> Outcome:
    """Every diagnosis of the model, of the earlier one, and of what changed between them."""
    config, models = run.settings, run.models
    contexts = {
        role: Context(loaded=loaded, config=config, parts=run.parts, role=role) for role, loaded in models.items()
    }
    results = {role: _measured(context) for role, context in contexts.items()}
    if "before" in results:
        changes = _changes(results["before"], results["model"]) + _pair_changes(contexts["before"], contexts["model"])
        diagnosed = [*changes, *_behind_changes(results["model"]), *_as_before(results["before"])]
    else:
        diagnosed = _described(results["model"])
    findings = [finding for outcome in diagnosed for finding in outcome.findings]
    return Outcome(
        title=f"Check-up of {run.model.name}" + (f", against {config.before}" if config.before else ""),
        measures={name: value for outcome in diagnosed for name, value in outcome.measures.items()},
        findings=sorted(findings, key=lambda finding: -finding.interest),
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
    results: Results = {}
    with counted(f"Check-up of {context.loaded.name}", len(DIAGNOSES)) as bar:
        for diagnosis in DIAGNOSES:
            results[diagnosis.name] = context.parts.decoded(
                diagnosis.result, f"{context.role} {diagnosis.name}", partial(diagnosis.measure, context)
            )
            bar.advance()
    return results


def _described(results: Results) -> list[Diagnosed]:
    """Every section of one model, in the order of the report."""
    return [
        description.describe(results[diagnosis.name])
        for diagnosis in DIAGNOSES
        for description in diagnosis.descriptions
    ]


def _changes(before: Results, after: Results) -> list[Diagnosed]:
    return [
        description.compare(before[diagnosis.name], after[diagnosis.name])
        for diagnosis in DIAGNOSES
        for description in diagnosis.descriptions
        if description.compare is not None
    ]


def _pair_changes(before: Context, after: Context) -> list[Diagnosed]:
    return [
        pair.describe(after.parts.decoded(pair.result, f"pair {pair.name}", partial(pair.measure, before, after)))
        for pair in PAIR_DIAGNOSES
    ]


def _behind_changes(results: Results) -> list[Diagnosed]:
    """With an earlier model beside it, what changed is what the reader wants to know: the rest comes after it."""
    return [
        replace(outcome, findings=[replace(finding, interest=finding.interest / 4) for finding in outcome.findings])
        for outcome in _described(results)
    ]


def _as_before(results: Results) -> list[Diagnosed]:
    """The earlier model's sections and measures, named as such, without findings."""
    return [
        Diagnosed(
            section=replace(
                outcome.section, id=f"before-{outcome.section.id}", title=f"Before: {outcome.section.title}"
            ),
            measures={f"before/{name}": value for name, value in outcome.measures.items()},
        )
        for outcome in _described(results)
    ]
