"""Instrument: how far after's answers have drifted from base's, whatever they are about.

KL(base || after) per token is read where base's own drawn answers go, so that it is what a reader of base's answers
would notice; KL(after || base) where after's go. The share of answers that the other would hardly give is counted over
one window of surprise for both sides, so that a model against itself gives 0.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from armillary.diff.effect import Described, Effect, Instrument
from armillary.diff.evidence import Evidence
from armillary.diff.flips import unmoved
from armillary.diff.kept import Crossed, Scored
from armillary.diff.pair import Side
from armillary.numerics.intervals import Interval, bootstrap_mean
from armillary.numerics.permutation import paired_change
from armillary.records.sections import Figure, Section, Table, interval_bars

HARDLY = 0.95
"""Quantile of the surprise of a model's own answers, beyond which an answer is one that it hardly gives."""

LEAST = 3
"""Prompts of a tag below which it has no bar."""


@dataclass(frozen=True, kw_only=True)
class DriftDirection:
    """One model's drawn answers, read by the other: a number a prompt."""

    author: str
    reader: str
    estimate: list[float]
    """KL(author || reader), nats a token: without bias, by the tokens that were drawn."""

    lower: list[float]
    upper: list[float]
    """Bounds of the same, whatever was drawn."""

    agrees: list[float]
    """Share of places with the same likeliest token."""

    hardly: list[float]
    """1 where the answer is in the author's window and out of the reader's, 0 where it is in both; NaN where it is in
    neither."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Both directions, and base against its second reading."""

    directions: list[DriftDirection]
    again: DriftDirection | None
    tags: list[str]
    rounding: float
    window: float
    """Nats a token: the end of the window of surprise."""

    texts: list[float] = field(default_factory=list)
    """KL(base || after) of each plain text, nats a token: its lower bound."""

    same_tokens: bool = True
    seed: int = 0


def measure(evidence: Evidence) -> Drift:
    """Numbers a prompt for each direction that was scored."""
    answers = {side: evidence.own[side, "sampled"] for side in ("base", "after")}
    surprise = {side: -own.sums(own.logprob) / np.maximum(1, own.lengths) for side, own in answers.items()}
    # Wider by what may be rounding: the answer at the very end must not leave the window of the same model.
    window = float(np.quantile(np.concatenate([*surprise.values()]), HARDLY)) + evidence.rounding
    reads: list[tuple[Side, Side]] = [("base", "after"), ("after", "base")]
    directions = [
        _direction(
            side,
            reader,
            surprise[side],
            evidence.own[side, "sampled"],
            evidence.crossed[reader, side, "sampled"],
            window,
        )
        for side, reader in reads
        if (reader, side, "sampled") in evidence.crossed
    ]
    own = evidence.own["base", "sampled"]
    again = _direction("base", "again", surprise["base"], own, evidence.crossed["again", "base", "sampled"], window)
    texts = evidence.text_crossed["after"]
    return Drift(
        directions=directions,
        again=again,
        tags=[prompt.tag for prompt in evidence.prompts],
        rounding=evidence.rounding,
        window=window,
        texts=[float(x) for x in texts.sums(texts.lower) / texts.lengths] if evidence.same_tokens else [],
        same_tokens=evidence.same_tokens,
        seed=evidence.config.seed,
    )


def _direction(
    author: str, reader: str, surprise: NDArray[np.float64], own: Scored, read: Crossed, window: float
) -> DriftDirection:
    def mean(values: NDArray[np.floating]) -> list[float]:
        return [float(value) for value in read.sums(values) / np.maximum(1, read.lengths)]

    # By the author's tokens on both sides, so that equal probabilities are equally surprising.
    others = -read.sums(read.logprob) / np.maximum(1, own.lengths)
    beyond = others > window
    hardly = np.where(surprise <= window, beyond.astype(float), np.where(beyond, np.nan, 0.0))
    return DriftDirection(
        author=author,
        reader=reader,
        estimate=mean(read.estimate),
        lower=mean(read.lower),
        upper=mean(read.upper),
        agrees=mean(read.agrees),
        hardly=[float(value) for value in hardly],
    )


def describe(result: Drift) -> Described:
    """Divergence both ways, agreement, and answers that the other would hardly give."""
    first, seed = result.directions[0], result.seed
    effects: list[Effect] = []
    measures: dict[str, Interval] = {}
    rows: list[list[str | float | int | bool | None]] = []
    for direction in result.directions:
        name = f"{direction.author}'s answers read by {direction.reader}"
        hardly = bootstrap_mean(_known(direction.hardly), seed=seed) if _known(direction.hardly) else None
        if result.same_tokens:
            kl, agrees = bootstrap_mean(direction.estimate, seed=seed), bootstrap_mean(direction.agrees, seed=seed)
            measures[f"drift/KL({direction.author}||{direction.reader})"] = kl
            measures[f"drift/same likeliest token, {name}"] = agrees
            bounds = float(np.mean(direction.lower)), float(np.mean(direction.upper))
            rows.append([name, kl.estimate, kl.low, kl.high, *bounds, agrees.estimate, _estimate(hardly)])
        else:
            rows.append([name, None, None, None, None, None, None, _estimate(hardly)])
        if hardly is not None:
            measures[f"drift/hardly given, {name}"] = hardly
    figures: list[Figure] = []
    if result.texts:
        read = bootstrap_mean(result.texts, seed=seed)
        measures["drift/KL(base||after) on plain texts, at least"] = read
        rows.append(["plain texts read by after", None, None, None, read.estimate, None, None, None])
    if result.same_tokens:
        kl = measures["drift/KL(base||after)"]
        again = result.again.estimate if result.again is not None else None
        change = paired_change(first.estimate, np.zeros(len(first.estimate)), again, seed=seed, least=result.rounding)
        agreement = measures[f"drift/same likeliest token, {first.author}'s answers read by {first.reader}"]
        text = (
            f"Its answers drifted by {kl.estimate:.2g} nats a token from those of before; in {agreement.estimate:.0%} "
            "of places the likeliest token is the same."
        )
        effects.append(
            Effect(
                id="drift/answers",
                kind="drifted",
                sentence=text,
                value=change.value,
                unit="nats a token",
                p=change.p,
                floor=change.floor,
                section="drift",
            )
        )
        figures = _bars(result)
    effects += _hardly_effect(result)
    summary = effects[0].sentence if effects else "No divergence can be measured between models of different tokens."
    section = Section(
        id="drift",
        title="Drift",
        summary=summary,
        meaning="At each token of an answer that one model drew by itself, the other model's distribution is compared "
        "with its own: the divergence is the average surprise that the exchange adds. An answer is one that the other "
        f"would hardly give where it is less likely, per token, than {HARDLY:.0%} of what the models answer by "
        "themselves; the limit is the same for both.",
        caution="Of each place the 64 likeliest tokens are kept: the divergence over the others is estimated by the "
        "tokens that were drawn, and lies between the two bounds for certain. The upper bound assumes the worst of "
        "every token that was not kept and is far from what is likely.",
        figures=figures,
        tables=[
            Table(
                title="Divergence of answers",
                columns=["answers", "KL, nats a token", "low", "high", "at least", "at most", "same likeliest token",
                         "hardly given by the other"],
                rows=rows,
            )
        ],
    )  # fmt: skip
    return Described(section=section, effects=effects, measures=measures)


def _hardly_effect(result: Drift) -> list[Effect]:
    first = result.directions[0]
    chosen = np.isfinite(first.hardly)
    if not chosen.any():
        return []
    hardly = np.asarray(first.hardly)[chosen]
    again = np.nan_to_num(np.asarray(result.again.hardly))[chosen] if result.again is not None else None
    change = paired_change(hardly, np.zeros(len(hardly)), again, seed=result.seed, least=1 / len(hardly))
    value = change.value if change.value.low != change.value.high else unmoved(len(hardly))
    return [
        Effect(
            id="drift/hardly_given",
            kind="drifted",
            sentence=f"{value.estimate:.0%} of the answers that it gave before it would hardly give now.",
            value=value,
            unit="share of answers",
            p=change.p,
            floor=change.floor,
            section="drift",
        )
    ]


def _bars(result: Drift) -> list[Figure]:
    """Divergence by kind of prompt, in the first direction."""
    by_tag: dict[str, list[float]] = {}
    for tag, estimate in zip(result.tags, result.directions[0].estimate, strict=True):
        by_tag.setdefault(tag, []).append(estimate)
    values = {tag: bootstrap_mean(own, seed=result.seed) for tag, own in by_tag.items() if len(own) >= LEAST}
    if not values:
        return []
    ordered = dict(sorted(values.items(), key=lambda item: -item[1].estimate))
    return [interval_bars("Divergence by kind of prompt", ordered, "KL(base || after), nats a token")]


def _known(values: list[float]) -> list[float]:
    return [value for value in values if value == value]


def _estimate(value: Interval | None) -> float | None:
    return None if value is None else value.estimate


DRIFT = Instrument(
    name="drift", result=Drift, needs="after answers", measure=measure, describe=describe, cost=lambda sizes: 0.0
)
