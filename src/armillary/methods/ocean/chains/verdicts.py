"""The verdict on each step of a chain, by looking up in a graph what the step states of the entities that it names."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from armillary.attributes.sentences import sentence_spans
from armillary.errors import UsageError
from armillary.graphs import KnowledgeGraph, Lexicon, Mention
from armillary.graphs.columns import Triple
from armillary.methods.ocean.chains.phrases import BY_NAME, Pattern, Phrases, goes_on, relation_words

Verdict = Literal["supported", "contradicted", "unknown"]

FUNCTIONAL = 0.95
"""Share of a relation's heads with one tail from which the relation counts as one with a single tail: a few heads with
two (a capital that moved) are no reason to take any other tail for possible."""

LOOKED_AT = 500
"""Tails of a relation by which its kind is told: their share of a half is known to some 2 %."""

SHOWN = 4
"""Names that a reason lists."""

_FEATURE = "(?:Sea|Ocean|River|Lake|Bay|Gulf|Strait|Channel|Peninsula|Plain|Plateau|Basin|Desert|University|Airport)"
_IN_ANOTHER = re.compile(rf"\s+{_FEATURE}\b"), re.compile(rf"\b{_FEATURE}\s+of\s+(?:the\s+)?$")
"""What stands behind or before a name that is part of another: the South China Sea is not China."""

NOT_STATED = re.compile(
    r"\b(?:not|never|neither|nor|no longer|without|unlike|cannot|isn't|aren't|wasn't|doesn't|don't|former|formerly|"
    r"once|was|were|used to|until|ancient|might|may|maybe|perhaps|possibly|probably|could|would|should|if|whether|"
    r"assume|suppose|false|incorrect|wrong)\b|n\u2019t\b|\?",
    re.IGNORECASE,
)
"""A sentence with one of these denies, doubts, asks, or speaks of the past: it is not taken for a statement."""


@dataclass(frozen=True, kw_only=True)
class StepVerdict:
    """What the graph says about one step."""

    step: str
    verdict: Verdict
    mentions: tuple[Mention, ...]
    facts: tuple[Triple, ...]
    """Of a supported step the facts that it states; of a contradicted one those that stand against it; of another one
    all that the graph has between the entities that it names."""

    reason: str
    """In words, for a reader."""


@dataclass(frozen=True)
class _Claim:
    """A relation that a sentence states between two of its mentions, and what the graph says of it."""

    relation: str
    verdict: Verdict
    facts: tuple[Triple, ...]
    reason: str


@dataclass(frozen=True)
class _Relation:
    """What the graph's facts of one relation are like, by numbers of entities, ascending."""

    heads: NDArray[np.int64]
    tails: NDArray[np.int64]
    kind: frozenset[int]
    """Relations that more than half of the tails are heads of."""

    single: float
    """Share of the heads with one tail."""


def check_chain(
    steps: Sequence[str],
    graph: KnowledgeGraph,
    lexicon: Lexicon,
    *,
    phrases: Phrases = BY_NAME,
    entity_spans: Sequence[Sequence[tuple[int, int]]] | None = None,
) -> tuple[StepVerdict, ...]:
    """``ChainChecker.check`` of one chain."""
    return ChainChecker(graph, lexicon, phrases).check(steps, entity_spans)


@dataclass(frozen=True)
class ChainChecker:
    """Looks up what steps state. The rules, sentence by sentence:

    - *Supported*: a pattern of a relation (``Phrases``) stands around two linked entities and the graph has that
      fact. Of a relation without patterns of its own a fact between two of them counts, too, where the sentence has
      every word of the relation's name; one without words (P36) needs no more than the fact.
    - *Contradicted*: a pattern states a relation of a head that has other tails, where the relation has one tail for
      nearly every head of the graph, or ``Phrases.complete`` says that the graph has all of them; and the stated tail
      is of the kind of that relation's tails (it is one elsewhere, or a head of what most of them are heads of): to a
      Paris in Europe the relation "country" says nothing.
    - *Unknown*: all else; also every sentence that denies, doubts, asks or tells of the past (``NOT_STATED``).

    A step is contradicted where one of its statements is, else supported where one of them is. A name of several
    entities supports by any of them, and contradicts only by all. Facts are compared one by one: two facts that imply
    a third do not support it.
    """

    graph: KnowledgeGraph
    lexicon: Lexicon
    phrases: Phrases = BY_NAME
    _relations: dict[str, _Relation] = field(default_factory=dict, repr=False)

    def check(
        self, steps: Sequence[str], entity_spans: Sequence[Sequence[tuple[int, int]]] | None = None
    ) -> tuple[StepVerdict, ...]:
        """A verdict for each step. ``entity_spans`` are the entities' characters in each step, where they are known;
        each is linked by its own text. UsageError for another number of them than of steps."""
        if entity_spans is not None and len(entity_spans) != len(steps):
            raise UsageError(
                f"entity_spans must have a list for each of the {len(steps)} steps; got {len(entity_spans)}."
            )
        made = []
        for place, step in enumerate(steps):
            mentions = self.lexicon.link(step) if entity_spans is None else self._given(step, entity_spans[place])
            made.append(self.judged(step, mentions))
        return tuple(made)

    def judged(self, step: str, mentions: Sequence[Mention]) -> StepVerdict:
        """The verdict on a step whose entities are linked already."""
        behind, before = _IN_ANOTHER
        mentions = [
            one for one in mentions if not behind.match(step, one.end) and not before.search(step[: one.start])
        ]
        linked = [mention for mention in mentions if mention.entities]
        claims: list[_Claim] = []
        doubted = False
        for start, end in sentence_spans(step) or [(0, len(step))]:
            own = [mention for mention in linked if start <= mention.start and mention.end <= end]
            if len(own) < 2:
                continue
            if NOT_STATED.search(_without(step, start, end, own)):
                doubted = True
                continue
            claims += self._claims(step[start:end], [Mention(m.start - start, m.end - start, m.entities) for m in own])
        verdict, reason, facts = self._summed(claims, linked, doubted)
        return StepVerdict(step=step, verdict=verdict, mentions=tuple(mentions), facts=facts, reason=reason)

    def _given(self, step: str, spans: Sequence[tuple[int, int]]) -> list[Mention]:
        mentions = []
        for start, end in sorted(spans):
            text = step[start:end]
            whole = [m for m in self.lexicon.link(text) if (m.start, m.end) == (0, len(text))]
            named = (text,) if text in self.graph.entities else ()
            mentions.append(Mention(start, end, whole[0].entities if whole else named))
        return mentions

    def _summed(
        self, claims: Sequence[_Claim], linked: Sequence[Mention], doubted: bool
    ) -> tuple[Verdict, str, tuple[Triple, ...]]:
        verdicts: tuple[Verdict, ...] = ("contradicted", "supported")
        for verdict in verdicts:
            if own := [claim for claim in claims if claim.verdict == verdict]:
                return verdict, own[0].reason, tuple(dict.fromkeys(fact for claim in own for fact in claim.facts))
        between = tuple(dict.fromkeys(self._between(linked)))
        if claims:
            return "unknown", claims[0].reason, between
        if len(linked) < 2:
            return "unknown", f"{'one entity' if linked else 'no entity'} of the graph is named", between
        if doubted:
            return "unknown", "the sentence denies, doubts, asks or tells of the past", between
        if between:
            return (
                "unknown",
                "the graph links what is named, but no words were recognised that say so",
                between,
            )
        return "unknown", "no statement was recognised, and the graph does not link what is named", between

    # Statements.

    def _claims(self, sentence: str, mentions: Sequence[Mention]) -> list[_Claim]:
        claims: list[_Claim] = []
        stated: set[str] = set()
        for relation in self._relations_of(mentions):
            for head, tails in _stated(sentence, mentions, self.phrases.of(relation)):
                stated.add(relation)
                looked_up = [self._looked_up(relation, head, tail) for tail in tails]
                claims += [claim for claim in looked_up if claim is not None]
        # Singular and plural are one.
        words = {word.rstrip("s") for word in re.findall(r"\w+", sentence.lower())}
        for fact in self._between(mentions):
            named = all(word.rstrip("s") in words for word in relation_words(fact[1]).split())
            if named and fact[1] not in stated and fact[1] not in self.phrases.patterns:
                claims.append(
                    _Claim(fact[1], "supported", (fact,), "the graph has this fact, and the step its relation")
                )
        return claims

    def _looked_up(self, relation: str, head: Mention, tail: Mention) -> _Claim | None:
        """What the graph says; None where no reading of the names fits the relation."""
        known, ids = self._relation(relation), self.graph.entities.id_of
        heads = [name for name in head.entities if _has(known.heads, ids(name))]
        tails = [name for name in tail.entities if _has(known.tails, ids(name)) or self._is_alike(known, ids(name))]
        readings = [(one, other) for one in heads for other in tails if one != other]
        if not readings:
            return None
        facts = tuple((one, relation, other) for one, other in readings if self.graph.has(one, relation, other))
        if facts:
            several = len(head.entities) * len(tail.entities) > 1
            return _Claim(
                relation, "supported", facts, "the graph has this fact" + (", by one reading" if several else "")
            )
        against = tuple((one, relation, other) for one in heads for other in self.graph.tails(one, relation))
        names = [fact[2] for fact in against]
        more = f" and {len(names) - SHOWN} others" if len(names) > SHOWN else ""
        reason = f"of {heads[0]} the graph has as {relation}: {', '.join(names[:SHOWN])}{more}"
        if relation in self.phrases.complete or known.single >= FUNCTIONAL:
            return _Claim(relation, "contradicted", against, reason)
        return _Claim(relation, "unknown", against, f"{reason}, and may lack {tails[0]}, since there can be several")

    def _relations_of(self, mentions: Sequence[Mention]) -> list[str]:
        """The relations that any of the named entities is a head of."""
        numbers = {self.graph.entities.id_of(name) for mention in mentions for name in mention.entities} - {None}
        kinds = {kind for number in numbers if number is not None for kind in self._kinds(number)}
        return [self.graph.relations[kind] for kind in sorted(kinds)]

    def _between(self, mentions: Sequence[Mention]) -> Iterator[Triple]:
        names = list(dict.fromkeys(name for mention in mentions for name in mention.entities))
        for head in names:
            for tail in names:
                if head != tail:
                    for relation in self.graph.relations_between(head, tail):
                        yield head, relation, tail

    def _relation(self, relation: str) -> _Relation:
        if relation not in self._relations:
            columns = self.graph.columns
            edges = np.flatnonzero(columns.edge_relations == self.graph.relations.id_of(relation))
            heads, counts = np.unique(self.graph.heads_of_edges(edges), return_counts=True)
            tails = np.unique(columns.edge_tails[edges]).astype(np.int64)
            some = tails[np.linspace(0, len(tails) - 1, min(len(tails), LOOKED_AT)).astype(np.int64)]
            own = Counter(kind for tail in some for kind in self._kinds(int(tail)))
            kind = frozenset(kind for kind, count in own.items() if 2 * count > len(some))
            self._relations[relation] = _Relation(heads, tails, kind, float((counts == 1).mean()))
        return self._relations[relation]

    def _kinds(self, entity: int) -> set[int]:
        """Numbers of the relations that an entity is a head of."""
        columns = self.graph.columns
        return set(columns.edge_relations[columns.offsets[entity] : columns.offsets[entity + 1]].tolist())

    def _is_alike(self, relation: _Relation, entity: int | None) -> bool:
        return entity is not None and bool(relation.kind) and relation.kind <= self._kinds(entity)


def _stated(
    sentence: str, mentions: Sequence[Mention], patterns: Sequence[Pattern]
) -> Iterator[tuple[Mention, list[Mention]]]:
    """Head and tails of each place where one of the patterns stands; behind a tail at the end others of its list."""
    for index, left in enumerate(mentions):
        for place, right in enumerate(mentions[index + 1 :], index + 1):
            for pattern in patterns:
                if not pattern.fits(sentence, left[:2], right[:2]):
                    continue
                if not pattern.head_first:
                    yield right, [left]
                    break
                tails, last = [right], right
                for other in mentions[place + 1 :]:
                    if not goes_on(sentence[last.end : other.start]):
                        break
                    tails.append(other)
                    last = other
                yield left, tails
                break


def _without(step: str, start: int, end: int, mentions: Sequence[Mention]) -> str:
    """The sentence with blanks for its entities, whose names say nothing about the sentence."""
    text = step[start:end]
    for mention in mentions:
        first, last = mention.start - start, mention.end - start
        text = text[:first] + " " * (last - first) + text[last:]
    return text


def _has(ids: NDArray[np.int64], number: int | None) -> bool:
    if number is None:
        return False
    place = int(np.searchsorted(ids, number))
    return place < len(ids) and int(ids[place]) == number
