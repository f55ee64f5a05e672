"""The claims of Model-diff (arXiv 2412.12177) run, measured, judged. ``armillary reproduce modeldiff``.

Tables, grids and a zoo of character models trained here carry the claims; the model given shows the path on real
weights.
"""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from armillary.data.texts import corpus_source
from armillary.experiments import modeldiff_exact as exact
from armillary.experiments import modeldiff_kin as kin
from armillary.experiments import modeldiff_real as real
from armillary.experiments.config import Preset, ReproduceConfig
from armillary.experiments.modeldiff_claims import CLAIMS, PAIRS
from armillary.experiments.modeldiff_measures import GRIDS, measures
from armillary.experiments.modeldiff_scale import SCALES
from armillary.experiments.modeldiff_sections import findings, sections
from armillary.experiments.modeldiff_zoo import ZOO_SCALES
from armillary.experiments.reproduction import reproduced, reproduction_record
from armillary.models import LoadedModel, load
from armillary.progress import counted
from armillary.runs.claims import judge
from armillary.runs.folder import RunFolder
from armillary.runs.record import RunRecord

MODELS: dict[Preset, tuple[str, ...]] = {
    "quick": ("tiny-llama",),
    "laptop": ("smollm2-135m-instruct",),
    "gpu": ("smollm2-135m-instruct",),
}
"""Models judged by default, one record each."""

Found = dict[str, Any]


def run(config: ReproduceConfig, out: Path, *, fresh: bool = False) -> RunRecord:
    """The record with every claim judged, also left in ``out`` with its report; see ``reproduced``."""
    return reproduced(config, out, _judged, fresh=fresh)


def _measured(config: ReproduceConfig, loaded: LoadedModel, folder: RunFolder) -> Found:
    scale, found = SCALES[config.preset], {}
    with counted("Model-diff: stages", len(PAIRS) + len(GRIDS) + 2 + scale.zoo_seeds + 3) as bar:

        def stage(name: str, compute: Callable[[], Any]) -> Any:
            value = folder.parts.json(f"stage {name}", compute)
            bar.advance()
            return value

        for pair in PAIRS:
            found[pair] = stage(pair, partial(exact.enumerated, pair, scale, config.seed))
        for grid in GRIDS:
            found[grid] = stage(grid, partial(exact.gridded, grid, scale, config.seed))
        found["hot"] = stage("hot", lambda: exact.wrong_weights(scale, config.seed))
        found["tempering"] = stage("tempering", lambda: exact.tempered(scale, config.seed))
        seeds = [config.seed + offset for offset in range(scale.zoo_seeds)]
        found["zoo"] = {
            "seeds": [stage(f"zoo {seed}", partial(_family, seed, seeds, config, folder)) for seed in seeds]
        }
        _real(config, loaded, folder, found, stage)
    return found


def _family(seed: int, seeds: list[int], config: ReproduceConfig, folder: RunFolder) -> Found:
    """The zoo of one seed; the base models of the other seeds are strangers trained on the same language."""
    scale, zoo = SCALES[config.preset], ZOO_SCALES[config.preset]
    models = kin.opened(seed, zoo, folder.parts.arrays)
    strangers = {
        f"stranger {other} {kind}": model
        for other in seeds
        if other != seed
        for kind, model in kin.opened(other, zoo, folder.parts.arrays).items()
        if kind in ("base", "other seed")
    }
    return {
        "quality": kin.quality(models, zoo),
        "kin": kin.kinship(models, strangers, seed, scale, zoo),
        "rated": kin.rated(models, seed, scale),
    }


def _real(
    config: ReproduceConfig, loaded: LoadedModel, folder: RunFolder, found: Found, stage: Callable[..., Any]
) -> None:
    scale, keep = SCALES[config.preset], folder.parts.arrays
    made: list[LoadedModel] = []

    def changed() -> LoadedModel:
        # Made at most once, and only where a stage is not kept already.
        if not made:
            made.append(real.trained_on(loaded, scale, config.seed))
        return made[0]

    found["copies"] = stage("copies", lambda: real.copies(loaded, changed(), scale, config.seed, keep))
    found["both ways"] = stage("both ways", lambda: real.both_ways(loaded, changed(), scale, config.seed, keep))
    found["texts"] = stage(
        "texts", lambda: real.other_tokenizer(loaded, load(scale.partner), scale, config.seed, keep)
    )


def _judged(config: ReproduceConfig, loaded: LoadedModel, folder: RunFolder) -> RunRecord:
    found = _measured(config, loaded, folder)
    measured = measures(found)
    claims = judge(CLAIMS, measured)
    return reproduction_record(
        config,
        loaded,
        folder,
        title=f"Model-diff reproduced, with {loaded.name}",
        measures=measured,
        claims=claims,
        findings=findings(claims),
        sections=sections(found, measured),
        data=[asdict(corpus_source(real.CORPUS))],
    )
