"""How likely given answers are after prompts that may hold images, and the answer a model gives by itself.

A prompt is read once, its answers continue it. Prompts are batches as a processor or collator makes them
(``input_ids``, ``attention_mask``, ``pixel_values``), padded at the right; any transformers model whose head is a
linear map without a cap can be asked, which is checked once a model on the first prompts.

Shapes: B prompts, T tokens of the longest, D hidden size, V vocabulary, C continuations, L tokens of one, N positions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, cast
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from armillary.errors import ModelError, NumericError, UsageError
from armillary.models.anatomy import evaluating
from armillary.models.batches import pad, positions
from armillary.models.quiet import reason
from armillary.scoring.kv_cache import copy_cache, growing_cache, same_states
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
    groups = [longer[start : start + CONTINUED_AT_ONCE] for start in range(0, len(longer), CONTINUED_AT_ONCE)]
    if read.cache is None:  # the prompts are read again with each answer, one answer a prompt at a time
        columns = range(max(map(len, answers), default=0))
        groups = [group for column in columns if (group := [item for item in longer if item[1] == column])]
    for chosen in groups:
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
    fed: list[list[int]] = [[] for _ in tokens]
    hidden_BD, mask_BS = read.hidden_BD, read.mask_BT
    for step in range(max_new_tokens):
        token_B = _log_probabilities(model, hidden_BD, nameless).argmax(-1)
        for row, token in enumerate(token_B.tolist()):
            ended[row] |= token == end_id
            fed[row].append(token)
            if not ended[row]:
                tokens[row].append(token)
        if all(ended) or step + 1 == max_new_tokens:
            break
        mask_BS = torch.cat([mask_BS, torch.ones_like(mask_BS[:, :1])], dim=1)
        if read.cache is None:
            hidden_BD = _afresh(model, read.given, fed)[:, -1]
        else:
            hidden_BD = _body(model, token_B[:, None], mask_BS, read.cache)[:, 0]
    return tokens


@dataclass(frozen=True, eq=False)
class _Read:
    """Prompts that were read: states of their last tokens, mask, and the cache that continues them."""

    hidden_BD: Float[Tensor, "B D"]
    mask_BT: Int[Tensor, "B T"]
    cache: Cache | None
    """None for a model that gives other states with one: its prompts are then read again with what follows them."""

    nameless: Sequence[int]
    given: Mapping[str, Tensor]


def _read(model: PreTrainedModel, prompts: Mapping[str, Tensor], nameless: Sequence[int]) -> _Read:
    given = {name: tensor.to(model.device) for name, tensor in prompts.items() if name not in ("labels", "image_key")}
    mask_BT = given.setdefault("attention_mask", torch.ones_like(given["input_ids"]))
    if not bool(mask_BT[:, 0].all()):
        raise UsageError("prompts must be padded at the right; some begin with padding.")
    if model not in _CACHED:
        _CACHED[model] = _checked(model, given)
    if not _CACHED[model]:
        return _Read(_afresh(model, given, [[] for _ in mask_BT])[:, 0], mask_BT, None, nameless, given)
    return _Read(*_last(model, given), nameless, given)


def _last(model: PreTrainedModel, given: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Cache]:
    """State of each row's last token, the mask, and the cache behind the whole rows."""
    cache, mask_BT = growing_cache(), given["attention_mask"]
    others = {name: tensor for name, tensor in given.items() if name not in ("input_ids", "attention_mask")}
    hidden_BTD = _body(model, given["input_ids"], mask_BT, cache, **others)
    rows_B = torch.arange(len(mask_BT), device=mask_BT.device)
    return hidden_BTD[rows_B, mask_BT.sum(1) - 1], mask_BT, cache


def _afresh(model: PreTrainedModel, given: Mapping[str, Tensor], tails: Sequence[Sequence[int]]) -> Tensor:
    """States ``[B, L + 1, D]`` of each row's last token and of the tokens of its tail, as the model by itself gives
    them: without a cache and with its own positions."""
    mask_BT, length = given["attention_mask"], max(map(len, tails))
    ends_B = mask_BT.sum(1)
    more = {}
    for name, tensor in given.items():
        more[name] = tensor
        if tensor.shape == mask_BT.shape:
            more[name] = torch.cat([tensor, tensor.new_zeros((len(tensor), length))], dim=1)
    for row, tail in enumerate(tails):
        place = slice(int(ends_B[row]), int(ends_B[row]) + len(tail))
        more["input_ids"][row, place] = torch.tensor(list(tail), dtype=torch.long, device=mask_BT.device)
        more["attention_mask"][row, place] = 1
    hidden_BTD = cast(Any, model.base_model)(**more, use_cache=False).last_hidden_state
    steps_BL = ends_B[:, None] - 1 + torch.arange(length + 1, device=mask_BT.device)
    return cast(Tensor, hidden_BTD[torch.arange(len(mask_BT), device=mask_BT.device)[:, None], steps_BL])


_CACHED: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


def _checked(model: PreTrainedModel, given: Mapping[str, Tensor]) -> bool:
    """True where the model gives the same states with a cache and with positions counted over the mask as by itself,
    after these prompts and one token more. ModelError where its logits are not what its head makes of its states.
    """
    kind, new_B1 = type(model).__name__, torch.ones_like(given["input_ids"][:, :1])
    with evaluating(model):
        try:
            own_BLD = _afresh(model, given, new_B1.tolist())
            last = {"logits_to_keep": 1} if "logits_to_keep" in signature(model.forward).parameters else {}
            logits_BV = cast(Any, model)(**given, use_cache=False, **last).logits[:, -1]
            states_BTD = cast(Any, model.base_model)(**given, use_cache=False).last_hidden_state
            made_BV = cast(Any, model.get_output_embeddings())(states_BTD[:, -1])
        except Exception as error:  # whatever an architecture does with such a call, it is said in one sentence
            raise ModelError(f"{kind} can't be asked how likely answers are ({reason(error)}).") from error
        if not same_states(made_BV, logits_BV):
            raise ModelError(f"{kind} has a cap, a factor or a layer behind its last state; answers can't be scored.")
        try:
            hidden_BD, mask_BT, cache = _last(model, given)
            after_B1D = _body(model, new_B1, torch.cat([mask_BT, new_B1], dim=1), cache)
        except Exception:  # whatever an architecture raises there: answers are then read afresh, which was tried above
            return False
    return same_states(torch.stack([hidden_BD, after_B1D[:, 0]], dim=1), own_BLD)


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
    if read.cache is None:
        tails = {row: answer[:-1] for row, answer in zip(rows, answers, strict=True)}
        hidden_CLD = _afresh(model, read.given, [tails.get(row, []) for row in range(len(read.mask_BT))])[rows_C, 1:]
    else:
        cache = copy_cache(read.cache, rows_C)
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
