"""The claims of MDGD (arXiv 2502.11740): run, measured, judged. ``armillary reproduce mdgd``.

Small image-text models, pre-trained here on questions about emoji, carry the claims: the vision tower is DINOv2-small,
frozen, the language model starts from random weights. The model given only names the record: real weights come with
``armillary train``.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from armillary.data.emoji import fetch_emoji, load_emoji
from armillary.experiments import mdgd_stages as stages
from armillary.experiments.config import Preset, ReproduceConfig
from armillary.experiments.made_up_pictures import made_up_emoji, random_tower
from armillary.experiments.mdgd_claims import CLAIMS
from armillary.experiments.mdgd_lab import Laboratory
from armillary.experiments.mdgd_measures import measures
from armillary.experiments.mdgd_scale import ARMS, OLD_TASKS, SCALES, TARGET, Scale
from armillary.experiments.mdgd_sections import findings, sections
from armillary.experiments.picture_course import Course
from armillary.experiments.picture_states import picture_states, states_behind
from armillary.experiments.reproduction import reproduced, reproduction_record
from armillary.models import LoadedModel
from armillary.progress import counted
from armillary.runs.claims import judge
from armillary.runs.folder import RunFolder
from armillary.runs.record import RunRecord
from armillary.training.peft_package import peft_package

MODELS: dict[Preset, tuple[str, ...]] = {
    "quick": ("tiny-llama",),
    "laptop": ("smollm2-135m-instruct",),
    "gpu": ("smollm2-135m-instruct",),
}
"""Models judged by default, one record each."""


def run(config: ReproduceConfig, out: Path, *, fresh: bool = False) -> RunRecord:
    """The record with every claim judged, also left in ``out`` with its report; see ``reproduced``."""
    peft_package()  # of one arm; without it the run would end there
    return reproduced(config, out, _judged, fresh=fresh)


def course(scale: Scale, code_seed: int) -> Course:
    """The questions and pictures of a seed; the emoji are fetched at first use."""
    tasks = (*OLD_TASKS, TARGET)
    if scale.made_up:
        emoji = made_up_emoji()
        return Course(emoji, states_behind(random_tower(), emoji), tasks, code_seed)
    fetch_emoji()
    emoji = load_emoji()
    return Course(emoji, picture_states(emoji), tasks, code_seed)


def _judged(config: ReproduceConfig, loaded: LoadedModel, folder: RunFolder) -> RunRecord:
    scale = SCALES[config.preset]
    chosen = [config.seed + offset for offset in range(scale.seeds)]
    found: list[dict[str, Any]] = []
    with counted("MDGD: stages", len(chosen) * (1 + len(ARMS)) + 1) as bar:

        def stage(name: str, compute: Callable[[], Any]) -> Any:
            value = folder.parts.json(f"stage {name}", compute)
            bar.advance()
            return value

        laboratories = [Laboratory(course(scale, seed), scale, seed, folder.parts) for seed in chosen]
        for lab in laboratories:
            one = {"start": stage(f"start {lab.seed}", partial(stages.start, lab))}
            one |= {name: stage(f"{name} {lab.seed}", partial(stages.arm, lab, name)) for name in ARMS}
            found.append(one)
        seconds = stage("cost", partial(stages.cost, laboratories[0]))
    measured = measures(found, seconds)
    claims = judge(CLAIMS, measured)
    return reproduction_record(
        config,
        loaded,
        folder,
        title=f"MDGD reproduced on small models, {scale.seeds} seeds",
        measures=measured,
        claims=claims,
        findings=findings(claims),
        sections=sections(found, seconds, measured),
        data=[source.to_dict() for source in laboratories[0].course.emoji.source],
    )
