"""What the stages of the Bricks reproduction share: one model, its texts, profiles, scores, sets and partitions."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from armillary.data import equal_capability_texts
from armillary.data.texts.corpora import texts
from armillary.data.texts.pieces import Split
from armillary.methods.bricks.experts.partitioning import (
    partition_by_coactivation,
    partition_by_weights,
    random_partition,
)
from armillary.methods.bricks.neurons.config import CAPABILITIES, ProfileConfig
from armillary.methods.bricks.neurons.profiling import Profile, profile
from armillary.methods.bricks.neurons.scores import FunctionalScores, NullScores, functional_scores, null_scores
from armillary.methods.bricks.neurons.sets import specialised
from armillary.methods.bricks.payloads import Index, Partition
from armillary.models import LoadedModel
from armillary.runs.parts import Parts
from reproductions.bricks.scale import Scale

Splitting = Literal["weights", "coactivation", "random"]
GENERAL = "world-factbook"
"""Prose whose keys stand for general text in edits."""


@dataclass(frozen=True)
class Laboratory:
    """One model at one scale. What is slow is computed once and kept as parts of the run."""

    loaded: LoadedModel
    scale: Scale
    seed: int
    parts: Parts
    _scores: dict[int, FunctionalScores] = field(default_factory=dict)

    def texts(self, split: Split, limit: int, offset: int = 0) -> dict[str, list[str]]:
        """The same number of texts of each capability; offsets are other draws."""
        return equal_capability_texts(CAPABILITIES, split=split, limit=limit, seed=self.seed + offset)

    def general(self) -> list[str]:
        """General prose, none of which is ever tested on."""
        return texts(GENERAL, limit=self.scale.general_texts, seed=self.seed)

    @property
    def reading(self) -> dict[str, Any]:
        """How texts are read when losses are taken."""
        return {"max_tokens": self.scale.tokens, "store": self.parts.arrays}

    def profile(self, offset: int) -> Profile:
        """Activity of all neurons in the texts of one draw."""
        config = ProfileConfig(max_tokens=self.scale.tokens, detail_texts=min(10, self.scale.score_texts))
        found = self.texts("score", self.scale.score_texts, offset)
        return profile(self.loaded, found, config, store=self.parts.arrays)

    def scores(self, offset: int) -> FunctionalScores:
        """Functionality scores of one draw."""
        if offset not in self._scores:
            self._scores[offset] = functional_scores(self.profile(offset))
        return self._scores[offset]

    def null(self, offset: int) -> NullScores:
        """Scores under permuted labels."""
        (found,) = null_scores(
            self.profile(offset),
            permutations=self.scale.permutations,
            seed=self.seed + offset,
            store=self.parts.arrays,
        )
        return found

    def sets(self, offset: int) -> dict[str, Index]:
        """The specialised neurons of each capability: the best 5 % of every layer."""
        scores = self.scores(offset)
        return {name: specialised(scores.of(name)) for name in CAPABILITIES}

    @cached_property
    def calibration(self) -> dict[str, list[str]]:
        """Texts on which partitions and routers are fitted."""
        return self.texts("calibrate", self.scale.calibration_texts)

    @cached_property
    def mixed(self) -> list[str]:
        """The calibration texts of all capabilities in turn."""
        return [text for row in zip(*self.calibration.values(), strict=True) for text in row]

    def partition(self, kind: Splitting, offset: int = 0) -> Partition:
        """A split of every FFN into experts."""
        experts = self.scale.experts
        kept = self.parts.arrays(f"partition {kind} {offset}", lambda: {"labels": self._labels(kind, offset)})
        return Partition(kept["labels"], experts)

    def _labels(self, kind: Splitting, offset: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
        experts, seed = self.scale.experts, self.seed + offset
        if kind == "weights":
            return partition_by_weights(self.loaded, experts, seed=seed).labels_LM
        if kind == "coactivation":
            return partition_by_coactivation(
                self.loaded, self.mixed, experts, max_tokens=self.scale.tokens, seed=seed
            ).labels_LM
        layers, width = self.loaded.anatomy.num_layers, self.loaded.anatomy.intermediate_size
        return random_partition(layers, width, experts, seed=seed).labels_LM
