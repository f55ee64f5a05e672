"""The prover against known theorems, a semantics of its own, and a slow search by the checker's rules."""

import random
from collections import Counter
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest

from armillary.methods.ordering.logic.counting import FormulaSpace
from armillary.methods.ordering.logic.derivations import CHOICES, RULES, Derivation
from armillary.methods.ordering.logic.formulas import Formula, parsed
from armillary.methods.ordering.logic.prover import BudgetExceeded, prove
from armillary.methods.ordering.logic.rules import RuleRefused, Sequent, check, premises

SPACE = FormulaSpace("abcFT")


def drawn(count: int, nodes: int, seed: int = 0) -> list[Formula]:
    draw = random.Random(seed)
    return [SPACE.drawn(nodes, draw) for _ in range(count)]


def test_classical_theorems_without_intuitionistic_proof_are_refused() -> None:
    for text in (">>>abaa", "|a>aF", ">>>aFFa", "|>ab>ba", ">>&abF|>aF>bF"):
        assert parsed(text).is_tautology and prove(parsed(text)) is None, text


def test_intuitionistic_theorems_are_proved() -> None:
    not_not_excluded_middle = ">>|a>aFFF"
    composition = ">>ab>>bc>ac"
    three_negations, one = ">>>aFFF", ">aF"
    for text in (
        not_not_excluded_middle,
        composition,
        f">{three_negations}{one}",
        f">{one}{three_negations}",
        ">>>>>abaaFF",
        ">>|abc&>ac>bc",
        "T",
        ">>Taa",
    ):
        proof = prove(parsed(text))
        assert proof is not None and check(parsed(text), proof).ok, text


class Heyting:
    """Every valuation of two atoms in the upsets of a partial order, side by side."""

    def __init__(self, above: dict[int, set[int]]) -> None:
        worlds = sorted(above)
        upsets = [
            frozenset(chosen)
            for mask in product((False, True), repeat=len(worlds))
            for chosen in [{world for world, inside in zip(worlds, mask, strict=True) if inside}]
            if all(above[world] <= chosen for world in chosen)
        ]
        number = {upset: at for at, upset in enumerate(upsets)}
        arrow = {
            (p, q): number[frozenset(world for world in worlds if above[world] & p <= q)]
            for p in upsets
            for q in upsets
        }
        self.tables = {
            "&": np.array([[number[p & q] for q in upsets] for p in upsets]),
            "|": np.array([[number[p | q] for q in upsets] for p in upsets]),
            ">": np.array([[arrow[p, q] for q in upsets] for p in upsets]),
        }
        pairs = list(product(range(len(upsets)), repeat=2))
        self.values = {"a": np.array([a for a, _ in pairs]), "b": np.array([b for _, b in pairs])}
        self.values["F"] = np.full(len(pairs), number[frozenset()])
        self.top = number[frozenset(worlds)]

    def value(self, formula: Formula) -> np.ndarray:
        if formula.text not in self.values:
            left, right = map(self.value, formula.parts)
            self.values[formula.text] = self.tables[formula.symbol][left, right]
        return self.values[formula.text]

    def valid(self, formula: Formula) -> bool:
        return bool((self.value(formula) == self.top).all())


def test_every_small_formula_is_decided_as_by_all_models_on_two_small_orders() -> None:
    """[recalled] What is provable holds in every Kripke model. That these refute all the other formulas is no theorem
    but what comes out: the orders are a root below two tops, and a root below a top and a chain of two.
    """
    models = [
        Heyting({0: {0, 1, 2}, 1: {1}, 2: {2}}),
        Heyting({0: {0, 1, 2, 3}, 1: {1, 2}, 2: {2}, 3: {3}}),
    ]
    space, counts = FormulaSpace("abF"), Counter[bool]()
    for nodes in range(4):
        for formula in space.every(nodes):
            proof = prove(formula)
            valid = formula.is_tautology and all(model.valid(formula) for model in models)
            assert (proof is not None) == valid, formula.text
            if nodes < 3 and proof is not None:
                assert check(formula, proof).ok
            counts[valid] += 1
    assert counts == {True: 2850, False: 8601}


TABLE = ("botL", "ax", "topR", "impR", "andL", "drop", "unit", "curry", "split", "mp", "andR", "orL")
"""The rules that can't be wrong, in the order in which they are tried."""


def applications(sequent: Sequent, rule: str) -> Iterator[tuple[tuple[int, ...], tuple[Sequent, ...]]]:
    for arguments in product(sequent.hypotheses, repeat=RULES[rule][0]):
        try:
            yield arguments, premises(sequent, rule, arguments)
        except RuleRefused:
            continue


def proofs_by_table(sequent: Sequent) -> Iterator[Derivation]:
    """Every proof that the table leaves open, the first one first, by the checker's rules alone."""
    for rule in TABLE:
        for arguments, left in applications(sequent, rule):
            for children in product(*(list(proofs_by_table(premise)) for premise in left)):
                yield Derivation(rule, arguments, children)
            return
    for rule in ("orR1", "orR2", "impimp"):
        for arguments, left in applications(sequent, rule):
            for children in product(*(list(proofs_by_table(premise)) for premise in left)):
                yield Derivation(rule, arguments, children)


def test_the_proof_found_is_the_first_by_the_table_and_the_shortest_is_the_least_of_all() -> None:
    choices = shorter = 0
    for formula in drawn(150, 5) + drawn(30, 8) + [parsed("|>&ab|ba>aa"), parsed(">&|a>aF>>>abbF&ba")]:
        proofs = list(proofs_by_table(Sequent({}, formula)))
        first, shortest = prove(formula), prove(formula, shortest=True)
        if not proofs:
            assert first is None and shortest is None
            continue
        assert first == proofs[0]
        assert shortest is not None and shortest.size == min(proof.size for proof in proofs)
        assert check(formula, shortest).ok
        choices += first.has_choice
        shorter += shortest.size < proofs[0].size
    assert choices > 10 and shorter > 0


def test_large_formulas_end_with_proofs_that_are_accepted_and_classically_valid() -> None:
    rules = Counter[str]()
    for formula in drawn(300, 16, seed=1) + drawn(100, 40, seed=2):
        proof = prove(formula)
        if proof is not None:
            assert check(formula, proof).ok
            # By the definition, not by the table that the formula carries.
            for true in product((False, True), repeat=3):
                assert classically(formula, dict(zip("abc", true, strict=True)))
            rules.update(proof.skeleton)
    assert set(rules) == set(RULES) and set(rules) >= CHOICES


def classically(formula: Formula, true: dict[str, bool]) -> bool:
    if not formula.parts:
        return true.get(formula.symbol, formula.symbol == "T")
    left, right = (classically(part, true) for part in formula.parts)
    return {"&": left and right, "|": left or right, ">": not left or right}[formula.symbol]


def test_a_search_that_is_cut_off_says_so() -> None:
    with pytest.raises(BudgetExceeded, match="cut off after 2 branches"):
        prove(parsed(">>>>>abaaFF"), budget=2)
