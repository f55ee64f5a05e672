"""Questions about sounds as training data for a small audio-text model with a vocabulary of whole words.

A row is the sound's audio tokens, the question's words, the answer's word and an end token; only the answer and the
end token are learned. Sounds enter as log-mel spectrograms.

Shapes: B rows, T tokens, N sounds, M mel bands, F frames, V words.
"""

import itertools
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import VoxtralForConditionalGeneration

from reproductions.commit.sounds.audio_model import AudioShape, new_audio_model
from reproductions.commit.sounds.questions import SOUND_TASKS, SoundExample, SoundTask, log_mel, sound_examples
from reproductions.commit.sounds.sounds import RATE, SAMPLES, SoundLabel, Sounds
from reproductions.images.dataset import MEDIA, SPECIAL, Shape, WordDataset, split_words


@dataclass(frozen=True, eq=False)
class SoundDataset(WordDataset):
    """Sounds and the tasks asked of them."""

    sounds: Sounds
    tasks: tuple[SoundTask, ...] = SOUND_TASKS

    @cached_property
    def features(self) -> NDArray[np.float32]:
        """Spectrograms ``[N, M, F]``."""
        return log_mel(self.sounds)

    def examples(self, task: SoundTask, split: str, *, limit: int | None = None, seed: int = 0) -> list[SoundExample]:
        """Examples of one task."""
        return sound_examples(self.sounds, task, split, limit=limit, seed=seed)

    @cached_property
    def words(self) -> dict[str, int]:
        """Every word of every question and choice, with its token."""
        examples = [self.examples(task, "train", limit=1)[0] for task in self.tasks]
        texts = (text for example in examples for text in (example.question, *example.choices))
        words = {word for text in texts for word in split_words(text)}
        return {word: token for token, word in enumerate((*SPECIAL, *sorted(words)))}

    @property
    def media_tokens(self) -> int:
        """Of one sound."""
        return self.audio_shape(Shape()).audio_tokens

    def key(self, example: SoundExample) -> int:
        """The sound's index."""
        return example.sound

    def media(self, keys: Sequence[Any]) -> dict[str, Tensor]:
        """Spectrograms ``input_features`` ``[B, M, F]``."""
        return {"input_features": torch.from_numpy(self.features[list(keys)])}

    def audio_shape(self, shape: Shape) -> AudioShape:
        """That of a model with an encoder as wide as its language model."""
        mels, frames = self.features.shape[1:]
        return AudioShape(
            mels=mels, frames=frames, width=shape.width, heads=shape.heads, inner=shape.inner, layers=shape.layers
        )

    def new_model(self, shape: Shape, seed: int) -> VoxtralForConditionalGeneration:
        """A random model; the global random generator is left as it was."""
        return new_audio_model(self.audio_shape(shape), len(self.words), MEDIA, seed)


# Synthetic sounds: what stands in for the labelled ones where nothing is downloaded.

_KINDS = ("tone", "buzz", "noise")
_PITCHES = (110.0, 220.0, 880.0, 2400.0)
_SECONDS = (0.2, 0.5, 0.9)


def synthetic_sounds() -> Sounds:
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
    scaled: NDArray[np.float32] = (wave / np.abs(wave).max()).astype(np.float32)
    return scaled
