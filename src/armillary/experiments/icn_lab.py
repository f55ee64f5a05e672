"""What the stages of the ICN reproduction share: one model, its probes, its key clusters."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch

from armillary.data.probes import Probe, probe
from armillary.experiments.icn_scale import PROBES, Scale
from armillary.methods.icn.keys import KeyClusters, KeySpace
from armillary.models import LoadedModel
from armillary.runs.parts import Parts

Metric = Literal["cosine", "euclidean"]


@dataclass(frozen=True)
class Laboratory:
    """One model at one scale; clusters are computed once and kept as parts of the run."""

    loaded: LoadedModel
    scale: Scale
    seed: int
    parts: Parts

    @cached_property
    def probes(self) -> tuple[Probe, ...]:
        """The probes of this preset, bases and restrictions."""
        return tuple(probe(id) for id in PROBES[: self.scale.probes])

    @cached_property
    def keys(self) -> KeySpace:
        """The vocabulary's keys."""
        return KeySpace.from_model(self.loaded)

    def clusters(self, offset: int, metric: Metric = "cosine") -> KeyClusters:
        """The clusters of one seed, about one for every hundred tokens."""
        kept = self.parts.arrays(f"clusters {metric} {offset}", lambda: self._clustered(offset, metric))
        facts = kept["facts"].tolist()
        return KeyClusters(
            labels_V=torch.from_numpy(kept["labels"]),
            distances_V=torch.from_numpy(kept["distances"]),
            n_clusters=int(facts[0]),
            metric=metric,
            centred=True,
            seed=self.seed + offset,
            iterations=int(facts[1]),
            converged=bool(facts[2]),
        )

    def _clustered(self, offset: int, metric: Metric) -> dict[str, Any]:
        found = self.keys.cluster(metric=metric, seed=self.seed + offset, max_iterations=self.scale.passes)
        return {
            "labels": found.labels_V.numpy(),
            "distances": found.distances_V.numpy(),
            "facts": np.array([found.n_clusters, found.iterations, int(found.converged)]),
        }

    def foreign(self, index: int) -> Probe:
        """A probe of another base class, to list in the context as a control."""
        here = self.probes[index]
        others = [one for one in self.probes[index + 1 :] + self.probes[:index] if one.base != here.base]
        return others[0] if others else self.probes[(index + 1) % len(self.probes)]
