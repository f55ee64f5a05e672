"""Rows of a batch that grow by one token a step on one key-value cache; finished rows leave it in time."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import Cache

from armillary.errors import ModelError, NumericError, UsageError
from armillary.models.batches import pad, run_body
from armillary.models.loaded import LoadedModel
from armillary.scoring.kv_cache import copy_cache, few_rows, growing_cache, is_cacheable, move_slots, select_rows

LEAVE = 0.75
"""Dropping finished rows copies the cache, so it waits until no more than this share is unfinished."""


class DecodingRows:
    """Rows being decoded. ``held`` are their indices at the start, ``alive`` which are not finished."""

    def __init__(
        self,
        loaded: LoadedModel,
        cache: Cache,
        mask_BS: Int[Tensor, "b s"],
        hidden_BD: Float[Tensor, "b d"],
        stops: Int[Tensor, " k"],
    ) -> None:
        """``hidden`` is the last hidden state of the ``s`` cached tokens; a row ends with a token of ``stops``."""
        self.loaded, self.cache, self.stops = loaded, cache, stops
        self.mask_BS, self.hidden_BD = mask_BS, hidden_BD
        self.padded = not bool(mask_BS.all())
        self.held = torch.arange(len(mask_BS), device=mask_BS.device)
        self.alive = torch.ones(len(mask_BS), dtype=torch.bool, device=mask_BS.device)

    def advance(self, token_B: Int[Tensor, " b"]) -> bool:
        """Append these tokens and read them: ``hidden_BD`` is new, and held and alive may have shrunk.

        False, and nothing is computed, when every row has ended.
        """
        self.alive &= ~torch.isin(token_B, self.stops)
        remaining = int(self.alive.sum())
        if remaining == 0:
            return False
        if remaining <= LEAVE * len(self.alive):
            keep = self.alive.nonzero()[:, 0]
            select_rows(self.cache, keep)
            self.held, self.alive, token_B = self.held[keep], self.alive[keep], token_B[keep]
            self.mask_BS = self.mask_BS[keep]
        self.mask_BS = torch.cat([self.mask_BS, self.mask_BS.new_ones((len(self.held), 1))], dim=1)
        mask_BS = self.mask_BS if self.padded else None
        self.hidden_BD = run_body(self.loaded, token_B[:, None], mask_BS, cache=self.cache)[:, -1]
        return True


# Prompts of a batch that change from reading to reading: what a row shares with its last reading is not read again.
#
# A list that grows by an item, a conversation that grows by a turn: each row's tokens are compared with those in the
# cache, the part that differs is cut off, and only the new tokens are computed. Every row ends at the last slot of the
# cache (padding is always at the left), so that a sliding window spans the tokens it should.
#
# Shapes: B rows, T new tokens, S slots of the cache, D hidden size.


class CachedPrompts:
    """The rows of one batch and their cache. Raises ModelError for a model whose past can't be cut back."""

    def __init__(self, loaded: LoadedModel) -> None:
        if not is_cacheable(loaded.model):
            raise ModelError(f"{loaded.name} has recurrent layers; this needs a model with a key-value cache.")
        self.loaded = loaded
        self.cache = growing_cache()
        self.rows: list[list[int]] = []
        self.computed = 0
        """Tokens read by the model so far, padding left out."""

    @torch.inference_mode()
    def read(self, rows: Sequence[Sequence[int]]) -> Float[Tensor, "b d"]:
        """Last hidden state after each row (as many rows as in the last reading).

        Equal to reading the rows afresh, up to rounding. UsageError for an empty row or another number of rows.
        """
        if not rows or any(not row for row in rows) or (self.rows and len(rows) != len(self.rows)):
            raise UsageError(f"Give {len(self.rows) or 'one or more'} rows of at least one token each.")
        kept = [_shared(old, new) for old, new in zip(self.rows or [[]] * len(rows), rows, strict=True)]
        self._cut(kept)
        fresh = [list(row[length:]) for row, length in zip(rows, kept, strict=True)]
        ids_BT, new_BT = pad(fresh, side="right", device=self.loaded.device)
        mask_BS = torch.cat([_ends_at_right(kept, max(kept), new_BT), new_BT], dim=1)
        # Without padding no mask is given: models take a faster path then.
        hidden_BTD = run_body(self.loaded, ids_BT, None if bool(mask_BS.all()) else mask_BS, cache=self.cache)
        self.computed += int(new_BT.sum())
        lengths = new_BT.sum(dim=1)
        hidden_BD = hidden_BTD[torch.arange(len(rows), device=lengths.device), lengths - 1]
        self.rows = [list(row) for row in rows]
        self._align(ids_BT.shape[1] - lengths)
        return hidden_BD

    def copy(self) -> "CachedPrompts":
        """The same rows with a cache of their own."""
        other = CachedPrompts(self.loaded)
        other.cache, other.rows = copy_cache(self.cache), self.rows
        return other

    def decoding(self, owners: Sequence[int], hidden_BD: Float[Tensor, "b d"], stops: Tensor) -> DecodingRows:
        """A row for each owner, on a copy of that row's cache; ``hidden`` is what ``read`` gave."""
        index = torch.tensor(list(owners), device=self.loaded.device)
        cache = copy_cache(self.cache)
        select_rows(cache, index)
        lengths = [len(row) for row in self.rows]
        mask_BS = _ends_at_right(lengths, max(lengths), index)
        return DecodingRows(self.loaded, cache, mask_BS[index], hidden_BD[index], stops)

    def _cut(self, kept: Sequence[int]) -> None:
        """Keep the first ``kept`` tokens of each row, moved so that they end at the last slot."""
        if max(kept) == 0:
            self.cache = growing_cache()
        elif any(length < len(row) for length, row in zip(kept, self.rows, strict=True)):
            dropped = [len(row) - length for length, row in zip(kept, self.rows, strict=True)]
            self._move(torch.tensor(dropped, device=self.loaded.device), max(kept))

    def _align(self, gaps_B: Int[Tensor, " b"]) -> None:
        if bool(gaps_B.any()):
            self._move(gaps_B, max(len(row) for row in self.rows))

    def _move(self, shift_B: Tensor, width: int) -> None:
        """Slot j of the new cache holds what was ``shift`` slots left of it, counted from the right end."""
        slots = self.cache.get_seq_length()
        wanted_S = torch.arange(slots - width, slots, device=shift_B.device)
        move_slots(self.cache, (wanted_S[None, :] - shift_B[:, None]).clamp_min(0))


def _shared(old: Sequence[int], new: Sequence[int]) -> int:
    """Length of the common beginning; at least the last token of ``new`` is always read."""
    length = 0
    for one, other in zip(old, new[:-1], strict=False):
        if one != other:
            break
        length += 1
    return length


def _ends_at_right(lengths: Sequence[int], width: int, like: Tensor) -> Int[Tensor, "b s"]:
    """Mask of rows of these lengths, padded at the left."""
    slots_S = torch.arange(width, device=like.device)
    starts_B = width - torch.tensor(list(lengths), device=like.device)
    return (slots_S[None, :] >= starts_B[:, None]).long()


# Greedy continuations of many branches of a prompt: the prompt is read once, its branches are decoded together.


@torch.inference_mode()
def greedy(
    prompts: CachedPrompts,
    hidden_BD: Float[Tensor, "b d"],
    owners: Sequence[int],
    first: Sequence[int] | None = None,
    *,
    max_new_tokens: int,
    stop_ids: Sequence[int],
) -> list[list[int]]:
    """New tokens of each branch: ``first`` where given, then the likeliest token, a stop token included.

    Branch ``i`` continues row ``owners[i]`` of ``prompts``, whose last reading gave ``hidden``. At most
    ``max_new_tokens`` tokens a branch, the first among them. Ties go to the smaller id. NumericError where logits are
    not finite.
    """
    if max_new_tokens < 1:
        raise UsageError(f"max_new_tokens must be 1 or more, got {max_new_tokens}.")
    if not owners:
        return []
    loaded = prompts.loaded
    rows = prompts.decoding(owners, hidden_BD, torch.tensor(list(stop_ids), dtype=torch.long, device=loaded.device))
    out: list[list[int]] = [[] for _ in owners]
    given = None if first is None else torch.tensor(list(first), device=loaded.device)
    with few_rows(loaded.model):
        for step in range(max_new_tokens):
            token_B = given if step == 0 and given is not None else _likeliest(loaded, rows.hidden_BD)
            for index, alive, token in zip(rows.held.tolist(), rows.alive.tolist(), token_B.tolist(), strict=True):
                if alive:
                    out[index].append(token)
            if step + 1 == max_new_tokens or not rows.advance(token_B):
                break
    return out


def _likeliest(loaded: LoadedModel, hidden_BD: Tensor) -> Tensor:
    logits_BV = loaded.anatomy.logits(hidden_BD)
    best_B, token_B = logits_BV.max(dim=-1)
    if not bool(torch.isfinite(best_B).all()):
        raise NumericError("The model gave NaN or infinite logits while decoding.")
    return token_B


def end_tokens(loaded: LoadedModel) -> list[int]:
    """The model's own end tokens, sorted: those of its generation settings and of its tokenizer."""
    settings = getattr(loaded.model, "generation_config", None)
    own = getattr(settings, "eos_token_id", None)
    found = {*(own if isinstance(own, (list, tuple)) else [own]), loaded.tokenizer.eos_token_id}
    return sorted(token for token in found if isinstance(token, int))
