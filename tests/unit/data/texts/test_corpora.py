"""Corpora: clean prose, a split that never leaks, and the same texts for the same seed."""

import re

import pytest
from tools.packaged_facts import without_markup

from armillary.data import corpora, corpus_source
from armillary.data.texts.corpora import corpus_texts
from armillary.errors import UsageError

NAMES = ("world-factbook", "python-reference")


def test_corpora_are_told() -> None:
    assert tuple(corpora()) == NAMES
    assert "public domain" in corpus_source("world-factbook").licence
    assert corpus_source("python-reference").licence == "PSF-2.0"
    with pytest.raises(UsageError, match="'news'; known are world-factbook, python-reference"):
        corpus_texts("news")


@pytest.mark.parametrize("name", NAMES)
def test_train_and_test_share_no_text_and_are_deep_enough(name: str) -> None:
    train, test = corpus_texts(name), corpus_texts(name, split="test")
    assert not set(train) & set(test)
    assert len(train) >= 250
    assert len(test) >= 48
    assert len(set(train)) == len(train)


@pytest.mark.parametrize("name", NAMES)
def test_texts_are_clean_prose_of_the_asked_length(name: str) -> None:
    for text in corpus_texts(name, min_words=60, max_words=80):
        assert 60 <= len(text.split()) <= 80
        assert not re.search(r"</?\w+>|&\w+;|\n|::=|>>>", text)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_repeats_and_another_reorders(name: str) -> None:
    ten = corpus_texts(name, limit=10, seed=1)
    assert ten == corpus_texts(name, limit=20, seed=1)[:10]
    assert ten != corpus_texts(name, limit=10, seed=2)
    assert sorted(corpus_texts(name, seed=1)) == sorted(corpus_texts(name, seed=2))


def test_markup_is_removed() -> None:
    assert without_markup("<p>A&nbsp;B &amp;amp; C<br><b>D</b> 2 < 3</p>") == "A B & C D 2 < 3"


def test_bad_arguments_are_one_sentence() -> None:
    with pytest.raises(UsageError, match="min_words <= max_words; got 9 and 5"):
        corpus_texts("world-factbook", min_words=9, max_words=5)
    with pytest.raises(UsageError, match="at least 1; got 0"):
        corpus_texts("world-factbook", limit=0)
    with pytest.raises(UsageError, match="'train' or 'test'; got 'dev'"):
        corpus_texts("world-factbook", split="dev")  # type: ignore[arg-type]
