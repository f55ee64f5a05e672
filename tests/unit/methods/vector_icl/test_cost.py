"""What is not done twice: queries share one reading of the prefix, and the head makes a position's logits once."""

import functools
from typing import Any

import pytest
import torch
from transformers.cache_utils import Cache

from armillary.methods.vector_icl import training as losses
from armillary.methods.vector_icl.config import SlotTemplate
from armillary.methods.vector_icl.decoding import SharedPrefix, label_log_probabilities
from armillary.methods.vector_icl.embedding import embed_tokens, embed_with_slots, run_embeds, takes_branches
from armillary.methods.vector_icl.prompts import Layout
from armillary.methods.vector_icl.training import token_losses
from armillary.models.loaded import LoadedModel
from armillary.models.tiny_models import KINDS, tiny

ROTARY = ("llama", "gemma3", "gemma2", "qwen3", "gpt_neox")
LABELS = [(5,), (5, 9), (7, 8, 9), (7, 8, 4)]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def alone(model: LoadedModel, shown: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """Scores of the labels, from whole prompts."""
    found = []
    for label in LABELS:
        whole = torch.cat([shown, query[None], embed_tokens(model, torch.tensor([label]))], dim=1)
        logp = model.anatomy.logits(run_embeds(model, whole))[0].log_softmax(-1)
        start = whole.shape[1] - len(label) - 1
        found.append(sum(logp[start + step, token] for step, token in enumerate(label)))
    return torch.stack([torch.as_tensor(one) for one in found]).double()


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_queries_side_by_side_do_not_see_each_other(kind: str) -> None:
    model = tiny(kind)
    shown, queries = drawn(1, 9, 32), drawn(4, 3, 32, seed=1)
    wanted = torch.stack([alone(model, shown, query) for query in queries])
    prefix = SharedPrefix(model, shown)
    for rows in ([0, 1, 2, 3], [2], [3, 0], [0, 1, 2, 3]):  # what one batch leaves must not reach the next
        asked = prefix.read(queries[rows])
        assert isinstance(asked.held, Cache) == (kind not in ROTARY or len(rows) == 1)
        assert torch.allclose(label_log_probabilities(model, asked, LABELS), wanted[rows], atol=1e-4)
        assert asked.cache.get_seq_length() == 12 and asked.cache.layers[0].keys.shape[0] == len(rows)


def test_long_queries_and_short_windows_keep_rows_of_their_own() -> None:
    model = tiny("gemma3", settings={"sliding_window": 8})
    assert takes_branches(model, 8) and not takes_branches(model, 9)
    shown, queries = drawn(1, 6, 32), drawn(4, 3, 32, seed=1)
    asked = SharedPrefix(model, shown).read(queries)
    assert isinstance(asked.held, Cache)
    with torch.no_grad():
        wanted = torch.stack([alone(model, shown, query) for query in queries])
    assert torch.allclose(label_log_probabilities(model, asked, LABELS), wanted, atol=1e-4)
    prefix = SharedPrefix(tiny("llama"), drawn(1, 3, 32))
    assert isinstance(prefix.read(drawn(4, 3, 32)).held, Cache)  # mostly hidden from each other, so not worth it


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_the_gradient_by_chunks_is_that_of_all_logits(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(kind)
    monkeypatch.setattr(losses, "CHUNK_ELEMENTS", 4 * model.anatomy.vocabulary_size)  # two positions at a time
    rows = [Layout.of(model, SlotTemplate()).training_row(index, (5, 6, 7, 8)[: 2 + index]) for index in range(3)]
    counted: list[int] = []
    hook = model.anatomy.head.register_forward_hook(lambda _, given, __: counted.append(len(given[0])))
    weights = drawn(sum(sum(row.learned) for row in rows), seed=2)
    slots = drawn(3, 32, seed=1).requires_grad_()

    def gradient(found: torch.Tensor) -> Any:
        return torch.autograd.grad((found * weights).sum(), slots)[0]

    found, owners = token_losses(model, rows, lambda chosen: slots[list(chosen)])
    ours = gradient(found)
    hook.remove()
    assert max(counted) == 2 and sum(counted) == len(weights) == len(owners)
    plain = []
    for row in rows:
        ids = torch.tensor([row.tokens])
        logits = model.anatomy.logits(run_embeds(model, embed_with_slots(model, ids, slots[list(row.vectors)])))[0]
        learned = torch.tensor(row.learned)[1:]
        plain.append(torch.nn.functional.cross_entropy(logits[:-1][learned], ids[0, 1:][learned], reduction="none"))
    assert torch.allclose(found, torch.cat(plain), atol=1e-5)
    assert torch.allclose(ours, gradient(torch.cat(plain)), atol=1e-5) and bool(ours.any())


def test_a_model_that_reads_the_mask_its_own_way_takes_no_branches() -> None:
    model = tiny("llama")
    base: Any = model.anatomy.base
    forward = base.forward

    @functools.wraps(forward)
    def causal(*args: object, **given: Any) -> object:
        if given.get("attention_mask") is not None and given["attention_mask"].dim() == 4:
            given["attention_mask"] = None
        return forward(*args, **given)

    base.forward = causal
    assert not takes_branches(model, 8)
    prefix, queries = drawn(1, 6, 32), drawn(2, 3, 32, seed=1)
    with torch.no_grad():
        expected = run_embeds(model, torch.cat([prefix.expand(2, -1, -1), queries], dim=1))[:, -1]
    torch.testing.assert_close(SharedPrefix(model, prefix).read(queries).hidden_BD, expected, atol=1e-4, rtol=0)
