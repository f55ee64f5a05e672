"""Greedy continuations of many branches of a prompt: the prompt is read once, its branches are decoded together."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from armillary.errors import NumericError, UsageError
from armillary.models.loaded import LoadedModel
from armillary.scoring.few_rows import few_rows
from armillary.scoring.growing import GrowingPrompts


@torch.inference_mode()
def greedy(
    prompts: GrowingPrompts,
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
