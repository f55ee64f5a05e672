"""A survey of one model's key space for a reader: clusters, a map of them, neighbours, and what fills the ranks.

Nothing is judged here, so it needs no data but the model's own vocabulary.
"""

import calendar
import string
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from armillary.methods.icn.core import expected_share, in_top_clusters
from armillary.methods.icn.keys import ClusterFacts, Cohesion, Concentration, KeyClusters, KeySpace, auto_clusters
from armillary.methods.icn.templates import NUMBERED_LIST, FirstTokens
from armillary.models import LoadedModel
from armillary.models.prompts import text_ids
from armillary.numerics.intervals import Interval, bootstrap_mean
from armillary.scoring import next_token_logits

MOST_CLUSTERS = 512
"""Clusters of a survey at most: what a map can show, and what takes seconds."""

PASSES = 10
"""Passes of k-means at most: more move few tokens and cost a reading of all keys each."""

EXAMPLES = 8
"""Tokens shown of a cluster, and neighbours of a token: what fits on a line."""

RANKS, TOP = 100, 10
"""Ranks looked at, and how many of them count as the top: the paper's probing."""

BANDS = 64
"""Bands of token ids for the frequency-matched draw: more match closer, fewer leave more tokens to draw from."""

NEAREST = 10
"""Nearest clusters that the map is asked to keep."""

GROUPS: dict[str, tuple[str, ...]] = {
    "capital letters": tuple(string.ascii_uppercase),
    "capital letters after a space": tuple(f" {letter}" for letter in string.ascii_uppercase),
    "digits": tuple(string.digits),
    "months after a space": tuple(f" {month}" for month in calendar.month_name[1:]),
}
"""Strings that belong together; those that are one token are looked up in the clusters."""

WORDS = (" Paris", " red", "7", " king", "P")
"""Tokens whose nearest keys are shown."""

CLASSES = ("countries", "cities", "animals", "fruits", "colors", "sports", "languages", "musical instruments")
"""Lists that the model is asked for when the ranks are looked at."""

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class MappedCluster:
    """One cluster on the map."""

    size: int
    """Tokens."""

    examples: tuple[str, ...]
    """Its most central tokens."""

    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class NearestKeys:
    """The tokens whose keys are nearest to that of one token."""

    token: str
    nearest: tuple[str, ...]
    cosine: tuple[float, ...]
    """Centred cosine of each."""


@dataclass(frozen=True, kw_only=True)
class RankShares:
    """What fills the ranks after the top, over a few lists."""

    share: Interval
    """Share of those ranks in clusters of the top."""

    null: Interval
    """The same for a draw matched by frequency."""

    ranks: int
    top: int


@dataclass(frozen=True, kw_only=True)
class KeySurvey:
    """The survey as plain data, which a record keeps."""

    facts: ClusterFacts
    tied: bool
    """Whether keys and input embeddings are one matrix."""

    cohesion: Cohesion
    null: Cohesion
    """The same of keys whose coordinates were shuffled over the vocabulary: k-means finds groups in anything."""

    groups: dict[str, Concentration]
    clusters: tuple[MappedCluster, ...]
    kept: float
    """Share of each cluster's nearest others that are also nearest on the map."""

    neighbours: tuple[NearestKeys, ...]
    ranks: RankShares


def survey(
    loaded: LoadedModel,
    *,
    clusters: int | None = None,
    metric: Literal["cosine", "euclidean"] = "cosine",
    seed: int = 0,
) -> KeySurvey:
    """The key space of a model; UsageError for more clusters than tokens."""
    keys = KeySpace.from_model(loaded)
    count = min(MOST_CLUSTERS, auto_clusters(keys.vocabulary_size)) if clusters is None else clusters
    real = keys.cluster(count, metric, seed=seed, max_iterations=PASSES)
    shuffled = keys.shuffled(seed)
    null = shuffled.cluster(count, metric, seed=seed, max_iterations=PASSES)
    held = [cluster for cluster in range(real.n_clusters) if int(real.sizes_C[cluster])]
    centers_CD = torch.stack([keys.centred(real.members(cluster)).mean(0).cpu() for cluster in held]).double().numpy()
    unit_CD = centers_CD / np.maximum(np.linalg.norm(centers_CD, axis=1, keepdims=True), 1e-12)
    plane_C2 = _on_a_plane(unit_CD, seed)
    return KeySurvey(
        facts=real.facts(),
        tied=loaded.anatomy.tied,
        cohesion=real.cohesion(keys, seed=seed),
        null=null.cohesion(shuffled, seed=seed),
        groups=groups(loaded, real),
        clusters=tuple(
            MappedCluster(
                size=int(real.sizes_C[cluster]),
                examples=tuple(real.examples(loaded.tokenizer, cluster, EXAMPLES)),
                x=float(x),
                y=float(y),
            )
            for cluster, (x, y) in zip(held, plane_C2, strict=True)
        ),
        kept=kept_neighbours(unit_CD, plane_C2),
        neighbours=_neighbours(loaded, keys),
        ranks=_ranks(loaded, real),
    )


def groups(loaded: LoadedModel, clusters: KeyClusters) -> dict[str, Concentration]:
    """Where letters, digits and months lie, for the groups of which at least three strings are single tokens."""
    concentrations = {}
    for name, strings in GROUPS.items():
        rows = [text_ids(loaded, text) for text in strings]
        single = [row[0] for row in rows if len(row) == 1 and row[0] in loaded.known_ids]
        if len(single) >= 3:
            concentrations[name] = clusters.concentration(single)
    return concentrations


def _on_a_plane(unit_CD: Array, seed: int) -> NDArray[Any]:
    """Centres on a plane by t-SNE of their directions; few clusters go on their two widest axes."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    # t-SNE needs several times its perplexity in points.
    if len(unit_CD) < 30:
        pca: NDArray[Any] = PCA(2, random_state=seed).fit_transform(unit_CD)
        return pca
    # The exact method gives the same map every time on one machine.
    plane = TSNE(2, metric="cosine", init="pca", method="exact", perplexity=15, max_iter=500, random_state=seed)
    tsne: NDArray[Any] = plane.fit_transform(unit_CD)
    return tsne


def kept_neighbours(points_CD: NDArray[Any], plane_C2: NDArray[Any]) -> float:
    """Share of each point's nearest others (ten, or all but one of fewer) that are also nearest on the plane."""
    count = min(NEAREST, len(points_CD) - 2)
    if count < 1:
        return 1.0
    sets = []
    for rows in (points_CD, plane_C2):
        apart = ((rows[:, None, :] - rows[None, :, :]) ** 2).sum(2)
        np.fill_diagonal(apart, np.inf)
        sets.append([set(row[:count].tolist()) for row in apart.argsort(axis=1, kind="stable")])
    return float(np.mean([len(a & b) / count for a, b in zip(*sets, strict=True)]))


def _neighbours(loaded: LoadedModel, keys: KeySpace) -> tuple[NearestKeys, ...]:
    """Of the words that are one token."""
    neighbours = []
    for word in WORDS:
        ids = text_ids(loaded, word)
        if len(ids) == 1 and ids[0] in loaded.known_ids:
            near, cosine = keys.neighbours(ids[0], min(EXAMPLES, keys.vocabulary_size - 1))
            texts = tuple(str(loaded.tokenizer.decode([token])) for token in near.tolist())
            neighbours.append(NearestKeys(token=word, nearest=texts, cosine=tuple(cosine.tolist())))
    return tuple(neighbours)


def _ranks(loaded: LoadedModel, clusters: KeyClusters) -> RankShares:
    """Share of the middle ranks in clusters of the top ones, over a few lists, beside a frequency-matched draw."""
    first = FirstTokens(loaded, NUMBERED_LIST.stop)
    prompts = [NUMBERED_LIST.base(f"Please show me some {name}.") for name in CLASSES]
    labels_V = clusters.labels_V
    shares, nulls = [], []
    # A small vocabulary has fewer tokens than ranks, or too few beside them to draw from.
    ranks = min(RANKS, len(labels_V) // 4)
    bands = min(BANDS, max(1, len(labels_V) // 200))
    for logits_V in next_token_logits(loaded, prompts):
        tokens, _, _ = first.best(loaded.masked(torch.from_numpy(logits_V)), ranks, set(), None)
        ranked_N = clusters.rows(tokens)
        if len(ranked_N) > TOP:
            shares.append(float(in_top_clusters(labels_V[ranked_N], TOP).double().mean()))
            nulls.append(expected_share(labels_V, ranked_N, TOP, bands=bands))
    how = f"bootstrap over {len(shares)} prompts"
    return RankShares(
        share=bootstrap_mean(shares, seed=0, how=how),
        null=bootstrap_mean(nulls, seed=0, how=how),
        ranks=ranks,
        top=TOP,
    )
