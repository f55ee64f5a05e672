"""Proofs as tokens in every order: read back as themselves, of equal tokens, as far from sequential as they should."""

from collections import Counter

import pytest
from hypothesis import given, settings, strategies as st

from armillary.errors import UsageError
from armillary.methods.ordering.logic.config import LogicConfig
from armillary.methods.ordering.logic.derivations import RULES, Derivation
from armillary.methods.ordering.logic.formulas import parsed
from armillary.methods.ordering.logic.layouts import (
    HYPOTHESES,
    VOCABULARY,
    ProofLine,
    arranged,
    layout_of,
    proof_lines,
    proof_text,
)
from armillary.methods.ordering.logic.parsing import INCOMPLETE, UNREADABLE, read_proof
from armillary.methods.ordering.logic.world import LogicWorld
from armillary.methods.ordering.measures import metrics
from armillary.methods.ordering.worlds import TaskProblem, World

from .proofs import some_theorems

WORLD = LogicWorld(LogicConfig(atoms=3, truth=True, nodes=(3, 12), steps=(3, 20)))
FULL = LogicWorld(LogicConfig(atoms=3, truth=True, nodes=(3, 12), steps=(3, 20), full_state=True))
PROBLEMS = [WORLD.problem(theorem) for theorem in some_theorems(40)]


def test_a_small_proof_in_each_order() -> None:
    """Written by hand: (a & b) > (b & a)."""
    problem = TaskProblem("", (*">&ab&ba", "#"), 5)
    root, below = "|- > & a b & b a ; impR #", "h0 : & a b |- & b a ; andL h0 #"
    both, left, right = "h1 : a h2 : b |- & b a ; andR #", "|- b ; ax h2 #", "|- a ; ax h1 #"
    wanted = {
        "seq": [root, below, both, left, right],
        "logical": [left, right, both, below, root],
        "reversed": [right, left, both, below, root],
        "action_first": [" ".join((*line[:-2].split(" ; ")[1].split(), ";", line.split(" ; ")[0], "#"))
                         for line in (root, below, both, left, right)],
        "actions_only": ["impR # andL h0 # andR # ax h2 # ax h1 #"],
        "actions_then_states": ["impR ; andL h0 ; andR ; ax h2 ; ax h1 ;"]
        + [line.split(" ; ")[0] + " #" for line in (root, below, both, left, right)],
        "bfs": [f"{place} {line}" for place, line in zip(
            (".", ". 0", ". 0 0", ". 0 0 0", ". 0 0 1"), (root, below, both, left, right), strict=True)],
    }  # fmt: skip
    for order, lines in wanted.items():
        assert " ".join(WORLD.write(problem, order).completion) == " ".join(lines), order
    assert "h1 : a h2 : b |- a ; ax h1 #" in " ".join(FULL.write(problem, "seq").completion)


def test_every_order_is_read_back_and_accepted_and_uses_the_same_tokens() -> None:
    for world in (WORLD, FULL):
        protocol: World = world
        for problem in PROBLEMS[:12]:
            tokens: dict[bool, set[tuple[tuple[str, int], ...]]] = {True: set(), False: set()}
            derivations = set()
            for order in protocol.orders:
                written = world.write(problem, order, seed=3)
                assert set(written.completion) <= set(world.vocabulary) and len(written.parts) == len(
                    written.completion
                )
                derivations.add(read_proof(written.completion, layout_of(order)).derivation)
                judged = world.judge(problem, order, written.completion)
                assert (judged.lenient, judged.strict, judged.error) == (True, True, ""), order
                if order != "actions_only":
                    tokens[order in world.addressed].add(tuple(sorted(Counter(written.completion).items())))
            assert len(derivations) == len(tokens[True]) == len(tokens[False]) == 1


@st.composite
def trees(draw: st.DrawFn, depth: int = 5) -> Derivation:
    """Any tree of actions, proof or not."""
    rule = draw(st.sampled_from([name for name in RULES if depth or not RULES[name][1]]))
    names, below = RULES[rule]
    return Derivation(
        rule,
        tuple(draw(st.integers(0, 63)) for _ in range(names)),
        tuple(draw(trees(depth - 1)) for _ in range(below)),
    )


@settings(max_examples=40, deadline=None)
@given(trees(), st.sampled_from(WORLD.orders))
def test_any_tree_is_read_back_whether_it_is_a_proof_or_not(tree: Derivation, order: str) -> None:
    lines = [
        ProofLine(address, ("|-", "a"), (node.rule, *(HYPOTHESES[number] for number in node.arguments)))
        for address, node in tree.walk()
    ]
    layout = layout_of(order)
    assert read_proof(proof_text(arranged(lines, layout, key="any"), layout).tokens, layout).derivation == tree


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([*VOCABULARY, *(";", "#", "ax", "h0", "impR", ".", "0") * 8]), max_size=24),
       st.sampled_from(WORLD.orders))  # fmt: skip
def test_no_text_makes_the_judge_raise(tokens: list[str], order: str) -> None:
    judged = WORLD.judge(TaskProblem("", (*">aa", "#"), 2), order, tokens)
    assert judged.strict <= judged.lenient and bool(judged.error) != judged.strict


@pytest.mark.parametrize(
    ("order", "text", "error"),
    [
        ("seq", "", UNREADABLE),
        ("seq", "|- a ; impR", UNREADABLE),
        ("seq", "|- a ; impR #", INCOMPLETE),
        ("seq", "|- a ; ax h0 # |- a ; ax h0 #", UNREADABLE),
        ("seq", "|- a ; ax #", UNREADABLE),
        ("seq", "|- a ; ax a #", UNREADABLE),
        ("seq", "|- a ; ax ; h0 #", UNREADABLE),
        ("logical", "|- a ; impR #", INCOMPLETE),
        ("logical", "|- a ; ax h0 # |- a ; ax h0 #", UNREADABLE),
        ("reversed", "|- a ; impR #", INCOMPLETE),
        ("actions_only", "impR # andR # ax h0 #", INCOMPLETE),
        ("actions_then_states", "impR ; |- a #", INCOMPLETE),
        ("actions_then_states", "|- a #", UNREADABLE),
        ("bfs", ". |- a ; impR #", INCOMPLETE),
        ("bfs", ". 0 |- a ; ax h0 #", INCOMPLETE),
        ("bfs", ". |- a ; ax h0 # . |- a ; ax h0 #", UNREADABLE),
        ("bfs", ". |- a ; ax h0 # . 0 |- a ; ax h0 #", UNREADABLE),
        ("bfs", "|- a ; ax h0 #", UNREADABLE),
    ],
)
def test_what_is_wrong_with_a_text_that_is_no_tree(order: str, text: str, error: str) -> None:
    assert read_proof(text.split(), layout_of(order)).error == error


def test_how_far_each_order_is_from_sequential() -> None:
    """U3 of the lines; of states and actions apart, the shares that follow by counting edges."""
    for problem in PROBLEMS:
        written = [step.id for step in WORLD.sample_of_lines(problem, "seq").steps]
        lines = {
            order: metrics(WORLD.sample_of_lines(problem, order), canonical=written)
            for order in ("seq", "bfs", "reversed")
        }
        assert (lines["seq"].vf, lines["bfs"].vf, lines["reversed"].vf) == (0, 0, 1)
        assert (lines["seq"].tau, lines["reversed"].tau) == (1, -1)
        assert metrics(WORLD.sample_of_lines(problem, "logical")).vf == 1  # no parent comes before a child
        assert metrics(WORLD.sample_of_lines(problem, "logical"), "logical").vf == 0
        edges = 2 * problem.size - 1
        halves = {order: metrics(WORLD.sample(problem, order)).vf for order in WORLD.orders}
        assert halves["seq"] == halves["bfs"] == halves["actions_only"] == 0
        assert halves["action_first"] == halves["actions_then_states"] == problem.size / edges
        assert halves["logical"] == halves["reversed"] == (problem.size - 1) / edges


def test_displacement_grows_with_its_probability_and_a_random_order_violates_half() -> None:
    def mean(order: str) -> float:
        shares = [metrics(WORLD.sample_of_lines(problem, order, seed=seed)).vf or 0.0
                  for problem in PROBLEMS for seed in range(3)]  # fmt: skip
        return sum(shares) / len(shares)

    doses = [mean(order) for order in ("seq@", "swap:0.1", "swap:0.25", "swap:0.5", "swap:1")]
    assert doses[0] == 0 and doses == sorted(doses) and len(set(doses)) == 5
    # 120 shares of at least two edges each: a standard error below 0.03.
    assert abs(mean("random") - 0.5) < 0.09 and abs(doses[-1] - 0.5) < 0.09


def test_an_order_is_drawn_once_a_problem_and_seed() -> None:
    long = [problem for problem in PROBLEMS if problem.size > 6]
    for problem in long:
        first = WORLD.write(problem, "random", seed=1)
        assert first == WORLD.write(problem, "random", seed=1)
    assert any(WORLD.write(p, "random", seed=1) != WORLD.write(p, "random", seed=2) for p in long)


@pytest.mark.parametrize("order", ["sequential", "swap:2", "swap:x", "actions_only@", "bfs@"])
def test_an_unknown_order_is_refused(order: str) -> None:
    with pytest.raises(UsageError, match=r"[Tt]here is no order|needs a number from 0 to 1"):
        WORLD.write(PROBLEMS[0], order)


def test_a_problem_that_is_no_theorem_is_refused() -> None:
    with pytest.raises(UsageError, match="has no proof"):
        WORLD.write(TaskProblem("", (*">ab", "#"), 1), "seq")
    with pytest.raises(UsageError, match="needs two"):
        WORLD.write(TaskProblem("", (">", "#"), 1), "seq")
    with pytest.raises(UsageError, match="takes lines apart"):
        WORLD.sample_of_lines(PROBLEMS[0], "action_first")
    with pytest.raises(UsageError, match="no hypothesis h3"):
        proof_lines(parsed(">aa"), Derivation("impR", (), (Derivation("ax", (3,), ()),)))
