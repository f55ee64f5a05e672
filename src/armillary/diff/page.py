"""The page of a diff: the verdict's lines, the instruments' sections in order, and how sure all of it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from armillary.data.sources import DataSource
from armillary.diff.calibration import calibration, card_table
from armillary.diff.effect import Described, Effect, Line, verdict
from armillary.numerics.permutation import holm
from armillary.records.sections import Cell, Finding, Section, Table
from armillary.report.wording import duration, number
from armillary.runs.run import Outcome

LEVEL, MOST_LINES, NAMED = 0.05, 8, 3
"""Chance of any line on a page of two identical models; lines of the verdict; comparisons that its last one names."""

HOW_SURE = "how-sure"
EFFECTS = ["comparison", "change", "low", "high", "unit", "corrected p", "noise floor", "seen from", "in the verdict"]
"""Columns of the table that tells every comparison of the page."""


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What the page says of a run beside what it measured."""

    budget: str
    """As it was asked for: "10m"."""

    floor: str = "base against base, with other seeds and another batch order"
    """How the noise floor was drawn."""

    left_out: Mapping[str, str] = field(default_factory=dict)
    """Why, by what was not run: "restoring": "would take 4 min of 10 min"."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    """What each phase took. Told in a sentence and not in a table: a replay compares tables, and no two runs take
    the same time."""

    peak_gib: float | None = None
    """Largest memory of the process, in GiB; None where it could not be read."""

    rendered: Sequence[str] = ()
    """The first prompts as the models read them, template and all."""

    instruments: Sequence[str] = ()
    """Names of those that were run: of each the page tells how it did on known changes, or that nobody knows."""


def page(
    title: str, described: Sequence[Described], circumstances: Circumstances, sources: Sequence[DataSource] = ()
) -> Outcome:
    """What a record holds of a diff; ``described`` comes in the order of the page."""
    effects = [effect for part in described for effect in part.effects]
    lines = verdict(effects, LEVEL, len(effects))
    return Outcome(
        title=title,
        measures={name: value for part in described for name, value in part.measures.items()},
        findings=findings(effects, lines),
        sections=[*(part.section for part in described), how_sure(effects, lines, circumstances)],
        data=sources,
    )


def first_lines(effects: Sequence[Effect]) -> list[tuple[str, str]]:
    """Kind and text of the lines that the page would open with if these were all of its effects."""
    return [(line.kind, line.text) for line in verdict(effects, LEVEL, MOST_LINES - 1)]


def findings(effects: Sequence[Effect], lines: Sequence[Line]) -> list[Finding]:
    """The verdict as a reader meets it first: its first lines, then what else changed and what was not seen."""
    by_id = {effect.id: effect for effect in effects}
    changes = [
        Finding(
            text=line.text,
            interest=1 - index / (MOST_LINES + 1),
            section=line.section,
            label=line.kind,
            basis=_basis(by_id[line.effect], line.p),
        )
        for index, line in enumerate(lines[: MOST_LINES - 1])
    ]
    return [*changes, Finding(text=_not_seen(effects, lines), interest=0.0, section=HOW_SURE, label="not seen")]


def told(lines: Sequence[Line]) -> set[str]:
    """Ids of the effects that the lines tell of, by themselves or with a stronger one."""
    return {id for line in lines for id in (line.effect, *line.same)}


def _basis(effect: Effect, p: float) -> str:
    """ "+0.410 [0.360, 0.470] bits per byte, corrected p below 0.001, noise floor 0.010"."""
    value, (scale, unit) = effect.value, _scaled(effect.unit)
    if value.low == value.high == value.estimate:
        return f"{number(scale * value.estimate)} {unit}, counted and not sampled"
    known = value.low is not None and value.high is not None
    ends = f" [{number(scale * value.lower)}, {number(scale * value.upper)}]" if known else ""
    change = f"{'+' if value.estimate > 0 else ''}{number(scale * value.estimate)}{ends} {unit}"
    chance = "below 0.001" if p < 1e-3 else number(p)
    return f"{change}, corrected p {chance}, noise floor {number(scale * effect.floor)}"


def _scaled(unit: str) -> tuple[float, str]:
    """By what a value is multiplied for a reader, and the unit then: shares are told in points."""
    return (100.0, "points") if unit.startswith("share") else (1.0, unit)


def _not_seen(effects: Sequence[Effect], lines: Sequence[Line]) -> str:
    if not effects:
        return "Nothing was compared from which a change could be told; the sections below say why."
    seen = told(lines)
    unseen = [effect for effect in effects if effect.id not in seen]
    further = [line.effect.replace("/", ": ") for line in lines[MOST_LINES - 1 :]]
    more = f"{len(further)} more changed ({', '.join(further)}). " if further else ""
    if not unseen:
        return more + f"Everything {'else ' if further else ''}that was compared ({len(effects)}) is told above."
    # One of each section, so that the examples are not all of one kind.
    limits = {effect.id: detectable(effect, len(effects)) for effect in unseen}
    limited = [effect for effect in unseen if limits[effect.id] is not None]
    firsts = list({effect.section: effect for effect in reversed(limited)}.values())[::-1][:NAMED]
    named = ", ".join(
        f"{effect.id.replace('/', ': ')} (would show from {number(scale * limit)} {unit})"
        for effect, (scale, unit) in ((effect, _scaled(effect.unit)) for effect in firsts)
        if (limit := limits[effect.id]) is not None
    )
    such = f", such as {named}" if named else ""
    few = sum(too_few(effect, len(effects)) for effect in unseen)
    such += f"; {few} of these rest on too few prompts, texts or rows to show any" if few else ""
    if not lines:
        return f"No change was seen in anything that was compared ({len(effects)}){such}."
    return f"{more}No change was seen in what else was compared ({len(unseen)}){such}."


def too_few(effect: Effect, comparisons: int, level: float = LEVEL) -> bool:
    """Whether a change by itself could not get into the verdict, however large: where all of n things change in one
    direction, 2 of their 2 ** n patterns of signs are as extreme, and that is the least p there is."""
    value = effect.value
    sampled = value.low is not None and value.low != value.high
    return sampled and comparisons * 2.0 ** (1 - value.n) > level


def detectable(effect: Effect, comparisons: int, level: float = LEVEL, power: float = 0.8) -> float | None:
    """The change that would be in the verdict in 8 of 10 such runs, in the effect's unit; None without an interval,
    where a share would have to change by more than a share can, or where ``too_few`` things were looked at: there
    nothing could have been seen.

    floor + (z(1 - level / 2m) + z(power)) s, with s from the interval's half width, m the comparisons of the page: the
    strictest step of Holm's correction, which a lone change has to pass. Intervals of few or lopsided values make it
    approximate; the calibration on planted changes says how many were found.
    """
    from scipy.stats import norm

    value = effect.value
    # Where not one of few things moved, resampling them gives no width, which is no certainty.
    if value.low is None or value.high is None or value.low == value.high or too_few(effect, comparisons, level):
        return None
    spread = (value.high - value.low) / 2 / norm.ppf((1 + value.level) / 2)
    limit = float(effect.floor + (norm.ppf(1 - level / 2 / max(comparisons, 1)) + norm.ppf(power)) * spread)
    return None if effect.unit.startswith("share") and limit > 1 else limit


def how_sure(effects: Sequence[Effect], lines: Sequence[Line], circumstances: Circumstances) -> Section:
    """Noise floor, corrected chance and limit of detection of every comparison; what was left out; what it cost."""
    seen = told(lines)
    rows: list[list[Cell]] = [
        [effect.id, effect.value.estimate, effect.value.low, effect.value.high, effect.unit, p, effect.floor,
         detectable(effect, len(effects)), effect.id in seen]
        for effect, p in zip(effects, holm([effect.p for effect in effects]), strict=True)
    ]  # fmt: skip
    tables = [
        Table(
            title="Every comparison of this page",
            columns=EFFECTS,
            rows=rows,
            note="A change is in the verdict where its corrected p is at most 0.05 and it is larger than its noise "
            "floor; it tells the first seven. Seen from: the change that would be in it in about 8 of 10 such runs.",
        )
    ]
    if circumstances.instruments:
        tables.append(card_table(calibration(), circumstances.instruments))
    if circumstances.left_out:
        rows = [[what, why] for what, why in circumstances.left_out.items()]
        tables.append(Table(title="What was not run", columns=["what", "why"], rows=rows))
    if circumstances.rendered:
        rows = [[text] for text in circumstances.rendered]
        tables.append(Table(title="The first prompts, as the models read them", columns=["prompt"], rows=rows))
    spent = ", ".join(f"{name} {duration(seconds)}" for name, seconds in circumstances.seconds.items())
    memory = "" if circumstances.peak_gib is None else f" At most {number(circumstances.peak_gib)} GiB were in use."
    return Section(
        id=HOW_SURE,
        title="How sure",
        summary=f"{len(seen)} of {len(effects)} comparisons changed enough for the verdict, chosen so that at most "
        f"{LEVEL:.0%} of the pages of two identical models would have any line. The budget was {circumstances.budget}"
        + (f": {spent}." if spent else ".")
        + memory
        + " The command armillary replay, given this page's folder, runs it again and compares every number.",
        meaning=f"The noise floor is what each comparison gives where nothing changed: {circumstances.floor}. The "
        "corrected p answers how likely so large a change would be by chance anywhere on this page (Holm's "
        "correction over all comparisons). A change that needs to be larger than this model and budget can show is "
        "not ruled out: the column 'seen from' says how large it would have to be, and is empty where so little was "
        "read that no change could have been in the verdict by itself.",
        caution="What no prompt and no text asks about is not seen at any size. A larger budget reads more and lowers "
        "the limits; your own prompts move them to where you look.",
        tables=tables,
    )
