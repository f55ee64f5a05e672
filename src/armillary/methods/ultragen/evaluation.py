"""How much of its instructions a model satisfies: K responses a set, checked, with the best of K beside the mean."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from armillary.attributes.attribute_set import AttributeSet, Judge
from armillary.attributes.kinds.catalogue import Catalogue
from armillary.errors import InsufficientSamplesError, UsageError
from armillary.methods.ultragen.analyse.position import PlacedVerdicts
from armillary.methods.ultragen.quality import TextQuality, quality_of
from armillary.methods.ultragen.sampling import BestOf, best_of_curve
from armillary.numerics.intervals import Interval, bootstrap_mean, bootstrap_weighted


@dataclass(frozen=True, kw_only=True)
class ScoredResponse:
    """One response to a set, its verdicts in the order of the set."""

    text: str
    kinds: list[str]
    satisfied: list[bool | None]
    hard: list[bool]
    negative: list[bool]
    """Attributes that forbid: an empty text would satisfy them."""

    csr: float
    quality: TextQuality

    @property
    def placed(self) -> PlacedVerdicts:
        """For ``position_bias``: the set's attributes stand in the order of its prompt."""
        return PlacedVerdicts(kinds=tuple(self.kinds), satisfied=tuple(self.satisfied))


@dataclass(frozen=True, kw_only=True)
class EvaluatedSet:
    """One set with K responses."""

    id: str
    responses: list[ScoredResponse]


def scored_response(
    attributes: AttributeSet, response: str, *, reference: str | None = None, judge: Judge | None = None
) -> ScoredResponse:
    """The response checked. UsageError where none of its attributes can be judged: soft ones need a judge."""
    report = attributes.check(response, judge)
    if math.isnan(report.csr):
        raise UsageError(f"no attribute of the set {attributes.id!r} could be judged; soft ones need a judge.")
    blank = not response.strip()
    kinds = Catalogue.default().kinds
    return ScoredResponse(
        text=response,
        kinds=[attribute.kind for attribute in attributes.attributes],
        # Nothing is satisfied by a text that is not there, though what forbids holds of it.
        satisfied=[
            None if verdict.satisfied is None else verdict.satisfied and not blank for verdict in report.verdicts
        ],
        hard=[attribute.hard for attribute in attributes.attributes],
        negative=[
            attribute.hard and kinds[attribute.kind].negative(attribute.params) for attribute in attributes.attributes
        ],
        csr=report.csr,
        quality=quality_of(response, reference),
    )


@dataclass(frozen=True, kw_only=True)
class SatisfactionSummary:
    """A model on a file of sets; every interval is a bootstrap over sets."""

    csr: Interval
    """Share of a set's attributes that a response satisfies, mean over its responses and then over sets."""

    asking: Interval | None
    """The same over the attributes that an empty text would not satisfy."""

    hard: Interval | None
    soft: Interval | None
    micro: Interval
    """Satisfied share of all attributes together."""

    joint: Interval
    """Share of responses that satisfy every attribute judged."""

    best_of: list[BestOf]
    """CSR of the best of 1 to K responses: what more samples give without any training."""

    by_kind: dict[str, Interval]
    repeated: Interval
    distinct_2: Interval
    words: Interval
    f1: Interval | None
    """Word F1 to the sets' own texts, where they came with some."""

    unjudged: int
    sets: int
    attributes: float
    """Attributes of a set, mean."""


def summarised(sets: Sequence[EvaluatedSet], *, seed: int = 0) -> SatisfactionSummary:
    """The evaluation over these sets. InsufficientSamplesError without any."""
    if not sets:
        raise InsufficientSamplesError("an evaluation needs at least one set with a response; got none.")

    def mean(of: Callable[[ScoredResponse], float | None]) -> Interval | None:
        """Over a set's responses, then over sets, of what is known; None where nothing is."""
        known = [[value for one in own.responses if (value := of(one)) is not None] for own in sets]
        means = [float(np.mean(row)) for row in known if row]
        return bootstrap_mean(means, seed=seed, how=f"bootstrap over {len(means):,} sets") if means else None

    csr, joint = mean(lambda one: one.csr), mean(lambda one: float(False not in one.satisfied))
    repeated, distinct_2 = mean(lambda one: one.quality.repeated), mean(lambda one: one.quality.distinct_2)
    words = mean(lambda one: one.quality.words)
    assert csr and joint and repeated and distinct_2 and words  # these are known of every response
    kinds = {
        kind
        for own in sets
        for one in own.responses
        for kind, met in zip(one.kinds, one.satisfied, strict=True)
        if met is not None
    }
    return SatisfactionSummary(
        csr=csr,
        asking=mean(lambda one: _share(one, [not negative for negative in one.negative])),
        hard=mean(lambda one: _share(one, one.hard)),
        soft=mean(lambda one: _share(one, [not hard for hard in one.hard])),
        micro=_pooled(sets, None, seed),
        joint=joint,
        best_of=best_of_curve(np.array([[one.csr for one in own.responses] for own in sets]), seed=seed),
        by_kind={kind: _pooled(sets, kind, seed) for kind in sorted(kinds)},
        repeated=repeated,
        distinct_2=distinct_2,
        words=words,
        f1=mean(lambda one: one.quality.f1),
        unjudged=sum(one.satisfied.count(None) for own in sets for one in own.responses),
        sets=len(sets),
        attributes=float(np.mean([len(own.responses[0].kinds) for own in sets])),
    )


def _share(response: ScoredResponse, chosen: Sequence[bool]) -> float | None:
    """Satisfied share of the chosen attributes; None where none of them was judged."""
    judged = [met for met, kept in zip(response.satisfied, chosen, strict=True) if kept and met is not None]
    return sum(judged) / len(judged) if judged else None


def _pooled(sets: Sequence[EvaluatedSet], kind: str | None, seed: int) -> Interval:
    """Satisfied share of all judged attributes of the kind (None: of all kinds)."""
    rows = [
        [
            bool(met)
            for response in own.responses
            for own_kind, met in zip(response.kinds, response.satisfied, strict=True)
            if met is not None and kind in (None, own_kind)
        ]
        for own in sets
    ]
    table = np.array([(sum(row), len(row)) for row in rows], np.float64)
    table = table[table[:, 1] > 0]
    return bootstrap_weighted(
        lambda counts_RS: (counts_RS @ table[:, 0]) / (counts_RS @ table[:, 1]),
        len(table),
        seed=seed,
        how=f"bootstrap over {len(table):,} sets",
    )
