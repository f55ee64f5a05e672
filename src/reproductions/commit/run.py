"""The claims of CoMMIT (arXiv 2407.20454), run, measured, judged. ``armillary reproduce commit``.

Claims are judged on small image-text models trained from scratch; ``commit_real`` has those on sounds and on the given
model, which lends its place to the computation here and nothing else.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from armillary.cli.reproduce import ReproduceSettings, Reproduction
from armillary.data import load_emoji
from armillary.data.images.vision_states import image_states
from armillary.extras import optional
from armillary.finetuning.image_setup import image_text_setup
from armillary.models import LoadedModel
from armillary.progress import counted
from armillary.records.claims import judge, verdict_findings
from armillary.runs.run import Outcome, Run
from reproductions.commit import small_models as stages
from reproductions.commit.audio import audio_context, audio_measures, audio_section, on_sounds
from reproductions.commit.audio_dataset import synthetic_sounds
from reproductions.commit.claims import CLAIMS, REAL_CLAIMS as REAL_CLAIMS
from reproductions.commit.measures import measures
from reproductions.commit.real_model import model_measures, model_section, on_given_model
from reproductions.commit.report import findings, notes, sections
from reproductions.commit.scale import SCALES, TASKS
from reproductions.commit.small_models import Context
from reproductions.commit.sounds.sounds import load_sounds
from reproductions.images.dataset import ImageDataset


def dataset(loaded: LoadedModel, *, synthetic: bool) -> ImageDataset:
    """The pictures with their stored states, and the questions about them."""
    if synthetic:
        setup = image_text_setup(loaded, "synthetic")
        assert setup.rows.states is not None
        return ImageDataset(setup.emoji, setup.rows.states, TASKS)
    emoji = load_emoji()
    return ImageDataset(emoji, image_states(emoji), TASKS)


def _measured(context: Context) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def stage(name: str, compute: Callable[[], Any]) -> Any:
        found[name] = context.parts.json(f"stage {name}", compute)
        bar.advance()
        return found[name]

    with counted("CoMMIT on small models", 6) as bar:
        best = tuple(stage("grid", partial(stages.best_pair, context))["best"])
        stage("law", lambda: [stages.law(context, seed) for seed in context.judged])
        stage("overhead", partial(stages.overhead, context))
        stage("arms", partial(stages.arms, context, best))
        stage("paths", partial(stages.paths, context))
        stage("majority", partial(stages.majority, context))
    return found


def judged(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim judged."""
    config, loaded, folder = run.settings, run.model, run.folder
    scale = SCALES[config.preset]
    images = dataset(loaded, synthetic=scale.synthetic)
    context = Context(images, scale, config.seed, folder.parts, loaded.device)
    found = _measured(context)
    measured = measures(found)
    claims = judge(CLAIMS, measured, notes(found, measured))
    return Outcome(
        title=f"CoMMIT reproduced on small models, {scale.seeds} seeds",
        measures=measured,
        claims=claims,
        findings=findings(claims),
        sections=sections(found, measured, scale),
        data=images.emoji.source,
    )


# CoMMIT (arXiv 2407.20454) on sounds and on real weights. ``armillary reproduce commit_real``.
#
# [derived] Beside the reproduction on small models that see: small models that hear, and the given language model with
# pictures, with claims of their own.

_ON_MODEL = ("real-rebalances", "real-repairs-slow-encoder", "real-more-than-larger-rates")


def judged_real(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim judged."""
    config, loaded, folder = run.settings, run.model, run.folder
    scale = SCALES[config.preset]
    sounds = synthetic_sounds() if scale.synthetic else load_sounds()
    setup = image_text_setup(loaded, "synthetic" if scale.synthetic else "emoji", seed=config.seed)
    heard = audio_context(sounds, config, folder.parts, loaded.device)
    audio = folder.parts.json("audio", partial(on_sounds, heard))
    model = folder.parts.json("model", partial(on_given_model, loaded, scale, config.seed, folder.parts))
    measured = {**audio_measures(audio), **model_measures(model)}
    claims = judge(REAL_CLAIMS, measured)
    return Outcome(
        title=f"CoMMIT on sounds and on {loaded.name}",
        measures=measured,
        claims=claims,
        findings=verdict_findings(claims, dict.fromkeys(_ON_MODEL, "model"), "audio"),
        sections=[audio_section(audio, measured), model_section(model, measured)],
        data=[*setup.sources(), *sounds.source],
    )


def _check_packages(settings: ReproduceSettings) -> None:
    optional("peft", "adapters")  # of the last stage; without it the run would end there


REPRODUCTIONS = {
    "commit": Reproduction(work=judged),
    "commit_real": Reproduction(work=judged_real, check=_check_packages),
}
