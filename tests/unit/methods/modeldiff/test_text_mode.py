"""Models of different tokenizers on text: what is kept, how it is cut, and that both are scored on the same bytes."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from armillary.errors import InsufficientSamplesError, UsageError
from armillary.methods.modeldiff import text_mode
from armillary.methods.modeldiff.reading import BROKEN, OTHER_TOKENS, READ_DIFFERENTLY, SPECIAL, Reading
from armillary.methods.modeldiff.report import text_sections
from armillary.methods.modeldiff.text_mode import LIKE_A, LIKE_B, TextComparison, compare_texts
from armillary.models import LoadedModel, tiny
from armillary.models.anatomy import find_anatomy
from armillary.models.tiny_models import ALL
from armillary.records.plain import decode, dumps
from armillary.runs.parts import Parts
from armillary.scoring import token_nll

SETTINGS: dict[str, Any] = {"length": 5, "samples": 60, "block": 25, "batch_size": 16, "replicates": 200}


@cache
def trained(kind: str) -> str:
    """Another tokenizer: "small" of few merges, "lower" without capitals, "blank" with no pre-tokens."""
    tokenizer = Tokenizer(models.BPE())
    trainer_settings: dict[str, Any] = {"special_tokens": ["<pad>", "<bos>", "<eos>"], "show_progress": False}
    corpus = [f" {word}" for word in ALL for _ in range(4)]
    if kind == "blank":
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        tokenizer.decoder = decoders.Replace("▁", " ")
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer_settings["initial_alphabet"] = pre_tokenizers.ByteLevel.alphabet()
        if kind == "lower":
            tokenizer.normalizer = normalizers.Lowercase()
    size = 500 if kind == "small" else 1400
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=size, **trainer_settings))
    return tokenizer.to_str()


def tokenizer_of(kind: str, **special: str) -> PreTrainedTokenizerBase:
    special = special or {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(trained(kind)), clean_up_tokenization_spaces=False, **special
    )


@cache
def model(kind: str = "own", seed: int = 0) -> LoadedModel:
    loaded = tiny("llama" if kind == "own" else "gpt2", seed=seed)
    if kind == "own":
        return loaded
    tokenizer = tokenizer_of(kind)
    loaded.model.resize_token_embeddings(len(tokenizer))
    return LoadedModel(loaded.model, tokenizer, find_anatomy(loaded.model), f"tiny-{kind}", loaded.source)


@cache
def compared() -> TextComparison:
    return compare_texts(model(), model("small", 1), seed=(3, 4), **SETTINGS)


def ids_of(loaded: LoadedModel, text: str) -> list[int]:
    return list(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])


def test_the_same_model_differs_nowhere() -> None:
    found = compare_texts(model(), model(), **SETTINGS)
    assert len(found.rows) > 20
    assert {row.nll_a - row.nll_b for row in found.rows} == {0.0}
    for one in (found.a, found.b):
        assert one.difference_per_byte.estimate == one.log_ratio_bound.estimate == 0.0
        assert one.canonical_in_both.estimate == 1.0
        assert [share.estimate for share in one.histogram_D] == [1.0]
    assert found.examples() == {LIKE_A: [], LIKE_B: []}


def test_swapping_models_and_seeds_swaps_the_result() -> None:
    there = compared()
    back = compare_texts(model("small", 1), model(), seed=(4, 3), **SETTINGS)
    for one, other in ((there.a, back.b), (there.b, back.a)):
        assert one.difference_per_byte.estimate == -other.difference_per_byte.estimate
        assert one.log_ratio_bound.estimate == other.log_ratio_bound.estimate
        assert (one.dropped, one.acceptance) == (other.dropped, other.acceptance)
        shares = [share.estimate for share in one.histogram_D]
        assert shares == [share.estimate for share in other.histogram_D][::-1]
        assert sum(shares) == pytest.approx(1)
    mirrored = {(row.text, row.nll_a, row.nll_b, row.side) for row in there.rows}
    assert mirrored == {(row.text, row.nll_b, row.nll_a, "b" if row.side == "a" else "a") for row in back.rows}
    assert there.examples(3)[LIKE_A] == [
        replace(row, nll_a=row.nll_b, nll_b=row.nll_a, side="b" if row.side == "a" else "a")
        for row in back.examples(3)[LIKE_B]
    ]


def test_counts_and_means_agree_with_the_rows() -> None:
    found = compared()
    for side, one, loaded in (("a", found.a, model()), ("b", found.b, model("small", 1))):
        rows = [row for row in found.rows if row.side == side]
        assert one.drawn == 60 == len(rows) + sum(one.dropped.values())
        assert 0 < one.acceptance.estimate < 1 and one.acceptance.n == 60
        differences = [(row.nll_a - row.nll_b) / row.bytes for row in rows]
        assert one.difference_per_byte.estimate == pytest.approx(np.mean(differences))
        excess = sum((row.nll_b - row.nll_a) * (1 if side == "a" else -1) for row in rows)
        assert one.log_ratio_bound.estimate == pytest.approx(excess / sum(row.bytes for row in rows))
        for row in rows:
            assert row.bytes == len(row.text.encode()) and row.text.strip()
            assert loaded.tokenizer.decode(ids_of(loaded, row.text)) == row.text
    assert {found.cut_a, found.cut_b} == {"pre-token"} and found.vocabulary_a != found.vocabulary_b


@pytest.mark.parametrize("prefix", [None, " the city of"])
def test_a_text_is_scored_by_the_tokens_of_each_model(prefix: str | None) -> None:
    pair = model(), model("small", 1)
    found = compared() if prefix is None else compare_texts(*pair, prefix=prefix, **SETTINGS)
    for row in found.rows[::7]:
        for loaded, told in zip(pair, (row.nll_a, row.nll_b), strict=True):
            start = [1] if prefix is None else ids_of(loaded, prefix)
            whole = start + (ids_of(loaded, (prefix or "") + row.text)[0 if prefix is None else len(start) :])
            scored = token_nll(loaded, torch.tensor([whole]))[0, len(start) - 1 :]
            assert told == pytest.approx(float(scored.double().sum()), abs=1e-4)


def test_what_is_canonical() -> None:
    reading = Reading(model())
    whole = ids_of(model(), " Paris is red")
    assert reading.canonical(whole) == (" Paris is red", None)
    letters = [reading.loaded.tokenizer.convert_tokens_to_ids(letter) for letter in "Ġis"]
    assert reading.canonical(letters) == (" is", OTHER_TOKENS)
    assert reading.canonical([*whole, 2])[1] == SPECIAL
    assert reading.canonical(ids_of(model(), "é")[:1])[1] == BROKEN
    assert Reading(model("lower")).encoded("Paris") is None and Reading(model("lower")).encoded("paris") is not None


@pytest.mark.parametrize(
    ("kind", "rule", "text", "shorter"),
    [
        ("own", "pre-token", " Paris is red", " Paris is"),
        ("own", "pre-token", " Paris is   red", " Paris is"),
        ("own", "pre-token", " Paris, red", " Paris,"),
        ("own", "pre-token", " Paris", ""),
        ("blank", "white space", " Paris is red", " Paris is"),
        ("blank", "white space", "parisred", ""),
    ],
)
def test_texts_are_cut_where_tokens_cannot_merge(kind: str, rule: str, text: str, shorter: str) -> None:
    reading = Reading(model(kind))
    ids = reading.encoded(text)
    assert ids is not None and reading.cut == rule
    assert reading.shortened(text, ids) == shorter
    assert ids_of(model(kind), shorter) == ids[: len(ids_of(model(kind), shorter))]


class Always(PreTrainedTokenizerFast):
    """Puts its tokens around a text even where none are asked for."""

    def __call__(self, *texts, add_special_tokens=True, **settings):  # type: ignore[no-untyped-def]
        return super().__call__(*texts, add_special_tokens=True, **settings)


def test_tokens_around_every_text_are_none_of_its_own() -> None:
    backend = Tokenizer.from_str(tiny("gemma3").tokenizer.backend_tokenizer.to_str())
    ids = [("<bos>", 1), ("<eos>", 2)]
    backend.post_processor = processors.TemplateProcessing(single="<eos> $A <bos>", pair="$A $B", special_tokens=ids)
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    around = replace(
        model(), tokenizer=Always(tokenizer_object=backend, clean_up_tokenization_spaces=False, **special)
    )
    reading, text = Reading(around), " is Londonx"
    assert reading.shortened(text, ids_of(model(), text)) == " is", "pre-tokens are counted without what is around"
    plain, found = compare_texts(model(), model(), **SETTINGS), compare_texts(around, model(), **SETTINGS)
    assert (found.start_a, found.start_b) == ("<eos>", "<bos>") and len(found.rows) > 20
    assert [row.text for row in found.rows if row.side == "b"] == [row.text for row in plain.rows if row.side == "b"]
    assert "A reads every text after '<eos>', B after '<bos>'." in text_sections(found)[0].summary
    assert "A reads every" not in text_sections(plain)[0].summary


def test_texts_that_the_other_tokenizer_changes_are_left_out_and_counted() -> None:
    found = compare_texts(model(), model("lower", 1), **SETTINGS)
    assert found.a.dropped[READ_DIFFERENTLY] > 0 and found.a.canonical_in_both.estimate < 1
    assert all(row.text == row.text.lower() for row in found.rows)


def test_a_killed_run_goes_on_from_its_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    parts = Parts(tmp_path, "one")

    def store(name: str, compute: Callable[[], Any]) -> Any:
        names.append(name)
        if len(names) == 5:
            raise KeyboardInterrupt
        return parts.arrays(name, compute)

    with pytest.raises(KeyboardInterrupt):
        compare_texts(model(), model("small", 1), seed=(3, 4), store=store, **SETTINGS)
    assert len(set(names)) == 5
    whole = compared()  # its own draws are not to be counted
    drawn: list[int] = []

    def counting(*arguments: Any, **settings: Any) -> Any:
        drawn.append(settings["num_samples"])
        return draw(*arguments, **settings)

    draw = text_mode.sample
    monkeypatch.setattr(text_mode, "sample", counting)
    again = compare_texts(model(), model("small", 1), seed=(3, 4), store=parts.arrays, **SETTINGS)
    assert drawn == [25, 10] and again == whole
    other = compare_texts(model(seed=5), model("small", 1), seed=(3, 4), store=parts.arrays, **SETTINGS)
    assert len(drawn) == 8 and other.rows != again.rows


def test_the_record_holds_everything() -> None:
    found = compared()
    assert decode(TextComparison, json.loads(dumps(found)), "the comparison") == found


def test_a_zero_character_at_the_end_survives_the_store() -> None:
    job = text_mode._Writer("a", Reading(model()), Reading(model()), 5, 8, 0)
    held = {"text": np.frombuffer("x\0é\0".encode(), np.uint8), "bytes_N": np.array([2, 3])}
    rows = job._rows({**held, "own_N": np.zeros(2), "other_N": np.ones(2)})
    assert [(row.text, row.bytes, row.nll_a, row.nll_b) for row in rows] == [("x\0", 2, 0, 1), ("é\0", 3, 0, 1)]


def test_models_and_settings_that_cannot_be_compared() -> None:
    bare = replace(model("small", 1), tokenizer=tokenizer_of("small", pad_token="<pad>"), name="bare")
    with pytest.raises(UsageError, match=r"bare has no beginning-of-text token; give"):
        compare_texts(model(), bare, **SETTINGS)
    with pytest.raises(UsageError, match="does not give the prefix 'The' back"):
        compare_texts(model("lower"), model(), prefix="The", **SETTINGS)
    for name, value in (("length", 1), ("samples", 0), ("block", 0), ("batch_size", 0), ("seed", -1)):
        with pytest.raises(UsageError, match=f"{name} must be"):
            compare_texts(model(), model(), **{**SETTINGS, name: value})
    with pytest.raises(UsageError, match="bin_width must be above 0"):
        compare_texts(model(), model(), bin_width=0.0, **SETTINGS)
    with pytest.raises(InsufficientSamplesError, match=f"None of 1 texts .*({OTHER_TOKENS}|{BROKEN})"):
        compare_texts(model(), model(), **{**SETTINGS, "length": 200, "samples": 1})
