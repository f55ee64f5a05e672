"""A sparsified model against the definition on a dense one, token by token and at once; kept, opened again, undone."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from armillary.errors import StorageError, UsageError
from armillary.methods.bricks.brick import Brick
from armillary.methods.bricks.experts.cost import dense_bytes
from armillary.methods.bricks.library.brick_library import BrickLibrary
from armillary.methods.bricks.library.folder import read_brick, write_brick
from armillary.methods.bricks.library.mounting import mounted
from armillary.methods.bricks.payloads import Partition, Thresholds
from armillary.methods.bricks.sparsity.calibration import calibrate
from armillary.methods.bricks.sparsity.inputs import matrix_inputs
from armillary.methods.bricks.sparsity.reading import token_bytes
from armillary.methods.bricks.sparsity.sparse_model import sparsified
from armillary.models import LoadedModel, load, tiny
from unit.methods.bricks.bricks_toy import KINDS, bit_equal, lora_brick, snapshot

TEXTS = ["The capital of France is Paris and it is old.", "Rivers run to the sea.", "Water boils and then it is gone."]


def thresholds(loaded: LoadedModel, share: float = 0.4) -> Thresholds:
    return calibrate(loaded, TEXTS, sampled=False).uniform(share).thresholds


def token_ids(loaded: LoadedModel) -> Tensor:
    return torch.tensor([loaded.tokenizer(TEXTS[0]).input_ids])


@torch.no_grad()
def at_once(loaded: LoadedModel) -> Tensor:
    return loaded.model(token_ids(loaded)).logits[0]


@torch.no_grad()
def by_token(loaded: LoadedModel) -> Tensor:
    """Logits of every token, read one after the other: the way of decoding."""
    rows, cache = [], None
    for token in token_ids(loaded)[0]:
        out = loaded.model(token[None, None], past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        rows.append(out.logits[0, 0])
    return torch.stack(rows)


@contextmanager
def masked(loaded: LoadedModel, payload: Thresholds) -> Iterator[None]:
    """The definition, by hooks on the dense model: x where |x| >= t, else 0."""

    def mask(least: float, _: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (torch.where(args[0].abs().float() >= least, args[0], 0), *args[1:])

    with ExitStack() as hooks:
        for path, least in payload.least.items():
            module = loaded.model.get_submodule(path)
            hooks.callback(module.register_forward_pre_hook(partial(mask, least)).remove)
        yield


def difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max()) / float(b.abs().max())


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_the_definition_and_undone(kind: str) -> None:
    loaded = tiny(kind)
    payload, before, dense = thresholds(loaded), snapshot(loaded), at_once(loaded)
    with masked(loaded, payload):
        wanted = at_once(loaded)
    assert difference(wanted, dense) > 1e-2, "leaving out nothing would pass as well"
    with sparsified(loaded, payload, engine="torch"):
        assert difference(at_once(loaded), wanted) < 1e-5
        assert difference(by_token(loaded), wanted) < 1e-5
        assert bit_equal(loaded, before), "weights are rearranged, not changed"
    assert bit_equal(loaded, before) and torch.equal(at_once(loaded), dense)
    assert all(value.is_contiguous() for value in loaded.model.parameters())
    assert not any("forward" in vars(module) for module in loaded.model.modules())


def test_thresholds_of_zero_leave_the_model_as_it_is() -> None:
    loaded = tiny("llama")
    none = Thresholds(dict.fromkeys(thresholds(loaded).least, 0.0))
    dense = at_once(loaded)
    with sparsified(loaded, none, engine="torch"):
        assert torch.equal(at_once(loaded), dense)
        assert difference(by_token(loaded), dense) < 1e-6
        assert token_bytes(loaded, matrix_inputs(loaded), none, TEXTS).limit().estimate == 1


def test_by_numba_too() -> None:
    pytest.importorskip("numba")
    loaded = tiny("llama")
    payload = thresholds(loaded)
    with sparsified(loaded, payload, engine="torch"):
        wanted = by_token(loaded)
    with sparsified(loaded, payload, engine="numba"):
        assert difference(by_token(loaded), wanted) < 1e-5


def test_bfloat16_reads_the_same_as_the_definition() -> None:
    loaded = load("tiny-llama", dtype="bfloat16")
    payload = thresholds(loaded)
    dense = at_once(loaded).float()
    with masked(loaded, payload):
        wanted = at_once(loaded).float()
    with sparsified(loaded, payload, engine="torch"):
        own = by_token(loaded).float()
    # A number that rounding moves over its threshold changes a few logits by much, so the median is compared.
    assert float((own - wanted).abs().median()) < 0.02 < float((dense - wanted).abs().median())


def test_generates_trains_and_follows_its_weights(tmp_path: Path) -> None:
    loaded = tiny("llama")
    payload = thresholds(loaded)
    ids = token_ids(loaded)
    with masked(loaded, payload):
        wanted = loaded.model.generate(ids, max_new_tokens=8, do_sample=False)
    with sparsified(loaded, payload, engine="torch") as sparse:
        assert sparse.thresholds == payload
        assert torch.equal(loaded.model.generate(ids, max_new_tokens=8, do_sample=False), wanted)
        loaded.model(ids[:, :1], labels=ids[:, :1])  # one token with gradients runs densely
        loaded.model(ids, labels=ids).loss.backward()
        assert loaded.model.model.layers[0].mlp.down_proj.weight.grad.abs().sum() > 0
        loaded.model.save_pretrained(tmp_path)
        with mounted(loaded, [lora_brick(loaded, 1)]):
            changed = by_token(loaded)
            with masked(loaded, payload):
                assert difference(changed, at_once(loaded)) < 1e-5
        assert difference(by_token(loaded), changed) > 1e-2
    again = type(loaded.model).from_pretrained(tmp_path)
    assert all(map(torch.equal, again.state_dict().values(), loaded.model.state_dict().values()))


def test_without_a_block_it_stays_until_restored() -> None:
    loaded = tiny("llama")
    payload, dense = thresholds(loaded), at_once(loaded)
    sparse = sparsified(loaded, payload, engine="torch")
    with pytest.raises(UsageError, match="already"):
        sparsified(loaded, payload)
    assert difference(at_once(loaded), dense) > 1e-2
    sparse.restore()
    assert torch.equal(at_once(loaded), dense)


def test_kept_and_opened_again_on_its_model_alone(tmp_path: Path) -> None:
    loaded = tiny("llama")
    brick = Brick.of(loaded, thresholds(loaded), name="fewer")
    (tmp_path / "brick").mkdir()
    write_brick(brick, tmp_path / "brick")
    opened = read_brick(tmp_path / "brick")
    assert opened.payload == brick.payload and opened.id == brick.id and opened.cost.params == 0
    with sparsified(loaded, brick, engine="torch"):
        wanted = by_token(loaded)
    for source in (tmp_path / "brick", str(tmp_path)):  # the folder itself, and that of a run
        with sparsified(loaded, source, engine="torch"):
            assert torch.equal(by_token(loaded), wanted)
    library = BrickLibrary(tmp_path / "library")
    assert library.get(library.add(brick)).payload == brick.payload
    other = tiny("llama")
    with torch.no_grad():
        other.model.model.layers[1].mlp.up_proj.weight[0, 0] += 1
    with pytest.raises(UsageError, match=r"layers\.1\.mlp\.up_proj\.weight"):
        sparsified(other, tmp_path)
    with pytest.raises(UsageError, match="architecture"):
        sparsified(tiny("gemma3"), tmp_path)
    with pytest.raises(UsageError, match="`sparsified`"), mounted(loaded, [brick]):
        pass


def test_refused(tmp_path: Path) -> None:
    loaded = tiny("llama")
    path = "model.layers.0.mlp.down_proj"
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="finite number, 0 or more"):
            Thresholds({path: wrong})
    with pytest.raises(UsageError, match="must name a matrix"):
        sparsified(loaded, Thresholds({}))
    with pytest.raises(UsageError, match="no module"):
        sparsified(loaded, Thresholds({"model.nothing": 1.0}))
    with pytest.raises(StorageError, match="not the folder of a brick"):
        sparsified(loaded, tmp_path)
    halves = Partition(np.tile(np.arange(48) % 2, (2, 1)), 2)
    with pytest.raises(StorageError, match="no thresholds"):
        sparsified(loaded, Brick.of(loaded, halves, name="halves"))


def test_bytes_are_those_of_the_inputs_left_out() -> None:
    loaded = tiny("llama")
    inputs = matrix_inputs(loaded)
    down = inputs[1][3]
    all_of_it = Thresholds({down.paths[0]: 1e30})
    with sparsified(loaded, all_of_it, engine="torch"):
        read = token_bytes(loaded, inputs, all_of_it, TEXTS)
    total = sum(an_input.bytes for layer in inputs for an_input in layer)
    assert read.dense == dense_bytes(loaded) and read.share() == pytest.approx(down.bytes / total)
    assert read.share([7]) == 1 and read.share([0]) == 0
    assert read.limit().estimate == pytest.approx(read.dense / (read.dense - down.bytes))
    half = replace(read, left_out_NP=read.left_out_NP / 2)
    assert half.limit().estimate == pytest.approx(read.dense / (read.dense - down.bytes / 2))
    with pytest.raises(UsageError, match="at least one text"):
        token_bytes(loaded, inputs, all_of_it, [])
