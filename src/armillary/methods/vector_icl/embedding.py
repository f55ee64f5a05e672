"""Vectors in the place of tokens: embedding sequences with slots in them, and their way through the model's body.

Legend: B rows, T tokens, S cached and new tokens, N tokens, K slots, D hidden size, V vocabulary.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from armillary.errors import ModelError, NumericError
from armillary.models.anatomy import evaluating
from armillary.models.batches import positions
from armillary.models.loaded import LoadedModel
from armillary.scoring.kv_cache import growing_cache, same_states

SLOT = -1
"""Stands in a row of token ids where a vector comes."""

_ROWS = 8192
"""Rows of the embedding table at a time: bounds the float64 copies, changes no sum by more than rounding."""


def embed_tokens(loaded: LoadedModel, ids: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape d"]:
    """What the model's embedding module gives, a factor that it applies (Gemma) included."""
    return cast(Tensor, loaded.anatomy.embedding(ids))


def embed_with_slots(
    loaded: LoadedModel, ids_BT: Int[Tensor, "b t"], slots_KD: Float[Tensor, "k d"]
) -> Float[Tensor, "b t d"]:
    """Embeddings of the tokens, and vector ``k`` at the ``k``-th ``SLOT`` (row by row), in the model's dtype."""
    embeds_BTD = embed_tokens(loaded, ids_BT.clamp_min(0))
    is_slot_BT = ids_BT == SLOT
    return embeds_BTD.masked_scatter(is_slot_BT[..., None], slots_KD.to(embeds_BTD))


@dataclass(frozen=True, eq=False)
class Branches:
    """Branches of one stem side by side in one row, for models that ``takes_branches`` is true of."""

    positions_1T: Int[Tensor, "1 t"]
    seen_11TS: Float[Tensor, "1 1 t s"]
    """0 where the token sees the slot, else -inf: what is added to the scores of attention."""


def side_by_side(stem: int, count: int, length: int, like: Tensor) -> Branches:
    """``count`` branches of ``length`` tokens after a stem in the cache; each sees the stem and itself alone."""
    position_T = torch.arange(length, device=like.device)
    branch_T = torch.arange(count, device=like.device).repeat_interleave(length)
    later_TT = position_T.repeat(count)[:, None] < position_T.repeat(count)
    hidden_TT = later_TT | (branch_T[:, None] != branch_T)
    seen_TS = torch.zeros((count * length, stem + count * length), dtype=like.dtype, device=like.device)
    seen_TS[:, stem:].masked_fill_(hidden_TT, -torch.inf)
    return Branches(positions_1T=(stem + position_T).repeat(count)[None], seen_11TS=seen_TS[None, None])


def takes_branches(loaded: LoadedModel, length: int) -> bool:
    """Whether positions and a mask alone say what a token sees, for tokens with ``length`` positions up to them.

    True for rotary positions with attention in plain PyTorch and no window shorter than that, where a few vectors side
    by side then have the states that each branch has alone, which is checked once a model.
    """
    base, config = loaded.anatomy.base, loaded.model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    likely = (
        hasattr(base, "rotary_emb")
        and not getattr(config, "alibi", False)
        and "position_ids" in inspect.signature(base.forward).parameters
        and config._attn_implementation in ("sdpa", "eager")
        and kinds <= {"full_attention", "sliding_attention"}
        and (window is None or length <= window)
    )
    if likely and loaded.model not in _BRANCHES:
        with evaluating(loaded.model), torch.inference_mode():
            _BRANCHES[loaded.model] = _branches_hold(loaded)
    return likely and _BRANCHES[loaded.model]


_BRANCHES: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


def _branches_hold(loaded: LoadedModel) -> bool:
    """A stem of four vectors and two branches of two, side by side and each alone."""
    size = loaded.anatomy.embedding.num_embeddings
    ids_T = torch.arange(1, 9, device=loaded.device) * (size // 11 + 1) % size
    stem_TD, *branches_TD = embed_tokens(loaded, ids_T).split([4, 2, 2])
    cache = growing_cache()
    try:
        run_embeds(loaded, stem_TD[None], cache=cache)
        row_1TD, branches = torch.cat(branches_TD)[None], side_by_side(4, 2, 2, stem_TD)
        beside_BTD = run_embeds(loaded, row_1TD, cache=cache, branches=branches).reshape(2, 2, -1)
    except Exception:  # an architecture may take no such mask in its own way
        return False
    alone_BTD = run_embeds(loaded, torch.stack([torch.cat([stem_TD, branch]) for branch in branches_TD]))[:, 4:]
    return same_states(beside_BTD, alone_BTD)


def run_embeds(
    loaded: LoadedModel,
    embeds_BTD: Float[Tensor, "b t d"],
    mask_BS: Int[Tensor, "b s"] | None = None,
    *,
    cache: Cache | None = None,
    branches: Branches | None = None,
) -> Float[Tensor, "b t d"]:
    """Last hidden state (after the final norm) of the ``t`` new embeddings; masks as in ``run_body``.

    ``branches`` say instead where each of them stands and what it sees. Raises ModelError for a model that takes no
    embeddings.
    """
    base = loaded.anatomy.base
    accepted = inspect.signature(base.forward).parameters
    if "inputs_embeds" not in accepted:
        raise ModelError(f"{type(base).__name__} takes no inputs_embeds, so no vector can be put into its context.")
    arguments: dict[str, object] = {"inputs_embeds": embeds_BTD, "use_cache": cache is not None}
    if mask_BS is not None:
        arguments["attention_mask"] = mask_BS
        if "position_ids" in accepted:
            arguments["position_ids"] = positions(mask_BS)[:, -embeds_BTD.shape[1] :]
    if branches is not None:
        arguments |= {"position_ids": branches.positions_1T, "attention_mask": branches.seen_11TS}
    if cache is not None:
        arguments["past_key_values"] = cache
    return cast(Tensor, base(**arguments).last_hidden_state)


@dataclass(frozen=True, eq=False)
class TokenStatistics:
    """Mean token embedding (float64), and the root-mean-square norm around it."""

    mean_D: Float[Tensor, " d"]
    norm: float


@torch.inference_mode()
def token_statistics(loaded: LoadedModel) -> TokenStatistics:
    """Of all rows of the embedding table, as the embedding module gives them."""
    size = loaded.anatomy.embedding.num_embeddings
    parts = torch.arange(size, device=loaded.device).split(_ROWS)
    mean_D = sum((_embed64(loaded, part).sum(0) for part in parts), start=torch.zeros((), dtype=torch.float64)) / size
    square = sum(float((_embed64(loaded, part) - mean_D).square().sum()) for part in parts) / size
    return TokenStatistics(mean_D=mean_D, norm=square**0.5)


@torch.inference_mode()
def mean_embeddings(
    loaded: LoadedModel, rows: Sequence[Sequence[int]], weights: Mapping[int, float] | None = None
) -> Float[Tensor, "n d"]:
    """Mean embedding of each row's tokens, float64; ``weights`` (of tokens, such as ``idf_weights``) weigh them.

    NumericError naming a row whose tokens weigh nothing.
    """
    means = []
    for index, row in enumerate(rows):
        weight_T = torch.tensor([1.0 if weights is None else weights.get(t, 0.0) for t in row], dtype=torch.float64)
        if not float(weight_T.sum()) > 0:
            raise NumericError(f"the tokens of text {index} weigh nothing, so they have no mean embedding.")
        embeds_TD = _embed64(loaded, torch.tensor(list(row), device=loaded.device))
        means.append(weight_T @ embeds_TD / weight_T.sum())
    return torch.stack(means)


def _embed64(loaded: LoadedModel, ids_N: Tensor) -> Tensor:
    """float64 on the host: some accelerators have none."""
    return embed_tokens(loaded, ids_N).cpu().double()
