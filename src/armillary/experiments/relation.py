"""One relation on one model as a run of its own: what ``armillary lincorr`` leaves."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from armillary.errors import UsageError
from armillary.experiments.relation_sections import findings, section
from armillary.runs.environment import machine, versions
from armillary.runs.folder import RunFolder
from armillary.runs.record import RunRecord

if TYPE_CHECKING:
    from armillary.data.relations import Relation
    from armillary.methods.lincorr.result import RelationResult


@dataclass(frozen=True, kw_only=True)
class RelationRunConfig:
    """What is measured; the fields are those of ``LinCorrConfig`` where they share a name."""

    model: str
    relation: str | None = None
    """Id of a shipped relation."""

    relation_file: str | None = None
    """A TOML file with a relation of the user's; one of the two is given."""

    n: int = 3000
    policy: Literal["single", "full", "first", "error"] = "single"
    ridge: float | Literal["gcv"] = "gcv"
    space: Literal["logits", "logp"] = "logits"
    seed: int = 0
    trust_remote_code: bool = False


def run_relation(config: RelationRunConfig, out: Path, *, fresh: bool = False) -> RunRecord:
    """The record of one relation, also left in ``out`` with its report; resumes like every run.

    Raises ``ArmillaryError`` for an unknown relation, a wrong relation file, a model that can't be opened, or words
    that its tokenizer can't say.
    """
    chosen = _chosen(config)
    settings = {"command": "lincorr", **asdict(config)}
    with RunFolder.open(out, settings) as folder:
        # Opened late: a wrong relation should be told before torch and a model are loaded.
        from armillary.methods.lincorr import LinCorrConfig, study
        from armillary.models import load

        loaded = load(config.model, trust_remote_code=config.trust_remote_code)
        folder.bind({"model": loaded.fingerprint})
        finished = None if fresh else folder.finished()
        if finished is not None:
            return finished
        shared = {name: getattr(config, name) for name in ("n", "policy", "ridge", "space", "seed")}
        done = study(loaded, [chosen], LinCorrConfig(**shared), store=folder.parts.arrays)
        if done.skipped:
            raise UsageError(done.skipped[chosen.id])
        record = _record(done.results[chosen.id], chosen, loaded.facts(), folder)
        folder.finish(record)
        return record


def _chosen(config: RelationRunConfig) -> "Relation":
    from armillary.data import load_relation_file, relation

    if config.relation_file is not None:
        return load_relation_file(config.relation_file)
    return relation(config.relation or "city-country")


def _record(result: "RelationResult", chosen: "Relation", facts: dict[str, Any], folder: RunFolder) -> RunRecord:
    payload = result.to_dict()
    measures = dict(result.intervals())
    measures |= {f"{hit.direction} hit@{hit.n}, {hit.weights}, {hit.fit}": hit.rate for hit in result.hits}
    return RunRecord(
        kind="lincorr",
        title=f"{chosen.id} in {facts['name']}",
        config=folder.config,
        models={"model": facts},
        seed=int(folder.config["seed"]),
        measures=measures,
        findings=findings(payload),
        sections=[section(payload)],
        data=[asdict(source) for source in chosen.source],
        versions=versions(),
        machine=machine(),
        started=folder.started,
        seconds=folder.seconds,
    )
