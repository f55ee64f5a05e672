"""The parts of image-text models, and the checks of image tokens."""

from collections import Counter

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText

from armillary.errors import ModelError, UsageError
from armillary.models import tiny
from armillary.models.tiny_vision_models import VISION_KINDS, tiny_vision
from armillary.models.vision import (
    COMPONENTS,
    find_vision_anatomy,
    text_before_images,
)

_CONNECTORS = {
    "llava": "model.multi_modal_projector",
    "idefics3": "model.connector",
    "smolvlm": "model.connector",
    "qwen2_vl": "model.visual.merger",
    "gemma3": "model.multi_modal_projector",
}
_IMAGE = 99


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_the_parts_are_the_models_own_and_share_out_every_parameter(kind: str) -> None:
    made = tiny_vision(kind, layers=3)
    model, anatomy = made.model, made.anatomy
    assert anatomy.connector is model.get_submodule(_CONNECTORS[kind])
    assert anatomy.language_model is model.get_decoder()
    assert anatomy.vision_tower is model.get_encoder(modality="image")
    assert anatomy.num_layers == len(anatomy.layers) == 3 and anatomy.hidden_size == 32
    assert anatomy.embedding is model.get_input_embeddings() and anatomy.head is model.get_output_embeddings()
    found = {name: anatomy.component(name) for name, _ in model.named_parameters()}
    assert set(found.values()) == set(COMPONENTS)
    inside = {id(p) for p in anatomy.connector.parameters()}
    tower = {id(p) for p in anatomy.vision_tower.parameters()} - inside
    for name, parameter in model.named_parameters():
        place = "connector" if id(parameter) in inside else "vision_tower" if id(parameter) in tower else None
        assert found[name] == (place or "language_model")


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_the_image_reaches_the_text_through_the_connector(kind: str) -> None:
    made = tiny_vision(kind)
    inputs = made.batch(2)
    assert made.anatomy.connector is not None
    written: list[torch.Tensor] = []
    handle = made.anatomy.connector.register_forward_hook(lambda _module, _given, out: written.append(out))
    read: list[torch.Tensor] = []
    watch = made.anatomy.layers[0].register_forward_pre_hook(lambda _module, given: read.append(given[0]))
    with torch.no_grad():
        made.model(**inputs)
    handle.remove()
    watch.remove()
    mask = made.anatomy.image_mask(inputs["input_ids"])
    assert mask.sum(dim=1).tolist() == [4, 4]
    torch.testing.assert_close(read[0][mask], written[0].reshape(-1, made.anatomy.hidden_size))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, raised inside PEFT
@pytest.mark.parametrize("kind", VISION_KINDS)
def test_a_peft_model_has_the_parts_of_the_model_inside(kind: str) -> None:
    plain = tiny_vision(kind)
    before = Counter(plain.anatomy.component(name) for name, _ in plain.model.named_parameters())
    wrapped = get_peft_model(plain.model, LoraConfig(r=2, target_modules=r".*\.(q_proj|qkv|proj|linear_1|mlp\.0)"))
    anatomy = find_vision_anatomy(wrapped)
    assert anatomy.language_model is plain.anatomy.language_model
    assert anatomy.connector is wrapped.get_base_model().get_submodule(_CONNECTORS[kind])
    after = Counter(anatomy.component(name) for name, _ in wrapped.named_parameters() if "lora_" not in name)
    assert after == before
    adapters = {name: anatomy.component(name) for name, _ in wrapped.named_parameters() if "lora_" in name}
    assert {"vision_tower", "language_model"} <= set(adapters.values())
    assert all(("vis" in name) == (part == "vision_tower") for name, part in adapters.items() if part != "connector")


def test_names_of_other_wrappers_are_understood() -> None:
    anatomy = tiny_vision("qwen2_vl").anatomy
    assert anatomy.component("module._orig_mod.model.visual.merger.ln_q.weight") == "connector"
    assert anatomy.component("module.lm_head.weight") == "language_model"
    with pytest.raises(UsageError, match=r"'layers\.0\.weight' is no parameter of this model; its parts are model\."):
        anatomy.component("layers.0.weight")


def test_loose_parameters_and_several_connectors_are_the_connectors() -> None:
    made = tiny_vision("llava")
    base = made.model.base_model
    base.image_newline = nn.Parameter(torch.zeros(32))
    base.resampler = nn.Linear(32, 32)
    anatomy = find_vision_anatomy(made.model)
    assert isinstance(anatomy.connector, nn.ModuleList)
    assert list(anatomy.connector) == [base.multi_modal_projector, base.resampler]
    names = ("image_newline", "resampler.bias", "multi_modal_projector.linear_1.weight")
    assert {anatomy.component(f"model.{name}") for name in names} == {"connector"}


def test_mergers_at_several_depths_are_one_connector() -> None:
    config = AutoConfig.for_model(
        "qwen3_vl",
        vision_config={
            "depth": 3,
            "hidden_size": 16,
            "out_hidden_size": 32,
            "num_heads": 2,
            "intermediate_size": 24,
            "patch_size": 4,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0, 1],
        },
        text_config={
            "vocab_size": 64,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
        },
        image_token_id=63,
    )
    model = AutoModelForImageTextToText.from_config(config)
    anatomy = find_vision_anatomy(model)
    assert isinstance(anatomy.connector, nn.ModuleList)
    assert list(anatomy.connector) == [model.model.visual.merger, model.model.visual.deepstack_merger_list]
    assert anatomy.component("model.visual.blocks.0.norm1.weight") == "vision_tower"


def test_a_text_model_is_refused() -> None:
    with pytest.raises(ModelError, match=r"^LlamaForCausalLM is a text model; give an image-text model such as LLaVA"):
        find_vision_anatomy(tiny("llama").model)


def test_a_model_without_a_head_is_refused() -> None:
    with pytest.raises(ModelError, match="LlavaModel has no unembedding matrix"):
        find_vision_anatomy(tiny_vision("llava").model.base_model)


@pytest.mark.parametrize(
    ("rows", "first"),
    [
        ([[_IMAGE, _IMAGE, 5, 6], [_IMAGE, _IMAGE, 7, 8]], True),
        ([[1, 2, _IMAGE, 5], [1, 2, _IMAGE, 6]], True),  # the same prefix everywhere
        ([[1, 2, _IMAGE, 5], [1, 3, _IMAGE, 5]], False),
        ([[5, 6, _IMAGE, 1], [_IMAGE, 1, 5, 6]], False),
        ([[_IMAGE, 5, _IMAGE, 1], [_IMAGE, 6, _IMAGE, 1]], False),  # text between two images
        ([[1, _IMAGE, _IMAGE, 5], [1, _IMAGE, 5, 6]], True),  # images of different length
        ([[1, _IMAGE, 50, _IMAGE], [1, _IMAGE, 5, 6]], True),  # 50 is a mark between tiles
        ([[0, 1, _IMAGE, 5], [1, _IMAGE, 5, 6]], True),  # padded on the left
        ([[1, 2, 3, 4], [1, _IMAGE, 5, 6]], True),  # a row of text only
        ([[1, 2, 3, 4], [5, 6, 7, 8]], True),
    ],
)
def test_text_before_an_image_is_seen(rows: list[list[int]], first: bool) -> None:
    ids = torch.tensor(rows)
    assert (len(text_before_images(ids, _IMAGE, (ids != 0).long(), allowed={50})) <= 1) is first


def test_text_before_images_is_gathered_over_batches() -> None:
    one, other = torch.tensor([[1, 2, _IMAGE, _IMAGE, 5]]), torch.tensor([[1, 3, _IMAGE, _IMAGE, 5]])
    assert text_before_images(one, _IMAGE) | text_before_images(other, _IMAGE) == {(1, 2, _IMAGE), (1, 3, _IMAGE)}


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_the_text_behind_an_image_does_not_change_its_states(kind: str) -> None:
    made = tiny_vision(kind)
    one, other = made.batch(2), made.batch(2)
    other["input_ids"][:, -6:] = one["input_ids"][:, -6:].flip(0)
    mask = made.anatomy.image_mask(one["input_ids"])
    assert len(text_before_images(one["input_ids"], made.anatomy.image_token_id)) == 1
    with torch.no_grad():
        states = [made.model(**inputs, output_hidden_states=True).hidden_states[-1] for inputs in (one, other)]
    torch.testing.assert_close(states[0][mask], states[1][mask])
    assert not torch.allclose(states[0][~mask], states[1][~mask], atol=0.1)
