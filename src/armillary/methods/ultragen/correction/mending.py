"""Hard attributes checked on the text they were said to come from: what fails is measured anew, or dropped."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from armillary.attributes.attribute import Attribute
from armillary.attributes.kinds.catalogue import Catalogue
from armillary.attributes.text_stats import TextStats
from armillary.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Mended:
    """What became of a text's hard attributes; soft ones are passed on as they are."""

    attributes: list[Attribute]
    """Those that hold on the text, the mended ones at their old places."""

    replaced: list[tuple[Attribute, Attribute]]
    """What failed, and what was measured in its place."""

    dropped: list[Attribute]


def mended(text: str, attributes: Sequence[Attribute], catalogue: Catalogue | None = None, seed: int = 0) -> Mended:
    """Each hard attribute that fails on ``text`` is derived from it again, with the same words where it has any.

    Derived attributes never fail (they are checked as they are derived), imported ones may. ``seed`` decides where a
    kind has several to choose from. Raises UsageError for a kind that the catalogue does not have.
    """
    catalogue = catalogue or Catalogue.default()
    stats, draw = TextStats(text), random.Random(seed)
    kept: list[Attribute] = []
    replaced: list[tuple[Attribute, Attribute]] = []
    dropped: list[Attribute] = []
    for attribute in attributes:
        if attribute.hard and attribute.kind not in catalogue.kinds:
            raise UsageError(f"there is no kind {attribute.kind!r}; known are {', '.join(catalogue.kinds)}.")
        if not attribute.hard or catalogue.check(attribute, stats).satisfied is not False:
            kept.append(attribute)
            continue
        anew = [
            candidate
            for candidate in catalogue.kinds[attribute.kind].derive(stats, draw)
            if _words(candidate) == _words(attribute) and candidate not in attributes and candidate not in kept
        ]
        if anew:
            kept.append(anew[0])
            replaced.append((attribute, anew[0]))
        else:
            dropped.append(attribute)
    return Mended(attributes=kept, replaced=replaced, dropped=dropped)


def _words(attribute: Attribute) -> list[tuple[str, object]]:
    """What an attribute is about: its parameters but for its numbers and the relation to them."""
    return sorted(
        (name, value)
        for name, value in attribute.params.items()
        if isinstance(value, str | tuple) and name not in ("rel", "relation")
    )
