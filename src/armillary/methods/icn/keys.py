"""The vocabulary key space: rows of the unembedding, their clusters and neighbours.

"Correlation and Navigation in the Vocabulary Key Representation Space of Language Models", Peng, An and Shang, 2024,
arXiv 2410.02284, section on key space analysis. The official code clusters the raw rows by Euclidean k-means; that is
``metric="euclidean"``. Cosine of keys less their mean is our choice and the default: raw keys share a large common
direction, and their lengths follow the frequency of the tokens.

Legend: V tokens, D width of a key, B rows of a block, C clusters, K neighbours, P pairs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from armillary.errors import ModelError, NumericError, UsageError
from armillary.methods.icn.core import checked_ids
from armillary.models import LoadedModel
from armillary.numerics.clustering import kmeans
from armillary.numerics.intervals import Interval, bootstrap_mean, paired_difference

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BLOCK_ROWS = 8192
"""Keys widened to float32 at once, so that a vocabulary in half precision is never held twice."""

TOKENS_PER_CLUSTER, LEAST_CLUSTERS, MOST_CLUSTERS = 100, 2, 2048


def auto_clusters(vocabulary: int) -> int:
    """One cluster per 100 tokens, 2 to 2,048 of them (our choice; the official code has 1,024 and 512, 98 to 125)."""
    return min(MOST_CLUSTERS, max(LEAST_CLUSTERS, vocabulary // TOKENS_PER_CLUSTER))


@dataclass(frozen=True, eq=False)
class KeySpace:
    """The keys of a vocabulary, read in place; what comes out of its methods is on the CPU."""

    keys_VD: Float[Tensor, "v d"]
    """One row per token, in the model's dtype."""

    ids_V: Int[Tensor, " v"] | None = None
    """Token id of each row, ascending, on the CPU; None where row i is token i."""

    @classmethod
    def from_model(cls, loaded: LoadedModel) -> "KeySpace":
        """The rows of the head that are tokens, a view of them where no id among them is missing.

        A head with a bias gets it as one more dimension of a copy, to be met by a query ending in 1. ModelError for a
        head that is quantised.
        """
        weight, bias = loaded.anatomy.head.weight, getattr(loaded.anatomy.head, "bias", None)
        if not isinstance(weight, Tensor) or not weight.is_floating_point() or weight.ndim != 2:
            raise ModelError(f"the unembedding of {loaded.name} is no plain matrix; load the model unquantised.")
        ids_V = torch.tensor(loaded.token_ids)
        whole = loaded.token_ids == tuple(range(len(ids_V)))
        rows = slice(len(ids_V)) if whole else ids_V.to(weight.device)
        keys_VD = weight.detach()[rows]
        if bias is not None:
            keys_VD = torch.cat([keys_VD, bias.detach()[rows, None].to(keys_VD.dtype)], dim=1)
        return cls(keys_VD, None if whole else ids_V)

    @classmethod
    def from_matrix(cls, keys_VD: Float[Tensor, "v d"]) -> "KeySpace":
        """Keys given as a matrix, one row per token; UsageError for another shape or fewer than two tokens."""
        if keys_VD.ndim != 2 or len(keys_VD) < 2 or not keys_VD.is_floating_point():
            raise UsageError(
                f"keys must be a matrix of real numbers with a row for each of at least 2 tokens; got shape "
                f"{tuple(keys_VD.shape)} of {keys_VD.dtype}."
            )
        return cls(keys_VD.detach())

    @property
    def vocabulary_size(self) -> int:
        """Tokens that have a key."""
        return len(self.keys_VD)

    def rows(self, token_ids: Sequence[int] | Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """The row of each token; UsageError for ids outside."""
        return checked_ids(token_ids, self.vocabulary_size, self.ids_V)

    def tokens(self, rows_N: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """The token of each row."""
        return rows_N if self.ids_V is None else self.ids_V[rows_N.cpu()]

    @cached_property
    def mean_D(self) -> Float[Tensor, " d"]:
        """The mean key, on the keys' device; NumericError where a key is not finite."""
        # A sum over a whole vocabulary loses digits in float32.
        total_D = torch.zeros(self.keys_VD.shape[1], dtype=torch.float64, device=self.keys_VD.device)
        for rows in self._slices():
            total_D += self.keys_VD[rows].sum(0, dtype=torch.float64)
        if not bool(torch.isfinite(total_D).all()):
            raise NumericError("the keys hold a NaN or infinite value.")
        return (total_D / self.vocabulary_size).to(self._dtype)

    def centred(self, token_ids: Sequence[int] | Int[Tensor, " n"]) -> Float[Tensor, "n d"]:
        """These tokens' keys less the mean key, at least float32, on the keys' device; UsageError for ids outside."""
        rows_N = self.rows(token_ids).to(self.keys_VD.device)
        return self.keys_VD[rows_N].to(self._dtype) - self.mean_D

    def similarity(
        self, ids_a: Sequence[int] | Int[Tensor, " a"], ids_b: Sequence[int] | Int[Tensor, " b"]
    ) -> Float[Tensor, "a b"]:
        """Centred cosine of every first with every second token."""
        return (_unit(self.centred(ids_a)) @ _unit(self.centred(ids_b)).T).cpu()

    def nearest(self, token_ids: Sequence[int] | Int[Tensor, " k"]) -> Float[Tensor, " v"]:
        """For the token of every row its largest centred cosine with any of these; UsageError for none."""
        if not len(token_ids):
            raise UsageError("no token was given to be near to.")
        unit_KD = _unit(self.centred(token_ids))
        return torch.cat([(_unit(block_BD) @ unit_KD.T).amax(dim=1) for _, block_BD in self._blocks()]).cpu()

    def neighbours(self, token_id: int, k: int) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
        """``(ids, centred cosines)`` of the ``k`` nearest other tokens, nearest first; UsageError for a larger k."""
        if not 1 <= k < self.vocabulary_size:
            raise UsageError(f"k must lie between 1 and the other tokens, {self.vocabulary_size - 1}; got {k}.")
        cosine_V = self.nearest([token_id])
        cosine_V[self.rows([token_id])] = -torch.inf
        values, rows = cosine_V.topk(k)
        return self.tokens(rows), values

    def cluster(
        self,
        n_clusters: int | Literal["auto"] = "auto",
        metric: Literal["cosine", "euclidean"] = "cosine",
        *,
        seed: int = 0,
        max_iterations: int = 25,
    ) -> "KeyClusters":
        """k-means on the CPU of the keys less their mean, at unit length when ``cosine``; the same for the same seed.

        Holds one more copy of the keys, at least float32, while it runs. UsageError for another metric, or more
        clusters than tokens; NumericError for keys without a direction.
        """
        if metric not in ("cosine", "euclidean"):
            raise UsageError(f"metric must be 'cosine' or 'euclidean'; got {metric!r}.")
        if isinstance(n_clusters, str) and n_clusters != "auto":
            raise UsageError(f"n_clusters must be a number or 'auto'; got {n_clusters!r}.")
        k = auto_clusters(self.vocabulary_size) if isinstance(n_clusters, str) else n_clusters
        cosine = metric == "cosine"
        points_VD = self._points(cosine)
        result = kmeans(points_VD.numpy(), k, seed=seed, max_iterations=max_iterations)
        labels_V, centers_CD = torch.from_numpy(result.labels_N), torch.from_numpy(result.centers_KD)
        if cosine:
            centers_CD = _unit(centers_CD)
        distances_V = torch.empty(self.vocabulary_size, dtype=points_VD.dtype)
        for rows in self._slices():
            block_BD, centers_BD = points_VD[rows], centers_CD[labels_V[rows]]
            distances_V[rows] = 1 - (block_BD * centers_BD).sum(1) if cosine else (block_BD - centers_BD).norm(dim=1)
        return KeyClusters(
            labels_V=labels_V,
            distances_V=distances_V,
            n_clusters=k,
            metric=metric,
            seed=seed,
            iterations=result.iterations,
            converged=result.converged,
            ids_V=self.ids_V,
        )

    def shuffled(self, seed: int) -> "KeySpace":
        """Every coordinate shuffled over the vocabulary, on the CPU: the same distributions, and no groups."""
        generator = torch.Generator().manual_seed(seed)
        out_VD = torch.empty(self.keys_VD.shape, dtype=torch.float32)
        for dimension in range(self.keys_VD.shape[1]):
            order_V = torch.randperm(self.vocabulary_size, generator=generator)
            out_VD[:, dimension] = self.keys_VD[:, dimension].cpu().float()[order_V]
        return KeySpace(out_VD, self.ids_V)

    @property
    def _dtype(self) -> torch.dtype:
        return torch.promote_types(self.keys_VD.dtype, torch.float32)

    def _slices(self) -> Iterator[slice]:
        for start in range(0, self.vocabulary_size, BLOCK_ROWS):
            yield slice(start, min(self.vocabulary_size, start + BLOCK_ROWS))

    def _blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """``(rows, centred keys [b, d])``."""
        for rows in self._slices():
            yield rows, self.keys_VD[rows].to(self._dtype) - self.mean_D

    def _points(self, cosine: bool) -> Tensor:
        """The centred keys on the CPU; scaled to unit length when ``cosine``, where NumericError for one of zero."""
        points_VD = torch.empty(self.keys_VD.shape, dtype=self._dtype)
        for rows, block_BD in self._blocks():
            if cosine:
                length_B = block_BD.norm(dim=1)
                if bool((length_B == 0).any()):
                    zero = rows.start + int((length_B == 0).nonzero()[0])
                    raise NumericError(
                        f"key {zero} is the mean of all keys, so it has no direction; use metric='euclidean'."
                    )
                block_BD = block_BD / length_B[:, None]
            points_VD[rows] = block_BD
        return points_VD


@dataclass(frozen=True, kw_only=True)
class Cohesion:
    """Mean centred cosine of sampled pairs; every first token is paired once within and once outside its cluster."""

    within: Interval
    between: Interval
    difference: Interval
    """Within less between, by the same first tokens."""


@dataclass(frozen=True, kw_only=True)
class Concentration:
    """How some tokens spread over the clusters."""

    tokens: int
    clusters: int
    """Clusters that hold any of them."""

    largest: float
    """Share in the cluster that holds most of them."""

    largest_two: float
    """Share in the two clusters that hold most of them."""


@dataclass(frozen=True, kw_only=True)
class ClusterFacts:
    """How a vocabulary was clustered, and the sizes of the clusters in tokens."""

    tokens: int
    n_clusters: int
    metric: str
    seed: int
    iterations: int
    converged: bool
    smallest: int
    median: float
    largest: int
    giants: tuple[int, ...]
    """Sizes of ``KeyClusters.giants``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class KeyClusters:
    """The vocabulary in clusters; tensors are on the CPU."""

    labels_V: Int[Tensor, " v"]
    """Cluster of each key, int64 from 0."""

    distances_V: Float[Tensor, " v"]
    """From each key to the centre of its cluster: Euclidean, or 1 - cosine."""

    n_clusters: int
    metric: str
    seed: int
    iterations: int
    converged: bool
    ids_V: Int[Tensor, " v"] | None = None
    """Token of each key, as in ``KeySpace``."""

    def rows(self, token_ids: Sequence[int] | Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """Where each token stands in ``labels_V``; UsageError for ids outside."""
        return checked_ids(token_ids, len(self.labels_V), self.ids_V)

    @cached_property
    def sizes_C(self) -> Int[Tensor, " c"]:
        """Tokens of each cluster; 0 where there are fewer different keys than clusters, and else hardly ever."""
        return torch.bincount(self.labels_V, minlength=self.n_clusters)

    def members(self, cluster: int) -> Int[Tensor, " n"]:
        """Token ids of a cluster, nearest to its centre first; UsageError for a cluster that is not there."""
        if not 0 <= cluster < self.n_clusters:
            raise UsageError(f"cluster {cluster} does not exist; there are {self.n_clusters}, counted from 0.")
        rows_N = (self.labels_V == cluster).nonzero()[:, 0]
        rows_N = rows_N[self.distances_V[rows_N].argsort(stable=True)]
        return rows_N if self.ids_V is None else self.ids_V[rows_N]

    def giants(self, share: float = 0.02) -> tuple[int, ...]:
        """Clusters that hold more than this share of the vocabulary, largest first: to be reported apart (our choice).

        They tend to gather rare tokens, whose keys were hardly trained.
        """
        order = self.sizes_C.argsort(descending=True, stable=True).tolist()
        return tuple(cluster for cluster in order if int(self.sizes_C[cluster]) > share * len(self.labels_V))

    def cohesion(self, keyspace: KeySpace, pairs: int = 2000, seed: int = 0) -> Cohesion:
        """Mean centred cosine within and between clusters of ``pairs`` random tokens with a partner each way.

        First tokens are drawn from all that share their cluster, partners evenly from the cluster and from the rest.
        UsageError for the keys of another vocabulary; NumericError where no cluster has both two tokens and others.
        """
        if keyspace.vocabulary_size != len(self.labels_V):
            raise UsageError(f"{keyspace.vocabulary_size} keys don't fit clusters of {len(self.labels_V)} tokens.")
        rows = self._pairs(pairs, torch.Generator().manual_seed(seed))
        first_P, near_P, far_P = map(keyspace.tokens, rows)
        unit_PD = _unit(keyspace.centred(first_P))
        within_P, between_P = (
            (unit_PD * _unit(keyspace.centred(other_P))).sum(1).cpu().double().numpy() for other_P in (near_P, far_P)
        )
        how = f"bootstrap over {pairs:,} sampled pairs of tokens"
        return Cohesion(
            within=bootstrap_mean(within_P, seed=seed, how=how),
            between=bootstrap_mean(between_P, seed=seed, how=how),
            difference=paired_difference(within_P, between_P, seed=seed, how=f"paired {how}"),
        )

    def concentration(self, token_ids: Sequence[int] | Int[Tensor, " n"]) -> Concentration:
        """Of tokens that belong together (digits, capitals): in how many clusters they are, and the largest shares."""
        rows_N = self.rows(token_ids)
        if not len(rows_N):
            raise UsageError("no token was given to look up.")
        counts = torch.bincount(self.labels_V[rows_N]).sort(descending=True).values
        return Concentration(
            tokens=len(rows_N),
            clusters=int((counts > 0).sum()),
            largest=int(counts[0]) / len(rows_N),
            largest_two=int(counts[:2].sum()) / len(rows_N),
        )

    def examples(self, tokenizer: "PreTrainedTokenizerBase", cluster: int, n: int = 8) -> list[str]:
        """The ``n`` tokens nearest to the centre of a cluster, as text; fewer where it has no more."""
        return [str(tokenizer.decode([token])) for token in self.members(cluster)[:n].tolist()]

    def facts(self) -> ClusterFacts:
        """Settings and sizes, without the labels: what a record keeps."""
        sizes = self.sizes_C.sort().values
        return ClusterFacts(
            tokens=len(self.labels_V),
            n_clusters=self.n_clusters,
            metric=self.metric,
            seed=self.seed,
            iterations=self.iterations,
            converged=self.converged,
            smallest=int(sizes[0]),
            median=float(sizes.double().quantile(0.5)),
            largest=int(sizes[-1]),
            giants=tuple(int(self.sizes_C[cluster]) for cluster in self.giants()),
        )

    def _pairs(self, pairs: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens, partners within their clusters, partners outside: on a ring of tokens ordered by cluster."""
        ring_V = self.labels_V.argsort(stable=True)
        start_C = self.sizes_C.cumsum(0) - self.sizes_C
        size_V = self.sizes_C[self.labels_V[ring_V]]
        able = ((size_V > 1) & (size_V < len(ring_V))).nonzero()[:, 0]
        if not len(able):
            raise NumericError("no cluster holds two tokens and leaves others out, so there are no pairs to compare.")
        first_P = able[torch.randint(len(able), (pairs,), generator=generator)]
        size_P, start_P = size_V[first_P], start_C[self.labels_V[ring_V[first_P]]]
        draw_2P = torch.rand(2, pairs, generator=generator, dtype=torch.float64)
        step_P = 1 + (draw_2P[0] * (size_P - 1)).long()
        near_P = start_P + (first_P - start_P + step_P) % size_P
        far_P = start_P + size_P + (draw_2P[1] * (len(ring_V) - size_P)).long()
        return ring_V[first_P], ring_V[near_P], ring_V[far_P % len(ring_V)]


def _unit(keys_BD: Tensor) -> Tensor:
    return torch.nn.functional.normalize(keys_BD, dim=1)
