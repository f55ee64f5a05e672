"""A survey of one model's key space for a reader: clusters, a map of them, neighbours, and what fills the ranks.

Nothing is judged here, so it needs no data but the model's own vocabulary.
"""

import calendar
import string
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from armillary.methods.icn.core import expected_share, in_top_clusters
from armillary.methods.icn.keys import KeyClusters, KeySpace, auto_clusters
from armillary.methods.icn.templates import NUMBERED_LIST, FirstTokens
from armillary.models import LoadedModel
from armillary.numerics.intervals import bootstrap_mean
from armillary.scoring import next_token_logits

Payload = dict[str, Any]

MOST_CLUSTERS = 512
"""Clusters of a survey at most: what a map can show, and what takes seconds."""

PASSES = 10
EXAMPLES = 8
RANKS, TOP, BANDS = 100, 10, 64
NEAREST = 10

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


def survey(
    loaded: LoadedModel,
    *,
    clusters: int | None = None,
    metric: Literal["cosine", "euclidean"] = "cosine",
    seed: int = 0,
) -> Payload:
    """Plain JSON data of the survey; UsageError for more clusters than tokens."""
    keys = KeySpace.from_model(loaded)
    count = min(MOST_CLUSTERS, auto_clusters(keys.vocabulary_size)) if clusters is None else clusters
    found = keys.cluster(count, metric, seed=seed, max_iterations=PASSES)
    random = KeySpace.from_matrix(_shuffled(keys.keys_VD, seed))
    null = random.cluster(count, metric, seed=seed, max_iterations=PASSES)
    return {
        "facts": found.to_dict(),
        "tied": loaded.anatomy.tied,
        "cohesion": found.cohesion(keys, seed=seed).to_dict(),
        "null": null.cohesion(random, seed=seed).to_dict(),
        "groups": groups(loaded, found),
        **_mapped(loaded, keys, found, seed),
        "neighbours": _neighbours(loaded, keys),
        "ranks": _ranks(loaded, found),
    }


def groups(loaded: LoadedModel, found: KeyClusters) -> Payload:
    """Where letters, digits and months lie, for the groups of which at least three strings are single tokens."""
    out = {}
    for name, strings in GROUPS.items():
        rows = [loaded.tokenizer.encode(text, add_special_tokens=False) for text in strings]
        single = [int(row[0]) for row in rows if len(row) == 1]
        if len(single) >= 3:
            out[name] = found.concentration(single).to_dict()
    return out


def _shuffled(keys_VD: Tensor, seed: int) -> Tensor:
    """Every coordinate shuffled over the vocabulary: the same distributions, and no groups."""
    generator = torch.Generator().manual_seed(seed)
    out_VD = torch.empty(keys_VD.shape, dtype=torch.float32)
    for dimension in range(keys_VD.shape[1]):
        order_V = torch.randperm(len(keys_VD), generator=generator)
        out_VD[:, dimension] = keys_VD[:, dimension].cpu().float()[order_V]
    return out_VD


def _mapped(loaded: LoadedModel, keys: KeySpace, found: KeyClusters, seed: int) -> Payload:
    """Each cluster with its size, tokens and place on the map, and how much of the neighbourhood the map keeps."""
    held = [cluster for cluster in range(found.n_clusters) if int(found.sizes_C[cluster])]
    centers_CD = torch.stack([keys.centred(found.members(cluster)).mean(0).cpu() for cluster in held]).double().numpy()
    unit_CD = centers_CD / np.maximum(np.linalg.norm(centers_CD, axis=1, keepdims=True), 1e-12)
    places_C2 = _places(unit_CD, seed)
    return {
        "clusters": [
            {
                "size": int(found.sizes_C[cluster]),
                "examples": found.examples(loaded.tokenizer, cluster, EXAMPLES),
                "x": float(place[0]),
                "y": float(place[1]),
            }
            for cluster, place in zip(held, places_C2, strict=True)
        ],
        "kept": kept_neighbours(unit_CD, places_C2),
    }


def _places(unit_CD: Any, seed: int) -> Any:
    """Centres on a plane by t-SNE of their directions; few clusters go on their two widest axes."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(unit_CD) < 30:
        return PCA(2, random_state=seed).fit_transform(unit_CD)
    # The exact method gives the same picture every time on one machine.
    plane = TSNE(2, metric="cosine", init="pca", method="exact", perplexity=15, max_iter=500, random_state=seed)
    return plane.fit_transform(unit_CD)


def kept_neighbours(points_CD: Any, places_C2: Any) -> float:
    """Share of each point's nearest others (ten, or all but one of fewer) that are also nearest on the map."""
    count = min(NEAREST, len(points_CD) - 2)
    if count < 1:
        return 1.0
    sets = []
    for rows in (points_CD, places_C2):
        apart = ((rows[:, None, :] - rows[None, :, :]) ** 2).sum(2)
        np.fill_diagonal(apart, np.inf)
        sets.append([set(row[:count].tolist()) for row in apart.argsort(axis=1, kind="stable")])
    return float(np.mean([len(a & b) / count for a, b in zip(*sets, strict=True)]))


def _neighbours(loaded: LoadedModel, keys: KeySpace) -> list[Payload]:
    rows = []
    for word in WORDS:
        ids = loaded.tokenizer.encode(word, add_special_tokens=False)
        if len(ids) == 1:
            near, cosine = keys.neighbours(ids[0], min(EXAMPLES, keys.vocabulary_size - 1))
            texts = [str(loaded.tokenizer.decode([token])) for token in near.tolist()]
            rows.append({"token": word, "nearest": texts, "cosine": cosine.tolist()})
    return rows


def _ranks(loaded: LoadedModel, found: KeyClusters) -> Payload:
    """Share of the middle ranks in clusters of the top ones, over a few lists, beside a frequency-matched draw."""
    first = FirstTokens(loaded, NUMBERED_LIST.stop)
    prompts = [NUMBERED_LIST.base(f"Please show me some {name}.") for name in CLASSES]
    shares, nulls = [], []
    ranks = min(RANKS, len(found.labels_V) // 4)
    for logits_V in next_token_logits(loaded, prompts):
        tokens, _, _ = first.best(torch.from_numpy(logits_V), ranks, set(), None)
        ranked_N = torch.tensor(tokens)
        if len(ranked_N) > TOP:
            shares.append(float(in_top_clusters(found.labels_V[ranked_N], TOP).double().mean()))
            bands = min(BANDS, max(1, len(found.labels_V) // 200))
            nulls.append(expected_share(found.labels_V, ranked_N, TOP, bands=bands))
    how = f"bootstrap over {len(shares)} prompts"
    return {
        "share": bootstrap_mean(shares, seed=0, how=how).to_dict(),
        "null": bootstrap_mean(nulls, seed=0, how=how).to_dict(),
        "ranks": ranks,
        "top": TOP,
    }
