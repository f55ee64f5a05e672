"""The checker: what it accepts, what it refuses and where."""

import random

import pytest

from armillary.methods.ordering.logic.derivations import Derivation
from armillary.methods.ordering.logic.formulas import parsed
from armillary.methods.ordering.logic.rules import RuleRefused, Sequent, check, premises
from reproductions.ordering.checkers.changes import with_another_action

from .proofs import some_theorems


def test_a_changed_action_is_refused_at_its_node_or_below() -> None:
    """A few changed proofs are proofs too, as by another hypothesis of the same formula."""
    draw, accepted, trials = random.Random(1), 0, 0
    for theorem in some_theorems():
        assert check(theorem.formula, theorem.derivation).ok
        nodes = [address for address, _ in theorem.derivation.walk()]
        for _ in range(4):
            address = draw.choice(nodes)
            result = check(theorem.formula, with_another_action(theorem.derivation, address, draw))
            trials += 1
            accepted += result.ok
            if not result.ok:
                assert result.where is not None and nodes.index(result.where) >= nodes.index(address)
                assert result.error.endswith(".")
    assert accepted < trials / 20, (accepted, trials)


def test_a_proof_of_another_formula_is_refused() -> None:
    implication = Derivation("impR", (), (Derivation("ax", (0,), ()),))
    assert check(parsed(">aa"), implication).ok
    assert check(parsed(">ab"), implication).where == (0,)


@pytest.mark.parametrize(
    ("hypotheses", "goal", "rule", "arguments", "says"),
    [
        ("a", "b", "ax", (0,), "h0 is not the goal b"),
        ("a", "b", "ax", (1,), "no hypothesis h1"),
        ("a", "b", "botL", (0,), "h0 is not F"),
        ("a", "b", "topR", (), "the goal b is not T"),
        ("a", "b", "impR", (), "the goal b is not of the form A > B"),
        ("a", "b", "andR", (), "the goal b is not of the form A & B"),
        ("a", "b", "orR1", (), "of the form A | B"),
        ("a", "b", "orR2", (), "of the form A | B"),
        ("|ab", "b", "andL", (0,), "h0 |ab is not of the form A & B"),
        ("&ab", "b", "orL", (0,), "of the form A | B"),
        (">ab", "b", "drop", (0,), "does not begin with F"),
        (">ab", "b", "unit", (0,), "does not begin with T"),
        (">ab", "b", "curry", (0,), "does not begin with &"),
        (">ab", "b", "split", (0,), "does not begin with |"),
        (">ab", "b", "impimp", (0,), "does not begin with >"),
        (">ab b", "b", "mp", (0, 1), "h1 is not an atom that h0 begins with"),
        (">>aab >aa", "b", "mp", (0, 1), "not an atom"),  # G4ip uses an implication on atoms only
        ("a", "b", "ax", (), "names 1 hypotheses, not 0"),
        ("a", "b", "cut", (), "'cut' is no rule"),
    ],
)
def test_why_a_rule_does_not_apply(
    hypotheses: str, goal: str, rule: str, arguments: tuple[int, ...], says: str
) -> None:
    sequent = Sequent({number: parsed(text) for number, text in enumerate(hypotheses.split())}, parsed(goal), 2)
    with pytest.raises(RuleRefused) as refused:
        premises(sequent, rule, arguments)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("hypothesis", "goal", "rule", "arguments", "left"),
    [
        ("&ab", "c", "andL", (0,), ["1:a 2:b |- c"]),
        ("|ab", "c", "orL", (0,), ["1:a |- c", "1:b |- c"]),
        (">Fa", "c", "drop", (0,), [" |- c"]),
        (">Ta", "c", "unit", (0,), ["1:a |- c"]),
        (">&abc", "c", "curry", (0,), ["1:>a>bc |- c"]),
        (">|abc", "c", "split", (0,), ["1:>ac 2:>bc |- c"]),
        (">>abc", "d", "impimp", (0,), ["1:>bc |- >ab", "1:c |- d"]),
        ("a", ">bc", "impR", (), ["0:a 1:b |- c"]),
        ("a", "&bc", "andR", (), ["0:a |- b", "0:a |- c"]),
        ("a", "|bc", "orR2", (), ["0:a |- c"]),
        ("a", "|bc", "orR1", (), ["0:a |- b"]),
        ("F", "c", "botL", (0,), []),
    ],
)
def test_what_each_rule_leaves(
    hypothesis: str, goal: str, rule: str, arguments: tuple[int, ...], left: list[str]
) -> None:
    """Against the rules of Dyckhoff's calculus, written out by hand."""
    found = premises(Sequent({0: parsed(hypothesis)}, parsed(goal), 1), rule, arguments)
    shown = [
        " ".join(f"{number}:{formula}" for number, formula in sequent.hypotheses.items()) + f" |- {sequent.goal}"
        for sequent in found
    ]
    assert shown == left


def test_a_node_with_a_proof_too_few_or_too_many_is_refused() -> None:
    leaf = Derivation("ax", (0,), ())
    for children in ((), (leaf, leaf)):
        result = check(parsed(">aa"), Derivation("impR", (), children))
        assert (result.ok, result.where) == (False, ()) and f"{len(children)} are proved" in result.error
