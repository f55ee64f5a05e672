"""Ancestral sampling in batches, with the exact log-probability of every drawn sequence.

Each distinct prompt of a batch is computed once and its cache rows are repeated. Every row has its own uniform
numbers, drawn before the first step, so that a row's draw does not depend on which rows share its batch.
Shapes: B rows, V vocabulary, K blocks of the vocabulary, S entries of a block.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Float, Int
from torch import Tensor

from armillary.errors import NumericError, UsageError
from armillary.models.batches import encode, pad, run_body
from armillary.models.loaded import LoadedModel
from armillary.models.prompts import beginning
from armillary.progress import counted
from armillary.scoring.decoding import DecodingRows, end_tokens
from armillary.scoring.kv_cache import growing_cache, is_cacheable, require_cache, select_rows

BLOCK = 256
"""Entries of the vocabulary that are summed before one of them is looked for; at 65,536 tokens there are as many sums
as entries of a block."""


def draw(
    logits_BV: Float[Tensor, "b v"], uniform_B: Float[Tensor, "b"], temperature: float | Float[Tensor, "b"] = 1.0
) -> tuple[Int[Tensor, "b"], Float[Tensor, "b"]]:
    """Token ids and their log-probabilities (nats, float64) under ``softmax(logits / temperature)``.

    ``temperature`` is one number, or one a row. The token is the first whose cumulative probability exceeds
    ``uniform`` (float64, in [0, 1)). One pass of exponentials: sums of blocks find the block, a cumulative sum inside
    it finds the token; both in float64, since a float32 cumulative sum over a large vocabulary would move the
    boundaries. The logits are overwritten where they are float32. A row with NaN or infinite logits gets a
    log-probability of NaN.
    """
    weights_BV = logits_BV.float().div_(temperature if isinstance(temperature, float) else temperature[:, None])
    weights_BV = weights_BV.sub_(weights_BV.amax(dim=-1, keepdim=True)).exp_()
    whole = weights_BV.shape[1] // BLOCK * BLOCK
    sums = [weights_BV[:, :whole].unflatten(1, (-1, BLOCK)).sum(dim=-1)] if whole else []
    if whole < weights_BV.shape[1]:
        sums.append(weights_BV[:, whole:].sum(dim=-1, keepdim=True))
    blocks_BK = torch.cat(sums, dim=1).double()
    upto_BK = blocks_BK.cumsum(dim=-1)
    total_B1 = upto_BK[:, -1:]
    wanted_B1 = uniform_B.double()[:, None] * total_B1
    block_B1 = _first_above(upto_BK, wanted_B1)
    columns_BS = block_B1 * BLOCK + torch.arange(BLOCK, device=weights_BV.device)
    outside_BS = columns_BS >= weights_BV.shape[1]
    inside_BS = weights_BV.gather(1, columns_BS.masked_fill(outside_BS, 0)).double().masked_fill_(outside_BS, 0.0)
    before_B1 = upto_BK.gather(1, block_B1) - blocks_BK.gather(1, block_B1)
    offset_B1 = _first_above(inside_BS.cumsum(dim=-1), wanted_B1 - before_B1)
    log_probability_B = (inside_BS.gather(1, offset_B1).log() - total_B1.log())[:, 0]
    return (block_B1 * BLOCK + offset_B1)[:, 0].clamp_max(weights_BV.shape[1] - 1), log_probability_B


LIKELIEST = 1024
"""Tokens among which a nucleus is looked for before a whole row is sorted: at 50,000 tokens a tenth of the time, and
language models' nuclei at 0.95 are hardly ever wider."""


def nucleus_(logits_BV: Float[Tensor, "b v"], top_p: float, temperature: float) -> Float[Tensor, "b v"]:
    """The logits with minus infinity, in place, for all but the likeliest tokens that together reach ``top_p``.

    Probabilities are those of ``softmax(logits / temperature)``; the token with which ``top_p`` is reached stays, as
    do those as likely as it (Holtzman and others 2020, "nucleus sampling"). A row with NaN stays as it is.
    """
    scaled_BV = logits_BV.float() / temperature
    norm_B1 = scaled_BV.logsumexp(dim=-1, keepdim=True)
    top_BS = scaled_BV.topk(min(LIKELIEST, scaled_BV.shape[1]), dim=-1).values
    upto_BS = (top_BS - norm_B1).exp_().double().cumsum(dim=-1)
    if bool((upto_BS[:, -1] < top_p).any()):
        top_BS = scaled_BV.sort(dim=-1, descending=True).values
        upto_BS = (top_BS - norm_B1).exp_().double().cumsum(dim=-1)
    last_B1 = (upto_BS < top_p).sum(dim=-1, keepdim=True).clamp_max_(top_BS.shape[1] - 1)
    return logits_BV.masked_fill_(scaled_BV < top_BS.gather(1, last_B1), -torch.inf)


def _first_above(upto_BK: Tensor, wanted_B1: Tensor) -> Tensor:
    # Rounding may leave ``wanted`` at or above the last sum; the last entry with weight is then the one meant.
    last_B1 = torch.searchsorted(upto_BK, upto_BK[:, -1:].contiguous())
    last_B1 = last_B1.clamp_max_(upto_BK.shape[1] - 1)
    return torch.minimum(torch.searchsorted(upto_BK, wanted_B1, right=True), last_B1)


@dataclass(frozen=True)
class Samples:
    """What was drawn: all samples of the first prompt, then all of the second, and so on."""

    sequences: list[list[int]]
    """New tokens of each sample, the end token included where it was drawn."""

    logprobs: list[float]
    """Log-probability (nats) of each sequence given its prompt, under the distribution it was drawn from: the softmax
    of the logits divided by the temperature over all tokens of the nucleus, end token included."""

    texts: list[str]
    """The new tokens as text, special tokens left out."""

    prompt_index: list[int]
    """Which prompt each sample continues."""


@torch.inference_mode()
def sample(
    loaded: LoadedModel,
    prompts: Sequence[str] | None = None,
    *,
    num_samples: int = 1,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int,
    batch_size: int = 64,
    stop_ids: Sequence[int] | None = None,
    label: str | None = None,
) -> Samples:
    """``num_samples`` continuations of each prompt, each up to an end token or ``max_new_tokens``.

    ``prompts=None`` starts from what precedes a text alone, or the beginning-of-text token. ``stop_ids=None`` takes
    the model's own end tokens; an empty sequence never stops early. The same seed gives the same samples whatever
    ``batch_size`` is, up to rounding of the logits. At temperature 1 a log-probability equals the negative sum of
    ``token_nll`` over the new tokens. ``top_p`` below 1 draws from the ``nucleus_`` alone. ``label`` names a progress
    bar over samples. Raises ``UsageError`` for settings out of range, ``ModelError`` for models without a key-value
    cache, ``NumericError`` where logits are not finite.
    """
    _check(loaded, num_samples, max_new_tokens, temperature, top_p, batch_size)
    rows = encode(loaded, prompts) if prompts is not None else [list(beginning(loaded))]
    if not all(rows):
        raise UsageError(f"The tokenizer of {loaded.name} has no beginning-of-text token; give prompts.")
    owner = [index for index in range(len(rows)) for _ in range(num_samples)]
    generator = torch.Generator().manual_seed(seed)
    uniforms = torch.rand((len(owner), max_new_tokens), generator=generator, dtype=torch.float64)
    ends = end_tokens(loaded) if stop_ids is None else [*stop_ids]
    stops = torch.tensor(ends, dtype=torch.long, device=loaded.device)
    drawn = _Drawn(loaded, rows, owner, [[] for _ in owner], [0.0] * len(owner), temperature, top_p)
    order = sorted(range(len(owner)), key=lambda index: (len(rows[owner[index]]), index))
    with counted(label, len(owner)) as bar:
        for batch in _batches(loaded, order, [len(rows[prompt]) for prompt in owner], batch_size):
            drawn.extend(batch, uniforms[batch].to(loaded.device), stops)
            bar.advance(len(batch))
    texts = [str(loaded.tokenizer.decode(tokens, skip_special_tokens=True)) for tokens in drawn.sequences]
    return Samples(sequences=drawn.sequences, logprobs=drawn.logprobs, texts=texts, prompt_index=owner)


def _batches(loaded: LoadedModel, order: list[int], lengths: list[int], batch_size: int) -> list[list[int]]:
    """Samples to draw together; only those of equal length where padding would change what the model gives."""
    groups = [order]
    if len({*lengths}) > 1 and not is_cacheable(loaded, padded=True):
        groups = [[*group] for _, group in groupby(order, key=lengths.__getitem__)]
    return [group[first : first + batch_size] for group in groups for first in range(0, len(group), batch_size)]


@dataclass(frozen=True)
class _Drawn:
    """The samples as they grow."""

    loaded: LoadedModel
    rows: list[list[int]]
    owner: list[int]
    sequences: list[list[int]]
    logprobs: list[float]
    temperature: float
    top_p: float

    def extend(self, batch: list[int], uniforms: Tensor, stops: Tensor) -> None:
        """Draw the samples with these indices together, each by its row of the uniform numbers."""
        device, cache = self.loaded.device, growing_cache()
        distinct = sorted({self.owner[index] for index in batch})
        ids_BT, mask_BS = pad([self.rows[prompt] for prompt in distinct], side="left", device=device)
        padded = not bool(mask_BS.all())
        hidden_BD = run_body(self.loaded, ids_BT, mask_BS if padded else None, cache=cache)[:, -1]
        parents = torch.tensor([distinct.index(self.owner[index]) for index in batch], device=device)
        select_rows(cache, parents)
        rows = DecodingRows(self.loaded, cache, mask_BS[parents], hidden_BD[parents], stops)
        steps = uniforms.shape[1]
        for step in range(steps):
            logits_BV = self.loaded.masked(self.loaded.anatomy.logits(rows.hidden_BD))
            if self.top_p < 1:
                nucleus_(logits_BV, self.top_p, self.temperature)
            token_B, logprob_B = draw(logits_BV, uniforms[rows.held, step], self.temperature)
            columns = zip(rows.held.tolist(), rows.alive.tolist(), token_B.tolist(), logprob_B.tolist(), strict=True)
            for index, growing, token, logprob in columns:
                if growing and math.isnan(logprob):
                    prompt = self.loaded.tokenizer.decode(self.rows[self.owner[batch[index]]])
                    raise NumericError(f"The model gave NaN or infinite logits while sampling after {prompt!r}.")
                if growing:
                    self.sequences[batch[index]].append(token)
                    self.logprobs[batch[index]] += logprob
            if step + 1 == steps or not rows.advance(token_B):
                return


def _check(
    loaded: LoadedModel, num_samples: int, max_new_tokens: int, temperature: float, top_p: float, batch_size: int
) -> None:
    counts = {"num_samples": num_samples, "max_new_tokens": max_new_tokens, "batch_size": batch_size}
    for name, value in counts.items():
        if value < 1:
            raise UsageError(f"{name} must be 1 or more, got {value}.")
    if not 0 < temperature < math.inf:
        raise UsageError(f"temperature must be above 0 and finite, got {temperature}.")
    if not 0 < top_p <= 1:
        raise UsageError(f"top_p must be above 0 and at most 1, got {top_p}.")
    require_cache(loaded, "sampling")
