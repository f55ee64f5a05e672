"""Formulas against their own definitions: reading, keys under renaming and reordering, counting by enumeration."""

import random
from itertools import islice, permutations
from math import comb

import pytest
from hypothesis import given, settings, strategies as st

from armillary.errors import UsageError
from armillary.methods.ordering.logic.counting import FormulaSpace, leaves_of
from armillary.methods.ordering.logic.formulas import ATOMS, Formula, compound, leaf, parsed

formulas = st.recursive(
    st.sampled_from("abcdeFT").map(leaf),
    lambda part: st.builds(compound, st.sampled_from("&|>"), part, part),
    max_leaves=12,
)


def value(formula: Formula, true: frozenset[str]) -> bool:
    """The classical value, by the definition."""
    if not formula.parts:
        return formula.symbol == "T" or formula.symbol in true
    left, right = (value(part, true) for part in formula.parts)
    return {"&": left and right, "|": left or right, ">": not left or right}[formula.symbol]


@settings(max_examples=60, deadline=None)
@given(formulas)
def test_reading_what_was_written_and_its_truth_table(formula: Formula) -> None:
    assert parsed(formula.text) == formula == parsed(tuple(formula.text))
    for valuation in (0, 5, 18, 27, 31):
        true = frozenset(atom for place, atom in enumerate(ATOMS) if valuation >> place & 1)
        assert bool(formula.truth >> valuation & 1) == value(formula, true)


@settings(max_examples=60, deadline=None)
@given(formulas, st.permutations(ATOMS), st.randoms(use_true_random=False))
def test_keys_are_blind_to_names_and_the_second_to_order(
    formula: Formula, names: list[str], coin: random.Random
) -> None:
    renamed = parsed(formula.text.translate(dict(zip(map(ord, ATOMS), names, strict=True))))
    assert renamed.key == formula.key == parsed(formula.key).key
    assert shuffled(renamed, coin).key_modulo_order == formula.key_modulo_order


def shuffled(formula: Formula, coin: random.Random) -> Formula:
    """The formula with sides of & and | exchanged and brackets moved at random."""
    if not formula.parts:
        return formula
    left, right = (shuffled(part, coin) for part in formula.parts)
    if formula.symbol != ">":
        if right.symbol == formula.symbol and coin.random() < 0.5:
            left, right = compound(formula.symbol, left, right.parts[0]), right.parts[1]
        if coin.random() < 0.5:
            left, right = right, left
    return compound(formula.symbol, left, right)


def test_the_key_modulo_order_keeps_apart_what_differs() -> None:
    """Against brute force: formulas of one key can be turned into each other by renaming, others can't."""

    def forms(formula: Formula) -> set[str]:
        if not formula.parts:
            return {formula.text}
        left, right = (forms(part) for part in formula.parts)
        sides = [(a, b) for a in left for b in right]
        if formula.symbol != ">":
            sides += [(b, a) for a, b in sides]
        texts = {formula.symbol + a + b for a, b in sides}
        if formula.symbol != ">":
            for text in list(texts):
                one, two = parsed(text).parts
                if one.symbol == formula.symbol:
                    texts |= {formula.symbol + one.parts[0].text + formula.symbol + one.parts[1].text + two.text}
                if two.symbol == formula.symbol:
                    texts |= {formula.symbol + formula.symbol + one.text + two.parts[0].text + two.parts[1].text}
        return texts

    space = FormulaSpace("abF")
    sample = [space.drawn(3, random.Random(number)) for number in range(40)]
    for one in sample[:12]:
        reachable, waiting = set[str](), [one.text]
        while waiting:
            text = waiting.pop()
            if text not in reachable:
                reachable.add(text)
                waiting += forms(parsed(text))
        renamed = {
            text.translate(dict(zip(map(ord, "ab"), names, strict=True)))
            for text in reachable
            for names in permutations("ab")
        }
        for other in sample:
            assert (one.key_modulo_order == other.key_modulo_order) == (other.text in renamed), (one.text, other.text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("&a", "needs two"),
        ("ab", "2 formulas"),
        ("", "0 formulas"),
        ("&ax", "'x' is no symbol"),
        ("a & b", "' ' is no"),
    ],
)
def test_a_text_that_is_no_formula_is_refused_in_one_sentence(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parsed(text)
    with pytest.raises(UsageError, match="no leaf"):
        leaf("&")


def test_as_many_formulas_as_the_closed_form_says_each_with_its_number() -> None:
    space = FormulaSpace("abF")
    for nodes in range(4):
        every = list(space.every(nodes))
        assert len(every) == len(set(every)) == space.count(nodes)
        assert space.count(nodes) == comb(2 * nodes, nodes) // (nodes + 1) * 3**nodes * 3 ** (nodes + 1)
        assert [space.number(formula) for formula in every] == list(range(len(every)))
        # Ordered by the connectives in the left part, as PropL numbers them.
        lefts = [formula.parts[0].nodes for formula in every if nodes]
        assert lefts == sorted(lefts) and {formula.nodes for formula in every} == {nodes}
    assert [space.count(nodes) for nodes in range(4)] == [3, 27, 486, 10_935]


@given(st.integers(0, 40), st.integers(min_value=0), st.integers(1, 5), st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_numbers_of_large_formulas_round_trip(nodes: int, number: int, atoms: int, falsum: bool, truth: bool) -> None:
    space = FormulaSpace(leaves_of(atoms, falsum=falsum, truth=truth))
    number %= space.count(nodes)
    assert space.number(space.formula(nodes, number)) == number


def test_what_a_space_refuses() -> None:
    for leaves in ("", "aa", "ax"):
        with pytest.raises(UsageError, match="each once"):
            FormulaSpace(leaves)
    with pytest.raises(UsageError, match="numbered 0 to 26"):
        FormulaSpace("abF").formula(1, 27)
    with pytest.raises(UsageError, match="holds c"):
        FormulaSpace("abF").number(parsed(">ac"))
    with pytest.raises(UsageError, match="1 to 5"):
        leaves_of(6, falsum=True, truth=False)


def test_drawn_formulas_are_uniform() -> None:
    draw, space = random.Random(3), FormulaSpace("ab")
    counts: dict[Formula, int] = {}
    for formula in islice(iter(lambda: space.drawn(1, draw), None), 6000):
        counts[formula] = counts.get(formula, 0) + 1
    # 12 formulas, 500 of each expected: the statistic's 0.999 point with 11 degrees of freedom is 31.3.
    assert len(counts) == 12
    assert sum((count - 500) ** 2 / 500 for count in counts.values()) < 31.3
