"""Made-up sounds: what stands in for the labelled ones where nothing is downloaded."""

import itertools
import string

import numpy as np
from numpy.typing import NDArray

from armillary.data.sound_sources import RATE, SAMPLES
from armillary.data.sounds import SoundLabel, Sounds

_KINDS = ("tone", "buzz", "noise")
_PITCHES = (110.0, 220.0, 880.0, 2400.0)
_SECONDS = (0.2, 0.5, 0.9)


def made_up_sounds() -> Sounds:
    """36 sounds of three kinds in four pitches, each short, middling and long."""
    waves, labels = [], []
    for kind in _KINDS:
        for letter, (pitch, seconds) in zip(string.ascii_letters, itertools.product(_PITCHES, _SECONDS), strict=False):
            waves.append(_wave(kind, pitch, seconds))
            labels.append(SoundLabel(name=f"{kind}_{letter}", kind=kind, seconds=seconds))
    return Sounds(waves=np.stack(waves), labels=tuple(labels))


def _wave(kind: str, pitch: float, seconds: float) -> NDArray[np.float32]:
    """A decaying sine, its sign, or noise times it."""
    time = np.arange(SAMPLES) / RATE
    wave = np.sin(2 * np.pi * pitch * time)
    if kind == "buzz":
        wave = np.sign(wave)
    elif kind == "noise":
        wave *= np.random.default_rng(0).standard_normal(SAMPLES)
    wave = wave * np.exp(-3 * time / seconds) * (time < seconds)
    made: NDArray[np.float32] = (wave / np.abs(wave).max()).astype(np.float32)
    return made
