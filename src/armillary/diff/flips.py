"""Instrument: answers that were right and are wrong now, or wrong and are right now, side by side."""

from dataclasses import dataclass

import numpy as np

from armillary.diff.answers.marking import is_right
from armillary.diff.effect import Described, Effect, Instrument, Kind
from armillary.diff.evidence import Evidence
from armillary.diff.side_by_side import parted, words
from armillary.numerics.intervals import Interval, binomial
from armillary.numerics.permutation import paired_change
from armillary.records.sections import AnswerPair, AnswerPairs, Figure, Section, Table

LEAST = 5
"""Prompts of a tag with a known answer, below which the tag has no line of its own."""

SHOWN = 40
"""Pairs of answers on the page: flips first, then those that differ most."""


@dataclass(frozen=True, kw_only=True)
class Flip:
    """Both models' likeliest answers to one prompt."""

    prompt: str
    tag: str
    wanted: str
    before: str
    after: str
    pair: tuple[str, tuple[str, str], tuple[str, str]]
    """What both begin with; of each the first token of its own and the rest."""

    shared: int
    """Tokens that both begin with."""

    was_right: bool | None
    is_right: bool | None
    again_right: bool | None
    """Of base in its second reading."""

    divergence: float | None
    """Mean KL (nats a token) over base's answer; None where the models have different tokens."""


@dataclass(frozen=True, kw_only=True)
class Flips:
    """All prompts, and the change of the share of right answers by tag."""

    rows: list[Flip]
    before_name: str
    after_name: str
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class _Change:
    tag: str
    right: int
    lost: int
    gained: int
    count: int
    value: Interval
    p: float
    floor: float


def measure(evidence: Evidence) -> Flips:
    """Marks both greedy answers of every prompt."""
    before, after = evidence.replies["base", "greedy"], evidence.replies["after", "greedy"]
    again = evidence.replies["again", "greedy"]
    crossed = evidence.crossed["after", "base", "greedy"]
    mean = crossed.sums(crossed.estimate) / np.maximum(1, crossed.lengths)
    rows = []
    for index, prompt in enumerate(evidence.prompts):
        texts = before.texts[index], after.texts[index]
        # In words: they do not depend on either tokenizer.
        shared_text, one, other, shared = parted(*map(words, texts))
        rows.append(
            Flip(
                prompt=prompt.request,
                tag=prompt.tag,
                wanted=prompt.answer or "",
                before=texts[0],
                after=texts[1],
                pair=(shared_text, one, other),
                shared=shared,
                was_right=is_right(prompt, texts[0]),
                is_right=is_right(prompt, texts[1]),
                again_right=is_right(prompt, again.texts[index]),
                divergence=float(mean[index]) if evidence.same_tokens else None,
            )
        )
    names = {side: origin.name for side, origin in evidence.pair.origins.items()}
    return Flips(rows=rows, before_name=names["base"], after_name=names["after"], seed=evidence.config.seed)


def changes(result: Flips) -> list[_Change]:
    """Of each tag with enough known answers, and of all together where there are several tags."""
    known = [row for row in result.rows if row.was_right is not None]
    groups: dict[str, list[Flip]] = {}
    for row in known:
        groups.setdefault(row.tag, []).append(row)
    if len(groups) > 1:
        groups["all prompts"] = known
    return [_change(tag, rows, result.seed) for tag, rows in groups.items() if len(rows) >= LEAST]


def unmoved(count: int) -> Interval:
    """The change of a share where none of ``count`` things changed: what so few could have missed either way."""
    missed = binomial(0, count).upper
    return Interval(estimate=0.0, low=-missed, high=missed, n=count, how=f"exact binomial, none of {count} changed")


def _change(tag: str, rows: list[Flip], seed: int) -> _Change:
    was = np.array([bool(row.was_right) for row in rows], float)
    now = np.array([bool(row.is_right) for row in rows], float)
    again = np.array([bool(row.again_right) for row in rows], float)
    # One answer is the least that can differ.
    change = paired_change(now, was, again, seed=seed, least=1 / len(rows))
    value = change.value if change.value.low != change.value.high else unmoved(len(rows))
    return _Change(
        tag=tag,
        right=int(was.sum()),
        lost=int((was > now).sum()),
        gained=int((now > was).sum()),
        count=len(rows),
        value=value,
        p=change.p,
        floor=change.floor,
    )


def _effect(change: _Change) -> Effect:
    kind: Kind = "forgot" if change.value.estimate < 0 else "learned"
    what = "answers" if change.tag == "all prompts" else change.tag
    if kind == "forgot":
        sentence = f"It lost {what}: {change.lost} of {change.right} right before are wrong now"
        sentence += f", {change.gained} the other way round." if change.gained else "."
    else:
        wrong = change.count - change.right
        sentence = f"It gained {what}: {change.gained} of {wrong} wrong before are right now"
        sentence += f", {change.lost} the other way round." if change.lost else "."
    return Effect(
        id=f"flips/{change.tag}",
        kind=kind,
        sentence=sentence,
        value=change.value,
        unit="share of answers that are right",
        p=change.p,
        floor=change.floor,
        section="flips",
        finding=f"{change.tag} {kind}",
    )


def describe(result: Flips) -> Described:
    """Flips side by side, the lost ones first, and the share of right answers by tag."""
    by_tag = changes(result)
    effects = [_effect(change) for change in by_tag]
    known = [row for row in result.rows if row.was_right is not None]
    lost = sum(row.was_right is True and row.is_right is False for row in known)
    gained = sum(row.was_right is False and row.is_right is True for row in known)
    summary = (
        f"Of {len(known)} prompts with a known answer, {lost} were answered right before and wrong now, {gained} "
        "wrong before and right now."
        if known
        else "No prompt has a known answer, so the answers are shown by how far they differ."
    )
    rows = sorted(result.rows, key=_order)
    differing = sum(row.before != row.after for row in result.rows)
    figure = Figure(
        title="Answers side by side",
        data=AnswerPairs(
            rows=[_row(row) for row in rows[:SHOWN] if row.before != row.after],
            numbers=["words in common", "divergence (nats a token)"],
            before_name=result.before_name,
            after_name=result.after_name,
        ),
        alt=f"{differing} of {len(result.rows)} answers differ; the flips come first.",
    )
    table = Table(
        title="Right answers by kind of prompt",
        columns=["kind", "prompts", "right before", "lost", "gained", "change", "low", "high"],
        rows=[
            [c.tag, c.count, c.right, c.lost, c.gained, c.value.estimate, c.value.low, c.value.high] for c in by_tag
        ],
    )
    section = Section(
        id="flips",
        title="Flips",
        summary=summary,
        meaning="Both models answer each prompt with their likeliest words. A flip is an answer that a fixed rule "
        "calls right on one side and wrong on the other; where the answers part is marked.",
        caution="The rule looks for the known answer in the text: it can miss a right answer in other words. Answers "
        "are cut off after the same number of tokens for both.",
        figures=[figure] if differing else [],
        tables=[table] if by_tag else [],
    )
    measures = {f"flips/{change.tag}": change.value for change in by_tag}
    return Described(section=section, effects=effects, measures=measures)


def _order(row: Flip) -> tuple[int, float]:
    turn = 0 if row.was_right and row.is_right is False else 1 if row.is_right and row.was_right is False else 2
    return turn, -(row.divergence or 0.0)


def _row(row: Flip) -> AnswerPair:
    words_of = {True: "right", False: "wrong"}
    change, turn = "", "neither"
    if row.was_right is not None and row.is_right is not None and row.was_right != row.is_right:
        change = f"{words_of[row.was_right]}, now {words_of[row.is_right]}"
        turn = "worse" if row.was_right else "better"
    shared, before, after = row.pair
    return AnswerPair(
        prompt=row.prompt,
        shared=shared,
        before=before,
        after=after,
        change=change,
        turn="worse" if turn == "worse" else "better" if turn == "better" else "neither",
        group=row.tag,
        wanted=row.wanted,
        numbers=[row.shared, row.divergence],
    )


FLIPS = Instrument(
    name="flips", result=Flips, needs="answers", measure=measure, describe=describe, cost=lambda sizes: 0.0
)
