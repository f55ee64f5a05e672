"""CoMMIT on small audio-text models trained from scratch: does the method carry over from pictures to sounds?

[derived] The paper's audio models are SALMONN's; ours have Voxtral's architecture (Whisper's encoder, a connector,
Llama) at a width of 64, and answer questions about single sounds. The encoder is trained whole.
"""

from dataclasses import replace
from typing import Any

import torch

from armillary.data.sounds import Sounds
from armillary.experiments.commit_audio_course import SoundCourse
from armillary.experiments.commit_lab import Laboratory, Payload
from armillary.experiments.commit_scale import AUDIO_RUNS, AUDIO_SIZES, SCALES, STARTS
from armillary.experiments.commit_stages import majority
from armillary.experiments.config import ReproduceConfig
from armillary.progress import track
from armillary.runs.parts import Parts


def audio_laboratory(sounds: Sounds, config: ReproduceConfig, parts: Parts, device: torch.device) -> Laboratory:
    """Where the audio models are trained, at the scale of the preset for sounds and with parts of its own names."""
    sizes: dict[str, Any] = AUDIO_SIZES[config.preset]
    scale = replace(SCALES[config.preset], **sizes)
    return Laboratory(SoundCourse(sounds), scale, config.seed, parts, device, named="audio ")


def on_sounds(lab: Laboratory) -> Payload:
    """``arms``: start -> arm -> what each judged seed's run left; ``majority``: right answers without listening."""
    planned = [(start, arm) for start, arms in AUDIO_RUNS.items() for arm in arms]
    arms: Payload = {}
    for start, arm in track(planned, f"CoMMIT on sounds, arms of {len(lab.judged)} seeds"):
        arms.setdefault(start, {})[arm] = [lab.run(arm, STARTS[start], seed) for seed in lab.judged]
    return {"arms": arms, "majority": majority(lab)}
