"""The claims of ICN (arXiv 2410.02284) on one model: run, measured, judged. ``armillary reproduce icn``."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from armillary.experiments import icn_stages as stages
from armillary.experiments.config import Preset, ReproduceConfig
from armillary.experiments.icn_claims import CLAIMS
from armillary.experiments.icn_lab import Laboratory, Metric
from armillary.experiments.icn_measures import measures
from armillary.experiments.icn_scale import SCALES
from armillary.experiments.icn_sections import findings, sections
from armillary.experiments.icn_training import fixed_keys
from armillary.experiments.reproduction import reproduced, reproduction_record
from armillary.models import LoadedModel
from armillary.progress import counted
from armillary.runs.claims import judge
from armillary.runs.folder import RunFolder
from armillary.runs.record import RunRecord

MODELS: dict[Preset, tuple[str, ...]] = {
    "quick": ("tiny-llama",),
    "laptop": ("smollm2-135m-instruct", "gemma-3-270m"),
    "gpu": ("smollm2-135m-instruct", "gemma-3-270m"),
}
"""Models judged by default, one record each."""


def run(config: ReproduceConfig, out: Path, *, fresh: bool = False) -> RunRecord:
    """The record with every claim judged, also left in ``out`` with its report; see ``reproduced``."""
    return reproduced(config, out, _judged, fresh=fresh)


def _measured(config: ReproduceConfig, loaded: LoadedModel, folder: RunFolder) -> tuple[dict[str, Any], Laboratory]:
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


def _judged(config: ReproduceConfig, loaded: LoadedModel, folder: RunFolder) -> RunRecord:
    found, lab = _measured(config, loaded, folder)
    measured = measures(found, lab.scale.seeds, lab.scale.top)
    claims = judge(CLAIMS, measured, _notes(found))
    sources = {source.name: source for one in lab.probes for source in one.source}
    return reproduction_record(
        config,
        loaded,
        folder,
        title=f"ICN reproduced on {loaded.name}",
        measures=measured,
        claims=claims,
        findings=findings(claims),
        sections=sections(found, measured),
        data=[asdict(source) for source in sources.values()],
    )


def _notes(found: dict[str, Any]) -> dict[str, str]:
    """A sentence to a claim where a stage has something to say."""
    lost = sum(one["unreachable"] for one in found["probes"])
    told = {"fixed-keys": "The embeddings are tied: keys are input vectors too."} if found["training"]["tied"] else {}
    if lost:
        told["more-correct-answers"] = f"{lost} answers can't be written with this tokenizer."
    return told
