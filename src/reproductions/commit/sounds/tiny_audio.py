"""Small random audio-text models of Voxtral's kind (Whisper's encoder, a connector, Llama), with valid batches.

Shapes: B rows, T tokens, M mel bands, F frames.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers import LlamaConfig, VoxtralConfig, VoxtralEncoderConfig, VoxtralForConditionalGeneration

from armillary.errors import UsageError

STACKED = 4
"""States of the encoder in one audio token, as in Voxtral."""

_AUDIO = 2
_HALVED = 2  # by the encoder's second convolution


@dataclass(frozen=True, kw_only=True)
class AudioShape:
    """Sizes of a model; the encoder is as wide as the language model."""

    mels: int = 40
    frames: int = 64
    """A multiple of eight."""

    width: int = 32
    heads: int = 4
    inner: int = 64
    layers: int = 2
    encoder_layers: int = 1

    @property
    def audio_tokens(self) -> int:
        """Of one sound."""
        return self.frames // (_HALVED * STACKED)


def new_audio_model(
    shape: AudioShape, vocabulary: int, audio_token: int, seed: int
) -> VoxtralForConditionalGeneration:
    """A random model in eval mode, the same for the same seed; the global random generator is left as it was.

    Token 0 pads, token 1 begins and ends. Raises UsageError where frames make no whole number of audio tokens.
    """
    if shape.frames % (_HALVED * STACKED):
        raise UsageError(f"{shape.frames} frames make no whole audio tokens of {_HALVED * STACKED} frames each.")
    spread = shape.width**-0.5
    encoder = VoxtralEncoderConfig(
        hidden_size=shape.width,
        intermediate_size=STACKED * shape.width,  # which is also how many states are joined in a token
        num_hidden_layers=shape.encoder_layers,
        num_attention_heads=shape.heads,
        num_mel_bins=shape.mels,
        max_source_positions=shape.frames // _HALVED,
        initializer_range=spread,
    )
    text = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        head_dim=shape.width // shape.heads,
        max_position_embeddings=128,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
        initializer_range=spread,
    )
    config = VoxtralConfig(audio_config=encoder, text_config=text, audio_token_id=audio_token)
    cast(Any, config).initializer_range = spread  # of connector and head
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: VoxtralForConditionalGeneration = VoxtralForConditionalGeneration(config)
    model.eval()
    return model


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
