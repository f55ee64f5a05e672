"""Sequences of one fixed length after a shared prefix: drawn at several temperatures, and scored token by token.

End tokens are ordinary tokens here. Legend: N sequences, L tokens of each, K temperatures (rungs), B rows of a batch,
V vocabulary, D hidden size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import Cache

from armillary.errors import NumericError, UsageError
from armillary.models.batches import run_body
from armillary.models.loaded import LoadedModel
from armillary.scoring.kv_cache import growing_cache, is_cacheable, require_cache, select_rows
from armillary.scoring.nll import chunked_nll
from armillary.scoring.sampling import draw


@dataclass(frozen=True)
class FixedLengthDraws:
    """Drawn sequences with their exact log-probability at every temperature."""

    ids_NL: Int[Tensor, "n l"]
    """Token ids, prefix not included, on the CPU."""

    log_q_KNL: Float[Tensor, "k n l"]
    """Log-probability (nats, float64) of each token when tokens are drawn at the temperature of that rung."""

    @property
    def log_q_KN(self) -> Float[Tensor, "k n"]:
        """Log-probability (nats, float64) of each sequence at each temperature."""
        return self.log_q_KNL.sum(dim=-1)


@torch.inference_mode()
def draw_fixed_length(
    loaded: LoadedModel,
    prefix: Sequence[int],
    rungs: Sequence[int],
    *,
    length: int,
    temperatures: Sequence[float] = (1.0,),
    seed: int,
    batch_size: int = 64,
    banned: Sequence[int] = (),
) -> FixedLengthDraws:
    """One sequence of ``length`` tokens for each entry of ``rungs``, drawn at the temperature with that index.

    The log-probabilities at all temperatures come from the same logits, so further rungs cost no forward pass. Rows of
    the head that are no token and ``banned`` tokens get probability 0, the others are renormalised. The same seed
    gives the same sequences whatever ``batch_size`` is, up to rounding of the logits. Raises ``UsageError`` for
    settings out of range, ``ModelError`` for models without a key-value cache, ``NumericError`` where logits are not
    finite.
    """
    check_room(loaded, prefix, length)
    require_cache(loaded, "sampling")
    if batch_size < 1 or any(not 0 < value < math.inf for value in temperatures):
        raise UsageError(f"temperatures must be positive, batch_size 1 or more; got {temperatures}, {batch_size}.")
    generator = torch.Generator().manual_seed(seed)
    uniforms_NL = torch.rand((len(rungs), length), generator=generator, dtype=torch.float64).to(loaded.device)
    rung_N = torch.tensor(list(rungs), dtype=torch.long, device=loaded.device)
    ids = torch.empty((len(rungs), length), dtype=torch.long)
    log_q = torch.empty((len(temperatures), len(rungs), length), dtype=torch.float64)
    scale_K = torch.tensor(list(temperatures), dtype=torch.float32, device=loaded.device)
    for start in range(0, len(rungs), batch_size):
        rows = slice(start, start + batch_size)
        ids[rows], log_q[:, rows] = _batch(loaded, prefix, uniforms_NL[rows], rung_N[rows], scale_K, banned)
    if not bool(torch.isfinite(log_q).all()):
        raise NumericError(f"{loaded.name} gave NaN or infinite logits while sampling.")
    return FixedLengthDraws(ids_NL=ids, log_q_KNL=log_q)


@torch.inference_mode()
def fixed_length_nll(
    loaded: LoadedModel,
    prefix: Sequence[int],
    ids_NL: Int[Tensor, "n l"],
    *,
    batch_size: int = 64,
    banned: Sequence[int] = (),
) -> Float[Tensor, "n l"]:
    """NLL (nats, float32, on the CPU) of each token given the prefix and the tokens before it.

    Infinite for a banned token and for one that the head lacks. One forward pass over a batch; ``[batch, length,
    vocabulary]`` is never stored. Raises ``NumericError`` where the logits are not numbers.
    """
    check_room(loaded, prefix, ids_NL.shape[1])
    parts = []
    for ids_BL in ids_NL.split(batch_size):
        ids_BL = ids_BL.to(loaded.device)
        hidden_BLD = _before_each(loaded, prefix, ids_BL)
        nll = chunked_nll(loaded, hidden_BLD.flatten(0, 1), ids_BL.reshape(-1), banned=banned)
        parts.append(nll.view_as(ids_BL).cpu())
    nll_NL = torch.cat(parts) if parts else torch.empty(ids_NL.shape)
    if bool(torch.isnan(nll_NL).any()):
        raise NumericError(f"{loaded.name} gave NaN logits while scoring.")
    return nll_NL


def check_room(loaded: LoadedModel, prefix: Sequence[int], length: int) -> None:
    """Raise ``UsageError`` unless the prefix has a token and, with ``length`` more, fits the model's positions."""
    room = loaded.max_positions
    if not prefix:
        raise UsageError(f"{loaded.name} needs a token to begin with: give a prefix.")
    if length < 1:
        raise UsageError(f"length must be 1 token or more, got {length}.")
    if room is not None and len(prefix) + length > room:
        raise UsageError(
            f"A prefix of {len(prefix)} tokens and {length} more do not fit: {loaded.name} has {room} positions."
        )


def _after_prefix(loaded: LoadedModel, prefix: Sequence[int], rows: int) -> tuple[Tensor, Cache]:
    """Hidden state [rows, d] of the last prefix token and the cache, computed once and repeated."""
    cache = growing_cache()
    ids_1T = torch.tensor([list(prefix)], device=loaded.device)
    hidden_1D = run_body(loaded, ids_1T, cache=cache)[:, -1]
    same = torch.zeros(rows, dtype=torch.long, device=loaded.device)
    select_rows(cache, same)
    return hidden_1D[same], cache


def _before_each(loaded: LoadedModel, prefix: Sequence[int], ids_BL: Tensor) -> Tensor:
    """Hidden state [b, l, d] in front of each token; the prefix is read once where the model has a cache."""
    if not is_cacheable(loaded):
        prefix_BT = torch.tensor([list(prefix)], device=loaded.device).expand(len(ids_BL), -1)
        return run_body(loaded, torch.cat([prefix_BT, ids_BL[:, :-1]], dim=1))[:, len(prefix) - 1 :]
    first_BD, cache = _after_prefix(loaded, prefix, len(ids_BL))
    if ids_BL.shape[1] == 1:
        return first_BD[:, None]
    return torch.cat([first_BD[:, None], run_body(loaded, ids_BL[:, :-1], cache=cache)], dim=1)


def _batch(
    loaded: LoadedModel,
    prefix: Sequence[int],
    uniforms_BL: Tensor,
    rung_B: Tensor,
    temperature_K: Tensor,
    banned: Sequence[int],
) -> tuple[Tensor, Tensor]:
    hidden_BD, cache = _after_prefix(loaded, prefix, len(rung_B))
    length, rows = uniforms_BL.shape[1], torch.arange(len(rung_B), device=rung_B.device)
    tokens, log_q = [], []
    for step in range(length):
        logits_BV = loaded.masked(loaded.anatomy.logits(hidden_BD).float())
        if len(banned):
            logits_BV[:, list(banned)] = -torch.inf
        if len(temperature_K) == 1:
            token_B, log_probability_B = draw(logits_BV, uniforms_BL[:, step], temperature_K[rung_B])
            log_q.append(log_probability_B[None])
        else:
            norm_KB = torch.stack([torch.logsumexp(logits_BV / value, dim=-1) for value in temperature_K])
            # Drawing overwrites what it is given.
            token_B, _ = draw(logits_BV.clone(), uniforms_BL[:, step], temperature_K[rung_B])
            log_q.append((logits_BV[rows, token_B] / temperature_K[:, None] - norm_KB).double())
        tokens.append(token_B)
        if step + 1 < length:
            hidden_BD = run_body(loaded, token_B[:, None], cache=cache)[:, -1]
    return torch.stack(tokens, dim=1).cpu(), torch.stack(log_q, dim=2).cpu()
