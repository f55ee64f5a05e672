"""Subjects: distinct ordinary strings of the vocabulary, the same for a seed; halves that share nothing."""

import numpy as np
import pytest

from armillary.errors import UsageError
from armillary.methods.lincorr import halves, random_words, vocabulary_subjects
from armillary.methods.lincorr.words import refuse_repeated


def test_subjects_are_distinct_ordinary_strings(loaded):
    subjects = vocabulary_subjects(loaded, 400, seed=0)
    assert len(set(subjects)) == 400
    assert all(s == s.strip() and s and "\ufffd" not in s for s in subjects)
    assert not set(subjects) & {"<pad>", "<bos>", "<eos>"}


def test_subjects_follow_the_seed(loaded):
    first = vocabulary_subjects(loaded, 50, seed=3)
    assert first == vocabulary_subjects(loaded, 50, seed=3)
    assert first != vocabulary_subjects(loaded, 50, seed=4)
    assert first[:20] == vocabulary_subjects(loaded, 20, seed=3)


def test_spaces_are_kept_on_request(loaded):
    kept = vocabulary_subjects(loaded, 300, seed=0, keep_space=True)
    assert any(s.startswith(" ") for s in kept) and any(not s.startswith(" ") for s in kept)


def test_more_than_there_are_tells_how_many(loaded):
    with pytest.raises(UsageError, match=r"99999 subjects .* has only (\d+) usable strings") as caught:
        vocabulary_subjects(loaded, 99_999, seed=0)
    available = int(str(caught.value).split("only ")[1].split()[0])
    assert len(vocabulary_subjects(loaded, available, seed=1)) == available
    with pytest.raises(UsageError, match="at least 2"):
        vocabulary_subjects(loaded, 1, seed=0)


def test_random_words_are_whole_words_outside_the_domain(loaded):
    every = random_words(loaded, 10_000, seed=0)
    drawn = random_words(loaded, 30, seed=1, exclude=every[:100])
    assert len(drawn) == 30 and drawn == sorted(drawn) and not set(drawn) & set(every[:100])
    texts = [loaded.tokenizer.decode([token]) for token in every]
    assert all(text.startswith(" ") and len(text) > 3 and text.strip().isalpha() for text in texts)
    assert drawn != random_words(loaded, 30, seed=2, exclude=every[:100])


@pytest.mark.parametrize("n", [8, 9])
def test_halves_cover_all_rows_once(n):
    train, test = halves(n, seed=0)
    assert sorted([*train, *test]) == list(range(n)) and len(train) == (n + 1) // 2
    assert not np.array_equal(train, halves(n, seed=1)[0])
    assert np.array_equal(train, halves(n, seed=0)[0])


def test_repeated_subjects_are_refused():
    with pytest.raises(UsageError, match="'b' stands twice"):
        refuse_repeated(["a", "b", "c", "b"])
    refuse_repeated(["a", "b"])
