"""The claims of CoMMIT (arXiv 2407.20454), run, measured, judged. ``armillary reproduce commit``.

Claims are judged on small image-text models trained from scratch; ``commit_real`` has those on sounds and on the given
model, which lends its place to the computation here and nothing else.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from armillary.data import load_emoji
from armillary.experiments import commit_stages as stages
from armillary.experiments.commit_claims import CLAIMS
from armillary.experiments.commit_lab import Laboratory
from armillary.experiments.commit_measures import measures
from armillary.experiments.commit_scale import SCALES, TASKS
from armillary.experiments.commit_sections import findings, notes, sections
from armillary.experiments.config import Preset, ReproduceConfig
from armillary.experiments.picture_course import Course
from armillary.experiments.picture_ground import picture_ground
from armillary.experiments.picture_states import picture_states
from armillary.experiments.reproduction import reproduced, reproduction_record
from armillary.models import LoadedModel
from armillary.progress import counted
from armillary.runs.claims import judge
from armillary.runs.folder import RunFolder
from armillary.runs.record import RunRecord

MODELS: dict[Preset, tuple[str, ...]] = {
    "quick": ("tiny-llama",),
    "laptop": ("smollm2-135m-instruct",),
    "gpu": ("smollm2-135m-instruct",),
}
"""Of each, the device and the name of the record."""


def run(config: ReproduceConfig, out: Path, *, fresh: bool = False) -> RunRecord:
    """The record with every claim judged, also left in ``out`` with its report; see ``reproduced``.

    UsageError where the emoji have not been fetched; the quick preset needs none.
    """
    return reproduced(config, out, _judged, fresh=fresh)


def course(loaded: LoadedModel, *, made_up: bool) -> Course:
    """The pictures with their stored states, and the questions about them."""
    if made_up:
        ground = picture_ground(loaded, "made-up")
        assert ground.rows.states is not None
        return Course(ground.emoji, ground.rows.states, TASKS)
    emoji = load_emoji()
    return Course(emoji, picture_states(emoji), TASKS)


def _measured(lab: Laboratory) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def stage(name: str, compute: Callable[[], Any]) -> Any:
        found[name] = lab.parts.json(f"stage {name}", compute)
        bar.advance()
        return found[name]

    with counted("CoMMIT on small models", 6) as bar:
        best = tuple(stage("grid", partial(stages.best_pair, lab))["best"])
        stage("law", lambda: [stages.law(lab, seed) for seed in lab.judged])
        stage("overhead", partial(stages.overhead, lab))
        stage("arms", partial(stages.arms, lab, best))
        stage("paths", partial(stages.paths, lab))
        stage("majority", partial(stages.majority, lab))
    return found


def _judged(config: ReproduceConfig, loaded: LoadedModel, folder: RunFolder) -> RunRecord:
    scale = SCALES[config.preset]
    pictures = course(loaded, made_up=scale.made_up)
    lab = Laboratory(pictures, scale, config.seed, folder.parts, loaded.device)
    found = _measured(lab)
    measured = measures(found)
    claims = judge(CLAIMS, measured, notes(found, measured))
    return reproduction_record(
        config,
        loaded,
        folder,
        title=f"CoMMIT reproduced on small models, {scale.seeds} seeds",
        measures=measured,
        claims=claims,
        findings=findings(claims),
        sections=sections(found, measured, scale),
        data=[dict(source.to_dict()) for source in pictures.emoji.source],
    )
