"""Rivals of navigation that use the geometry of the keys alone, inside ``model.generate`` (all our choice).

They act on the first generated token only and leave its continuation to the model: two logits processors, and a
context manager that changes the query. With nothing explored (and no cap) each leaves generation as it was, bit for
bit. As orders of first tokens without ``generate``, the same rivals are ``capped_order``, ``mmr_order`` and
``project_out``.

Legend: V tokens, B batch, T time, D width, K explored tokens.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import LogitsProcessor

from armillary.errors import UsageError
from armillary.methods.icn.core import capped_order, checked_ids, project_out
from armillary.methods.icn.keys import KeySpace
from armillary.models import LoadedModel


class _FirstStep(LogitsProcessor):
    """Changes the logits that follow a prompt of ``prompt_length`` tokens, padding included, and no later ones."""

    def __init__(self, vocabulary: int, explored: Sequence[int], prompt_length: int) -> None:
        if prompt_length < 1:
            raise UsageError(f"prompt_length must be at least 1 token; got {prompt_length}.")
        self.vocabulary, self.prompt_length = vocabulary, prompt_length
        self.explored_K = checked_ids(explored, vocabulary)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """The scores ``[b, v]``; in the first step explored tokens, and columns that have no key, get -inf."""
        if input_ids.shape[1] != self.prompt_length or self._idle():
            return scores
        if scores.shape[1] < self.vocabulary:
            raise UsageError(f"the logits of {scores.shape[1]} tokens don't fit keys of {self.vocabulary} tokens.")
        changed = torch.full_like(scores, -torch.inf)
        changed[:, : self.vocabulary] = self._changed(scores[:, : self.vocabulary])
        changed[:, self.explored_K.to(scores.device)] = -torch.inf
        return cast(torch.FloatTensor, changed)

    def _idle(self) -> bool:
        return not len(self.explored_K)

    def _changed(self, scores_BV: Tensor) -> Tensor:
        raise NotImplementedError


class ClusterCapProcessor(_FirstStep):
    """First tokens from each cluster of keys at most ``cap`` times, the explored ones counted; None caps nothing.

    UsageError for a cap below 1, ids outside, or (when called) where every cluster has reached its cap.
    """

    def __init__(
        self, clusters_V: Int[Tensor, " v"], cap: int | None, explored: Sequence[int] = (), *, prompt_length: int
    ) -> None:
        super().__init__(len(clusters_V), explored, prompt_length)
        capped_order(self.explored_K, clusters_V, cap)  # refuses a wrong cap now, not in the midst of generation
        self.clusters_V, self.cap = clusters_V, cap

    def _idle(self) -> bool:
        return self.cap is None and super()._idle()

    def _changed(self, scores_BV: Tensor) -> Tensor:
        explored_K = self.explored_K.to(scores_BV.device)
        changed_BV = torch.full_like(scores_BV, -torch.inf)
        for row, scores_V in enumerate(scores_BV):
            ranked_V = scores_V.argsort(descending=True, stable=True)
            ranked_V = ranked_V[~torch.isin(ranked_V, explored_K)]
            kept = capped_order(torch.cat([explored_K, ranked_V]), self.clusters_V, self.cap)
            kept = kept[~torch.isin(kept, explored_K)]
            if not len(kept):
                raise UsageError(f"every cluster already has {self.cap} explored tokens; raise the cap.")
            changed_BV[row, kept] = scores_V[kept]
        return changed_BV


class KeyMMRProcessor(_FirstStep):
    """First tokens by logit - ``weight`` * largest centred cosine of their key to an explored one.

    Without explored tokens there is nothing to be near to and nothing changes. UsageError for ids outside.
    """

    def __init__(self, keys: KeySpace, weight: float, explored: Sequence[int] = (), *, prompt_length: int) -> None:
        super().__init__(keys.vocabulary_size, explored, prompt_length)
        self.penalty_V = torch.zeros(keys.vocabulary_size)
        if len(self.explored_K):
            self.penalty_V = weight * keys.nearest(self.explored_K)

    def _changed(self, scores_BV: Tensor) -> Tensor:
        return scores_BV - self.penalty_V.to(scores_BV)


class QueryProjection:
    """While open, the first query that reaches the head loses its component in the span of the explored keys.

    The logits of explored tokens become 0 (their bias, where the head has one). That can still be the highest, so ban
    them as well: transformers has ``suppress_tokens`` and ``SuppressTokensAtBeginLogitsProcessor``. Open it anew for
    each call of the model or of ``generate``; it sees calls of the head module, at the last position of each row. The
    hook goes when the block is left, whatever happens in it. UsageError for ids outside the vocabulary.
    """

    def __init__(self, loaded: LoadedModel, explored: Sequence[int]) -> None:
        self.head = loaded.anatomy.head
        weight = cast(Tensor, self.head.weight).detach()
        self.explored_KD = weight[checked_ids(explored, loaded.anatomy.vocabulary_size).to(weight.device)]
        self._handle: RemovableHandle | None = None

    def __enter__(self) -> "QueryProjection":
        self.close()
        self._handle = self.head.register_forward_pre_hook(self._project)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Takes the hook away, if it is there."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _project(self, head: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        self.close()  # the first step only
        hidden: Float[Tensor, "b *t d"] = inputs[0]
        if hidden.ndim == 2:
            return (project_out(hidden, self.explored_KD), *inputs[1:])
        last_BD = project_out(hidden[:, -1], self.explored_KD)
        return (torch.cat([hidden[:, :-1], last_BD[:, None]], dim=1), *inputs[1:])
