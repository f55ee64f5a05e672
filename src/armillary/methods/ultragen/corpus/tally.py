"""What was counted over checked responses: as much memory for a thousand as for a billion, and sums add up.

A response counts once in every interval, whatever the number of its attributes: they stand or fall together. All that
a bootstrap over responses needs is how often each pair (met, checked) occurred, and that is what is kept.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from armillary.numerics.intervals import Interval, binomial, bootstrap_of_counts

FIFTHS = 5
"""Stretches into which the list of attributes is cut, whatever its length so that enough verdicts fall into each."""

Pairs = dict[str, int]
"""How often a response met so many of so many: "12/45" to a count."""


@dataclass(frozen=True, kw_only=True)
class FailedAttribute:
    """An attribute that a response does not have."""

    text: str
    measured: str
    spans: list[tuple[int, int]]
    """Characters of the response where it fails, start and end."""


@dataclass(frozen=True, kw_only=True)
class WorstResponse:
    """A response with what it fails at."""

    where: str
    """Its place in the file: "line 12"."""

    prompt: str
    response: str
    satisfied: int
    judged: int
    failed: list[FailedAttribute]

    @property
    def rate(self) -> float:
        """The share of its attributes that it has."""
        return self.satisfied / self.judged


@dataclass(kw_only=True)
class Tally:
    """Counts over responses. ``add`` takes one, ``merge`` another tally; the order does not matter for any number."""

    responses: int = 0
    empty: int = 0
    all_met: int = 0
    """Responses with every attribute, all of them judged."""

    unparsed: int = 0
    """Verdicts of a judge that no one could read."""

    unjudged: int = 0
    """Soft attributes for which there was no judge, and hard ones that a text was no subject for."""

    imported: int = 0
    """Sentences of a list that are of no known kind, taken as soft attributes."""

    skipped: int = 0
    """Instructions of no known kind that were passed over."""

    left_out: int = 0
    """Responses of which all instructions were passed over; they count nowhere else."""

    all: Pairs = field(default_factory=dict)
    hard: Pairs = field(default_factory=dict)
    soft: Pairs = field(default_factory=dict)
    asking: Pairs = field(default_factory=dict)
    """Of the hard attributes those that an empty text does not have: what forbids something is met for free."""

    by_number: dict[str, Pairs] = field(default_factory=dict)
    """By the number of attributes in the list."""

    by_kind: dict[str, Pairs] = field(default_factory=dict)
    by_fifth: dict[str, Pairs] = field(default_factory=dict)
    """By the fifth of the list in which the attribute stands, "0" to "4"."""

    cells: dict[str, list[int]] = field(default_factory=dict)
    """Met and checked by kind and fifth: "word_count/3"."""

    worst: list[WorstResponse] = field(default_factory=list)
    """The first ones with the smallest share, at most ``keep`` of ``add``."""

    def merge(self, other: "Tally", keep: int) -> None:
        """Add the counts of responses that come after those counted here."""
        for name in ("responses", "empty", "all_met", "unparsed", "unjudged", "imported", "skipped", "left_out"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("all", "hard", "soft", "asking"):
            _add(getattr(self, name), getattr(other, name))
        for name in ("by_number", "by_kind", "by_fifth"):
            mine: dict[str, Pairs] = getattr(self, name)
            for key, pairs in getattr(other, name).items():
                _add(mine.setdefault(key, {}), pairs)
        for key, (met, checked) in other.cells.items():
            cell = self.cells.setdefault(key, [0, 0])
            cell[0], cell[1] = cell[0] + met, cell[1] + checked
        # Sorting is stable: of equal shares the earlier response stays.
        self.worst = sorted([*self.worst, *other.worst], key=lambda response: response.rate)[:keep]

    def add(self, response: "CheckedResponse", keep: int) -> None:
        """Count one response."""
        self.skipped += response.skipped
        if not response.verdicts:
            self.left_out += 1
            return
        self.responses += 1
        self.empty += response.empty
        self.unparsed += response.unparsed
        verdicts = response.verdicts
        self.unjudged += sum(verdict.met is None for verdict in verdicts) - response.unparsed
        self.imported += response.imported
        judged = [verdict for verdict in verdicts if verdict.met is not None]
        self.all_met += len(judged) == len(verdicts) and all(verdict.met for verdict in verdicts)
        groups: dict[str, list[bool]] = {"all": [], "hard": [], "soft": [], "asking": []}
        kinds: dict[str, list[bool]] = {}
        fifths: dict[str, list[bool]] = {}
        for verdict in judged:
            met = bool(verdict.met)
            fifth = str(fifth_of(verdict.rank, len(verdicts)))
            groups["all"].append(met)
            groups["hard" if verdict.hard else "soft"].append(met)
            if verdict.hard and not verdict.negative:
                groups["asking"].append(met)
            kinds.setdefault(verdict.kind, []).append(met)
            fifths.setdefault(fifth, []).append(met)
            cell = self.cells.setdefault(f"{verdict.kind}/{fifth}", [0, 0])
            cell[0], cell[1] = cell[0] + met, cell[1] + 1
        for name, met_list in groups.items():
            _count(getattr(self, name), met_list)
        _count(self.by_number.setdefault(str(len(verdicts)), {}), groups["all"])
        for counted, lists in ((self.by_kind, kinds), (self.by_fifth, fifths)):
            for key, met_list in lists.items():
                _count(counted.setdefault(key, {}), met_list)
        self._keep_if_bad(response, sum(groups["all"]), len(judged), keep)

    def _keep_if_bad(self, response: "CheckedResponse", satisfied: int, judged: int, keep: int) -> None:
        # Of an empty response there is nothing to show.
        if not judged or satisfied == judged or response.empty:
            return
        if len(self.worst) >= keep and (not keep or self.worst[-1].rate <= satisfied / judged):
            return
        failed = [
            FailedAttribute(text=verdict.text, measured=verdict.measured, spans=[*verdict.spans])
            for verdict in response.verdicts
            if verdict.met is False
        ]
        self.worst.append(
            WorstResponse(
                where=response.where.partition(" of ")[0], prompt=response.prompt, response=response.response,
                satisfied=satisfied, judged=judged, failed=failed,
            )
        )  # fmt: skip
        self.worst = sorted(self.worst, key=lambda worst: worst.rate)[:keep]


@dataclass(frozen=True, kw_only=True)
class CheckedAttribute:
    """The verdict on one attribute of one response."""

    kind: str
    text: str
    hard: bool
    negative: bool
    rank: int
    """Its place in the list, from 0."""

    met: bool | None
    measured: str
    spans: list[tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class CheckedResponse:
    """One response with the verdicts on all its attributes."""

    where: str
    prompt: str
    response: str
    verdicts: list[CheckedAttribute]
    unparsed: int
    imported: int = 0
    skipped: int = 0

    @property
    def empty(self) -> bool:
        """Whether there is no word to check."""
        return not self.response.strip()


def fifth_of(rank: int, attributes: int) -> int:
    """The fifth of the list, 0 to 4, in which the attribute of that rank stands: five times u = rank / (N - 1)."""
    return 0 if attributes < 2 else min(FIFTHS - 1, rank * FIFTHS // (attributes - 1))


def mean_rate(pairs: Mapping[str, int], seed: int) -> Interval | None:
    """The mean over responses of the share met (macro CSR), by bootstrap over responses; None of no response."""
    met_Q, checked_Q, times_Q = _arrays(pairs)
    return _rate(met_Q / checked_Q, np.ones_like(met_Q), times_Q, seed)


def pooled_rate(pairs: Mapping[str, int], seed: int) -> Interval | None:
    """The share met of all attributes together (micro), by bootstrap over responses; None of no response."""
    met_Q, checked_Q, times_Q = _arrays(pairs)
    return _rate(met_Q, checked_Q, times_Q, seed)


def _rate(
    met_Q: NDArray[np.float64], weight_Q: NDArray[np.float64], times_Q: NDArray[np.int64], seed: int
) -> Interval | None:
    """Sum of met by sum of weights, each sort of response as often as it occurred."""
    if not len(met_Q):
        return None
    n = int(times_Q.sum())
    if not met_Q.any() or (met_Q == weight_Q).all():
        # Resampling what never differs tells no interval; of n responses that are all alike the next one may differ.
        alike = binomial(n if met_Q.any() else 0, n)
        how = f"exact binomial over {n:,} {'response' if n == 1 else 'responses'}, all alike"
        return Interval(estimate=alike.estimate, low=alike.low, high=alike.high, n=n, how=how)
    return bootstrap_of_counts(
        lambda counts_RQ: counts_RQ @ met_Q / (counts_RQ @ weight_Q), times_Q, seed=seed,
        how=f"bootstrap over {n:,} responses",
    )  # fmt: skip


def _arrays(pairs: Mapping[str, int]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    # Sorted, so that a seed fixes the interval whatever came first.
    rows = sorted((*map(int, pair.split("/")), times) for pair, times in pairs.items())
    table = np.array(rows, dtype=np.int64).reshape(-1, 3)
    return table[:, 0].astype(np.float64), table[:, 1].astype(np.float64), table[:, 2]


def _count(pairs: Pairs, met: Iterable[bool]) -> None:
    met = [*met]
    if met:
        key = f"{sum(met)}/{len(met)}"
        pairs[key] = pairs.get(key, 0) + 1


def _add(pairs: Pairs, more: Mapping[str, int]) -> None:
    total = Counter(pairs)
    total.update(more)
    pairs.update(total)
