"""Differentiable next-token values, and the parameters that an edit or a gradient may touch, put back afterwards."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from armillary.errors import UsageError
from armillary.methods.lincorr.config import Space
from armillary.methods.lincorr.fit import RelationFit
from armillary.methods.lincorr.tables import chat_opening, split_template
from armillary.models import LoadedModel
from armillary.models.batches import encode, pad, run_body

Part = Literal["ffn-last-half", "ffn", "all"]


def chosen_parameters(loaded: LoadedModel, part: Part) -> list[nn.Parameter]:
    """Feed-forward weight matrices of the last half of the layers (or of all), or every parameter; each once."""
    if part not in get_args(Part):
        raise UsageError(f"parameters must be one of {', '.join(get_args(Part))}; got {part!r}.")
    if part == "all":
        return list(loaded.model.parameters())
    anatomy = loaded.anatomy
    first = anatomy.num_layers // 2 if part == "ffn-last-half" else 0
    pairs = zip(anatomy.layers[first:], anatomy.ffn_writes[first:], strict=True)
    return [matrix for layer, write in pairs for matrix in _feed_forward(layer, write)]


@contextmanager
def restored(chosen: Sequence[nn.Parameter]) -> Iterator[None]:
    """After it, also after an error, the parameters hold the bits they held before."""
    copies = [parameter.detach().clone() for parameter in chosen]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, copy in zip(chosen, copies, strict=True):
                parameter.copy_(copy)


def prompts_of(loaded: LoadedModel, fit: RelationFit, subjects: Sequence[str]) -> tuple[list[str], list[str]]:
    """Source and target prompts of each subject, as the fit's tables were read."""
    opening = chat_opening(loaded) if fit.chat_template else ""
    source, target = (
        [f"{opening}{before}{subject}{after}" for subject in subjects]
        for before, after in map(split_template, (fit.source_template, fit.target_template))
    )
    return source, target


def last_hidden(loaded: LoadedModel, prompts: Sequence[str]) -> Float[Tensor, "b d"]:
    """Hidden state that the head reads after each prompt; gradients flow where they are switched on."""
    ids_BT, mask_BT = pad(encode(loaded, prompts), device=loaded.device)
    hidden_BTD = run_body(loaded, ids_BT, mask_BT)
    return hidden_BTD[torch.arange(len(prompts), device=loaded.device), mask_BT.sum(dim=1) - 1]


def values_of(
    loaded: LoadedModel, hidden_BD: Float[Tensor, "b d"], token_ids: Sequence[int], space: Space
) -> Float[Tensor, "b m"]:
    """Logits of the tokens, or their log-probabilities over the whole vocabulary, in float32."""
    ids = torch.tensor(list(token_ids), device=loaded.device)
    logits = loaded.anatomy.logits(hidden_BD, ids).float()
    if space == "logits":
        return logits
    return logits - loaded.anatomy.logits(hidden_BD).float().logsumexp(dim=-1, keepdim=True)


def refuse_other_model(loaded: LoadedModel, fit: RelationFit) -> None:
    """UsageError when the map was fitted on other weights than these."""
    if loaded.fingerprint != fit.model:
        raise UsageError(
            f"the map was fitted on the model {fit.model}; {loaded.name} is {loaded.fingerprint}: fit it on this one."
        )


def _feed_forward(layer: nn.Module, write: nn.Module | None) -> list[nn.Parameter]:
    """Weight matrices of the block that holds the write; experts kept as 3-D parameters where there is no write."""
    if write is None:
        return [p for p in layer.parameters() if p.dim() == 3]
    block = next(module for module in layer.modules() if write in module.children())
    # OPT keeps its feed-forward matrices beside the attention, as direct children of the layer.
    modules = block.modules() if block is not layer else (m for m in layer.children() if not list(m.children()))
    return [p for module in modules for p in module.parameters(recurse=False) if p.dim() == 2]
