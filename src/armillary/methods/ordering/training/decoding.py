"""What a model writes behind prompts: rows of one prompt length together, on a cache, until every row has ended."""

from collections.abc import Sequence

import torch

from armillary.models.batches import equal_length_batches, run_body
from armillary.models.loaded import LoadedModel
from armillary.scoring.decoding import DecodingRows
from armillary.scoring.kv_cache import growing_cache
from armillary.scoring.sampling import draw

AT_ONCE = 16_384
"""Prompt tokens read together: some hundreds of rows, beyond which a step takes longer in proportion."""


@torch.inference_mode()
def complete(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    *,
    most: int,
    end: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[list[int]]:
    """New tokens behind each prompt up to the end token, which is kept, or ``most`` of them.

    At temperature 0 always the likeliest token; else drawn, each row by uniform numbers of its own, so that a draw
    does not depend on which rows are read together. ``most`` is kept within the model's positions.
    """
    generator = torch.Generator().manual_seed(seed)
    uniform_RT = torch.rand((len(prompts), most), generator=generator, dtype=torch.float64) if temperature else None
    written: list[list[int]] = [[] for _ in prompts]
    stops = torch.tensor([end], device=loaded.device)
    for batch in equal_length_batches(prompts, AT_ONCE):
        room = most if loaded.max_positions is None else min(most, loaded.max_positions - len(prompts[batch[0]]))
        cache = growing_cache()
        ids_BT = torch.tensor([list(prompts[index]) for index in batch], device=loaded.device)
        hidden_BD = run_body(loaded, ids_BT, cache=cache)[:, -1]
        rows = DecodingRows(loaded, cache, torch.ones_like(ids_BT), hidden_BD, stops)
        for step in range(room):
            logits_BV = loaded.anatomy.logits(rows.hidden_BD)
            if uniform_RT is None:
                token_B = logits_BV.argmax(-1)
            else:
                own_B = uniform_RT[[batch[index] for index in rows.held.tolist()], step].to(loaded.device)
                token_B = draw(logits_BV, own_B, temperature)[0]
            for index, growing, token in zip(rows.held.tolist(), rows.alive.tolist(), token_B.tolist(), strict=True):
                if growing:
                    written[batch[index]].append(token)
            if step + 1 == room or not rows.advance(token_B):
                break
    return written
