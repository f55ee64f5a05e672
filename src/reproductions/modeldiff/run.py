"""The claims of Model-diff (arXiv 2412.12177) run, measured, judged. ``armillary reproduce modeldiff``.

Tables, grids and a zoo of character models trained here carry the claims; the model given shows the path on real
weights.
"""

from functools import partial

from armillary.cli.reproduce import ReproduceSettings, Reproduction
from armillary.numerics.intervals import Interval
from armillary.runs.run import Outcome, Run
from reproductions.modeldiff import stages, zoo
from reproductions.modeldiff.claims import CLAIMS, GRIDS, PAIRS
from reproductions.modeldiff.measures import Results, measures
from reproductions.modeldiff.report import figures, tables
from reproductions.modeldiff.scale import SCALES
from reproductions.page import judged_outcome
from reproductions.stages import counted_stages


def _results(run: Run[ReproduceSettings]) -> Results:
    scale, seed, store = SCALES[run.settings.preset], run.settings.seed, run.parts.arrays
    seeds = [seed + offset for offset in range(scale.zoo_seeds)]
    kinds = (*PAIRS, *GRIDS)
    total = len(kinds) + len(PAIRS) + 3 + scale.zoo_seeds + 1
    with counted_stages(run.parts, "Model-diff: stages", total) as stage:
        return Results(
            counted={
                kind: stage.run(list[stages.CountedPair], kind, partial(stages.counted, kind, scale, seed))
                for kind in kinds
            },
            covered={
                kind: stage.run(
                    list[stages.CoveredPair], f"{kind} covered", partial(stages.covered, kind, scale, seed)
                )
                for kind in PAIRS
            },
            hot=stage.run(list[stages.HotPair], "hot", lambda: stages.hot(scale, seed)),
            tempering=stage.run(list[stages.TemperedRun], "tempering", lambda: stages.tempered(scale, seed)),
            itself=stage.run(list[Interval], "itself", lambda: stages.itself(scale, seed)),
            families=[
                stage.run(zoo.FamilyResult, f"zoo {own}", partial(zoo.family, own, seeds, scale, store))
                for own in seeds
            ],
            real=stage.run(stages.RealResult, "real", lambda: stages.real(run.model, scale, seed, store)),
        )


def judged(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim judged."""
    results = _results(run)
    measured = measures(results)
    return judged_outcome(
        f"Model-diff reproduced, with {run.model.name}",
        CLAIMS,
        measured,
        figures=figures(results, measured),
        tables=tables(results),
        data=[],
    )


REPRODUCTIONS = {
    "modeldiff": Reproduction(work=judged),
}
