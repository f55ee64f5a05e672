"""Two tokenizers are one vocabulary when every id stands for the same string; sizes and matrix padding say nothing."""

import json
from dataclasses import replace

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from armillary.errors import UsageError
from armillary.methods.modeldiff.source import same_vocabulary, vocabulary_hash
from armillary.models import tiny
from armillary.models.tiny_models import tiny_tokenizer


def swapped(first: str, second: str) -> PreTrainedTokenizerBase:
    """The tiny tokenizer with the ids of two tokens exchanged: as many tokens, the same strings."""
    content = json.loads(tiny_tokenizer().backend_tokenizer.to_str())
    vocabulary = content["model"]["vocab"]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(content)), bos_token="<bos>")


def test_equal_vocabularies_pass_whatever_the_architecture_and_the_padding() -> None:
    same_vocabulary(tiny("llama"), tiny("gpt2", vocabulary=2000))


def test_the_same_strings_in_another_order_are_refused_by_name() -> None:
    a = tiny()
    b = replace(a, tokenizer=swapped("ĠParis", "ĠLondon"), name="other")
    ids = sorted([a.tokenizer.convert_tokens_to_ids(token) for token in ("ĠParis", "ĠLondon")])
    with pytest.raises(UsageError, match=r'mode="text"') as caught:
        same_vocabulary(a, b)
    told = str(caught.value)
    assert vocabulary_hash(a.tokenizer) in told and vocabulary_hash(b.tokenizer) in told
    assert vocabulary_hash(a.tokenizer) != vocabulary_hash(b.tokenizer)
    assert f"2 ids differ, the first is {ids[0]}" in told
    assert len(a.tokenizer) == len(b.tokenizer)


def test_an_added_token_counts() -> None:
    a = tiny()
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<extra>"])
    with pytest.raises(UsageError, match="1 ids differ, the first is 1428, not used in the one and '<extra>' in the"):
        same_vocabulary(a, replace(a, tokenizer=tokenizer))


def test_the_hash_is_of_the_content() -> None:
    assert vocabulary_hash(tiny_tokenizer()) == vocabulary_hash(tiny_tokenizer(adds_bos=True))
    assert len(vocabulary_hash(tiny_tokenizer())) == 16
