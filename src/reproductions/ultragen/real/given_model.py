"""The given model asked for nested sets of attributes of real texts, and how its answers were judged."""

from collections.abc import Sequence
from dataclasses import dataclass

from armillary.attributes.attribute import Attribute
from armillary.attributes.attribute_set import AttributeSet
from armillary.attributes.kinds.catalogue import Catalogue
from armillary.attributes.round_trip import round_trip
from armillary.methods.ultragen.analyse.counts import nested_sets
from armillary.methods.ultragen.config import SamplingConfig
from armillary.methods.ultragen.quality import quality_of
from armillary.methods.ultragen.sampling import responses
from armillary.models.loaded import LoadedModel
from reproductions.ultragen.real.texts import documentation, witnesses
from reproductions.ultragen.scale import RealScale


@dataclass(frozen=True, kw_only=True)
class Witnessed:
    """What came of deriving every kind from many texts."""

    texts: int
    derived: dict[str, int]
    failures: int


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One answer: its verdicts in the order in which the prompt listed the attributes."""

    kinds: list[str]
    priorities: list[str]
    """What each attribute is about: format, structure, position, content or style."""

    negative: list[bool]
    """Whether it forbids: such a one holds of nearly any text."""

    satisfied: list[bool | None]
    swapped: list[bool | None]
    """The verdicts on the answer to another prompt of the same size: the null."""

    repeated: float
    """Share of repeated 4-grams."""

    overlap: float
    """Word F1 with the source text."""


@dataclass(frozen=True, kw_only=True)
class RealResult:
    """Every prompt at every number of attributes."""

    by_count: dict[str, list[Judged]]
    """By number of attributes, in one order of prompts."""

    best: list[list[float]]
    """At ``best_count`` attributes, the share met by each of several answers, of which the first is judged above."""

    example: list[str]
    """A prompt with its answer, for a reader."""


def witnessed(scale: RealScale) -> Witnessed:
    """The round trip over many texts and every kind."""
    result = round_trip(witnesses(scale.witnesses))
    return Witnessed(texts=result.texts, derived=result.derived, failures=result.failures)


def sets_of(scale: RealScale, seed: int) -> list[tuple[str, dict[int, AttributeSet]]]:
    """Texts that have as many attributes as are asked for at most, each with its nested sets."""
    most = max(scale.counts)
    chosen: list[tuple[str, dict[int, AttributeSet]]] = []
    for text in documentation():
        whole = AttributeSet.from_text(text, n=most, seed=seed)
        if len(whole.attributes) == most:
            chosen.append((text, nested_sets(whole, scale.counts, seed=seed)))
        if len(chosen) == scale.prompts:
            break
    return chosen


def asked(loaded: LoadedModel, scale: RealScale, seed: int) -> RealResult:
    """An answer to each prompt at each number of attributes, and several at one of them."""
    config = SamplingConfig(max_new_tokens=scale.new_tokens, batch_size=scale.batch)
    sets = sets_of(scale, seed)
    by_count: dict[str, list[Judged]] = {}
    best: list[list[float]] = []
    example: list[str] = []
    for count in scale.counts:
        own = [nested[count] for _, nested in sets]
        requests = [one.render(seed=seed) for one in own]
        several = scale.best_of if count == scale.best_count else 1
        drawn = responses(loaded, requests, several, config=config, seed=seed, label=f"{count} attributes")
        answers = [row[0] for row in drawn]
        if several > 1:
            best = [[one.check(answer).csr for answer in row] for one, row in zip(own, drawn, strict=True)]
        example = example or [requests[0], answers[0]]
        moved = [*answers[1:], answers[0]]
        by_count[str(count)] = [
            _judged(one, seed, answer, other, text)
            for one, answer, other, (text, _) in zip(own, answers, moved, sets, strict=True)
        ]
    return RealResult(by_count=by_count, best=best, example=example)


def _judged(own: AttributeSet, seed: int, answer: str, other: str, text: str) -> Judged:
    listed: Sequence[Attribute] = own.ordered(seed=seed)
    kinds = [Catalogue.default().kind(attribute.kind) for attribute in listed]
    ordered = AttributeSet(attributes=tuple(listed), id=own.id)
    quality = quality_of(answer, text)
    return Judged(
        kinds=[attribute.kind for attribute in listed],
        priorities=[kind.priority for kind in kinds],
        negative=[kind.negative(attribute.params) for kind, attribute in zip(kinds, listed, strict=True)],
        satisfied=[verdict.satisfied for verdict in ordered.check(answer).verdicts],
        swapped=[verdict.satisfied for verdict in ordered.check(other).verdicts],
        repeated=quality.repeated,
        overlap=quality.f1 or 0.0,
    )
