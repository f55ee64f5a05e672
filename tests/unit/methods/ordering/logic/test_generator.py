"""Theorems: each once, of the sizes asked for, the same for one seed."""

from collections import Counter
from itertools import islice

import pytest

from armillary.errors import UsageError
from armillary.methods.ordering.logic import generator
from armillary.methods.ordering.logic.config import LogicConfig
from armillary.methods.ordering.logic.formulas import parsed
from armillary.methods.ordering.logic.generator import Theorem, overlap, theorems
from armillary.methods.ordering.logic.prover import prove
from armillary.methods.ordering.logic.rules import check
from armillary.methods.ordering.logic.world import LogicWorld


def test_theorems_are_distinct_proved_and_within_their_bounds() -> None:
    config = LogicConfig(atoms=3, nodes=(2, 5), steps=(3, 6))
    made = list(islice(theorems(config, seed=1), 300))
    assert len({theorem.key for theorem in made}) == 300
    for theorem in made:
        assert check(theorem.formula, theorem.derivation).ok
        assert 2 <= theorem.formula.nodes <= 5 and 3 <= theorem.derivation.size <= 6
        assert theorem.key == theorem.formula.key and set(theorem.formula.text) <= set("abcF&|>")
    assert made == list(islice(theorems(config, seed=1), 300)) != list(islice(theorems(config, seed=2), 300))


def test_what_is_held_out_does_not_come_back() -> None:
    world = LogicWorld(LogicConfig(nodes=(2, 4)))
    held_out = world.problems(100, seed=1)
    trained = world.problems(200, seed=2, exclude={problem.key for problem in held_out})
    assert not {problem.key for problem in held_out} & {problem.key for problem in trained}
    # A key is that of the prompt, so that a renamed theorem is held out, too.
    assert all(parsed(problem.prompt[:-1]).key == problem.key for problem in (*held_out, *trained))


def test_both_laws_over_sizes() -> None:
    """Of formulas over a and b with 1 to 3 connectives nearly all have 3; the mixture draws each size as often."""
    sizes = {
        law: Counter(
            theorem.formula.nodes
            for theorem in islice(
                theorems(LogicConfig(falsum=False, nodes=(2, 8), steps=(1, 20), law=law), seed=1), 300
            )
        )
        for law in ("mixture", "uniform")
    }
    assert sizes["uniform"][8] > 270 and 20 < sizes["mixture"][8] < 110


def test_the_shortest_proofs_are_no_longer() -> None:
    config = LogicConfig(atoms=3, nodes=(6, 10), steps=(1, 31), shortest=True)
    for theorem in islice(theorems(config, seed=4), 40):
        first = prove(theorem.formula)
        assert first is not None and theorem.derivation.size <= first.size


def test_a_range_without_enough_theorems_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "PATIENCE", 500)
    config = LogicConfig(atoms=1, falsum=False, nodes=(1, 1), steps=(1, 9))
    with pytest.raises(UsageError, match=r"Only 1 theorems of 1 to 1 connectives over a .* were found"):
        list(theorems(config, seed=1))  # a > a alone


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"nodes": (5, 3)}, "nodes must be a range"), ({"steps": (0, 3)}, "steps must be a range"),
     ({"steps": (3, 32)}, "31 is the longest")],
)  # fmt: skip
def test_settings_out_of_bounds_are_refused(settings: dict[str, tuple[int, int]], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        LogicConfig(**settings)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="1 to 5"):
        next(theorems(LogicConfig(atoms=6), seed=0))


def test_overlap_counts_renamings_reorderings_and_rules() -> None:
    def theorem(text: str) -> Theorem:
        formula = parsed(text)
        derivation = prove(formula)
        assert derivation is not None
        return Theorem(formula, derivation, formula.key)

    trained = [theorem(">&aba")]
    measured = overlap(trained, [theorem(">&bab"), theorem(">&abb"), theorem(">aa"), theorem(">&bbb")])
    assert (measured.keys, measured.modulo_order, measured.skeletons) == (0.25, 0.5, 0.75)
    with pytest.raises(UsageError, match="at least one"):
        overlap(trained, [])
