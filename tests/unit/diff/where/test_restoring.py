"""A change planted in one block is found there, and nothing is left in the model."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from armillary.diff.where.restoring import (
    OUTSIDE,
    BlockShare,
    GroupShares,
    ReadAgain,
    Restored,
    chance,
    describe,
    restored,
    shares,
)
from armillary.diff.where.tensors import OpenTensors
from armillary.errors import ModelError
from armillary.models import LoadedModel, open_adapter, tiny
from armillary.models.anatomy import find_anatomy
from armillary.models.loaded import fingerprint_of

LAYERS = 4


def planted(kind: str, layer: int | None) -> tuple[LoadedModel, LoadedModel]:
    """A model, and its copy with noise in one block (None: the last norm)."""
    base: Any = tiny(kind, layers=LAYERS)
    model: Any = copy.deepcopy(base.model)
    after = LoadedModel(model, base.tokenizer, find_anatomy(model), "after", "planted")
    block = after.anatomy.base.norm if layer is None else after.anatomy.layers[layer]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return base, after


def nll(loaded: LoadedModel, row: list[int], start: int) -> float:
    with torch.no_grad():
        logprob = loaded.model(torch.tensor([row])).logits[0].log_softmax(-1)
    return -float(np.mean([float(logprob[index - 1, row[index]]) for index in range(start, len(row))]))


def rows_for(base: LoadedModel, after: LoadedModel) -> list[ReadAgain]:
    generator = np.random.default_rng(0)
    rows = []
    for length in (9, 12, 7, 12, 10, 8):
        ids = [int(token) for token in generator.choice(base.token_ids, length)]
        rows.append(ReadAgain(ids=ids, start=3, base=nll(base, ids, 3), after=nll(after, ids, 3)))
    return rows


@pytest.mark.parametrize(("kind", "layer"), [("llama", 2), ("llama", None), ("gpt2", 1)])
def test_a_planted_block_undoes_all_of_its_change_and_the_others_none(kind: str, layer: int | None) -> None:
    base, after = planted(kind, layer)
    rows = rows_for(base, after)
    before = fingerprint_of(after.model)
    (group,) = restored(after, OpenTensors(base), {"drift": rows})
    assert fingerprint_of(after.model) == before
    assert [block.layer for block in group.blocks] == [layer]  # the others are equal and need no return
    np.testing.assert_allclose(group.blocks[0].undone, [row.after - row.base for row in rows], atol=1e-5)
    (value,) = shares(group).values()
    assert value.estimate == pytest.approx(100, abs=0.05)


def test_what_skipping_layers_gives_is_what_whole_passes_give() -> None:
    base, after = planted("llama", 0)
    with torch.no_grad():
        for layer in after.anatomy.layers[1:]:
            for parameter in layer.parameters():
                parameter.mul_(1.05)
    rows = rows_for(base, after)
    (group,) = restored(after, OpenTensors(base), {"loss": rows})
    assert [block.layer for block in group.blocks] == [*range(LAYERS)]
    for block in group.blocks:
        mixed = copy.deepcopy(after.model)
        mixed.model.layers[block.layer].load_state_dict(base.model.model.layers[block.layer].state_dict())
        whole = LoadedModel(mixed, base.tokenizer, find_anatomy(mixed), "mixed", "x")
        expected = [row.after - nll(whole, row.ids, row.start) for row in rows]
        np.testing.assert_allclose(block.undone, expected, atol=1e-5)


def test_a_model_of_other_shapes_is_refused() -> None:
    _, after = planted("llama", 2)
    with pytest.raises(ModelError, match="different numbers of layers"):
        restored(after, OpenTensors(tiny()), {"drift": []})
    with pytest.raises(ModelError, match="no layer has the shapes of base's"):
        restored(after, OpenTensors(tiny("llama", hidden=16, layers=LAYERS)), {"drift": []})


def test_an_adapter_is_silenced_in_a_block(tmp_path: Path) -> None:
    base: Any = tiny("llama")
    path = "model.layers.1.mlp.down_proj"
    factors = {
        f"base_model.model.{path}.lora_A.weight": torch.ones(2, 48),
        f"base_model.model.{path}.lora_B.weight": torch.ones(32, 2),
    }
    save_file({name: value * 0.05 for name, value in factors.items()}, tmp_path / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 2, "target_modules": ["down_proj"], "base_model_name_or_path": "tiny-llama"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    switched = open_adapter(tmp_path)
    rows = rows_for(base, switched.on())
    (group,) = restored(switched.on(), None, {"drift": rows})
    changed = [row.after - row.base for row in rows]
    undone = {block.name: block.undone for block in group.blocks}
    np.testing.assert_allclose(undone["layer 1"], changed, atol=1e-5)
    assert undone.keys() == {"layer 1"}  # the adapter changes nothing elsewhere
    assert nll(switched.on(), rows[0].ids, 3) == rows[0].after


def group(carrier: int, rows: int = 12, blocks: int = 10) -> GroupShares:
    generator = np.random.default_rng(1)
    changed = generator.uniform(0.5, 1.5, rows)
    listed = []
    for index in range(blocks):
        undone = changed * 0.8 if index == carrier else generator.normal(0, 0.02, rows)
        listed.append(BlockShare(name=f"layer {index}", layer=index, undone=[float(value) for value in undone]))
    return GroupShares(what="loss", changed=[float(value) for value in changed], blocks=listed)


def test_the_carrier_is_named_and_chance_is_not() -> None:
    carried = group(3)
    p_values = chance(carried)
    assert p_values[3] == 2 / 2**12 and min(p_values[:3] + p_values[4:]) > 0.9
    described = describe(Restored(groups=[carried], blocks=10))
    (effect,) = described.effects
    assert effect.sentence.startswith(
        "Layer 3 carries 80 % of what it lost"
    ) and effect.value.estimate == pytest.approx(80)
    assert effect.value.estimate > effect.floor == pytest.approx(30)
    even = describe(Restored(groups=[group(-1)], blocks=10)).effects[0]
    assert even.p > 0.2 and abs(even.value.estimate) < even.floor
    assert even.sentence.startswith("No block by itself carries much")
    assert chance(group(3, rows=16))[3] < 0.001
    nothing = describe(Restored(problem="nothing that was read changed enough to be traced"))
    assert (
        nothing.effects == []
        and "changed enough" in nothing.section.summary
        and OUTSIDE not in nothing.section.summary
    )
