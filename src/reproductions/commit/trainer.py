"""One training of an image-text model with named components, watched: balance, rates and gradient norms.

Baselines are trained by the component trainer with a monitor beside it, CoMMIT by its own trainer; both compute logits
only where an answer stands.
"""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from armillary.methods.commit import BalanceMonitor, CoMMITConfig
from armillary.methods.commit.trainer import CoMMITMixin
from armillary.progress import Counter, counted
from armillary.training.components import FEATURE_ENCODER, LLM, ComponentMixin, RatesLog
from armillary.training.questions import answer_loss, answer_positions
from reproductions.commit.scale import Rates

Record = dict[str, Any]
"""``steps`` at which ``log_kappa`` was measured; at the ``noted`` ones ``rates`` and ``norms`` of each component."""


class WatchedTrainer(Trainer):
    """The stock Trainer with the answers' loss, which notes the gradient norm of each component before clipping."""

    norms: dict[int, dict[str, float]]

    @property
    def monitor(self) -> BalanceMonitor:
        """The callback that measures the balance."""
        return next(one for one in self.callback_handler.callbacks if isinstance(one, BalanceMonitor))

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
            self.norms[self.state.global_step] = _norms(self.optimizer.param_groups)
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


def trained(trainer: WatchedTrainer, title: str) -> Record:
    """The record of the whole training; a bar of ours where there is a title. The model ends in eval mode."""
    # It would print its own summary on stdout, where --json leaves nothing but the record.
    trainer.remove_callback(PrinterCallback)
    with counted(title, trainer.args.max_steps) as bar, _little_to_collect():
        trainer.add_callback(_Bar(bar))
        trainer.train()
    assert trainer.model is not None
    trainer.model.eval()
    return _record(trainer)


def _record(trainer: WatchedTrainer) -> Record:
    controller = trainer.monitor.controller
    assert controller is not None
    log = next(one for one in trainer.callback_handler.callbacks if isinstance(one, RatesLog))
    noted = sorted(trainer.norms)
    return {
        "steps": [probe.step for probe in controller.trace],
        "log_kappa": controller.log_kappas,
        "noted": noted,
        "rates": {
            name: [log.steps[step][f"learning_rate/{name}"] for step in noted] for name in (FEATURE_ENCODER, LLM)
        },
        "norms": {name: [trainer.norms[step][name] for step in noted] for name in (FEATURE_ENCODER, LLM)},
    }


def _norms(groups: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Euclidean norm of the gradients of all groups of one name."""
    found: dict[str, list[Tensor]] = {}
    for group in groups:
        gradients = [parameter.grad for parameter in group["params"] if parameter.grad is not None]
        found.setdefault(group["name"], []).extend(gradients)
    return {
        name: float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0
        for name, gradients in found.items()
    }


@contextmanager
def _little_to_collect() -> Iterator[None]:
    """Inside, what exists is no garbage to look through: the Trainer collects before every training, for seconds."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class _Bar(TrainerCallback):
    def __init__(self, bar: Counter) -> None:
        self._bar = bar

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._bar.advance()
