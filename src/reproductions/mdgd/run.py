"""The claims of MDGD (arXiv 2502.11740): run, measured, judged. ``armillary reproduce mdgd``.

Small image-text models, pre-trained here on questions about emoji, carry the claims: the vision tower is DINOv2-small,
frozen, the language model starts from random weights. The model given only names the record: real weights come with
``armillary train``.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from armillary.cli.reproduce import ReproduceSettings, Reproduction
from armillary.data.images.emoji import fetch_emoji, load_emoji
from armillary.data.images.synthetic import random_tower, synthetic_emoji
from armillary.data.images.vision_states import image_states, states_behind
from armillary.data.sources import DataSource
from armillary.extras import optional
from armillary.progress import counted
from armillary.records.claims import judge, verdict_findings
from armillary.runs.run import Outcome, Run
from reproductions.images.dataset import ImageDataset
from reproductions.mdgd import small_models as stages
from reproductions.mdgd.claims import (
    CLAIMS,
    REAL_CLAIMS as REAL_CLAIMS,
    measures as real_measures,
)
from reproductions.mdgd.measures import measures
from reproductions.mdgd.real_model import GivenModel
from reproductions.mdgd.report import findings, real_sections as real_sections, sections
from reproductions.mdgd.scale import (
    ARMS,
    OLD_TASKS,
    REAL_ARMS as REAL_ARMS,
    REAL_SCALES as REAL_SCALES,
    SCALES,
    TARGET,
    Scale,
)
from reproductions.mdgd.small_models import Context


def dataset(scale: Scale, code_seed: int) -> ImageDataset:
    """The questions and pictures of a seed; the emoji are fetched at first use."""
    tasks = (*OLD_TASKS, TARGET)
    if scale.synthetic:
        emoji = synthetic_emoji()
        return ImageDataset(emoji, states_behind(random_tower(), emoji), tasks, code_seed)
    fetch_emoji()
    emoji = load_emoji()
    return ImageDataset(emoji, image_states(emoji), tasks, code_seed)


def judged(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim judged."""
    config, folder = run.settings, run.folder
    scale = SCALES[config.preset]
    chosen = [config.seed + offset for offset in range(scale.seeds)]
    found: list[dict[str, Any]] = []
    with counted("MDGD: stages", len(chosen) * (1 + len(ARMS)) + 1) as bar:

        def stage(name: str, compute: Callable[[], Any]) -> Any:
            value = folder.parts.json(f"stage {name}", compute)
            bar.advance()
            return value

        contexts = [Context(dataset(scale, seed), scale, seed, folder.parts) for seed in chosen]
        for context in contexts:
            one = {"start": stage(f"start {context.seed}", partial(stages.start, context))}
            one |= {name: stage(f"{name} {context.seed}", partial(stages.arm, context, name)) for name in ARMS}
            found.append(one)
        seconds = stage("cost", partial(stages.cost, contexts[0]))
    measured = measures(found, seconds)
    claims = judge(CLAIMS, measured)
    return Outcome(
        title=f"MDGD reproduced on small models, {scale.seeds} seeds",
        measures=measured,
        claims=claims,
        findings=findings(claims),
        sections=sections(found, seconds, measured),
        data=contexts[0].dataset.emoji.source,
    )


# MDGD (arXiv 2502.11740) on real weights: the given language model with pictures. ``armillary reproduce mdgd_real``.
#
# [derived] Beside the reproduction on small models: two seeds, the arms that matter most, claims of its own.


def judged_real(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim judged."""
    config, loaded, folder = run.settings, run.model, run.folder
    scale = REAL_SCALES[config.preset]
    seeds: list[dict[str, Any]] = []
    sources: list[DataSource] = []
    with counted("MDGD on real weights", scale.seeds * (1 + len(REAL_ARMS))) as bar:
        for seed in range(config.seed, config.seed + scale.seeds):
            context = GivenModel(loaded, scale, seed, folder.parts)
            with context.seeing():
                found = {"start": folder.parts.json(f"start {seed}", partial(context.start))}
                bar.advance()
                for name in REAL_ARMS:
                    found[name] = context.arm(name)
                    bar.advance()
            seeds.append(found)
            sources = context.setup.sources()
    measured = real_measures(seeds)
    claims = judge(REAL_CLAIMS, measured)
    return Outcome(
        title=f"MDGD on {loaded.name} with pictures",
        measures=measured,
        claims=claims,
        findings=verdict_findings(claims, {"real-drift-follows": "states"}, "forgetting"),
        sections=real_sections(seeds, measured),
        data=sources,
    )


def _check_packages(settings: ReproduceSettings) -> None:
    optional("peft", "adapters")  # of one arm; without it the run would end there


REPRODUCTIONS = {
    "mdgd": Reproduction(work=judged, check=_check_packages),
    "mdgd_real": Reproduction(work=judged_real),
}
