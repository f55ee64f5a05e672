"""Log-probabilities of logged chains under models, token by token, without a table of all tokens and words at once.

Legend: B rows, L tokens, N scored tokens, P positions, V vocabulary.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from armillary.errors import UsageError
from armillary.methods.ocean import core
from armillary.methods.ocean.config import Logging
from armillary.methods.ocean.core import Array
from armillary.methods.ocean.estimate import Estimate, Resampling, doubly_robust, kg_ips
from armillary.methods.ocean.objectives import expected_reward
from armillary.methods.ocean.rows import ChainRow
from armillary.progress import counted

AT_ONCE = 512
"""Scored tokens whose distributions are held in float32 together: 100 MB for a vocabulary of 50,000."""


@dataclass(frozen=True)
class ChainBatch:
    """Rows padded on the right."""

    input_ids_BL: Int[Tensor, "b l"]
    attention_mask_BL: Int[Tensor, "b l"]
    step_ids_BL: Int[Tensor, "b l"]
    span_ids_BL: Int[Tensor, "b l"]

    @classmethod
    def of(cls, rows: Sequence[ChainRow], device: torch.device | str = "cpu") -> "ChainBatch":
        """Of token rows, on the device."""
        length = max(len(row.input_ids) for row in rows)

        def padded(values: list[list[int]], filling: int) -> Tensor:
            return torch.tensor([[*row, *[filling] * (length - len(row))] for row in values], device=device)

        return cls(
            input_ids_BL=padded([row.input_ids for row in rows], 0),
            attention_mask_BL=padded([[1] * len(row.input_ids) for row in rows], 0),
            step_ids_BL=padded([row.step_ids for row in rows], -1),
            span_ids_BL=padded([row.span_ids for row in rows], -1),
        )

    @property
    def scored_BL(self) -> Bool[Tensor, "b l"]:
        """Tokens of steps."""
        return self.step_ids_BL >= 0

    @property
    def is_entity_BL(self) -> Bool[Tensor, "b l"]:
        """Tokens of entities."""
        return self.span_ids_BL >= 0


@dataclass(frozen=True)
class Logits:
    """A model's logits at the positions in front of scored tokens, and where each scored token's row of them is."""

    logits_BPV: Float[Tensor, "b p v"]
    row_N: Int[Tensor, "n"]
    place_N: Int[Tensor, "n"]

    def log_probabilities(self, chosen: slice) -> Float[Tensor, "m v"]:
        """Of the next word at some of the scored tokens, float32."""
        return self.logits_BPV[self.row_N[chosen], self.place_N[chosen]].float().log_softmax(-1)


def read_logits(model: nn.Module, batch: ChainBatch) -> Logits:
    """One forward pass; the head reads only positions that some row has a scored token behind."""
    row_N, token_N = batch.scored_BL.nonzero(as_tuple=True)
    positions_P, place_N = (token_N - 1).unique(return_inverse=True)
    given: dict[str, Any] = {"input_ids": batch.input_ids_BL, "attention_mask": batch.attention_mask_BL}
    if takes_logits_to_keep(model):
        logits = model(**given, logits_to_keep=positions_P, use_cache=False).logits
    else:
        logits = model(**given, use_cache=False).logits[:, positions_P]
    return Logits(logits, row_N, place_N)


def takes_logits_to_keep(model: nn.Module) -> bool:
    """True where the model's forward computes logits only where it is asked to."""
    inner: Any = getattr(model, "module", model)  # outside of data parallelism
    inner = inner.get_base_model() if hasattr(inner, "get_base_model") else inner
    return "logits_to_keep" in inspect.signature(cast(Callable[..., object], inner.forward)).parameters


def token_log_probs(model: nn.Module, batch: ChainBatch) -> Float[Tensor, "b l"]:
    """Log-probability (nats, float32) of each scored token, 0 elsewhere; with a gradient where one is on.

    Distributions are computed ``AT_ONCE`` tokens at a time, and again in the backward pass.
    """
    logits = read_logits(model, batch)
    ids_N = batch.input_ids_BL[batch.scored_BL]

    def part(logits_BPV: Tensor, start: int) -> Tensor:
        chosen = slice(start, start + AT_ONCE)
        log_p = Logits(logits_BPV, logits.row_N, logits.place_N).log_probabilities(chosen)
        return log_p.gather(1, ids_N[chosen, None])[:, 0]

    starts = range(0, len(ids_N), AT_ONCE)
    if torch.is_grad_enabled() and logits.logits_BPV.requires_grad:
        parts = [cast(Tensor, checkpoint(part, logits.logits_BPV, start, use_reentrant=False)) for start in starts]
    else:
        parts = [part(logits.logits_BPV, start) for start in starts]
    return torch.zeros(batch.scored_BL.shape, device=ids_N.device).masked_scatter(batch.scored_BL, torch.cat(parts))


@dataclass(frozen=True)
class References:
    """What does not change in training, for each token; 0 where not scored."""

    logp_base_BL: Float[Tensor, "b l"]
    logp_kg_BL: Float[Tensor, "b l"]
    """On entity tokens."""

    baseline_BL: Float[Tensor, "b l"]
    """``objectives.expected_reward``; NaN on entity tokens whose graph policy has another vocabulary."""


@torch.no_grad()
def references(
    base: nn.Module, kg: nn.Module | None, batch: ChainBatch, *, ratio_clip: float, shaped_B: Bool[Tensor, "b"]
) -> References:
    """The base policy's and the graph's log-probabilities and the baseline, each model read once.

    ``kg`` of None leaves the graph's to the caller, who has them by spans. ``shaped_B``: rows that the base policy
    wrote, in whose reward the graph has a part.
    """
    scored_BL = batch.scored_BL
    ids_N, entity_N = batch.input_ids_BL[scored_BL], batch.is_entity_BL[scored_BL]
    shaped_N = entity_N & shaped_B[:, None].expand_as(scored_BL)[scored_BL]
    of_base, of_kg = read_logits(base, batch), None if kg is None else read_logits(kg, batch)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for start in range(0, len(ids_N), AT_ONCE):
        chosen = slice(start, start + AT_ONCE)
        log_base = of_base.log_probabilities(chosen)
        own = ids_N[chosen, None]
        log_kg = None if of_kg is None else of_kg.log_probabilities(chosen)
        if log_kg is not None:
            _same_words(log_base, log_kg, "graph's policy")
        baseline = expected_reward(log_base, log_kg, shaped_N[chosen], ratio_clip)
        if log_kg is None:
            baseline = torch.where(shaped_N[chosen], torch.nan, baseline)
        kg_part = torch.zeros_like(baseline) if log_kg is None else log_kg.gather(1, own)[:, 0]
        parts.append((log_base.gather(1, own)[:, 0], torch.where(entity_N[chosen], kg_part, 0.0), baseline))
    filled = [
        torch.zeros(scored_BL.shape, device=ids_N.device).masked_scatter(scored_BL, torch.cat(values))
        for values in zip(*parts, strict=True)
    ]
    return References(*filled)


@torch.no_grad()
def spread_span_log_probs(
    kg: nn.Module, rows: Sequence[ChainRow], own_rows: Sequence[ChainRow], device: torch.device
) -> Float[Tensor, "b l"]:
    """For each entity token of ``rows`` its span's log-probability under the graph's policy, over its tokens there.

    ``own_rows`` are the same chains as the graph's tokenizer reads them. A tokenizer that ends words by the blank
    before the next decides that end in the next token, which is in neither span.
    """
    batch, own = ChainBatch.of(rows, device), ChainBatch.of(own_rows, device)
    logp = token_log_probs(kg, own)
    most = int(batch.span_ids_BL.max()) + 1
    spread = torch.zeros(batch.scored_BL.shape, device=device)
    for row in range(len(rows)):
        for span in range(most):
            mine = batch.span_ids_BL[row] == span
            if bool(mine.any()):
                spread[row, mine] = logp[row, own.span_ids_BL[row] == span].sum() / mine.sum()
    return spread


@contextmanager
def evaluating(*models: nn.Module | None) -> Iterator[None]:
    """Inside, the models are in eval mode: without dropout, so that a policy's ratio to itself is 1."""
    modules = [module for model in models if model is not None for module in model.modules()]
    modes = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


@dataclass(frozen=True)
class ScoredChains:
    """Logged chains as ``kg_ips`` reads them: C chains, L tokens."""

    logp_target: Array
    logp_base: Array
    logp_kg: Array
    is_entity: Bool[np.ndarray, "c l"]
    step_ids: Int[np.ndarray, "c l"]
    expected_base: Array
    """The target's mean of log pi_0 over all words at each state, exact."""

    logging: Logging
    """"unknown" where chains of several kinds are together."""

    span_ids: Int[np.ndarray, "c l"] | None = None
    """Where entity ratios are of whole spans."""

    def estimate(
        self,
        *,
        self_normalized: bool = False,
        per_decision: bool = False,
        clip: float | None = None,
        propensity_floor: float | None = None,
        resampling: Resampling = Resampling(),
    ) -> Estimate:
        """``kg_ips`` of the chains."""
        return kg_ips(
            *(self.logp_target, self.logp_base, self.logp_kg, self.is_entity, self.step_ids),
            self_normalized=self_normalized,
            per_decision=per_decision,
            clip=clip,
            propensity_floor=propensity_floor,
            logging=self.logging,
            span_ids=self.span_ids,
            resampling=resampling,
        )

    def doubly_robust(
        self, *, propensity_floor: float | None = None, resampling: Resampling = Resampling()
    ) -> Estimate:
        """With the known reward as Q: what the target would say at the visited states, without any draw of words.

        A ``propensity_floor`` must be that of ``score_chains``, whose mean over all words has it. For chains of
        lambda, or of the base policy without entities, the same estimand as ``estimate`` with no variance from
        weights.
        """
        return doubly_robust(
            *(self.logp_target, self.logp_base, self.logp_kg, self.is_entity, self.step_ids),
            q_logged=np.maximum(self.logp_base, _least(propensity_floor)),
            q_target=self.expected_base,
            propensity_floor=propensity_floor,
            logging=self.logging,
            span_ids=self.span_ids,
            resampling=resampling,
        )


@torch.no_grad()
def score_chains(
    target: PreTrainedModel,
    base: PreTrainedModel,
    kg: PreTrainedModel,
    rows: Sequence[ChainRow],
    *,
    kg_rows: Sequence[ChainRow] | None = None,
    propensity_floor: float | None = None,
    batch_size: int = 16,
    label: str = "OCEAN: chains",
) -> ScoredChains:
    """The chains under target, base and the graph's policy, in eval mode; all on the target's device.

    ``kg_rows``: the same chains by the graph policy's own tokenizer, for ratios of whole spans. UsageError where the
    vocabularies differ without it. ``propensity_floor`` bounds the base policy in ``expected_base`` alone; all else
    is as the models give it.
    """
    parts: list[list[Array]] = [[] for _ in range(6)]
    kinds = {row.logging for row in rows}
    length = max(len(row.input_ids) for row in rows)
    with evaluating(target, base, kg), counted(label, len(rows)) as bar:
        for start in range(0, len(rows), batch_size):
            chosen = rows[start : start + batch_size]
            own = None if kg_rows is None else kg_rows[start : start + batch_size]
            batch = ChainBatch.of(chosen, target.device)
            logp_target, logp_base, logp_kg, expected = _scored(
                target, base, kg if own is None else None, batch, _least(propensity_floor)
            )
            if own is not None:
                logp_kg = spread_span_log_probs(kg, chosen, own, target.device)
            tensors = (logp_target, logp_base, logp_kg, expected, batch.step_ids_BL, batch.span_ids_BL)
            for part, tensor, filling in zip(parts, tensors, (0, 0, 0, 0, -1, -1), strict=True):
                missing = length - tensor.shape[1]
                values = tensor.double().cpu().numpy()
                part.append(np.pad(values, ((0, 0), (0, missing)), constant_values=filling))
            bar.advance(len(chosen))
    target_CL, base_CL, kg_CL, expected_CL, steps_CL, spans_CL = (np.concatenate(part) for part in parts)
    return ScoredChains(
        logp_target=target_CL,
        logp_base=base_CL,
        logp_kg=kg_CL,
        is_entity=spans_CL >= 0,
        step_ids=steps_CL.astype(np.int64),
        expected_base=expected_CL,
        logging=kinds.pop() if len(kinds) == 1 else "unknown",
        span_ids=None if kg_rows is None else spans_CL.astype(np.int64),
    )


def _scored(
    target: nn.Module, base: nn.Module, kg: nn.Module | None, batch: ChainBatch, least: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-probabilities of the scored tokens under target, base and graph (of entities; 0 without it), and the
    target's mean of log pi_0, no less than ``least``, at their states; ``[B, L]`` each."""
    ids_N, entity_N = (values[batch.scored_BL] for values in (batch.input_ids_BL, batch.is_entity_BL))
    of_target, of_base = read_logits(target, batch), read_logits(base, batch)
    of_kg = None if kg is None else read_logits(kg, batch)
    parts: list[tuple[Tensor, ...]] = []
    for start in range(0, len(ids_N), AT_ONCE):
        chosen = slice(start, start + AT_ONCE)
        own = ids_N[chosen, None]
        log_target, log_base = of_target.log_probabilities(chosen), of_base.log_probabilities(chosen)
        log_kg = torch.zeros_like(log_base) if of_kg is None else of_kg.log_probabilities(chosen)
        for name, other in (("model", log_target), ("graph's policy", log_kg)):
            _same_words(log_base, other, name)
        mean = torch.where(torch.isneginf(log_target), 0.0, log_target.exp() * log_base.clamp(min=least)).sum(-1)
        of_graph = torch.where(entity_N[chosen], log_kg.gather(1, own)[:, 0], 0.0)
        parts.append((log_target.gather(1, own)[:, 0], log_base.gather(1, own)[:, 0], of_graph, mean))
    empty = torch.zeros(batch.scored_BL.shape, device=ids_N.device)
    filled = (empty.masked_scatter(batch.scored_BL, torch.cat(values)) for values in zip(*parts, strict=True))
    logp_target, logp_base, logp_kg, expected = filled
    return logp_target, logp_base, logp_kg, expected


def _least(propensity_floor: float | None) -> float:
    return -math.inf if propensity_floor is None else math.log(propensity_floor)


def _same_words(log_base: Tensor, other: Tensor, name: str) -> None:
    if log_base.shape != other.shape:
        raise UsageError(
            f"the {name} has {other.shape[1]} words and the base policy {log_base.shape[1]}; give one with the same "
            "tokenizer, or for the graph's policy entity_ratio='span'."
        )


def shares_of(rows: Sequence[ChainRow]) -> list[list[float]]:
    """``core.token_shares`` of each row."""
    return [core.token_shares(np.array([row.step_ids]))[0].tolist() for row in rows]
