"""Tiny audio-text models, and which of their parameters are the language model's."""

from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    AudioFlamingo3Config,
    AudioFlamingo3ForConditionalGeneration,
    PreTrainedModel,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
)

from armillary.errors import ModelError, UsageError
from armillary.models.tiny_models import tiny
from armillary.models.tiny_vision_models import tiny_vision
from armillary.training.components import audio_language_model, component_parameters, hears_only, vision_components
from reproductions.commit.sounds.audio_model import AudioShape, new_audio_model
from tiny_audio import tiny_audio

TEXT = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
TOWER = {"num_mel_bins": 8, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "d_model": 16}


def qwen2_audio() -> PreTrainedModel:
    tower = {**TOWER, "max_source_positions": 8}
    config = Qwen2AudioConfig(audio_config=tower, text_config={"model_type": "qwen2", **TEXT}, audio_token_index=2)
    return Qwen2AudioForConditionalGeneration(config)


def flamingo() -> PreTrainedModel:
    tower = {
        "model_type": "audioflamingo3_encoder",
        "num_mel_bins": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "hidden_size": 16,
        "intermediate_size": 32,
        "max_source_positions": 8,
    }
    config = AudioFlamingo3Config(audio_config=tower, text_config={"model_type": "qwen2", **TEXT}, audio_token_id=2)
    return AudioFlamingo3ForConditionalGeneration(config)


def with_lora() -> nn.Module:
    return get_peft_model(tiny_audio().model, LoraConfig(r=2, target_modules=["q_proj"]))  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, raised inside PEFT
@pytest.mark.parametrize("build", [lambda: tiny_audio().model, qwen2_audio, flamingo, with_lora])
def test_the_tower_and_the_connector_are_the_encoder(build: Callable[[], nn.Module]) -> None:
    model = build()
    assert hears_only(model)
    parts = component_parameters(model, vision_components(model))
    assert set(parts) == {"feature_encoder", "llm"}
    for name in parts["feature_encoder"]:
        assert "audio_tower" in name or "multi_modal_projector" in name
    for name in parts["llm"]:
        assert "language_model" in name or "lm_head" in name


def test_others_do_not_only_hear() -> None:
    assert not hears_only(tiny().model) and not hears_only(tiny_vision("llava").model)


def test_a_model_without_the_tower_of_its_configuration() -> None:
    model = tiny_audio().model
    model.model.audio_tower = nn.Identity()
    with pytest.raises(ModelError, match="VoxtralEncoderConfig"):
        audio_language_model(model)


def test_a_sound_is_heard() -> None:
    made = tiny_audio()
    batch = made.batch(3)
    assert int((batch["input_ids"] == made.audio_token).sum()) == 3 * made.shape.audio_tokens
    assert int((batch["labels"] != -100).sum()) == 3 * 3
    with torch.no_grad():
        first = made.model(**batch).logits
        other = made.model(**{**batch, "input_features": batch["input_features"].flip(0)}).logits
    assert not torch.allclose(first[0], other[0]) and torch.allclose(first[1], other[1], atol=1e-5)


def test_the_seed_decides_alone() -> None:
    before = torch.random.get_rng_state()
    first, same, other = (dict(tiny_audio(seed).model.named_parameters()) for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_what_makes_no_model() -> None:
    with pytest.raises(UsageError, match="12 frames"):
        new_audio_model(AudioShape(frames=12), 16, 2, 0)
    with pytest.raises(UsageError, match="at least 1 row"):
        tiny_audio().batch(0)
