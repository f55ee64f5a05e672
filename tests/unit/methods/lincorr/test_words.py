"""Words as tokens: the four policies, what is left out and why, words that share a token."""

from dataclasses import replace

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from armillary.errors import UsageError
from armillary.methods.lincorr import resolve_words
from armillary.methods.lincorr.words import gold_columns, token_table, word_tokens

WORDS = ["Paris", "New Delhi", "new Delhi", "Oslovia", "Rome"]


def test_single_keeps_words_of_one_token(loaded):
    table = resolve_words(loaded, WORDS)
    assert set(table.entries) == {"Paris", "Rome"}
    assert table.ids == tuple(sorted(loaded.tokenizer(" Paris Rome")["input_ids"]))
    assert table.statuses == ("whole", "whole")
    assert "2 tokens" in table.dropped["new Delhi"]
    assert table.labels[table.column("Rome")] == "Rome"
    assert [loaded.tokenizer.convert_tokens_to_ids(token) for token in table.tokens] == list(table.ids)


def test_full_is_the_official_rule(loaded):
    table = resolve_words(loaded, WORDS, policy="full")
    assert set(table.entries) == {"Paris", "new Delhi", "Rome"}
    assert table.entries["new Delhi"] == (loaded.tokenizer(" new")["input_ids"][0], "first-word")
    assert "its first token is only" in table.dropped["Oslovia"]


def test_first_keeps_all_and_marks_the_incomplete(loaded):
    table = resolve_words(loaded, WORDS, policy="first")
    assert not table.dropped
    assert table.entries["Oslovia"][1] == "sub-word" and table.entries["Paris"][1] == "whole"
    assert table.coverage().words == 5


def test_error_names_the_words(loaded):
    with pytest.raises(UsageError, match="'new Delhi' \\(2 tokens\\)"):
        resolve_words(loaded, ["Paris", "Rome", "new Delhi"], policy="error")
    assert len(resolve_words(loaded, ["Paris", "Rome"], policy="error").ids) == 2


def test_words_that_share_a_token_are_merged_with_their_golds(loaded):
    source = resolve_words(loaded, ["new Delhi", "new York", "Paris"], policy="full")
    target = resolve_words(loaded, ["India", "America", "France"])
    assert source.merged == (("new Delhi", "new York"),)
    assert "new Delhi / new York" in source.labels
    gold = {"new Delhi": ("India",), "new York": ("America", "Atlantis"), "Nowhere": ("France",)}
    columns = gold_columns(gold, source, target)
    assert columns[source.column("new York")] == {target.column("India"), target.column("America")}
    assert columns[source.column("Paris")] == frozenset()


def test_too_few_words_are_refused_with_reasons(loaded):
    lost = [f"Unheard{i}ville" for i in range(12)]
    with pytest.raises(UsageError, match=r"only 1 of 13 words .* 'Unheard0ville' .* and 2 more"):
        resolve_words(loaded, ["Paris", *lost])


@pytest.mark.parametrize(
    ("words", "message"),
    [([], "empty"), (["Paris", " "], "blank"), (["Paris", "Rome", "Paris"], "'Paris' twice")],
)
def test_bad_lists_are_refused(loaded, words, message):
    with pytest.raises(UsageError, match=message):
        resolve_words(loaded, words)


def test_unknown_policy_and_word(loaded):
    with pytest.raises(UsageError, match="policy must be one of single, full, first, error; got 'some'"):
        resolve_words(loaded, ["Paris", "Rome"], policy="some")
    table = resolve_words(loaded, WORDS)
    with pytest.raises(UsageError, match="'new Delhi' is not among the words: 2 tokens"):
        table.column("new Delhi")
    with pytest.raises(UsageError, match="it was not given"):
        table.column("Oslo")


def test_prefix_is_part_of_the_token(loaded):
    spaced, bare = (resolve_words(loaded, ["1", "2", "3"], prefix=prefix) for prefix in (" ", ""))
    assert not set(spaced.ids) & set(bare.ids)
    assert bare.labels == ("1", "2", "3")
    # "Paris" without a space is no single token in this vocabulary.
    with pytest.raises(UsageError, match="only 0 of 2"):
        resolve_words(loaded, ["Paris", "Rome"], prefix="")


def test_begin_of_text_is_no_first_token(loaded):
    from armillary.models import tiny

    gemma = tiny("gemma3")
    assert gemma.tokenizer(" Paris")["input_ids"][0] == gemma.tokenizer.bos_token_id
    assert set(resolve_words(gemma, ["Paris", "Rome"]).entries) == {"Paris", "Rome"}


def test_a_blank_piece_before_a_text_is_not_its_first_token(loaded):
    pieces = [
        ("<unk>", 0.0),
        ("\u2581", -2.0),
        ("\u2581Paris", -1.0),
        ("\u2581Rome", -1.0),
        ("=", -1.0),
        ("\u2581=", -1.0),
    ]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Replace("\u2581", " ")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")
    assert fast.convert_ids_to_tokens(fast(" Paris")["input_ids"]) == ["\u2581", "\u2581Paris"]
    assert fast.convert_ids_to_tokens(word_tokens(fast, " Paris")) == ["\u2581Paris"]
    table = resolve_words(replace(loaded, tokenizer=fast), ["Paris", "Rome"])
    assert table.tokens == ("\u2581Paris", "\u2581Rome")


def test_token_table_is_labelled_by_what_tokens_read(loaded):
    ids = loaded.tokenizer(" red blue")["input_ids"]
    table = token_table(loaded, ids)
    assert table.ids == tuple(sorted(ids)) and set(table.labels) == {"red", "blue"}
