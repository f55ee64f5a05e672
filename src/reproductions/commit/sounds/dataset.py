"""Questions about sounds as training data for a small audio-text model with a vocabulary of whole words.

A row is the sound's audio tokens, the question's words, the answer's word and an end token; only the answer and the
end token are learned. Sounds enter as log-mel spectrograms.

Shapes: B rows, T tokens, N sounds, M mel bands, F frames, V words.
"""

import itertools
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import VoxtralForConditionalGeneration

from reproductions.commit.sounds.questions import SOUND_TASKS, SoundExample, SoundTask, log_mel, sound_examples
from reproductions.commit.sounds.sounds import RATE, SAMPLES, SoundLabel, Sounds
from reproductions.commit.sounds.tiny_audio import AudioShape, new_audio_model
from reproductions.images.dataset import END, IGNORED, PAD, Shape, split_words

AUDIO = 2
SPECIAL = ("<pad>", "<end>", "<audio>")


@dataclass(frozen=True, eq=False)
class SoundDataset:
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
        asked = [self.examples(task, "train", limit=1)[0] for task in self.tasks]
        found = {word for one in asked for text in (one.question, *one.choices) for word in split_words(text)}
        return {word: token for token, word in enumerate((*SPECIAL, *sorted(found)))}

    def row(self, example: SoundExample, *, answered: bool = True) -> dict[str, Any]:
        """One row; without its answer, for asking."""
        prompt = [AUDIO] * self.audio_shape(Shape()).audio_tokens + [
            self.words[word] for word in split_words(example.question)
        ]
        answer = [self.words[example.answer], END] if answered else []
        labels = [IGNORED] * len(prompt) + answer
        return {"input_ids": prompt + answer, "labels": labels, "sound": example.sound}

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """A batch, padded at the right, with ``input_features`` ``[B, M, F]``."""
        longest = max(len(row["input_ids"]) for row in rows)
        ids_BT = torch.full((len(rows), longest), PAD)
        labels_BT = torch.full((len(rows), longest), IGNORED)
        for place, row in enumerate(rows):
            ids_BT[place, : len(row["input_ids"])] = torch.tensor(row["input_ids"])
            labels_BT[place, : len(row["labels"])] = torch.tensor(row["labels"])
        return {
            "input_ids": ids_BT,
            "attention_mask": (ids_BT != PAD).long(),
            "labels": labels_BT,
            "input_features": torch.from_numpy(self.features[[row["sound"] for row in rows]]),
        }

    def audio_shape(self, shape: Shape) -> AudioShape:
        """That of a model with an encoder as wide as its language model."""
        mels, frames = self.features.shape[1:]
        return AudioShape(
            mels=mels, frames=frames, width=shape.width, heads=shape.heads, inner=shape.inner, layers=shape.layers
        )

    def new_model(self, shape: Shape, seed: int) -> VoxtralForConditionalGeneration:
        """A random model; the global random generator is left as it was."""
        return new_audio_model(self.audio_shape(shape), len(self.words), AUDIO, seed)

    @torch.inference_mode()
    def right(self, model: nn.Module, examples: Sequence[SoundExample]) -> NDArray[np.float64]:
        """1 where the right one of the choices has the highest probability, else 0; all are asked at once."""
        model.eval()
        device = next(model.parameters()).device
        batch = self.collate([self.row(example, answered=False) for example in examples])
        last_B = batch["attention_mask"].sum(1) - 1
        given = {name: value.to(device) for name, value in batch.items() if name != "labels"}
        logits_BV = model(**given).logits[torch.arange(len(examples)), last_B].float().cpu()
        found = []
        for logits_V, example in zip(logits_BV, examples, strict=True):
            best = int(logits_V[[self.words[choice] for choice in example.choices]].argmax())
            found.append(float(example.choices[best] == example.answer))
        return np.array(found)


# Made-up sounds: what stands in for the labelled ones where nothing is downloaded.

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
    made: NDArray[np.float32] = (wave / np.abs(wave).max()).astype(np.float32)
    return made
