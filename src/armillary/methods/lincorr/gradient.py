"""Does the map hold for gradients as it does for logits: if ``y_t = W' y_s`` as functions of the parameters, then
``grad y_t = W' grad y_s``, and an update of the source moves the target along W."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from armillary.errors import NumericError, UsageError
from armillary.methods.lincorr.fit import RelationFit
from armillary.methods.lincorr.trainable import (
    Part,
    chosen_parameters,
    last_hidden,
    prompts_of,
    refuse_other_model,
    values_of,
)
from armillary.models import LoadedModel
from armillary.numerics import Interval, bootstrap_mean
from armillary.numerics.correlation import pearson
from armillary.progress import track
from armillary.training.trainable import only_trainable

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

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        names = ("correlation", "permuted", "excess")
        plain = {"relation": self.relation, "subjects": self.subjects, "coordinates": self.coordinates}
        return {**plain, "targets": list(self.targets), **{name: getattr(self, name).to_dict() for name in names}}


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
    columns = sorted(generator.permutation(fit.weight_ST.shape[1])[:targets].tolist())
    shuffled_ST = fit.weight_ST[torch.from_numpy(generator.permutation(fit.weight_ST.shape[0]))]
    rows: list[tuple[float, float]] = []
    with only_trainable(loaded.model, chosen), torch.enable_grad():
        prompts = list(zip(*prompts_of(loaded, fit, subjects), strict=True))
        for source, target in track(prompts, "comparing gradients"):
            y_s = values_of(loaded, last_hidden(loaded, [source]), fit.source.ids, fit.space)[0]
            y_t = values_of(loaded, last_hidden(loaded, [target]), fit.target.ids, fit.space)[0]
            weights = [fit.weight_ST.to(y_s), shuffled_ST.to(y_s)]
            real, null = gradient_pairs(y_s, y_t, weights, chosen, picks, columns)
            rows.append((float(np.nanmean(real)), float(np.nanmean(null))))
    of_real, of_null = ([row[i] for row in rows] for i in (0, 1))
    how = f"bootstrap over {len(subjects)} subjects, {len(columns)} target words each"
    excess = [a - b for a, b in zip(of_real, of_null, strict=True)]
    real_, null_, excess_ = (bootstrap_mean(v, seed=seed, level=level, how=how) for v in (of_real, of_null, excess))
    return GradientCorrelation(
        relation=fit.relation,
        correlation=real_,
        permuted=null_,
        excess=excess_,
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
        for found, weight_ST in zip(correlations, weights, strict=True):
            found.append(pearson(of_target, _gradient(source_S @ weight_ST[:, column], parameters, picks)))
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
    found: Sequence[Tensor | None] = torch.autograd.grad(value, list(parameters), retain_graph=True, allow_unused=True)
    parts = [
        torch.zeros(len(pick), device=pick.device) if gradient is None else gradient.reshape(-1)[pick].float()
        for gradient, pick in zip(found, picks, strict=True)
    ]
    return torch.cat(parts)
