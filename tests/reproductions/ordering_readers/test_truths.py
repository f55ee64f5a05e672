"""The truths that readers are measured by: made texts, bytecode, glob files."""

import json
import shutil
from pathlib import Path

import pytest

from armillary.methods.ordering.readers.coq.declarations import declarations
from armillary.methods.ordering.readers.registry import reader
from reproductions.ordering_readers.coq_renaming import Asked, answer
from reproductions.ordering_readers.coq_truth import dumped, true_edges as coq_edges
from reproductions.ordering_readers.made import arguments, calculations, multiplications
from reproductions.ordering_readers.python_truth import true_edges
from reproductions.ordering_readers.score import Score
from reproductions.ordering_readers.solutions import by_values, variants

needs_coq = pytest.mark.skipif(shutil.which("coqc") is None, reason="asks coqc (the Debian package coq)")


def test_made_texts_are_what_they_say() -> None:
    """The product stands in the last line; every edge of a text in order points to the right of its support."""
    for text in multiplications(20, 1, symbols=False, shuffled=False):
        assert isinstance(text.record, dict)
        a, b = (int(number) for number in str(text.record["prompt"]).rstrip("= ").split(" * "))
        assert str(text.record["completion"]).endswith(f"= {a * b}")
        assert all(u < v for u, v in text.edges)
    mixed = [edge for text in calculations(20, 1, shuffled=True) for edge in text.edges]
    assert any(u > v for u, v in mixed) and any(u < v for u, v in mixed)


def test_named_steps_are_found_whatever_the_order() -> None:
    """Where steps are named nothing is left to guess: the reader must agree with the maker edge by edge."""
    for text in arguments(30, 2, shuffled=True):
        sample = reader("numbered")(text.record)
        assert sample is not None and {*sample.edges()} == {*text.edges}


MODULE = """import os
try:
    import fast as f
except ImportError:
    f = None
class A:
    x = os
    def m(self):
        return late(f, [self for _ in A])
def late(*given):
    A = 1
    return given, A
"""


def test_bytecode_says_what_is_looked_up() -> None:
    sample = reader("python-code")(MODULE)
    assert sample is not None
    assert {*true_edges(MODULE)} == {(1, 2), (3, 2)} == {*sample.edges()}


def test_a_score_counts_and_has_intervals() -> None:
    score = Score()
    for _ in range(30):
        score.add({(0, 1), (2, 1)}, {(0, 1), (1, 3)})
        score.add({(0, 1)}, {(0, 1)})
    precision, recall, right = score.precision(0), score.recall(0), score.right_precision(0)
    assert precision.estimate == pytest.approx(2 / 3) == recall.estimate
    assert precision.low is not None and precision.low < 2 / 3
    # None of 30 units has a true edge to the right: the interval is that of 0 in 30.
    assert right is not None and right.estimate == 0 and right.high == pytest.approx(0.1157, abs=1e-3)


def test_variants_show_what_rests_on_equal_numbers(tmp_path: Path) -> None:
    """In one of four variants the third line's 7 is the second's by chance."""
    rows = [
        {"id": 1, "question": f"{a} and 30", "answer": f"{a} + 30 = {a + 30}\n{b} * 1 = {b}\n{a + 30} + 47 = {a + 77}"}
        for a, b in ((11, 23), (12, 24), (13, 25), (14, 47))
    ]
    path = tmp_path / "variants.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    score = variants(path, by_values, odd=True)
    assert score.units == [(5, 4, 4, 0, 0)]


@pytest.mark.coq
@needs_coq
def test_coqc_says_what_names_and_hypotheses_are(tmp_path: Path) -> None:
    text = """Definition two := 2.
Lemma l : two = 2 -> two = 2.
Proof.
intros H. exact H.
Qed.
Lemma m : two = 2 -> two = 2. intros K. exact (l K). Qed.
"""
    path = tmp_path / "small.v"
    path.write_text(text)
    glob = dumped(path, tmp_path)
    parts = declarations(text)
    assert glob is not None and {*coq_edges(text, glob, parts)} == {(0, 1), (0, 2), (1, 2)}
    assert answer(Asked(text, parts[1], 2, 3, "H"), tmp_path) == "true"
    assert answer(Asked(text, parts[2], 1, 2, "l"), tmp_path) == "false"  # no hypothesis of that sentence
