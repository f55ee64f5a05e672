"""Samples and the counts that they stand for: what a model has to offer, sums of weights, on how much a figure rests.

A sample ``x`` drawn with probability ``q(x)`` stands for ``1 / (N q(x))`` sequences, so that the sum of the weights of
the samples in a set estimates the number of sequences in it without bias (arXiv 2412.12177; importance sampling).
Needs no torch.
Legend: N samples, L tokens of each, K rungs, U resampled units, R replicates, C cells.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from armillary.methods.modeldiff.config import Bounds
from armillary.numerics.mixing import statistical_inefficiency
from armillary.numerics.pareto import UNRELIABLE, pareto_k
from armillary.numerics.reweighting import balance_log_weights

ENOUGH = 100.0
"""Effective samples from which on a figure is shown as reliable: a count is then right to about a tenth."""

LARGEST = 0.05
"""Share of the largest weight up to which it is."""

BLOCK = 100_000
"""Resampling weights held at once: few enough to stay in the processor's cache."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Tokens = Integers
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Draws:
    """Sequences with what they were drawn from."""

    ids_NL: Tokens
    """Token ids, prefix not included; every row has the same length. Duplicates are legitimate and stay."""

    log_q_KN: Floats
    """Log-probability (nats) of each sequence under each proposal, whole support, exact."""

    rung_N: NDArray[np.int64]
    """Which proposal each sequence was drawn from."""

    nll_N: Floats | None = None
    """Summed NLL (nats) under the model itself where drawing gave it (a proposal at temperature 1); else None."""

    token_nll_NL: Floats | None = None
    """The same of each token, where drawing gave it."""

    unit_N: NDArray[np.int64] | None = None
    """What hangs together and is resampled as one, such as a chain; None where every draw is independent."""

    @classmethod
    def single(cls, ids_NL: Any, log_q_N: Any) -> "Draws":
        """Draws from one proposal that is known only by its log-probabilities."""
        ids_NL = np.asarray(ids_NL, dtype=np.int64)
        log_q_KN = np.asarray(log_q_N, dtype=np.float64)[None]
        return cls(ids_NL=ids_NL, log_q_KN=log_q_KN, rung_N=np.zeros(len(ids_NL), dtype=np.int64))


class Scorer(Protocol):
    """Anything that says how surprising a sequence is."""

    def score(self, ids_NL: Tokens) -> Floats:
        """Summed NLL (nats, float64) of each sequence given the model's own prefix; infinity for probability 0."""
        ...


class Proposal(Protocol):
    """Anything that draws sequences of the compared length."""

    def sample(self, n: int, *, seed: int) -> "Draws | tuple[Any, Any]":
        """``n`` sequences as ``Draws``, or as a pair (ids [n, L], log-probability [n]) of one proposal."""
        ...


class SequenceSource(Scorer, Proposal, Protocol):
    """One of the two models that are compared."""


def log_sum(log_weight_N: Floats) -> float:
    """Log of the sum of the weights; minus infinity of nothing."""
    if not len(log_weight_N) or (top := float(np.max(log_weight_N))) == -math.inf:
        return -math.inf
    return top + math.log(float(np.exp(log_weight_N - top).sum()))


def effective_size(log_weight_N: Floats) -> float:
    """``(sum w)**2 / sum w**2``: as many equal weights would tell as much; 0 of nothing."""
    if log_sum(log_weight_N) == -math.inf:
        return 0.0
    return math.exp(2 * log_sum(log_weight_N) - log_sum(2 * log_weight_N))


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """On how many samples a figure really rests."""

    drawn: int
    """Samples drawn from the model."""

    inside: int
    """Of these, samples inside the window."""

    effective: float
    """As many equally weighted samples would tell as much."""

    largest: float
    """Share of the largest weight in the sum."""

    pareto_k: float
    """Shape of the tail of the weights: above 0.7 the sum may rest on samples that were never drawn."""

    @property
    def enough(self) -> bool:
        """Whether the figure may be shown as reliable."""
        return self.effective >= ENOUGH and self.largest <= LARGEST and self.pareto_k <= UNRELIABLE

    @property
    def wanted(self) -> int | None:
        """How many samples would do, from these; None where a heavy tail forbids to say, or none was inside."""
        if self.effective <= 0 or self.pareto_k > UNRELIABLE:
            return None
        factor = max(ENOUGH / self.effective, self.largest / LARGEST, 1.0)
        # Two significant digits, upwards: the factor itself is an estimate.
        exact = self.drawn * factor
        unit: int = 10 ** max(0, math.floor(math.log10(exact)) - 1)
        return math.ceil(exact / unit) * unit

    def sentence(self) -> str:
        """In words."""
        rests = f"{self.effective:.0f} effective samples of {self.drawn:,} drawn ({self.inside:,} inside the window)"
        if self.enough:
            return f"{rests}: enough."
        if self.wanted is None:
            return (
                f"{rests}: not enough, and the weights have a heavy tail (Pareto k {self.pareto_k:.2f}), so that more "
                "samples may not help; lower the window's upper edge, or use the profile weighting."
            )
        return f"{rests}: not enough samples; {self.wanted:,} would do."


def reliability(log_weight_N: Floats, inside_N: Mask, unit_N: Integers | None = None, rungs: int = 1) -> Reliability:
    """How many samples a sum over ``inside`` rests on; draws of one chain (``unit``) count for what they add."""
    kept = log_weight_N[inside_N]
    total = log_sum(kept)
    effective = effective_size(kept)
    if unit_N is not None and effective > 0:
        effective *= _independence(np.where(inside_N, np.exp(log_weight_N - kept.max()), 0.0), unit_N, rungs)
    return Reliability(
        drawn=len(log_weight_N),
        inside=int(inside_N.sum()),
        effective=effective,
        largest=math.exp(float(kept.max()) - total) if total > -math.inf else 1.0,
        pareto_k=pareto_k(kept) if len(kept) else math.inf,
    )


def _independence(weight_N: Floats, unit_N: Integers, rungs: int) -> float:
    """Variance of the sum of the weights were all draws independent, over that of the chains; 1 at most.

    A chain's draws stand in their order, the rungs of a sweep together. Its sums over the rungs give the second by
    their autocorrelation, or the chains' whole sums where draws are too few or not equally many.
    """
    _, chain_N, sizes = np.unique(unit_N, return_inverse=True, return_counts=True)
    if sizes.max() == 1:
        return 1.0
    if np.ptp(sizes) == 0 and sizes[0] % rungs == 0 and sizes[0] >= 4 * rungs:
        weight_CSK = weight_N[np.argsort(chain_N, kind="stable")].reshape(len(sizes), -1, rungs)
        sums_CS = weight_CSK.sum(axis=2)
        chained = sums_CS.size * sums_CS.var() * statistical_inefficiency(sums_CS)
        independent = sums_CS.size * weight_CSK.var(axis=(0, 1)).sum()
    else:
        chained = len(sizes) * np.bincount(chain_N, weight_N).var()
        independent = len(weight_N) * weight_N.var()
    return float(min(1.0, independent / chained)) if chained > 0 else 1.0


def resampled(unit_N: Integers, stratum_N: Integers, replicates: int, seed: int) -> Iterator[Floats]:
    """How often each sample was drawn, ``[r, n]`` in blocks: units with replacement, within their stratum.

    A unit is a sample, or a chain of samples that hang together; a stratum is a rung, whose size was fixed.
    """
    generator = np.random.default_rng(seed)
    _, first_U, unit_N = np.unique(unit_N, return_index=True, return_inverse=True)
    strata = np.unique(stratum_N)
    members = [
        slice(None) if len(strata) == 1 else np.flatnonzero(stratum_N[first_U] == stratum) for stratum in strata
    ]
    sizes = [len(first_U[stratum]) for stratum in members]
    rows = max(1, BLOCK // len(unit_N))
    for start in range(0, replicates, rows):
        block_RU = np.empty((min(rows, replicates - start), len(first_U)))
        for counts_U in block_RU:
            for stratum, size in zip(members, sizes, strict=True):
                counts_U[stratum] = np.bincount(generator.integers(size, size=size), minlength=size)
        yield block_RU if len(first_U) == len(unit_N) else block_RU[:, unit_N]


def replicate_sums(weight_N: Floats, resamples: Iterable[tuple[Floats, Integers]], cells: int) -> Floats:
    """Sum of the weights in each cell, per replicate ``[r, c]``: how often each sample was drawn, and its cell.

    A cell of -1 is left out.
    """
    sums = []
    for counts_N, cell_N in resamples:
        kept = np.flatnonzero(cell_N >= 0)
        if len(kept) == len(cell_N):
            sums.append(np.bincount(cell_N, counts_N * weight_N, minlength=cells))
        else:
            sums.append(np.bincount(cell_N[kept], counts_N[kept] * weight_N[kept], minlength=cells))
    return np.stack(sums).astype(np.float64)


# One model's samples, scored by both: the raw numbers from which every figure of a comparison is computed.

Side = Literal["a", "b"]
SIDES: tuple[tuple[Side, Side], ...] = (("a", "b"), ("b", "a"))
"""Each side with the other."""

_ARRAYS = ("ids_NL", "own_N", "other_N", "log_weight_N", "unit_N", "stratum_N")
_OPTIONAL = ("log_q_KN", "own_tokens_NL", "other_tokens_NL", "text_N")


@dataclass(frozen=True, kw_only=True)
class Direction:
    """Sequences drawn from one model (its side) and what both models make of them."""

    side: Side
    window: Bounds
    """NLL (nats) between which the drawing model finds a sequence plausible."""

    other_window: Bounds
    """The same of the other model, on its own NLL."""

    ids_NL: Tokens
    own_N: Floats
    """Summed NLL (nats) under the model that drew."""

    other_N: Floats
    """Summed NLL (nats) under the other; infinity where it gives probability 0."""

    log_weight_N: Floats
    """Log of the number of sequences that a sample stands for, so that sums of weights are counts."""

    unit_N: Integers
    """What is resampled as one: the sample itself, or its chain."""

    stratum_N: Integers
    """The rung, whose number of samples was fixed."""

    log_q_KN: Floats | None = None
    """Log-probability of each sample under each rung, where it was drawn so."""

    own_tokens_NL: Floats | None = None
    other_tokens_NL: Floats | None = None
    """NLL (nats) of each token under the two models, where they tell it."""

    text_N: Any = None
    """The samples as text, where a tokenizer is known."""

    @classmethod
    def from_draws(cls, draws: Draws, **facts: Any) -> "Direction":
        """Samples of known log-probability, weighed by the balance heuristic over their rungs (Veach and Guibas 1995).

        ``facts`` are the other fields; the weights hold the factor 1/N.
        """
        n = len(draws.ids_NL)
        counts_K = np.bincount(draws.rung_N, minlength=len(draws.log_q_KN))
        return cls(
            ids_NL=draws.ids_NL,
            log_weight_N=balance_log_weights(draws.log_q_KN, counts_K) - np.log(n),
            unit_N=np.arange(n) if draws.unit_N is None else draws.unit_N,
            # A chain visits all rungs, so chains are not drawn rung by rung.
            stratum_N=draws.rung_N if draws.unit_N is None else np.zeros(n, dtype=np.int64),
            log_q_KN=draws.log_q_KN,
            **facts,
        )

    @property
    def difference_N(self) -> Floats:
        """``D = z_A - z_B`` (nats, summed): below 0 A likes the sequence more than B does, whoever drew it."""
        first, second = (self.own_N, self.other_N) if self.side == "a" else (self.other_N, self.own_N)
        return first - second

    @property
    def inside_N(self) -> Mask:
        """Which samples the drawing model finds plausible."""
        return (self.own_N >= self.window[0]) & (self.own_N <= self.window[1])

    @property
    def overlap_N(self) -> Mask:
        """Which samples both find plausible, each by its own window."""
        low, high = self.other_window
        return self.inside_N & (self.other_N >= low) & (self.other_N <= high)

    @property
    def reliability(self) -> Reliability:
        """On how many samples the counts of this direction rest."""
        return reliability(self.log_weight_N, self.inside_N, self.unit_N, self.rungs)

    @property
    def rungs(self) -> int:
        """Temperatures drawn at."""
        return 1 if self.log_q_KN is None else len(self.log_q_KN)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every array under its name, for an npz file."""
        named = {name: getattr(self, name) for name in (*_ARRAYS, *_OPTIONAL)}
        return {f"{self.side}/{name}": array for name, array in named.items() if array is not None}

    @classmethod
    def from_arrays(cls, side: Side, window: Bounds, other_window: Bounds, arrays: Mapping[str, Any]) -> "Direction":
        """Inverse of ``arrays``."""
        named = {name: arrays[f"{side}/{name}"] for name in (*_ARRAYS, *_OPTIONAL) if f"{side}/{name}" in arrays}
        return cls(side=side, window=window, other_window=other_window, **named)
