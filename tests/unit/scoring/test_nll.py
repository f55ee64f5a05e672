"""NLL by chunks against a float64 log-softmax of transformers' own logits."""

import numpy as np
import pytest
import torch

from armillary.errors import NumericError, UsageError
from armillary.models import KINDS, LoadedModel, tiny
from armillary.models.batches import pad
from armillary.scoring import sequence_nll, token_nll

TEXTS = ["Paris is a city of France", "red", "The color of grass is green and so is this", "blue blue"]


@pytest.fixture(scope="module", params=KINDS)
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    return tiny(request.param)


@torch.no_grad()
def oracle(loaded: LoadedModel, row: list[int]) -> np.ndarray:
    logits = loaded.model(input_ids=torch.tensor([row])).logits[0, :-1].double()
    return -logits.log_softmax(-1)[range(len(row) - 1), row[1:]].numpy()


def test_equals_full_logits(loaded: LoadedModel) -> None:
    rows = [loaded.tokenizer(text)["input_ids"] for text in TEXTS]
    expected = [oracle(loaded, row).sum() for row in rows]
    for settings in ({}, {"chunk": 3}, {"tokens_per_batch": 1}):
        found = sequence_nll(loaded, TEXTS, **settings)
        np.testing.assert_allclose(found.nll, expected, atol=2e-5, rtol=0)
        assert found.tokens == [len(row) - 1 for row in rows]
    np.testing.assert_allclose(found.per_token, np.divide(expected, found.tokens), atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side(loaded: LoadedModel, side: str) -> None:
    rows = [loaded.tokenizer(text)["input_ids"] for text in TEXTS]
    ids, mask = pad(rows, side=side)
    found = token_nll(loaded, ids, mask, chunk=5).numpy()
    for index, row in enumerate(rows):
        gap = ids.shape[1] - len(row)
        own = found[index][gap:] if side == "left" else found[index][: len(row) - 1]
        np.testing.assert_allclose(own, oracle(loaded, row), atol=1e-5, rtol=0)
        assert (found[index] != 0).sum() == len(row) - 1


def test_logits_are_never_whole() -> None:
    loaded = tiny()
    seen: list[int] = []
    handle = loaded.anatomy.head.register_forward_hook(lambda _m, _a, out: seen.append(out.shape[0]))
    try:
        sequence_nll(loaded, TEXTS, chunk=4)
    finally:
        handle.remove()
    assert max(seen) == 4


def test_texts_are_cut() -> None:
    loaded = tiny()
    row = loaded.tokenizer(TEXTS[2])["input_ids"]
    found = sequence_nll(loaded, [TEXTS[2]], max_tokens=4)
    assert found.tokens == [3]
    np.testing.assert_allclose(found.nll, oracle(loaded, row[:4]).sum(), atol=1e-5)


def test_long_text_is_cut_to_the_models_positions() -> None:
    assert sequence_nll(tiny("gpt2"), ["x" * 600], max_tokens=1000).tokens == [511]


def test_bad_input_is_named() -> None:
    loaded = tiny()
    with pytest.raises(UsageError, match="1 tokens"):
        sequence_nll(loaded, ["x"])
    with pytest.raises(UsageError, match="chunk"):
        token_nll(loaded, torch.tensor([[3, 4]]), chunk=0)
    with torch.no_grad():
        loaded.anatomy.embedding.weight[loaded.tokenizer(" Berlin")["input_ids"][0]] = float("nan")
    with pytest.raises(NumericError, match="in Berlin is"):
        sequence_nll(loaded, ["in Paris is", "in Berlin is"])
