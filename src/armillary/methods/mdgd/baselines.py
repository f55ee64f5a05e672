"""What else keeps old skills, in the shapes that MDGD has: settings, trainer mixins, edits of weights, PEFT settings.

None of these is the paper's method; each is named with its source.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Trainer

from armillary.errors import UsageError
from armillary.methods.mdgd.drift import OWN_COLUMNS
from armillary.methods.mdgd.masking import topk_mask
from armillary.methods.mdgd.reference import frozen_copy
from armillary.models.vision import find_vision_anatomy
from armillary.training.second_gradient import Gradients, SecondGradientMixin

if TYPE_CHECKING:
    from peft import LoraConfig, OSFConfig

BASELINES: dict[str, dict[str, Any]] = {
    "fine_tuning": {"projection": "none", "visual_align_weight": 0.0},
    "align_only": {"projection": "none", "visual_align_weight": 1.0},
    "project_only_full": {"projection": "full", "visual_align_weight": 0.0},
    "project_only_conflict": {"projection": "conflict", "visual_align_weight": 0.0},
    "random_direction": {"projection": "full", "projection_direction": "random", "visual_align_weight": 0.0},
    "text_gradient": {"projection": "none", "visual_align_weight": 0.0, "task_gradient": "text"},
    "random_mask": {"preset": "paper", "mask_ratio": 0.1, "mask_score": "random"},
}
"""Arms that are settings of the same trainer, as keyword arguments of ``MDGDSettings`` or ``MDGDConfig``;
``random_direction`` and ``random_mask`` are controls."""


class L2SPMixin(SecondGradientMixin):
    """L2-SP (Li, Grandvalet and Davoine 2018): ``weight / 2 |theta - theta_0|^2`` added to the loss.

    ``theta_0`` are the weights at construction, so a resumed trainer must be given those. Memory: one copy of them.
    """

    own_columns = OWN_COLUMNS

    def __init__(self, *args: Any, weight: float = 0.01, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if weight < 0:
            raise UsageError(f"the weight of L2-SP must be 0 or more; got {weight}.")
        self.weight = weight
        self._start = {parameter: parameter.detach().clone() for parameter in self.trainable()}

    def edit_gradients(self, model: nn.Module, second: Gradients) -> None:
        """Adds ``weight * (theta - theta_0)``."""
        for parameter in self.trainable():
            if parameter.grad is not None:  # one without a gradient is where it began
                parameter.grad.add_(parameter - self._start[parameter].to(parameter.device), alpha=self.weight)


class DistillationMixin(SecondGradientMixin):
    """Learning without forgetting (Li and Hoiem 2016): the old answers to old kinds of question are kept.

    ``replay`` are collated batches of prompts of the pre-trained kinds, one of them a micro-batch in turn; the loss is
    the Kullback-Leibler divergence of the old answer distribution from the new, mean over the positions whose
    ``labels`` are not -100 (all attended ones without labels), times ``weight``. The old model is a frozen copy made
    at construction. Costs one forward of each model a micro-batch.
    """

    own_columns = OWN_COLUMNS

    def __init__(self, *args: Any, replay: Sequence[Mapping[str, Any]], weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not replay or weight < 0:
            raise UsageError(f"give at least one replay batch and a weight of 0 or more; got {len(replay)}, {weight}.")
        self.replay, self.weight = list(replay), weight
        self._old = frozen_copy(self.network)
        self._turn = 0

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The stock micro-batches; the replay goes on from the step's number, so that resuming finds its place."""
        self._turn = self.state.global_step * self.args.gradient_accumulation_steps
        return super().get_batch_samples(*args, **kwargs)

    def second_loss(self, model: nn.Module, inputs: dict[str, Any], outputs: Any, seen: Any) -> Tensor | None:
        """The divergence on the replay batch whose turn it is."""
        batch = self._prepare_inputs(dict(self.replay[self._turn % len(self.replay)]))
        self._turn += 1
        # Positions whose next token is part of an answer, or attended where there are no labels.
        if "labels" in batch:
            used = batch.pop("labels")[:, 1:] != -100
        else:
            mask = batch.get("attention_mask")
            used = (torch.ones_like(batch["input_ids"]) if mask is None else mask)[:, 1:].bool()
        with torch.no_grad(), self.accelerator.autocast():
            old = self._old(**batch).logits[:, :-1][used]
        with self.accelerator.autocast():
            new = self.network(**batch).logits[:, :-1][used]
        old_log, new_log = functional.log_softmax(old.float(), -1), functional.log_softmax(new.float(), -1)
        loss = functional.kl_div(new_log, old_log, reduction="batchmean", log_target=True)
        self.note("distillation", loss)
        return loss

    def edit_gradients(self, model: nn.Module, second: Gradients) -> None:
        """Adds ``weight`` times the divergence's gradient."""
        for parameter, gradient in second.items():
            if parameter.grad is None:
                parameter.grad = self.weight * gradient
            else:
                parameter.grad.add_(gradient, alpha=self.weight)


class L2SPTrainer(L2SPMixin, Trainer):
    """The stock Trainer with L2-SP."""


class DistillationTrainer(DistillationMixin, Trainer):
    """The stock Trainer with learning without forgetting."""


def trainable_weights(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the trainable weights by name, on the CPU: ``theta_0`` for what follows."""
    return {name: p.detach().cpu().clone() for name, p in model.named_parameters() if p.requires_grad}


@torch.no_grad()
def interpolate_(model: nn.Module, before: Mapping[str, Tensor], share: float = 0.5) -> None:
    """WiSE-FT (Wortsman and others 2022): weights become ``(1 - share) * before + share * after``, in place."""
    if not 0 <= share <= 1:
        raise UsageError(f"the share of the tuned weights must lie between 0 and 1; got {share}.")
    for _, parameter, old in _named_pairs(model, before):
        parameter.copy_(torch.lerp(old.float(), parameter.float(), share))


@torch.no_grad()
def keep_patch_(
    model: nn.Module,
    before: Mapping[str, Tensor],
    sensitivity: Mapping[str, Tensor] | None = None,
    ratio: float = 0.1,
) -> float:
    """A patch after the manner of Model Tailor (Zhu and others 2024): only the most important changes stay.

    Of each tensor the ``ratio`` of entries with the largest ``|after - before| * sensitivity`` keep their tuned value
    and all others go back, in place; ``sensitivity`` (such as mean absolute task gradients) counts as 1 where it is
    not given. Its compensation of the patch is left out. Returns the share of entries kept.
    """
    kept = entries = 0
    for name, parameter, old in _named_pairs(model, before):
        score = (parameter.float() - old.float()).abs()
        if sensitivity is not None and name in sensitivity:
            score = score * sensitivity[name].to(parameter.device).abs().float()
        mask = topk_mask(score, ratio)
        parameter.copy_(torch.where(mask, parameter, old.to(parameter.dtype)))
        kept, entries = kept + int(mask.sum()), entries + mask.numel()
    return kept / max(1, entries)


def _named_pairs(model: nn.Module, before: Mapping[str, Tensor]) -> list[tuple[str, nn.Parameter, Tensor]]:
    parameters = dict(model.named_parameters())
    missing = sorted(set(before) - set(parameters))
    if missing or not before:
        raise UsageError(f"the weights before tuning hold {missing[:3] or 'nothing'}, which the model has not.")
    return [(name, parameters[name], old.to(parameters[name].device)) for name, old in before.items()]


def language_lora(model: nn.Module, rank: int = 8, **settings: Any) -> "LoraConfig":
    """PEFT settings of LoRA (Hu and others 2021) on all matrices of the language model's layers and no others."""
    from peft import LoraConfig

    return LoraConfig(**{"r": rank, "lora_alpha": 2 * rank, "target_modules": _matrices(model), **settings})


def orthogonal_subspace(model: nn.Module, keep: float = 0.5, **settings: Any) -> "OSFConfig":
    """PEFT settings of orthogonal subspace fine-tuning on the language model's layers.

    The ``keep`` largest share of each matrix's singular directions stays fixed.
    """
    from peft import OSFConfig

    return OSFConfig(**{"effective_rank": keep, "target_modules": _matrices(model), **settings})


def _matrices(model: nn.Module) -> list[str]:
    """Full names of the Linear modules inside the decoder's layers."""
    inside = {module for layer in find_vision_anatomy(model).layers for module in layer.modules()}
    return [name for name, module in model.named_modules() if module in inside and isinstance(module, nn.Linear)]
