"""What the checks of all families share: a measured number against bounds or a relation, and parameters by type."""

import math
from collections.abc import Callable, Sequence
from typing import cast

from armillary.attributes.attribute import Verdict
from armillary.attributes.text_stats import Pair, TextStats
from armillary.attributes.wording import Params

EXACT = 5
"""Counts up to this many are asked for exactly; larger ones with at least, since nobody counts them while writing."""


def whole_of(params: Params, name: str) -> int:
    """The parameter, a whole number."""
    return cast(int, params[name])


def text_of(params: Params, name: str) -> str:
    """The parameter, a text."""
    return cast(str, params[name])


def texts_of(params: Params, name: str) -> tuple[str, ...]:
    """The parameter, a list of texts."""
    return cast("tuple[str, ...]", params[name])


def counted(count: float, one: str, more: str = "") -> str:
    """ "1 word", "3 words", "4.25 words a sentence"."""
    return f"{count:.4g} {one if count == 1 else more or one + 's'}"


def bounded(value: float, params: Params, measured: Callable[[], str]) -> Verdict:
    """Whether the value lies within ``lo`` and ``hi``, both included, each if given."""
    low, high = cast(float, params.get("lo", -math.inf)), cast(float, params.get("hi", math.inf))
    return Verdict(low <= value <= high, measured)


def holds(count: int, relation: str, asked_for: int) -> bool:
    """Whether the count is =, >= or <= the number asked for."""
    if relation == ">=":
        return count >= asked_for
    return count <= asked_for if relation == "<=" else count == asked_for


def is_related(count: int, params: Params) -> bool:
    """Whether the count stands in relation ``rel`` to ``k``."""
    return holds(count, text_of(params, "rel"), whole_of(params, "k"))


def placed(satisfied: bool, stats: TextStats, pairs: Sequence[Pair], one: str, more: str = "") -> Verdict:
    """The verdict of a check that counted these places."""
    return Verdict(satisfied, lambda: counted(len(pairs), one, more), lambda: stats.spans(pairs))


def at_least(stats: TextStats, pairs: Sequence[Pair], params: Params, noun: str) -> Verdict:
    """Whether there are at least ``k`` such places."""
    return placed(len(pairs) >= whole_of(params, "k"), stats, pairs, noun)


def around(value: float, slack: float, digits: int) -> dict[str, float]:
    """``lo`` and ``hi`` this far around the value, rounded outwards to so many digits."""
    scale = 10**digits
    return {"lo": math.floor((value - slack) * scale) / scale, "hi": math.ceil((value + slack) * scale) / scale}


def rounded_relation(count: int, step: int) -> dict[str, str | int]:
    """The count itself where it is small; at least the next lower multiple of ``step`` where it is large."""
    if count <= EXACT:
        return {"rel": "=", "k": count}
    return {"rel": ">=", "k": max(EXACT, count // step * step)}
