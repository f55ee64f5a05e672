"""The claims of ICN (arXiv 2410.02284) on one model: run, measured, judged. ``armillary reproduce icn``."""

from collections.abc import Callable
from functools import partial
from typing import Any

from armillary.cli.reproduce import BOTH, ReproduceSettings, Reproduction
from armillary.models import LoadedModel
from armillary.progress import counted
from armillary.records.claims import judge
from armillary.runs.folder import RunFolder
from armillary.runs.run import Outcome, Run
from reproductions.icn import stages
from reproductions.icn.claims import CLAIMS
from reproductions.icn.measures import measures
from reproductions.icn.report import findings, sections
from reproductions.icn.scale import SCALES
from reproductions.icn.stages import Laboratory, Metric, fixed_keys


def _measured(config: ReproduceSettings, loaded: LoadedModel, folder: RunFolder) -> tuple[dict[str, Any], Laboratory]:
    scale = SCALES[config.preset]
    lab = Laboratory(loaded, scale, config.seed, folder.parts)
    found: dict[str, Any] = {}

    def stage(name: str, compute: Callable[[], Any]) -> Any:
        value = folder.parts.json(f"stage {name}", compute)
        bar.advance()
        return value

    with counted(f"ICN on {loaded.name}", 2 * scale.seeds + len(lab.probes) + scale.open_instructions + 2) as bar:
        metrics: tuple[Metric, ...] = ("cosine", "euclidean")
        for metric in metrics:
            for offset in range(scale.seeds):
                name = f"clusters {metric} {offset}"
                found[name] = stage(name, partial(stages.clusters, lab, metric, offset))
        found["probes"] = [
            stage(f"probe {index}", partial(stages.probing, lab, index)) for index in range(len(lab.probes))
        ]
        found["open"] = [
            stage(f"open {index}", partial(stages.open_ended, lab, index)) for index in range(scale.open_instructions)
        ]
        found["chains"] = stage("chains", lambda: stages.chains(lab))
        found["training"] = stage("training", lambda: fixed_keys(lab))
    return found, lab


def judged(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim judged."""
    config, loaded, folder = run.settings, run.model, run.folder
    found, lab = _measured(config, loaded, folder)
    measured = measures(found, lab.scale.seeds, lab.scale.top)
    claims = judge(CLAIMS, measured, _notes(found))
    sources = {source.name: source for one in lab.probes for source in one.source}
    return Outcome(
        title=f"ICN reproduced on {loaded.name}",
        measures=measured,
        claims=claims,
        findings=findings(claims),
        sections=sections(found, measured),
        data=list(sources.values()),
    )


def _notes(found: dict[str, Any]) -> dict[str, str]:
    """A sentence to a claim where a stage has something to say."""
    lost = sum(one["unreachable"] for one in found["probes"])
    told = {"fixed-keys": "The embeddings are tied: keys are input vectors too."} if found["training"]["tied"] else {}
    if lost:
        told["more-correct-answers"] = f"{lost} answers can't be written with this tokenizer."
    return told


REPRODUCTIONS = {
    "icn": Reproduction(work=judged, laptop=BOTH, gpu=BOTH),
}
