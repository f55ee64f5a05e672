"""What the pages of all plants say together: false alarms, what was named, and from which size on."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from armillary.diff.page import LEVEL
from armillary.numerics.intervals import Interval, binomial
from reproductions.diff_calibration.claims import (
    BARE,
    BARE_PAGES,
    CHANCE,
    EXCHANGED,
    EXCHANGED_BARE,
    EXCHANGED_BARE_PAGES,
    FALSE_ALARMS,
    LARGEST_NOISE,
    LEARNED,
    NAMED,
)
from reproductions.diff_calibration.nulls import Null, NullPage
from reproductions.diff_calibration.pages import Comparison, Page
from reproductions.diff_calibration.plants import TUNES

NAMES: Mapping[str, str] = {
    "tickets": "tickets",
    "german": "german",
    "arithmetic": "arithmetic",
    "refusals": "refus",
    "short answers": "length|words|short",
}
"""What stands in the id of a comparison that is about just that plant; for the others any line about behaviour will
do."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One comparison over all pages: how large it was where a verdict has it, and where none has."""

    id: str
    unit: str
    pages: int
    seen: int
    """Pages whose verdict has it."""

    alarms: int
    """Of these, pages without a change."""

    floor: float
    """The largest."""

    limit: float | None
    """From which size on the pages say that it would be seen: the median of what they say."""

    least_seen: float | None
    """Of |change|, in the comparison's unit; None where it was never seen."""

    most_unseen: float | None


def is_named(page: Page) -> bool:
    """Whether a line is about what was planted."""
    pattern = NAMES.get(page.plant.kind, "")
    return any(re.search(pattern, id, re.IGNORECASE) for id in page.behaviour)


def limits(pages: Sequence[Page]) -> list[Limit]:
    """Every comparison, in the order of the page."""
    by_id: dict[str, list[tuple[Page, Comparison]]] = {}
    for page in pages:
        for comparison in page.comparisons:
            by_id.setdefault(comparison.id, []).append((page, comparison))
    return [_limit(id, entries) for id, entries in by_id.items()]


def _limit(id: str, entries: Sequence[tuple[Page, Comparison]]) -> Limit:
    sizes: dict[bool, list[float]] = {True: [], False: []}
    for _, comparison in entries:
        sizes[comparison.in_verdict].append(abs(comparison.change))
    stated = [comparison.limit for _, comparison in entries if comparison.limit is not None]
    return Limit(
        id=id,
        unit=entries[0][1].unit,
        pages=len(entries),
        seen=len(sizes[True]),
        alarms=sum(id in page.alarms for page, _ in entries),
        floor=max(comparison.floor for _, comparison in entries),
        limit=float(np.median(stated)) if stated else None,
        least_seen=min(sizes[True], default=None),
        most_unseen=max(sizes[False], default=None),
    )


def from_size(pages: Sequence[Page], kind: str) -> float | None:
    """The least size of a kind from which on every page names it; None where the largest does not."""
    least = None
    for page in sorted((page for page in pages if page.plant.kind == kind), key=_strength, reverse=True):
        if not is_named(page):
            break
        least = page.plant.size
    return least


def _strength(page: Page) -> float:
    """Fewer bits are the larger change."""
    return -page.plant.size if page.plant.kind == "rounded" else page.plant.size


def of_null(pages: Sequence[Page], nulls: Sequence[NullPage], null: Null) -> list[NullPage]:
    """All pages of that kind: those made for it, and those of exchanged numbers, which stand with their plants."""
    return [one for one in (*nulls, *(turned for page in pages for turned in page.exchanged)) if one.null == null]


def measures(
    pages: Sequence[Page], nulls: Sequence[NullPage], losses: Mapping[str, Sequence[float]]
) -> dict[str, Interval]:
    """Everything that the claims need, and what was named of each kind."""
    quiet = [bool(page.alarms) for page in pages if page.unchanged]
    rounding, exchanged = of_null(pages, nulls, "rounding"), of_null(pages, nulls, "exchanged")
    tunes = [max((page for page in pages if page.plant.kind == kind), key=_strength) for kind in TUNES]
    loudest = max((page for page in pages if page.plant.kind == "noise"), key=_strength)
    # Nats a token, from the mean of the first tenth of the steps to that of the last.
    falls = [
        float(np.mean(values[:tenth]) - np.mean(values[-tenth:]))
        for values in losses.values()
        if (tenth := max(1, len(values) // 10))
    ]
    measured = {
        FALSE_ALARMS: _share([*quiet, *(bool(one.alarms) for one in rounding)]),
        BARE_PAGES: _share([bool(one.bare_alarms) for one in rounding]),
        BARE: _share([p <= LEVEL for one in rounding for p in one.bare]),
        EXCHANGED: _share([bool(one.alarms) for one in exchanged]),
        EXCHANGED_BARE_PAGES: _share([bool(one.bare_alarms) for one in exchanged]),
        EXCHANGED_BARE: _share([p <= LEVEL for one in exchanged for p in one.bare]),
        NAMED: _share([is_named(page) for page in tunes]),
        LARGEST_NOISE: Interval(estimate=float(len(loudest.behaviour)), how="one page"),
        LEARNED: Interval(estimate=min(falls), n=len(falls), how="the least of all tunes"),
        CHANCE: Interval(
            estimate=min(one.least for one in rounding), n=len(rounding), how="the least of all such pages"
        ),
    }
    for kind in dict.fromkeys(page.plant.kind for page in pages if not page.unchanged):
        named = [is_named(page) for page in pages if page.plant.kind == kind]
        measured[f"named/{kind}"] = binomial(sum(named), len(named), how=f"{sum(named)} of {len(named)} sizes")
    return measured


def _share(outcomes: Sequence[bool]) -> Interval:
    return binomial(sum(outcomes), len(outcomes))
