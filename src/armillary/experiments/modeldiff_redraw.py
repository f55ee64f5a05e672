"""A table model under parallel tempering: the two operations that its moves ask for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armillary.experiments.modeldiff_tables import TableModel, log_softmax
from armillary.methods.modeldiff.protocols import Floats, Tokens
from armillary.methods.modeldiff.tempering_ladder import Redraw


@dataclass(frozen=True, eq=False)
class TemperedTable:
    """A ``TableModel`` as parallel tempering wants it."""

    table: TableModel

    def log_prob(self, ids_NL: Tokens) -> Floats:
        """Log-probability (nats) of each sequence."""
        return -self.table.score(ids_NL)

    def redraw_suffix(self, ids_NL: Tokens, start_N: NDArray[np.int64], tau_N: Floats, uniforms_NL: Floats) -> Redraw:
        """Tokens from ``start`` on drawn anew from softmax(logits / tau)."""
        new_NL = ids_NL.copy()
        rows_N = np.arange(len(ids_NL))
        log_q_new_N, log_q_old_N, log_p_new_N, log_p_old_N = np.zeros((4, len(ids_NL)))
        for place in range(int(start_N.min()), ids_NL.shape[1]):
            moved_N = place >= start_N
            hot_NV, plain_NV = self._after(new_NL, place, tau_N)
            drawn_N = (uniforms_NL[:, place, None] >= np.exp(hot_NV).cumsum(1)[:, :-1]).sum(1)
            old_hot_NV, old_plain_NV = self._after(ids_NL, place, tau_N)
            old_N = ids_NL[:, place]
            new_NL[:, place] = np.where(moved_N, drawn_N, old_N)
            log_q_new_N += np.where(moved_N, hot_NV[rows_N, drawn_N], 0)
            log_q_old_N += np.where(moved_N, old_hot_NV[rows_N, old_N], 0)
            log_p_new_N += np.where(moved_N, plain_NV[rows_N, drawn_N], 0)
            log_p_old_N += np.where(moved_N, old_plain_NV[rows_N, old_N], 0)
        return Redraw(new_NL, log_q_new_N, log_q_old_N, log_p_new_N - log_p_old_N)

    def _after(self, ids_NL: Tokens, place: int, tau_N: Floats) -> tuple[Floats, Floats]:
        """Log-probabilities of the token at ``place``, at each row's temperature and at 1: ``[n, v]``."""
        logits_NV = self.table.logits_after(ids_NL, place)
        return log_softmax(logits_NV / tau_N[:, None]), log_softmax(logits_NV)
