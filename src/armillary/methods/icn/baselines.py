"""The rivals of navigation: other ways to get many answers out of one prompt, each at the same number of answers.

Orders of first tokens (the answers then follow greedily): ``static``, ``cluster cap``, ``key MMR``, ``query
projection``. Answers drawn or searched by transformers: temperatures, nucleus, top-k, min-p, beams. And the model's
own list in one pass. Diverse beam search has left transformers for a hub repository of remote code, which is not run
here; plain beam search stands in for it.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import LogitsProcessor

from armillary.errors import UsageError
from armillary.methods.icn.core import capped_order, checked_ids, mmr_order, project_out
from armillary.methods.icn.keys import KeySpace
from armillary.methods.icn.probing import Probing
from armillary.models import LoadedModel
from armillary.scoring import greedy
from armillary.scoring.decoding import end_tokens

POOL = 1000
"""Best first tokens among which an order chooses."""

CAP, MMR_WEIGHT = 2, 4.0
"""Answers a cluster may give; logits that a fully alike key costs (our choices, fixed before the runs)."""

SAMPLINGS: dict[str, dict[str, Any]] = {
    "temperature 0.7": {"temperature": 0.7, "top_k": 0},
    "temperature 1": {"temperature": 1.0, "top_k": 0},
    "temperature 1.5": {"temperature": 1.5, "top_k": 0},
    "nucleus 0.95": {"top_p": 0.95, "top_k": 0},
    "top-k 40": {"top_k": 40},
    "min-p 0.1": {"min_p": 0.1, "top_k": 0},
}
"""Settings of ``generate`` by name."""


def first_token_orders(
    probing: Probing, count: int, clusters_V: Int[Tensor, " v"], keys: KeySpace
) -> dict[str, list[int]]:
    """First tokens by each order. Query projection goes one token after the other."""
    pool = probing.ranked(min(POOL, len(clusters_V) // 2))
    pool_P = torch.tensor(pool)
    logits_P = probing.logits_V.cpu()[pool_P]
    capped = capped_order(pool_P, clusters_V.cpu(), CAP).tolist()
    mmr = mmr_order(logits_P, keys.centred(pool_P).cpu(), count, MMR_WEIGHT).tolist()
    return {
        "static": pool[:count],
        "cluster cap": capped[:count],
        "key MMR": [pool[place] for place in mmr],
        "query projection": _projected(probing, pool, count),
    }


@torch.inference_mode()
def _projected(probing: Probing, pool: Sequence[int], count: int) -> list[int]:
    """Each next token is the best under the query without its component along the keys chosen before."""
    head = probing.loaded.anatomy.head.weight
    assert isinstance(head, Tensor)
    keys_PD = head[torch.tensor(list(pool), device=head.device)].float()
    query_1D = probing.query_1D.float()
    chosen: list[int] = []
    for _ in range(count):
        left_1D = project_out(query_1D, keys_PD[chosen])
        scores_P = (left_1D @ keys_PD.T)[0]
        scores_P[chosen] = -torch.inf
        chosen.append(int(scores_P.argmax()))
    return [pool[place] for place in chosen]


@torch.inference_mode()
def generated(probing: Probing, count: int, seed: int, **settings: Any) -> list[str]:
    """``count`` answers by ``generate`` with these settings: sampled, or the best beams for ``num_beams``."""
    model: Any = probing.loaded.model
    tokenizer = probing.loaded.tokenizer
    ids = torch.tensor([probing.base], device=probing.loaded.device)
    beams = {"num_beams": count, "do_sample": False} if settings.get("num_beams") else {"do_sample": True}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            **{**settings, **beams},
            num_return_sequences=count,
            max_new_tokens=probing.max_new_tokens,
            eos_token_id=probing.first.stop_ids,
            pad_token_id=end_tokens(probing.loaded)[0] if end_tokens(probing.loaded) else 0,
        )
    texts = tokenizer.batch_decode(drawn[:, ids.shape[1] :], skip_special_tokens=True)
    return [str(text).split(probing.template.stop)[0].strip() for text in texts]


def listed_at_once(probing: Probing, count: int) -> list[str]:
    """The model's own greedy list from the open first item, one pass, at most ``count`` items.

    Only closed items count; a model that stops early or loops gives fewer. For lists of quoted items.
    """
    branch = greedy(
        probing.prompts,
        probing.query_1D,
        [0],
        max_new_tokens=count * probing.max_new_tokens,
        stop_ids=end_tokens(probing.loaded),
    )[0]
    text = '"' + str(probing.loaded.tokenizer.decode(branch, skip_special_tokens=True))
    return [item.strip() for item in re.findall(r'"([^"\n]*)"', text)][:count]


def rivals(
    probing: Probing, count: int, clusters_V: Int[Tensor, " v"], keys: KeySpace, *, seed: int
) -> dict[str, Callable[[], list[str]]]:
    """Every rival by name, as a call that gives its answers."""
    orders = first_token_orders(probing, count, clusters_V, keys)
    arms: dict[str, Callable[[], list[str]]] = {
        name: partial(probing.answers, tokens) for name, tokens in orders.items()
    }
    for name, settings in SAMPLINGS.items():
        arms[name] = partial(generated, probing, count, seed, **settings)
    arms["beams"] = partial(generated, probing, count, seed, num_beams=count)
    arms["list at once"] = partial(listed_at_once, probing, count)
    return arms


# Rivals of navigation that use the geometry of the keys alone, inside ``model.generate`` (all our choice).
#
# They act on the first generated token only and leave its continuation to the model: two logits processors, and a
# context manager that changes the query. With nothing explored (and no cap) each leaves generation as it was, bit for
# bit. As orders of first tokens without ``generate``, the same rivals are ``capped_order``, ``mmr_order`` and
# ``project_out``.
#
# Legend: V tokens, B batch, T time, D width, K explored tokens.


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
