"""How likely given answers are after prompts that may hold images, and the answer a model gives by itself.

A prompt is read once, its answers continue it. Prompts are batches as a processor or collator makes them
(``input_ids``, ``attention_mask``, ``pixel_values``), padded at the right; any transformers model whose head is a
linear map without a cap can be asked.

Shapes: B prompts, T tokens of the longest, D hidden size, V vocabulary, C continuations, L tokens of one, N positions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from armillary.errors import NumericError, UsageError
from armillary.models.batches import pad, positions
from armillary.scoring.kv_cache import copy_cache, growing_cache, select_rows
from armillary.scoring.nll import CHUNK_ELEMENTS

CONTINUED_AT_ONCE = 64
"""Answers of more than one token that continue their prompts in one forward pass: more take more memory."""


@dataclass(frozen=True, eq=False)
class AnswerScores:
    """Of the answers to one prompt: log-probability (nats, float64) of the whole answer, and its number of tokens."""

    total: NDArray[np.float64]
    tokens: NDArray[np.int64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Nats a token."""
        return self.total / self.tokens


@torch.inference_mode()
def answer_log_probabilities(
    model: PreTrainedModel,
    prompts: Mapping[str, Tensor],
    answers: Sequence[Sequence[Sequence[int]]],
    *,
    nameless: Sequence[int] = (),
) -> list[AnswerScores]:
    """For each prompt the scores of its answers, each a sequence of at least one token.

    ``nameless`` rows of the head, which are no token, have probability 0. Logits are brought to float32 and exist for
    one position a prompt, and then for the answers' positions a chunk at a time. UsageError where prompts and answers
    are not as many, an answer is empty, or a prompt is padded at the left; NumericError where logits are not finite.
    """
    if len(answers) != len(prompts["input_ids"]):
        there = len(prompts["input_ids"])
        raise UsageError(f"{there} prompts came with answers to {len(answers)}; give some to each.")
    if not all(len(answer) for own_answers in answers for answer in own_answers):
        raise UsageError("an answer without tokens has no probability; give at least one token.")
    read = _read(model, prompts, nameless)
    totals = [np.zeros(len(own_answers)) for own_answers in answers]
    for row, own_answers in enumerate(answers):
        firsts = torch.tensor([answer[0] for answer in own_answers], device=read.hidden_BD.device)
        hidden_ND = read.hidden_BD[row : row + 1]
        totals[row] += _log_probabilities(model, hidden_ND, nameless)[0][firsts].double().cpu().numpy()
    longer = [
        (row, column)
        for row, own_answers in enumerate(answers)
        for column, answer in enumerate(own_answers)
        if len(answer) > 1
    ]
    # Answers of about the same length share a batch, so that little is padding.
    longer.sort(key=lambda item: len(answers[item[0]][item[1]]))
    for start in range(0, len(longer), CONTINUED_AT_ONCE):
        chosen = longer[start : start + CONTINUED_AT_ONCE]
        sums = _continued(model, read, [row for row, _ in chosen], [answers[row][column] for row, column in chosen])
        for (row, column), value in zip(chosen, sums, strict=True):
            totals[row][column] += value
    lengths = [np.array([len(answer) for answer in own_answers], dtype=np.int64) for own_answers in answers]
    return [AnswerScores(total, tokens) for total, tokens in zip(totals, lengths, strict=True)]


@torch.inference_mode()
def greedy_answers(
    model: PreTrainedModel,
    prompts: Mapping[str, Tensor],
    *,
    max_new_tokens: int,
    end_id: int,
    nameless: Sequence[int] = (),
) -> list[list[int]]:
    """For each prompt its likeliest tokens one after the other, without the end token, at most ``max_new_tokens``.

    Errors and ``nameless`` as in ``answer_log_probabilities``.
    """
    if max_new_tokens < 1:
        raise UsageError(f"max_new_tokens must be 1 or more, got {max_new_tokens}.")
    read = _read(model, prompts, nameless)
    tokens: list[list[int]] = [[] for _ in range(len(read.hidden_BD))]
    ended = [False] * len(tokens)
    hidden_BD, mask_BS = read.hidden_BD, read.mask_BT
    for step in range(max_new_tokens):
        token_B = _log_probabilities(model, hidden_BD, nameless).argmax(-1)
        for row, token in enumerate(token_B.tolist()):
            ended[row] |= token == end_id
            if not ended[row]:
                tokens[row].append(token)
        if all(ended) or step + 1 == max_new_tokens:
            break
        mask_BS = torch.cat([mask_BS, torch.ones_like(mask_BS[:, :1])], dim=1)
        hidden_BD = _body(model, token_B[:, None], mask_BS, read.cache)[:, 0]
    return tokens


@dataclass(frozen=True, eq=False)
class _Read:
    """Prompts that were read: states of their last tokens, mask, and the cache that continues them."""

    hidden_BD: Float[Tensor, "B D"]
    mask_BT: Int[Tensor, "B T"]
    cache: Cache
    nameless: Sequence[int]


def _read(model: PreTrainedModel, prompts: Mapping[str, Tensor], nameless: Sequence[int]) -> _Read:
    given = {name: tensor.to(model.device) for name, tensor in prompts.items() if name not in ("labels", "image_key")}
    mask_BT = given.setdefault("attention_mask", torch.ones_like(given["input_ids"]))
    if not bool(mask_BT[:, 0].all()):
        raise UsageError("prompts must be padded at the right; some begin with padding.")
    cache = growing_cache()
    hidden_BTD = _body(model, given.pop("input_ids"), given.pop("attention_mask"), cache, **given)
    last_B = mask_BT.sum(1) - 1
    return _Read(hidden_BTD[torch.arange(len(last_B), device=last_B.device), last_B], mask_BT, cache, nameless)


def _body(model: PreTrainedModel, ids_BT: Tensor, mask_BS: Tensor, cache: Cache, **given: Tensor) -> Tensor:
    """States of the new tokens, with positions counted over what the mask shows."""
    hidden: Tensor = cast(Any, model.base_model)(
        input_ids=ids_BT,
        attention_mask=mask_BS,
        position_ids=positions(mask_BS)[:, -ids_BT.shape[1] :],
        past_key_values=cache,
        use_cache=True,
        **given,
    ).last_hidden_state
    return hidden


def _continued(
    model: PreTrainedModel, read: _Read, rows: Sequence[int], answers: Sequence[Sequence[int]]
) -> list[float]:
    """Log-probability of all but the first token of each answer, summed; answer ``c`` continues prompt ``rows[c]``."""
    device = read.mask_BT.device
    ids_CL, new_CL = pad([answer[:-1] for answer in answers], device=device)
    targets_CL, _ = pad([answer[1:] for answer in answers], device=device)
    rows_C = torch.tensor(list(rows), device=device)
    cache = copy_cache(read.cache)
    select_rows(cache, rows_C)
    hidden_CLD = _body(model, ids_CL, torch.cat([read.mask_BT[rows_C], new_CL], dim=1), cache)
    scored_CL = new_CL.bool()
    hidden_ND, targets_N = hidden_CLD[scored_CL], targets_CL[scored_CL]
    size = max(1, CHUNK_ELEMENTS // cast(Any, model.get_output_embeddings()).weight.shape[0])
    parts = [
        _log_probabilities(model, some_ND, read.nameless).gather(1, some_N[:, None])[:, 0]
        for some_ND, some_N in zip(hidden_ND.split(size), targets_N.split(size), strict=True)
    ]
    summands_CL = torch.zeros(scored_CL.shape, dtype=torch.float64, device="cpu")
    summands_CL[scored_CL.cpu()] = torch.cat(parts).cpu().double()
    return [float(value) for value in summands_CL.sum(1)]


def _log_probabilities(model: PreTrainedModel, hidden_ND: Tensor, nameless: Sequence[int]) -> Float[Tensor, "N V"]:
    logits_NV = cast(Tensor, cast(Any, model.get_output_embeddings())(hidden_ND)).float()
    if not bool(torch.isfinite(logits_NV).all()):
        raise NumericError("The model gave NaN or infinite logits after a prompt with an image.")
    if len(nameless):
        logits_NV[:, list(nameless)] = -torch.inf
    return logits_NV.log_softmax(-1)
