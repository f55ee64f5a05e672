"""Small random audio-text models of Voxtral's kind: Whisper's encoder, a connector, Llama."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import LlamaConfig, VoxtralConfig, VoxtralEncoderConfig, VoxtralForConditionalGeneration

from armillary.errors import UsageError

STACKED = 4
"""States of the encoder in one audio token, as in Voxtral."""

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
