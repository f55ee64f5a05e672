"""The moves of parallel tempering over whole token sequences; needs no torch.

At rung k the stationary law is p(x)^(1/T_k) / Z_k: a temperature of the sequence, not of each token.
Legend: C chains (ladders), K rungs of each, L tokens, N = C K rows of one batch, P pairs of neighbouring rungs.
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from armillary.errors import NumericError
from armillary.methods.modeldiff.protocols import Floats, Tokens

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
