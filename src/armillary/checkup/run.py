"""The check-up itself: open the model (and the earlier one), run every listed diagnosis, leave one record."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from armillary.checkup import neurons, relations
from armillary.checkup.anatomy import ANATOMY
from armillary.checkup.config import CheckupConfig
from armillary.checkup.diagnosis import CORPORA, Context, Diagnosed, Diagnosis, PairDiagnosis, Payload
from armillary.checkup.disagreement import DISAGREEMENT
from armillary.checkup.keys import KEYS
from armillary.checkup.layers import RANK, SPARSITY
from armillary.checkup.neurons import NEURONS
from armillary.checkup.predictions import PREDICTIONS
from armillary.checkup.relations import RELATIONS
from armillary.data.sources import DataSource
from armillary.data.texts.corpora import corpus_source
from armillary.models import LoadedModel
from armillary.progress import counted
from armillary.records.record import RunRecord
from armillary.runs.parts import Parts
from armillary.runs.run import Job, Outcome, Run

DIAGNOSES: tuple[Diagnosis, ...] = (RELATIONS, KEYS, RANK, SPARSITY, NEURONS, PREDICTIONS, ANATOMY)
"""Everything the check-up looks at, in the order of the report. A new diagnosis is plugged in by being listed here."""

PAIR_DIAGNOSES: tuple[PairDiagnosis, ...] = (DISAGREEMENT,)
"""What needs the earlier model and this one at once; told after the other changes."""


def examine(run: Run[CheckupConfig]) -> Outcome:
    """Every diagnosis of the model, of the earlier one, and of what changed between them."""
    config, models = run.settings, run.models
    payloads = {role: _measure(role, loaded, config, run.parts) for role, loaded in models.items()}
    pair = _measure_pair(models, config, run.parts) if "before" in models else {}
    diagnosed = _tell(payloads, pair)
    findings = [finding for outcome in diagnosed for finding in outcome.findings]
    return Outcome(
        title=f"Check-up of {run.model.name}" + (f", against {config.before}" if config.before else ""),
        measures={name: value for outcome in diagnosed for name, value in outcome.measures.items()},
        findings=sorted(findings, key=lambda finding: -finding.interest),
        sections=[outcome.section for outcome in diagnosed],
        data=_sources(config),
    )


def run_checkup(config: CheckupConfig, out: Path, *, fresh: bool = False) -> RunRecord:
    """The record of a check-up, also left in ``out`` with its report.

    A run that was killed goes on with the first unfinished part; one that is finished is returned as it stands unless
    ``fresh``. Raises ``ArmillaryError`` for a model that can't be opened or gives unusable numbers.
    """
    return Job(settings=CheckupConfig, work=examine).run(config, out, fresh=fresh)


def _measure(role: str, loaded: LoadedModel, config: CheckupConfig, parts: Parts) -> dict[str, Payload]:
    context = Context(loaded=loaded, config=config, parts=parts, role=role)
    payloads: dict[str, Payload] = {}
    named = {diagnosis.name: diagnosis for diagnosis in DIAGNOSES}
    with counted(f"Check-up of {loaded.name}", len(named)) as bar:
        for name, diagnosis in named.items():
            payloads[name] = parts.json(f"{role} {name}", partial(diagnosis.measure, context))
            bar.advance()
    return payloads


def _measure_pair(models: dict[str, LoadedModel], config: CheckupConfig, parts: Parts) -> dict[str, Payload]:
    before, after = (
        Context(loaded=models[role], config=config, parts=parts, role=role) for role in ("before", "model")
    )
    return {one.name: parts.json(f"pair {one.name}", partial(one.measure, before, after)) for one in PAIR_DIAGNOSES}


def _tell(payloads: dict[str, dict[str, Payload]], pair: dict[str, Payload]) -> list[Diagnosed]:
    """What changed first, then the examined model, then the earlier one."""
    outcomes = [diagnosis.describe(payloads["model"][diagnosis.name]) for diagnosis in DIAGNOSES]
    if "before" not in payloads:
        return outcomes
    changes = [
        diagnosis.compare(payloads["before"][diagnosis.name], payloads["model"][diagnosis.name])
        for diagnosis in DIAGNOSES
        if diagnosis.compare is not None
    ]
    changes += [diagnosis.describe(pair[diagnosis.name]) for diagnosis in PAIR_DIAGNOSES]
    earlier = [_as_before(diagnosis.describe(payloads["before"][diagnosis.name])) for diagnosis in DIAGNOSES]
    return [*changes, *(_behind_changes(outcome) for outcome in outcomes), *earlier]


def _behind_changes(outcome: Diagnosed) -> Diagnosed:
    """With an earlier model beside it, what changed is what was asked for: the rest is told after it."""
    findings = [replace(finding, interest=finding.interest / 4) for finding in outcome.findings]
    return replace(outcome, findings=findings)


def _as_before(outcome: Diagnosed) -> Diagnosed:
    section = replace(outcome.section, id=f"before-{outcome.section.id}", title=f"Before: {outcome.section.title}")
    return Diagnosed(section=section, measures={f"before/{name}": value for name, value in outcome.measures.items()})


def _sources(config: CheckupConfig) -> tuple[DataSource, ...]:
    """Where words and texts come from, each source once."""
    corpora = (corpus_source(name) for name in CORPORA)
    return tuple(dict.fromkeys((*relations.sources(), *corpora, *neurons.sources(config))))
