"""Text after queries with vectors in them, on the shared prefix: greedy, or sampled at a temperature.

Legend: B queries, S slots of the cache, D hidden size, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from armillary.errors import NumericError, UsageError
from armillary.methods.vector_icl.prefix import Asked
from armillary.models.loaded import LoadedModel
from armillary.scoring.decoding import DecodingRows
from armillary.scoring.few_rows import few_rows
from armillary.scoring.kv_cache import copy_cache


@torch.inference_mode()
def continue_queries(
    loaded: LoadedModel,
    asked: Asked,
    *,
    max_new_tokens: int,
    stop_ids: Sequence[int],
    allowed: Sequence[int] | None = None,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
) -> list[list[int]]:
    """New tokens of each query, without the stop token that ended it; at most ``max_new_tokens``.

    ``allowed`` keeps to these tokens and the stop tokens, which may not come first. With ``temperature`` 0 the
    likeliest token is taken; above 0 it is drawn with ``generator`` (on the host, so that every device draws alike).
    UsageError for a bad length or temperature, NumericError where logits are not finite.
    """
    if max_new_tokens < 1 or not temperature >= 0:
        raise UsageError(
            f"max_new_tokens must be 1 or more and temperature 0 or more; got {max_new_tokens} and {temperature}."
        )
    stops = torch.tensor(list(stop_ids), dtype=torch.long, device=loaded.device)
    slots = asked.cache.get_seq_length()
    mask_BS = torch.ones((len(asked.hidden_BD), slots), dtype=torch.long, device=loaded.device)
    rows = DecodingRows(loaded, copy_cache(asked.cache), mask_BS, asked.hidden_BD, stops)
    out: list[list[int]] = [[] for _ in asked.hidden_BD]
    stopping = set(stop_ids)
    with few_rows(loaded.model):
        for step in range(max_new_tokens):
            logits_BV = _allowed(loaded.anatomy.logits(rows.hidden_BD), allowed, stop_ids if step else ())
            token_B = _drawn(logits_BV, temperature, generator)
            for index, alive, token in zip(rows.held.tolist(), rows.alive.tolist(), token_B.tolist(), strict=True):
                if alive and token not in stopping:
                    out[index].append(token)
            if step + 1 == max_new_tokens or not rows.advance(token_B):
                break
    return out


def _allowed(logits_BV: Tensor, allowed: Sequence[int] | None, stop_ids: Sequence[int]) -> Tensor:
    if not bool(torch.isfinite(logits_BV).all()):
        raise NumericError("the model gave NaN or infinite logits while it continued a query.")
    if allowed is None:
        return logits_BV
    hidden_V = torch.ones(logits_BV.shape[1], dtype=torch.bool, device=logits_BV.device)
    hidden_V[[*allowed, *stop_ids]] = False
    return logits_BV.masked_fill(hidden_V, -torch.inf)


def _drawn(logits_BV: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    if temperature == 0:
        return logits_BV.argmax(-1)
    shares_BV = (logits_BV.cpu().double() / temperature).softmax(-1)
    return torch.multinomial(shares_BV, 1, generator=generator)[:, 0].to(logits_BV.device)
