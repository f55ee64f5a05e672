"""The rivals inside ``generate``: neutral with nothing explored, the core's orders otherwise, hooks always gone."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from transformers import LogitsProcessorList

from armillary.errors import UsageError
from armillary.methods.icn import (
    ClusterCapProcessor,
    KeyMMRProcessor,
    KeySpace,
    QueryProjection,
    capped_order,
    mmr_order,
    project_out,
)
from armillary.models import LoadedModel, tiny

KINDS = ("llama", "gemma3", "gemma2", "qwen3", "gpt2", "opt")
PROMPTS = ["The capital of France is", "My favourite colour"]
PADDED = 11


@pytest.fixture(scope="module", params=[(kind, tied) for kind in KINDS for tied in (False, True)], ids=str)
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    kind, tied = request.param
    return tiny(kind, vocabulary=len(tiny().tokenizer) + PADDED, settings={"tie_word_embeddings": tied})


@pytest.fixture(scope="module")
def space(loaded: LoadedModel) -> KeySpace:
    return KeySpace.from_model(loaded)


@pytest.fixture(scope="module")
def clusters_V(space: KeySpace) -> Tensor:
    return space.cluster(20, max_iterations=3).labels_V


def prompts(loaded: LoadedModel, texts: list[str] = PROMPTS) -> dict[str, Tensor]:
    inputs = loaded.tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
    return {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}


def generate(loaded: LoadedModel, inputs: dict[str, Tensor], *processors: object, **settings: object):
    settings = {"do_sample": False, "max_new_tokens": 4, "min_new_tokens": 4, **settings}
    return loaded.model.generate(
        **inputs,
        logits_processor=LogitsProcessorList(processors),
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=True,
        pad_token_id=0,
        **settings,
    )


def length(inputs: dict[str, Tensor]) -> int:
    return inputs["input_ids"].shape[1]


def test_nothing_explored_is_plain_greedy_bit_for_bit(
    loaded: LoadedModel, space: KeySpace, clusters_V: Tensor
) -> None:
    inputs = prompts(loaded)
    plain = generate(loaded, inputs)
    neutral = (
        ClusterCapProcessor(clusters_V, None, prompt_length=length(inputs)),
        KeyMMRProcessor(space, 0.0, prompt_length=length(inputs)),
    )
    for processors in [neutral[:1], neutral[1:], neutral]:
        with QueryProjection(loaded, []):
            found = generate(loaded, inputs, *processors)
        assert torch.equal(found.sequences, plain.sequences)
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(found.scores, plain.scores, strict=True))


def test_cap_follows_the_capped_order_in_the_first_step_only(loaded: LoadedModel, clusters_V: Tensor) -> None:
    inputs = prompts(loaded, PROMPTS[:1])
    logits_V = generate(loaded, inputs).scores[0][0, : len(clusters_V)]
    ranked_V = logits_V.argsort(descending=True, stable=True)
    explored = ranked_V[:3].tolist()
    found = generate(loaded, inputs, ClusterCapProcessor(clusters_V, 2, explored, prompt_length=length(inputs)))
    first_V = found.scores[0][0]
    left = first_V.isfinite().sum()
    expected = [token for token in capped_order(ranked_V, clusters_V, 2).tolist() if token not in explored]
    assert first_V.argsort(descending=True, stable=True)[:left].tolist() == expected
    assert int(found.sequences[0, length(inputs)]) == expected[0]
    assert not first_V[len(clusters_V) :].isfinite().any()
    later = generate(loaded, prompts_after(inputs, expected[0]))
    assert torch.equal(found.sequences[0, -3:], later.sequences[0, -4:-1])


def prompts_after(inputs: dict[str, Tensor], token: int) -> dict[str, Tensor]:
    grown = torch.cat([inputs["input_ids"], torch.tensor([[token]])], dim=1)
    return {"input_ids": grown, "attention_mask": torch.ones_like(grown)}


def test_without_cap_explored_tokens_are_skipped(loaded: LoadedModel, clusters_V: Tensor) -> None:
    inputs = prompts(loaded, PROMPTS[:1])
    logits_V = generate(loaded, inputs).scores[0][0, : len(clusters_V)]
    ranked = logits_V.argsort(descending=True, stable=True).tolist()
    skipping = ClusterCapProcessor(clusters_V, None, ranked[:4], prompt_length=length(inputs))
    assert int(generate(loaded, inputs, skipping).sequences[0, length(inputs)]) == ranked[4]


def test_beams_begin_in_different_clusters(loaded: LoadedModel, clusters_V: Tensor) -> None:
    inputs = prompts(loaded, PROMPTS[:1])
    once = ClusterCapProcessor(clusters_V, 1, prompt_length=length(inputs))
    found = generate(loaded, inputs, once, num_beams=4, num_return_sequences=4, max_new_tokens=1, min_new_tokens=1)
    firsts = found.sequences[:, length(inputs)]
    assert len(clusters_V[firsts].unique()) == 4


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_mmr_takes_the_next_of_its_order(loaded: LoadedModel, space: KeySpace, weight: float) -> None:
    inputs = prompts(loaded, PROMPTS[:1])
    logits_V = generate(loaded, inputs).logits[0][0, : space.vocabulary_size]
    keys_VD = space.centred(range(space.vocabulary_size))
    order = mmr_order(logits_V, keys_VD, 4, weight).tolist()
    for explored in range(4):
        processor = KeyMMRProcessor(space, weight, order[:explored], prompt_length=length(inputs))
        found = generate(loaded, inputs, processor)
        plain = int(found.logits[0][0].argmax())
        assert int(found.sequences[0, length(inputs)]) == (order[explored] if explored else plain)
        assert torch.equal(found.scores[1][found.scores[1].isfinite()], found.logits[1][found.scores[1].isfinite()])


@torch.no_grad()
def test_projection_silences_explored_tokens_once(loaded: LoadedModel) -> None:
    inputs = prompts(loaded)
    explored = [5, 40, 300]
    plain = loaded.model(**inputs).logits
    with QueryProjection(loaded, explored):
        first, second = loaded.model(**inputs).logits, loaded.model(**inputs).logits
    assert torch.equal(second, plain)
    assert torch.equal(first[:, :-1], plain[:, :-1])
    torch.testing.assert_close(first[:, -1, explored], torch.zeros(2, 3), rtol=0, atol=1e-5)
    hidden_BD = loaded.anatomy.base(**inputs).last_hidden_state[:, -1]
    left_BD = project_out(hidden_BD, loaded.anatomy.head.weight[explored])
    torch.testing.assert_close(first[:, -1], loaded.anatomy.logits(left_BD), rtol=1e-4, atol=1e-5)
    with QueryProjection(loaded, explored):
        torch.testing.assert_close(loaded.anatomy.logits(hidden_BD), first[:, -1], rtol=1e-4, atol=1e-5)


def test_projection_acts_on_the_first_generated_token(loaded: LoadedModel) -> None:
    inputs = prompts(loaded, PROMPTS[:1])
    with QueryProjection(loaded, [5, 40]):
        found = generate(loaded, inputs)
    torch.testing.assert_close(found.logits[0][0, [5, 40]], torch.zeros(2), rtol=0, atol=1e-5)
    after = generate(loaded, prompts_after(inputs, int(found.sequences[0, length(inputs)])))
    torch.testing.assert_close(found.logits[1], after.logits[0], rtol=1e-4, atol=1e-4)


def hooks(loaded: LoadedModel) -> int:
    return len(loaded.anatomy.head._forward_pre_hooks)


def test_hooks_go_whatever_happens(loaded: LoadedModel) -> None:
    projection = QueryProjection(loaded, [5])
    with pytest.raises(RuntimeError, match="by the way"), projection:
        assert hooks(loaded) == 1
        raise RuntimeError("by the way")
    assert hooks(loaded) == 0
    with projection, projection:  # opened twice, there is still one
        assert hooks(loaded) == 1
    assert hooks(loaded) == 0
    with pytest.raises(UsageError, match="queries of width 1"), projection:
        loaded.anatomy.head(torch.zeros(1, 3, 1))
    assert hooks(loaded) == 0


def test_a_bias_stays_after_projection() -> None:
    loaded = tiny()
    head = nn.Linear(loaded.anatomy.hidden_size, loaded.anatomy.vocabulary_size)
    biased = replace(loaded, anatomy=replace(loaded.anatomy, head=head))
    hidden_BD = torch.randn(2, loaded.anatomy.hidden_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), QueryProjection(biased, [7]):
        torch.testing.assert_close(head(hidden_BD)[:, 7], head.bias[[7, 7]], rtol=0, atol=1e-5)


ALL_ONE = torch.zeros(8, dtype=torch.long)
SPACE = KeySpace.from_matrix(torch.eye(8))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ClusterCapProcessor(ALL_ONE, 0, prompt_length=3), "cap must be at least 1"),
        (lambda: ClusterCapProcessor(ALL_ONE, 1, [8], prompt_length=3), "token id 8 is outside"),
        (lambda: ClusterCapProcessor(ALL_ONE, 1, prompt_length=0), "prompt_length must be at least 1 token; got 0"),
        (lambda: KeyMMRProcessor(SPACE, 1.0, [-1], prompt_length=3), "token id -1 is outside"),
        (lambda: QueryProjection(tiny(), [10**6]), "token id 1000000 is outside"),
        (
            lambda: ClusterCapProcessor(ALL_ONE, 1, [2], prompt_length=1)(torch.zeros(1, 1).long(), torch.ones(1, 8)),
            "every cluster already has 1 explored tokens",
        ),
        (
            lambda: KeyMMRProcessor(SPACE, 1.0, [2], prompt_length=1)(torch.zeros(1, 1).long(), torch.ones(1, 7)),
            "the logits of 7 tokens don't fit keys of 8",
        ),
    ],
)
def test_wrong_input_is_told_in_one_sentence(call, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()
