"""The witness test over many texts: what is derived from a text holds of it, and its sentence is read back exactly.

Claim 1 of the method: 100 % of both, over any texts and every kind.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from armillary.attributes.attribute import Attribute
from armillary.attributes.conflicts import Conflict, conflicts
from armillary.attributes.kinds.catalogue import Catalogue


@dataclass(frozen=True, kw_only=True)
class RoundTrip:
    """What came of deriving attributes from texts, checking them there, and reading their sentences again."""

    texts: int
    derived: dict[str, int]
    """Attributes of each kind."""

    unmet: tuple[tuple[str, Attribute], ...]
    """Text and attribute, where the text has it not; at most ``KEPT``, as all failures."""

    misread: tuple[Attribute, ...]
    """Attributes whose sentence is read as another or as none."""

    conflicting: tuple[Conflict, ...]
    failures: int
    """In all, of every sort."""

    @property
    def attributes(self) -> int:
        """How many were derived in all."""
        return sum(self.derived.values())

    @property
    def rate(self) -> float:
        """Share of attributes without a failure."""
        return 1 - self.failures / max(1, self.attributes)


KEPT = 20
"""Failures that are handed on: each is a bug, and the first few tell it."""


def round_trip(texts: Iterable[str], catalogue: Catalogue | None = None, seed: int = 0) -> RoundTrip:
    """Derives every kind from every text, without the check that ``Catalogue.derive`` makes; skips blank texts."""
    known = catalogue or Catalogue.default()
    derived: Counter[str] = Counter()
    unmet: list[tuple[str, Attribute]] = []
    misread: list[Attribute] = []
    conflicting: list[Conflict] = []
    count = 0
    for text in texts:
        stats = known.stats(text)
        if stats.is_empty:
            continue
        count += 1
        attributes = list(known.proposed(stats, seed))
        derived.update(attribute.kind for attribute in attributes)
        # Analysed anew, so that nothing which deriving kept can make a check right.
        anew = known.stats(text)
        unmet += [(text, each) for each in attributes if not known.check(each, anew).satisfied]
        misread += [each for each in attributes if known.parse(known.render(each)) != each]
        conflicting += conflicts(attributes)
    return RoundTrip(
        texts=count,
        derived=dict(derived),
        unmet=tuple(unmet[:KEPT]),
        misread=tuple(misread[:KEPT]),
        conflicting=tuple(conflicting[:KEPT]),
        failures=len(unmet) + len(misread) + len(conflicting),
    )
