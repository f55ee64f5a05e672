"""Where weights moved: against dense algebra, and nothing where nothing moved."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from armillary.diff.pair import Origin
from armillary.diff.where.changes import DIRECTIONS, TensorChange, WeightChanges, adapter_changes, weight_changes
from armillary.diff.where.tensors import OpenTensors, adapter_of, tensors_of
from armillary.diff.where.weights import describe
from armillary.errors import ModelError, UsageError
from armillary.models import LoadedModel, load, tiny
from armillary.models.anatomy import find_anatomy

NAMES = ("before", "after")
pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("UserWarning", "FutureWarning")]


def changed(**moves: Any) -> LoadedModel:
    """A copy of the tiny model in which the tensors of these names are moved by what is given."""
    made = tiny()
    with torch.no_grad():
        for name, move in moves.items():
            made.model.get_parameter(name.replace("__", ".")).add_(move)
    return made


def compared(after: LoadedModel, base: LoadedModel | None = None) -> WeightChanges:
    return weight_changes(OpenTensors(base or tiny()), OpenTensors(after), NAMES)


def by_name(result: WeightChanges) -> dict[str, TensorChange]:
    return {one.name: one for one in result.tensors}


def test_the_same_weights_have_no_change_and_no_effect() -> None:
    result = compared(tiny())
    assert len(result.tensors) == len(list(tiny().model.parameters()))
    assert all(one.change == 0 and one.stable_rank is None for one in result.tensors)
    assert result.reordered == result.added == result.removed == result.reshaped == []
    assert describe(result).effects == []


def test_a_change_of_known_rank_and_size() -> None:
    generator = torch.Generator().manual_seed(0)
    name = "model.layers.1.mlp.down_proj.weight"
    direction = torch.outer(torch.randn(32, generator=generator), torch.randn(48, generator=generator))
    result = by_name(compared(changed(**{name.replace(".", "__"): direction})))
    one, weight = result[name], tiny().model.get_parameter(name)
    assert (one.layer, one.kind) == (1, "mlp.down_proj")
    assert one.change == pytest.approx(float(direction.norm()), rel=1e-5)
    assert one.norm == pytest.approx(float(weight.norm()), rel=1e-5)
    assert one.stable_rank == pytest.approx(1.0, abs=1e-3)
    left = torch.linalg.svd(weight.detach())[0][:, :DIRECTIONS]
    # Seven of the eight directions of a change of rank one are rounding; the first is what counts.
    assert one.chance == DIRECTIONS / 32 and one.overlap is not None and 0 <= one.overlap <= 1
    dense = torch.randn(32, 48, generator=generator)
    found = by_name(compared(changed(**{name.replace(".", "__"): dense})))[name]
    u, s, _ = torch.linalg.svd(dense)
    assert found.stable_rank == pytest.approx(float(s.square().sum() / s[0] ** 2), rel=0.02)
    overlap = float((left.T @ u[:, :DIRECTIONS]).square().sum()) / DIRECTIONS
    assert found.overlap == pytest.approx(overlap, abs=0.05)
    assert sum(one.change > 0 for one in result.values()) == 1


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_neurons_in_another_order_change_nothing(kind: str) -> None:
    made = tiny(kind)
    order = torch.randperm(
        48 if kind == "llama" else made.anatomy.intermediate_size, generator=torch.Generator().manual_seed(1)
    )
    block = made.anatomy.layers[1].mlp
    with torch.no_grad():
        for value in block.parameters():
            dimension = next((d for d, size in enumerate(value.shape) if size == len(order)), None)
            if dimension is not None:
                value.copy_(value.index_select(dimension, order))
    result = compared(made, tiny(kind))
    assert result.reordered == [1] and all(one.change == 0 for one in result.tensors)
    described = describe(result)
    assert described.effects == [] and "another order" in described.section.summary


def test_another_dtype_is_rounding_and_no_change() -> None:
    made = tiny()
    made.model.to(torch.bfloat16)
    result = compared(made)
    assert {one.rounded for one in result.tensors if one.change > 0} == {"bfloat16"}
    assert result.dtypes == {"base": ["F32"], "after": ["BF16"]}
    described = describe(result)
    assert described.effects == [] and "bfloat16" in described.section.summary


@pytest.mark.parametrize("gone", [0, 2, 3])
def test_a_layer_that_was_taken_out_is_named_and_the_others_are_compared_with_themselves(gone: int) -> None:
    base, made = tiny(layers=4), tiny(layers=4)
    del made.model.model.layers[gone]
    result = compared(made, base)
    assert result.missing == [gone] and all(one.change == 0 for one in result.tensors)
    assert all(f"layers.{gone}." in name for name in result.removed) and result.added == []
    (effect,) = describe(result).effects
    assert effect.sentence == f"It lacks layer {gone}."
    back = compared(base, made)
    assert back.extra == [gone] and back.missing == [] and all(one.change == 0 for one in back.tensors)


def test_rows_of_a_larger_vocabulary() -> None:
    made = tiny()
    made.model.resize_token_embeddings(made.anatomy.vocabulary_size + 3)
    result = compared(made)
    assert result.reshaped and by_name(result)[result.reshaped[0]].change == 0


def test_numbers_that_are_not_finite_are_one_sentence() -> None:
    with pytest.raises(ModelError, match=r"after holds 1,536 numbers that are not finite .*layers\.0\.mlp\.up_proj"):
        compared(changed(model__layers__0__mlp__up_proj__weight=torch.nan))


def saved_adapter(folder: Path, kind: str = "llama", **settings: Any) -> Path:
    config = LoraConfig(**{"r": 4, "lora_alpha": 6, "target_modules": r".*(q_proj|down_proj)", **settings})
    model = get_peft_model(tiny(kind).model, config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_" in name:
                value.copy_(torch.randn(value.shape, generator=generator) * 0.1)
    model.peft_config["default"].base_model_name_or_path = f"tiny-{kind}"
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("llama", {"use_rslora": True}), ("gpt2", {"target_modules": ["c_attn"], "fan_in_fan_out": True})],
)
def test_an_adapter_is_read_as_its_merged_model_is(tmp_path: Path, kind: str, settings: dict[str, Any]) -> None:
    folder = saved_adapter(tmp_path / "adapter", kind, **settings)
    base = OpenTensors(tiny(kind))
    lora = adapter_of(folder, base, kind)
    assert lora is not None and adapter_of(tmp_path, base, kind) is None
    factors, merged = by_name(adapter_changes(base, lora, "x")), by_name(compared(load(folder), tiny(kind)))
    assert factors.keys() == merged.keys()
    for name, one in factors.items():
        assert one.change == pytest.approx(merged[name].change, rel=1e-4), name
        if one.change:
            assert one.stable_rank == pytest.approx(merged[name].stable_rank, rel=1e-3)
    described = describe(adapter_changes(base, lora, "x"))
    assert described.effects[0].kind == "where" and "LoRA of rank 4" in described.section.summary


def test_an_adapter_that_does_not_fit(tmp_path: Path) -> None:
    base = OpenTensors(tiny())
    lora = adapter_of(saved_adapter(tmp_path / "a", "gpt2", target_modules=["c_attn"], fan_in_fan_out=True), base, "x")
    assert lora is not None
    with pytest.raises(UsageError, match="which its base does not have: it is an adapter of another base"):
        adapter_changes(base, lora, "x")


def test_files_and_memory_give_the_same(tmp_path: Path) -> None:
    made = changed(model__layers__0__mlp__up_proj__weight=0.01)
    made.model.save_pretrained(tmp_path / "m")
    made.tokenizer.save_pretrained(tmp_path / "m")
    with tensors_of(Origin(name="m", folder=tmp_path / "m")) as files, tensors_of(Origin(name="tiny-llama")) as base:
        assert weight_changes(base, files, NAMES) == compared(made)


def test_the_region_of_a_change_is_named() -> None:
    layers = {f"model__layers__{layer}__mlp__up_proj__weight": 0.05 for layer in (4, 5)}
    base = tiny(layers=8)
    after = copy.deepcopy(base.model)
    with torch.no_grad():
        for name in layers:
            after.get_parameter(name.replace("__", ".")).add_(0.05)
    result = compared(LoadedModel(after, base.tokenizer, find_anatomy(after), "x", "x"), base)
    (effect,) = describe(result).effects
    assert effect.kind == "where" and "in layers 4 and 5" in effect.sentence and "2 of " in effect.sentence
