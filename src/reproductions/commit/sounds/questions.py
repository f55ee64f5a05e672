"""Questions about single sounds, each with one right word: what kind it is, whether it is short, whether it is high.

The kind is the label that the sound came with; length and pitch are measured (ours), and heard only.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from armillary.errors import UsageError
from reproductions.commit.sounds.sounds import Sounds

SoundTask = Literal["kind", "length", "pitch"]
SOUND_TASKS: tuple[SoundTask, ...] = get_args(SoundTask)

LONG = 0.75
"""Seconds from which a sound is long: about as many are shorter."""

HEIGHTS = (300.0, 1500.0)
"""Hz of the spectral centroid below which a sound is low, and from which it is high: about a third each."""


@dataclass(frozen=True, kw_only=True)
class SoundExample:
    """One question about one sound."""

    sound: int
    """Index into the sounds."""

    question: str
    answer: str
    choices: tuple[str, ...]


def sound_examples(
    sounds: Sounds, task: SoundTask, split: str, *, limit: int | None = None, seed: int = 0
) -> list[SoundExample]:
    """At most ``limit`` examples of a task on the sounds of a split, in an order that the seed decides.

    UsageError for an unknown task or split, or a limit below 1.
    """
    if task not in SOUND_TASKS:
        raise UsageError(f"no task on sounds is called {task!r}; known are {', '.join(SOUND_TASKS)}.")
    if limit is not None and limit < 1:
        raise UsageError(f"the limit of examples of {task!r} must be at least 1; got {limit}.")
    question, choices, answer = _asking(sounds, task)
    indices = list(sounds.split(split))
    random.Random(f"{task} {split} {seed}").shuffle(indices)
    return [
        SoundExample(sound=index, question=question, answer=answer(index), choices=choices)
        for index in indices[:limit]
    ]


def spectral_centroid(wave: NDArray[np.float32], rate: int) -> float:
    """Hz: the mean frequency of a sound's power, 0 for silence."""
    power = np.abs(np.fft.rfft(wave.astype(np.float64))) ** 2
    total = float(power.sum())
    return float(power @ np.fft.rfftfreq(len(wave), 1 / rate)) / total if total > 0 else 0.0


def _asking(sounds: Sounds, task: SoundTask) -> tuple[str, tuple[str, ...], Callable[[int], str]]:
    if task == "kind":
        return "Which kind of sound is this?", sounds.kinds, lambda index: sounds.labels[index].kind
    if task == "length":
        words = ("short", "long")
        return "How long does this last?", words, lambda index: words[sounds.labels[index].seconds >= LONG]
    heights = ("low", "middle", "high")

    def height(index: int) -> str:
        centroid = spectral_centroid(sounds.waves[index], sounds.rate)
        return heights[int(np.searchsorted(np.array(HEIGHTS), centroid, side="right"))]

    return "How high is this?", heights, height


# Log-mel spectrograms of short sounds, as Whisper's encoder and its kin read them.
#
# Shapes: N sounds, T samples, M mel bands, F frames.

MELS, FRAMES = 40, 64


def log_mel(sounds: Sounds) -> Float32[np.ndarray, "N M F"]:
    """Of each sound's first second, by the feature extractor of Whisper at 250 samples a frame of 16 kHz."""
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(
        feature_size=MELS,
        sampling_rate=sounds.rate,
        hop_length=sounds.rate // FRAMES,
        n_fft=2 * (sounds.rate // FRAMES),
        chunk_length=1,
    )
    made = extractor(list(sounds.waves), sampling_rate=sounds.rate, return_tensors="np")
    features: Float32[np.ndarray, "N M F"] = made["input_features"]
    return features
