"""A model that was made larger, and the proof that it still says the same. Legend: T tokens, V vocabulary."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from armillary.errors import ModelError, UsageError
from armillary.methods.bricks.payloads import Index
from armillary.models import LoadedModel, find_anatomy
from armillary.models.batches import encode

_PROBE = (5, 17, 31, 7, 23, 11)
"""Tokens that are read before and after growing; any would do."""


@dataclass(frozen=True, kw_only=True)
class Grown:
    """The larger model (a copy; the one it was made from is untouched) and which of its parts are new."""

    loaded: LoadedModel
    how: str
    """In words: "64 neurons in each of 30 layers"."""

    neurons: Index = field(default_factory=lambda: Index({}))
    """New neurons of existing blocks."""

    parameters: tuple[str, ...] = ()
    """Names of parameters that are new as a whole."""

    added: int = 0
    """Numbers that the model has more than before."""


def model_copy(loaded: LoadedModel) -> LoadedModel:
    """The same model with weights of its own; tied matrices stay tied."""
    model: PreTrainedModel = copy.deepcopy(loaded.model)
    return reopened(loaded, model, loaded.source)


def reopened(loaded: LoadedModel, model: PreTrainedModel, source: str) -> LoadedModel:
    """A changed copy of a model with its anatomy found anew."""
    return LoadedModel(model, loaded.tokenizer, find_anatomy(model), loaded.name, source)


def grown_from(
    base: LoadedModel,
    model: PreTrainedModel,
    how: str,
    *,
    neurons: Index | None = None,
    parameters: Sequence[str] = (),
) -> Grown:
    """The result of a growth step, after a look at a few tokens; ModelError when their logits are others."""
    loaded = reopened(base, model, f"{base.source}; grown by {how}")
    ids = torch.tensor([_PROBE], device=base.device) % base.anatomy.vocabulary_size
    with torch.inference_mode():
        before, after = base.model(input_ids=ids).logits.float(), loaded.model(input_ids=ids).logits.float()
    # Sums in another order round differently: some units in the last place of the largest logit are no change.
    rounding = 64 * torch.finfo(base.dtype).eps * max(1.0, float(before.abs().max()))
    if not float((after - before).abs().max()) <= rounding:
        raise ModelError(
            f"{base.name} says something else after growing by {how} (a logit moved by "
            f"{float((after - before).abs().max()):.3g}): its blocks are not of the kind this step is exact for."
        )
    added = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in base.model.parameters())
    return Grown(loaded=loaded, how=how, neurons=neurons or Index({}), parameters=tuple(parameters), added=added)


@dataclass(frozen=True, kw_only=True)
class Preservation:
    """Largest difference of any logit between two models on the same tokens."""

    prefill: float
    """Texts read at once."""

    decode: float
    """Texts read token by token with a cache; the larger model against the smaller one read the same way."""

    texts: int
    tokens: int


@torch.inference_mode()
def preservation(base: LoadedModel, grown: LoadedModel, texts: Sequence[str], *, max_tokens: int = 64) -> Preservation:
    """How far two models of one tokenizer differ, at once and with a cache. UsageError for no text."""
    if not texts:
        raise UsageError("give at least one text to compare the two models on.")
    prefill = decode = 0.0
    rows = encode(base, texts, max_tokens=max_tokens)
    for row in rows:
        ids_1T = torch.tensor([row], device=base.device)
        whole = [loaded.model(input_ids=ids_1T).logits.float() for loaded in (base, grown)]
        prefill = max(prefill, float((whole[0] - whole[1]).abs().max()))
        steps = [_token_by_token(loaded, ids_1T) for loaded in (base, grown)]
        decode = max(decode, float((steps[0] - steps[1]).abs().max()))
    return Preservation(prefill=prefill, decode=decode, texts=len(rows), tokens=sum(map(len, rows)))


def _token_by_token(loaded: LoadedModel, ids_1T: Tensor) -> Tensor:
    cache = DynamicCache(config=loaded.model.config)
    logits = []
    for position in range(ids_1T.shape[1]):
        step = loaded.model(input_ids=ids_1T[:, position : position + 1], past_key_values=cache, use_cache=True)
        logits.append(step.logits.float())
    return torch.cat(logits, dim=1)
