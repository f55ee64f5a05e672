"""The claims of LinCorr (arXiv 2502.04520) on one model: run, measured, judged. ``armillary reproduce lincorr``."""

from collections.abc import Callable
from functools import partial
from typing import Any

from armillary.cli.reproduce import BOTH, ReproduceSettings, Reproduction
from armillary.data import relation
from armillary.data.texts.corpora import corpus_source
from armillary.models import LoadedModel
from armillary.progress import counted
from armillary.records.claims import judge
from armillary.runs.folder import RunFolder
from armillary.runs.run import Outcome, Run
from reproductions.lincorr import stages
from reproductions.lincorr.claims import CLAIMS
from reproductions.lincorr.measures import measures, notes
from reproductions.lincorr.report import findings, sections
from reproductions.lincorr.scale import RELATIONS, SCALES


def _measured(config: ReproduceSettings, loaded: LoadedModel, folder: RunFolder) -> dict[str, Any]:
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


def judged(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim judged."""
    config, loaded, folder = run.settings, run.model, run.folder
    found, seeds = _measured(config, loaded, folder), SCALES[config.preset].seeds
    measured = measures(found, seeds)
    claims = judge(CLAIMS, measured, notes(found))
    sources = {source.name: source for name in RELATIONS for source in relation(name).source}
    return Outcome(
        title=f"LinCorr reproduced on {loaded.name}",
        measures=measured,
        claims=claims,
        findings=findings(claims),
        sections=sections(found, seeds),
        data=[*sources.values(), corpus_source(stages.OTHER_TEXT)],
    )


REPRODUCTIONS = {
    "lincorr": Reproduction(work=judged, laptop=BOTH, gpu=BOTH),
}
