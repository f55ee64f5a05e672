"""The claims of LinCorr (arXiv 2502.04520) on one model: run, measured, judged. ``armillary reproduce lincorr``."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from armillary.data import relation
from armillary.data.texts import corpus_source
from armillary.experiments import lincorr_stages as stages
from armillary.experiments.config import Preset, ReproduceConfig
from armillary.experiments.lincorr_claims import CLAIMS
from armillary.experiments.lincorr_measures import measures, notes
from armillary.experiments.lincorr_scale import RELATIONS, SCALES
from armillary.experiments.lincorr_sections import findings, sections
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


def _measured(config: ReproduceConfig, loaded: LoadedModel, folder: RunFolder) -> dict[str, Any]:
    scale = SCALES[config.preset]
    lab = stages.Laboratory(loaded, scale, config.seed, folder.parts)
    found: dict[str, Any] = {}

    def stage(name: str, compute: Callable[[], Any]) -> None:
        found[name] = folder.parts.json(f"stage {name}", compute)
        bar.advance()

    with counted(f"LinCorr on {loaded.name}", scale.seeds + 7) as bar:
        for offset in range(scale.seeds):
            stage(f"correlations {offset}", partial(stages.correlations, lab, offset))
        stage("rate", lambda: stages.rate(lab))
        stage("edits", lambda: stages.edits(lab, "city-country", found["rate"]))
        stage("edits add1-add2", lambda: stages.edits(lab, "add1-add2", {**found["rate"], "pilots": []}))
        stage("gradients", lambda: stages.gradients(lab))
        stage("vocabulary", lambda: stages.vocabulary(lab))
        stage("completeness", lambda: stages.completeness_of_words(lab))
        stage("resilience", lambda: stages.resilience(lab))
    return found


def _judged(config: ReproduceConfig, loaded: LoadedModel, folder: RunFolder) -> RunRecord:
    found, seeds = _measured(config, loaded, folder), SCALES[config.preset].seeds
    measured = measures(found, seeds)
    claims = judge(CLAIMS, measured, notes(found))
    sources = {source.name: source for name in RELATIONS for source in relation(name).source}
    return reproduction_record(
        config,
        loaded,
        folder,
        title=f"LinCorr reproduced on {loaded.name}",
        measures=measured,
        claims=claims,
        findings=findings(claims),
        sections=sections(found, seeds),
        data=[asdict(source) for source in (*sources.values(), corpus_source(stages.OTHER_TEXT))],
    )
