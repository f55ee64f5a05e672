"""What each rule of G4ip means, and whether a claimed proof follows them: the checker, which knows no search.

A sequent holds its hypotheses by number; what a rule adds is numbered on from the highest number ever used on the way
from the root, so that a number does not depend on the order in which a proof is written.
"""

from collections.abc import Callable
from dataclasses import dataclass

from armillary.errors import UsageError
from armillary.methods.ordering.logic.derivations import RULES, Address, Derivation
from armillary.methods.ordering.logic.formulas import ATOMS, Formula, implication


@dataclass(frozen=True, slots=True)
class Sequent:
    """Hypotheses and a goal."""

    hypotheses: dict[int, Formula]
    """By number, in the order in which they came; not to be changed."""

    goal: Formula
    following: int = 0
    """The next free number."""

    new: int = 0
    """How many of the hypotheses came with the last step: the last so many."""


@dataclass(frozen=True)
class CheckResult:
    """Whether a proof follows the rules, and where it first does not."""

    ok: bool
    error: str = ""
    """One sentence; "" where it does."""

    where: Address | None = None
    """The first node at fault, parents before children; None where there is none."""


class RuleRefused(UsageError):
    """The rule does not apply there; the sentence says why."""


Premises = tuple[Sequent, ...]


def _grown(sequent: Sequent, removed: int | None, added: tuple[Formula, ...], goal: Formula) -> Sequent:
    """The sequent without one hypothesis, with others after it, and with this goal."""
    hypotheses = sequent.hypotheses.copy()
    if removed is not None:
        del hypotheses[removed]
    following = sequent.following
    for formula in added:
        hypotheses[following] = formula
        following += 1
    return Sequent(hypotheses, goal, following, len(added))


def _hypothesis(sequent: Sequent, number: int) -> Formula:
    formula = sequent.hypotheses.get(number)
    if formula is None:
        raise RuleRefused(f"there is no hypothesis h{number}.")
    return formula


def _sides(formula: Formula, symbol: str, what: str) -> tuple[Formula, Formula]:
    """Both sides of the formula's main connective, which must be ``symbol``."""
    if formula.symbol != symbol:
        raise RuleRefused(f"{what} {formula.text} is not of the form A {symbol} B.")
    left, right = formula.parts
    return left, right


def _implication_from(sequent: Sequent, number: int, left_symbol: str) -> tuple[Formula, Formula]:
    """The two sides of hypothesis ``number``, an implication whose left side begins with ``left_symbol``."""
    left, right = _sides(_hypothesis(sequent, number), ">", f"h{number}")
    if left.symbol != left_symbol:
        raise RuleRefused(f"the left side of h{number} is {left.text}, which does not begin with {left_symbol}.")
    return left, right


def _bot_left(sequent: Sequent, numbers: tuple[int, ...]) -> Premises:
    if _hypothesis(sequent, numbers[0]).symbol != "F":
        raise RuleRefused(f"h{numbers[0]} is not F.")
    return ()


def _axiom(sequent: Sequent, numbers: tuple[int, ...]) -> Premises:
    if _hypothesis(sequent, numbers[0]).text != sequent.goal.text:
        raise RuleRefused(f"h{numbers[0]} is not the goal {sequent.goal.text}.")
    return ()


def _top_right(sequent: Sequent, _: tuple[int, ...]) -> Premises:
    if sequent.goal.symbol != "T":
        raise RuleRefused(f"the goal {sequent.goal.text} is not T.")
    return ()


def _implication_right(sequent: Sequent, _: tuple[int, ...]) -> Premises:
    left, right = _sides(sequent.goal, ">", "the goal")
    return (_grown(sequent, None, (left,), right),)


def _and_left(sequent: Sequent, numbers: tuple[int, ...]) -> Premises:
    both = _sides(_hypothesis(sequent, numbers[0]), "&", f"h{numbers[0]}")
    return (_grown(sequent, numbers[0], both, sequent.goal),)


def _drop(sequent: Sequent, numbers: tuple[int, ...]) -> Premises:
    _implication_from(sequent, numbers[0], "F")
    return (_grown(sequent, numbers[0], (), sequent.goal),)


def _unit(sequent: Sequent, numbers: tuple[int, ...]) -> Premises:
    _, right = _implication_from(sequent, numbers[0], "T")
    return (_grown(sequent, numbers[0], (right,), sequent.goal),)


def _curry(sequent: Sequent, numbers: tuple[int, ...]) -> Premises:
    pair, right = _implication_from(sequent, numbers[0], "&")
    first, second = pair.parts
    return (_grown(sequent, numbers[0], (implication(first, implication(second, right)),), sequent.goal),)


def _split(sequent: Sequent, numbers: tuple[int, ...]) -> Premises:
    either, right = _implication_from(sequent, numbers[0], "|")
    added = tuple(implication(side, right) for side in either.parts)
    return (_grown(sequent, numbers[0], added, sequent.goal),)


def _modus_ponens(sequent: Sequent, numbers: tuple[int, ...]) -> Premises:
    left, right = _sides(_hypothesis(sequent, numbers[0]), ">", f"h{numbers[0]}")
    if left.symbol not in ATOMS or _hypothesis(sequent, numbers[1]).text != left.text:
        raise RuleRefused(f"h{numbers[1]} is not an atom that h{numbers[0]} begins with.")
    return (_grown(sequent, numbers[0], (right,), sequent.goal),)


def _and_right(sequent: Sequent, _: tuple[int, ...]) -> Premises:
    left, right = _sides(sequent.goal, "&", "the goal")
    return _grown(sequent, None, (), left), _grown(sequent, None, (), right)


def _or_left(sequent: Sequent, numbers: tuple[int, ...]) -> Premises:
    left, right = _sides(_hypothesis(sequent, numbers[0]), "|", f"h{numbers[0]}")
    goal = sequent.goal
    return _grown(sequent, numbers[0], (left,), goal), _grown(sequent, numbers[0], (right,), goal)


def _or_right_first(sequent: Sequent, _: tuple[int, ...]) -> Premises:
    return (_grown(sequent, None, (), _sides(sequent.goal, "|", "the goal")[0]),)


def _or_right_second(sequent: Sequent, _: tuple[int, ...]) -> Premises:
    return (_grown(sequent, None, (), _sides(sequent.goal, "|", "the goal")[1]),)


def _implication_twice(sequent: Sequent, numbers: tuple[int, ...]) -> Premises:
    nested, right = _implication_from(sequent, numbers[0], ">")
    weaker = implication(nested.parts[1], right)
    return _grown(sequent, numbers[0], (weaker,), nested), _grown(sequent, numbers[0], (right,), sequent.goal)


_MEANING: dict[str, Callable[[Sequent, tuple[int, ...]], Premises]] = {
    "botL": _bot_left,
    "ax": _axiom,
    "topR": _top_right,
    "impR": _implication_right,
    "andL": _and_left,
    "drop": _drop,
    "unit": _unit,
    "curry": _curry,
    "split": _split,
    "mp": _modus_ponens,
    "andR": _and_right,
    "orL": _or_left,
    "orR1": _or_right_first,
    "orR2": _or_right_second,
    "impimp": _implication_twice,
}


def premises(sequent: Sequent, rule: str, arguments: tuple[int, ...]) -> Premises:
    """What is left to prove after the rule. RuleRefused where it does not apply."""
    if rule not in RULES:
        raise RuleRefused(f"{rule!r} is no rule; the rules are {', '.join(RULES)}.")
    if len(arguments) != RULES[rule][0]:
        raise RuleRefused(f"{rule} names {RULES[rule][0]} hypotheses, not {len(arguments)}.")
    return _MEANING[rule](sequent, arguments)


def below(sequent: Sequent, node: Derivation) -> Premises:
    """The sequents that the children of a node prove. RuleRefused where its rule does not apply or a proof lacks."""
    left_open = premises(sequent, node.rule, node.arguments)
    if len(left_open) != len(node.children):
        raise RuleRefused(f"{len(left_open)} premises are left, and {len(node.children)} are proved.")
    return left_open


def check(formula: Formula, derivation: Derivation) -> CheckResult:
    """Whether the derivation is a proof of the formula: every premise is computed anew from the formula alone."""
    waiting: list[tuple[Sequent, Derivation, Address]] = [(Sequent({}, formula), derivation, ())]
    while waiting:
        sequent, node, address = waiting.pop()
        try:
            left_open = below(sequent, node)
        except RuleRefused as refused:
            return CheckResult(False, f"{node.rule} does not apply: {refused}", address)
        for which in range(len(left_open) - 1, -1, -1):
            waiting.append((left_open[which], node.children[which], (*address, which)))
    return CheckResult(True)
