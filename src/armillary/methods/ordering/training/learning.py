"""A model learns rows in one order: the stock Trainer, the head asked at learned tokens alone, batches by length."""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import TrainerCallback, TrainingArguments, get_cosine_schedule_with_warmup
from transformers.trainer_callback import PrinterCallback

from armillary.errors import NumericError
from armillary.methods.ordering.training.config import BETAS, LearningConfig
from armillary.methods.ordering.training.rows import OrderedRows
from armillary.models.loaded import LoadedModel
from armillary.progress import counted
from armillary.training.checkpoints import StepBar, last_checkpoint, only_trainable, train_or_resume
from armillary.training.completions import Batch, CompletionTrainer, LearnedRow, RowData, collated

_POINTS, _SAVES = 50, 10
"""Of the loss curve, and checkpoints, over a whole training."""

Reading = dict[str, float | str]
"""Plain data by name."""


@dataclass(frozen=True, kw_only=True)
class Learned:
    """How a training went; the model itself was changed in place."""

    start: str
    """Fingerprint of the weights that it began with."""

    steps: int
    losses: list[tuple[int, float]]
    """(step, mean loss in nats a learned token since the point before)."""

    readings: list[tuple[int, Reading]]
    """(step, what was read there)."""


def learn(
    loaded: LoadedModel,
    rows: OrderedRows,
    config: LearningConfig,
    *,
    checkpoints: Path | None = None,
    read_at: Sequence[int] = (),
    read: Callable[[], Reading] = dict,
    label: str | None = None,
) -> Learned:
    """Every weight learns the rows: cross-entropy of the completions, AdamW, warm-up and cosine decay.

    ``read`` is called after the steps ``read_at`` with the model in eval mode; it must draw from no global generator.
    A training that was killed goes on from the last checkpoint of the folder ``checkpoints``, to the same weights.
    NumericError where the loss or the weights stop being finite.
    """
    start = loaded.fingerprint
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if checkpoints is None else checkpoints
        arguments = _arguments(config, folder, saves=checkpoints is not None, on_cpu=loaded.device.type == "cpu")
        model = loaded.model
        with only_trainable(model, list(model.parameters())), counted(label, config.steps) as bar:
            optimiser = torch.optim.AdamW(
                model.parameters(),
                lr=config.learning_rate,
                betas=BETAS,
                weight_decay=config.weight_decay,
                fused=loaded.device.type in ("cpu", "cuda"),  # one pass over the weights in place of a dozen
            )
            rate = get_cosine_schedule_with_warmup(
                optimiser, min(config.warmup_steps, config.steps // 2), config.steps
            )
            trainer = CompletionTrainer(
                model=model,
                args=arguments,
                train_dataset=cast(Any, RowData(rows)),
                data_collator=cast(Any, unmasked),
                callbacks=[StepBar(bar), _Read(read_at, read)],
                optimizers=(optimiser, rate),
            )
            trainer.loaded = loaded
            trainer.remove_callback(PrinterCallback)
            train_or_resume(trainer, None if checkpoints is None else last_checkpoint(folder))
            history = cast("list[dict[str, Any]]", trainer.state.log_history)
    model.eval()
    losses = [(int(line["step"]), float(line["loss"])) for line in history if "loss" in line]
    finite = all(math.isfinite(loss) for _, loss in losses)
    if not finite or not all(bool(torch.isfinite(weight).all()) for weight in model.parameters()):
        raise NumericError(f"the training diverged; give a lower learning_rate than {config.learning_rate:g}.")
    readings = [(int(line["step"]), cast(Reading, line["reading"])) for line in history if "reading" in line]
    return Learned(start=start, steps=config.steps, losses=losses, readings=readings)


def unmasked(rows: Sequence[LearnedRow]) -> Batch:
    """Padding stands behind, where no row of a causal model sees it; without a mask attention takes its fast path."""
    batch = collated(rows)
    del batch["attention_mask"]
    return batch


class _Read(TrainerCallback):
    """Reads after certain steps; readings stay with the Trainer's log, so that a resumed run has the earlier ones."""

    def __init__(self, steps: Sequence[int], read: Callable[[], Reading]) -> None:
        self.steps, self.read = set(steps), read

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before a checkpoint of the same step is written."""
        if state.global_step in self.steps:
            model = cast(nn.Module, kwargs["model"])
            model.eval()
            state.log_history.append({"step": state.global_step, "reading": self.read()})
            model.train()


def _arguments(config: LearningConfig, folder: Path, *, saves: bool, on_cpu: bool) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=config.steps,
        per_device_train_batch_size=config.batch_size,
        max_grad_norm=config.clip,
        save_strategy="steps" if saves else "no",
        save_steps=config.save_steps or max(1, config.steps // _SAVES),
        save_total_limit=2,
        logging_steps=max(1, config.steps // _POINTS),
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        seed=config.seed,
        data_seed=config.seed,
        use_cpu=on_cpu,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
