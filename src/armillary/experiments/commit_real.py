"""CoMMIT (arXiv 2407.20454) on sounds and on real weights. ``armillary reproduce commit_real``.

[derived] Beside the reproduction on small models that see: small models that hear, and the given language model with
pictures, with claims of their own.
"""

from functools import partial
from pathlib import Path

from armillary.data.sounds import load_sounds
from armillary.experiments.commit_audio_made_up import made_up_sounds
from armillary.experiments.commit_audio_measures import audio_measures
from armillary.experiments.commit_audio_run import audio_laboratory, on_sounds
from armillary.experiments.commit_audio_section import audio_section
from armillary.experiments.commit_model_run import on_given_model
from armillary.experiments.commit_model_section import model_measures, model_section
from armillary.experiments.commit_real_claims import CLAIMS
from armillary.experiments.commit_scale import SCALES
from armillary.experiments.config import Preset, ReproduceConfig
from armillary.experiments.picture_ground import picture_ground
from armillary.experiments.reproduction import reproduced, reproduction_record
from armillary.models import LoadedModel
from armillary.runs.claims import judge, verdict_findings
from armillary.runs.folder import RunFolder
from armillary.runs.record import RunRecord
from armillary.training.peft_package import peft_package

MODELS: dict[Preset, tuple[str, ...]] = {
    "quick": ("tiny-llama",),
    "laptop": ("smollm2-135m-instruct",),
    "gpu": ("smollm2-135m-instruct",),
}
"""Language models that are given pictures, one record each."""

_ON_MODEL = ("real-rebalances", "real-repairs-slow-encoder", "real-more-than-larger-rates")


def run(config: ReproduceConfig, out: Path, *, fresh: bool = False) -> RunRecord:
    """The record with every claim judged, also left in ``out`` with its report; see ``reproduced``.

    UsageError where the emoji have not been fetched; the quick preset needs none.
    """
    peft_package()  # of the last stage; without it the run would end there
    return reproduced(config, out, _judged, fresh=fresh)


def _judged(config: ReproduceConfig, loaded: LoadedModel, folder: RunFolder) -> RunRecord:
    scale = SCALES[config.preset]
    sounds = made_up_sounds() if scale.made_up else load_sounds()
    ground = picture_ground(loaded, "made-up" if scale.made_up else "emoji", seed=config.seed)
    heard = audio_laboratory(sounds, config, folder.parts, loaded.device)
    audio = folder.parts.json("audio", partial(on_sounds, heard))
    model = folder.parts.json("model", partial(on_given_model, loaded, scale, config.seed, folder.parts))
    measured = {**audio_measures(audio), **model_measures(model)}
    claims = judge(CLAIMS, measured)
    return reproduction_record(
        config,
        loaded,
        folder,
        title=f"CoMMIT on sounds and on {loaded.name}",
        measures=measured,
        claims=claims,
        findings=verdict_findings(claims, dict.fromkeys(_ON_MODEL, "model"), "audio"),
        sections=[audio_section(audio, measured), model_section(model, measured)],
        data=[*ground.sources(), *(dict(source.to_dict()) for source in sounds.source)],
    )
