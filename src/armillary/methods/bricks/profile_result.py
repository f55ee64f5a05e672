"""What a profile holds, and what is read off it without the model. Needs NumPy, no torch.

Legend: N texts, L layers, M neurons of an FFN, F capabilities, D texts counted in detail, I indicators (activation,
output magnitude), H bins, R replicates.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from armillary.errors import UsageError
from armillary.methods.bricks.config import ProfileConfig
from armillary.methods.bricks.resampling import resampled
from armillary.numerics.intervals import Interval


@dataclass(frozen=True, kw_only=True, eq=False)
class Profile:
    """How active every neuron is in every text; first positions and padding are left out throughout."""

    model: str
    fingerprint: str
    """Of the weights."""

    config: ProfileConfig
    capabilities: tuple[str, ...]
    labels_N: NDArray[np.int64]
    """Place of each text's capability in ``capabilities``."""

    tokens_N: NDArray[np.int64]
    """Tokens of each text that were counted."""

    means_NLM: NDArray[np.float32]
    """Mean over the tokens of a text of |a|, the neuron's activation."""

    norms_LM: NDArray[np.float64]
    """Norm of each neuron's column of the FFN write matrix: |a| times it is the output magnitude."""

    histogram_DILH: NDArray[np.int64]
    """Of the texts counted in detail: how often a neuron's indicator, divided by the largest of its token, fell into
    each bin of [0, 1]."""

    detail_labels_D: NDArray[np.int64]
    firing_FLM: NDArray[np.int64]
    """Tokens at which a neuron was among the largest output magnitudes, of the texts counted in detail."""

    firing_tokens_F: NDArray[np.int64]
    """Tokens of those texts."""

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.norms_LM)

    @property
    def width(self) -> int:
        """Neurons of a layer."""
        return len(self.norms_LM[0])

    def place(self, capability: str) -> int:
        """Place of the capability; UsageError naming those there are."""
        if capability not in self.capabilities:
            raise UsageError(f"no texts of {capability!r} were read; there are {', '.join(self.capabilities)}.")
        return self.capabilities.index(capability)

    def layer(self, layer: int, *, relative: bool = False) -> NDArray[np.float32]:
        """Mean activity in one layer, ``[N, M]``; ``relative`` divides each text by the mean over the layer's neurons.

        The relative form takes out how active a layer is as a whole in a text. A text without any activity stays 0.
        """
        means_NM = self.means_NLM[:, layer]
        if not relative:
            return means_NM
        level_N1 = means_NM.mean(axis=1, dtype=np.float64, keepdims=True)
        shares: NDArray[np.float32] = np.divide(means_NM, level_N1, out=np.zeros_like(means_NM), where=level_N1 > 0)
        return shares

    def magnitude(self, capability: str | None = None) -> NDArray[np.float64]:
        """Mean output magnitude of each neuron, ``[L, M]``, over one capability's texts, or over all capabilities
        with equal weight."""
        chosen = self.capabilities if capability is None else (capability,)
        places = [self.place(one) for one in chosen]
        means = [self.means_NLM[self.labels_N == place].mean(axis=0, dtype=np.float64) for place in places]
        mean_LM: NDArray[np.float64] = np.mean(means, axis=0) * self.norms_LM
        return mean_LM

    def firing_share(self) -> NDArray[np.float64]:
        """Share of tokens at which each neuron fires, ``[L, M]``, capabilities with equal weight."""
        shares_LM: NDArray[np.float64] = (self.firing_FLM / self.firing_tokens_F[:, None, None]).mean(axis=0)
        return shares_LM

    def share_below(
        self,
        threshold: float,
        indicator: Literal["activation", "magnitude"] = "magnitude",
        *,
        layer: int | None = None,
        seed: int = 0,
        replicates: int = 2000,
    ) -> Interval:
        """Share of neurons (over tokens) whose indicator is below ``threshold`` of the token's largest, over texts.

        Of one layer, or of all. UsageError where ``threshold`` is no edge of the histogram's bins.
        """
        bins = self.histogram_DILH.shape[3]
        edge = round(threshold * bins)
        if abs(edge - threshold * bins) > 1e-9 or not 0 < edge < bins:
            raise UsageError(f"threshold must be a multiple of 1/{bins} between 0 and 1, got {threshold}.")
        counts = self.histogram_DILH[:, ("activation", "magnitude").index(indicator)]
        counts_DLH = counts if layer is None else counts[:, [layer]]
        below_D, all_D = counts_DLH[:, :, :edge].sum((1, 2)), counts_DLH.sum((1, 2))
        strata = {name: np.flatnonzero(self.detail_labels_D == p) for p, name in enumerate(self.capabilities)}

        def share(drawn: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
            below_R = np.sum([drawn[name] @ below_D[rows] for name, rows in strata.items()], axis=0)
            found: NDArray[np.float64] = below_R / np.sum(
                [drawn[n] @ all_D[rows] for n, rows in strata.items()], axis=0
            )
            return found

        sizes = {name: len(rows) for name, rows in strata.items()}
        return resampled(share, sizes, seed=seed, replicates=replicates)

    def relabelled(self, labels_N: NDArray[np.int64]) -> "Profile":
        """The same activities under other capabilities of the texts, for a null; histograms and firing stay.

        UsageError where a label is missing or names no capability.
        """
        if labels_N.shape != self.labels_N.shape or not np.isin(labels_N, np.arange(len(self.capabilities))).all():
            raise UsageError(f"labels must be {len(self.labels_N)} places of {len(self.capabilities)} capabilities.")
        return replace(self, labels_N=labels_N.astype(np.int64))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data: what was read and how sparse it is; the activities of single neurons stay out."""
        share = {
            indicator: {f"{edge:g}": self.share_below(edge, indicator).to_dict() for edge in self._edges()}
            for indicator in ("activation", "magnitude")
        }
        texts = {name: int((self.labels_N == place).sum()) for place, name in enumerate(self.capabilities)}
        return {
            "model": self.model,
            "fingerprint": self.fingerprint,
            "config": asdict(self.config),
            "texts": texts,
            "tokens": int(self.tokens_N.sum()),
            "layers": self.layers,
            "neurons": self.width,
            "share_below": share,
        }

    def _edges(self) -> list[float]:
        """Of 0.1 and 0.2 those that the bins can tell."""
        return [edge for edge in (0.1, 0.2) if abs(edge * self.config.bins % 1) < 1e-9]
