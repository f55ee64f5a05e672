"""The equations of Vector-ICL: projections into the token-embedding space, their scale, and a start without training.

Legend: N vectors, E encoder width, D width of the token embeddings, R hidden width of the gated projector, L labels.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from armillary.errors import NumericError, UsageError
from armillary.numerics.least_squares import fit_linear

RMS_EPS = 1e-6
"""Guards the root mean square of a vector of zeros (official code)."""


def linear_projection(vectors: Float[Tensor, "n e"], weight: Float[Tensor, "d e"]) -> Float[Tensor, "n d"]:
    """Pseudo token embeddings ``b = W v`` (official code): no bias, no normalisation, no scale."""
    return vectors @ weight.T


def rms_normalised(vectors: Float[Tensor, "n e"], gain: Float[Tensor, " e"]) -> Float[Tensor, "n e"]:
    """Each vector over its root mean square, times a learned gain; a vector of zeros stays zero."""
    return vectors * torch.rsqrt(vectors.square().mean(-1, keepdim=True) + RMS_EPS) * gain


def gated_projection(
    vectors: Float[Tensor, "n e"],
    gain: Float[Tensor, " e"],
    into: Float[Tensor, "d e"],
    gate: Float[Tensor, "r d"],
    up: Float[Tensor, "r d"],
    down: Float[Tensor, "d r"],
) -> Float[Tensor, "n d"]:
    """The non-linear projector: ``u = W_in RMSNorm(v)``, ``b = u + W_down(SiLU(W_gate u) * (W_up u))`` (official)."""
    u = rms_normalised(vectors, gain) @ into.T
    return u + (functional.silu(u @ gate.T) * (u @ up.T)) @ down.T


def matched_scale(
    raw: Float[Tensor, "n d"],
    raw_mean: Float[Tensor, " d"],
    raw_norm: Float[Tensor, ""],
    gain: Float[Tensor, ""],
    centre: Float[Tensor, " d"],
) -> Float[Tensor, "n d"]:
    """``gain * (raw - raw_mean) / raw_norm + centre``: slots with the mean and spread of token embeddings (ours).

    ``raw_mean`` and ``raw_norm`` are constants measured once on the first vectors, so that a projector may still learn
    another scale.
    """
    return gain * (raw - raw_mean) / raw_norm + centre


def centred_norm(rows: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Root mean square, over the rows, of the norm of a row minus the mean row; float64."""
    rows64 = rows.double()
    return (rows64 - rows64.mean(0)).square().sum(1).mean().sqrt()


@dataclass(frozen=True, eq=False)
class RidgeStart:
    """A projector found without the language model: ``b = scale * (v - input_mean) @ weight.T + centre``; float64."""

    weight: Float[Tensor, "d e"]
    """Ridge map of centred vectors onto centred targets, before it is rescaled."""

    input_mean: Float[Tensor, " e"]
    scale: float
    centre: Float[Tensor, " d"]

    def project(self, vectors: Float[Tensor, "n e"]) -> Float[Tensor, "n d"]:
        """What the start makes of vectors."""
        return self.scale * (vectors.double() - self.input_mean) @ self.weight.T + self.centre


def ridge_start(
    vectors: Float[Tensor, "n e"],
    targets: Float[Tensor, "n d"],
    *,
    centre: Float[Tensor, " d"],
    norm: float,
    ridge: float | Literal["gcv"] = "gcv",
) -> RidgeStart:
    """Centred vectors mapped onto centred targets by ridge, rescaled and moved to the tokens' common mean (ours).

    ``targets`` are mean token embeddings of the texts that belong to the vectors. Over the given vectors the slots
    have the mean ``centre`` and the root-mean-square norm ``norm`` around it. The targets' own mean is left out on
    purpose: it is a degenerate average of function words. UsageError and NumericError as ``fit_linear``; NumericError
    where the targets have nothing in common with the vectors.
    """
    fit = fit_linear(vectors, targets, ridge)
    weight_DE, mean_E = fit.weight.T, vectors.double().mean(0)
    spread = float(centred_norm((vectors.double() - mean_E) @ weight_DE.T))
    if not spread > 0:
        raise NumericError("the ridge start maps every vector to the same point; vectors or targets are constant.")
    return RidgeStart(weight=weight_DE, input_mean=mean_E, scale=norm / spread, centre=centre.double())


def idf_weights(rows: Sequence[Sequence[int]]) -> dict[int, float]:
    """Weight ``log(1 + N / n)`` of each token that stands in ``n`` of the ``N`` rows (ours)."""
    held = Counter(token for row in rows for token in set(row))
    return {token: math.log1p(len(rows) / count) for token, count in held.items()}


def label_probabilities(
    scores: Float[Tensor, "n l"],
    *,
    lengths: Sequence[int] | None = None,
    prior: Float[Tensor, " l"] | None = None,
) -> Float[Tensor, "n l"]:
    """Probabilities over the labels from their whole log-probabilities (nats), float64; ours, exact (no sampling).

    ``prior`` are the scores under an input without content, subtracted first (contextual calibration); ``lengths``
    divide by the number of tokens. A constant added to a row changes nothing. UsageError for a length below 1.
    """
    scores64 = scores.double()
    if prior is not None:
        scores64 = scores64 - prior.double()
    if lengths is not None:
        if any(length < 1 for length in lengths):
            raise UsageError(f"labels have 1 or more tokens; got lengths {list(lengths)}.")
        scores64 = scores64 / torch.tensor(list(lengths), dtype=torch.float64, device=scores64.device)
    return scores64.softmax(-1)
