"""A cache is used only by models that read it as we need it; others are scored without one, or refused by name."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.cache_utils import Cache

from armillary.errors import ModelError
from armillary.methods.modeldiff.tempered_source import LoadedTempered
from armillary.methods.vector_icl.decoding import SharedPrefix
from armillary.models import KINDS, LoadedModel, load, tiny
from armillary.models.tiny_models import tiny_tokenizer
from armillary.scoring import CachedPrompts, branch_logits, next_token_logits, sample, token_nll
from armillary.scoring.fixed_length import draw_fixed_length, fixed_length_nll
from armillary.scoring.kv_cache import copy_cache, growing_cache, is_cacheable, move_slots, select_rows

REAL: dict[str, dict[str, object]] = {
    "rwkv": {"attention_hidden_size": 32},
    "openai-gpt": {"n_embd": 32, "n_layer": 2, "n_head": 4},
    "mamba": {"state_size": 4},
    "recurrent_gemma": {"num_attention_heads": 4, "lru_width": 32, "block_types": ["recurrent", "attention"]},
    "minimax": {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "num_local_experts": 2},
}


def real(kind: str) -> LoadedModel:
    tokenizer = tiny_tokenizer()
    shape = {"vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48}
    shape |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **shape, **REAL[kind])).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    return load((model, tokenizer))


def wrapped(change: Callable[[dict[str, Any], int], None]) -> LoadedModel:
    """A Llama whose body gets its arguments changed; the number is that of the tokens in its cache."""
    loaded = tiny()
    base: Any = loaded.anatomy.base
    forward = base.forward

    @functools.wraps(forward)
    def changed(*args: object, **given: Any) -> object:
        cache = given.get("past_key_values")
        change(given, 0 if cache is None else cache.get_seq_length())
        return forward(*args, **given)

    base.forward = changed
    return loaded


def ignored(given: dict[str, Any], _: int) -> None:
    given["past_key_values"] = None


def restarts(given: dict[str, Any], held: int) -> None:
    if held:
        given["position_ids"] = torch.arange(3, 3 + given["input_ids"].shape[1])[None] * 2


def raises(_: dict[str, Any], held: int) -> None:
    if held:
        raise IndexError("list index out of range")


def no_long_runs(given: dict[str, Any], held: int) -> None:
    if held and given["input_ids"].shape[1] > 1:
        given["position_ids"] = torch.zeros_like(given["input_ids"])


class Remembers:
    """A state beside the cache, which cutting back does not touch."""

    def __init__(self) -> None:
        self.tokens = 0

    def __call__(self, given: dict[str, Any], held: int) -> None:
        if given.get("past_key_values") is not None:
            start = self.tokens if held else 0
            self.tokens = start + given["input_ids"].shape[1]
            given["position_ids"] = (torch.arange(start, self.tokens) * (1 if start == held else 3))[None]


def no_padding(given: dict[str, Any], _: int) -> None:
    given.pop("position_ids", None)
    given.pop("attention_mask", None)


FAULTY: dict[str, Callable[[], LoadedModel]] = {
    **{kind: functools.partial(real, kind) for kind in REAL},
    **{change.__name__: functools.partial(wrapped, change) for change in (ignored, restarts, raises, no_long_runs)},
    "remembers": lambda: wrapped(Remembers()),
}
PREFIX, IDS = [5, 400], torch.tensor([[7, 300, 900, 40, 1200], [9, 8, 7, 6, 5]])


@torch.no_grad()
def by_hand(loaded: LoadedModel) -> Tensor:
    rows = torch.cat([torch.tensor([PREFIX] * 2), IDS], dim=1)
    logs = loaded.model(input_ids=rows, use_cache=False).logits.double()[:, 1:-1].log_softmax(-1)
    return -logs.gather(2, IDS[..., None])[..., 0]


@pytest.mark.parametrize("kind", FAULTY)
def test_what_does_not_read_its_cache_is_scored_without_one(kind: str) -> None:
    loaded = FAULTY[kind]()
    assert not is_cacheable(loaded)
    torch.testing.assert_close(fixed_length_nll(loaded, PREFIX, IDS).double(), by_hand(loaded), atol=2e-4, rtol=0)
    stems, endings = ["Paris", "Rome is"], [" in the city", " in the country"]
    branches = branch_logits(loaded, stems, endings, [[4, 5, 6]] * 2)
    for ending, values in zip(endings, branches, strict=True):
        whole = next_token_logits(loaded, [stem + ending for stem in stems], [4, 5, 6])
        torch.testing.assert_close(torch.from_numpy(values), torch.from_numpy(whole), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", FAULTY)
def test_padding_in_front_is_not_read(kind: str) -> None:
    loaded = FAULTY[kind]()
    rows = torch.cat([torch.tensor([PREFIX] * 2), IDS], dim=1)
    mask = torch.ones_like(rows)
    mask[0, :2] = 0
    nll = token_nll(loaded, rows, mask)
    torch.testing.assert_close(nll[0, 2:], token_nll(loaded, rows[:1, 2:])[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(nll[1], token_nll(loaded, rows[1:])[0], atol=1e-4, rtol=0)
    assert (nll[0, :2] == 0).all()


@pytest.mark.parametrize("kind", FAULTY)
def test_what_needs_a_cache_refuses_such_a_model_by_name(kind: str) -> None:
    loaded = FAULTY[kind]()
    needs: list[Callable[[], object]] = [
        lambda: sample(loaded, ["Paris"], max_new_tokens=2, seed=0),
        lambda: draw_fixed_length(loaded, PREFIX, [0], length=3, seed=0),
        lambda: CachedPrompts(loaded),
        lambda: LoadedTempered(loaded, PREFIX),
        lambda: SharedPrefix(loaded, torch.zeros(1, 2, 32)),
    ]
    for need in needs:
        with pytest.raises(ModelError, match=rf"\({type(loaded.model).__name__}\) does not keep its past") as error:
            need()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_models_that_read_their_cache_are_used_with_it(kind: str, dtype: torch.dtype) -> None:
    for settings in ({}, {"sliding_window": 7} if "gemma" in kind else {"max_position_embeddings": 32}):
        loaded = tiny(kind, settings=settings)
        loaded.model.to(dtype)  # type: ignore[call-arg]
        assert is_cacheable(loaded) and is_cacheable(loaded, padded=True)


def test_prompts_of_unequal_length_are_drawn_apart_where_padding_changes_a_model() -> None:
    loaded, prompts = wrapped(no_padding), ["Paris lives in the", "Rome", "the red house", "Oslo"]
    assert is_cacheable(loaded) and not is_cacheable(loaded, padded=True)
    with pytest.raises(ModelError, match="LlamaForCausalLM"):
        CachedPrompts(loaded)
    drawn, expected = (
        sample(model, prompts, num_samples=2, max_new_tokens=4, seed=0, stop_ids=[]) for model in (loaded, tiny())
    )
    assert drawn.sequences == expected.sequences
    assert drawn.logprobs == pytest.approx(expected.logprobs, abs=1e-4)


def test_the_check_runs_once_a_model_and_leaves_it_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny("opt", settings={"dropout": 0.5})
    state = torch.random.get_rng_state()
    loaded.model.train()
    assert is_cacheable(loaded, padded=True) and loaded.model.training
    assert torch.equal(torch.random.get_rng_state(), state)
    calls: list[int] = []
    loaded.anatomy.base.register_forward_hook(lambda *_: calls.append(1))
    assert is_cacheable(loaded) and is_cacheable(loaded, padded=True) and not calls


def test_damaged_weights_are_no_fault_of_the_cache() -> None:
    loaded = tiny()
    with torch.no_grad():
        loaded.anatomy.embedding.weight[:] = float("nan")
    assert is_cacheable(loaded)


def filled_cache() -> Cache:
    """Three layers of two rows, four heads and five slots, with values of another size than the keys."""
    cache, generator = growing_cache(), torch.Generator().manual_seed(0)
    for layer in range(3):
        cache.update(torch.randn(2, 4, 5, 6, generator=generator), torch.randn(2, 4, 5, 3, generator=generator), layer)
    return cache


def states(cache: Cache) -> list[Tensor]:
    return [held.clone() for layer in cache.layers for held in (layer.keys, layer.values) if held is not None]


def test_moved_slots_hold_what_gather_gives() -> None:
    cache = filled_cache()
    before, slots_BS = states(cache), torch.tensor([[0, 1, 4], [2, 2, 3]])
    move_slots(cache, slots_BS)
    assert cache.get_seq_length() == 3
    for moved, held in zip(states(cache), before, strict=True):
        assert torch.equal(moved, held.gather(2, slots_BS[:, None, :, None].expand(-1, 4, -1, held.shape[3])))


def test_a_copy_of_some_rows_is_a_copy_with_its_rows_chosen() -> None:
    cache, rows_B = filled_cache(), torch.tensor([1, 0, 1])
    before, chosen = states(cache), copy_cache(cache)
    select_rows(chosen, rows_B)
    branched = copy_cache(cache, rows_B)
    assert all(map(torch.equal, states(branched), states(chosen)))
    branched.update(torch.zeros(3, 4, 1, 6), torch.zeros(3, 4, 1, 3), 0)
    branched.layers[1].keys.zero_()
    assert all(map(torch.equal, states(cache), before)), "what grows or changes in the copy leaves the first alone"
