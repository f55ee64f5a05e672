"""One training of an image-text model with named components, watched: balance, rates and gradient norms.

Baselines are trained by the component trainer with a monitor beside it, CoMMIT by its own trainer; both compute logits
only where an answer stands.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from armillary.methods.commit import BalanceMonitor, CoMMITConfig, CoMMITController
from armillary.methods.commit.trainer import CoMMITMixin
from armillary.training.components import FEATURE_ENCODER, LLM, ComponentMixin, RatesLog
from armillary.training.questions import answer_loss, answer_positions
from reproductions.commit.scale import Rates
from reproductions.images.training import little_to_collect, train


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """What was measured over one training."""

    steps: list[int]
    """At which ``log_kappa`` was measured."""

    log_kappa: list[float]
    noted: list[int]
    """Steps at which ``rates`` and ``norms`` of each component (by name) were read."""

    rates: dict[str, list[float]]
    norms: dict[str, list[float]]

    @property
    def later(self) -> list[float]:
        """Log kappa over the second half of the probes."""
        return self.log_kappa[len(self.log_kappa) // 2 :]

    @property
    def oscillation(self) -> float | None:
        """Standard deviation of log kappa over the second half; None where fewer than two probes are left."""
        return float(np.std(self.later, ddof=1)) if len(self.later) > 1 else None

    @property
    def kappas(self) -> list[float | None]:
        """Log kappa at each noted step, None where no probe was usable."""
        known = dict(zip(self.steps, self.log_kappa, strict=True))
        return [known.get(step) for step in self.noted]


class WatchedTrainer(Trainer):
    """The stock Trainer with the answers' loss, which notes the gradient norm of each component before clipping."""

    norms: dict[int, dict[str, float]]

    @property
    def monitor(self) -> BalanceMonitor:
        """The callback that measures the balance."""
        return next(one for one in self.callback_handler.callbacks if isinstance(one, BalanceMonitor))

    @property
    def controller(self) -> CoMMITController:
        """Of a training that has begun."""
        controller = self.monitor.controller
        assert controller is not None
        return controller

    @property
    def rates(self) -> list[dict[str, float]]:
        """``learning_rate/<component>`` in every step."""
        return next(one for one in self.callback_handler.callbacks if isinstance(one, RatesLog)).steps

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Mean negative log-likelihood of the answers' tokens; the batch is handed to the monitor."""
        labels = inputs["labels"]
        given = {name: value for name, value in inputs.items() if name != "labels"}
        if model.training:
            self.monitor.capture(inputs)
        outputs = model(**given, logits_to_keep=answer_positions(labels))
        loss = answer_loss(outputs, labels, num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """The stock step; gradient norms are read on the steps that may be probed."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.state.global_step % self.monitor.config.interval == 0 and self.optimizer is not None:
            gradients: dict[str, list[Tensor]] = {}
            for group in self.optimizer.param_groups:
                some = [parameter.grad for parameter in group["params"] if parameter.grad is not None]
                gradients.setdefault(group["name"], []).extend(some)
            self.norms[self.state.global_step] = {
                name: float(torch.nn.utils.get_total_norm(some)) if some else 0.0 for name, some in gradients.items()
            }
        return loss


class BaselineTrainer(ComponentMixin, WatchedTrainer):
    """With component groups."""


class ScheduledTrainer(CoMMITMixin, WatchedTrainer):
    """With CoMMIT."""


def trainer_of(
    model: nn.Module,
    arguments: TrainingArguments,
    rows: Sequence[Any],
    collate: Callable[[Sequence[Mapping[str, Any]]], dict[str, Tensor]],
    rates: Rates,
    config: CoMMITConfig,
    *,
    watched_only: bool,
    callbacks: Sequence[TrainerCallback] = (),
) -> WatchedTrainer:
    """A trainer of vision connector and language model at these rates, which probes as ``config`` says.

    With ``watched_only`` the balance is measured and nothing done about it.
    """
    given: dict[str, Any] = {
        "model": model,
        "args": arguments,
        "train_dataset": rows,
        "data_collator": collate,
        "learning_rates": dict(zip((FEATURE_ENCODER, LLM), rates, strict=True)),
    }
    trainer: WatchedTrainer
    if watched_only:
        trainer = BaselineTrainer(**given, callbacks=[BalanceMonitor(config), *callbacks])
    else:
        trainer = ScheduledTrainer(**given, commit=config, callbacks=list(callbacks))
    trainer.norms = {}
    return trainer


def trained(trainer: WatchedTrainer, title: str = "") -> TrainingRecord:
    """The record of the whole training; a bar of ours where there is a title. The model ends in eval mode."""
    with little_to_collect():
        train(trainer, title, trainer.args.max_steps)
    controller, noted, parts = trainer.controller, sorted(trainer.norms), (FEATURE_ENCODER, LLM)
    return TrainingRecord(
        steps=[probe.step for probe in controller.trace],
        log_kappa=controller.log_kappas,
        noted=noted,
        rates={name: [trainer.rates[step][f"learning_rate/{name}"] for step in noted] for name in parts},
        norms={name: [trainer.norms[step][name] for step in noted] for name in parts},
    )


def exchanged(multipliers: Mapping[str, float]) -> dict[str, float]:
    """Each component gets the other's."""
    return {FEATURE_ENCODER: multipliers[LLM], LLM: multipliers[FEATURE_ENCODER]}
