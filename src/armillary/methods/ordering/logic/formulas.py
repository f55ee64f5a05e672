"""Propositional formulas in Polish prefix notation: ``>&aba`` is (a & b) > a; keys that renaming does not change.

[derived] PropL, the data on which the paper builds, has & | > over five atoms, True and False, and no negation of its
own: not A is ``A > F``. Prefix text needs no brackets, so that a formula is as many tokens as it has symbols.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

from armillary.errors import UsageError

ATOMS = "abcde"
"""As many as PropL's p1 to p5."""

FALSUM, TRUTH = "F", "T"
CONNECTIVES = "&|>"
SYMBOLS = (*ATOMS, FALSUM, TRUTH, *CONNECTIVES)

VALUATIONS = 1 << len(ATOMS)
EVERYWHERE = (1 << VALUATIONS) - 1
"""The truth table of T: one bit for each of the 32 valuations of the atoms."""


@dataclass(frozen=True, slots=True, eq=False)
class Formula:
    """A formula; made by ``leaf``, ``compound`` or ``parsed``. Equal where its text is equal."""

    text: str
    """Polish prefix."""

    symbol: str
    """First symbol of the text: a leaf or the main connective."""

    parts: "tuple[Formula, ...]"
    """The two sides of a connective; empty for a leaf."""

    truth: int
    """Classical truth table: bit v is the value under valuation v, in which atom k is true where bit k of v is set."""

    @property
    def nodes(self) -> int:
        """Connectives in it."""
        return len(self.text) // 2  # a binary tree has one leaf more than inner nodes

    @property
    def key(self) -> str:
        """Its text with the atoms renamed a, b, c ... in the order in which they first occur."""
        first = [symbol for symbol in dict.fromkeys(self.text) if symbol in ATOMS]
        return self.text.translate({ord(old): new for old, new in zip(first, ATOMS, strict=False)})

    @property
    def key_modulo_order(self) -> str:
        """A key that neither renaming nor order and brackets within & and | change: the least over all renamings."""
        atoms = sorted({symbol for symbol in self.text if symbol in ATOMS})
        return min(
            _sorted_text(self, dict(zip(atoms, names, strict=True))) for names in permutations(ATOMS[: len(atoms)])
        )

    @property
    def is_tautology(self) -> bool:
        """Classically valid, by its truth table."""
        return self.truth == EVERYWHERE

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Formula) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text


def _sorted_text(formula: Formula, names: dict[str, str]) -> str:
    """The text under these names, with the members of each chain of & or | sorted."""
    if not formula.parts:
        return names.get(formula.symbol, formula.symbol)
    if formula.symbol == ">":
        return ">" + "".join(_sorted_text(part, names) for part in formula.parts)
    members, open_parts = [], list(formula.parts)
    while open_parts:
        part = open_parts.pop()
        if part.symbol == formula.symbol:
            open_parts.extend(part.parts)
        else:
            members.append(_sorted_text(part, names))
    return formula.symbol * (len(members) - 1) + "".join(sorted(members))


LEAVES = {FALSUM: Formula(FALSUM, FALSUM, (), 0), TRUTH: Formula(TRUTH, TRUTH, (), EVERYWHERE)} | {
    atom: Formula(atom, atom, (), sum(1 << valuation for valuation in range(VALUATIONS) if valuation >> place & 1))
    for place, atom in enumerate(ATOMS)
}
"""Every leaf by its symbol."""


def leaf(symbol: str) -> Formula:
    """The atom, F or T. UsageError at another symbol."""
    if symbol not in LEAVES:
        raise UsageError(f"{symbol!r} is no leaf of a formula; accepted are the atoms {', '.join(ATOMS)}, F and T.")
    return LEAVES[symbol]


def conjunction(left: Formula, right: Formula) -> Formula:
    """left & right."""
    return Formula("&" + left.text + right.text, "&", (left, right), left.truth & right.truth)


def disjunction(left: Formula, right: Formula) -> Formula:
    """left | right."""
    return Formula("|" + left.text + right.text, "|", (left, right), left.truth | right.truth)


def implication(left: Formula, right: Formula) -> Formula:
    """left > right."""
    return Formula(">" + left.text + right.text, ">", (left, right), (EVERYWHERE ^ left.truth) | right.truth)


COMPOUNDS = {"&": conjunction, "|": disjunction, ">": implication}
"""What makes a formula of its two sides, by connective."""


def compound(connective: str, left: Formula, right: Formula) -> Formula:
    """The formula with this main connective (& | >)."""
    return COMPOUNDS[connective](left, right)


def parsed(symbols: str | Sequence[str]) -> Formula:
    """The formula of a prefix text or of its tokens. UsageError saying what is wrong with another text."""
    waiting: list[Formula] = []
    for symbol in reversed(symbols):
        if symbol in COMPOUNDS:
            if len(waiting) < 2:
                raise UsageError(
                    f"The formula {''.join(symbols)!r} is not complete: {symbol} stands before {len(waiting)} parts, "
                    "and needs two."
                )
            waiting.append(COMPOUNDS[symbol](waiting.pop(), waiting.pop()))
        elif symbol in LEAVES:
            waiting.append(LEAVES[symbol])
        else:
            raise UsageError(
                f"{symbol!r} is no symbol of a formula; accepted is Polish prefix of {' '.join(SYMBOLS)}, as >&aba."
            )
    if len(waiting) != 1:
        raise UsageError(
            f"{''.join(symbols)!r} is {len(waiting)} formulas, not one; in Polish prefix a connective stands before "
            "its two parts, as >&aba."
        )
    return waiting[0]
