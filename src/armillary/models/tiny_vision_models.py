"""Tiny random image-text models of real architectures, with valid batches: for examples, benchmarks and tests."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedConfig, PreTrainedModel

from armillary.errors import UsageError
from armillary.models.vision import VisionAnatomy, find_vision_anatomy

_SPREAD = 0.2  # as in the tiny language models: wide enough that a wrong position or a missing image shows
_IMAGE_SIZE = 16
_IMAGE_TOKENS = 4
_FIRST_TEXT_ID = 3
_SPECIAL_IDS = 4  # at the end of the vocabulary: video, start of image, end of image, image


@dataclass(frozen=True)
class TinyVision:
    """A tiny image-text model in eval mode with its anatomy and a maker of batches."""

    kind: str
    model: PreTrainedModel
    anatomy: VisionAnatomy
    image_tokens: int = _IMAGE_TOKENS
    """Tokens that one image takes."""

    def batch(self, size: int, *, seed: int = 0, text_tokens: int = 6, images: bool = True) -> dict[str, Tensor]:
        """Random inputs for ``model(**batch)``: in each row one image, then ``text_tokens`` tokens of text.

        The first half of the text, rounded down, is the prompt and the rest the answer; ``labels`` are -100 everywhere
        but at the answer. Without ``images`` the rows are text only. The global random generator is left as it was.
        """
        if size < 1 or text_tokens < 1:
            raise UsageError(f"a batch has at least 1 row and 1 token of text, not {size} and {text_tokens}.")
        generator = torch.Generator().manual_seed(seed)
        specials = self.anatomy.image_token_id - _SPECIAL_IDS + 1
        text = torch.randint(_FIRST_TEXT_ID, specials, (size, text_tokens), generator=generator)
        image = [self.anatomy.image_token_id] * self.image_tokens
        if self.kind in ("qwen2_vl", "gemma3"):
            image = [specials + 1, *image, specials + 2]
        ids = torch.cat([torch.tensor([image if images else []], dtype=torch.long).expand(size, -1), text], dim=1)
        labels = torch.full_like(ids, -100)
        answer = text_tokens - text_tokens // 2
        labels[:, -answer:] = ids[:, -answer:]
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
        if self.kind in _TYPE_IDS:
            inputs[_TYPE_IDS[self.kind]] = self.anatomy.image_mask(ids).long()
        if images:
            if self.kind == "qwen2_vl":
                # Patches as rows: 4x4 of them an image, each of 3 channels x 2 frames x 4x4 pixels.
                inputs["pixel_values"] = torch.randn(size * 16, 3 * 2 * 4 * 4, generator=generator)
                inputs["image_grid_thw"] = torch.tensor([[1, 4, 4]]).repeat(size, 1)
            else:
                shape = (size, 1, 3) if self.kind in ("idefics3", "smolvlm") else (size, 3)
                inputs["pixel_values"] = torch.randn(*shape, _IMAGE_SIZE, _IMAGE_SIZE, generator=generator)
        return {name: tensor.to(self.model.device) for name, tensor in inputs.items()}


_TYPE_IDS = {"qwen2_vl": "mm_token_type_ids", "gemma3": "token_type_ids"}
"""The name under which a family wants to be told which tokens are the image's."""


def tiny_vision(
    kind: str = "llava",
    *,
    seed: int = 0,
    vocabulary: int = 128,
    hidden: int = 32,
    layers: int = 2,
    heads: int = 4,
    intermediate: int = 64,
    vision_layers: int = 2,
    vision_hidden: int = 24,
) -> TinyVision:
    """A random model of the given kind, the same for the same seed; one image takes four tokens.

    The global random generator is left as it was. Raises UsageError for an unknown kind or a vocabulary too small.
    """
    if kind not in VISION_KINDS:
        raise UsageError(f"no tiny image-text model of kind {kind!r}; the kinds are {', '.join(VISION_KINDS)}.")
    if vocabulary < 16:
        raise UsageError(f"a vocabulary of {vocabulary} is too small for text and special tokens; give at least 16.")
    text = {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": max(1, heads // 2),
        "max_position_embeddings": 256,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    vision = {
        "hidden_size": vision_hidden,
        "intermediate_size": 2 * vision_hidden,
        "num_hidden_layers": vision_layers,
        "num_attention_heads": 4,
        "image_size": _IMAGE_SIZE,
        "patch_size": 4,
    }
    model = _random_model(_CONFIGS[kind](text, vision), seed)
    return TinyVision(kind, model, find_vision_anatomy(model))


def _llava(text: dict[str, Any], vision: dict[str, Any]) -> PreTrainedConfig:
    return AutoConfig.for_model(
        "llava",
        vision_config={"model_type": "clip_vision_model", **vision, "patch_size": 8},
        text_config={"model_type": "llama", **text},
        image_token_index=text["vocab_size"] - 1,
        image_seq_length=_IMAGE_TOKENS,
        vision_feature_layer=-1,
    )


def _shuffled(kind: str) -> Callable[[dict[str, Any], dict[str, Any]], PreTrainedConfig]:
    """Idefics3 and SmolVLM: patches are folded 2x2 into one token."""

    def config(text: dict[str, Any], vision: dict[str, Any]) -> PreTrainedConfig:
        return AutoConfig.for_model(
            kind,
            vision_config=vision,
            text_config={"model_type": "llama", **text},
            scale_factor=2,
            image_token_id=text["vocab_size"] - 1,
            pad_token_id=text["pad_token_id"],
        )

    return config


def _qwen2_vl(text: dict[str, Any], vision: dict[str, Any]) -> PreTrainedConfig:
    last, pairs = text["vocab_size"] - 1, text["hidden_size"] // text["num_attention_heads"] // 2
    sections = [pairs - 2 * (pairs // 4), pairs // 4, pairs // 4]
    return AutoConfig.for_model(
        "qwen2_vl",
        vision_config={
            "depth": vision["num_hidden_layers"],
            "embed_dim": vision["hidden_size"],
            "hidden_size": text["hidden_size"],
            "num_heads": 2,  # the width of a head must be a multiple of four
            "mlp_ratio": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "in_channels": 3,
        },
        text_config={
            **text,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": sections},
        },
        image_token_id=last,
        vision_end_token_id=last - 1,
        vision_start_token_id=last - 2,
        video_token_id=last - 3,
    )


def _gemma3(text: dict[str, Any], vision: dict[str, Any]) -> PreTrainedConfig:
    width, last = text["hidden_size"] // text["num_attention_heads"], text["vocab_size"] - 1
    return AutoConfig.for_model(
        "gemma3",
        vision_config=vision,
        text_config={**text, "head_dim": width, "query_pre_attn_scalar": width, "sliding_window": 64},
        mm_tokens_per_image=_IMAGE_TOKENS,
        image_token_index=last,
        eoi_token_index=last - 1,
        boi_token_index=last - 2,
    )


_CONFIGS = {
    "llava": _llava,
    "idefics3": _shuffled("idefics3"),
    "smolvlm": _shuffled("smolvlm"),
    "qwen2_vl": _qwen2_vl,
    "gemma3": _gemma3,
}
VISION_KINDS: tuple[str, ...] = tuple(_CONFIGS)


def _random_model(config: PreTrainedConfig, seed: int) -> PreTrainedModel:
    """Matrices have one spread everywhere: the families' own initialisations differ, and some ignore the setting."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
                else:
                    parameter.copy_(torch.randn_like(parameter) * _SPREAD)
    model.eval()
    return model
