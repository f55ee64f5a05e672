"""Demonstrations read once for many queries: their keys and values are cached and cut back after each batch.

Legend: B queries, T tokens of one, D hidden size, L labels, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from transformers.cache_utils import Cache

from armillary.errors import NumericError, UsageError
from armillary.methods.vector_icl.embedding import run_embeds, side_by_side, takes_branches
from armillary.models.batches import run_body
from armillary.models.loaded import LoadedModel
from armillary.scoring.decoding import DecodingRows, few_rows
from armillary.scoring.kv_cache import (
    GrowingLayer,
    TokenTree,
    copy_cache,
    growing_cache,
    require_cache,
    token_tree,
)

_SIDE_BY_SIDE = 2
"""Lengths of the prefix up to which queries stand side by side: beyond, they'd mostly be hidden from each other."""


@dataclass(frozen=True, eq=False)
class ReadQueries:
    """Queries that were read after the prefix; valid until the next ones are."""

    hidden_BD: Float[Tensor, "b d"]
    """Last hidden state after each query."""

    held: Cache | Callable[[], Cache]
    """The cache, or what lays it out."""

    @cached_property
    def cache(self) -> Cache:
        """Prefix and query of each row; laid out at the first use, since labels of one token need none."""
        return self.held if isinstance(self.held, Cache) else self.held()


class SharedPrefix:
    """Embeddings that many queries have in front of them, read once. Nothing is padded: queries are equally long."""

    @torch.inference_mode()
    def __init__(self, loaded: LoadedModel, embeds_1TD: Float[Tensor, "1 t d"]) -> None:
        """``t`` may be 0 (no demonstrations and no ``<bos>``). ModelError for a model without a cache."""
        require_cache(loaded, "reading vectors in a prompt")
        self.loaded, self.length = loaded, embeds_1TD.shape[1]
        self._cache = growing_cache()
        if self.length:
            run_embeds(loaded, embeds_1TD, cache=self._cache)
        self._rows, self._expanded = 1, self._cache

    @torch.inference_mode()
    def read(self, embeds_BTD: Float[Tensor, "b t d"]) -> ReadQueries:
        """Read the queries, each as if it stood alone behind the prefix."""
        rows, tokens = embeds_BTD.shape[:2]
        together = rows > 1 and 0 < rows * tokens <= _SIDE_BY_SIDE * self.length
        if together and takes_branches(self.loaded, self.length + tokens):
            return self._read_side_by_side(embeds_BTD)
        cache = self._ready(rows)
        return ReadQueries(run_embeds(self.loaded, embeds_BTD, cache=cache)[:, -1], cache)

    def _read_side_by_side(self, embeds_BTD: Tensor) -> ReadQueries:
        """All queries in one row: each layer reads the prefix once, not once a query."""
        rows, tokens = embeds_BTD.shape[:2]
        self._cut(self._cache)
        branches = side_by_side(self.length, rows, tokens, embeds_BTD)
        row_1TD = embeds_BTD.reshape(1, rows * tokens, -1)
        hidden_1TD = run_embeds(self.loaded, row_1TD, cache=self._cache, branches=branches)
        return ReadQueries(hidden_1TD[0, tokens - 1 :: tokens], lambda: self._rows_of(rows))

    @torch.inference_mode()
    def _rows_of(self, rows: int) -> Cache:
        """A row for each of the queries that stand side by side."""
        layers = [layer for layer in self._cache.layers if isinstance(layer, GrowingLayer)]
        new = [(self._split(layer.keys, rows), self._split(layer.values, rows)) for layer in layers]
        cache = self._ready(rows)
        for layer, (keys, values) in enumerate(new):
            cache.update(keys, values, layer)
        return cache

    def _split(self, held_1HSD: Tensor | None, rows: int) -> Tensor:
        """Of one row the states behind the prefix, as so many rows."""
        assert held_1HSD is not None
        new_HTD = held_1HSD[0, :, self.length :]
        return new_HTD.reshape(len(new_HTD), rows, -1, new_HTD.shape[-1]).transpose(0, 1)

    def _ready(self, rows: int) -> Cache:
        """A cache of so many rows that holds the prefix; batches of one size share it and copy nothing."""
        if not self.length:
            return growing_cache()
        self._cut(self._cache)
        if rows == 1:
            return self._cache
        if rows != self._rows:
            first_B = torch.zeros(rows, dtype=torch.long, device=self.loaded.device)
            self._rows, self._expanded = rows, copy_cache(self._cache, first_B)
        self._cut(self._expanded)
        return self._expanded

    def _cut(self, cache: Cache) -> None:
        if (more := cache.get_seq_length() - self.length) > 0:
            cache.crop(-more)


@torch.inference_mode()
def label_log_probabilities(
    loaded: LoadedModel, queries: ReadQueries, labels: Sequence[Sequence[int]]
) -> Float[Tensor, "b l"]:
    """``sum_t log p(label_t | prefix, query, label_<t)`` of each label after each query, nats, float64 on the host.

    Exact: every token of a label counts, and shared beginnings of labels are computed once. Logits exist for the
    positions of one token of the rows at a time. The cache is left as it was. UsageError for a label without tokens,
    NumericError where logits are not finite.
    """
    if not labels or not all(labels):
        raise UsageError("each label needs one token or more.")
    tree = token_tree(dict(enumerate(labels)))
    root = TokenTree(run=(), ends=(), branches=(tree,)) if tree.run else tree
    walk = _Walk(loaded, queries, torch.empty((len(queries.hidden_BD), len(labels)), dtype=torch.float64))
    walk.branch(root, queries.hidden_BD, torch.zeros(len(queries.hidden_BD), dtype=torch.float64))
    return walk.out_BL


@dataclass(frozen=True, eq=False)
class _Walk:
    """Depth first through the tree of labels; ``total`` holds the log-probability of the way so far."""

    loaded: LoadedModel
    queries: ReadQueries
    out_BL: Tensor

    def branch(self, node: TokenTree, hidden_BD: Tensor, total_B: Tensor) -> None:
        firsts_BK = self._chosen(hidden_BD, [branch.run[0] for branch in node.branches])
        for index, branch in enumerate(node.branches):
            self._enter(branch, total_B + firsts_BK[:, index])

    def _enter(self, node: TokenTree, total_B: Tensor) -> None:
        fed = node.run if node.branches else node.run[:-1]
        hidden_BTD = None
        if fed:
            ids_BT = torch.tensor([fed], device=self.loaded.device).expand(len(total_B), -1)
            hidden_BTD = run_body(self.loaded, ids_BT, cache=self.queries.cache)
            for position, token in enumerate(node.run[1:]):
                total_B = total_B + self._chosen(hidden_BTD[:, position], [token])[:, 0]
        for end in node.ends:
            self.out_BL[:, end] = total_B
        if node.branches and hidden_BTD is not None:
            self.branch(node, hidden_BTD[:, -1], total_B)
        if fed:
            self.queries.cache.crop(-len(fed))

    def _chosen(self, hidden_BD: Tensor, tokens: Sequence[int]) -> Tensor:
        logits_BV = self.loaded.anatomy.logits(hidden_BD)
        logits_BV = logits_BV.to(torch.promote_types(logits_BV.dtype, torch.float32))
        if not bool(torch.isfinite(logits_BV).all()):
            raise NumericError("the model gave NaN or infinite logits after a vector.")
        return self.loaded.masked(logits_BV).log_softmax(-1)[:, list(tokens)].cpu().double()


def distinct_labels(labels: Sequence[tuple[int, ...]], separator: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The labels, all followed by the separator where one begins another: else the shorter would always win."""
    prefixed = any(a != b and b[: len(a)] == a for a in labels for b in labels)
    return [label + separator if prefixed else label for label in labels]


# Text after queries with vectors in them, on the shared prefix: greedy, or sampled at a temperature.
#
# Legend: B queries, S positions of the cache, D hidden size, V vocabulary.


@torch.inference_mode()
def continue_queries(
    loaded: LoadedModel,
    queries: ReadQueries,
    *,
    max_new_tokens: int,
    stop_ids: Sequence[int],
    allowed: Sequence[int] | None = None,
    temperature: float = 0.0,
    generators: Sequence[torch.Generator] = (),
) -> list[list[int]]:
    """New tokens of each query, without the stop token that ended it; at most ``max_new_tokens``.

    ``allowed`` keeps to these tokens and the stop tokens, which may not come first. With ``temperature`` 0 the
    likeliest token is taken; above 0 it is drawn by the query's own of the ``generators`` (so that an answer does not
    depend on other queries; on the host, so that every device draws alike). UsageError for a bad length or
    temperature, or another number of generators; NumericError where logits are not finite.
    """
    if max_new_tokens < 1 or not temperature >= 0:
        raise UsageError(
            f"max_new_tokens must be 1 or more and temperature 0 or more; got {max_new_tokens} and {temperature}."
        )
    if temperature > 0 and len(generators) != len(queries.hidden_BD):
        raise UsageError(f"{len(queries.hidden_BD)} queries are drawn by as many generators; got {len(generators)}.")
    stops = torch.tensor(list(stop_ids), dtype=torch.long, device=loaded.device)
    held = queries.cache.get_seq_length()
    mask_BS = torch.ones((len(queries.hidden_BD), held), dtype=torch.long, device=loaded.device)
    rows = DecodingRows(loaded, copy_cache(queries.cache), mask_BS, queries.hidden_BD, stops)
    out: list[list[int]] = [[] for _ in queries.hidden_BD]
    stopping = set(stop_ids)
    with few_rows(loaded.model):
        for step in range(max_new_tokens):
            logits_BV = _allowed(loaded, rows.hidden_BD, allowed, stop_ids if step else ())
            token_B = _drawn(
                logits_BV, temperature, [generators[index] for index in rows.held.tolist() if temperature]
            )
            for index, alive, token in zip(rows.held.tolist(), rows.alive.tolist(), token_B.tolist(), strict=True):
                if alive and token not in stopping:
                    out[index].append(token)
            if step + 1 == max_new_tokens or not rows.advance(token_B):
                break
    return out


def _allowed(loaded: LoadedModel, hidden_BD: Tensor, allowed: Sequence[int] | None, stop_ids: Sequence[int]) -> Tensor:
    logits_BV = loaded.anatomy.logits(hidden_BD)
    if not bool(torch.isfinite(logits_BV).all()):
        raise NumericError("the model gave NaN or infinite logits while it continued a query.")
    if allowed is None:
        return loaded.masked(logits_BV)
    hidden_V = torch.ones(logits_BV.shape[1], dtype=torch.bool, device=logits_BV.device)
    hidden_V[[*allowed, *stop_ids]] = False
    return logits_BV.masked_fill(hidden_V, -torch.inf)


def _drawn(logits_BV: Tensor, temperature: float, generators: Sequence[torch.Generator]) -> Tensor:
    if temperature == 0:
        return logits_BV.argmax(-1)
    shares_BV = (logits_BV.cpu().double() / temperature).softmax(-1)
    rows = zip(shares_BV, generators, strict=True)
    return torch.cat([torch.multinomial(shares_V, 1, generator=own) for shares_V, own in rows]).to(logits_BV.device)
