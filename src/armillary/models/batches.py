"""Texts as token rows, planned into batches, and run through the body of the model (everything but the head).

Shapes: B rows of a batch, T tokens, D hidden size.
"""

import inspect
import sys
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import Cache

from armillary.errors import ModelError, UsageError
from armillary.models.loaded import LoadedModel
from armillary.models.prompts import prompt_rows


def encode(
    loaded: LoadedModel, texts: Sequence[str], *, max_tokens: int | None = None, least: int = 1
) -> list[list[int]]:
    """Token ids of each text with what precedes it (see ``prompts``) and nothing behind, cut after ``max_tokens``.

    Raises ``ModelError`` for a token that the model has no row for, ``UsageError`` naming the first text that has
    fewer than ``least`` tokens or, where nothing is cut, more than the model has positions.
    """
    if max_tokens is not None and max_tokens < least:
        raise UsageError(f"max_tokens must be at least {least}, got {max_tokens}.")
    room = loaded.max_positions or sys.maxsize
    rows = prompt_rows(loaded, texts)
    for text, row in zip(texts, rows, strict=True):
        if len(row) < least:
            raise UsageError(f"The text {text!r} has {len(row)} tokens in this tokenizer; it needs {least} or more.")
        if max_tokens is None and len(row) > room:
            raise UsageError(f"The text {text[:40]!r}... has {len(row)} tokens; this model has {room} positions.")
    cut = None if max_tokens is None else min(max_tokens, room)
    return [row[:cut] for row in rows]


def equal_length_batches(rows: Sequence[Sequence[int]], tokens_per_batch: int) -> Iterator[list[int]]:
    """Indices of rows that have the same length, as many as fit in ``tokens_per_batch``; no padding is needed."""
    groups: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(len(row), []).append(index)
    for length in sorted(groups):
        step = max(1, tokens_per_batch // length)
        yield from (groups[length][start : start + step] for start in range(0, len(groups[length]), step))


def padded_batches(rows: Sequence[Sequence[int]], tokens_per_batch: int) -> Iterator[list[int]]:
    """Indices of rows of similar length whose padded rectangle holds at most ``tokens_per_batch`` tokens."""
    batch: list[int] = []
    for index in sorted(range(len(rows)), key=lambda i: (len(rows[i]), i)):
        # Sorted by length, so the row at hand is the longest of the batch and sets its width.
        if batch and (len(batch) + 1) * len(rows[index]) > tokens_per_batch:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def pad(
    rows: Sequence[Sequence[int]], *, side: str = "right", device: torch.device | str = "cpu"
) -> tuple[Int[Tensor, "b t"], Int[Tensor, "b t"]]:
    """Token ids and attention mask of rows filled up to the longest. The filler is id 0: the mask hides it."""
    width = max(len(row) for row in rows)
    ids, mask = [], []
    for row in rows:
        gap = width - len(row)
        ids.append([0] * gap + list(row) if side == "left" else list(row) + [0] * gap)
        mask.append([0] * gap + [1] * len(row) if side == "left" else [1] * len(row) + [0] * gap)
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def positions(mask_BT: Int[Tensor, "b t"]) -> Int[Tensor, "b t"]:
    """Position of each token in its own text, counted from 0; padding gets 0."""
    return (mask_BT.cumsum(dim=1) - 1).clamp_min(0)


def run_body(
    loaded: LoadedModel,
    ids_BT: Int[Tensor, "b t"],
    mask_BS: Int[Tensor, "b s"] | None = None,
    *,
    cache: Cache | None = None,
) -> Float[Tensor, "b t d"]:
    """Last hidden state (after the final norm) of the ``t`` new tokens.

    Without a mask no row is padded. With ``cache`` the mask covers the cached tokens too (s = cached + t). Position
    ids are given explicitly wherever rows are padded, since models differ in what they derive from a mask.
    """
    base = loaded.anatomy.base
    arguments: dict[str, object] = {"input_ids": ids_BT, "use_cache": cache is not None}
    if mask_BS is not None:
        arguments["attention_mask"] = mask_BS
        if "position_ids" in inspect.signature(base.forward).parameters:
            arguments["position_ids"] = positions(mask_BS)[:, -ids_BT.shape[1] :]
    if cache is not None:
        arguments["past_key_values"] = cache
    hidden = base(**arguments).last_hidden_state
    if not isinstance(hidden, Tensor):
        raise ModelError(f"{type(base).__name__} gave no last hidden state; a causal language model is needed.")
    return hidden
