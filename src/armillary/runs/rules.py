"""Rules by which claims are decided from intervals: a claim is settled only where a whole interval is on one side."""

from collections.abc import Callable, Mapping

from armillary.numerics.intervals import Interval
from armillary.runs.claims import Verdict

Measures = Mapping[str, Interval]
Rule = Callable[[Measures], Verdict]


def above(name: str, value: float = 0.0) -> Rule:
    """Holds when the whole interval is above the value, fails when it is all at or below."""

    def decide(m: Measures) -> Verdict:
        return "holds" if m[name].lower > value else "fails" if m[name].upper <= value else "undecided"

    return decide


def below(name: str, value: float = 0.0) -> Rule:
    """Holds when the whole interval is below the value, fails when it is all at or above."""

    def decide(m: Measures) -> Verdict:
        return "holds" if m[name].upper < value else "fails" if m[name].lower >= value else "undecided"

    return decide


def at_most(name: str, value: float = 0.0) -> Rule:
    """Holds when the interval ends at the value or below, fails when it begins above."""

    def decide(m: Measures) -> Verdict:
        return "holds" if m[name].upper <= value else "fails" if m[name].lower > value else "undecided"

    return decide


def every(*rules: Rule) -> Rule:
    """Fails when one rule does, holds when all do."""

    def decide(m: Measures) -> Verdict:
        verdicts = {rule(m) for rule in rules}
        return "fails" if "fails" in verdicts else "undecided" if "undecided" in verdicts else "holds"

    return decide
