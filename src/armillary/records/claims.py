"""A paper's claim as an object: what it says, what we measure for it, the rule that decides, and the verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from armillary.numerics.intervals import Interval

Verdict = Literal["holds", "fails", "undecided"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement of a paper together with the rule, written before the run, that decides it at our scale."""

    id: str
    statement: str
    """What the paper says, in one sentence."""

    paper: str = ""
    """The paper's own figure and where it stands; empty where it gives none."""

    quantity: str
    """What we measure for it at this scale."""

    rule: str
    """The rule of ``decide`` in words."""

    decide: Callable[[Mapping[str, Interval]], Verdict]
    """From the measures named in ``needs`` to the verdict."""

    needs: tuple[str, ...] = ()
    """Names of the measures that ``decide`` reads or that are shown beside it; a ``Rule`` names its own."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every measure that decides or is shown, those of the rule first."""
        own = self.decide.needs if isinstance(self.decide, Rule) else ()
        return tuple(dict.fromkeys((*own, *self.needs)))


@dataclass(frozen=True, kw_only=True)
class ClaimResult:
    """A judged claim as plain data."""

    id: str
    statement: str
    paper: str
    quantity: str
    rule: str
    verdict: Verdict
    measured: dict[str, Interval] = field(default_factory=dict)
    note: str = ""


def judge(
    claims: Sequence[Claim], measures: Mapping[str, Interval], notes: Mapping[str, str] | None = None
) -> list[ClaimResult]:
    """One result a claim, in order; ``notes`` adds a sentence to the claim of that id.

    A claim with a measure that is missing or not a number is undecided, and its note says which.

    Raises:
        ValueError: two claims share an id, a note belongs to no claim, or a rule gave no verdict.
    """
    notes = notes or {}
    ids = [claim.id for claim in claims]
    if len(set(ids)) < len(ids):
        raise ValueError(f"Each claim needs an id of its own; got {ids}.")
    if stray := set(notes) - set(ids):
        raise ValueError(f"Notes for {sorted(stray)} belong to no claim; the claims are {ids}.")
    return [_judge(claim, measures, notes.get(claim.id, "")) for claim in claims]


def _judge(claim: Claim, measures: Mapping[str, Interval], note: str) -> ClaimResult:
    measured = {name: measures[name] for name in claim.names if name in measures}
    known = {name for name, interval in measured.items() if interval.estimate == interval.estimate}
    missing = [name for name in claim.names if name not in known]
    if missing:
        verdict: Verdict = "undecided"
        note = f"Not measured: {', '.join(missing)}. {note}".strip()
    else:
        verdict = claim.decide(measured)
        if verdict not in get_args(Verdict):
            raise ValueError(
                f"The rule of claim {claim.id!r} gave {verdict!r}; accepted: {', '.join(get_args(Verdict))}."
            )
    return ClaimResult(
        id=claim.id,
        statement=claim.statement,
        paper=claim.paper,
        quantity=claim.quantity,
        rule=claim.rule,
        verdict=verdict,
        measured=measured,
        note=note,
    )


# Rules by which claims are decided from intervals: a claim is settled only where a whole interval is on one side.

Measures = Mapping[str, Interval]


@dataclass(frozen=True)
class Rule:
    """A decision that knows which measures it reads."""

    needs: tuple[str, ...]
    decide: Callable[[Measures], Verdict]

    def __call__(self, measures: Measures) -> Verdict:
        return self.decide(measures)


def settled(*, holds: bool, fails: bool) -> Verdict:
    """The verdict where a failure counts first, and what neither fails nor holds is undecided."""
    return "fails" if fails else "holds" if holds else "undecided"


def reading(*names: str) -> Callable[[Callable[..., Verdict]], Rule]:
    """Makes the function below it the rule that is given the intervals of these measures, in this order."""
    return lambda decide: Rule(names, lambda m: decide(*(m[name] for name in names)))


def above(name: str, value: float = 0.0) -> Rule:
    """Holds when the whole interval is above the value, fails when it is all at or below."""
    return Rule((name,), lambda m: settled(holds=m[name].lower > value, fails=m[name].upper <= value))


def below(name: str, value: float = 0.0) -> Rule:
    """Holds when the whole interval is below the value, fails when it is all at or above."""
    return Rule((name,), lambda m: settled(holds=m[name].upper < value, fails=m[name].lower >= value))


def at_most(name: str, value: float = 0.0) -> Rule:
    """Holds when the interval ends at the value or below, fails when it begins above."""
    return Rule((name,), lambda m: settled(holds=m[name].upper <= value, fails=m[name].lower > value))


def every(*rules: Rule) -> Rule:
    """Fails when one rule does, holds when all do."""

    def decide(m: Measures) -> Verdict:
        verdicts = {rule(m) for rule in rules}
        return settled(holds=verdicts == {"holds"}, fails="fails" in verdicts)

    return Rule(tuple(name for rule in rules for name in rule.needs), decide)
