"""Rows of a batch that grow on one key-value cache: a token a step, or from prompt to prompt.

Shapes: B rows, T new tokens, S slots of the cache, D hidden size, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.cache_utils import Cache

from armillary.errors import NumericError, UsageError
from armillary.models.batches import pad, run_body
from armillary.models.loaded import LoadedModel
from armillary.scoring.kv_cache import (
    common_beginning,
    copy_cache,
    growing_cache,
    move_slots,
    require_cache,
    select_rows,
)

LEAVE = 0.75
"""Dropping finished rows copies the cache, so it waits until no more than this share is unfinished."""


class DecodingRows:
    """Rows that grow by a token a step; finished ones leave the cache in time.

    ``held`` are the indices at the start of the rows still there, ``alive`` says which are not finished.
    """

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


class CachedPrompts:
    """Prompts of a batch that change from reading to reading: what a row shares with its last is not read again.

    A list that grows by an item, a conversation that grows by a turn: each row's tokens are compared with those in the
    cache, the part that differs is cut off, and only the new tokens are computed. Every row ends at the last slot of
    the cache (padding is always at the left), so that a sliding window spans the tokens it should. Raises ModelError
    for a model whose past can't be cut back.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        require_cache(loaded, "reading growing prompts", padded=True)
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
        # The last token of a row is always read: the state after it is what is asked for.
        pairs = zip(self.rows or [[]] * len(rows), rows, strict=True)
        kept = [len(common_beginning([old, new[:-1]])) for old, new in pairs]
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
        gaps_B = ids_BT.shape[1] - lengths
        if bool(gaps_B.any()):
            self._move(gaps_B, max(map(len, self.rows)))
        return hidden_BD

    def copy(self) -> "CachedPrompts":
        """The same rows with a cache of their own."""
        other = CachedPrompts(self.loaded)
        other.cache, other.rows = copy_cache(self.cache), self.rows
        return other

    def decoding(self, owners: Sequence[int], hidden_BD: Float[Tensor, "b d"], stops: Tensor) -> DecodingRows:
        """A row for each owner, on a copy of that row's cache; ``hidden`` is what ``read`` gave."""
        index = torch.tensor(list(owners), device=self.loaded.device)
        cache = copy_cache(self.cache, index)
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

    def _move(self, shift_B: Tensor, width: int) -> None:
        """Slot j of the new cache holds what was ``shift`` slots left of it, counted from the right end."""
        slots = self.cache.get_seq_length()
        wanted_S = torch.arange(slots - width, slots, device=shift_B.device)
        move_slots(self.cache, (wanted_S[None, :] - shift_B[:, None]).clamp_min(0))


def _ends_at_right(lengths: Sequence[int], width: int, like: Tensor) -> Int[Tensor, "b s"]:
    """Mask of rows of these lengths, padded at the left."""
    slots_S = torch.arange(width, device=like.device)
    starts_B = width - torch.tensor(list(lengths), device=like.device)
    return (slots_S[None, :] >= starts_B[:, None]).long()


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
            if step == 0 and given is not None:
                token_B = given
            else:
                best_B, token_B = loaded.masked(loaded.anatomy.logits(rows.hidden_BD)).max(dim=-1)
                if not bool(torch.isfinite(best_B).all()):
                    raise NumericError("The model gave NaN or infinite logits while decoding.")
            for index, alive, token in zip(rows.held.tolist(), rows.alive.tolist(), token_B.tolist(), strict=True):
                if alive:
                    out[index].append(token)
            if step + 1 == max_new_tokens or not rows.advance(token_B):
                break
    return out


def end_tokens(loaded: LoadedModel) -> list[int]:
    """The model's own end tokens, sorted: those of its generation settings and of its tokenizer."""
    settings = getattr(loaded.model, "generation_config", None)
    own = getattr(settings, "eos_token_id", None)
    tokens = {*(own if isinstance(own, (list, tuple)) else [own]), loaded.tokenizer.eos_token_id}
    return sorted(token for token in tokens if isinstance(token, int))


# Reading the weights is what a step of decoding costs. BLAS libraries are tuned for many: with two to eight rows
# ``x @ W.T`` takes up to two and a half times as long as ``W @ x.T``, the same product. In float32 the product
# with one column is slower than with two (36 ms against 26 for the blocks of SmolLM2-135M, 9.8 against 5.8 for its
# head), so a column of zeros is put beside it.

MOST = 8
"""Rows up to which the other order was faster (measured for matrices of 576 x 576 to 49,152 x 576)."""


@contextmanager
def few_rows(model: nn.Module) -> Iterator[None]:
    """Inside, linear layers that get up to eight rows on a CPU multiply as ``W @ x.T``; others do as before.

    One row only where the weights are float32.

    Equal to the plain product up to rounding. Layers that something else has already replaced the ``forward`` of,
    subclasses of ``nn.Linear`` (adapters) and packed weights are left alone.
    """
    layers = [
        module
        for module in model.modules()
        if type(module) is nn.Linear
        and "forward" not in vars(module)
        and type(module.weight) is nn.Parameter
        and module.weight.device.type == "cpu"
    ]
    try:
        for layer in layers:
            layer.forward = partial(_linear, layer)  # type: ignore[method-assign]
        yield
    finally:
        for layer in layers:
            del layer.forward


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    rows = x.numel() // x.shape[-1]
    fewest = 1 if layer.weight.dtype == torch.float32 else 2
    if not fewest <= rows <= MOST or torch.is_grad_enabled():
        return nn.functional.linear(x, layer.weight, layer.bias)
    x_BD, bias = x.reshape(rows, -1), cast(Tensor | None, layer.bias)
    columns = (torch.cat([x_BD, torch.zeros_like(x_BD)]) if rows == 1 else x_BD).t()
    product = layer.weight @ columns if bias is None else torch.addmm(bias[:, None], layer.weight, columns)
    return product[:, :rows].t().reshape(*x.shape[:-1], -1)
