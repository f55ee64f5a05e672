"""How rows of text are learned, by an adapter or by every weight, and how well each is known."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from armillary.errors import NumericError, UsageError
from armillary.finetuning.text.adapter import save_adapter, with_adapter
from armillary.finetuning.text.config import TextConfig
from armillary.finetuning.text.rows import Encoding
from armillary.models import LoadedModel
from armillary.models.batches import padded_batches
from armillary.progress import counted
from armillary.training.checkpoints import (
    StepBar,
    TrainableWeightsMixin,
    last_checkpoint,
    only_trainable,
    train_or_resume,
)
from armillary.training.completions import CompletionTrainer, RowData, collated, token_nats
from armillary.training.questions import IGNORED

_POINTS, _SAVES = 100, 10
"""Of the loss curve, and checkpoints, over a whole run."""

_SCORED_AT_ONCE = 4096
"""Tokens of a forward pass that only reads."""


def multiplies_in_bfloat16(device: str | None) -> bool:
    """Whether the device (by default the one that models are opened on) has instructions for bfloat16."""
    if device in (None, "auto", "cuda") and torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device in (None, "mps") and torch.backends.mps.is_available():
        return False  # it computes in float32
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))


def training_steps(config: TextConfig, rows: int) -> int:
    """Optimiser steps of the run."""
    return config.steps or max(1, math.ceil(config.epochs * math.ceil(rows / config.batch_size)))


@dataclass(frozen=True)
class LossPoint:
    """Mean loss (nats a learned token) of the steps since the point before, up to ``step``."""

    step: int
    loss: float


@dataclass(frozen=True)
class Learner:
    """A model of which something can learn."""

    network: nn.Module
    """The model, within PEFT's where it has an adapter."""

    save: Callable[[Path], None]
    """Leaves what was learned in an empty folder."""


@contextmanager
def learning(loaded: LoadedModel, config: TextConfig) -> Iterator[Learner]:
    """Inside, an adapter stands in the model and learns, or every weight does. Errors as in ``lora_config``."""
    if config.rank:
        with with_adapter(loaded, config) as adapted:
            yield Learner(adapted, partial(save_adapter, adapted))
        return

    def save(folder: Path) -> None:
        loaded.model.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)

    with only_trainable(loaded.model, list(loaded.model.parameters())):
        yield Learner(loaded.model, save)


def train_rows(
    loaded: LoadedModel,
    network: nn.Module,
    rows: Sequence[Encoding],
    config: TextConfig,
    checkpoints: Path,
    *,
    points: int = _POINTS,
) -> list[LossPoint]:
    """The loss curve in about so many points; what can learn of ``network`` (``learning``) has learned the rows.

    Checkpoints go to a folder; a run that was killed goes on from the last one there, to the same weights.
    UsageError for several processes, NumericError where the loss stops being finite.
    """
    steps, on_cpu = training_steps(config, len(rows)), loaded.device.type == "cpu"
    arguments = _arguments(config, steps, max(1, steps // points), checkpoints, on_cpu=on_cpu)
    if arguments.world_size > 1:
        raise UsageError(f"armillary train text is for one process; {arguments.world_size} were started.")
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # else the Trainer takes a batch a card, which are more rows a step than the settings say
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    with counted("Tuning (steps)", steps) as bar:
        trainer = _TextTrainer(
            model=network,
            args=arguments,
            train_dataset=cast(Any, RowData(rows)),
            data_collator=cast(Any, collated),
            callbacks=[StepBar(bar), _Finite(config.learning_rate)],
            optimizers=(torch.optim.AdamW(learned, lr=config.learning_rate, weight_decay=0.0), None),
        )
        trainer.loaded = loaded
        # Weights that learn are float32; what they multiply is shorter where that is faster.
        trainer.shortens = not config.rank and config.dtype == "auto" and multiplies_in_bfloat16(config.device)
        # It would print its own summary on stdout, where --json leaves nothing but the record.
        trainer.remove_callback(PrinterCallback)
        train_or_resume(trainer, last_checkpoint(checkpoints))
    network.eval()
    if not all(bool(torch.isfinite(weight).all()) for weight in learned):
        raise _diverged("weights stopped being finite", config.learning_rate)
    curve = {int(line["step"]): float(line["loss"]) for line in reversed(trainer.state.log_history) if "loss" in line}
    return [LossPoint(step, curve[step]) for step in sorted(curve)]


@torch.no_grad()
def row_nats(loaded: LoadedModel, rows: Sequence[Encoding]) -> list[float]:
    """Nats a learned token of each row, a mean over its tokens, in the order given."""
    nats = [0.0] * len(rows)
    for batch in padded_batches([row.ids for row in rows], _SCORED_AT_ONCE):
        chosen = [rows[index] for index in batch]
        inputs = collated(chosen)
        learned_BT = inputs["labels"][:, 1:] != IGNORED
        total_N = token_nats(loaded, {name: value.to(loaded.device) for name, value in inputs.items()})
        for index, of_row in zip(batch, total_N.cpu().split(learned_BT.sum(1).tolist()), strict=True):
            nats[index] = float(of_row.double().mean())
    return nats


class _TextTrainer(TrainableWeightsMixin, CompletionTrainer):
    """Its checkpoints hold what is trained alone."""


class _Finite(TrainerCallback):
    """Stops a training whose loss is no number any more."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Looks at each point of the loss curve."""
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise _diverged(f"loss was {loss} at step {state.global_step}", self.rate)


def _diverged(what: str, rate: float) -> NumericError:
    return NumericError(f"the {what}: the training diverged; give a lower learning_rate than {rate:g}.")


def _arguments(config: TextConfig, steps: int, every: int, folder: Path, *, on_cpu: bool) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=config.batch_size,
        lr_scheduler_type="linear",
        warmup_steps=math.ceil(config.warmup * steps),
        weight_decay=0.0,
        save_strategy="steps",
        save_steps=every * max(1, math.ceil(steps / _SAVES / every)),
        save_total_limit=2,
        logging_steps=every,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        seed=config.seed,
        data_seed=config.seed,
        use_cpu=on_cpu,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
