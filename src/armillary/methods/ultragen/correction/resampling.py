"""Sets whose samples all score alike, badly or well, carry no preference: they are drawn again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from armillary.errors import UsageError

LOW, HIGH = 0.2, 0.95
"""Scores (CSR) below and above which all samples of a set tell nothing apart (ours)."""

Kind = TypeVar("Kind")


def is_uninformative(scores: Sequence[float], low: float = LOW, high: float = HIGH) -> bool:
    """Whether all samples of a set score below ``low``, or all above ``high``. UsageError for no samples."""
    if not scores:
        raise UsageError("a set without samples has no scores; draw at least one.")
    return max(scores) < low or min(scores) > high


@dataclass(frozen=True, kw_only=True)
class Redrawn(Generic[Kind]):
    """Sets after those without a signal were drawn again."""

    sets: list[Kind]
    """As many as before, in the order of before; a set that stayed without a signal is the last one drawn."""

    scores: list[list[float]]
    retried: list[int]
    """Places of the sets that were drawn again."""

    uninformative: list[int]
    """Places of the sets that carry no signal after all."""


def redrawn(
    sets: Sequence[Kind],
    scored: Callable[[Sequence[Kind]], Sequence[Sequence[float]]],
    draw: Callable[[int, int], Kind],
    *,
    retries: int = 1,
    low: float = LOW,
    high: float = HIGH,
) -> Redrawn[Kind]:
    """Sets with their samples' scores, those without a signal replaced by ``draw(place, attempt)`` and scored anew.

    ``scored`` samples some sets together and gives each one's scores. After ``retries`` (one, by the note's design) a
    set stays as it is. UsageError for negative retries.
    """
    if retries < 0:
        raise UsageError(f"retries must be 0 or more, got {retries}.")
    current, scores = [*sets], [list(row) for row in scored(sets)]
    retried: list[int] = []
    for attempt in range(1, retries + 1):
        places = [place for place, row in enumerate(scores) if is_uninformative(row, low, high)]
        if not places:
            break
        drawn = [draw(place, attempt) for place in places]
        for place, chosen, row in zip(places, drawn, scored(drawn), strict=True):
            current[place], scores[place] = chosen, list(row)
        retried = sorted({*retried, *places})
    left = [place for place, row in enumerate(scores) if is_uninformative(row, low, high)]
    return Redrawn(sets=current, scores=scores, retried=retried, uninformative=left)
