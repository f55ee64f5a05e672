"""Does the map hold for gradients as it does for logits: if ``y_t = W' y_s`` as functions of the parameters, then
``grad y_t = W' grad y_s``, and an update of the source moves the target along W."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from armillary.errors import ModelError, NumericError, UsageError
from armillary.methods.lincorr.config import Space
from armillary.methods.lincorr.result import RelationFit
from armillary.methods.lincorr.tables import CHAT_REQUEST, split_template
from armillary.models import LoadedModel
from armillary.models.anatomy import expert_parameters
from armillary.models.batches import encode, pad, run_body
from armillary.models.prompts import chat_text
from armillary.numerics import Interval, bootstrap_mean
from armillary.numerics.correlation import pearson
from armillary.progress import track
from armillary.training.checkpoints import only_trainable

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
    chosen = [matrix for layer, write in pairs for matrix in _feed_forward(layer, write, anatomy.hidden_size)]
    if not chosen:
        kind = type(loaded.model).__name__
        raise ModelError(f"{loaded.name} ({kind}) has no feed-forward matrices; give parameters 'all'.")
    return chosen


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
    opening = chat_text(loaded, CHAT_REQUEST) if fit.chat_template else ""
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
    """Logits of the tokens, or their log-probabilities over all tokens, in float32."""
    ids = torch.tensor(list(token_ids), device=loaded.device)
    logits = loaded.anatomy.logits(hidden_BD, ids).float()
    if space == "logits":
        return logits
    return logits - loaded.masked(loaded.anatomy.logits(hidden_BD).float()).logsumexp(dim=-1, keepdim=True)


def refuse_other_model(loaded: LoadedModel, fit: RelationFit) -> None:
    """UsageError when the map was fitted on another model than this."""
    if loaded.identity != fit.model:
        raise UsageError(
            f"the map was fitted on the model {fit.model}; {loaded.name} is {loaded.identity}: fit it on this one."
        )


def _feed_forward(layer: nn.Module, write: nn.Module | None, hidden_size: int) -> list[nn.Parameter]:
    """Weight matrices of the block that holds the write; experts kept as 3-D parameters where there is no write."""
    if write is None:
        return [layer.get_parameter(name) for name in expert_parameters(layer, hidden_size)]
    block = next(module for module in layer.modules() if write in module.children())
    # OPT keeps its feed-forward matrices beside the attention, as direct children of the layer.
    modules = block.modules() if block is not layer else (m for m in layer.children() if not list(m.children()))
    return [p for module in modules for p in module.parameters(recurse=False) if p.dim() == 2]


Picks = Sequence[Tensor]
"""For each parameter the flat coordinates that are compared."""


@dataclass(frozen=True, kw_only=True)
class GradientCorrelation:
    """Pearson between the gradient of target logits and the mapped gradient of source logits."""

    relation: str
    correlation: Interval
    """Mean over subjects (each the mean over its target words)."""

    permuted: Interval
    """The same with the rows of W shuffled: any two logits of one prompt share much of their gradient."""

    excess: Interval
    """``correlation - permuted``, paired over subjects."""

    subjects: int
    targets: tuple[str, ...]
    coordinates: int


def gradient_correlation(
    loaded: LoadedModel,
    fit: RelationFit,
    subjects: Sequence[str],
    *,
    targets: int = 8,
    coordinates: int = 100_000,
    parameters: Part = "ffn-last-half",
    level: float = 0.95,
    seed: int = 0,
) -> GradientCorrelation:
    """Pearson over sampled coordinates of ``d y_t,j / d theta`` and ``d (W[:, j] . y_s) / d theta``, averaged.

    The weighted sum is formed before differentiating, so each (subject, target) costs one backward pass a side (and
    one more for the shuffled W). Targets and coordinates are drawn once by ``seed``. The model's gradients and flags
    are as before afterwards. UsageError when the fit is of another model or there are fewer than two subjects.
    """
    refuse_other_model(loaded, fit)
    if len(subjects) < 2 or targets < 1:
        raise UsageError(f"at least 2 subjects and 1 target are needed; got {len(subjects)} and {targets}.")
    generator = np.random.default_rng(seed)
    chosen = chosen_parameters(loaded, parameters)
    picks = coordinate_sample([p.numel() for p in chosen], coordinates, generator, loaded.device)
    # Drawn in this order: coordinates, targets, shuffle; another order would be another result for the same seed.
    columns = sorted(generator.permutation(fit.weight_ST.shape[1])[:targets].tolist())
    shuffled_ST = fit.weight_ST[torch.from_numpy(generator.permutation(fit.weight_ST.shape[0]))]
    rows: list[tuple[float, float]] = []
    with only_trainable(loaded.model, chosen), torch.enable_grad():
        prompts = list(zip(*prompts_of(loaded, fit, subjects), strict=True))
        for source, target in track(prompts, "comparing gradients"):
            y_s = values_of(loaded, last_hidden(loaded, [source]), fit.source.ids, fit.space)[0]
            y_t = values_of(loaded, last_hidden(loaded, [target]), fit.target.ids, fit.space)[0]
            weights = [fit.weight_ST.to(y_s), shuffled_ST.to(y_s)]
            of_map, of_shuffled = gradient_pairs(y_s, y_t, weights, chosen, picks, columns)
            rows.append((float(np.nanmean(of_map)), float(np.nanmean(of_shuffled))))
    how = f"bootstrap over {len(subjects)} subjects, {len(columns)} target words each"

    def interval(values: list[float]) -> Interval:
        return bootstrap_mean(values, seed=seed, level=level, how=how)

    return GradientCorrelation(
        relation=fit.relation,
        correlation=interval([real for real, _ in rows]),
        permuted=interval([null for _, null in rows]),
        excess=interval([real - null for real, null in rows]),
        subjects=len(subjects),
        targets=tuple(fit.target.labels[j] for j in columns),
        coordinates=sum(len(pick) for pick in picks),
    )


def gradient_pairs(
    source_S: Float[Tensor, " s"],
    target_T: Float[Tensor, " t"],
    weights: Sequence[Float[Tensor, "s t"]],
    parameters: Sequence[Tensor],
    picks: Picks,
    columns: Sequence[int],
) -> list[list[float]]:
    """For each weight matrix the Pearson of target and mapped source gradient, one value a target column.

    ``source_S`` and ``target_T`` are attached to the graph of ``parameters``. A gradient that is zero everywhere gives
    NaN; NumericError when that is so for every column.
    """
    correlations: list[list[float]] = [[] for _ in weights]
    for column in columns:
        of_target = _gradient(target_T[column], parameters, picks)
        for values, weight_ST in zip(correlations, weights, strict=True):
            values.append(pearson(of_target, _gradient(source_S @ weight_ST[:, column], parameters, picks)))
    if not np.isfinite(correlations[0]).any():
        raise NumericError("no target logit has a gradient in the chosen parameters.")
    return correlations


def coordinate_sample(
    sizes: Sequence[int], count: int, generator: np.random.Generator, device: torch.device | str = "cpu"
) -> list[Tensor]:
    """``count`` flat coordinates drawn without replacement over all parameters together, as one list a parameter."""
    total = sum(sizes)
    drawn = np.sort(generator.choice(total, size=min(count, total), replace=False, shuffle=False))
    edges = np.cumsum([0, *sizes])
    cuts = np.searchsorted(drawn, edges)
    return [torch.from_numpy(drawn[cuts[i] : cuts[i + 1]] - edges[i]).to(device) for i in range(len(sizes))]


def _gradient(value: Tensor, parameters: Sequence[Tensor], picks: Picks) -> Tensor:
    # A parameter that the value does not depend on has no gradient: it counts as zero.
    gradients: Sequence[Tensor | None] = torch.autograd.grad(
        value, list(parameters), retain_graph=True, allow_unused=True
    )
    parts = [
        torch.zeros(len(pick), device=pick.device) if gradient is None else gradient.reshape(-1)[pick].float()
        for gradient, pick in zip(gradients, picks, strict=True)
    ]
    return torch.cat(parts)
