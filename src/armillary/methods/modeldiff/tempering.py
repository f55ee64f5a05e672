"""Parallel tempering and histogram reweighting: sequences at several whole-sequence temperatures, weighted to counts.

Which moves, thresholds and defaults the paper uses was not available; those here are ours. The rung at temperature 1
has a known constant, Z = 1, so that the weights give absolute counts. At rung k the stationary law is
p(x)^(1/T_k) / Z_k: a temperature of the sequence, not of each token. Needs no torch.
Legend: S sweeps, C chains (ladders), K rungs of each, L tokens, N = C K rows of one batch or, in results, draws that
were kept, P pairs of neighbouring rungs.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from armillary.errors import NumericError, UsageError
from armillary.methods.modeldiff.core import Draws, Floats, Tokens
from armillary.numerics.mixing import round_trips, split_r_hat, statistical_inefficiency
from armillary.numerics.reweighting import Mbar, balance_log_weights, mbar
from armillary.progress import counted

Bools = NDArray[np.bool_]


class Redraw(NamedTuple):
    """Proposed sequences; everything in nats, float64."""

    ids_NL: Tokens
    """The rows with new tokens from ``start`` on."""

    log_q_new_N: Floats
    """Log-probability of the new suffix under softmax(logits / tau), given the tokens before it."""

    log_q_old_N: Floats
    """The same of the old suffix."""

    log_p_change_N: Floats
    """``ln p`` of the new sequence less that of the old one, at temperature 1. The same logits give it, and with
    ``tau`` of 1 it should equal ``log_q_new - log_q_old`` to the last bit, so that such moves are always accepted."""


class TemperedModel(Protocol):
    """Two batched operations, which is all that parallel tempering asks of a model."""

    def log_prob(self, ids_NL: Tokens) -> Floats:
        """Log-probability (nats) of each sequence at temperature 1, normalised over all sequences of its length."""
        ...

    def redraw_suffix(self, ids_NL: Tokens, start_N: NDArray[np.int64], tau_N: Floats, uniforms_NL: Floats) -> Redraw:
        """Draw tokens ``start[n]`` to the last of row n anew from softmax(logits / tau[n]).

        ``uniforms[n, t]`` (in [0, 1)) picks the token at position t by the inverse cumulative distribution.
        """
        ...


class Ladder:
    """C independent ladders of K rungs, all moved as one batch."""

    def __init__(
        self, model: TemperedModel, length: int, temperatures_K: Floats, chains: int, generator: np.random.Generator
    ) -> None:
        """Starts at ancestral draws, token by token at each rung's temperature."""
        self.model, self.generator, self.temperatures_K = model, generator, temperatures_K
        self.shape = (chains, len(temperatures_K))
        self.tau_N = np.tile(temperatures_K, chains)
        rows = len(self.tau_N)
        # Nothing of the first rows is kept: they are redrawn from their first token on.
        start_N, first_NL = np.zeros(rows, dtype=np.int64), np.zeros((rows, length), dtype=np.int64)
        drawn = model.redraw_suffix(first_NL, start_N, self.tau_N, generator.random((rows, length)))
        self.ids_CKL: Tokens = drawn.ids_NL.reshape(*self.shape, length)
        """Token ids of what stands at each rung."""
        self.nll_CK: Floats = -self._rescored()
        """Its summed NLL, nats."""
        self.replica_CK: NDArray[np.int64] = np.tile(np.arange(self.shape[1]), (chains, 1))
        """Which replica of its ladder stands at each rung."""

    def redraw(self) -> Bools:
        """Redraw a suffix of every row and accept by Metropolis and Hastings; ``[C, K]`` says where.

        One start for the whole batch, so that the common prefix is computed once: it depends on no chain's state,
        so the chains stay independent given the starts.
        """
        rows, length = len(self.tau_N), self.ids_CKL.shape[2]
        start_N = np.full(rows, self.generator.integers(length), dtype=np.int64)
        uniforms_NL, log_uniform_N = self.generator.random((rows, length)), self._log_uniform(rows)
        ids_NL = self.ids_CKL.reshape(rows, length)
        new = self.model.redraw_suffix(ids_NL, start_N, self.tau_N, uniforms_NL)
        log_ratio_N = new.log_p_change_N / self.tau_N - (new.log_q_new_N - new.log_q_old_N)
        if np.isnan(log_ratio_N).any():
            raise NumericError("the model gave NaN log-probabilities while a suffix was redrawn.")
        accepted_N: Bools = log_uniform_N <= log_ratio_N
        self.ids_CKL = np.where(accepted_N[:, None], new.ids_NL, ids_NL).reshape(self.ids_CKL.shape)
        accepted_CK = accepted_N.reshape(self.shape)
        self.nll_CK = self.nll_CK - np.where(accepted_N, new.log_p_change_N, 0.0).reshape(self.shape)
        return accepted_CK

    def swap(self) -> Bools:
        """Exchange neighbouring rungs, first pairs (0, 1), (2, 3), ..., then (1, 2), ...; ``[C, P]`` says where."""
        chains, rungs = self.shape
        accepted_CP = np.zeros((chains, rungs - 1), dtype=np.bool_)
        for first in (0, 1):
            low = np.arange(first, rungs - 1, 2)
            difference_CP = self.nll_CK[:, low] - self.nll_CK[:, low + 1]
            log_ratio_CP = (1 / self.temperatures_K[low] - 1 / self.temperatures_K[low + 1]) * difference_CP
            accepted = self._log_uniform((chains, len(low))) <= log_ratio_CP
            order_CK = np.tile(np.arange(rungs), (chains, 1))
            order_CK[:, low] += accepted
            order_CK[:, low + 1] -= accepted
            self.ids_CKL = np.take_along_axis(self.ids_CKL, order_CK[:, :, None], axis=1)
            self.nll_CK = np.take_along_axis(self.nll_CK, order_CK, axis=1)
            self.replica_CK = np.take_along_axis(self.replica_CK, order_CK, axis=1)
            accepted_CP[:, low] = accepted
        return accepted_CP

    def check_scores(self, tolerance: float) -> None:
        """NumericError where the NLL, kept up to date by differences, is not that of the sequences (nats)."""
        gap = float(np.abs(self._rescored() + self.nll_CK).max())
        if not gap <= tolerance:
            raise NumericError(
                f"the model's log_prob and redraw_suffix disagree by {gap:.3g} nats; {tolerance:.3g} is accepted."
            )

    def _rescored(self) -> Floats:
        log_prob_N = self.model.log_prob(self.ids_CKL.reshape(len(self.tau_N), -1))
        if not np.isfinite(log_prob_N).all():
            raise NumericError("the model gave a log-probability that is not finite to a sequence that it drew.")
        return log_prob_N.reshape(self.shape)

    def _log_uniform(self, shape: int | tuple[int, int]) -> Floats:
        # 1 - u lies in (0, 1], whose logarithm is finite.
        return np.log1p(-self.generator.random(shape))


LEAST_SWAP_RATE = 0.2
"""Of neighbouring rungs; below it a ladder is usually called too steep."""

MOST_R_HAT = 1.1
"""Of the NLL at any rung (Gelman and Rubin's customary limit)."""

SCORE_TOLERANCE = 1e-3
"""Nats per token by which the running NLL may miss the rescored one: rounding of float32 logits."""


@dataclass(frozen=True, kw_only=True)
class TemperedChains:
    """Draws of all rungs after burn-in and thinning, with their weights and how well the chains mixed."""

    temperatures: tuple[float, ...]
    """Of the rungs, ascending."""

    ids_NL: Tokens
    """Token ids, prefix not included."""

    nll_N: Floats
    """Summed NLL (nats) at temperature 1."""

    rung_N: NDArray[np.int64]
    """Index into ``temperatures`` of the rung at which each draw stood."""

    chain_N: NDArray[np.int64]
    """The ladder of each draw: the unit to resample, since draws of one ladder depend on each other."""

    log_q_KN: Floats
    """Log-density (nats) of each draw at each rung, ``f_k - nll / T_k`` with the estimated free energy."""

    log_weights_N: Floats
    """Balance-heuristic (MBAR) log weights: the mean of weight times indicator estimates an absolute count."""

    log_z_K: Floats
    """Log of the sum over all sequences of p^(1/T), each rung; 0 at temperature 1."""

    acceptance_K: Floats
    """Share of suffix redraws that were accepted, burn-in left out."""

    swap_rates: Floats
    """Share of swaps between each pair of neighbouring rungs that were accepted, burn-in left out."""

    round_trips: int
    """Journeys lowest rung - highest - lowest, all replicas together, burn-in left out."""

    r_hat_K: Floats
    """Split R-hat of the NLL at each rung."""

    inefficiency_K: Floats
    """Sweeps that are worth one independent draw, by the NLL at each rung."""

    thin: int
    """Every how many sweeps a draw was kept."""

    unmixed: tuple[str, ...]
    """What speaks against these draws, a sentence each; empty where nothing does."""

    def draws(self) -> Draws:
        """For the estimator; ``log_q`` carries the estimated constants, so resample ``chain_N`` for intervals."""
        return Draws(ids_NL=self.ids_NL, log_q_KN=self.log_q_KN, rung_N=self.rung_N, nll_N=self.nll_N)


@dataclass(frozen=True)
class _Trace:
    """What was recorded after burn-in."""

    ids_SCKL: NDArray[np.int32]
    nll_SCK: Floats
    replica_SCK: NDArray[np.int64]
    acceptance_K: Floats
    swap_rates: Floats

    def joined(self, later: "_Trace") -> "_Trace":
        """This and what came after it."""
        traces = (self, later)
        arrays = ([getattr(trace, name) for trace in traces] for name in ("ids_SCKL", "nll_SCK", "replica_SCK"))
        kept = [len(trace.nll_SCK) for trace in traces]
        rates = ([getattr(trace, name) for trace in traces] for name in ("acceptance_K", "swap_rates"))
        return _Trace(*map(np.concatenate, arrays), *(np.average(rate, axis=0, weights=kept) for rate in rates))


def parallel_tempering(
    model: TemperedModel,
    *,
    length: int,
    temperatures: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0),
    chains: int = 64,
    sweeps: int = 400,
    burn_in: int = 100,
    thin: int | Literal["auto"] = "auto",
    seed: int,
    least: int = 0,
    allow_unmixed: bool = False,
    label: str | None = None,
) -> TemperedChains:
    """Draw sequences of ``length`` tokens with probability proportional to p(x)^(1/T) at each temperature.

    A sweep redraws one suffix of every row and offers every neighbouring pair of rungs a swap; ``sweeps`` counts
    ``burn_in``. ``thin="auto"`` keeps one draw per statistical inefficiency of the NLL at the slowest rung. Where
    fewer than ``least`` draws are kept, as many more sweeps follow. The same
    seed gives the same draws. ``label`` names a progress bar. UsageError for settings out of range; NumericError
    where the chains did not mix (naming swap rates, split R-hats, round trips or rungs without overlap), unless
    ``allow_unmixed``, and where the model gives NaN or disagrees with itself.
    """
    _check(length, temperatures, chains, sweeps, burn_in, thin)
    ladder = Ladder(model, length, np.asarray(temperatures, np.float64), chains, np.random.default_rng(seed))
    trace = _run(ladder, sweeps, burn_in, label)
    result = _weighted(trace, temperatures, thin)
    while len(result.nll_N) < least and not result.unmixed:
        more = math.ceil((least - len(result.nll_N)) * result.thin / (chains * len(temperatures)))
        trace = trace.joined(_run(ladder, more, 0, label))
        result = _weighted(trace, temperatures, thin)
    ladder.check_scores(SCORE_TOLERANCE * length)
    if result.unmixed and not allow_unmixed:
        raise NumericError(f"parallel tempering did not mix: {'; '.join(result.unmixed)}.")
    return result


def _weighted(trace: _Trace, temperatures: tuple[float, ...], thin: int | Literal["auto"]) -> TemperedChains:
    """Diagnose the chains, thin them and solve for the constants of the rungs."""
    temperatures_K = np.asarray(temperatures, np.float64)
    series = [trace.nll_SCK[:, :, rung].T for rung in range(len(temperatures))]
    r_hat_K = np.array([split_r_hat(nll_CS) for nll_CS in series])
    inefficiency_K = np.array([statistical_inefficiency(nll_CS) for nll_CS in series])
    step = math.ceil(inefficiency_K.max()) if thin == "auto" else thin
    nll_SCK = trace.nll_SCK[::step]
    _, chain_SCK, rung_SCK = np.indices(nll_SCK.shape)
    reduced_KN = nll_SCK.reshape(-1) / temperatures_K[:, None]
    counts_K = np.full(len(temperatures), nll_SCK[:, :, 0].size)
    solved = mbar(reduced_KN, counts_K, anchor=temperatures.index(1.0), strict=False)
    log_q_KN = solved.free_energies_K[:, None] - reduced_KN
    # The inverse of a permutation: at which rung each replica stands.
    rung_SR = np.argsort(trace.replica_SCK, axis=2).reshape(len(trace.replica_SCK), -1)
    trips = int(round_trips(rung_SR, len(temperatures)).sum()) if len(temperatures) > 1 else 0
    return TemperedChains(
        temperatures=temperatures,
        ids_NL=trace.ids_SCKL[::step].reshape(len(reduced_KN.T), -1).astype(np.int64),
        nll_N=nll_SCK.reshape(-1),
        rung_N=rung_SCK.reshape(-1),
        chain_N=chain_SCK.reshape(-1),
        log_q_KN=log_q_KN,
        log_weights_N=balance_log_weights(log_q_KN, counts_K),
        log_z_K=-solved.free_energies_K,
        acceptance_K=trace.acceptance_K,
        swap_rates=trace.swap_rates,
        round_trips=trips,
        r_hat_K=r_hat_K,
        inefficiency_K=inefficiency_K,
        thin=step,
        unmixed=_unmixed(temperatures, nll_SCK.shape[1], trace.swap_rates, r_hat_K, trips, solved),
    )


def _run(ladder: Ladder, sweeps: int, burn_in: int, label: str | None) -> _Trace:
    chains, rungs, length = ladder.ids_CKL.shape
    kept = sweeps - burn_in
    ids_SCKL = np.empty((kept, chains, rungs, length), dtype=np.int32)
    nll_SCK = np.empty((kept, chains, rungs), dtype=np.float64)
    replica_SCK = np.empty((kept, chains, rungs), dtype=np.int64)
    accepted_K, swapped = np.zeros(rungs), np.zeros(rungs - 1)
    with counted(label, sweeps) as bar:
        for sweep in range(-burn_in, kept):
            accepted_CK, swapped_CP = ladder.redraw(), ladder.swap()
            if sweep >= 0:
                accepted_K += accepted_CK.mean(axis=0)
                swapped += swapped_CP.mean(axis=0)
                ids_SCKL[sweep], nll_SCK[sweep], replica_SCK[sweep] = ladder.ids_CKL, ladder.nll_CK, ladder.replica_CK
            bar.advance(1)
    return _Trace(ids_SCKL, nll_SCK, replica_SCK, accepted_K / kept, swapped / kept)


def _unmixed(
    temperatures: tuple[float, ...], chains: int, swap_rates: Floats, r_hat_K: Floats, trips: int, solved: Mbar
) -> tuple[str, ...]:
    pairs = zip(temperatures, temperatures[1:], swap_rates, strict=False)
    reasons = [
        f"the swap rate between temperatures {low:g} and {high:g} is {rate:.2g}, below {LEAST_SWAP_RATE:g}: "
        "put temperatures between them"
        for low, high, rate in pairs
        if rate < LEAST_SWAP_RATE
    ]
    reasons += [
        f"the split R-hat of the NLL at temperature {temperature:g} is {r_hat:.3g}, above {MOST_R_HAT:g}: "
        "run more sweeps"
        for temperature, r_hat in zip(temperatures, r_hat_K, strict=True)
        if not r_hat <= MOST_R_HAT
    ]
    if len(temperatures) > 1 and trips < chains:
        reasons.append(f"{trips} round trips through the ladder, fewer than one a chain ({chains}): run more sweeps")
    if solved.problem:
        reasons.append(f"reweighting failed: {solved.problem.rstrip('.')}")
    return tuple(reasons)


def _check(
    length: int, temperatures: tuple[float, ...], chains: int, sweeps: int, burn_in: int, thin: int | Literal["auto"]
) -> None:
    least = {"length": (length, 1), "chains": (chains, 2), "burn_in": (burn_in, 0), "sweeps": (sweeps, burn_in + 4)}
    for name, (value, bound) in least.items():
        if value < bound:
            raise UsageError(f"{name} must be {bound} or more, got {value}.")
    if thin != "auto" and not 1 <= thin <= sweeps - burn_in:
        raise UsageError(f'thin must be "auto" or 1 to {sweeps - burn_in} sweeps, got {thin!r}.')
    if 1.0 not in temperatures or not all(0 < value < math.inf for value in temperatures):
        raise UsageError(f"temperatures must be positive and contain 1, which anchors the counts; got {temperatures}.")
    if list(temperatures) != sorted(set(temperatures)):
        raise UsageError(f"temperatures must ascend without repetition; got {temperatures}.")
