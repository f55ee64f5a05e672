"""Mounting changes what it should, nothing else, and comes off without a trace."""

import random
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from transformers.pytorch_utils import Conv1D

from armillary.errors import UsageError
from armillary.methods.bricks.brick import Brick
from armillary.methods.bricks.library.mounting import check_base, mounted
from armillary.methods.bricks.payloads import Index, LowRank, Partition
from armillary.models import LoadedModel, tiny

from ..bricks_toy import KINDS, bit_equal, logits, lora, lora_brick, matrices, snapshot


@pytest.fixture(params=KINDS)
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    return tiny(request.param)


def neurons(loaded: LoadedModel, op: str | None = None) -> Brick:
    payload = Index({0: np.array([0, 3, 17]), 1: np.array([5, 40])})
    return Brick.of(loaded, payload, name="some neurons", op=op)  # type: ignore[arg-type]


def test_a_mask_is_bit_equal_to_zeroed_columns(loaded: LoadedModel) -> None:
    brick, kept = neurons(loaded), snapshot(loaded)
    before = logits(loaded)
    with mounted(loaded, [brick]) as mount:
        masked = logits(loaded)
    assert bit_equal(loaded, kept) and torch.equal(logits(loaded), before)
    assert set(mount.masked.values()) == {1}
    for layer, chosen in brick.payload.neurons.items():
        write = loaded.anatomy.ffn_writes[layer]
        (write.weight.data if isinstance(write, Conv1D) else write.weight.data.T)[chosen] = 0.0
    assert torch.equal(logits(loaded), masked)
    assert not torch.equal(before, masked)


def test_keep_masks_all_others_and_read_changes_nothing(loaded: LoadedModel) -> None:
    before = logits(loaded)
    others = {layer: np.setdiff1d(np.arange(48), chosen) for layer, chosen in neurons(loaded).payload.neurons.items()}
    with mounted(loaded, [Brick.of(loaded, Index(others), name="others")]):
        expected = logits(loaded)
    with mounted(loaded, [neurons(loaded, "keep")]):
        assert torch.equal(logits(loaded), expected)
    with mounted(loaded, [neurons(loaded, "read"), neurons(loaded, "read")]):
        assert torch.equal(logits(loaded), before)


def test_a_low_rank_change_is_the_product_added(loaded: LoadedModel) -> None:
    brick = lora_brick(loaded, 1)
    before, kept = logits(loaded), snapshot(loaded)
    with mounted(loaded, [brick]):
        inside = logits(loaded)
        for path in matrices(loaded):
            weight = loaded.model.get_submodule(path).weight
            delta = brick.payload.delta(path)
            delta = delta.T if isinstance(loaded.model.get_submodule(path), Conv1D) else delta
            torch.testing.assert_close(weight.detach(), kept[f"{path}.weight"] + delta, rtol=1e-6, atol=1e-7)
    assert bit_equal(loaded, kept) and torch.equal(logits(loaded), before)
    assert not torch.allclose(inside, before, atol=1e-3)


def test_fifty_bricks_on_and_off_in_random_order_leave_no_trace() -> None:
    loaded, order = tiny(), random.Random(0)
    kept, before = snapshot(loaded), logits(loaded)
    paths = list(matrices(loaded))
    mounts: list[ExitStack] = []
    alone: dict[int, torch.Tensor] = {}
    for seed in range(50):
        if seed % 5 == 4:
            chosen = np.sort(np.random.default_rng(seed).choice(48, size=4, replace=False))
            brick = Brick.of(loaded, Index({seed % 2: chosen}), name=f"mask-{seed}")
        else:
            brick = lora_brick(loaded, seed, paths=order.sample(paths, 3))
        stack = ExitStack()
        stack.enter_context(mounted(loaded, [brick], combine="sum"))
        mounts.append(stack)
        alone[seed] = logits(loaded)
        if order.random() < 0.5:
            mounts.pop(order.randrange(len(mounts))).close()
    assert len(mounts) > 5 and not bit_equal(loaded, kept)
    order.shuffle(mounts)
    for stack in mounts:
        stack.close()
    assert bit_equal(loaded, kept) and torch.equal(logits(loaded), before)
    assert len({float(one.sum()) for one in alone.values()}) > 40


def test_parameters_stay_the_same_objects() -> None:
    loaded = tiny()
    held = {name: (id(value), value.data_ptr()) for name, value in loaded.model.named_parameters()}
    with mounted(loaded, [lora_brick(loaded, 0)]):
        assert {name: id(value) for name, value in loaded.model.named_parameters()} == {
            name: one for name, (one, _) in held.items()
        }
    assert {name: (id(value), value.data_ptr()) for name, value in loaded.model.named_parameters()} == held


def test_an_error_inside_the_block_unmounts() -> None:
    loaded = tiny()
    kept = snapshot(loaded)
    with pytest.raises(KeyboardInterrupt), mounted(loaded, [lora_brick(loaded, 0), neurons(loaded)], combine="sum"):
        raise KeyboardInterrupt
    assert bit_equal(loaded, kept)
    assert not any(write._forward_pre_hooks for write in loaded.anatomy.ffn_writes)


def test_bricks_that_meet_need_a_rule_and_then_add_up() -> None:
    loaded = tiny()
    path = "model.layers.0.mlp.down_proj"
    first, second = lora_brick(loaded, 0, paths=[path]), lora_brick(loaded, 1, paths=[path])
    kept = snapshot(loaded)
    with pytest.raises(UsageError, match=r"combine='sum'.*model\.layers\.0\.mlp\.down_proj.*'lora-0' and 'lora-1'"):
        mounted(loaded, [first, second]).__enter__()
    with mounted(loaded, [first]), pytest.raises(UsageError, match="without a rule"):
        mounted(loaded, [second]).__enter__()
    with mounted(loaded, [first]), mounted(loaded, [second], combine="sum"):
        together = loaded.model.get_submodule(path).weight.detach().clone()
    expected = kept[f"{path}.weight"] + first.payload.delta(path) + second.payload.delta(path)
    torch.testing.assert_close(together, expected, rtol=1e-6, atol=1e-6)
    with pytest.raises(UsageError, match="without a rule"):
        mounted(loaded, [first, neurons(loaded)]).__enter__()
    other = Brick.of(loaded, Index({0: np.array([1, 2])}), name="elsewhere")
    with mounted(loaded, [neurons(loaded), other]):
        pass
    assert bit_equal(loaded, kept)


def test_another_base_is_refused_by_both_fingerprints_and_the_first_tensor() -> None:
    loaded, other = tiny(seed=0), tiny(seed=1)
    brick = neurons(loaded)
    elsewhere = neurons(other)
    with pytest.raises(UsageError) as refused:
        mounted(other, [brick]).__enter__()
    sentence = str(refused.value)
    assert brick.base.fingerprint in sentence and elsewhere.base.fingerprint in sentence
    assert "the tensor model.layers.0.mlp.down_proj.weight" in sentence
    with pytest.raises(UsageError, match="which it lacks"):
        mounted(tiny("gpt2"), [brick]).__enter__()
    with pytest.raises(UsageError, match=r"first difference is the tensor model\.layers\.1\.\S+, which it lacks"):
        check_base(lora_brick(loaded, 0, paths=["model.layers.1.mlp.up_proj"]), tiny(layers=1))


def test_permuted_neurons_are_refused_for_masks_and_edits_and_warned_of_for_adapters() -> None:
    loaded = tiny()
    mask, adapter = neurons(loaded), lora_brick(loaded, 0)
    edit = Brick.of(loaded, lora(loaded, 0), name="edit", kind="knowledge")
    order = torch.arange(47, -1, -1)
    mlp = loaded.model.get_submodule("model.layers.0.mlp")
    mlp.down_proj.weight.data = mlp.down_proj.weight.data[:, order].clone()
    for brick in (mask, edit):
        with pytest.raises(UsageError, match=r"the tensor model\.layers\.0\.mlp\.down_proj\.weight"):
            mounted(loaded, [brick]).__enter__()
    with pytest.warns(UserWarning, match="mounted all the same"), mounted(loaded, [adapter]):
        pass


def test_a_mounted_brick_does_not_hide_the_base_from_the_next() -> None:
    loaded = tiny()
    edit = Brick.of(loaded, lora(loaded, 0), name="edit", kind="knowledge")
    with mounted(loaded, [lora_brick(loaded, 1)]), mounted(loaded, [edit], combine="sum"):
        pass


def test_what_can_not_be_mounted_says_so() -> None:
    loaded = tiny(settings={"tie_word_embeddings": True})
    partition = Partition(np.tile(np.arange(48) % 4, (2, 1)), 4)
    with pytest.raises(UsageError, match="routed"):
        mounted(loaded, [Brick.of(loaded, partition, name="split")]).__enter__()
    head = LowRank({"lm_head": (torch.ones(1, 32), torch.ones(loaded.anatomy.vocabulary_size, 1))})
    with pytest.raises(UsageError, match=r"shares its weight with model\.embed_tokens"):
        mounted(loaded, [Brick.of(loaded, head, name="head")]).__enter__()
    with pytest.raises(UsageError, match="'sum' or not at all"):
        mounted(loaded, [], combine="max").__enter__()  # type: ignore[arg-type]


def test_a_low_precision_base_is_changed_in_float32_and_restored() -> None:
    loaded = tiny()
    loaded.model.to(torch.bfloat16)
    kept = {name: value.detach().clone() for name, value in loaded.model.named_parameters()}
    brick = lora_brick(loaded, 0, paths=["model.layers.0.mlp.up_proj"])
    name = "model.layers.0.mlp.up_proj"
    with mounted(loaded, [brick]):
        held = loaded.model.get_submodule(name).weight.detach().clone()
    assert held.dtype == torch.bfloat16
    assert torch.equal(held, (kept[f"{name}.weight"].float() + brick.payload.delta(name)).bfloat16())
    assert all(torch.equal(value.detach(), kept[one]) for one, value in loaded.model.named_parameters())
