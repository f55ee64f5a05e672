"""Steps that change places inside a text: nothing else moves, and what can't be said in another order is refused."""

import pytest
from hypothesis import given, settings, strategies as st

from armillary.methods.ordering.orders import order
from armillary.methods.ordering.readers.in_place import in_place
from armillary.methods.ordering.readers.messages import MessagesReader
from armillary.methods.ordering.readers.numbered import NumberedReader


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(5)), st.lists(st.sampled_from([" ", "\n\n", "\n  "]), min_size=6, max_size=6))
def test_gaps_stay_and_steps_move(places: list[int], gaps: list[str]) -> None:
    steps = [f"step {place}" for place in range(5)]
    text = "".join(gap + step for gap, step in zip(gaps, steps, strict=False)) + gaps[5]
    moved = in_place(text, steps, [steps[place] for place in places])
    assert moved is not None and len(moved) == len(text)
    assert in_place(moved, [steps[place] for place in places], steps) == text


def test_what_stands_between_is_not_passed_over() -> None:
    assert in_place("a\n</think>\nb", ["a", "b"], ["b", "a"]) is None
    assert in_place("a b", ["a", "c"], ["c", "a"]) is None
    assert in_place("So: x, y.", ["x,", "y."], ["y.", "x,"]) == "So: y. x,"


NUMBERED = "(1) n is even by (3).\n(2) m is odd.\n(3) n = 2 k by (2)."


@pytest.mark.filterwarnings("ignore:a sample has no dependencies")
def test_numbers_move_with_their_steps() -> None:
    row = {"question": "Is it?", "answer": f"We show it.\n\n{NUMBERED}\n", "n": 3}
    sample = NumberedReader()(row)
    assert sample is not None
    wanted = "We show it.\n\n(2) m is odd.\n(3) n = 2 k by (2).\n(1) n is even by (3).\n"
    assert NumberedReader().rewritten(row, order(sample)) == {**row, "answer": wanted}


def test_a_turn_is_written_anew() -> None:
    turns = [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": NUMBERED}]
    row = {"id": "a", "messages": turns}
    reader = MessagesReader()
    sample = reader(row)
    assert sample is not None
    written = reader.rewritten(row, order(sample))
    content = "(2) m is odd.\n(3) n = 2 k by (2).\n(1) n is even by (3)."
    assert written == {"id": "a", "messages": [turns[0], {"role": "assistant", "content": content}]}
    assert turns[1]["content"] == NUMBERED, "the row that was read is as it was"
    thought = {"messages": [turns[0], {"role": "assistant", "content": NUMBERED.replace("\n(3)", "\n</think>\n(3)")}]}
    split = reader(thought)
    assert split is not None and reader.rewritten(thought, order(split)) is None
