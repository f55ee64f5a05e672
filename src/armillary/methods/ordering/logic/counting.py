"""All formulas over some leaves, numbered: how many there are of a size, which is the k-th, and which number one has.

[read: PropL code] Formulas are ordered by their number of connectives, then by how many of these stand in the left
part, then by connective, then by left and right part in turn; a random formula is a random number of its block. There
are Catalan(n) 3^n leaves^(n+1) formulas of n connectives.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random

from armillary.errors import UsageError
from armillary.methods.ordering.logic.formulas import (
    ATOMS,
    CONNECTIVES,
    FALSUM,
    LEAVES,
    TRUTH,
    Formula,
    compound,
)


def leaves_of(atoms: int, *, falsum: bool, truth: bool) -> str:
    """The first atoms, then F and T where asked for. UsageError beyond one to five atoms."""
    if not 1 <= atoms <= len(ATOMS):
        raise UsageError(f"{atoms} atoms were asked for; accepted are 1 to {len(ATOMS)}.")
    return ATOMS[:atoms] + FALSUM * falsum + TRUTH * truth


@dataclass(frozen=True)
class FormulaSpace:
    """Every formula over ``leaves``, in the order of their numbers."""

    leaves: str
    """As "abF"; each once."""

    _counts: list[int] = field(default_factory=list, repr=False, compare=False)
    _ends: list[list[int]] = field(default_factory=list, repr=False, compare=False)

    def __post_init__(self) -> None:
        unknown = [symbol for symbol in self.leaves if symbol not in LEAVES]
        if unknown or not self.leaves or len(set(self.leaves)) < len(self.leaves):
            raise UsageError(f"The leaves {self.leaves!r} are not some of {''.join(LEAVES)}, each once.")

    def count(self, nodes: int) -> int:
        """Formulas with exactly this many connectives."""
        while len(self._counts) <= nodes:
            size = len(self._counts)
            splits = [len(CONNECTIVES) * self._counts[left] * self._counts[size - 1 - left] for left in range(size)]
            self._ends.append(list(accumulate(splits)))
            self._counts.append(sum(splits) if size else len(self.leaves))
        return self._counts[nodes]

    def formula(self, nodes: int, number: int) -> Formula:
        """The formula of this number, from 0, among those with so many connectives. UsageError beyond the last."""
        if not 0 <= number < self.count(nodes):
            raise UsageError(
                f"Formula {number} of {nodes} connectives does not exist: they are numbered 0 to "
                f"{self.count(nodes) - 1}."
            )
        return self._formula(nodes, number)

    def _formula(self, nodes: int, number: int) -> Formula:
        if not nodes:
            return LEAVES[self.leaves[number]]
        ends = self._ends[nodes]
        left = bisect_right(ends, number)
        number -= ends[left - 1] if left else 0
        right = nodes - 1 - left
        number, right_number = divmod(number, self._counts[right])
        which, left_number = divmod(number, self._counts[left])
        return compound(CONNECTIVES[which], self._formula(left, left_number), self._formula(right, right_number))

    def number(self, formula: Formula) -> int:
        """The number of a formula among those of its size. UsageError where it holds another leaf."""
        foreign = set(formula.text) - set(self.leaves) - set(CONNECTIVES)
        if foreign:
            raise UsageError(f"{formula.text!r} holds {', '.join(sorted(foreign))}; the leaves are {self.leaves}.")
        self.count(formula.nodes)
        return self._number(formula)

    def _number(self, formula: Formula) -> int:
        if not formula.parts:
            return self.leaves.index(formula.symbol)
        left, right = formula.parts
        before = self._ends[formula.nodes][left.nodes - 1] if left.nodes else 0
        within = CONNECTIVES.index(formula.symbol) * self._counts[left.nodes] + self._number(left)
        return before + within * self._counts[right.nodes] + self._number(right)

    def every(self, nodes: int) -> Iterator[Formula]:
        """All formulas with so many connectives, in order."""
        for number in range(self.count(nodes)):
            yield self._formula(nodes, number)

    def drawn(self, nodes: int, random: Random) -> Formula:
        """One of so many connectives, each equally likely: the tree, its connectives and its leaves are uniform."""
        return self._formula(nodes, random.randrange(self.count(nodes)))
