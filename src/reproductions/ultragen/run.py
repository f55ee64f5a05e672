"""The claims of UltraGen (arXiv 2502.12375): run, measured, judged; ``armillary reproduce ultragen, ultragen_real``.

A toy world in which every attribute has an exact oracle carries the claims on training; the model given only names
the record. ``ultragen_real`` asks the given model for attributes of real texts, with claims of its own.
"""

from functools import partial

from armillary.cli.reproduce import ReproduceSettings, Reproduction
from armillary.runs.run import Outcome, Run
from reproductions.page import judged_outcome
from reproductions.stages import counted_stages
from reproductions.ultragen import small_models as stages
from reproductions.ultragen.claims import CLAIMS
from reproductions.ultragen.measures import measures
from reproductions.ultragen.real.claims import REAL_CLAIMS
from reproductions.ultragen.real.given_model import RealResult, Witnessed, asked, witnessed
from reproductions.ultragen.real.measures import real_measures
from reproductions.ultragen.real.report import real_figures, real_tables
from reproductions.ultragen.real.texts import sources
from reproductions.ultragen.report import figures, tables
from reproductions.ultragen.scale import SCALES
from reproductions.ultragen.small_models import ARMS, ArmResult, Context, SeedResult


def judged(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim that the toy world carries, judged."""
    config, parts = run.settings, run.parts
    scale = SCALES[config.preset]
    results: list[SeedResult] = []
    with counted_stages(parts, "UltraGen: stages", scale.seeds * (len(ARMS) + 1)) as stage:
        for seed in range(config.seed, config.seed + scale.seeds):
            context = Context(scale, seed, parts)
            arms = {name: stage.run(ArmResult, f"{name} {seed}", partial(stages.arm, context, name)) for name in ARMS}
            results.append(stage.run(SeedResult, f"seed {seed}", partial(stages.seed_result, context, arms)))
    measured = measures(results)
    return judged_outcome(
        f"UltraGen reproduced in a toy world, {scale.seeds} seeds",
        CLAIMS,
        measured,
        figures=figures(results),
        tables=tables(results, measured),
        data=[],
    )


def judged_real(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim on the given model and real texts, judged."""
    config, loaded, parts = run.settings, run.model, run.parts
    scale = SCALES[config.preset].real
    with counted_stages(parts, "UltraGen on real texts", 2) as stage:
        witness = stage.run(Witnessed, "witness", partial(witnessed, scale))
        result = stage.run(RealResult, "answers", partial(asked, loaded, scale, config.seed))
    return judged_outcome(
        f"UltraGen's attributes asked of {loaded.name}",
        REAL_CLAIMS,
        real_measures(result, witness),
        figures=real_figures(result),
        tables=real_tables(result),
        data=sources(),
    )


REPRODUCTIONS = {"ultragen": Reproduction(work=judged), "ultragen_real": Reproduction(work=judged_real)}
