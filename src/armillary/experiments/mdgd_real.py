"""MDGD (arXiv 2502.11740) on real weights: the given language model with pictures. ``armillary reproduce mdgd_real``.

[derived] Beside the reproduction on small models: two seeds, the arms that matter most, claims of its own.
"""

from functools import partial
from pathlib import Path
from typing import Any

from armillary.experiments.config import Preset, ReproduceConfig
from armillary.experiments.mdgd_real_claims import CLAIMS, measures
from armillary.experiments.mdgd_real_lab import RealLaboratory
from armillary.experiments.mdgd_real_scale import ARMS, SCALES
from armillary.experiments.mdgd_real_sections import sections
from armillary.experiments.reproduction import reproduced, reproduction_record
from armillary.models import LoadedModel
from armillary.progress import counted
from armillary.runs.claims import judge, verdict_findings
from armillary.runs.folder import RunFolder
from armillary.runs.record import RunRecord

MODELS: dict[Preset, tuple[str, ...]] = {
    "quick": ("tiny-llama",),
    "laptop": ("smollm2-135m-instruct",),
    "gpu": ("smollm2-135m-instruct",),
}
"""Language models that are given pictures, one record each."""


def run(config: ReproduceConfig, out: Path, *, fresh: bool = False) -> RunRecord:
    """The record with every claim judged, also left in ``out`` with its report; see ``reproduced``.

    UsageError where the emoji have not been fetched; the quick preset needs none.
    """
    return reproduced(config, out, _judged, fresh=fresh)


def _judged(config: ReproduceConfig, loaded: LoadedModel, folder: RunFolder) -> RunRecord:
    scale = SCALES[config.preset]
    seeds: list[dict[str, Any]] = []
    sources: list[dict[str, Any]] = []
    with counted("MDGD on real weights", scale.seeds * (1 + len(ARMS))) as bar:
        for seed in range(config.seed, config.seed + scale.seeds):
            lab = RealLaboratory(loaded, scale, seed, folder.parts)
            with lab.seeing():
                found = {"start": folder.parts.json(f"start {seed}", partial(lab.start))}
                bar.advance()
                for name in ARMS:
                    found[name] = lab.arm(name)
                    bar.advance()
            seeds.append(found)
            sources = lab.ground.sources()
    measured = measures(seeds)
    claims = judge(CLAIMS, measured)
    return reproduction_record(
        config,
        loaded,
        folder,
        title=f"MDGD on {loaded.name} with pictures",
        measures=measured,
        claims=claims,
        findings=verdict_findings(claims, {"real-drift-follows": "states"}, "forgetting"),
        sections=sections(seeds, measured),
        data=sources,
    )
