"""A tiny random audio-text model of Voxtral's kind, with valid batches.

Shapes: B rows, T tokens, M mel bands, F frames.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import VoxtralForConditionalGeneration

from armillary.errors import UsageError
from reproductions.commit.sounds.audio_model import AudioShape, new_audio_model

_AUDIO = 2


@dataclass(frozen=True)
class TinyAudio:
    """A tiny model in eval mode with a maker of batches."""

    model: VoxtralForConditionalGeneration
    shape: AudioShape
    vocabulary: int
    audio_token: int

    def batch(self, size: int, *, seed: int = 0, text_tokens: int = 6) -> dict[str, Tensor]:
        """Random inputs for ``model(**batch)``: in each row one sound, then ``text_tokens`` tokens of text.

        The first half of the text, rounded down, is the prompt and the rest the answer; ``labels`` are -100 everywhere
        but at the answer. The global random generator is left as it was.
        """
        if size < 1 or text_tokens < 1:
            raise UsageError(f"a batch has at least 1 row and 1 token of text, not {size} and {text_tokens}.")
        generator = torch.Generator().manual_seed(seed)
        sound = torch.full((size, self.shape.audio_tokens), self.audio_token)
        text = torch.randint(self.audio_token + 1, self.vocabulary, (size, text_tokens), generator=generator)
        ids = torch.cat([sound, text], dim=1)
        labels = torch.full_like(ids, -100)
        answer = text_tokens - text_tokens // 2
        labels[:, -answer:] = ids[:, -answer:]
        features = torch.randn(size, self.shape.mels, self.shape.frames, generator=generator)
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "labels": labels,
            "input_features": features,
        }


def tiny_audio(seed: int = 0, vocabulary: int = 64) -> TinyAudio:
    """A tiny random model whose sounds take two tokens, the same for the same seed."""
    shape = AudioShape(mels=8, frames=16, width=16, heads=2, inner=32)
    return TinyAudio(new_audio_model(shape, vocabulary, _AUDIO, seed), shape, vocabulary, _AUDIO)
