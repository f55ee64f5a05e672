"""What the static ranking owes to the key space, tested within rank bands, and the baselines of navigation as orders.

"Correlation and Navigation in the Vocabulary Key Representation Space of Language Models", Peng, An and Shang, 2024,
arXiv 2410.02284. The paper splits the middle ranks by the clusters of the top ranks; the nulls, the control for rank
and the baselines here are ours.

Legend: V vocabulary, N ranked tokens (best first), M those after the top ranks, P pool,
D width of a key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from armillary.errors import NumericError, UsageError
from armillary.numerics.intervals import Interval


def in_top_clusters(clusters_N: Int[Tensor, " n"], top: int) -> Bool[Tensor, " m"]:
    """Of each rank after the first ``top``, whether its cluster is among theirs, ``m = n - top``.

    UsageError unless there is a rank on either side.
    """
    if not 1 <= top < len(clusters_N):
        raise UsageError(f"top must lie between 1 and the ranked tokens less one, {len(clusters_N) - 1}; got {top}.")
    return torch.isin(clusters_N[top:], clusters_N[:top])


def expected_share(clusters_V: Int[Tensor, " v"], ranked_N: Int[Tensor, " n"], top: int, *, bands: int = 1) -> float:
    """In-cluster share of the ranks after the first ``top`` if they were drawn at random (our choice of nulls).

    One band is a uniform draw from the vocabulary without the top tokens. With more, each token is replaced by a draw
    from its own band, one of ``bands`` equal ranges of token ids: BPE ids follow the order of merges, so a range holds
    tokens of like frequency. ``ranked_N`` are token ids, best first. Closed form; UsageError for ids outside.
    """
    vocabulary = len(clusters_V)
    if not 1 <= bands <= vocabulary:
        raise UsageError(f"bands must lie between 1 and the vocabulary of {vocabulary} tokens; got {bands}.")
    ranked_N = checked_ids(ranked_N, vocabulary).to(clusters_V.device)
    in_top_clusters(clusters_V[ranked_N], top)  # refuses a top without ranks after it
    free_V = torch.ones(vocabulary, dtype=torch.bool, device=clusters_V.device)
    free_V[ranked_N[:top]] = False
    inside_V = torch.isin(clusters_V, clusters_V[ranked_N[:top]]) & free_V
    band_V = torch.arange(vocabulary, device=clusters_V.device) * bands // vocabulary
    free = torch.bincount(band_V[free_V], minlength=bands)
    inside = torch.bincount(band_V[inside_V], minlength=bands)
    band_M = band_V[ranked_N[top:]]
    return float((inside[band_M].double() / free[band_M]).mean())


def rank_strata(lengths: Sequence[int], width: int) -> Int[Tensor, " n"]:
    """A stratum for every ``width`` ranks of every probe: int64, for probes of these lengths one after the other."""
    if width < 1:
        raise UsageError(f"a band must be at least 1 rank wide; got {width}.")
    strata: list[Tensor] = []
    start = 0
    for length in lengths:
        strata.append(torch.arange(length) // width + start)
        start += -(-length // width)
    return torch.cat(strata)


def mantel_haenszel(
    in_cluster_N: Bool[Tensor, " n"], gold_N: Bool[Tensor, " _"], strata_N: Int[Tensor, " _"]
) -> Interval:
    """Accuracy of in-cluster less that of out-of-cluster tokens of the same stratum (our choice of control for rank).

    The Mantel-Haenszel risk difference with the variance of Sato (1989), which holds for few large and for many small
    strata and with empty cells, where the odds ratio has none. Strata without both groups carry no weight. The tokens
    count as independent. NumericError where no stratum has both groups.
    """
    gold_in, n_in, gold_out, n_out = _counts_by_stratum(in_cluster_N, gold_N, strata_N)
    both = (n_in > 0) & (n_out > 0)
    if not both.any():
        raise NumericError("no stratum holds tokens in and out of the clusters, so the two can't be compared.")
    gold_in, n_in, gold_out, n_out = (count[both] for count in (gold_in, n_in, gold_out, n_out))
    n = n_in + n_out
    weight = float((n_in * n_out / n).sum())
    difference = float(((gold_in * n_out - gold_out * n_in) / n).sum()) / weight
    first = (n_in**2 * gold_out - n_out**2 * gold_in + n_in * n_out * (n_out - n_in) / 2) / n**2
    second = (gold_in * (n_out - gold_out) + gold_out * (n_in - gold_in)) / (2 * n)
    variance = max(0.0, difference * float(first.sum()) + float(second.sum())) / weight**2
    half = NormalDist().inv_cdf(0.975) * variance**0.5
    return Interval(
        estimate=difference,
        low=difference - half,
        high=difference + half,
        n=int(n.sum()),
        level=0.95,
        how=f"Mantel-Haenszel risk difference over {len(n)} rank bands",
    )


@dataclass(frozen=True, kw_only=True)
class WithinStrata:
    """The difference of accuracy in and out of the clusters, and how rare it is when chance decides who is in."""

    difference: float
    """Accuracy in less accuracy out, all strata together."""

    p_lower: float
    """Probability of a difference this low or lower: small where in-cluster tokens are worse, as the paper claims."""

    p_higher: float
    """Probability of a difference this high or higher."""

    n: int
    """Tokens."""


def permutation_within(
    in_cluster_N: Bool[Tensor, " n"], gold_N: Bool[Tensor, " _"], strata_N: Int[Tensor, " _"]
) -> WithinStrata:
    """Permutation test of the difference in accuracy, membership permuted within each stratum (our choice of control).

    Exact over all permutations: the gold tokens that fall in are hypergeometric in each stratum, so nothing is drawn.
    Tokens count as exchangeable within a stratum; those of one cluster tend to be right together, which makes the
    probabilities too small, so an interval over probes belongs beside them. NumericError where a group is empty.
    """
    from scipy.stats import hypergeom

    counts = _counts_by_stratum(in_cluster_N, gold_N, strata_N)
    total_in, total_out = int(counts[1].sum()), int(counts[3].sum())
    if not total_in or not total_out:
        raise NumericError(f"a difference needs tokens in and out of the clusters; got {total_in} and {total_out}.")
    observed, observed_out = int(counts[0].sum()), int(counts[2].sum())
    chances = np.ones(1)
    for gold_in, n_in, gold_out, n_out in torch.stack(counts, dim=1).long().tolist():
        size, gold = n_in + n_out, gold_in + gold_out
        chances = np.convolve(chances, hypergeom.pmf(np.arange(min(gold, n_in) + 1), size, gold, n_in))
    return WithinStrata(
        difference=observed / total_in - observed_out / total_out,
        p_lower=min(1.0, float(chances[: observed + 1].sum())),
        p_higher=min(1.0, float(chances[observed:].sum())),
        n=total_in + total_out,
    )


def capped_order(ranked_N: Int[Tensor, " n"], clusters_V: Int[Tensor, " v"], cap: int) -> Int[Tensor, " m"]:
    """The ranked token ids without those whose cluster has already appeared ``cap`` times (our choice of baseline).

    UsageError for a cap below 1 or an id outside.
    """
    if cap < 1:
        raise UsageError(f"cap must be at least 1; got {cap}.")
    clusters_N = clusters_V.to(ranked_N.device)[checked_ids(ranked_N, len(clusters_V))]
    # Sorted by cluster, a token's distance from the first of its cluster is how often that appeared before it.
    grouped_N, order_N = torch.sort(clusters_N, stable=True)
    start_N = torch.searchsorted(grouped_N, grouped_N)
    earlier_N = torch.empty_like(order_N)
    earlier_N[order_N] = torch.arange(len(order_N), device=order_N.device) - start_N
    return ranked_N[earlier_N < cap]


def mmr_order(
    logits_P: Float[Tensor, " p"],
    keys_PD: Float[Tensor, "p d"],
    n: int,
    weight: float,
) -> Int[Tensor, " n"]:
    """Indices in the pool of ``n`` tokens, each the best by logit - weight * largest cosine to those before it.

    Maximal marginal relevance (Carbonell and Goldstein, 1998) on centred keys (our choice of baseline). Weight 0 gives
    the ranking by logit, the earlier index first where two are equal.
    UsageError unless 1 <= n <= pool; NumericError for logits that are not finite.
    """
    if not 1 <= n <= len(logits_P) or len(keys_PD) != len(logits_P):
        raise UsageError(f"can't order {n} of {len(logits_P)} logits by {len(keys_PD)} keys.")
    if not bool(torch.isfinite(logits_P).all()):
        raise NumericError("the logits of the pool must be finite; leave tokens that can't be chosen out of it.")
    unit_PD = torch.nn.functional.normalize(keys_PD.double(), dim=1)
    value_P = logits_P.double()
    nearest_P: Tensor | None = None  # to the keys chosen so far; nothing to be near to before the first
    chosen: list[int] = []
    for _ in range(n):
        score_P = value_P.clone() if nearest_P is None else value_P - weight * nearest_P
        score_P[chosen] = -torch.inf
        chosen.append(int(score_P.argmax()))
        cosine_P = unit_PD @ unit_PD[chosen[-1]]
        nearest_P = cosine_P if nearest_P is None else torch.maximum(nearest_P, cosine_P)
    return torch.tensor(chosen, device=logits_P.device)


def checked_ids(
    ids: Sequence[int] | Int[Tensor, " n"], vocabulary: int, known_V: Int[Tensor, " v"] | None = None
) -> Int[Tensor, " n"]:
    """The ids as int64, or where they stand in ``known`` (ascending); UsageError naming the first outside.

    Without ``known`` the ids are ``0 <= id < vocabulary``.
    """
    ids_N = torch.as_tensor(ids, dtype=torch.int64)
    known_V = torch.arange(vocabulary) if known_V is None else known_V
    rows_N = torch.searchsorted(known_V, ids_N.cpu()).clamp_max(vocabulary - 1)
    outside = ids_N[known_V[rows_N] != ids_N.cpu()]
    if len(outside):
        raise UsageError(f"token id {int(outside[0])} is outside this vocabulary of {vocabulary} tokens.")
    return rows_N.to(ids_N.device)


def _counts_by_stratum(
    in_cluster_N: Tensor, gold_N: Tensor, strata_N: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gold in, all in, gold out, all out: float64 [s] each."""
    lengths = {"in_cluster_N": len(in_cluster_N), "gold_N": len(gold_N), "strata_N": len(strata_N)}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise UsageError(f"one value for each ranked token is needed everywhere; {listed}.")
    _, stratum_N = strata_N.unique(return_inverse=True)
    strata = int(stratum_N.max()) + 1 if len(stratum_N) else 0
    groups = (in_cluster_N & gold_N, in_cluster_N, ~in_cluster_N & gold_N, ~in_cluster_N)
    counts = [torch.bincount(stratum_N[group], minlength=strata).double() for group in groups]
    return counts[0], counts[1], counts[2], counts[3]
