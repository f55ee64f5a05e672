"""The claims of Model-diff (arXiv 2412.12177) run, measured, judged. ``armillary reproduce modeldiff``.

Tables, grids and a zoo of character models trained here carry the claims; the model given shows the path on real
weights.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from armillary.cli.reproduce import ReproduceSettings, Reproduction
from armillary.data.texts.corpora import corpus_source
from armillary.models import LoadedModel, load
from armillary.progress import counted
from armillary.records.claims import judge
from armillary.runs.folder import RunFolder
from armillary.runs.run import Outcome, Run
from reproductions.modeldiff import stages, zoo
from reproductions.modeldiff.claims import CLAIMS, PAIRS
from reproductions.modeldiff.measures import GRIDS, measures
from reproductions.modeldiff.report import findings, sections
from reproductions.modeldiff.scale import SCALES
from reproductions.modeldiff.zoo import ZOO_SCALES

Found = dict[str, Any]


def _measured(config: ReproduceSettings, loaded: LoadedModel, folder: RunFolder) -> Found:
    scale, found = SCALES[config.preset], {}
    with counted("Model-diff: stages", len(PAIRS) + len(GRIDS) + 2 + scale.zoo_seeds + 3) as bar:

        def stage(name: str, compute: Callable[[], Any]) -> Any:
            value = folder.parts.json(f"stage {name}", compute)
            bar.advance()
            return value

        for pair in PAIRS:
            found[pair] = stage(pair, partial(stages.enumerated, pair, scale, config.seed))
        for grid in GRIDS:
            found[grid] = stage(grid, partial(stages.gridded, grid, scale, config.seed))
        found["hot"] = stage("hot", lambda: stages.wrong_weights(scale, config.seed))
        found["tempering"] = stage("tempering", lambda: stages.tempered(scale, config.seed))
        seeds = [config.seed + offset for offset in range(scale.zoo_seeds)]
        found["zoo"] = {
            "seeds": [stage(f"zoo {seed}", partial(_family, seed, seeds, config, folder)) for seed in seeds]
        }
        _real(config, loaded, folder, found, stage)
    return found


def _family(seed: int, seeds: list[int], config: ReproduceSettings, folder: RunFolder) -> Found:
    """The zoo of one seed; the base models of the other seeds are strangers trained on the same language."""
    scale, zoo_scale = SCALES[config.preset], ZOO_SCALES[config.preset]
    models = zoo.open_family(seed, zoo_scale, folder.parts.arrays)
    strangers = {
        f"stranger {other} {kind}": model
        for other in seeds
        if other != seed
        for kind, model in zoo.open_family(other, zoo_scale, folder.parts.arrays).items()
        if kind in ("base", "other seed")
    }
    return {
        "quality": zoo.quality(models, zoo_scale),
        "kin": zoo.kinship(models, strangers, seed, scale, zoo_scale),
        "rated": zoo.rated(models, seed, scale),
    }


def _real(
    config: ReproduceSettings, loaded: LoadedModel, folder: RunFolder, found: Found, stage: Callable[..., Any]
) -> None:
    scale, keep = SCALES[config.preset], folder.parts.arrays
    made: list[LoadedModel] = []

    def changed() -> LoadedModel:
        # Made at most once, and only where a stage is not kept already.
        if not made:
            made.append(stages.trained_on(loaded, scale, config.seed))
        return made[0]

    found["copies"] = stage("copies", lambda: stages.copies(loaded, changed(), scale, config.seed, keep))
    found["both ways"] = stage("both ways", lambda: stages.both_ways(loaded, changed(), scale, config.seed, keep))
    found["texts"] = stage(
        "texts", lambda: stages.other_tokenizer(loaded, load(scale.partner), scale, config.seed, keep)
    )


def judged(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim judged."""
    config, loaded, folder = run.settings, run.model, run.folder
    found = _measured(config, loaded, folder)
    measured = measures(found)
    claims = judge(CLAIMS, measured)
    return Outcome(
        title=f"Model-diff reproduced, with {loaded.name}",
        measures=measured,
        claims=claims,
        findings=findings(claims),
        sections=sections(found, measured),
        data=[corpus_source(stages.CORPUS)],
    )


REPRODUCTIONS = {
    "modeldiff": Reproduction(work=judged),
}
