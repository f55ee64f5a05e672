"""Two tokenizers are one vocabulary when every id stands for the same string; sizes and matrix padding say nothing."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from armillary.errors import UsageError
from armillary.methods.modeldiff import compare
from armillary.methods.modeldiff.config import CompareConfig, InputSpace
from armillary.methods.modeldiff.source import common_ids, pair_of_sources, sources_of, vocabulary_hash
from armillary.models import tiny
from armillary.models.tiny_models import tiny_tokenizer
from copies import with_tokens, with_tokens_exchanged


def test_equal_vocabularies_pass_whatever_the_architecture_and_the_padding() -> None:
    assert common_ids([tiny("llama"), tiny("gpt2", vocabulary=2000)]) == set(range(len(tiny("llama").tokenizer)))


def test_the_same_strings_in_another_order_are_refused_by_name() -> None:
    a = tiny()
    b = with_tokens_exchanged(a)
    ids = sorted([a.tokenizer.convert_tokens_to_ids(token) for token in ("ĠParis", "ĠLondon")])
    with pytest.raises(UsageError, match=r"--mode text\) compares them on text") as caught:
        pair_of_sources(a, b, InputSpace(), CompareConfig())
    told = str(caught.value)
    assert vocabulary_hash(a.tokenizer) in told and vocabulary_hash(b.tokenizer) in told
    assert vocabulary_hash(a.tokenizer) != vocabulary_hash(b.tokenizer)
    assert f"2 ids differ, the first is {ids[0]}" in told
    assert len(a.tokenizer) == len(b.tokenizer)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3"])
@pytest.mark.parametrize("rows", [0, 60, -1])
def test_tokens_that_one_model_alone_has_are_left_out(kind: str, rows: int) -> None:
    """Added tokens, padding, and a token beyond the matrices: probability 0 in drawing and in scoring, for both."""
    plain, padded = tiny(kind), tiny(kind, vocabulary=1600)
    grown = with_tokens(plain, ["<|im_start|>", "<|im_end|>"], rows=rows)
    for models in ([plain, grown], [grown, padded], [padded, padded], [grown, grown]):
        (first, second), notes = sources_of(models, InputSpace(length=4), CompareConfig())
        common = models[0].known_ids & models[1].known_ids
        for source, other in ((first, second), (second, first)):
            drawn = source.sample(200, seed=1)
            assert set(drawn.ids_NL.flatten().tolist()) <= common
            assert np.isfinite(other.score(drawn.ids_NL)).all()
            beyond = np.array([[token, 5, 6, 7] for token in range(source.loaded.anatomy.vocabulary_size)])
            finite = np.isfinite(source.score(beyond))
            assert set(np.flatnonzero(finite).tolist()) == common
        lacking = models[0].known_ids ^ models[1].known_ids
        assert len(notes) == bool(lacking)
        assert not lacking or "'<|im_" in notes[0]


def test_an_id_that_was_renamed_is_left_out_for_both() -> None:
    """Fine-tunes give reserved tokens new names: the id and its row are there in both and mean two things."""
    models = [with_tokens(tiny("llama"), [name]) for name in ("<|reserved_0|>", "<|im_end|>")]
    renamed = len(tiny("llama").tokenizer)
    assert common_ids(models) == set(range(renamed)) and models[0].known_ids == set(range(renamed + 1))
    sources, notes = sources_of(models, InputSpace(length=4), CompareConfig())
    assert all(np.isinf(source.score(np.array([[renamed, 5, 6, 7]]))).all() for source in sources)
    assert "'<|reserved_0|>'" in notes[0] and "'<|im_end|>'" in notes[1]


def test_a_grown_copy_is_the_same_over_the_ids_that_both_have() -> None:
    plain = tiny("llama")
    result = compare(plain, with_tokens(plain, ["<|im_end|>"]), InputSpace(length=4), samples=100)
    assert np.abs(result.a.difference_N).max() < 1e-4
    assert result.overlap_share["a"].lower == 1.0
    assert "1 tokens that not all of the models have" in result.notes[0]


def test_models_that_begin_differently_read_one_beginning() -> None:
    plain = tiny("llama")
    tokenizer = copy.deepcopy(plain.tokenizer)
    tokenizer.bos_token = "<eos>"
    other = replace(plain, tokenizer=tokenizer, name="other")
    result = compare(plain, other, InputSpace(length=4), samples=100)
    assert np.abs(result.a.difference_N).max() < 1e-4 and np.abs(result.b.difference_N).max() < 1e-4
    assert "begin a text differently" in result.notes[0]


def test_end_tokens_of_either_model_are_left_out_for_both() -> None:
    plain = tiny("llama")
    other = replace(tiny("llama"), name="other")
    other.model.generation_config.eos_token_id = [7, 8]
    sources, _ = sources_of([plain, other], InputSpace(length=3, ban_eos=True), CompareConfig())
    assert sources[0].banned == sources[1].banned and {7, 8} <= set(sources[0].banned)


def test_the_hash_is_of_the_content() -> None:
    assert vocabulary_hash(tiny_tokenizer()) == vocabulary_hash(tiny_tokenizer(adds_bos=True))
    assert len(vocabulary_hash(tiny_tokenizer())) == 16
