"""What an instrument of a diff hands on: a section of the page, and effects that may become lines of the verdict.

An instrument is two functions. ``measure`` looks at the evidence (files, scores, answers) and returns a dataclass of
plain fields, which is kept, so that a killed run goes on after the last finished instrument. ``describe`` turns that
into words, pictures and effects, and needs no model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from armillary.numerics.intervals import Interval
from armillary.numerics.permutation import holm
from armillary.records.sections import Section

if TYPE_CHECKING:
    from armillary.diff.evidence import Evidence
    from armillary.diff.plan import Sizes

ResultT = TypeVar("ResultT")

TELLING: Mapping[str, float] = {
    "share": 0.05,  # one answer in twenty
    "nats a token": 0.05,  # words are 5 % likelier or less likely
    "bits per byte": 0.02,  # about the same: four bytes a token, and ln 2 nats a bit
    "words": 1.0,
    "layers": 1.0,
    "things": 1.0,
    "%": 1.0,
}
"""The least change that a reader would call one, by the first words of a unit. Lines are ranked in units of the noise
floor or of this, whichever is more: where base against base differs by nothing but rounding, a floor of 1e-4 would put
the smallest drift before half of the answers lost."""

Kind = Literal["learned", "forgot", "drifted", "where", "reads differently"]

Needs = Literal["files", "scores", "answers", "blocks", "after answers"]
"""What an instrument waits for, in the order in which it comes to be there.

- files: the models' files alone, before any forward pass.
- scores: texts, prompts' answers and their scores by both models.
- answers: the same; says that only ``Evidence.answers`` is read.
- blocks: after is still in memory (``Evidence.opened("after")``) and base's tensors are read from its files.
- after answers: the scores that base gives to after's answers, for which base is opened a second time.
"""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A candidate line of the verdict."""

    id: str
    """Instrument and what it looked at: "kept/arithmetic"."""

    kind: Kind
    sentence: str
    """ "It lost arithmetic: 12 of 40 sums right before are wrong now."; its numbers come from ``value``."""

    value: Interval
    """Paired, in ``unit``."""

    unit: str
    p: float
    """Two-sided, of "no change beyond the floor": by turned signs, permutation or exact binomial, never from a normal
    distribution where n < 30 (``numerics.permutation``)."""

    floor: float
    """The |value| that base against base stays below in 95 of 100 comparisons."""

    section: str
    """Id of the section that shows it."""

    finding: str = ""
    """What it would tell a reader, where another effect may tell the same ("tickets learned"): of those that do, the
    strongest has a line."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the verdict."""

    kind: Kind
    text: str
    section: str
    effect: str
    """Id of the effect."""

    p: float
    """Corrected for every effect of the page."""

    bound: float
    """The end of the corrected interval that is nearer to 0, in the effect's unit; 0 where the interval holds 0."""

    floors: float
    """``bound`` in units of the noise floor, which counts as no less than ``TELLING``."""

    same: tuple[str, ...] = ()
    """Ids of weaker effects that found the same."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """What one instrument adds to the page."""

    section: Section
    effects: list[Effect] = field(default_factory=list)
    measures: dict[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Instrument(Generic[ResultT]):
    """One thing that a diff looks at; listed in ``diff.run.INSTRUMENTS``, in the order of the page."""

    name: str
    result: type[ResultT]
    """Read back from the kept parts of a run, so a dataclass of plain fields (see ``records.plain``)."""

    needs: Needs
    measure: "Callable[[Evidence], ResultT]"
    describe: Callable[[ResultT], Described]
    """Its section's id is ``name``, or begins with it."""

    cost: "Callable[[Sizes], float]"
    """Seconds on the plan's nominal machine beyond what the phases take anyway; 0 where it only counts what is there.
    What no longer fits into the budget is left out, and the page says so."""

    always: bool = False
    """Whether it is measured whatever it costs: without it a reader can't tell what is compared."""


def verdict(effects: Sequence[Effect], level: float = 0.05, most: int = 8) -> list[Line]:
    """The lines of the verdict: effects that survive Holm's correction over all of the page and exceed their floor.

    Ranked by the corrected lower bound in units of the floor. Of effects with one ``finding`` the first has the line.
    The best line of each section comes before the second of any, so that an instrument of many lines does not hide
    the others; but what is sure and yet smaller than a reader would call a change comes after all that is not.
    """
    corrected = holm([effect.p for effect in effects])
    lines = [
        _line(effect, p, len(effects), level)
        for effect, p in zip(effects, corrected, strict=True)
        if p <= level and abs(effect.value.estimate) > effect.floor
    ]
    lines = _once(sorted(lines, key=lambda line: (-line.floors, line.p)), {one.id: one.finding for one in effects})
    turn: dict[str, int] = {}
    places = []
    for line in lines:
        turn[line.section] = turn.get(line.section, -1) + 1
        places.append((line.floors < 1, turn[line.section]))
    return [line for _, line in sorted(zip(places, lines, strict=True), key=lambda pair: pair[0])][:most]


def _once(lines: Sequence[Line], findings: Mapping[str, str]) -> list[Line]:
    """The first line of each finding, with the others' ids; a line without one is a finding of its own."""
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(findings[line.effect] or f"only {line.effect}", []).append(line)
    return [replace(first, same=tuple(line.effect for line in others)) for first, *others in groups.values()]


def _line(effect: Effect, p: float, count: int, level: float) -> Line:
    from scipy.stats import norm

    # The 95 % interval stretched as a normal one would be: only the order of lines rests on it.
    stretch = norm.ppf(1 - level / 2 / count) / norm.ppf((1 + effect.value.level) / 2)
    estimate = effect.value.estimate
    near = effect.value.lower if estimate > 0 else effect.value.upper
    bound = max(0.0, abs(estimate) - abs(estimate - near) * float(stretch))
    return Line(
        kind=effect.kind,
        text=effect.sentence,
        section=effect.section,
        effect=effect.id,
        p=p,
        bound=bound,
        floors=bound / max(effect.floor, telling(effect.unit)),
    )


def apart(now: float, before: float, form: str) -> tuple[str, str]:
    """Both numbers in ``form`` (".2f", ".0%"), with as many more digits as it takes until they read differently."""
    sides = format(now, form), format(before, form)
    for digits in range(int(form[1:-1]) + 1, int(form[1:-1]) + 4):
        if sides[0] == sides[1]:
            sides = format(now, f".{digits}{form[-1]}"), format(before, f".{digits}{form[-1]}")
    return sides


def telling(unit: str) -> float:
    """``TELLING`` of a unit; 1 in one that it does not name."""
    return next((value for start, value in TELLING.items() if unit.startswith(start)), 1.0)
