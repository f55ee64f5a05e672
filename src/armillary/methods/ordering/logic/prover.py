"""G4ip, Dyckhoff's contraction-free calculus, as a decision procedure: every formula is proved or has no proof.

[recalled] "Contraction-free sequent calculi for intuitionistic logic", Dyckhoff, Journal of Symbolic Logic 57, 1992:
in each rule the premises are smaller than the conclusion, so that the search ends without a check for loops. [derived]
The order of the rules, and hypotheses numbered along the path. Nothing here is shared with ``rules``, which checks it.

[derived] A sequent that is classically false under some valuation is given up at once: what is provable here is
classically valid. That skips failing branches alone, and so changes neither the answer nor the proof.
"""

from armillary.errors import ArmillaryError
from armillary.methods.ordering.logic.derivations import Derivation
from armillary.methods.ordering.logic.formulas import ATOMS, EVERYWHERE, FALSUM, TRUTH, Formula, implication

BUDGET = 20_000
"""Branches of the search that one formula may open; none of up to 16 connectives came near."""

UNLIMITED = 1 << 60
"""Longer than any proof."""

UNENDING = UNLIMITED // 2
"""A limit from here on was never narrowed by a proof at hand."""

BOT_L, AND_L, DROP, UNIT, CURRY, SPLIT, MP, AND_R, OR_L, IMP_IMP, NONE = range(11)
"""The rules in the order in which they are tried; a lower one goes first."""


def _rank(beginning: str) -> int:
    """The rule that a hypothesis offers, by the first two symbols of its text."""
    if beginning[0] == ">":
        by_left = {FALSUM: DROP, TRUTH: UNIT, "&": CURRY, "|": SPLIT, ">": IMP_IMP}
        return by_left.get(beginning[1], MP)
    return {FALSUM: BOT_L, "&": AND_L, "|": OR_L}.get(beginning[0], NONE)


_SYMBOLS = f"{ATOMS}{FALSUM}{TRUTH}&|>"
_RANKS = {leaf: _rank(leaf) for leaf in f"{ATOMS}{FALSUM}{TRUTH}"} | {
    first + second: _rank(first + second) for first in "&|>" for second in _SYMBOLS
}

Hypothesis = tuple[int, int, Formula]
"""Rank, number, formula; kept in the order of their numbers."""

Step = tuple[str, tuple[int, ...]]
"""A rule and the numbers of its hypotheses."""


class BudgetExceeded(ArmillaryError):
    """The search opened more branches than it was allowed; whether the formula has a proof stays open."""


def prove(formula: Formula, *, shortest: bool = False, budget: int = BUDGET) -> Derivation | None:
    """A proof, or None where there is none. BudgetExceeded where the search was cut off.

    The first applicable rule of the note's table is taken; with ``shortest`` the smallest proof over all choices.
    """
    if formula.truth != EVERYWHERE:
        return None
    return _Search(formula, shortest=shortest, budget=budget).proof([], {}, EVERYWHERE, formula, 0, UNLIMITED)


class _Search:
    """One formula's search with what has failed in it."""

    def __init__(self, formula: Formula, *, shortest: bool, budget: int) -> None:
        self.formula, self.shortest, self.budget = formula, shortest, budget
        self.branches = 0
        self.failed: dict[tuple[frozenset[str], str], int] = {}  # to the longest proof that was looked for

    def proof(
        self,
        hypotheses: list[Hypothesis],
        atoms: dict[str, int],
        known: int,
        goal: Formula,
        following: int,
        limit: int,
    ) -> Derivation | None:
        """A proof of the sequent in at most ``limit`` steps.

        ``hypotheses`` and ``atoms`` (number of the first of each) belong to the callee; ``known`` is the truth table
        of the hypotheses together, ``following`` the next free number.
        """
        self.branches += 1
        if self.branches > self.budget:
            raise BudgetExceeded(
                f"The search for a proof of {self.formula.text!r} was cut off after {self.budget} branches; "
                "allow a larger budget."
            )
        if known & ~goal.truth:
            return None
        steps: list[Step] = []  # those with one premise, from this sequent on
        while len(steps) < limit:
            best, chosen, axiom = NONE, None, -1
            for hypothesis in hypotheses:
                rank = hypothesis[0]
                if rank < best and (rank != MP or hypothesis[2].parts[0].text in atoms):
                    best, chosen = rank, hypothesis
                    if not rank:
                        break
                if axiom < 0 and hypothesis[2].text == goal.text:
                    axiom = hypothesis[1]
            symbol = goal.symbol
            if best == BOT_L and chosen is not None:
                return _after(steps, Derivation("botL", (chosen[1],), ()))
            if axiom >= 0:
                return _after(steps, Derivation("ax", (axiom,), ()))
            if symbol == TRUTH:
                return _after(steps, Derivation("topR", (), ()))
            if symbol == ">":
                steps.append(("impR", ()))
                added: tuple[Formula, ...] = (goal.parts[0],)
                goal = goal.parts[1]
            elif chosen is not None and best < AND_R:
                hypotheses.remove(chosen)
                step, added = _invertible(best, chosen, atoms)
                steps.append(step)
            else:
                rest = limit - len(steps)
                if symbol == "&":
                    node = self.both_sides(hypotheses, atoms, known, goal, following, rest)
                elif best == OR_L and chosen is not None:
                    node = self.by_cases(hypotheses, atoms, chosen, known, goal, following, rest)
                else:
                    node = self.by_choice(hypotheses, atoms, known, goal, following, rest)
                return None if node is None else _after(steps, node)
            for formula in added:
                rank = _RANKS[formula.text[:2]]
                hypotheses.append((rank, following, formula))
                if rank == NONE:
                    atoms.setdefault(formula.text, following)
                known &= formula.truth
                following += 1
        return None

    def with_one(
        self,
        hypotheses: list[Hypothesis],
        atoms: dict[str, int],
        known: int,
        added: Formula,
        goal: Formula,
        following: int,
        limit: int,
    ) -> Derivation | None:
        """A proof of the sequent with one hypothesis more; what is given stays as it is."""
        rank = _RANKS[added.text[:2]]
        atoms = {added.text: following} | atoms if rank == NONE else atoms.copy()  # the first of each atom stays
        return self.proof(
            [*hypotheses, (rank, following, added)], atoms, known & added.truth, goal, following + 1, limit
        )

    def both_sides(
        self,
        hypotheses: list[Hypothesis],
        atoms: dict[str, int],
        known: int,
        goal: Formula,
        following: int,
        limit: int,
    ) -> Derivation | None:
        """andR: each side of the goal by itself."""
        left = self.proof(hypotheses.copy(), atoms.copy(), known, goal.parts[0], following, limit - 2)
        if left is None:
            return None
        right = self.proof(hypotheses, atoms, known, goal.parts[1], following, limit - 1 - left.size)
        return None if right is None else Derivation("andR", (), (left, right))

    def by_cases(
        self,
        hypotheses: list[Hypothesis],
        atoms: dict[str, int],
        chosen: Hypothesis,
        known: int,
        goal: Formula,
        following: int,
        limit: int,
    ) -> Derivation | None:
        """orL: the goal from each side of a disjunction."""
        hypotheses.remove(chosen)
        first, second = chosen[2].parts
        left = self.with_one(hypotheses, atoms, known, first, goal, following, limit - 2)
        if left is None:
            return None
        right = self.with_one(hypotheses, atoms, known, second, goal, following, limit - 1 - left.size)
        return None if right is None else Derivation("orL", (chosen[1],), (left, right))

    def by_choice(
        self,
        hypotheses: list[Hypothesis],
        atoms: dict[str, int],
        known: int,
        goal: Formula,
        following: int,
        limit: int,
    ) -> Derivation | None:
        """orR1, orR2, then impimp on each hypothesis that it fits, left to right: the only rules that can be wrong."""
        sequent = frozenset([hypothesis[2].text for hypothesis in hypotheses]), goal.text
        if self.failed.get(sequent, 0) >= limit:
            return None
        best: Derivation | None = None
        rest = limit
        if goal.symbol == "|":
            for rule, side in zip(("orR1", "orR2"), goal.parts, strict=True):
                child = self.proof(hypotheses.copy(), atoms.copy(), known, side, following, rest - 1)
                if child is not None:
                    best = Derivation(rule, (), (child,))
                    if not self.shortest:
                        return best
                    rest = best.size - 1
        for chosen in hypotheses:
            if chosen[0] != IMP_IMP:
                continue
            nested, conclusion = chosen[2].parts
            others = [hypothesis for hypothesis in hypotheses if hypothesis is not chosen]
            right = self.with_one(others, atoms, known, conclusion, goal, following, rest - 2)
            if right is None:
                if rest >= UNENDING:
                    break  # this premise is as provable as the sequent, so that nothing else would help
                continue
            known_others = EVERYWHERE
            for hypothesis in others:
                known_others &= hypothesis[2].truth
            weaker = implication(nested.parts[1], conclusion)
            left = self.with_one(others, atoms, known_others, weaker, nested, following, rest - 1 - right.size)
            if left is not None:
                best = Derivation("impimp", (chosen[1],), (left, right))
                if not self.shortest:
                    return best
                rest = best.size - 1
        if best is None:
            self.failed[sequent] = UNLIMITED if limit >= UNENDING else limit
        return best


def _invertible(rank: int, chosen: Hypothesis, atoms: dict[str, int]) -> tuple[Step, tuple[Formula, ...]]:
    """The step that a hypothesis allows with one premise, and what it is replaced by there."""
    _, number, formula = chosen
    left, right = formula.parts
    if rank == AND_L:
        return ("andL", (number,)), (left, right)
    if rank == MP:
        return ("mp", (number, atoms[left.text])), (right,)
    if rank == CURRY:
        first, second = left.parts
        return ("curry", (number,)), (implication(first, implication(second, right)),)
    if rank == SPLIT:
        first, second = left.parts
        return ("split", (number,)), (implication(first, right), implication(second, right))
    return (("drop", (number,)), ()) if rank == DROP else (("unit", (number,)), (right,))


def _after(steps: list[Step], node: Derivation) -> Derivation:
    """The proof that begins with these steps of one premise each and ends with ``node``."""
    for rule, arguments in reversed(steps):
        node = Derivation(rule, arguments, (node,))
    return node
