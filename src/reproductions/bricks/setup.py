"""What the stages of the Bricks reproduction share: one model, its texts, profiles, scores, sets and partitions."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypedDict

from armillary.data import equal_capability_texts
from armillary.data.texts.corpora import corpus_texts
from armillary.data.texts.pieces import Split
from armillary.errors import UsageError
from armillary.methods.bricks.experts.config import Splitting
from armillary.methods.bricks.experts.partitioning import partitioned
from armillary.methods.bricks.experts.router import Router
from armillary.methods.bricks.experts.router_fit import ridge_router
from armillary.methods.bricks.library.retrieval import MidLayerEncoder
from armillary.methods.bricks.neurons.config import CAPABILITIES, ProfileConfig
from armillary.methods.bricks.neurons.profiling import Profile, profile
from armillary.methods.bricks.neurons.scores import FunctionalScores, NullScores, functional_scores, null_scores
from armillary.methods.bricks.neurons.sets import specialised
from armillary.methods.bricks.payloads import Index, Partition
from armillary.numerics.intervals import Interval
from armillary.runs.parts import Arrays, Store
from reproductions.bricks.scale import Scale
from reproductions.stages import StageContext

GENERAL = "world-factbook"
"""Prose whose keys stand for general text in edits."""


class Reading(TypedDict):
    """How texts are read when losses are taken."""

    max_tokens: int
    store: Store


@dataclass(frozen=True)
class Context(StageContext[Scale]):
    """One model at one scale. What is slow is computed once and kept as parts of the run."""

    _scores: dict[int, FunctionalScores] = field(default_factory=dict)

    def texts(self, split: Split, limit: int, offset: int = 0) -> dict[str, list[str]]:
        """The same number of texts of each capability; draws of one ``limit`` and other offsets share none."""
        read = {name: self.scale.stand_ins.get(name, name) for name in CAPABILITIES}
        texts_of = equal_capability_texts(list(read.values()), split=split, limit=limit * (offset + 1), seed=self.seed)
        drawn = {name: texts_of[other][limit * offset :] for name, other in read.items()}
        if min(map(len, drawn.values())) < limit:
            raise UsageError(f"there are not {offset + 1} draws of {limit} texts of every capability ({split}).")
        return drawn

    def general(self) -> list[str]:
        """General prose, none of which is ever tested on."""
        return corpus_texts(GENERAL, limit=self.scale.general_texts, seed=self.seed)

    @property
    def reading(self) -> Reading:
        """How texts are read when losses are taken."""
        return Reading(max_tokens=self.scale.tokens, store=self.parts.arrays)

    def profile(self, offset: int) -> Profile:
        """Activity of all neurons in the texts of one draw."""
        # Six texts a capability tell histograms and firing, whose counts take most of the memory.
        config = ProfileConfig(max_tokens=self.scale.tokens, detail_texts=min(6, self.scale.score_texts))
        return profile(
            self.loaded, self.texts("score", self.scale.score_texts, offset), config, store=self.parts.arrays
        )

    def scores(self, offset: int) -> FunctionalScores:
        """Functionality scores of one draw; those of the draw after the last are the first's again."""
        offset %= self.scale.seeds
        if offset not in self._scores:
            self._scores[offset] = functional_scores(self.profile(offset))
        return self._scores[offset]

    def null(self, offset: int) -> NullScores:
        """Scores under permuted labels; all capabilities have as many texts, so there is one null."""
        (null,) = null_scores(
            self.profile(offset),
            permutations=self.scale.permutations,
            seed=self.seed + offset,
            store=self.parts.arrays,
        )
        return null

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

        def labels() -> Arrays:
            split = partitioned(
                self.loaded,
                kind,
                self.scale.experts,
                self.mixed,
                max_tokens=self.scale.tokens,
                seed=self.seed + offset,
            )
            return {"labels": split.labels_LM}

        return Partition(self.parts.arrays(f"partition {kind} {offset}", labels)["labels"], self.scale.experts)

    @cached_property
    def encoder(self) -> MidLayerEncoder:
        """What keys of adapters are read with: the base's own middle layer."""
        return MidLayerEncoder(self.loaded, background=self.mixed, max_tokens=self.scale.tokens)

    @cached_property
    def router(self) -> Router:
        """The ridge router of the partition by co-activation."""
        return ridge_router(self.loaded, self.partition("coactivation"), self.mixed, max_tokens=self.scale.tokens)


def scaled(interval: Interval, factor: float) -> Interval:
    """The interval in another unit."""
    low, high = (None if end is None else end * factor for end in (interval.low, interval.high))
    return replace(interval, estimate=interval.estimate * factor, low=low, high=high)
