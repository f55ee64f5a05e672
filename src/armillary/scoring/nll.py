"""Negative log-likelihood of texts by chunks of the head: ``[batch, length, vocabulary]`` is never stored.

The hidden states of all scored positions go through the head a chunk at a time, so that only ``[chunk, vocabulary]``
exists. Shapes: B texts of a batch, T tokens, N scored positions, D hidden size, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from armillary.errors import ModelError, NumericError, UsageError
from armillary.models.batches import encode, pad, padded_batches, run_body
from armillary.models.loaded import LoadedModel
from armillary.models.prompts import given_tokens
from armillary.progress import counted

CHUNK_ELEMENTS = 2**24
"""Logits that exist at a time where no chunk is given: 64 MB in float32."""


@dataclass(frozen=True)
class SequenceNLL:
    """How surprising each text is to the model; ``-log p(text | its first token)`` where nothing precedes it.

    What the tokenizer puts in front is given, what it puts behind is left out (see ``models.prompts``).
    """

    nll: list[float]
    """Summed over the scored tokens of each text, nats."""

    tokens: list[int]
    """Number of scored tokens of each text."""

    @property
    def per_token(self) -> list[float]:
        """Mean nats per scored token of each text."""
        return [total / count for total, count in zip(self.nll, self.tokens, strict=True)]


@torch.inference_mode()
def sequence_nll(
    loaded: LoadedModel,
    texts: Sequence[str],
    *,
    max_tokens: int = 512,
    tokens_per_batch: int = 2048,
    chunk: int | None = None,
    label: str | None = None,
) -> SequenceNLL:
    """Summed NLL (nats) and number of scored tokens of each text, in the order given.

    Texts are tokenised as prompts are and cut after ``max_tokens``. Rows of the head that are no token have
    probability 0. Logits are brought to float32 for the log-sum-exp, sums over tokens are float64. ``chunk`` is the
    number of positions in the head at a time; ``label`` names a progress bar. Raises ``UsageError`` for a text without
    a token to score, ``ModelError`` for a token that the head lacks, ``NumericError`` naming a text whose NLL is not
    finite.
    """
    rows = encode(loaded, texts, max_tokens=max_tokens, least=2)
    given = given_tokens(loaded, rows)
    for text, row, before in zip(texts, rows, given, strict=True):
        if len(row) == before:
            raise UsageError(f"The text {text[:60]!r} has no token to score among the first {max_tokens}.")
        if max(row[before:]) >= loaded.anatomy.vocabulary_size:
            raise ModelError(
                f"The text {text[:60]!r} has token {max(row[before:])}, and the head of {loaded.name} has "
                f"{loaded.anatomy.vocabulary_size} rows; give the model's own tokenizer."
            )
    totals = [0.0] * len(rows)
    with counted(label, len(rows)) as bar:
        for batch in padded_batches(rows, tokens_per_batch):
            ids_BT, mask_BT = pad([rows[index] for index in batch], device=loaded.device)
            nll_BT = token_nll(loaded, ids_BT, mask_BT, chunk=chunk).double()
            for index, nll_T in zip(batch, nll_BT, strict=True):
                total = float(nll_T[given[index] - 1 :].sum())
                if not abs(total) < float("inf"):
                    raise NumericError(f"The model gave NaN or infinite logits within the text {texts[index][:60]!r}.")
                totals[index] = total
            bar.advance(len(batch))
    return SequenceNLL(nll=totals, tokens=[len(row) - before for row, before in zip(rows, given, strict=True)])


@torch.inference_mode()
def token_nll(
    loaded: LoadedModel,
    input_ids: Int[Tensor, "b t"],
    attention_mask: Int[Tensor, "b t"] | None = None,
    *,
    chunk: int | None = None,
) -> Float[Tensor, "b t-1"]:
    """NLL (nats, float32) of token ``j + 1`` given the tokens up to ``j``; 0 where either is padding.

    Rows may be padded on either side. Raises ``UsageError`` where ``chunk`` is less than 1.
    """
    if chunk is not None and chunk < 1:
        raise UsageError(f"chunk must be 1 or more positions, got {chunk}.")
    # Without padding no mask is passed: attention then takes its faster causal path.
    padded = attention_mask is not None and not bool(attention_mask.all())
    if attention_mask is None or not padded:
        hidden_BTD = run_body(loaded, input_ids)[:, :-1]
    else:  # padding is put last, where nothing can see it: some architectures (RWKV) read what stands masked in front
        order_BT = attention_mask.argsort(dim=1, descending=True, stable=True)
        hidden_BTD = run_body(loaded, input_ids.gather(1, order_BT), attention_mask.gather(1, order_BT))
        hidden_BTD = hidden_BTD.gather(1, order_BT.argsort(dim=1)[..., None].expand_as(hidden_BTD))[:, :-1]
    targets_BT = input_ids[:, 1:]
    nll_BT = torch.zeros(targets_BT.shape, dtype=torch.float32, device=input_ids.device)
    if attention_mask is None:
        scored_BT = torch.ones_like(targets_BT, dtype=torch.bool)
    else:
        scored_BT = (attention_mask[:, :-1] * attention_mask[:, 1:]).bool()
    nll_BT[scored_BT] = chunked_nll(loaded, hidden_BTD[scored_BT], targets_BT[scored_BT], chunk=chunk)
    return nll_BT


def chunked_nll(
    loaded: LoadedModel,
    hidden_ND: Float[Tensor, "n d"],
    targets_N: Int[Tensor, " n"],
    *,
    chunk: int | None = None,
    banned: Sequence[int] = (),
) -> Float[Tensor, " n"]:
    """NLL (nats, float32) of each target token after its hidden state, the head a chunk of positions at a time.

    Rows of the head that are no token and ``banned`` tokens have probability 0 (an infinite NLL, as has a token that
    the head lacks) and the others are renormalised.
    """
    size = chunk or max(1, CHUNK_ELEMENTS // loaded.anatomy.vocabulary_size)
    parts = []
    for hidden_KD, targets_K in zip(hidden_ND.split(size), targets_N.split(size), strict=True):
        logits_KV = loaded.masked(loaded.anatomy.logits(hidden_KD).float())
        if len(banned):
            logits_KV[:, list(banned)] = -torch.inf
        # In place: the chunk of logits is the only array of its size.
        logits_KV = logits_KV.sub_(logits_KV.amax(dim=-1, keepdim=True))
        lacking_K = targets_K >= logits_KV.shape[1]
        target_K = logits_KV.gather(1, targets_K.masked_fill(lacking_K, 0)[:, None])[:, 0]
        target_K = target_K.masked_fill_(lacking_K, -torch.inf)
        parts.append(logits_KV.exp_().sum(dim=-1).log_() - target_K)
    return torch.cat(parts)
