"""The check-up itself: open the model (and the earlier one), run every listed diagnosis, leave one record."""

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from armillary.checkup import neurons, relations
from armillary.checkup.anatomy import ANATOMY
from armillary.checkup.config import CheckupConfig
from armillary.checkup.diagnosis import CORPORA, Context, Diagnosis, Outcome, PairDiagnosis, Payload
from armillary.checkup.disagreement import DISAGREEMENT
from armillary.checkup.keys import KEYS
from armillary.checkup.layers import RANK, SPARSITY
from armillary.checkup.neurons import NEURONS
from armillary.checkup.predictions import PREDICTIONS
from armillary.checkup.relations import RELATIONS
from armillary.data.sources import Source
from armillary.data.texts import corpus_source
from armillary.models import LoadedModel, load
from armillary.progress import counted
from armillary.runs.environment import machine, versions
from armillary.runs.folder import RunFolder
from armillary.runs.record import RunRecord

DIAGNOSES: tuple[Diagnosis, ...] = (RELATIONS, KEYS, RANK, SPARSITY, NEURONS, PREDICTIONS, ANATOMY)
"""Everything the check-up looks at, in the order of the report. A new diagnosis is plugged in by being listed here."""

PAIR_DIAGNOSES: tuple[PairDiagnosis, ...] = (DISAGREEMENT,)
"""What needs the earlier model and this one at once; told after the other changes."""


def run_checkup(config: CheckupConfig, out: Path, *, fresh: bool = False) -> RunRecord:
    """The record of a check-up, also left in ``out`` with its report.

    A run that was killed goes on with the first unfinished part; one that is finished is returned as it stands unless
    ``fresh``. Raises ``ArmillaryError`` for a model that can't be opened or gives unusable numbers.
    """
    with RunFolder.open(out, {"command": "checkup", **asdict(config)}) as folder:
        models = {"model": load(config.model, trust_remote_code=config.trust_remote_code)}
        if config.before is not None:
            models["before"] = load(config.before, trust_remote_code=config.trust_remote_code)
        folder.bind({role: loaded.fingerprint for role, loaded in models.items()})
        finished = None if fresh else folder.finished()
        if finished is not None:
            return finished
        payloads = {role: _measure(role, loaded, config, folder) for role, loaded in models.items()}
        pair = _measure_pair(models, config, folder) if "before" in models else {}
        record = _record(config, models, _tell(payloads, pair), folder)
        folder.finish(record)
        return record


def _measure(role: str, loaded: LoadedModel, config: CheckupConfig, folder: RunFolder) -> dict[str, Payload]:
    context = Context(loaded=loaded, config=config, parts=folder.parts, role=role)
    payloads: dict[str, Payload] = {}
    named = {diagnosis.name: diagnosis for diagnosis in DIAGNOSES}
    with counted(f"Check-up of {loaded.name}", len(named)) as bar:
        for name, diagnosis in named.items():
            payloads[name] = folder.parts.json(f"{role} {name}", partial(diagnosis.measure, context))
            bar.advance()
    return payloads


def _measure_pair(models: dict[str, LoadedModel], config: CheckupConfig, folder: RunFolder) -> dict[str, Payload]:
    before, after = (
        Context(loaded=models[role], config=config, parts=folder.parts, role=role) for role in ("before", "model")
    )
    return {
        one.name: folder.parts.json(f"pair {one.name}", partial(one.measure, before, after)) for one in PAIR_DIAGNOSES
    }


def _tell(payloads: dict[str, dict[str, Payload]], pair: dict[str, Payload]) -> list[Outcome]:
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


def _behind_changes(outcome: Outcome) -> Outcome:
    """With an earlier model beside it, what changed is what was asked for: the rest is told after it."""
    findings = [replace(finding, interest=finding.interest / 4) for finding in outcome.findings]
    return replace(outcome, findings=findings)


def _as_before(outcome: Outcome) -> Outcome:
    section = replace(outcome.section, id=f"before-{outcome.section.id}", title=f"Before: {outcome.section.title}")
    return Outcome(section=section, measures={f"before/{name}": value for name, value in outcome.measures.items()})


def _record(
    config: CheckupConfig, models: dict[str, LoadedModel], outcomes: list[Outcome], folder: RunFolder
) -> RunRecord:
    findings = [finding for outcome in outcomes for finding in outcome.findings]
    return RunRecord(
        kind="checkup",
        title=f"Check-up of {models['model'].name}" + (f", against {config.before}" if config.before else ""),
        config=folder.config,
        models={role: loaded.facts() for role, loaded in models.items()},
        seed=config.seed,
        measures={name: value for outcome in outcomes for name, value in outcome.measures.items()},
        findings=sorted(findings, key=lambda finding: -finding.interest),
        sections=[outcome.section for outcome in outcomes],
        data=[asdict(source) for source in _sources(config)],
        versions=versions(),
        machine=machine(),
        started=folder.started,
        seconds=folder.seconds,
    )


def _sources(config: CheckupConfig) -> tuple[Source, ...]:
    """Where words and texts come from, each source once."""
    corpora = (corpus_source(name) for name in CORPORA)
    return tuple(dict.fromkeys((*relations.sources(), *corpora, *neurons.sources(config))))
