"""Prompts of a batch that change from reading to reading: what a row shares with its last reading is not read again.

A list that grows by an item, a conversation that grows by a turn: each row's tokens are compared with those in the
cache, the part that differs is cut off, and only the new tokens are computed. Every row ends at the last slot of the
cache (padding is always at the left), so that a sliding window spans the tokens it should.

Shapes: B rows, T new tokens, S slots of the cache, D hidden size.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from armillary.errors import ModelError, UsageError
from armillary.models.batches import pad, run_body
from armillary.models.loaded import LoadedModel
from armillary.scoring.decoding import DecodingRows
from armillary.scoring.kv_cache import copy_cache, growing_cache, is_cacheable, move_slots, select_rows


class GrowingPrompts:
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

    def copy(self) -> "GrowingPrompts":
        """The same rows with a cache of their own."""
        other = GrowingPrompts(self.loaded)
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
