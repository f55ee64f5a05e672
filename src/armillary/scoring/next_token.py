"""Logits of the next token for many prompts, over the whole vocabulary or a chosen part of it.

Only the last position goes through the head, and only the chosen rows of the head are multiplied: neither
``[prompts, length, vocabulary]`` nor, with ``token_ids``, ``[prompts, vocabulary]`` is ever stored.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from armillary.errors import NumericError, UsageError
from armillary.models.batches import encode, equal_length_batches, run_body
from armillary.models.loaded import LoadedModel
from armillary.progress import counted


@torch.inference_mode()
def next_token_logits(
    loaded: LoadedModel,
    prompts: Sequence[str],
    token_ids: Sequence[int] | None = None,
    *,
    batch_tokens: int = 2048,
    label: str | None = None,
) -> NDArray[np.float32]:
    """Raw logits of the token after each prompt, float32 ``[prompts, len(token_ids)]``, in the order given.

    Prompts are tokenised whole with the tokenizer's defaults and batched by equal length, so nothing is padded. With
    ``token_ids=None`` the columns are the whole vocabulary. ``label`` names a progress bar. Raises ``UsageError`` for
    a token id outside the vocabulary or a prompt without tokens, ``NumericError`` naming the prompt whose logits are
    not finite.
    """
    rows = encode(loaded, prompts)
    chosen = None if token_ids is None else column_ids(loaded, token_ids)
    width = loaded.anatomy.vocabulary_size if chosen is None else len(chosen)
    out = np.empty((len(rows), width), dtype=np.float32)
    with counted(label, len(rows)) if label else counted("", 0) as bar:
        for batch in equal_length_batches(rows, batch_tokens):
            ids_BT = torch.tensor([rows[index] for index in batch], device=loaded.device)
            logits_BM = loaded.anatomy.logits(run_body(loaded, ids_BT)[:, -1], chosen)
            out[batch] = finite(logits_BM, [prompts[index] for index in batch])
            bar.advance(len(batch))
    return out


def column_ids(loaded: LoadedModel, token_ids: Sequence[int]) -> Tensor:
    """The ids as a tensor on the model's device; ``UsageError`` if one is outside the vocabulary."""
    size = loaded.anatomy.vocabulary_size
    outside = [token for token in token_ids if not 0 <= token < size]
    if outside:
        raise UsageError(f"Token id {outside[0]} is outside the vocabulary; ids from 0 to {size - 1} are accepted.")
    return torch.tensor(list(token_ids), dtype=torch.long, device=loaded.device)


def finite(logits_BM: Float[Tensor, "b m"], prompts: Sequence[str]) -> NDArray[np.float32]:
    """The logits as float32 on the host; ``NumericError`` naming the first prompt whose logits are not finite."""
    values: NDArray[np.float32] = logits_BM.float().cpu().numpy()
    good = np.isfinite(values).all(axis=1)
    if not good.all():
        raise NumericError(f"The model gave NaN or infinite logits after the prompt {prompts[int(good.argmin())]!r}.")
    return values
