"""Teach the model one source fact by gradient steps, see which target logits follow, and put the weights back.

The paper tells neither optimiser, rate nor number of steps (arXiv 2502.04520, Tables 5 and 6); the protocol is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from armillary.errors import NumericError, UsageError
from armillary.methods.lincorr.fit import RelationFit
from armillary.methods.lincorr.trainable import (
    Part,
    chosen_parameters,
    last_hidden,
    prompts_of,
    refuse_other_model,
    restored,
    values_of,
)
from armillary.models import LoadedModel
from armillary.numerics.correlation import spearman
from armillary.training.trainable import only_trainable

Optimiser = Literal["adam", "sgd"]
SHUFFLES = 20
"""Shuffles of W that the two controls of an edit are averaged over."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Edit:
    """One source word taught to a few subjects, and what became of the target. K subjects, S sources, T targets."""

    source: str
    """The word that was taught."""

    gold: tuple[str, ...]
    """Targets that are right for it."""

    steps: int
    """Updates made; 0 when the model said the word already."""

    probability: float
    """Lowest probability of the word over the subjects, after the updates."""

    failed: bool
    """True when that is below the threshold: the edit did not take."""

    before: tuple[str, ...]
    """Most likely target word of each subject before the edit."""

    after: tuple[str, ...]
    """The same after it: the generalised target."""

    most_raised: tuple[str, ...]
    """Target word whose logit rose most."""

    success: float
    """Share of subjects whose ``after`` is gold."""

    success_before: float
    success_by_rise: float
    """Share of subjects whose ``most_raised`` is gold."""

    source_change: NDArray[np.float64]
    """Measured change of the source values ``[K, S]``."""

    target_change: NDArray[np.float64]
    """Measured change of the target values ``[K, T]``."""

    predicted_change: NDArray[np.float64]
    """``source_change @ W``, ``[K, T]``."""

    agreement: float
    """Spearman over targets of predicted and measured change, mean over subjects; NaN when nothing changed."""

    agreement_permuted: float
    """The same with rows and columns of W shuffled: nothing of the map is left."""

    agreement_uniform: float
    """The same with only the rows shuffled: how each target follows any push, whichever source it comes from."""

    weight_reference: float
    """Largest weight of the source word on a gold target (W_ref)."""

    weight_generalised: float
    """Weight on the generalised target, mean over subjects (W_gen)."""

    weight_largest: float
    """Largest weight of the source word on any target (W_max)."""

    standardized_reference: float
    """W_ref in units of the usual spread of source and target."""

    generalised_rank: float
    """Share of targets with a smaller weight than the generalised one, mean over subjects: 0.5 by chance."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data, changes included."""
        plain: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in plain.items():
            if isinstance(value, np.ndarray):
                plain[name] = value.tolist()
            elif isinstance(value, tuple):
                plain[name] = list(value)
            elif isinstance(value, float) and not np.isfinite(value):
                plain[name] = None
        return plain

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Inverse of ``to_dict``."""
        kept = dict(data)
        for name in ("source_change", "target_change", "predicted_change"):
            kept[name] = np.array(kept[name], dtype=np.float64)
        for name in ("gold", "before", "after", "most_raised"):
            kept[name] = tuple(kept[name])
        for name in ("agreement", "agreement_permuted", "agreement_uniform"):
            kept[name] = float("nan") if kept[name] is None else kept[name]
        return cls(**kept)


def edit_and_trace(
    loaded: LoadedModel,
    fit: RelationFit,
    source_word: str,
    subjects: Sequence[str],
    *,
    learning_rate: float = 5e-5,
    max_steps: int = 30,
    optimiser: Optimiser = "adam",
    parameters: Part = "ffn-last-half",
    threshold: float = 0.5,
    seed: int = 0,
) -> Edit:
    """Train until every subject's source prompt gives ``source_word`` with probability ``threshold``, then compare.

    Loss: mean over subjects of ``-log p(word | source prompt)`` over the whole vocabulary. The weights are put back
    bit for bit, also after an error. UsageError for a word outside the source domain or without gold, or a fit of
    another model; NumericError when the loss is not finite.
    """
    refuse_other_model(loaded, fit)
    column = fit.source.column(source_word)
    if not fit.gold[column]:
        raise UsageError(f"{source_word!r} has no gold target, so its edit can't be judged.")
    if not subjects or max_steps < 1 or not 0 < threshold < 1 or not learning_rate > 0:
        raise UsageError(
            f"an edit needs a subject, max_steps of 1 or more, a threshold between 0 and 1 and a positive rate; got "
            f"{len(subjects)} subjects, {max_steps}, {threshold} and {learning_rate}."
        )
    prompts = prompts_of(loaded, fit, subjects)
    chosen = chosen_parameters(loaded, parameters)
    with restored(chosen), only_trainable(loaded.model, chosen):
        before = _both(loaded, fit, prompts)
        update = _optimiser(optimiser, chosen, learning_rate)
        token = fit.source.ids[column]
        steps, probability = _teach(loaded, prompts[0], token, update, max_steps, threshold)
        after = _both(loaded, fit, prompts)
    trace = _trace(fit, before, after, seed)
    return Edit(
        source=source_word,
        steps=steps,
        probability=probability,
        failed=probability < threshold,
        **trace,
        **_answers(fit, column, before[1], after[1]),
    )


def _optimiser(name: Optimiser, chosen: Sequence[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    if name == "adam":
        return torch.optim.Adam(chosen, lr=rate)
    if name == "sgd":
        return torch.optim.SGD(chosen, lr=rate)
    raise UsageError(f"the optimiser must be 'adam' or 'sgd'; got {name!r}.")


@torch.enable_grad()
def _teach(
    loaded: LoadedModel,
    prompts: Sequence[str],
    token: int,
    update: torch.optim.Optimizer,
    max_steps: int,
    threshold: float,
) -> tuple[int, float]:
    """Updates made, and the lowest probability of the token after them."""
    for step in range(max_steps + 1):
        logits_BV = loaded.anatomy.logits(last_hidden(loaded, prompts)).float()
        log_p_B = logits_BV[:, token] - logits_BV.logsumexp(dim=-1)
        lowest = float(log_p_B.detach().exp().min())
        if not np.isfinite(lowest):
            raise NumericError(f"the edit diverged at step {step}: the loss is not finite; use a smaller rate.")
        if lowest >= threshold or step == max_steps:
            return step, lowest
        update.zero_grad(set_to_none=True)
        (-log_p_B.mean()).backward()
        update.step()
    raise AssertionError("the last step returns")


@torch.no_grad()
def _both(loaded: LoadedModel, fit: RelationFit, prompts: tuple[list[str], list[str]]) -> tuple[Tensor, Tensor]:
    """Source and target values ``[K, S]`` and ``[K, T]``, float64 on the host."""
    source = values_of(loaded, last_hidden(loaded, prompts[0]), fit.source.ids, fit.space)
    target = values_of(loaded, last_hidden(loaded, prompts[1]), fit.target.ids, fit.space)
    return source.double().cpu(), target.double().cpu()


def _trace(fit: RelationFit, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor], seed: int) -> dict[str, Any]:
    source, target = after[0] - before[0], after[1] - before[1]
    weight = fit.weight_ST
    generator = np.random.default_rng(seed)
    permuted, uniform = [], []
    for _ in range(SHUFFLES):
        rows = weight[torch.from_numpy(generator.permutation(weight.shape[0]))]
        uniform.append(_agreement(source @ rows, target))
        columns = torch.from_numpy(generator.permutation(weight.shape[1]))
        permuted.append(_agreement((source @ rows)[:, columns], target))
    return {
        "source_change": source.numpy(),
        "target_change": target.numpy(),
        "predicted_change": (source @ weight).numpy(),
        "agreement": _agreement(source @ weight, target),
        "agreement_permuted": float(np.mean(permuted)),
        "agreement_uniform": float(np.mean(uniform)),
    }


def _agreement(predicted: Tensor, measured: Tensor) -> float:
    return float(np.mean([spearman(p, m) for p, m in zip(predicted, measured, strict=True)]))


def _answers(fit: RelationFit, column: int, before: Tensor, after: Tensor) -> dict[str, Any]:
    gold, labels = fit.gold[column], fit.target.labels
    weight_T = fit.weight_ST[column]
    said_before, said, raised = (x.argmax(dim=1).tolist() for x in (before, after, after - before))

    def share(answers: list[int]) -> float:
        return sum(answer in gold for answer in answers) / len(answers)

    right = sorted(gold)
    ranks = [int((weight_T < weight_T[j]).sum()) / (len(labels) - 1) for j in said]
    return {
        "gold": tuple(labels[j] for j in right),
        "before": tuple(labels[j] for j in said_before),
        "after": tuple(labels[j] for j in said),
        "most_raised": tuple(labels[j] for j in raised),
        "success": share(said),
        "success_before": share(said_before),
        "success_by_rise": share(raised),
        "weight_reference": float(weight_T[right].max()),
        "weight_generalised": float(weight_T[said].mean()),
        "weight_largest": float(weight_T.max()),
        "standardized_reference": float(fit.standardized_ST[column][right].max()),
        "generalised_rank": float(np.mean(ranks)),
    }
