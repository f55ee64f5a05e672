"""What a model has to offer to be compared: draw sequences with their exact log-probability, and score given ones.

Needs no torch. Legend: N sequences, L tokens of each, K temperatures (rungs).
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Tokens = NDArray[np.int64]


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
