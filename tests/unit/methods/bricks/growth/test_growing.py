"""Growing changes no logit, read at once or with a cache; what is new trains alone, what is old keeps its bits."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from armillary.errors import CheckFailed, ModelError, UsageError
from armillary.methods.bricks.growth.growing import grow_layers, grow_neurons, split_neurons
from armillary.methods.bricks.growth.grown import Grown, preservation, reopened, untrained_copy
from armillary.methods.bricks.growth.partial_training import train_on_texts, train_only_new
from armillary.methods.bricks.growth.upcycling import add_expert, split_into_experts, to_mixtral, upcycle
from armillary.methods.bricks.payloads import Index, Partition
from armillary.models import KINDS, LoadedModel, load, tiny
from armillary.models.feed_forward import feed_forward, weight_OI
from armillary.models.quiet import quiet
from armillary.models.tiny_models import tiny_tokenizer

TEXTS = ["Paris is the capital.", "red and blue and green"]
CHOSEN = Index({0: np.array([0, 3, 40]), 1: np.array([7])})


def halves(loaded: LoadedModel) -> Partition:
    width = loaded.anatomy.intermediate_size
    generator = np.random.default_rng(0)
    rows = [generator.permutation(np.arange(width) % 4) for _ in range(loaded.anatomy.num_layers)]
    return Partition(np.stack(rows), 4)


STEPS: dict[str, Callable[[LoadedModel], Grown]] = {
    "neurons": lambda loaded: grow_neurons(loaded, 5),
    "neurons of one layer": lambda loaded: grow_neurons(loaded, 5, layers=[1]),
    "split": lambda loaded: split_neurons(loaded, CHOSEN),
    "layer": lambda loaded: grow_layers(loaded, 1),
    "layers": lambda loaded: grow_layers(loaded, 2),
    "upcycled": lambda loaded: upcycle(loaded, 4, top_k=2, spread=2.0),
    "upcycled in one layer": lambda loaded: upcycle(loaded, 3, top_k=1, layers=[0]),
    "parts": lambda loaded: split_into_experts(loaded, halves(loaded)),
    "one more expert": lambda loaded: add_expert(upcycle(loaded, 2, spread=2.0).loaded),
    "one more part": lambda loaded: add_expert(split_into_experts(loaded, halves(loaded)).loaded),
}


@pytest.fixture(scope="module", params=KINDS)
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    return tiny(request.param)


def bits(loaded: LoadedModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in loaded.model.state_dict().items()}


def same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("step", STEPS)
def test_growing_changes_no_logit(loaded: LoadedModel, step: str) -> None:
    before = bits(loaded)
    grown = STEPS[step](loaded)
    result = preservation(loaded, grown.loaded, TEXTS)
    assert 0 < result.rounding < 1e-4
    assert result.prefill <= 1e-5 and result.decode <= 1e-5
    assert result.tokens > 10
    assert grown.added > 0
    assert same_bits(before, bits(loaded))


def test_new_neurons_and_layers_change_nothing_at_all() -> None:
    loaded = tiny("gemma3")
    assert preservation(loaded, grow_layers(loaded, 2).loaded, TEXTS).prefill == 0.0
    assert preservation(loaded, grow_neurons(loaded, 8).loaded, TEXTS).prefill < 1e-6


def test_a_changed_logit_would_be_seen(loaded: LoadedModel) -> None:
    grown = grow_neurons(loaded, 3)
    with torch.no_grad():
        weight_OI(feed_forward(grown.loaded, 0).write)[:, -3:] = torch.randn(32, 3)
    assert preservation(loaded, grown.loaded, TEXTS).prefill > 1e-2
    assert preservation(loaded, grown.loaded, TEXTS).decode > 1e-2


@pytest.mark.parametrize("step", ["neurons", "neurons of one layer", "split", "layer", "layers"])
def test_a_larger_model_is_saved_and_opened_again(loaded: LoadedModel, step: str, tmp_path: Path) -> None:
    grown = STEPS[step](loaded)
    grown.loaded.model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    opened = reopened(loaded, again, "opened")
    assert opened.anatomy.intermediate_size == grown.loaded.anatomy.intermediate_size
    result = preservation(grown.loaded, opened, TEXTS)
    assert same_bits(bits(grown.loaded), bits(opened))
    assert result.prefill <= 1e-5 and result.decode <= 1e-5


def test_new_neurons_train_and_nothing_else_moves(loaded: LoadedModel) -> None:
    grown = grow_neurons(loaded, 4, layers=[1])
    old = bits(grown.loaded)
    with train_only_new(grown) as new:
        losses = train_on_texts(grown.loaded, new, ["Oslo and Rome and Oslo"], steps=12, rate=0.05, weight_decay=0.5)
    assert losses[-1] < losses[0]
    after = bits(grown.loaded)
    inside = {f"{path}.weight" for path in feed_forward(grown.loaded, 1).matrices}
    assert all(torch.equal(old[name], after[name]) for name in old if name not in inside)
    for path in feed_forward(grown.loaded, 1).matrices:
        # Neurons first, whatever the side and the way of storing.
        stored = [values[f"{path}.weight"] for values in (old, after)]
        was, now = (value if value.shape[0] == 52 else value.T for value in stored)
        assert torch.equal(now[:48], was[:48]), path
        assert bool((now[48:] != was[48:]).all()), path


def test_padding_neurons_stay_silent() -> None:
    grown = grow_neurons(tiny("llama"), 4, layers=[1])
    for matrix in feed_forward(grown.loaded, 0).matrices.values():
        weight = weight_OI(matrix)
        padded = weight[:, 48:] if weight.shape[1] == 52 else weight[48:]
        assert padded.numel() == 4 * 32 and not padded.any()


@pytest.mark.parametrize("step", ["layer", "upcycled"])
def test_new_parameters_train_and_nothing_else_moves(loaded: LoadedModel, step: str) -> None:
    grown = STEPS[step](loaded)
    old = bits(grown.loaded)
    with train_only_new(grown) as new:
        losses = train_on_texts(grown.loaded, new, ["Oslo and Rome and Oslo"], steps=8, rate=0.02)
    assert losses[-1] < losses[0]
    after = bits(grown.loaded)
    moved = {name for name in old if not torch.equal(old[name], after[name])}
    assert moved and moved <= set(grown.parameters)


def test_moved_old_bits_are_reported() -> None:
    grown = grow_layers(tiny("llama"), 1)
    with pytest.raises(CheckFailed, match="embed_tokens"), train_only_new(grown), torch.no_grad():
        grown.loaded.anatomy.embedding.weight[3, 3] += 1e-3


def test_twins_differ_after_training_only_with_an_uneven_share() -> None:
    with pytest.raises(UsageError, match="twins"):
        split_neurons(tiny("llama"), CHOSEN, share=0.5)


def test_layers_that_are_no_residual_blocks_are_refused() -> None:
    loaded = tiny("opt", settings={"do_layer_norm_before": False})
    with pytest.raises(ModelError, match="says something else"):
        grow_layers(loaded, 1)
    with pytest.raises(ModelError, match="divides its attention"):
        grow_layers(tiny("gpt2", settings={"scale_attn_by_inverse_layer_idx": True}), 1)


@pytest.mark.parametrize(
    "act, sentence",
    [
        (lambda loaded: grow_neurons(loaded, 0), "at least 1"),
        (lambda loaded: grow_neurons(loaded, 2, layers=[5]), "0 to 1"),
        (lambda loaded: split_neurons(loaded, Index({0: np.array([48])})), "48 neurons"),
        (lambda loaded: grow_layers(loaded, 3), "1 to 2"),
        (lambda loaded: upcycle(loaded, 1), "2 experts"),
        (lambda loaded: upcycle(loaded, 3, top_k=4), "top_k"),
        (lambda loaded: add_expert(loaded), "no experts"),
        (lambda loaded: split_into_experts(loaded, Partition(np.zeros((2, 8), dtype=np.int64), 1)), "partition"),
        (lambda loaded: preservation(loaded, loaded, []), "at least one text"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(act: Callable[[LoadedModel], object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        act(tiny("llama"))


WAYS = {
    "neurons": lambda loaded: grow_neurons(loaded, 5),
    "split": lambda loaded: split_neurons(loaded, Index({1: np.array([2, 7])})),
    "one layer": lambda loaded: grow_layers(loaded, 1),
    "two layers": lambda loaded: grow_layers(loaded, 2),
}
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
NEO = {"hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "num_layers": 2, "window_size": 8,
       "attention_types": [[["global", "local"], 1]], "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("diffllama", SIZES), ("gpt_neo", NEO), ("smollm3", SIZES), ("bitnet", SIZES),
        ("cohere2", {**SIZES, "sliding_window": 4}), ("gemma3_text", {**SIZES, "sliding_window": 4}),
    ],
)  # fmt: skip
def test_a_grown_model_opens_from_its_folder_as_it_is_or_is_refused(
    tmp_path: Path, kind: str, settings: dict[str, Any], way: str
) -> None:
    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind, vocab_size=len(tokenizer), max_position_embeddings=64, initializer_range=0.2, **settings
    )
    loaded = load((AutoModelForCausalLM.from_config(config).eval(), tokenizer))
    try:
        grown = WAYS[way](loaded).loaded.model
    except ModelError:
        # A constant that follows from the layer's number; a norm of the neurons themselves.
        assert (kind, way) in {("diffllama", "two layers"), ("bitnet", "neurons"), ("bitnet", "split")}
        return
    ids = torch.arange(5, 25)[None]
    with quiet(), torch.no_grad():
        grown.save_pretrained(tmp_path)
        again = AutoModelForCausalLM.from_pretrained(tmp_path)
        torch.testing.assert_close(again(ids).logits, loaded.model(ids).logits, rtol=1e-5, atol=1e-5)


def test_experts_are_saved_as_a_mixtral_only(tmp_path: Path) -> None:
    grown = upcycle(tiny("llama"), 3).loaded
    split = split_into_experts(tiny("llama"), Partition(np.tile(np.arange(48) % 4, (2, 1)), 4)).loaded
    for model in (grown.model, split.model, add_expert(grown).loaded.model, copy.deepcopy(grown.model)):
        with pytest.raises(UsageError, match="to_mixtral"):
            model.save_pretrained(tmp_path / "never")
    with quiet():
        to_mixtral(grown).model.save_pretrained(tmp_path / "mixtral")
    assert not (tmp_path / "never").exists() and (tmp_path / "mixtral").exists()


def test_an_untrained_copy_has_the_shape_and_nothing_else() -> None:
    loaded = tiny()
    state = torch.random.get_rng_state()
    copy_, again, other = (untrained_copy(loaded, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert copy_.fingerprint == again.fingerprint not in (other.fingerprint, loaded.fingerprint)
    shapes = [{name: value.shape for name, value in model.model.state_dict().items()} for model in (loaded, copy_)]
    assert shapes[0] == shapes[1]
    gate_MD = feed_forward(copy_, 0).reads[0].weight
    assert float(gate_MD.detach().std()) == pytest.approx(gate_MD.shape[1] ** -0.5, rel=0.1)
