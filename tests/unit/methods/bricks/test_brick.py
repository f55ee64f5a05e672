"""A brick's name is its content; its sites, cost and base come from the model it was made in."""

import dataclasses

import numpy as np
import pytest
import torch

from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.base import BaseRef
from armillary.methods.bricks.brick import Brick, BrickMeta, CapabilityScore, Keys, Provenance
from armillary.methods.bricks.payloads import Index, LowRank, Partition
from armillary.models import LoadedModel, tiny
from armillary.numerics.intervals import Interval
from armillary.records.plain import decode, plain

from .bricks_toy import KINDS, lora, lora_brick, matrices


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return tiny()


def test_the_id_follows_every_part(loaded: LoadedModel) -> None:
    brick = lora_brick(loaded, 0)
    assert brick.id == lora_brick(loaded, 0).id and len(brick.id) == 64
    changed = dict(brick.payload.factors)
    path = next(iter(changed))
    a_RI = changed[path][0].clone()
    a_RI[0, 0] = torch.nextafter(a_RI[0, 0], torch.tensor(torch.inf))
    changed[path] = (a_RI, changed[path][1])
    others = [
        dataclasses.replace(brick, payload=LowRank(changed)),
        dataclasses.replace(brick, name="another"),
        dataclasses.replace(brick, parents=(brick.id,)),
        dataclasses.replace(brick, kind="knowledge"),
        dataclasses.replace(brick, meta=BrickMeta(provenance=Provenance(seed=1))),
        Brick.of(tiny(seed=1), lora(loaded, 0), name="lora-0"),
    ]
    assert len({brick.id, *(other.id for other in others)}) == 7


@pytest.mark.parametrize("kind", KINDS)
def test_sites_name_module_layer_part_and_shape(kind: str) -> None:
    loaded = tiny(kind)
    brick = lora_brick(loaded, 0)
    shapes = matrices(loaded)
    assert {site.path: (site.inputs, site.outputs) for site in brick.sites} == shapes
    assert {site.layer for site in brick.sites} == {0, 1}
    assert {site.part for site in brick.sites} == {"attn", "ffn"}
    assert {site.transposed for site in brick.sites} == {kind == "gpt2"}
    ffn = [site for site in brick.sites if site.part == "ffn"]
    assert len(ffn) == 2 * (3 if kind in ("llama", "gemma3") else 2)
    neurons = Brick.of(loaded, Index({1: np.array([2, 47])}), name="two")
    write = loaded.model.get_submodule(neurons.sites[0].path)
    assert write is loaded.anatomy.ffn_writes[1] and neurons.sites[0].inputs == 48
    block = loaded.model.get_submodule(neurons.sites[0].path.rpartition(".")[0])
    parts = {name for name, child in block.named_children() if getattr(child, "weight", torch.ones(1)).ndim == 2}
    bound = {name.rsplit(".", 2)[1] for name in neurons.base.touched}
    assert bound == parts and f"{neurons.sites[0].path}.weight" in neurons.base.touched


def test_cost_is_counted_from_shapes(loaded: LoadedModel) -> None:
    path = "model.layers.0.mlp.up_proj"
    cost = lora_brick(loaded, 0, paths=[path], rank=3).cost
    assert (cost.params, cost.bytes, cost.flops_per_token) == (3 * (32 + 48), 4 * 3 * 80, 2 * 3 * 80)
    neurons = Brick.of(loaded, Index({0: np.arange(5)}), name="five").cost
    assert (neurons.params, neurons.bytes, neurons.flops_per_token) == (0, 20, 0)
    split = Brick.of(loaded, Partition(np.tile(np.arange(48) % 4, (2, 1)), 4), name="split").cost
    assert (split.params, split.bytes) == (0, 2 * 48 * 2)


def test_defaults_follow_the_payload(loaded: LoadedModel) -> None:
    one = Brick.of(loaded, Index({0: np.array([3])}), name="one")
    assert (one.origin, one.kind, one.granularity, one.sites[0].op) == ("emergent", "self_organised", "neuron", "mask")
    added = lora_brick(loaded, 0)
    assert (added.origin, added.kind, added.granularity) == ("customised", "task", "adapter")
    assert one.bound_to_bytes and not added.bound_to_bytes
    assert dataclasses.replace(added, kind="knowledge").bound_to_bytes


def test_meta_survives_as_plain_data() -> None:
    keys = np.random.default_rng(0).standard_normal((3, 40)).astype(np.float32)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    meta = BrickMeta(
        capability={"French": CapabilityScore(metric="nats", value=Interval(estimate=0.25, low=0.1, high=0.4, n=12))},
        keys=Keys(values_KQ=keys, encoder="an encoder"),
        provenance=Provenance(method="LoRA", licence="CC0-1.0", seed=3, versions={"torch": "2"}),
        latency_ratio=Interval(estimate=1.1),
        notes={"told": [1, 2]},
    )
    again = decode(BrickMeta, plain(meta), "the meta")
    assert plain(again) == plain(meta)
    assert again.keys is not None and np.array_equal(again.keys.values_KQ, keys)
    assert again.capability == meta.capability and again.latency_ratio == meta.latency_ratio


def test_a_cast_is_another_base_but_no_other_shape(loaded: LoadedModel) -> None:
    names = ["model.layers.0.mlp.down_proj.weight"]
    first = BaseRef.of(loaded, names)
    cast = tiny()
    cast.model.to(torch.bfloat16)
    second = BaseRef.of(cast, names)
    assert first.same_shape(second) and first.first_difference(second) == f"the tensor {names[0]}"
    assert decode(BaseRef, plain(first), "the base") == first and first == BaseRef.of(tiny(), names)
    assert first.first_difference(BaseRef.of(tiny("gemma3"), [])) == "the architecture (llama and gemma3_text)"


def test_tokenizers_tell_bases_apart_but_padding_does_not(loaded: LoadedModel) -> None:
    first = BaseRef.of(loaded, [])
    other = tiny()
    other.tokenizer(["a", "longer text"], padding=True)
    assert BaseRef.of(other, []) == first
    other.tokenizer.add_tokens(["<new>"])
    assert first.first_difference(BaseRef.of(other, [])) == "the tokenizer"


def test_bad_bricks_are_refused(loaded: LoadedModel) -> None:
    path = "model.layers.0.mlp.up_proj"
    cases = [
        (lambda: Brick.of(loaded, Index({7: np.array([0])}), name="x"), "layers 0 to 1; got 7"),
        (lambda: Brick.of(loaded, Index({0: np.array([48])}), name="x"), "neurons 0 to 47; got 48"),
        (lambda: Brick.of(loaded, Index({0: np.array([1])}), name="x", op="route"), "Index takes mask, keep, read"),
        (lambda: Brick.of(loaded, Index({}), name="x"), "at least one site"),
        (lambda: Brick.of(loaded, Index({0: np.array([1])}), name=" "), "has a name"),
        (lambda: Brick.of(loaded, Index({0: np.array([1])}), name="x", kind="odd"), "kind of a brick"),
        (lambda: Brick.of(loaded, LowRank({path: (torch.ones(1, 9), torch.ones(48, 1))}), name="x"), "maps 32 to 48"),
        (
            lambda: Brick.of(loaded, LowRank({"model.norm": (torch.ones(1, 1), torch.ones(1, 1))}), name="x"),
            "no Linear",
        ),
        (lambda: Brick.of(loaded, LowRank({"nowhere": (torch.ones(1, 1), torch.ones(1, 1))}), name="x"), "no module"),
        (lambda: Brick.of(loaded, Partition(np.zeros((5, 4), dtype=np.int64), 1), name="x"), "has 5 layers"),
        (lambda: BaseRef.of(loaded, ["nothing.weight"]), "no tensor 'nothing.weight'"),
        (lambda: LowRank({path: (torch.full((1, 32), torch.nan), torch.ones(48, 1))}), f"{path} holds numbers"),
    ]
    for made, sentence in cases:
        with pytest.raises(UsageError, match=sentence):
            made()
    with pytest.raises(NumericError, match="length 1"):
        Keys(values_KQ=np.ones((1, 4), dtype=np.float32), encoder="x")
    with pytest.raises(UsageError, match="1 to 4 keys"):
        Keys(values_KQ=np.eye(5, dtype=np.float32), encoder="x")
