"""Readers of texts and rows on small cases whose graphs are written down by hand."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings, strategies as st

from armillary.errors import UsageError
from armillary.methods.ordering.readers.interface import Record
from armillary.methods.ordering.readers.prose import labelled, references
from armillary.methods.ordering.readers.registry import READERS, detect, reader, reader_of_file
from armillary.methods.ordering.readers.values import calculated, flow, given_in, shortest
from armillary.methods.ordering.steps import Sample

TURNS = [
    {"role": "user", "content": "Add 17 and 25, then double."},
    {"role": "assistant", "content": "First 17 + 25 = 42.\n\nDoubling: 42 * 2 = 84.\n\nIt is even."},
]
SHARE = [{"from": "human", "value": "Solve."}, {"from": "gpt", "value": "1. x = 3\n2. From step 1, x + 1 = 4."}]
LEAN = """state_0:
p : Prop
|- p -> p
state_0_tactic_0:
intro h
state_1:
h : p |- p
state_1_tactic_0:
simp
no solution, return to state 1
state_1_tactic_1:
exact h
proof is complete"""
TRACE = [
    {"tactic": "constructor", "state_before": "|- a /\\ b", "state_after": "|- a\n\n|- b"},
    {"tactic": "exact x", "state_before": "|- a\n\n|- b", "state_after": "|- b"},
    {"tactic": "exact y", "state_before": "|- b", "state_after": "no goals"},
]

Edges = set[tuple[int, int]]
CASES: list[tuple[str, Record, Edges]] = [
    ("plain", {"steps": ["a", "b", "c"], "deps": [[], [0], [0, 1]]}, {(0, 1), (0, 2), (1, 2)}),
    ("plain", {"steps": ["a", "b"], "deps": [[1], []]}, {(1, 0)}),
    ("plain", {"steps": [{"id": "x", "text": "a"}, {"text": "b", "deps": ["x"]}]}, {(0, 1)}),
    ("messages", {"messages": TURNS}, {(0, 1)}),
    ("messages", {"conversations": SHARE}, {(0, 1)}),
    ("calculator", {"question": "3 boxes of 12.", "answer": "It is 3*12=<<3*12=36>>36\n36+5=<<36+5=41>>41\n#### 41"},
     {(0, 1), (1, 2)}),
    # 36 is nowhere to the left: what is used first is found last.
    ("calculator", "So 36+5=<<36+5=41>>41\nas 3*12=<<3*12=36>>36", {(1, 0)}),
    ("scratchpad", "a = 3\nb = a + 4 = 17\nc = b * 2 = 34\nd = 17 + 1", {(0, 1), (1, 2), (1, 3)}),
    ("scratchpad", "c = b * 2\nb = 17", {(1, 0)}),
    ("numbered", "(1) Let n be even.\n(2) n = 2k.\n(3) By (1) and (2), done.", {(0, 2), (1, 2)}),
    ("numbered", "Step 1: As step 2 shows, it holds.\nStep 2: Trivial.", {(1, 0)}),
    ("state-tactic", LEAN, {(0, 1), (1, 2), (2, 3), (3, 4), (2, 5), (5, 6)}),
    ("traced", {"traced_tactics": TRACE}, {(0, 1), (1, 2), (2, 3), (1, 4), (4, 5)}),
    ("python-code", "import os\ndef f():\n    return g(os)\ndef g(x):\n    return x\n", {(2, 1)}),
    ("coq", "Definition two := 2.\nLemma l : two = 2.\nProof. reflexivity. Qed.\nLemma m : two = 2. exact l. Qed.",
     {(0, 1), (0, 2), (1, 2)}),
    ("coq-proof", "Lemma l (n : nat) : n = n -> n = n.\nProof.\nintros Heq.\nexact Heq.\nQed.", {(2, 3)}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "record", "edges"), CASES)
def test_edges_are_those_written_down_by_hand(name: str, record: Record, edges: Edges) -> None:
    sample = reader(name)(record)
    assert sample is not None and {*sample.edges()} == edges
    assert detect([record]).name == name
    inferred = name not in ("plain", "state-tactic", "traced")
    assert {step.inferred for step in sample.steps if step.deps} == {inferred}


def test_a_reader_says_nothing_of_other_formats() -> None:
    """Each case is of one format alone; a row of numbers is of none."""
    for known in READERS:
        for name, record, _ in CASES:
            assert (known(record) is not None) == (known.name == name), (known.name, record)
        assert known({"x": 1}) is None and known("") is None


def test_the_logical_graph_of_a_proof_is_turned_round() -> None:
    sample = reader("state-tactic")(LEAN)
    assert sample is not None
    # The failed tactic proves nothing: state 1 rests on the one that closed it.
    assert {*sample.edges("logical")} == {(1, 0), (2, 1), (5, 2)}


def test_what_a_circle_says_of_order_is_nothing() -> None:
    """Two functions that call each other: no edge between them, those from outside stay."""
    text = "def f(n):\n    return g(n)\ndef g(n):\n    return f(n) + h(n)\ndef h(n):\n    return n\n"
    sample = reader("python-code")(text)
    assert sample is not None and {*sample.edges()} == {(2, 1)}


def test_values_of_the_prompt_are_not_taken_from_later_lines() -> None:
    text = "So 36+5=<<36+5=41>>41\nas 3*12=<<3*12=36>>36"
    sample = reader("calculator")({"question": "There are 36 of them.", "answer": text})
    assert sample is not None and not list(sample.edges())


def test_numbers_are_compared_in_their_shortest_form() -> None:
    assert [shortest(number) for number in ("1,200", "3.50", "4.00", ".5", "07")] == ["1200", "3.5", "4", "0.5", "07"]
    assert given_in("Twice as many as the three dozen, 1,500 in all") == {"2", "3", "12", "1500"}
    line = calculated("Hence 16 - 3 - 4 = <<16-3-4=9>>9 and 9*2=<<9*2=18>>18")
    assert line.takes == ("16", "3", "4", "2") and line.gives == ("9", "18")


def test_labels_and_references() -> None:
    assert [labelled(text) for text in ("3. x", "(12) y", "**Step 4:** z", "3.5 m", "no")] == [
        ("3", "x"), ("12", "y"), ("4", "z"), None, None,
    ]  # fmt: skip
    assert references("By (1)-(3) and steps 5, 7 and 8; see 9 cases") == ["1", "2", "3", "5", "7", "8"]


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), st.randoms(use_true_random=False))
def test_a_plain_row_survives_reordering(count: int, draw: object) -> None:
    """Steps in any order, written as a row and read again: the same steps with the same support."""
    from random import Random

    assert isinstance(draw, Random)
    deps = [[at for at in range(place) if draw.random() < 0.4] for place in range(count)]
    row = {"steps": [f"s{place}" for place in range(count)], "deps": deps, "prompt": "p", "other": 1}
    plain = reader("plain")
    sample = plain(row)
    assert sample is not None
    mixed = Sample(prompt="p", steps=tuple(draw.sample(sample.steps, count)), key=sample.key)
    written = plain.rewritten(row, mixed)
    assert isinstance(written, Mapping) and written["other"] == 1
    again = plain(written)
    assert again == mixed


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=8), st.randoms(use_true_random=False))
def test_lines_keep_their_support_in_any_order(sources: list[int], draw: object) -> None:
    """Distinct symbols: the graph read is the one written, however the lines are mixed."""
    from random import Random

    assert isinstance(draw, Random)
    used = [sorted({*draw.sample(range(place), min(place, number))}) for place, number in enumerate(sources)]
    lines = [f"v{place} = " + " + ".join(["z", *(f"v{at}" for at in places)]) for place, places in enumerate(used)]
    order = draw.sample(range(len(lines)), len(lines))
    where = {at: place for place, at in enumerate(order)}
    sample = reader("scratchpad")("\n".join(lines[at] for at in order))
    assert sample is not None
    assert {*sample.edges()} == {(where[u], where[v]) for v, places in enumerate(used) for u in places}


@pytest.mark.parametrize(
    ("name", "record", "sentence"),
    [
        ("plain", {"steps": ["a"], "deps": [[], []]}, "deps has 2 entries for 1 steps"),
        ("plain", {"steps": ["a"], "deps": 3}, "deps is int; give a list of lists"),
        ("plain", {"steps": [{"id": 1}]}, "step 0 of steps is no text"),
        ("plain", {"steps": ["a"], "deps": ["b"]}, "the support of step 0 is 'b'"),
        ("plain", {"steps": ["a"], "deps": [[7]]}, "'7', which is no step"),
        ("plain", {"steps": ["a", "b"], "deps": {"7": [0]}}, "deps has an entry '7', which is no step"),
        ("plain", {"steps": ["a", "b"], "deps": [[1], [0]]}, "in a circle"),
        ("traced", {"traced_tactics": [{"tactic": "x"}]}, "entry 0 of traced_tactics has no texts for"),
    ],
)
def test_malformed_rows_are_refused_in_one_sentence(name: str, record: Record, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        reader(name)(record)
    assert sentence in str(refused.value) and "\n" not in str(refused.value)


def test_formats_are_told_or_refused() -> None:
    with pytest.raises(UsageError, match=r"no format 'xml'; choose one of plain, messages"):
        reader("xml")
    with pytest.raises(
        UsageError, match=r"in more than 50% of the first 2 rows; name one with --format: plain, messages"
    ):
        detect(["hello", "world"])
    both: Record = {"steps": ["a = 1"], "answer": "a = 1\nb = a"}
    with pytest.raises(UsageError, match="can be read as plain, scratchpad; say which"):
        detect([both])
    # A minority without any mark does not hide the format.
    assert detect(["x = 1\ny = x", "z = 2\nw = z", "no equation"]).name == "scratchpad"
    # Words that Coq has too.
    assert detect(["1. So c = 9 by (2).\n2. Let b = 4.\n3. Done from step 1."]).name == "numbered"
    # As Parquet gives objects that lack what others have.
    read = reader("plain")(
        {"steps": [{"id": None, "kind": None, "text": "a", "deps": [1]}, {"id": None, "text": "b"}]}
    )
    assert read is not None and [(step.id, step.kind) for step in read.steps] == [("0", "step"), ("1", "step")]
    assert (ends := reader_of_file(".py")) is not None and ends.name == "python-code"
    assert reader_of_file(".txt") is None


def test_words_of_prose_are_no_symbols() -> None:
    """ "apples" is what is counted in both lines, not a name that the second line defines."""
    turns = [{"role": "assistant", "content": "All apples = 2 + 3 = 5.\n\nRed apples = x = 4.\n\nSo y = x + 1."}]
    sample = reader("messages")({"messages": turns})
    assert sample is not None and {*sample.edges()} == set()
    sample = reader("messages")({"messages": [{"role": "assistant", "content": "Let x = 4.\n\nSo y = x + 1 = 5."}]})
    assert sample is not None and {*sample.edges()} == {(0, 1)}


def test_flow_takes_the_nearest_line_to_the_left() -> None:
    lines = [calculated(text) for text in ("4*5=20", "2*10=20", "20+7=27")]
    assert flow(lines) == [set(), set(), {1}]
