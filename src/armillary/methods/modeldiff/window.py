"""Which inputs a model finds plausible: a window of its NLL, chosen for all models of a comparison by the same draws.

The rule is ours (the paper's could not be read). Legend: M models, N draws of the pilot, R replicates.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from armillary.errors import NumericError, UsageError
from armillary.methods.modeldiff.config import Bounds, CompareConfig, InputSpace
from armillary.methods.modeldiff.core import Draws, Floats, Integers, SequenceSource, Side, resampled
from armillary.methods.modeldiff.source import ModelSource
from armillary.models.prompts import bare_ids
from armillary.runs.parts import Arrays, Store, kept

ROUNDING = 1e-5
"""Share of an end by which a window is wider than its quantiles: a draw of the pilot that is drawn again lies inside
however its batch was rounded, and a model with one value only (a uniform one) still gets a window around it."""

_CERTAIN = 0.01
"""Nats above certainty that are rounding: of 16 tokens with logits in the hundreds, in float32."""

LEAST_TEXTS = 20
"""Human texts that choose a window: with fewer the 5 % quantile rests on the very lowest alone."""


@dataclass(frozen=True, kw_only=True)
class Pilot:
    """Draws of every model at temperature 1, each scored by all of them.

    A model's window lies between two quantiles of the NLL of what it writes. The draws of the others count for it by
    how likely it is to write them, ``p_M / sum_k N_k p_k`` (the balance heuristic): far models are left with their own
    draws, and a model and its copy have the same ones, so that sampling can't part their windows.
    """

    nll_MN: Floats
    """NLL (nats, summed) of every draw under each model; infinity for probability 0."""

    drawn_from_N: Integers
    """Which model wrote it."""

    quantiles: tuple[float, float]
    """Lower and upper end."""

    @property
    def windows(self) -> list[Bounds]:
        """Lowest and highest NLL (nats) of each model's window."""
        ones = np.ones((1, len(self.drawn_from_N)))
        return [(float(low), float(high)) for low, high in self._quantiles(ones)[0]]

    def resampled(self, replicates: int, seeds: list[int]) -> Floats:
        """The windows ``[r, m, 2]`` of resampled draws, each model's draws by a seed of its own."""
        counts_RN = np.empty((replicates, len(self.drawn_from_N)))
        for model, seed in enumerate(seeds):
            own = np.flatnonzero(self.drawn_from_N == model)
            # Another stream than the one that resamples the samples themselves.
            child = int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])
            counts_RN[:, own] = np.concatenate(list(resampled(own, np.zeros_like(own), replicates, child)))
        return self._quantiles(counts_RN)

    def _quantiles(self, counts_RN: Floats) -> Floats:
        with np.errstate(divide="ignore"):
            log_counts_M = np.log(np.bincount(self.drawn_from_N, minlength=len(self.nll_MN)))
        log_mixture_N = np.logaddexp.reduce(log_counts_M[:, None] - self.nll_MN, axis=0)
        ends_RM2 = np.empty((len(counts_RN), len(self.nll_MN), 2))
        for model, nll_N in enumerate(self.nll_MN):
            weight_N = np.exp(-nll_N - log_mixture_N)
            order = np.argsort(nll_N, kind="stable")
            order = order[weight_N[order] > 0]
            for replicate, share_N in enumerate(counts_RN[:, order] * weight_N[order]):
                # Draws that this replicate lacks would be jumps, at which rounding could part two copies.
                share_K, nll_K = share_N[share_N > 0], nll_N[order][share_N > 0]
                # The middle of each draw's share of the weight, as the quantile of equal weights has it.
                middles_K = np.cumsum(share_K) - share_K / 2
                ends_RM2[replicate, model] = np.interp(np.asarray(self.quantiles) * share_K.sum(), middles_K, nll_K)
        widened: Floats = ends_RM2 + ROUNDING * (1 + np.abs(ends_RM2)) * [-1.0, 1.0]
        return widened


def drawn_pilot(
    sources: Mapping[Side, SequenceSource],
    space: InputSpace,
    config: CompareConfig,
    seeds: Mapping[Side, int],
    store: Store | None = None,
) -> Pilot:
    """``config.pilot`` draws of each model, scored by all; ``"a pilot, scored by all"`` names A's in the ``store``.

    Where a source draws at several temperatures, only the sequences drawn at 1 count. A source that draws by ladders
    whose runs are long (``TemperedSource``) lends its ``scorer`` for this, where that one draws too.
    """

    def draw(side: Side) -> Arrays:
        lent = getattr(sources[side], "scorer", None)
        source: Any = lent if hasattr(lent, "sample") else sources[side]
        draws = as_draws(source.sample(config.pilot, seed=block_seed(seeds[side], -1)), space.length)
        # Scored alike by all, so that a copy has the same numbers to the bit.
        ids_NL = draws.ids_NL
        nll_MN = np.stack([numbers(other.score(ids_NL), "pilot", len(ids_NL)) for other in sources.values()])
        own_N = nll_MN[list(sources).index(side)]
        stated_N = own_N if draws.nll_N is None else draws.nll_N
        plain = np.isclose(draws.log_q_KN[draws.rung_N, np.arange(len(stated_N))], -stated_N, atol=1e-3)
        plain = plain if plain.any() else np.isfinite(own_N)
        if not plain.any():
            raise NumericError("A model gives probability 0 to every sequence that it drew itself.")
        return {"nll": nll_MN[:, plain]}

    nll = [kept(store, f"{side} pilot, scored by all", partial(draw, side))["nll"] for side in sources]
    drawn_from_N = np.repeat(np.arange(len(nll)), [nll_MK.shape[1] for nll_MK in nll])
    return Pilot(nll_MN=np.concatenate(nll, axis=1), drawn_from_N=drawn_from_N, quantiles=space.quantiles)


def text_window(source: ModelSource, texts: list[str]) -> Bounds:
    """The 5 % and 95 % quantiles of the NLL (nats) of human texts cut to the length of the space.

    Raises UsageError where fewer than 20 texts are long enough.
    """
    rows = [row[: source.length] for row in bare_ids(source.loaded.tokenizer, texts)]
    long_enough = [row for row in rows if len(row) == source.length and not set(row) & set(source.banned)]
    if len(long_enough) < LEAST_TEXTS:
        raise UsageError(
            f"A window needs {LEAST_TEXTS} texts of {source.length} tokens or more; {len(long_enough)} are as long."
        )
    low, high = np.quantile(source.score(np.array(long_enough)), [0.05, 0.95])
    return float(low), float(high)


def as_draws(drawn: Draws | tuple[Any, Any], length: int) -> Draws:
    """What a proposal gave, checked. Raises NumericError or UsageError where it is not what it should be."""
    draws = drawn if isinstance(drawn, Draws) else Draws.single(*drawn)
    if draws.ids_NL.ndim != 2 or draws.ids_NL.shape[1] != length:
        raise UsageError(f"sample must give sequences of {length} tokens, got shape {draws.ids_NL.shape}.")
    if draws.log_q_KN.ndim != 2 or draws.log_q_KN.shape[1] != len(draws.ids_NL):
        shape = draws.log_q_KN.shape[1:]
        raise UsageError(f"sample must give one log-probability a sequence: {len(draws.ids_NL)}, not {shape}.")
    own_N = draws.log_q_KN[draws.rung_N, np.arange(len(draws.ids_NL))]
    wrong_N = ~np.isfinite(own_N) | (own_N > _CERTAIN)
    if wrong_N.any():
        raise NumericError(
            f"A sequence was drawn with log-probability {own_N[wrong_N][0]:g}: what is drawn must have a finite one "
            "under its own proposal, of 0 or less."
        )
    return draws


def block_seed(seed: int, block: int) -> int:
    """The seed of a block of draws; the pilot is block -1."""
    return int(np.random.SeedSequence([seed, block + 1]).generate_state(1)[0])


def numbers(nll: Any, which: str, count: int) -> Floats:
    """A model's NLL as float64 ``[count]``; NumericError for another shape, for NaN and for more than certainty."""
    nll_N: Floats = np.asarray(nll, dtype=np.float64)
    wrong = int((~(nll_N >= -_CERTAIN)).sum())
    if nll_N.shape != (count,) or wrong:
        raise NumericError(
            f"The {which} model gave {nll_N.shape} numbers for {count} sequences, {wrong} of them NaN or below 0; "
            "score must give one NLL each: the log-probability with its sign turned, infinity for probability 0."
        )
    return nll_N
