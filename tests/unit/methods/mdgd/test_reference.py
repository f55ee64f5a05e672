"""States before training: three ways give the same, and the cache refuses what it can't hold."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from armillary.errors import StorageError, UsageError
from armillary.methods.mdgd.drift import image_token_mask, visual_hidden_states
from armillary.methods.mdgd.reference import (
    AdapterReference,
    CachedReference,
    CopiedReference,
    evaluating,
    image_keys,
    weights_digest,
)
from armillary.models.tiny_vision_models import VISION_KINDS, TinyVision, tiny_vision

from .mdgd_toy import ToyImages, collated


def shaken(toy: TinyVision) -> None:
    with torch.no_grad():
        for parameter in toy.anatomy.language_model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


def worst(a: list[Tensor], b: list[Tensor]) -> float:
    return max(float((x - y).abs().max() / x.abs().max()) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("kind", [kind for kind in VISION_KINDS if kind != "gemma3"])
def test_cache_and_copy_agree_and_stay_where_training_began(kind: str) -> None:
    toy = tiny_vision(kind)
    rows = ToyImages(toy, 6).rows
    batches = [collated(rows[:3]), collated(rows[3:])]
    copied, cached = CopiedReference(toy.model, (0, 1)), CachedReference.build(toy.model, batches, (0, 1))
    mixed = collated([rows[4], rows[1], rows[5]])  # rows from both batches, with other neighbours
    mask = image_token_mask(toy.anatomy, mixed)
    before = visual_hidden_states(toy.model, mixed, (0, 1), toy.anatomy)
    shaken(toy)
    assert len(cached) == 6
    assert worst(copied.states(mixed, mask), before) < 1e-6 and worst(cached.states(mixed, mask), before) < 1e-5
    assert worst(visual_hidden_states(toy.model, mixed, (0, 1), toy.anatomy), before) > 1e-2


def test_the_copy_shares_what_is_frozen() -> None:
    toy = tiny_vision()
    toy.anatomy.vision_tower.requires_grad_(False)
    twin = CopiedReference(toy.model, (0,))
    for (name, ours), other in zip(toy.model.named_parameters(), twin.model.parameters(), strict=True):
        assert (ours is other) == (toy.anatomy.component(name) == "vision_tower")
        assert not other.requires_grad
    assert toy.anatomy.layers[0].mlp.down_proj.weight.requires_grad


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, raised inside PEFT
def test_without_its_adapter_a_peft_model_is_the_one_before() -> None:
    peft = pytest.importorskip("peft")
    toy = tiny_vision()
    batch = toy.batch(2)
    mask = image_token_mask(toy.anatomy, batch)
    before = visual_hidden_states(toy.model, batch, (0, 1), toy.anatomy)
    settings = peft.LoraConfig(r=2, target_modules=r".*language_model.*\.q_proj", init_lora_weights=False)
    model = peft.get_peft_model(toy.model, settings).train()
    reference = AdapterReference(model, (0, 1))
    assert worst(reference.states(batch, mask), before) < 1e-6
    assert model.training
    assert worst(visual_hidden_states(model, batch, (0, 1), reference.anatomy), before) > 1e-3


def test_the_cache_is_read_back_from_its_file(tmp_path: Path) -> None:
    toy = tiny_vision()
    batch = toy.batch(3)
    cache = CachedReference.build(toy.model, [batch], (1,))
    cache.save(tmp_path / "states.safetensors")
    again = CachedReference.load(tmp_path / "states.safetensors")
    mask = image_token_mask(toy.anatomy, batch)
    assert again.layers == (1,)
    assert all(torch.equal(a, b) for a, b in zip(cache.states(batch, mask), again.states(batch, mask), strict=True))
    (tmp_path / "other").write_text("no cache")
    for name in ("other", "missing"):
        with pytest.raises(StorageError, match="could not be read"):
            CachedReference.load(tmp_path / name)


def test_the_cache_refuses_text_before_the_image() -> None:
    toy = tiny_vision()
    batch = toy.batch(2, seed=3)
    turned = {**batch, **{name: batch[name].flip(1) for name in ("input_ids", "labels")}}
    with pytest.raises(UsageError, match="2 different ones precede the images"):
        CachedReference.build(toy.model, [turned], (0,))
    prompt = torch.full((2, 1), 5)
    same = {
        "input_ids": torch.cat([prompt, batch["input_ids"]], 1),
        "attention_mask": torch.ones(2, batch["input_ids"].shape[1] + 1, dtype=torch.long),
        "pixel_values": batch["pixel_values"],
    }
    assert len(CachedReference.build(toy.model, [same], (0,))) == 2  # one text before all of them does no harm


def test_the_cache_refuses_states_that_see_what_follows() -> None:
    toy = tiny_vision()
    for layer in toy.anatomy.layers:
        layer.self_attn.is_causal = False
        layer.self_attn.config._attn_implementation = "eager"
        forward = layer.self_attn.forward
        layer.self_attn.forward = lambda *args, forward=forward, **kw: forward(*args, **{**kw, "attention_mask": None})
    with pytest.raises(UsageError, match="change with the text that follows"):
        CachedReference.build(toy.model, [toy.batch(2)], (0, 1))


def test_unknown_images_and_sizes_are_told() -> None:
    toy = tiny_vision()
    cache = CachedReference.build(toy.model, [toy.batch(2, seed=0)], (0,))
    other = toy.batch(2, seed=1)
    with pytest.raises(UsageError, match="not among the 2 in the reference cache"):
        cache.states(other, image_token_mask(toy.anatomy, other))
    with pytest.raises(UsageError, match="raise reference_cache_gib"):
        CachedReference.build(toy.model, [other], (0,), limit_gib=1e-9)
    with pytest.raises(UsageError, match="needs a PEFT model"):
        AdapterReference(toy.model, (0,))


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_keys_are_of_the_pixels_whatever_the_batch(kind: str) -> None:
    toy = tiny_vision(kind)
    rows = ToyImages(toy, 4).rows
    singly = [image_keys(row, image_token_mask(toy.anatomy, row))[0] for row in rows]
    together = collated(rows)
    assert image_keys(together, image_token_mask(toy.anatomy, together)) == singly
    assert len(set(singly)) == 4
    texts = toy.batch(2, images=False)
    assert image_keys({**texts, "image_key": torch.tensor([1, 2])}, image_token_mask(toy.anatomy, texts)) == [None] * 2


def test_pixels_that_can_not_be_divided_are_refused() -> None:
    toy = tiny_vision()
    batch = toy.batch(2)
    with pytest.raises(UsageError, match="integer column image_key"):
        image_keys({**batch, "pixel_values": torch.zeros(3, 3, 16, 16)}, image_token_mask(toy.anatomy, batch))
    with pytest.raises(UsageError, match="needs pixel_values"):
        image_keys({"input_ids": batch["input_ids"]}, image_token_mask(toy.anatomy, batch))


def test_modes_and_digests() -> None:
    toy = tiny_vision()
    toy.model.train()
    toy.anatomy.layers[0].eval()
    with evaluating(toy.model):
        assert not any(module.training for module in toy.model.modules())
    assert toy.model.training and not toy.anatomy.layers[0].training
    first = weights_digest(toy.model)
    assert first == weights_digest(tiny_vision().model) != weights_digest(tiny_vision(seed=1).model)
