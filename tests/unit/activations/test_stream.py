"""Hooks see what the model computes, leave it as it was, and go away on any exit."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from armillary.activations import run_texts, streaming
from armillary.activations.stream import Site
from armillary.errors import ModelError, UsageError
from armillary.models import KINDS, LoadedModel, tiny
from armillary.models.batches import pad
from stored import Keep

TEXTS = ["Paris is a city of France", "red", "The color of grass is green"]


@pytest.fixture(scope="module", params=KINDS)
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    return tiny(request.param)


def hooks(module: nn.Module) -> Iterator[int]:
    for part in module.modules():
        yield len(part._forward_hooks) + len(part._forward_pre_hooks)


@torch.no_grad()
def layer_outputs(loaded: LoadedModel, row: list[int]) -> list[torch.Tensor]:
    """The inputs of the layers after the first, as transformers reports them: outputs of all but the last."""
    states = loaded.model(input_ids=torch.tensor([row]), output_hidden_states=True).hidden_states
    return [state[0] for state in states[1:-1]]


@pytest.mark.parametrize("side", ["left", "right"])
def test_layer_outputs_without_padding(loaded: LoadedModel, side: str) -> None:
    rows = [loaded.tokenizer(text)["input_ids"] for text in TEXTS]
    ids, mask = pad(rows, side=side)
    keep = Keep()
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    with torch.no_grad(), streaming(loaded, "layer", keep):
        loaded.model(input_ids=ids, attention_mask=mask, position_ids=positions)
    expected = [torch.cat(states) for states in zip(*(layer_outputs(loaded, row) for row in rows), strict=True)]
    for layer, states in enumerate(expected):
        torch.testing.assert_close(keep.values(layer), states, atol=2e-5, rtol=1e-5)


def test_ffn_inputs_are_the_neurons() -> None:
    loaded = tiny("llama")
    keep, seen = Keep(), Keep()
    mlp = loaded.model.model.layers[1].mlp
    handle = mlp.register_forward_pre_hook(lambda _m, args: seen.update(1, args[0].detach()[0]))
    with torch.no_grad(), streaming(loaded, "ffn", keep):
        run_texts(loaded, TEXTS[:1])
    handle.remove()
    x = seen.values(1)
    with torch.no_grad():
        expected = mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x)
    torch.testing.assert_close(keep.values(1), expected)


@pytest.mark.parametrize("site", ["ffn", "layer"])
def test_logits_are_bit_equal(loaded: LoadedModel, site: Site) -> None:
    ids, mask = pad([loaded.tokenizer(text)["input_ids"] for text in TEXTS])
    with torch.no_grad():
        plain = loaded.model(input_ids=ids, attention_mask=mask).logits
        with streaming(loaded, site, Keep()):
            watched = loaded.model(input_ids=ids, attention_mask=mask).logits
    assert torch.equal(plain, watched)


@pytest.mark.parametrize("site", ["ffn", "layer"])
def test_tokens_are_counted_during_cached_generation(loaded: LoadedModel, site: Site) -> None:
    ids, mask = pad([loaded.tokenizer(text)["input_ids"] for text in TEXTS], side="left")
    keep = Keep()
    with streaming(loaded, site, keep):
        loaded.model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    # The last of the four new tokens is never fed back.
    assert len(keep.values(0)) == int(mask.sum()) + 3 * len(TEXTS)


@pytest.mark.parametrize("site", ["ffn", "layer"])
def test_hooks_are_removed_on_an_exception(loaded: LoadedModel, site: Site) -> None:
    before = list(hooks(loaded.model))
    with pytest.raises(KeyboardInterrupt), streaming(loaded, site, Keep()):
        assert sum(hooks(loaded.model)) > sum(before)
        raise KeyboardInterrupt
    assert list(hooks(loaded.model)) == before


def test_reducer_that_fails_leaves_nothing_behind() -> None:
    loaded = tiny()
    before = list(hooks(loaded.model))
    with pytest.raises(UsageError, match="at most 2"), streaming(loaded, "layer", Keep(limit=2)):
        run_texts(loaded, TEXTS)
    assert list(hooks(loaded.model)) == before
    keep = Keep()
    with streaming(loaded, "layer", keep):
        assert run_texts(loaded, TEXTS) == len(keep.values(0))


def test_mask_of_one_call_does_not_reach_the_next() -> None:
    loaded = tiny()
    keep = Keep()
    ids, mask = pad([[5, 6, 7], [5]])
    with torch.no_grad(), streaming(loaded, "layer", keep):
        loaded.anatomy.base(input_ids=ids, attention_mask=mask)
        loaded.anatomy.base(input_ids=ids)
        loaded.anatomy.base(ids, mask)
    assert len(keep.values(0)) == 4 + 6 + 4


def test_texts_are_cut() -> None:
    loaded = tiny()
    keep = Keep()
    with streaming(loaded, "ffn", keep):
        assert run_texts(loaded, TEXTS, max_tokens=2, tokens_per_batch=3) == len(keep.values(1)) <= 6


def test_bad_input_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny()
    with pytest.raises(UsageError, match="shape"), streaming(loaded, "layer", Keep()):
        loaded.model(input_ids=torch.tensor([[3]]), attention_mask=torch.zeros((1, 1, 1, 1)))
    monkeypatch.setitem(loaded.anatomy.__dict__, "ffn_writes", (None, None))
    with pytest.raises(ModelError, match="no single FFN write"), streaming(loaded, "ffn", Keep()):
        pass
