"""Image-text architectures: taken apart rightly, seen by a forward, or refused in one true sentence."""

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from armillary.errors import ModelError
from armillary.models.vision import COMPONENTS, find_vision_anatomy

IMAGE, IMAGE_TOKENS, TEXT = 63, 4, 5
LLAMA = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0,
}  # fmt: skip
VISION = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16,
    "patch_size": 8,
}  # fmt: skip
OPT = {
    "model_type": "opt", "vocab_size": 64, "hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "word_embed_proj_dim": 32, "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
QFORMER = {
    "vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "encoder_hidden_size": 16, "pad_token_id": 0,
}  # fmt: skip


def pixels(seed: int) -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(seed))}


def patches(count: int, width: int, **more: Tensor) -> Callable[[int], dict[str, Tensor]]:
    def of(seed: int) -> dict[str, Tensor]:
        return {"pixel_values": torch.rand(1, count, width, generator=torch.Generator().manual_seed(seed)), **more}

    return of


def blip_2(**changes: Any) -> PreTrainedConfig:
    fixed = {"vision_config": VISION, "qformer_config": QFORMER, "text_config": OPT, "num_query_tokens": IMAGE_TOKENS}
    return AutoConfig.for_model(**{"model_type": "blip-2", **fixed, "image_token_index": IMAGE, **changes})


def instructblip() -> PreTrainedConfig:
    return blip_2(model_type="instructblip")


def llama4() -> PreTrainedConfig:
    vision = {**VISION, "patch_size": 4, "intermediate_size": 64, "pixel_shuffle_ratio": 0.5, "vision_output_dim": 32,
              "projector_input_dim": 32, "projector_output_dim": 32}  # fmt: skip
    text = {**LLAMA, "intermediate_size_mlp": 48, "num_local_experts": 2, "num_experts_per_tok": 1}
    return AutoConfig.for_model("llama4", vision_config=vision, text_config=text, image_token_index=IMAGE)


def gemma4() -> PreTrainedConfig:
    vision = {**VISION, "patch_size": 4, "num_key_value_heads": 2, "head_dim": 8, "pooling_kernel_size": 2,
              "position_embedding_size": 64}  # fmt: skip
    text = {**LLAMA, "global_head_dim": 8, "hidden_size_per_layer_input": 0, "sliding_window": 32,
            "layer_types": ["sliding_attention", "full_attention"], "num_kv_shared_layers": 0}  # fmt: skip
    return AutoConfig.for_model("gemma4", vision_config=vision, text_config=text, image_token_id=IMAGE)


def minicpm() -> PreTrainedConfig:
    text = {"model_type": "qwen3", **LLAMA}
    vision = {**VISION, "image_size": 32, "patch_size": 4}
    return AutoConfig.for_model(
        "minicpmv4_6", vision_config=vision, text_config=text, image_token_id=IMAGE, insert_layer_id=0
    )


QUESTION = {"qformer_input_ids": torch.ones(1, 3, dtype=torch.long), "qformer_attention_mask": torch.ones(1, 3).long()}
GRID = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij"), -1).reshape(1, 16, 2)
SEEING: dict[str, tuple[Callable[[], PreTrainedConfig], Callable[[int], dict[str, Tensor]], set[str]]] = {
    "blip-2": (blip_2, pixels, {"qformer", "language_projection"}),
    "instructblip": (instructblip, lambda seed: {**pixels(seed), **QUESTION}, {"qformer", "language_projection"}),
    "llama4": (llama4, pixels, {"multi_modal_projector"}),
    "gemma4": (gemma4, patches(16, 3 * 4 * 4, image_position_ids=GRID), {"model.embed_vision"}),
    "minicpmv4_6": (
        minicpm,
        lambda seed: {
            "pixel_values": torch.randn(1, 3, 4, 256, generator=torch.Generator().manual_seed(seed)),
            "target_sizes": torch.tensor([[8, 8]]),
        },
        {"model.merger"},
    ),
}


def plain(kind: str, vision: dict[str, Any], text: str, **more: Any) -> Callable[[], PreTrainedConfig]:
    """A family whose images are one tensor of pixels, with the text model of the type given."""
    key = "image_token_index" if kind in INDEXED else "image_token_id"
    return lambda: AutoConfig.for_model(
        kind, vision_config=vision, text_config={"model_type": text, **LLAMA}, **{key: IMAGE, **more}
    )


INDEXED = ("paligemma", "got_ocr2", "aya_vision", "video_llava", "vipllava", "mistral3")
FINE = {**VISION, "patch_size": 4}
CLIP, SIGLIP = {"model_type": "clip_vision_model", **VISION}, {"model_type": "siglip_vision_model", **VISION}
FINE_SIGLIP = {**SIGLIP, "patch_size": 4}
SAM = {"hidden_size": 16, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64,
       "patch_size": 8, "mlp_dim": 32, "global_attn_indexes": [1], "window_size": 4, "num_pos_feats": 8}  # fmt: skip
RESAMPLER = {"resampler_n_latents": 4, "resampler_depth": 1, "resampler_n_heads": 2, "resampler_head_dim": 16,
             "num_key_value_heads": 1, "hidden_size": 32}  # fmt: skip
SEEING |= {
    "paligemma": (
        plain("paligemma", {**VISION, "projection_dim": 32, "num_image_tokens": 4}, "gemma", projection_dim=32),
        pixels, {"model.multi_modal_projector"},
    ),
    "internvl": (
        plain("internvl", {**FINE, "image_size": [16, 16], "patch_size": [4, 4]}, "qwen2", downsample_ratio=0.5),
        pixels, {"model.multi_modal_projector"},
    ),
    "got_ocr2": (
        plain("got_ocr2", SAM, "qwen2"),
        lambda seed: {"pixel_values": torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed))},
        {"model.multi_modal_projector"},
    ),
    "aya_vision": (
        plain("aya_vision", FINE_SIGLIP, "cohere2", downsample_factor=2, vision_feature_layer=-1, eos_token_id=2,
              vision_feature_select_strategy="full", alignment_intermediate_size=32),
        pixels, {"model.multi_modal_projector"},
    ),
    "deepseek_vl": (plain("deepseek_vl", SIGLIP, "llama"), pixels, {"model.aligner"}),
    "idefics2": (
        plain("idefics2", VISION, "mistral", perceiver_config=RESAMPLER),
        lambda seed: {"pixel_values": pixels(seed)["pixel_values"][None]}, {"model.connector"},
    ),
    "video_llava": (  # its tower of videos is of the same class
        plain("video_llava", CLIP, "llama", video_token_index=62, vision_feature_layer=-1),
        lambda seed: {"pixel_values_images": pixels(seed)["pixel_values"]}, {"model.multi_modal_projector"},
    ),
    "vipllava": (
        plain("vipllava", CLIP, "llama", vision_feature_layers=[-1, -2]), pixels, {"model.multi_modal_projector"},
    ),
    "mistral3": (
        plain("mistral3", {"model_type": "pixtral", **FINE, "head_dim": 8}, "mistral", spatial_merge_size=2,
              vision_feature_layer=-1),
        lambda seed: {**pixels(seed), "image_sizes": torch.tensor([[16, 16]])}, {"model.multi_modal_projector"},
    ),
    "cohere2_vision": (
        plain("cohere2_vision", FINE_SIGLIP, "cohere2", downsample_factor=2, alignment_intermediate_size=64),
        pixels, {"model.multi_modal_projector"},
    ),
}  # fmt: skip


def model_of(config: PreTrainedConfig) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + (1.0 if parameter.dim() == 1 else 0.0))
    return model.eval()


@pytest.mark.parametrize("kind", SEEING)
def test_features_stand_in_the_places_of_the_image_token_and_nowhere_else(kind: str) -> None:
    make, image, connectors = SEEING[kind]
    model = model_of(make())
    anatomy = find_vision_anatomy(model)
    ids = torch.tensor([[5, *[IMAGE] * IMAGE_TOKENS, *range(6, 6 + TEXT)]])
    read: list[Tensor] = []
    handle = anatomy.layers[0].register_forward_pre_hook(
        lambda _, given, named: read.append(given[0] if given else named["hidden_states"]), with_kwargs=True
    )
    with torch.no_grad():
        logits = [model(input_ids=ids, attention_mask=torch.ones_like(ids), **image(s)).logits for s in (0, 0, 1)]
    handle.remove()
    same, other = ((read[0] - states).abs().amax(-1) > 0 for states in read[1:])
    assert not same.any() and torch.equal(other, anatomy.image_mask(ids))
    assert logits[0].shape[1] == ids.shape[1] and not torch.equal(logits[0], logits[2])
    names = {name: part for name, part in model.named_modules()}
    parts = list(anatomy.connector) if isinstance(anatomy.connector, nn.ModuleList) else [anatomy.connector]
    assert {name for name, part in names.items() if any(part is one for one in parts)} == connectors
    assert len(anatomy.layers) == 2 and all(layer in anatomy.language_model.modules() for layer in anatomy.layers)
    assert anatomy.head not in anatomy.language_model.modules()
    shared = Counter(anatomy.component(name) for name, _ in model.named_parameters())
    assert set(shared) == set(COMPONENTS)
    for name, parameter in model.named_parameters():
        if any(parameter is one for one in anatomy.vision_tower.parameters()) and len(parts) == 1:
            assert anatomy.component(name) in ("vision_tower", "connector")
        if any(parameter is one for one in (*anatomy.language_model.parameters(), *anatomy.head.parameters())):
            assert anatomy.component(name) == "language_model"


T5 = {"model_type": "t5", "vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
REFUSED: dict[str, tuple[Callable[[], PreTrainedConfig], str]] = {
    "blip-2 with T5": (lambda: blip_2(text_config=T5), "is an encoder-decoder model"),
    "blip-2 without a token": (lambda: blip_2(image_token_index=None), "has an empty image_token_id in its config"),
    "kosmos-2": (lambda: AutoConfig.for_model("kosmos-2"), "does not mark the place of an image by one token"),
    "git": (lambda: AutoConfig.for_model("git"), "does not mark the place of an image by one token"),
    "mllama": (lambda: AutoConfig.for_model("mllama"), "reads images by cross-attention"),
    "blip": (lambda: AutoConfig.for_model("blip"), "reads images by cross-attention"),
    "florence2": (lambda: AutoConfig.for_model("florence2"), "is an encoder-decoder model"),
    "fuyu": (lambda: AutoConfig.for_model("fuyu"), "has no vision tower of its own"),
    "gemma4 of text": (lambda: AutoConfig.for_model("gemma4"), "has no vision tower of its own"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_can_not_be_used_is_refused_in_a_true_sentence(kind: str) -> None:
    config, words = REFUSED[kind]
    with pytest.raises(ModelError, match=words) as told:
        find_vision_anatomy(on_meta(config()))
    assert "\n" not in str(told.value) and str(told.value).count(". ") == 0


# Every class of transformers for images and text, by its default configuration with two layers.

DEPTHS = ("num_hidden_layers", "depth", "num_layers", "n_layers", "encoder_layers", "decoder_layers")


def shrunk(config: PreTrainedConfig) -> PreTrainedConfig:
    for name, value in list(vars(config).items()):
        if isinstance(value, PreTrainedConfig):
            shrunk(value)
        elif name in DEPTHS and isinstance(value, int) and value > 2:
            setattr(config, name, 2)
        elif name in ("layer_types", "mlp_layer_types") and isinstance(value, list):
            setattr(config, name, value[:2])
    return config


def on_meta(config: PreTrainedConfig) -> nn.Module:
    model = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: nn.Module = (model[0] if isinstance(model, tuple) else model)(shrunk(config))
    return made


@pytest.mark.parametrize("config", list(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING), ids=lambda config: config.__name__)
def test_every_class_is_taken_apart_or_refused_in_one_sentence(config: type[PreTrainedConfig]) -> None:
    try:
        model = on_meta(config())
    except Exception as error:  # of transformers' own defaults
        pytest.skip(f"no default configuration that can be built here: {type(error).__name__}")
    try:
        anatomy = find_vision_anatomy(model)
    except ModelError as error:
        assert "\n" not in str(error) and str(error).count(". ") == 0
        return
    parts = {part: set(part.parameters()) for part in (anatomy.vision_tower, anatomy.language_model)}
    assert not set.intersection(*parts.values()) and all(parts.values())
    assert anatomy.head not in anatomy.language_model.modules() and anatomy.embedding in model.modules()
    connector = set() if anatomy.connector is None else set(anatomy.connector.parameters())
    assert not connector & parts[anatomy.language_model]
    for name, parameter in model.named_parameters():
        component = anatomy.component(name)
        if parameter in parts[anatomy.language_model]:
            assert component == "language_model"
        if "audio" in name and parameter not in connector:
            assert component != "connector", name
