"""The judge on models whose answers are known, and the search in which the checker writes the states."""

from collections.abc import Sequence

import pytest

from armillary.methods.ordering.logic.config import LogicConfig
from armillary.methods.ordering.logic.formulas import parsed
from armillary.methods.ordering.logic.layouts import layout_of
from armillary.methods.ordering.logic.parsing import read_proof
from armillary.methods.ordering.logic.search import TOO_LONG, StepwiseProof, searched
from armillary.methods.ordering.logic.world import LogicWorld
from armillary.methods.ordering.worlds import TaskProblem

from .proofs import some_theorems

WORLD = LogicWorld(LogicConfig())
PROBLEMS = [WORLD.problem(theorem) for theorem in some_theorems(40)]
SWAP = TaskProblem("", (*">&ab&ba", "#"), 5)


@pytest.mark.parametrize("order", WORLD.orders)
def test_the_reference_scores_all_and_one_answer_for_all_scores_none(order: str) -> None:
    """None but the one theorem whose proof the constant answer is."""
    answers = [WORLD.write(problem, order).completion for problem in PROBLEMS]
    assert all(WORLD.judge(problem, order, answer).strict for problem, answer in zip(PROBLEMS, answers, strict=True))
    constant = WORLD.write(SWAP, order).completion
    assert not any(WORLD.judge(problem, order, constant).lenient for problem in PROBLEMS)


def test_any_proof_is_as_good_as_the_reference() -> None:
    problem = TaskProblem("", (*">a>aa", "#"), 3)
    for number in (0, 1):
        text = f"|- > a > a a ; impR # h0 : a |- > a a ; impR # h1 : a |- a ; ax h{number} #"
        assert WORLD.judge(problem, "seq", text.split()).strict


@pytest.mark.parametrize(
    ("old", "new", "lenient", "error"),
    [
        ("h1 : a h2 : b", "h1 : b h2 : b", True, "wrong state at depth 2"),
        ("h1 : a h2 : b", "", True, "wrong state at depth 2"),
        ("ax h2", "ax h1", False, "rule not applicable at depth 3"),
        ("andL h0", "orL h0", False, "tree incomplete"),
        ("andL h0", "curry h0", False, "rule not applicable at depth 1"),
        ("impR", "h0", False, "unreadable"),
        ("|- a ; ax h1 #", "", False, "tree incomplete"),
        ("; ax h1 #", "; ax", False, "unreadable"),
    ],
)
def test_what_is_first_wrong(old: str, new: str, lenient: bool, error: str) -> None:
    text = " ".join(WORLD.write(SWAP, "seq").completion)
    assert old in text
    judged = WORLD.judge(SWAP, "seq", text.replace(old, new, 1).split())
    assert (judged.lenient, judged.strict, judged.error) == (lenient, False, error)


def test_states_of_another_order_are_judged_at_their_own_nodes() -> None:
    for order in ("logical", "reversed", "random", "actions_then_states", "action_first@"):
        text = " ".join(WORLD.write(SWAP, order).completion)
        judged = WORLD.judge(SWAP, order, text.replace("h1 : a h2 : b", "h1 : b h2 : b").split())
        assert (judged.lenient, judged.error) == (True, "wrong state at depth 2"), order


class Oracle:
    """Reads its answer off the reference, which begins with the text so far."""

    def __init__(self, problem: TaskProblem, full: bool = False) -> None:
        world = LogicWorld(LogicConfig(full_state=full))
        self.text = (*problem.prompt, *world.write(problem, "seq").completion)

    def __call__(self, tokens: tuple[str, ...]) -> Sequence[str]:
        assert self.text[: len(tokens)] == tokens, "the states are the reference's"
        rest = self.text[len(tokens) :]
        return rest[: rest.index("#")]


@pytest.mark.parametrize("full", [False, True])
def test_a_search_by_the_reference_writes_the_reference(full: bool) -> None:
    for problem in PROBLEMS:
        formula = WORLD.formula(problem)
        proof = searched(formula, Oracle(problem, full), most_steps=20, full_state=full)
        assert proof.proved and proof.ended and not proof.error and proof.steps == problem.size
        world = LogicWorld(LogicConfig(full_state=full))
        assert proof.tokens == world.write(problem, "seq").completion
        assert proof.derivation() == read_proof(proof.tokens, layout_of("seq")).derivation


def test_how_a_search_ends_without_a_proof() -> None:
    formula = parsed(">&ab&ba")
    for action, error in (
        (("ax", "h0"), "rule not applicable at depth 0"),
        (("impR", "h0"), "unreadable at depth 0"),
        ((), "unreadable at depth 0"),
    ):
        proof = searched(formula, lambda _, action=action: action, most_steps=9)
        assert (proof.error, proof.proved, proof.ended, proof.derivation()) == (error, False, True, None)
        assert not proof.advance(("impR",))
    proof = searched(parsed(">a>a>ab"), lambda _: ("impR",), most_steps=2)
    assert proof.error == TOO_LONG and proof.steps == 2
    started = StepwiseProof(formula)
    assert started.tokens == tuple(["|-", ">", "&", "a", "b", "&", "b", "a", ";"]) and not started.ended
