"""Tiny models: real architectures, a real tokenizer, the same for a seed."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from armillary.errors import UsageError
from armillary.models import KINDS, tiny, tiny_models as words


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_same_seed_gives_the_same_model_and_another_seed_another(kind: str) -> None:
    first, again, other = tiny(kind), tiny(kind), tiny(kind, seed=1)
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_the_global_generator_is_untouched() -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    tiny("llama", seed=5)
    assert torch.equal(before, torch.random.get_rng_state())


def test_making_one_takes_milliseconds() -> None:
    tiny()
    start = time.process_time()
    tiny()
    assert time.process_time() - start < 1.0  # about 0.03 s; the bound is for a busy machine


@pytest.mark.parametrize(
    ("name", "least"), [("CITIES", 25), ("COUNTRIES", 20), ("CONTINENTS", 6), ("COLOURS", 15), ("DIGITS", 10)]
)
def test_the_words_of_relations_are_single_tokens(name: str, least: int) -> None:
    tokenizer = tiny().tokenizer
    found = [tokenizer.encode(f" {word}") for word in getattr(words, name).split()]
    assert len(found) >= least and all(len(ids) == 1 for ids in found)
    assert len({ids[0] for ids in found}) == len(found)


def test_digits_are_single_tokens_without_a_space() -> None:
    tokenizer = tiny().tokenizer
    assert len(tokenizer.encode("3+1=")) == 4
    assert tokenizer.decode(tokenizer.encode("7")) == "7"


def test_any_text_survives_the_tokenizer() -> None:
    tokenizer = tiny().tokenizer
    for text in ("Paris lives in the city of", "Zürich 東京 🙂\n\ttabs", "  two spaces"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("Zürich")) > 1


def test_the_vocabulary_is_large_enough_to_draw_subjects_from() -> None:
    assert len(tiny().tokenizer) >= 600


def test_only_the_gemma_kinds_put_a_bos_first(kind: str) -> None:
    made = tiny(kind)
    first = made.tokenizer("the city").input_ids[0]
    assert (first == made.tokenizer.bos_token_id) == kind.startswith("gemma")
    assert (made.tokenizer.pad_token_id, made.tokenizer.bos_token_id, made.tokenizer.eos_token_id) == (0, 1, 2)
    assert (made.model.config.pad_token_id, made.model.config.eos_token_id) == (0, 2)


def test_padding_left_works(kind: str) -> None:
    made = tiny(kind)
    made.tokenizer.padding_side = "left"
    texts = ["the city of", "Paris lives in the city of"]
    batch = made.tokenizer(texts, return_tensors="pt", padding=True)
    positions = (batch.attention_mask.cumsum(-1) - 1).clamp(min=0)
    extra = {} if kind == "opt" else {"position_ids": positions}  # OPT counts them from the mask
    padded = made.model(**batch, **extra).logits[0, -1]
    alone = made.model(**made.tokenizer(texts[0], return_tensors="pt")).logits[0, -1]
    torch.testing.assert_close(padded, alone, atol=1e-4, rtol=0)


def test_logits_differ_between_tokens_and_positions(kind: str) -> None:
    made = tiny(kind)
    logits = made.model(**made.tokenizer("Paris lives in the city of", return_tensors="pt")).logits[0]
    assert logits.std() > 0.5
    assert (logits[-1] - logits[-2]).abs().max() > 0.5


def test_a_saved_model_opens_with_the_same_tokenizer(kind: str, saved: Callable[[str], Path]) -> None:
    text = "Paris lives in the city of Rome, 3+1="
    assert AutoTokenizer.from_pretrained(saved(kind)).encode(text) == tiny(kind).tokenizer.encode(text)


def test_the_shape_can_be_chosen() -> None:
    made = tiny("llama", hidden=16, layers=3, heads=2, intermediate=20, vocabulary=2000)
    anatomy = made.anatomy
    shape = (anatomy.hidden_size, anatomy.num_layers, anatomy.intermediate_size, anatomy.vocabulary_size)
    assert shape == (16, 3, 20, 2000)
    assert tiny("llama", settings={"tie_word_embeddings": True}).anatomy.tied


def test_what_is_not_accepted_is_said() -> None:
    with pytest.raises(UsageError, match="'mamba'; the kinds are llama, "):
        tiny("mamba")
    with pytest.raises(UsageError, match="vocabulary 100 is smaller than the tokenizer's"):
        tiny(vocabulary=100)
