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
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from armillary.methods.commit import BalanceMonitor, CoMMITConfig, CoMMITController
from armillary.methods.commit.trainer import CoMMITMixin
from armillary.training.components import (
    FEATURE_ENCODER,
    LLM,
    ComponentMixin,
    RateMultipliers,
    RatesLog,
    set_multipliers,
)
from armillary.training.questions import answer_loss, answer_positions
from reproductions.commit.scale import Rates
from reproductions.images.training import little_to_collect, train


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """What was measured over one training."""

    steps: list[int]
    """At which ``log_kappa`` was measured."""

    log_kappa: list[float]
    changes: dict[str, list[float]]
    """Component -> what its step alone changed, nats a token, at each probe."""

    multipliers: dict[str, list[float]]
    """Component -> rate multiplier that each probe set."""

    floors: list[float]
    """What rounding alone reads as at each probe, nats a token."""

    below_floor: int
    """Probes that were no more than rounding, and are in none of the lists."""

    noted: list[int]
    """Steps at which the ``rates`` of each component (by name) were read: those that may be probed."""

    rates: dict[str, list[float]]
    losses: list[float]
    """Training loss of every step, the task's alone, nats a token."""

    norms: dict[str, list[float]]
    """Component -> gradient norm of every step before clipping."""

    @property
    def later(self) -> list[float]:
        """Log kappa over the second half of the probes."""
        return self.log_kappa[len(self.log_kappa) // 2 :]

    @property
    def above_floor(self) -> float:
        """Share of the probes that were more than rounding; NaN without a probe."""
        probes = len(self.steps) + self.below_floor
        return len(self.steps) / probes if probes else float("nan")

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
    """The stock Trainer with the answers' loss, which notes it and each component's gradient norm before clipping."""

    losses: list[float]
    norms: list[dict[str, float]]

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
        if model.training:
            self.losses.append(float(loss.detach()))
        return (loss, outputs) if return_outputs else loss

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """The stock step; gradient norms are read after it."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        gradients: dict[str, list[Tensor]] = {}
        assert self.optimizer is not None
        for group in self.optimizer.param_groups:
            some = [parameter.grad for parameter in group["params"] if parameter.grad is not None]
            gradients.setdefault(group["name"], []).extend(some)
        self.norms.append(
            {name: float(torch.nn.utils.get_total_norm(some)) if some else 0.0 for name, some in gradients.items()}
        )
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
    trainer.losses, trainer.norms = [], []
    return trainer


def trained(trainer: WatchedTrainer, title: str = "") -> TrainingRecord:
    """The record of the whole training; a bar of ours where there is a title. The model ends in eval mode."""
    with little_to_collect():
        train(trainer, title, trainer.args.max_steps)
    controller, parts = trainer.controller, (FEATURE_ENCODER, LLM)
    noted = list(range(0, len(trainer.norms), trainer.monitor.config.interval))
    by_name = {name: controller.names.index(name) for name in parts}
    return TrainingRecord(
        steps=[probe.step for probe in controller.trace],
        log_kappa=controller.log_kappas,
        changes={name: [probe.changes[index] for probe in controller.trace] for name, index in by_name.items()},
        multipliers={
            name: [probe.multipliers[index] for probe in controller.trace] for name, index in by_name.items()
        },
        floors=[probe.floor for probe in controller.trace],
        below_floor=controller.below_floor,
        noted=noted,
        rates={name: [trainer.rates[step][f"learning_rate/{name}"] for step in noted] for name in parts},
        losses=trainer.losses,
        norms={name: [norms[name] for norms in trainer.norms] for name in parts},
    )


class ShuffledMultipliers(RateMultipliers):
    """Multipliers of a CoMMIT run drawn at random in its place: as large, but knowing nothing of the balance.

    At each step that CoMMIT would probe, one of the run's pairs is drawn, and which component gets which.
    """

    def __init__(self, record: TrainingRecord, interval: int, first: int, seed: int) -> None:
        """``record`` is the run's; from step ``first`` on every ``interval`` steps."""
        super().__init__()
        self.pairs = list(zip(record.multipliers[FEATURE_ENCODER], record.multipliers[LLM], strict=True)) or [
            (1.0, 1.0)
        ]
        self.interval, self.first, self.draw = interval, first, np.random.default_rng(seed)

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        super().on_optimizer_step(args, state, control, **kwargs)
        if state.global_step % self.interval == 0 and state.global_step >= self.first:
            pair = self.pairs[int(self.draw.integers(len(self.pairs)))]
            order = (FEATURE_ENCODER, LLM) if self.draw.integers(2) else (LLM, FEATURE_ENCODER)
            set_multipliers(kwargs["optimizer"], dict(zip(order, pair, strict=True)))


def exchanged(multipliers: Mapping[str, float]) -> dict[str, float]:
    """Each component gets the other's."""
    return {FEATURE_ENCODER: multipliers[LLM], LLM: multipliers[FEATURE_ENCODER]}
