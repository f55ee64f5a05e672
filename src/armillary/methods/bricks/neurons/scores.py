"""The functionality score of the paper: how well a neuron's activity alone tells the texts of one capability.

Legend: N texts, L layers, M neurons of an FFN, F capabilities, P texts of a capability, R permutations of labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armillary.errors import UsageError
from armillary.methods.bricks.neurons.config import LEAST_TEXTS
from armillary.methods.bricks.neurons.profiling import Profile
from armillary.methods.bricks.neurons.result import LayerScores, ScoreSummary
from armillary.numerics.intervals import Array, Interval, binomial
from armillary.numerics.ranking import Ranks, average_precision, average_precision_interval, descending_ranks
from armillary.progress import track
from armillary.runs.parts import Arrays, Store, array_digest, kept, part_name

TOP = 0.005
"""The paper's "best 5 per mille" of neurons."""

SPECIALISED = 0.05
"""Share of a layer's neurons that the paper calls specialised for a capability."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NullScores:
    """The scores that the same neurons reach when texts are relabelled at random: what selection alone gives."""

    positives: int
    """Texts that carry the label."""

    best_RL: Array
    """Largest score of a layer under each permutation."""

    mean_RL: Array
    """Mean score of a layer."""

    def quantile(self, level: float = 0.999) -> Array:
        """Quantile over permutations of the best score, ``[L]``: the largest where permutations are too few."""
        quantile_L: Array = np.quantile(self.best_RL, level, axis=0, method="higher")
        return quantile_L

    def p_values(self, best_L: Array) -> Array:
        """Share of permutations, the true labels among them, whose best neuron is at least as good, ``[L]``."""
        p_L: Array = ((self.best_RL >= best_L).sum(axis=0) + 1) / (len(self.best_RL) + 1)
        return p_L


@dataclass(frozen=True, kw_only=True, eq=False)
class FunctionalScores:
    """Functionality scores of every neuron for every capability."""

    capabilities: tuple[str, ...]
    scores_FLM: Array
    """Average precision of ranking all texts by the neuron's activity, most active first."""

    suppressor_FLM: Array
    """The same with the least active first: neurons that fall silent. Ours; the chance level is the same."""

    positives_F: NDArray[np.int64]
    """Texts of each capability."""

    texts: int
    """All texts; a capability's share of them is the chance level of its scores."""

    relative: bool
    """Whether activity was divided by the mean of its layer in the text."""

    def of(self, capability: str) -> Array:
        """Scores for one capability, ``[L, M]``; UsageError naming those there are."""
        if capability not in self.capabilities:
            raise UsageError(f"no scores for {capability!r}; there are {', '.join(self.capabilities)}.")
        scores_LM: Array = self.scores_FLM[self.capabilities.index(capability)]
        return scores_LM

    def chance(self, capability: str) -> float:
        """Score of a neuron that knows nothing: the capability's share of the texts."""
        return float(self.positives_F[self.capabilities.index(capability)] / self.texts)

    def best(self, capability: str) -> Array:
        """Score of the best neuron of each layer, ``[L]``."""
        best_L: Array = self.of(capability).max(axis=1)
        return best_L

    def at_share(self, capability: str, share: float = TOP) -> Array:
        """Score of the neuron at this share from the top of each layer, ``[L]``: what the top share reaches at least.

        ``SPECIALISED`` gives the threshold of the specialised sets.
        """
        scores_LM = self.of(capability)
        score_L: Array = np.sort(scores_LM, axis=1)[:, -chosen_of(share, scores_LM.shape[1])]
        return score_L

    def beating(self, capability: str, null: NullScores, level: float = 0.999) -> Interval:
        """Share of layers whose best neuron is above the null's best at ``level``."""
        above_L = self.best(capability) > null.quantile(level)
        return binomial(int(above_L.sum()), len(above_L), how=f"exact binomial over {len(above_L)} layers")

    def best_held_out(self, capability: str, other: "FunctionalScores") -> Array:
        """Score on other texts of the neuron that is best here, ``[L]``: free of the gain of choosing the best."""
        best_L1 = self.of(capability).argmax(axis=1)[:, None]
        score_L: Array = np.take_along_axis(other.of(capability), best_L1, axis=1)[:, 0]
        return score_L

    def summary(self, nulls: Sequence[NullScores] = ()) -> ScoreSummary:
        """The scores by capability and layer as plain fields, without those of single neurons.

        ``nulls`` are those of ``null_scores``; with the one that fits, the null's best joins each capability.
        """
        by_positives = {null.positives: null for null in nulls}
        layers = {}
        for index, name in enumerate(self.capabilities):
            null = by_positives.get(int(self.positives_F[index]))
            layers[name] = LayerScores(
                chance=self.chance(name),
                best=self.best(name).tolist(),
                top_5_per_mille=self.at_share(name).tolist(),
                top_5_percent=self.at_share(name, SPECIALISED).tolist(),
                mean=self.of(name).mean(axis=1).tolist(),
                best_suppressor=self.suppressor_FLM[index].max(axis=1).tolist(),
                best_of_null=None if null is None else null.quantile().tolist(),
                p_values=None if null is None else null.p_values(self.best(name)).tolist(),
            )
        return ScoreSummary(relative=self.relative, texts=self.texts, capabilities=layers)


def chosen_of(share: float, count: int) -> int:
    """How many a share of ``count`` is, at least 1; UsageError for a share not above 0 and up to 1."""
    if not 0 < share <= 1:
        raise UsageError(f"a share of neurons must lie above 0 and up to 1, got {share}.")
    return max(1, round(share * count))


def functional_scores(profile: Profile, *, relative: bool = False) -> FunctionalScores:
    """The score of every neuron for every capability, exactly as scikit-learn's average precision, ties included.

    ``relative`` scores activity divided by the mean of its layer in the text, so that a capability that excites a
    layer as a whole doesn't make all its neurons look special. UsageError for one capability only, or one with fewer
    than 20 texts.
    """
    positives = _positives(profile)
    shape = (len(positives), profile.layers, profile.width)
    scores_FLM, suppressor_FLM = np.empty(shape), np.empty(shape)
    for layer in track(range(profile.layers), "scoring neurons"):
        values_MN = np.ascontiguousarray(profile.layer(layer, relative=relative).T)
        for out_FLM, ranks_MN in (
            (scores_FLM, descending_ranks(values_MN)),
            (suppressor_FLM, descending_ranks(-values_MN)),
        ):
            for capability, chosen in enumerate(positives):
                out_FLM[capability, layer] = average_precision(ranks_MN, chosen)
    return FunctionalScores(
        capabilities=profile.capabilities,
        scores_FLM=scores_FLM,
        suppressor_FLM=suppressor_FLM,
        positives_F=np.array([len(chosen) for chosen in positives]),
        texts=len(profile.labels_N),
        relative=relative,
    )


def null_scores(
    profile: Profile, *, permutations: int = 1000, seed: int = 0, store: Store | None = None
) -> tuple[NullScores, ...]:
    """What the best neuron of each layer scores under permuted labels, for each number of texts a capability has.

    The labels are permuted, the neurons stay as they are, so the null keeps how neurons go together and that the best
    of many is looked at. ``store`` keeps each layer. Errors are those of ``functional_scores``.
    """
    if permutations < 1:
        raise UsageError(f"permutations must be 1 or more, got {permutations}.")
    counts = sorted({len(chosen) for chosen in _positives(profile)})
    texts = len(profile.labels_N)
    generator = np.random.default_rng(seed)
    drawn = {n: [generator.permutation(texts)[:n] for _ in range(permutations)] for n in counts}
    scores: dict[int, list[Array]] = {n: [] for n in counts}
    for layer in track(range(profile.layers), "permuting labels"):
        values_NM = profile.layer(layer)

        def compute(values_NM: NDArray[np.float32] = values_NM) -> Arrays:
            ranks_MN = descending_ranks(np.ascontiguousarray(values_NM.T))
            return {str(n): _under_permutations(ranks_MN, drawn[n]) for n in counts}

        name = part_name("null", array_digest(values_NM), counts, permutations, seed)
        arrays = kept(store, name, compute)
        for n in counts:
            scores[n].append(arrays[str(n)])
    return tuple(
        NullScores(positives=n, best_RL=np.stack(rows, 1)[..., 0], mean_RL=np.stack(rows, 1)[..., 1])
        for n, rows in scores.items()
    )


def best_interval(profile: Profile, scores: FunctionalScores, capability: str, *, seed: int = 0) -> Interval:
    """Mean over layers of the best neuron's score, with its bootstrap interval over texts.

    The neurons stay those chosen on the same texts; ``best_held_out`` on other texts is free of that choice.
    """
    best_L = scores.of(capability).argmax(axis=1)
    values_LN = np.stack(
        [profile.layer(layer, relative=scores.relative)[:, neuron] for layer, neuron in enumerate(best_L)]
    )
    label = profile.label(capability)
    return average_precision_interval(values_LN, profile.labels_N, label, seed=seed)


def _positives(profile: Profile) -> list[NDArray[np.int64]]:
    """The texts of each capability."""
    if len(profile.capabilities) < 2:
        raise UsageError("functionality scores need at least two capabilities: one class has no ranking.")
    positives = [np.flatnonzero(profile.labels_N == label) for label in range(len(profile.capabilities))]
    for name, chosen in zip(profile.capabilities, positives, strict=True):
        if len(chosen) < LEAST_TEXTS:
            raise UsageError(
                f"{name!r} has {len(chosen)} texts; a functionality score needs {LEAST_TEXTS} or more of a capability."
            )
    return positives


def _under_permutations(ranks_MN: Ranks, drawn: Sequence[NDArray[np.int64]]) -> Array:
    """Best and mean score of a layer under each permutation, ``[R, 2]``."""
    # Texts first and a small integer: gathering and sorting are then several times faster.
    kind = np.int16 if ranks_MN.shape[1] < 2**15 else np.int32
    ranks_NM = np.ascontiguousarray(ranks_MN.T.astype(kind))
    rows = []
    for chosen in drawn:
        scores_M = average_precision(np.ascontiguousarray(ranks_NM[chosen].T), np.arange(len(chosen)))
        rows.append((scores_M.max(), scores_M.mean()))
    return np.array(rows)
