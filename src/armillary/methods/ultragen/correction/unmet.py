"""Attributes that no sample meets: by chance, since their kind is hard, or because they can't be met.

The chance that an attribute which can be met fails in all its samples is read off the other attributes of its kind.
With one pass rate q a kind it is (1 - q)^n. But attributes of a kind differ: a rare word is harder than a common one,
and then far more of them fail throughout than one rate says. So the rates of a kind get a spread, Beta(a, b), fitted
to those attributes that were met at least once (which the impossible ones are not), and the chance is that of a
beta-binomial.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from armillary.attributes.attribute import Attribute
from armillary.errors import UsageError
from armillary.numerics.permutation import holm

Spread = Literal["fitted", "none"]

LEAST = 10
"""Attributes of a kind that were met at least once, of which two numbers can be fitted; of fewer one rate is taken."""


@dataclass(frozen=True, kw_only=True)
class SetOutcomes:
    """What K samples to one set made of its attributes."""

    attributes: Sequence[Attribute]
    met: Sequence[Sequence[bool | None]]
    """A row a sample, a verdict an attribute; None where it was not judged, which counts as no sample."""

    def __post_init__(self) -> None:
        if any(len(row) != len(self.attributes) for row in self.met):
            raise UsageError(f"each sample needs {len(self.attributes)} verdicts, one an attribute.")


@dataclass(frozen=True, kw_only=True)
class NeverMet:
    """An attribute that failed in all its samples."""

    attribute: Attribute
    samples: int
    """Over all sets that contain it."""

    sets: list[int]
    """Places of these sets."""

    p: float
    """Chance of so many failures for an attribute of its kind that can be met."""

    corrected: float
    """``p`` corrected for all attributes that were tested (Holm)."""

    suspect: bool
    """Whether p is at the level or below: of attributes that can be met at most that share is suspected."""


def never_met(outcomes: Sequence[SetOutcomes], *, level: float = 0.05, spread: Spread = "fitted") -> list[NeverMet]:
    """Every attribute that was met in no sample, with its p-value, pooled over the sets that contain it.

    ``spread="none"`` takes one rate a kind, as in (1 - q)^n, with Beta(1, 1) as what was known before: right only
    where the attributes of a kind are equally hard. The attribute itself is no part of what it is compared with.
    UsageError for a level that is none.
    """
    if not 0 < level < 1:
        raise UsageError(f"level must lie between 0 and 1, got {level}.")
    units: dict[Attribute, list[int]] = {}
    places: defaultdict[Attribute, list[int]] = defaultdict(list)
    for place, outcome in enumerate(outcomes):
        for index, attribute in enumerate(outcome.attributes):
            verdicts = [row[index] for row in outcome.met if row[index] is not None]
            unit = units.setdefault(attribute, [0, 0])
            unit[0], unit[1] = unit[0] + sum(map(bool, verdicts)), unit[1] + len(verdicts)
            places[attribute].append(place)
    by_kind: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for attribute, (met, samples) in units.items():
        if samples:
            by_kind[attribute.kind].append((met, samples))
    fits = {kind: _fit(rows) for kind, rows in by_kind.items()} if spread == "fitted" else {}
    failed = [attribute for attribute, (met, samples) in units.items() if samples and not met]
    chances = [_chance(units[attribute][1], by_kind[attribute.kind], fits.get(attribute.kind)) for attribute in failed]
    return [
        NeverMet(
            attribute=attribute, samples=units[attribute][1], sets=places[attribute], p=p, corrected=corrected,
            suspect=p <= level,
        )
        for attribute, p, corrected in zip(failed, chances, holm(chances) if chances else [], strict=True)
    ]  # fmt: skip


def _chance(samples: int, kind: Sequence[tuple[int, int]], fit: tuple[float, float] | None) -> float:
    """Of no pass in so many samples: of a beta-binomial, or with one rate of the kind's other attributes."""
    if fit is not None:
        return _no_pass(samples, *fit)
    # One attribute without a pass, of as many samples, is the one in question; it says nothing about the others.
    met, total = sum(row[0] for row in kind), sum(row[1] for row in kind) - samples
    return _no_pass(samples, 1 + met, 1 + total - met)


def _no_pass(samples: int, a: float, b: float) -> float:
    """Integral of (1 - q)^n over Beta(a, b): the product of (b + j) / (a + b + j)."""
    steps = np.arange(samples)
    return float(np.exp(np.sum(np.log(b + steps) - np.log(a + b + steps))))


def _fit(rows: Sequence[tuple[int, int]]) -> tuple[float, float] | None:
    """Beta(a, b) of the pass rates, by maximum likelihood over attributes met at least once, given that they were.

    None where there are fewer than ``LEAST`` of them, or where nothing was missed.
    """
    from scipy.optimize import minimize
    from scipy.special import betaln

    met_U, samples_U = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    met_U, samples_U = met_U[met_U > 0], samples_U[met_U > 0]
    if len(met_U) < LEAST or (met_U == samples_U).all():
        return None

    def loss(parameters: NDArray[np.float64]) -> float:
        mean, strength = 1 / (1 + np.exp(-parameters[0])), np.exp(parameters[1])
        a, b = mean * strength, (1 - mean) * strength
        seen_U = betaln(a + met_U, b + samples_U - met_U) - betaln(a, b)
        none_U = betaln(a, b + samples_U) - betaln(a, b)
        # A weak pull to a strength of about 4 keeps the fit of few attributes from running off to 0 or to infinity.
        return float(-(seen_U - np.log1p(-np.exp(np.minimum(none_U, -1e-12)))).sum() + (parameters[1] - 1.4) ** 2 / 8)

    rate = float(np.clip(met_U.sum() / samples_U.sum(), 0.02, 0.98))
    best = minimize(loss, np.array([np.log(rate / (1 - rate)), 1.4]), method="Nelder-Mead")
    mean, strength = 1 / (1 + np.exp(-best.x[0])), np.exp(best.x[1])
    return float(mean * strength), float((1 - mean) * strength)


def pass_rates(outcomes: Sequence[SetOutcomes]) -> Mapping[str, tuple[int, int]]:
    """Met and judged by kind, over all samples: what each kind's rate is read off."""
    counts: dict[str, tuple[int, int]] = {}
    for outcome in outcomes:
        for row in outcome.met:
            for attribute, verdict in zip(outcome.attributes, row, strict=True):
                met, judged = counts.get(attribute.kind, (0, 0))
                if verdict is not None:
                    counts[attribute.kind] = (met + verdict, judged + 1)
    return counts
