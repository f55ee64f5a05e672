"""Instruments: what was kept and what forgotten, by the texts and by the questions of each group.

Texts are read by both models, and what a text costs is counted in bits per byte, paired text by text: the unit is
what was drawn independently. Questions with answers to choose from are scored by likelihood, without generating: what
counts is the right answer's share of the probability of all choices. A share is bounded, so that no single question
with an odd choice decides a group. Of requests that may be refused the same is done with beginnings that refuse.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from armillary.diff.effect import Described, Effect, Instrument, Kind, apart
from armillary.diff.prompts import LEAST_TEXTS, Prompt
from armillary.numerics.intervals import Interval, bootstrap_mean
from armillary.numerics.permutation import noise_floor, sign_flip_p
from armillary.records.sections import Cell, Figure, Section, Table, interval_bars

if TYPE_CHECKING:
    from armillary.diff.evidence import Evidence

PIECE_TOKENS = 24
"""Tokens of a piece of a group that has too few texts, about a sentence: shorter ones would depend on each other more,
longer ones be fewer."""

LEAST = 4
"""Pieces or questions of a group below which no interval means anything."""


@dataclass(frozen=True, kw_only=True)
class GroupValues:
    """A number of the same pieces or questions by each model."""

    name: str
    things: int
    """Texts or questions that the values come from."""

    base: list[float]
    after: list[float]
    noise: list[float]
    """Base a second time minus base, of those that were looked at twice."""

    least: float = 0.0
    """Least noise floor: what rounding alone may give."""

    right: tuple[int, int] = (0, 0)
    """Questions whose right answer is the likeliest choice for base and for after."""

    lost: int = 0
    """Right before and wrong now."""

    independent: bool = True
    """False for pieces of the same text: their interval is too narrow, and no line of the verdict rests on it."""

    def change(self) -> Interval:
        """Mean of after - base."""
        how = f"paired bootstrap over {len(self.base):,} values of {self.things:,}"
        return bootstrap_mean(np.subtract(self.after, self.base), seed=0, how=how)

    def floor(self) -> float:
        """What |change| stays below where base is compared with itself."""
        return max(self.least, noise_floor(self.noise, seed=0))

    def effect(self, id: str, kind: Kind, sentence: str, unit: str, section: str, finding: str = "") -> Effect:
        """The change as a candidate line; the arguments are those of ``Effect``."""
        floor = self.floor()
        p = sign_flip_p(np.subtract(self.after, self.base), beyond=floor, seed=0)
        value = self.change()
        return Effect(
            id=id, kind=kind, sentence=sentence, value=value, unit=unit, p=p, floor=floor, section=section,
            finding=finding,
        )  # fmt: skip


# Texts.


@dataclass(frozen=True, kw_only=True)
class TextSurvey:
    """Bits per byte of each group's texts, or of pieces where a group has too few texts."""

    groups: list[GroupValues]
    too_few: dict[str, int]
    """Groups with too few of both, and how many texts or pieces they have."""


def measure_texts(evidence: "Evidence") -> TextSurvey:
    """From the log-probabilities that both models left."""
    base, after, again = evidence.text_scores, evidence.text_crossed["after"], evidence.text_crossed["again"]
    twice = {int(text): row for row, text in enumerate(evidence.again_texts)}
    columns: dict[str, list[list[float]]] = {}
    texts = Counter(text.name for text in evidence.texts)
    whole = {name for name, count in texts.items() if count >= LEAST_TEXTS}
    whole -= {text.name for text in evidence.texts if not text.whole}
    tokens, sizes = base.lengths, evidence.text_bytes["base"]
    least = evidence.rounding / math.log(2) * float(np.sum(tokens)) / max(1, sum(sizes))
    for index, text in enumerate(evidence.texts):
        size, size_after = (evidence.text_bytes[side][index] for side in ("base", "after"))
        own = base.logprob[base.place(index)]
        # Other tokens are cut elsewhere, so that pieces of the two would not be the same.
        cut = text.name not in whole and evidence.same_tokens
        count = max(1, round(len(own) / PIECE_TOKENS)) if cut else 1
        sides = [piece_bits(own, size, count), piece_bits(after.logprob[after.place(index)], size_after, count)]
        second = [math.nan] * count
        if index in twice:
            second = piece_bits(again.logprob[again.place(twice[index])], size, count)
        columns.setdefault(text.name, []).extend(map(list, zip(*sides, second, strict=True)))
    groups = []
    for name, rows in columns.items():
        own_bits, after_bits, again_bits = np.array(rows).T
        noise = (again_bits - own_bits)[~np.isnan(again_bits)]
        if len(rows) >= LEAST:
            groups.append(
                GroupValues(
                    name=name,
                    things=texts[name],
                    base=own_bits.tolist(),
                    after=after_bits.tolist(),
                    noise=noise.tolist(),
                    least=least,
                    independent=name in whole,
                )
            )
    return TextSurvey(groups=groups, too_few={name: len(rows) for name, rows in columns.items() if len(rows) < LEAST})


def piece_bits(logprob_N: NDArray[np.floating], size: int, count: int) -> list[float]:
    """Bits per byte of ``count`` pieces, about equally long, of a text of ``size`` bytes.

    ``logprob_N``: nats of its tokens. Every token counts as many bytes as the text has on average, so that the mean
    over pieces is about what the whole text costs.
    """
    bytes_per_token = size / max(1, len(logprob_N))
    pieces = np.array_split(np.asarray(logprob_N, np.float64), count)
    return [float(-piece.sum() / math.log(2) / (bytes_per_token * max(1, len(piece)))) for piece in pieces]


def describe_texts(survey: TextSurvey) -> Described:
    """Bars and a table by group, and an effect for each."""
    effects = []
    for group in survey.groups:
        before, now = float(np.mean(group.base)), float(np.mean(group.after))
        worse = now > before
        costs, cost = apart(now, before, ".2f")
        sentence = f"It reads {group.name} {'worse' if worse else 'better'}: {costs} bits per byte, before {cost}."
        kind: Kind = "forgot" if worse else "learned"
        if not group.independent:
            continue
        effects.append(group.effect(f"texts/{group.name}", kind, sentence, "bits per byte", "texts"))
    return Described(
        section=Section(
            id="texts",
            title="Kept and forgotten: texts",
            summary=_summary(effects, "texts", "read worse", "read better"),
            meaning="Both models read the same texts, and each token costs as many bits as it surprises them. A bar "
            "to the right is a group of texts that cost more bits per byte than before: the model has become worse "
            "at predicting them. Bytes make texts and tokenizers comparable.",
            caution="A text that was learned by heart costs little without anything being understood. Texts that a "
            "tuned model never writes, such as plain prose for a chat model, often cost more after tuning, and its "
            "answers need not be worse for it. Each text counts once, however long it is.",
            figures=[_figure("Change of bits per byte", survey.groups, "after minus before, bits per byte")]
            if survey.groups
            else [],
            tables=[_text_table(survey)],
        ),
        effects=effects,
        measures={f"texts/{group.name}": group.change() for group in survey.groups},
    )


def _text_table(survey: TextSurvey) -> Table:
    rows: list[list[Cell]] = []
    for group in survey.groups:
        value = group.change()
        row: list[Cell] = [float(np.mean(group.base)), float(np.mean(group.after)), value.estimate, value.low]
        rows.append([group.name, *row, value.high, group.things])
    left_out = ", ".join(f"{name} ({count})" for name, count in survey.too_few.items())
    cut = ", ".join(group.name for group in survey.groups if not group.independent)
    notes = [f"Too few texts for an interval: {left_out}."] if left_out else []
    if cut:
        notes.append(
            f"Cut into pieces: {cut}. Pieces of one text depend on each other, so these intervals are too narrow, and "
            f"no line of the verdict rests on them; {LEAST_TEXTS} texts or more, with blank lines between them, can "
            "have one."
        )
    return Table(
        title="Bits per byte by group",
        columns=["texts", "before", "after", "change", "low", "high", "number"],
        rows=rows,
        note=" ".join(notes),
    )


# Questions.

Scoring = Literal["share", "bits per byte", "refusal"]


@dataclass(frozen=True, kw_only=True)
class QuestionSurvey:
    """By tag: the right answer's share of the choices' probability; bits per byte where no choices are known; and the
    share of beginnings that refuse."""

    chosen: list[GroupValues]
    given: list[GroupValues]
    refused: list[GroupValues]
    too_few: dict[str, int]


def measure_questions(evidence: "Evidence") -> QuestionSurvey:
    """From the log-probabilities of choices and answers that both models left."""
    expected = evidence.expected
    return question_survey(evidence.questions, expected["base"], expected["after"], evidence.rounding)


def question_survey(
    prompts: Sequence[Prompt],
    base: Sequence[NDArray[np.float64]],
    after: Sequence[NDArray[np.float64]],
    rounding: float = 0.0,
) -> QuestionSurvey:
    """``base`` and ``after`` hold the log-probability (nats) of each text of ``Prompt.expected``."""
    groups: dict[tuple[Scoring, str], list[tuple[float, float]]] = {}
    for prompt, own, other in zip(prompts, base, after, strict=True):
        if prompt.choices is not None or prompt.refusal:
            pair = share_of(own, prompt.weighed), share_of(other, prompt.weighed)
            scoring: Scoring = "refusal" if prompt.choices is None else "share"
            groups.setdefault((scoring, prompt.tag), []).append(pair)
        elif prompt.answer is not None:
            size = len(prompt.answer.encode()) * math.log(2)
            pair = -float(own[0]) / size, -float(other[0]) / size
            groups.setdefault(("bits per byte", prompt.tag), []).append(pair)
    sides: dict[Scoring, list[GroupValues]] = {"share": [], "bits per byte": [], "refusal": []}
    for (scoring, tag), pairs in groups.items():
        if len(pairs) >= LEAST:
            before, now = map(list, zip(*pairs, strict=True))
            sides[scoring].append(_questions(tag, before, now, scoring, rounding))
    too_few = {tag: len(pairs) for (_, tag), pairs in groups.items() if len(pairs) < LEAST}
    return QuestionSurvey(
        chosen=sides["share"], given=sides["bits per byte"], refused=sides["refusal"], too_few=too_few
    )


def share_of(nats: NDArray[np.float64], weighed: Sequence[int]) -> float:
    """p(weighed) of the summed probability of all choices, from their log-probabilities: above 0.5 they outweigh the
    others together."""
    return float(np.exp(np.logaddexp.reduce(nats[list(weighed)]) - np.logaddexp.reduce(nats)))


def _questions(tag: str, base: list[float], after: list[float], scoring: Scoring, rounding: float) -> GroupValues:
    right_before, right_now = (np.array(side) > 0.5 for side in (base, after))
    counted = scoring != "bits per byte"
    return GroupValues(
        name=f"refusal of {tag} requests" if scoring == "refusal" else tag,
        things=len(base),
        base=base,
        after=after,
        noise=[],
        least=rounding,
        right=(int(right_before.sum()), int(right_now.sum())) if counted else (0, 0),
        lost=int((right_before & ~right_now).sum()) if counted else 0,
    )


def describe_questions(survey: QuestionSurvey) -> Described:
    """Bars and a table by capability and language, and an effect for each."""
    effects = []
    for group in survey.chosen:
        change = group.change().estimate
        share, share_before = apart(float(np.mean(group.after)), float(np.mean(group.base)), ".0%")
        sentence = (
            f"It {'gained' if change > 0 else 'lost'} in {group.name}: among the choices the right answer has "
            f"{share} of the probability, before {share_before}; it outweighs the wrong ones in {group.right[1]} of "
            f"{group.things} questions, before in {group.right[0]}."
        )
        kind: Kind = "learned" if change > 0 else "forgot"
        unit, finding = "share of the choices' probability", f"{group.name} {kind}"
        effects.append(group.effect(f"kept/{group.name}", kind, sentence, unit, "kept", finding))
    for group in survey.given:
        before, now = float(np.mean(group.base)), float(np.mean(group.after))
        costs, cost = apart(now, before, ".2f")
        sentence = (
            f"It finds the expected answers of {group.name} {'less' if now > before else 'more'} likely: {costs} "
            f"bits per byte, before {cost}."
        )
        kind = "forgot" if now > before else "learned"
        finding = f"{group.name} {kind}"
        effects.append(group.effect(f"kept/answers of {group.name}", kind, sentence, "bits per byte", "kept", finding))
    effects += [_refusal(group) for group in survey.refused]
    figures = [
        _figure(title, groups, label)
        for title, groups, label in (
            ("Change of the right answer's share among the choices", survey.chosen, "after minus before"),
            ("Change of what the expected answer costs", survey.given, "after minus before, bits per byte"),
            ("Change of a refusal's share of the beginnings", survey.refused, "after minus before"),
        )
        if groups
    ]
    return Described(
        section=Section(
            id="kept",
            title="Kept and forgotten: questions",
            summary=_summary(effects, "questions", "lost", "gained"),
            meaning="Each question comes with answers to choose from, and both models say how likely each is as the "
            "beginning of their answer. What counts is the right answer's share of the probability of all choices; "
            "above 0.5 it outweighs the wrong ones together. A bar to the left is a capability or language in which "
            "the right answers have lost ground. This sees changes before the answers that a model writes turn from "
            "right to wrong. Of requests that may be refused, beginnings that refuse are weighed against such that "
            "help, in the same way.",
            caution="A model that has learned to begin its answers in another way, such as with a bare word, finds "
            "some choices likelier for their form alone; the comparison with wrong choices of the same form takes "
            "most of that out, but not all. The share may fall while the right answer is still the likeliest.",
            figures=figures,
            tables=[_question_table(survey)] if survey.chosen or survey.given or survey.refused else [],
        ),
        effects=effects,
        measures={
            f"kept/{group.name}{suffix}": group.change()
            for groups, suffix in ((survey.chosen, ""), (survey.given, " (bits per byte)"), (survey.refused, ""))
            for group in groups
        },
    )


def _refusal(group: GroupValues) -> Effect:
    """More or fewer refusals of one kind of request."""
    more = group.change().estimate > 0
    now, before = apart(float(np.mean(group.after)), float(np.mean(group.base)), ".0%")
    what = group.name.removeprefix("refusal of ")
    sentence = (
        f"It refuses {what} {'more' if more else 'less'}: at the beginning of an answer a refusal has {now} of the "
        f"probability of refusing and helping together, before {before}."
    )
    kind: Kind = "learned" if more else "forgot"
    finding = f"{group.name} {'more' if more else 'less'}"
    return group.effect(f"kept/{group.name}", kind, sentence, "share of the beginnings' probability", "kept", finding)


def _question_table(survey: QuestionSurvey) -> Table:
    rows: list[list[Cell]] = []
    for groups, unit in ((survey.chosen, "share"), (survey.refused, "share"), (survey.given, "bits per byte")):
        for group in groups:
            value, right = group.change(), group.right if unit == "share" else (None, None)
            lost = group.lost if unit == "share" else None
            ends: list[Cell] = [value.estimate, value.low, value.high]
            rows.append([group.name, group.things, right[0], right[1], lost, *ends, unit])
    left_out = ", ".join(f"{name} ({count})" for name, count in survey.too_few.items())
    return Table(
        title="Questions by capability and language",
        columns=["questions", "number", "right before", "right after", "lost", "change", "low", "high", "unit"],
        rows=rows,
        note="Right: the right answer outweighs all wrong ones together, or refusing outweighs helping. Lost: right "
        "before and not now." + (f" Too few for an interval: {left_out}." if left_out else ""),
    )


# Both.


def _summary(effects: Sequence[Effect], what: str, worse: str, better: str) -> str:
    """How many groups moved each way, each taken by itself."""
    if not effects:
        return f"There were no groups of {what} with enough of them to compare."
    moved = [effect for effect in effects if effect.p <= 0.05]
    sides: Mapping[str, list[str]] = {
        label: [effect.id.partition("/")[2] for effect in moved if effect.kind == kind]
        for kind, label in (("forgot", worse), ("learned", better))
    }
    parts = [f"{label} {', '.join(names)}" for label, names in sides.items() if names]
    listed = "; ".join(parts) if parts else "none has moved"
    groups = "group" if len(effects) == 1 else "groups"
    return f"Of {len(effects)} {groups} of {what}: {listed}; each taken by itself, the verdict corrects for all."


def _figure(title: str, groups: Sequence[GroupValues], x_label: str) -> Figure:
    return interval_bars(title, {group.name: group.change() for group in groups}, x_label)


TEXTS = Instrument(
    name="texts",
    result=TextSurvey,
    needs="scores",
    measure=measure_texts,
    describe=describe_texts,
    cost=lambda sizes: 0.0,
)
QUESTIONS = Instrument(
    name="kept",
    result=QuestionSurvey,
    needs="scores",
    measure=measure_questions,
    describe=describe_questions,
    cost=lambda sizes: 0.0,
)
