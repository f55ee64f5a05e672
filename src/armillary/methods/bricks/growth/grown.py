"""A model that was made larger, and the proof that it still says the same. Legend: T tokens, V vocabulary."""

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from armillary.errors import ModelError, UsageError
from armillary.methods.bricks.growth.mixture import Mixture
from armillary.methods.bricks.payloads import Index
from armillary.models import LoadedModel, find_anatomy
from armillary.models.batches import encode
from armillary.models.quiet import quiet, reason, refuse_gaps

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


def untrained_copy(loaded: LoadedModel, *, seed: int) -> LoadedModel:
    """A model of the same shape that has learned nothing: every matrix is normal with spread ``1 / sqrt(inputs)``.

    What is no matrix is as the architecture starts it. A null for whatever is claimed of trained weights.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model: PreTrainedModel = type(loaded.model)(loaded.model.config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, parameter.shape[-1] ** -0.5)
    model.to(device=loaded.device, dtype=loaded.dtype).eval()  # type: ignore[call-arg]
    return reopened(loaded, model, f"random weights {seed} in the shape of {loaded.name}")


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
    """The result of a growth step, after a look at a few tokens; ModelError when their logits are others.

    Also when they are others once the model is made anew from its configuration and its tensors, as every reader of
    its folder does. Experts have no such form: the ``save_pretrained`` of a model that holds some is refused.
    """
    loaded = reopened(base, model, f"{base.source}; grown by {how}")
    try:
        moved = moved_logit(base, base.model, loaded.model)
    except Exception as error:  # a layer may not bear another number, or its cache not another layer
        raise ModelError(f"{base.name} does not run after growing by {how}: {reason(error)}.") from error
    if moved is not None:
        raise ModelError(
            f"{base.name} says something else after growing by {how} (a logit moved by {moved:.3g}): its blocks are "
            "not of the kind this step is exact for."
        )
    if any(isinstance(module, Mixture) for module in model.modules()):
        model.save_pretrained = _refuse_to_save  # type: ignore[method-assign]
    else:
        require_reopens(loaded, how)
    added = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in base.model.parameters())
    return Grown(loaded=loaded, how=how, neurons=neurons or Index({}), parameters=tuple(parameters), added=added)


def require_reopens(grown: LoadedModel, how: str, folder: Path | None = None) -> None:
    """ModelError where what transformers makes of a folder, or without one of configuration and tensors, says
    something else than the open model. No weight is copied without a folder."""
    kind: Any = type(grown.model)
    config, given = grown.model.config, dict[str, Any]()
    try:
        if folder is None:
            settings = type(config).from_dict(json.loads(config.to_json_string(use_diff=False)))
            settings._attn_implementation = config._attn_implementation
            given = {"config": settings, "state_dict": grown.model.state_dict()}
        with quiet():
            opened, gaps = kind.from_pretrained(folder, dtype=grown.dtype, output_loading_info=True, **given)
        refuse_gaps(gaps, "it")
        moved = moved_logit(grown, grown.model, opened.to(grown.device).eval())
    except Exception as error:
        raise ModelError(f"{grown.name} grown by {how} could not be opened from a folder: {reason(error)}.") from error
    if moved is not None:
        raise ModelError(
            f"{grown.name} grown by {how} would open from a folder as another model (a logit moved by {moved:.3g}): "
            "something in it follows from a layer's number or from a setting that does not grow."
        )


def moved_logit(base: LoadedModel, first: PreTrainedModel, second: PreTrainedModel) -> float | None:
    """Largest difference of a logit over a few tokens, where it is more than rounding."""
    ids = torch.tensor([_PROBE], device=base.device) % base.anatomy.vocabulary_size
    with torch.inference_mode():
        before, after = first(input_ids=ids).logits.float(), second(input_ids=ids).logits.float()
    # Sums in another order round differently: some units in the last place of the largest logit are no change.
    rounding = 64 * torch.finfo(base.dtype).eps * max(1.0, float(before.abs().max()))
    moved = float((after - before).abs().max())
    return None if moved <= rounding else moved


def _refuse_to_save(*_: object, **__: object) -> None:
    raise UsageError(
        "a model with experts of its own has no form in transformers and would open with random feed-forward blocks; "
        "bring it to a Mixtral first (armillary.methods.bricks.growth.upcycling.to_mixtral) and save that."
    )


@dataclass(frozen=True, kw_only=True)
class Preservation:
    """Largest difference of any logit between two models on the same tokens."""

    prefill: float
    """Texts read at once."""

    decode: float
    """Texts read token by token with a cache; the larger model against the smaller one read the same way."""

    rounding: float
    """The smaller model at once against itself token by token: what sums in another order change by themselves."""

    texts: int
    tokens: int


@torch.inference_mode()
def preservation(base: LoadedModel, grown: LoadedModel, texts: Sequence[str], *, max_tokens: int = 64) -> Preservation:
    """How far two models of one tokenizer differ, at once and with a cache. UsageError for no text."""
    if not texts:
        raise UsageError("give at least one text to compare the two models on.")
    prefill = decode = rounding = 0.0
    rows = encode(base, texts, max_tokens=max_tokens)
    for row in rows:
        ids_1T = torch.tensor([row], device=base.device)
        whole = [loaded.model(input_ids=ids_1T).logits.float() for loaded in (base, grown)]
        prefill = max(prefill, float((whole[0] - whole[1]).abs().max()))
        steps = [_token_by_token(loaded, ids_1T) for loaded in (base, grown)]
        decode = max(decode, float((steps[0] - steps[1]).abs().max()))
        rounding = max(rounding, float((whole[0] - steps[0]).abs().max()))
    return Preservation(prefill=prefill, decode=decode, rounding=rounding, texts=len(rows), tokens=sum(map(len, rows)))


def _token_by_token(loaded: LoadedModel, ids_1T: Tensor) -> Tensor:
    cache, logits = None, []
    for position in range(ids_1T.shape[1]):
        step = loaded.model(input_ids=ids_1T[:, position : position + 1], past_key_values=cache, use_cache=True)
        cache = step.past_key_values
        logits.append(step.logits.float())
    return torch.cat(logits, dim=1)
