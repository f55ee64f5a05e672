"""Demonstrations read once for many queries: their keys and values are cached and cut back after each batch.

Legend: B queries, T tokens of one, D hidden size, L labels, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformers.cache_utils import Cache

from armillary.errors import ModelError, NumericError, UsageError
from armillary.methods.vector_icl.embedding import run_embeds
from armillary.models.batches import run_body
from armillary.models.loaded import LoadedModel
from armillary.scoring.kv_cache import copy_cache, growing_cache, is_cacheable, select_rows
from armillary.scoring.token_tree import TokenTree, token_tree


@dataclass(frozen=True, eq=False)
class Asked:
    """Queries that were read after the prefix; valid until the next ones are."""

    hidden_BD: Float[Tensor, "b d"]
    """Last hidden state after each query."""

    cache: Cache
    """Prefix and queries of all rows."""


class SharedPrefix:
    """Embeddings that many queries have in front of them, read once. Nothing is padded: queries are equally long."""

    @torch.inference_mode()
    def __init__(self, loaded: LoadedModel, embeds_1TD: Float[Tensor, "1 t d"]) -> None:
        """``t`` may be 0 (no demonstrations and no ``<bos>``). ModelError for a model with recurrent layers."""
        if not is_cacheable(loaded.model):
            raise ModelError(f"{loaded.name} has recurrent layers; this needs a model with a key-value cache.")
        self.loaded, self.length = loaded, embeds_1TD.shape[1]
        self._cache = growing_cache()
        if self.length:
            run_embeds(loaded, embeds_1TD, cache=self._cache)
        self._rows, self._expanded = 1, copy_cache(self._cache)

    @torch.inference_mode()
    def ask(self, embeds_BTD: Float[Tensor, "b t d"]) -> Asked:
        """Read the queries, each as if it stood alone behind the prefix."""
        hidden_BTD = run_embeds(self.loaded, embeds_BTD, cache=self._ready(embeds_BTD.shape[0]))
        return Asked(hidden_BTD[:, -1], self._expanded)

    def _ready(self, rows: int) -> Cache:
        """A cache of so many rows that holds the prefix; batches of one size share it and copy nothing."""
        if not self.length:
            self._expanded = growing_cache()
        elif rows != self._rows:
            self._rows, self._expanded = rows, copy_cache(self._cache)
            select_rows(self._expanded, torch.zeros(rows, dtype=torch.long, device=self.loaded.device))
        elif (more := self._expanded.get_seq_length() - self.length) > 0:
            self._expanded.crop(-more)
        return self._expanded


@torch.inference_mode()
def label_log_probabilities(
    loaded: LoadedModel, asked: Asked, labels: Sequence[Sequence[int]]
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
    walk = _Walk(loaded, asked.cache, torch.empty((len(asked.hidden_BD), len(labels)), dtype=torch.float64))
    walk.branch(root, asked.hidden_BD, torch.zeros(len(asked.hidden_BD), dtype=torch.float64))
    return walk.out_BL


@dataclass(frozen=True, eq=False)
class _Walk:
    """Depth first through the tree of labels; ``total`` holds the log-probability of the way so far."""

    loaded: LoadedModel
    cache: Cache
    out_BL: Tensor

    def branch(self, node: TokenTree, hidden_BD: Tensor, total_B: Tensor) -> None:
        firsts_BK = self._chosen(hidden_BD, [branch.run[0] for branch in node.branches])
        for place, branch in enumerate(node.branches):
            self._enter(branch, total_B + firsts_BK[:, place])

    def _enter(self, node: TokenTree, total_B: Tensor) -> None:
        fed = node.run if node.branches else node.run[:-1]
        hidden_BTD = None
        if fed:
            ids_BT = torch.tensor([fed], device=self.loaded.device).expand(len(total_B), -1)
            hidden_BTD = run_body(self.loaded, ids_BT, cache=self.cache)
            for place, token in enumerate(node.run[1:]):
                total_B = total_B + self._chosen(hidden_BTD[:, place], [token])[:, 0]
        for end in node.ends:
            self.out_BL[:, end] = total_B
        if node.branches and hidden_BTD is not None:
            self.branch(node, hidden_BTD[:, -1], total_B)
        if fed:
            self.cache.crop(-len(fed))

    def _chosen(self, hidden_BD: Tensor, tokens: Sequence[int]) -> Tensor:
        logits_BV = self.loaded.anatomy.logits(hidden_BD)
        logits_BV = logits_BV.to(torch.promote_types(logits_BV.dtype, torch.float32))
        if not bool(torch.isfinite(logits_BV).all()):
            raise NumericError("the model gave NaN or infinite logits after a vector.")
        return logits_BV.log_softmax(-1)[:, list(tokens)].cpu().double()


def distinct_labels(labels: Sequence[tuple[int, ...]], separator: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The labels, all followed by the separator where one begins another: else the shorter would always win."""
    prefixed = any(a != b and b[: len(a)] == a for a in labels for b in labels)
    return [label + separator if prefixed else label for label in labels]
