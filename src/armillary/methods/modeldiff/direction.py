"""One model's samples, scored by both: the raw numbers from which every figure of a comparison is computed.

Legend: N samples, L tokens of each, K rungs.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from armillary.methods.modeldiff.config import Bounds
from armillary.methods.modeldiff.estimate import Integers, Mask, Reliability, reliability
from armillary.methods.modeldiff.protocols import Draws, Floats, Tokens
from armillary.numerics.reweighting import balance_log_weights

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
        return reliability(self.log_weight_N, self.inside_N)

    def arrays(self) -> dict[str, Any]:
        """Every array under its name, for an npz file."""
        held = {name: getattr(self, name) for name in (*_ARRAYS, *_OPTIONAL)}
        held = {name: array for name, array in held.items() if array is not None}
        return {f"{self.side}/{name}": array for name, array in held.items()}

    @classmethod
    def from_arrays(cls, side: Side, window: Bounds, other_window: Bounds, held: dict[str, Any]) -> "Direction":
        """Inverse of ``arrays``."""
        named = {name: held[f"{side}/{name}"] for name in (*_ARRAYS, *_OPTIONAL) if f"{side}/{name}" in held}
        return cls(side=side, window=window, other_window=other_window, **named)
