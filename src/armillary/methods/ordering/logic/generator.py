"""Theorems with their proofs, each once: drawn, proved, kept where the proof is neither too short nor too long."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from armillary.errors import UsageError
from armillary.methods.ordering.logic.config import LogicConfig
from armillary.methods.ordering.logic.counting import FormulaSpace, leaves_of
from armillary.methods.ordering.logic.derivations import Derivation
from armillary.methods.ordering.logic.formulas import Formula
from armillary.methods.ordering.logic.prover import BudgetExceeded, prove

PATIENCE = 100_000
"""Draws in a row without a new theorem after which there are hardly any left: a few seconds."""


@dataclass(frozen=True, slots=True)
class Theorem:
    """A formula and a proof of it."""

    formula: Formula
    derivation: Derivation
    key: str
    """Of the formula: two theorems of one key differ in the names of their atoms only."""


def theorems(config: LogicConfig, *, seed: int, exclude: Collection[str] = ()) -> Iterator[Theorem]:
    """Theorems of distinct keys, none in ``exclude``; the same for the same seed, without end.

    Unprovable formulas, and the rare one on which the search is cut off, are passed over. UsageError where no new
    theorem comes up any more.
    """
    space = FormulaSpace(leaves_of(config.atoms, falsum=config.falsum, truth=config.truth))
    random = Random(f"theorems {seed}")
    least, most = config.nodes
    sizes = range(least, most + 1)
    weights = list(accumulate(space.count(size) for size in sizes))
    seen = set(exclude)
    drawn_in_vain = kept = 0
    while True:
        if config.law == "uniform":
            number = random.randrange(weights[-1])
            size = next(size for size, end in zip(sizes, weights, strict=True) if number < end)
            formula = space.formula(size, weights[size - least] - number - 1)
        else:
            formula = space.drawn(random.randint(least, most), random)
        drawn_in_vain += 1
        if drawn_in_vain > PATIENCE:
            raise UsageError(
                f"Only {kept:,} theorems of {least} to {most} connectives over {space.leaves} with proofs of "
                f"{config.steps[0]} to {config.steps[1]} steps were found that are not held out; "
                "allow more atoms, connectives or steps."
            )
        if not formula.is_tautology:
            continue
        key = formula.key
        if key in seen:
            continue
        try:
            derivation = prove(formula, shortest=config.shortest)
        except BudgetExceeded:
            continue
        if derivation is not None and config.steps[0] <= derivation.size <= config.steps[1]:
            seen.add(key)
            drawn_in_vain, kept = 0, kept + 1
            yield Theorem(formula, derivation, key)


@dataclass(frozen=True)
class TheoremOverlap:
    """Shares of the held-out theorems, 0 to 1, that have a likeness among those trained on."""

    keys: float
    """The same but for the names of atoms: 0 where the split is right."""

    modulo_order: float
    """The same but for names and for order and brackets within & and |."""

    skeletons: float
    """A proof with the same rules in the same places."""


def overlap(trained: Iterable[Theorem], held_out: Iterable[Theorem]) -> TheoremOverlap:
    """How alike two sets of theorems are. UsageError where none is held out."""
    held_out = list(held_out)
    if not held_out:
        raise UsageError("The overlap of no theorems with others was asked for; give at least one.")
    keys, orderless, skeletons = set[str](), set[str](), set[tuple[str, ...]]()
    for theorem in trained:
        keys.add(theorem.key)
        orderless.add(theorem.formula.key_modulo_order)
        skeletons.add(theorem.derivation.skeleton)
    return TheoremOverlap(
        keys=sum(theorem.key in keys for theorem in held_out) / len(held_out),
        modulo_order=sum(theorem.formula.key_modulo_order in orderless for theorem in held_out) / len(held_out),
        skeletons=sum(theorem.derivation.skeleton in skeletons for theorem in held_out) / len(held_out),
    )
