"""The claims of Model-diff (arXiv 2412.12177) run, measured, judged. ``armillary reproduce modeldiff``.

Tables, grids and a zoo of character models trained here carry the claims; the model given shows the path on real
weights.
"""

from functools import cache, partial

from armillary.cli.reproduce import ReproduceSettings, Reproduction
from armillary.data.texts.corpora import corpus_source
from armillary.methods.modeldiff.ancestry import Lineage
from armillary.methods.modeldiff.report import text_sections
from armillary.methods.modeldiff.text_mode import TextComparison
from armillary.models import LoadedModel, load
from armillary.runs.run import Outcome, Run
from reproductions.modeldiff import stages, zoo
from reproductions.modeldiff.claims import CLAIMS, PAIRS
from reproductions.modeldiff.measures import GRIDS, Results, measures
from reproductions.modeldiff.report import figures, tables
from reproductions.modeldiff.scale import SCALES
from reproductions.page import judged_outcome
from reproductions.stages import counted_stages


def _results(run: Run[ReproduceSettings]) -> Results:
    scale, seed, loaded, store = SCALES[run.settings.preset], run.settings.seed, run.model, run.parts.arrays
    seeds = [seed + offset for offset in range(scale.zoo_seeds)]

    @cache
    def changed() -> LoadedModel:
        # Made at most once, and only where a stage is not kept already.
        return stages.trained_on(loaded, scale, seed)

    total = len(PAIRS) + len(GRIDS) + 2 + scale.zoo_seeds + 3
    with counted_stages(run.parts, "Model-diff: stages", total) as stage:
        known = {
            pair: stage.run(stages.KnownRuns, pair, partial(stages.enumerated, pair, scale, seed)) for pair in PAIRS
        }
        known |= {
            grid: stage.run(stages.KnownRuns, grid, partial(stages.gridded, grid, scale, seed)) for grid in GRIDS
        }
        return Results(
            known=known,
            hot=stage.run(stages.HotRuns, "hot", lambda: stages.wrong_weights(scale, seed)),
            tempering=stage.run(list[stages.TemperedRun], "tempering", lambda: stages.tempered(scale, seed)),
            families=[
                stage.run(zoo.FamilyResult, f"zoo {own}", partial(zoo.family, own, seeds, scale, store))
                for own in seeds
            ],
            copies=stage.run(Lineage, "copies", lambda: stages.copies(loaded, changed(), scale, seed, store)),
            both_ways=stage.run(
                stages.BothWays, "both ways", lambda: stages.both_ways(loaded, changed(), scale, seed, store)
            ),
            texts=stage.run(
                TextComparison,
                "texts",
                lambda: stages.other_tokenizer(loaded, load(scale.partner), scale, seed, store),
            ),
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
        more=text_sections(results.texts),
        data=[corpus_source(stages.CORPUS)],
    )


REPRODUCTIONS = {
    "modeldiff": Reproduction(work=judged),
}
