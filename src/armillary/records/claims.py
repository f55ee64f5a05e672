"""A paper's claim as an object: what it says, what we measure for it, the rule that decides, and the verdict.

What a verdict needs to carry is part of the claim: the controls that must succeed before anything can be judged, what
an effect of nothing would give, and one condition on intervals.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal

from armillary.numerics.intervals import Interval

Verdict = Literal["holds", "fails", "undecided", "not tested"]
"""``not tested``: a measure that the claim needs was not taken."""

Reason = Literal["", "model too small", "interval too wide", "control failed"]
"""Why a claim is undecided; empty beside another verdict, and in records made before reasons were told."""

Measures = Mapping[str, Interval]


@dataclass(frozen=True)
class Rule:
    """One condition on intervals, or the same on several: settled only where a whole interval is on one side."""

    needs: tuple[str, ...]
    """The measures that it reads."""

    decide: Callable[[Measures], Verdict]

    limits: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """The numbers that each measure is held against, so that it is shown to the digits that decide."""

    def __call__(self, measures: Measures) -> Verdict:
        return self.decide(measures)


@dataclass(frozen=True, kw_only=True)
class Control:
    """What must have succeeded before a claim can be judged: the task was learned, or something was lost."""

    what: str
    """In words, with its number."""

    rule: Rule | None
    """Passed where it holds; None for a claim that needs no control, whose ``what`` says why."""

    otherwise: Literal["control failed", "model too small"] = "control failed"
    """Why the claim is undecided where the control does not hold."""


def no_control(why: str) -> tuple[Control, ...]:
    """The controls of a claim that can be judged whatever happens, as that on a time can."""
    return (Control(what=why, rule=None),)


@dataclass(frozen=True)
class Claim:
    """A statement of a paper together with the rule, written before the run, that decides it at our scale."""

    id: str
    statement: str
    """What the paper says, in one sentence."""

    quantity: str
    """What we measure for it at this scale."""

    rule: str
    """The rule of ``decide`` in words, with the reason for its number."""

    decide: Rule
    """The one condition that decides."""

    _: KW_ONLY
    paper: str = ""
    """The paper's own figure and where it stands; empty where it gives none."""

    controls: tuple[Control, ...]
    """What must have succeeded first; ``no_control`` where nothing must."""

    null: str
    """What an effect of nothing would give, and how that was drawn: permuted labels, random weights, a baseline."""

    needs: tuple[str, ...] = ()
    """Names of further measures, shown beside those that decide."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every measure that decides, stands for a control or is shown, in this order."""
        controls = [name for control in self.controls if control.rule for name in control.rule.needs]
        return tuple(dict.fromkeys((*self.decide.needs, *controls, *self.needs)))

    def __post_init__(self) -> None:
        if not self.controls or not self.null.strip():
            raise ValueError(
                f"Claim {self.id!r} must name what had to succeed first (or no_control with the reason) and its null."
            )


@dataclass(frozen=True, kw_only=True)
class ControlResult:
    """A control and whether it held."""

    what: str
    held: bool


@dataclass(frozen=True, kw_only=True)
class ClaimResult:
    """A judged claim as plain data."""

    id: str
    statement: str
    paper: str
    quantity: str
    rule: str
    verdict: Verdict
    reason: Reason = ""
    measured: dict[str, Interval] = field(default_factory=dict)
    limits: dict[str, list[float]] = field(default_factory=dict)
    """By measure, the numbers that it was held against."""

    controls: list[ControlResult] = field(default_factory=list)
    null: str = ""
    note: str = ""

    @property
    def outcome(self) -> str:
        """The verdict with its reason: "undecided: control failed"."""
        return f"{self.verdict}: {self.reason}" if self.reason else self.verdict


def judge(claims: Sequence[Claim], measures: Measures, notes: Mapping[str, str] | None = None) -> list[ClaimResult]:
    """One result a claim, in order; ``notes`` adds a sentence to the claim of that id.

    A claim with a measure that is missing or not a number is not tested, and its note says which. A claim with a
    control that does not hold is undecided, whatever its rule would say.

    Raises:
        ValueError: two claims share an id, or a note belongs to no claim.
    """
    notes = notes or {}
    ids = [claim.id for claim in claims]
    if len(set(ids)) < len(ids):
        raise ValueError(f"Each claim needs an id of its own; got {ids}.")
    if stray := set(notes) - set(ids):
        raise ValueError(f"Notes for {sorted(stray)} belong to no claim; the claims are {ids}.")
    return [_judge(claim, measures, notes.get(claim.id, "")) for claim in claims]


def _judge(claim: Claim, measures: Measures, note: str) -> ClaimResult:
    measured = {name: measures[name] for name in claim.names if name in measures}
    known = {name for name, interval in measured.items() if interval.estimate == interval.estimate}
    missing = [name for name in claim.names if name not in known]
    controls: list[ControlResult] = []
    verdict: Verdict
    reason: Reason = ""
    if missing:
        verdict = "not tested"
        note = f"Not measured: {', '.join(missing)}. {note}".strip()
    else:
        controls = [
            ControlResult(what=control.what, held=control.rule is None or control.rule(measured) == "holds")
            for control in claim.controls
        ]
        failed = [control for control, result in zip(claim.controls, controls, strict=True) if not result.held]
        if failed:
            # A model too small for the task explains the other controls that failed.
            reasons = {control.otherwise for control in failed}
            verdict, reason = "undecided", "model too small" if "model too small" in reasons else "control failed"
            note = f"Not so: {'; '.join(control.what for control in failed)}. {note}".strip()
        else:
            verdict = claim.decide(measured)
            reason = "interval too wide" if verdict == "undecided" else ""
    return ClaimResult(
        id=claim.id,
        statement=claim.statement,
        paper=claim.paper,
        quantity=claim.quantity,
        rule=claim.rule,
        verdict=verdict,
        reason=reason,
        measured=measured,
        limits={name: numbers for name, numbers in _limits(claim).items() if name in measured},
        controls=controls,
        null=claim.null,
        note=note,
    )


def _limits(claim: Claim) -> dict[str, list[float]]:
    rules = [claim.decide, *(control.rule for control in claim.controls)]
    limits: dict[str, list[float]] = {}
    for rule in rules:
        for name, numbers in (rule.limits if rule else {}).items():
            limits.setdefault(name, []).extend(number for number in numbers if number not in limits[name])
    return limits


# The conditions. Each is settled only by a whole interval; what lies across a limit is too wide.


def settled(*, holds: bool, fails: bool) -> Verdict:
    """The verdict where a failure counts first, and what neither fails nor holds is undecided."""
    return "fails" if fails else "holds" if holds else "undecided"


def above(name: str, value: float = 0.0) -> Rule:
    """Holds when the whole interval is above the value, fails when it is all at or below."""
    return above_each([name], value)


def below(name: str, value: float = 0.0) -> Rule:
    """Holds when the whole interval is below the value, fails when it is all at or above."""
    return below_each([name], value)


def at_most(name: str, value: float = 0.0) -> Rule:
    """Holds when the interval ends at the value or below, fails when it begins above."""
    return _each([name], (value,), holds=lambda i: i.upper <= value, fails=lambda i: i.lower > value)


def equal(name: str, within: float, to: float = 0.0) -> Rule:
    """Equivalence: holds when the whole interval is within the bound, fails when it is all beyond."""
    return equal_each([name], within, to)


def above_each(names: Sequence[str], value: float = 0.0) -> Rule:
    """``above`` of each of several measures: holds when it does for all, fails when it fails for one."""
    return _each(names, (value,), holds=lambda i: i.lower > value, fails=lambda i: i.upper <= value)


def below_each(names: Sequence[str], value: float = 0.0) -> Rule:
    """``below`` of each of several measures: holds when it does for all, fails when it fails for one."""
    return _each(names, (value,), holds=lambda i: i.upper < value, fails=lambda i: i.lower >= value)


def equal_each(names: Sequence[str], within: float, to: float = 0.0) -> Rule:
    """``equal`` of each of several measures: holds when it does for all, fails when it fails for one."""
    low, high = to - within, to + within
    return _each(
        names,
        (low, high),
        holds=lambda i: low <= i.lower and i.upper <= high,
        fails=lambda i: i.upper < low or i.lower > high,
    )


def beyond(name: str, null: str) -> Rule:
    """Against a drawn null, itself a measure: holds when the interval begins above the null's end, fails when it ends
    at or below the null's beginning."""
    return Rule(
        (name, null),
        lambda m: settled(holds=m[name].lower > m[null].upper, fails=m[name].upper <= m[null].lower),
    )


def short_of(name: str, null: str) -> Rule:
    """Against a drawn null: holds when the interval ends below the null's beginning, fails when it begins at or above
    the null's end."""
    return Rule(
        (name, null),
        lambda m: settled(holds=m[name].upper < m[null].lower, fails=m[name].lower >= m[null].upper),
    )


def _each(
    names: Sequence[str],
    limits: tuple[float, ...],
    *,
    holds: Callable[[Interval], bool],
    fails: Callable[[Interval], bool],
) -> Rule:
    def decide(m: Measures) -> Verdict:
        intervals = [m[name] for name in names]
        return settled(holds=all(map(holds, intervals)), fails=any(map(fails, intervals)))

    return Rule(tuple(names), decide, dict.fromkeys(names, limits))
