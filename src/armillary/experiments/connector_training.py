"""Stage 1 of an image-text model: only the connector learns, from questions about pictures (LLaVA, section 4.2).

[derived] The mix of questions and the settings are ours; LLaVA's first stage captions pictures.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import Dataset
from transformers import LlavaForConditionalGeneration, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from armillary.data.emoji import Emoji
from armillary.data.picture_tasks import PictureExample, PictureTask, picture_examples
from armillary.errors import NumericError
from armillary.models.vision import find_vision_anatomy
from armillary.progress import counted
from armillary.scoring.answers import answer_log_probabilities
from armillary.training.answer_loss import answer_loss, with_answer_positions
from armillary.training.checkpoint_weights import train_or_resume
from armillary.training.picture_rows import PictureRows
from armillary.training.step_bar import StepBar
from armillary.training.trainable import only_trainable
from armillary.training.trainable_weights import TrainableWeightsMixin, last_checkpoint

MIX: tuple[PictureTask, ...] = ("name", "group", "style", "colour", "keyword")
"""Tasks that are learned, each as often as the others while its pictures last."""

_SCORED_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class ConnectorTraining:
    """AdamW with a cosine schedule."""

    steps: int = 500
    batch_size: int = 8
    learning_rate: float = 1e-3
    warmup: float = 0.03
    """Share of the steps in which the rate rises."""

    save_every: int = 50
    """Steps between checkpoints."""

    seed: int = 0


def mixed_examples(emoji: Emoji, split: str, count: int, *, seed: int) -> list[PictureExample]:
    """About ``count`` examples of the mix in a random order; fewer where a task has no more pictures."""
    each = max(2, math.ceil(count / len(MIX)))
    examples = [example for task in MIX for example in picture_examples(emoji, task, split, limit=each, seed=seed)]
    random.Random(f"mix {split} {seed}").shuffle(examples)
    return examples


def train_connector(
    model: LlavaForConditionalGeneration,
    rows: PictureRows,
    examples: Sequence[PictureExample],
    settings: ConnectorTraining,
    folder: Path,
    *,
    callbacks: Sequence[TrainerCallback] = (),
) -> list[tuple[int, float]]:
    """Trains the connector in place; (step, mean training loss in nats since the step before) along the way.

    Checkpoints of the connector alone go to ``folder``; a run that was killed goes on from the last one there, to the
    same weights. With stored states in ``rows`` call it inside ``stored_states(model)``. NumericError where the loss
    stops being finite.
    """
    connector = find_vision_anatomy(model).connector
    assert connector is not None
    with only_trainable(model, list(connector.parameters())), counted("Training the connector", settings.steps) as bar:
        trainer = _ConnectorTrainer(
            model=model,
            args=_arguments(settings, folder, on_cpu=model.device.type == "cpu"),
            train_dataset=_Rows([rows.row(example) for example in examples]),
            data_collator=with_answer_positions(rows.collate),
            compute_loss_func=answer_loss,
            callbacks=[StepBar(bar), *callbacks],
        )
        # It would print its own summary on stdout, where --json leaves nothing but the record.
        trainer.remove_callback(PrinterCallback)
        train_or_resume(trainer, last_checkpoint(folder))
    model.eval()
    curve = [(int(log["step"]), float(log["loss"])) for log in trainer.state.log_history if "loss" in log]
    if not all(math.isfinite(loss) for _, loss in curve) or not _finite(connector):
        raise NumericError(
            f"the training loss stopped being finite; lower the learning rate of {settings.learning_rate:g}."
        )
    return curve


def answer_nats(
    model: LlavaForConditionalGeneration, rows: PictureRows, examples: Sequence[PictureExample]
) -> NDArray[np.float64]:
    """Negative log-likelihood (nats a token) of each right answer with its end token."""
    found = []
    for start in range(0, len(examples), _SCORED_AT_ONCE):
        asked = examples[start : start + _SCORED_AT_ONCE]
        prompts = rows.collate([rows.row(example, answered=False) for example in asked])
        scores = answer_log_probabilities(model, prompts, [[rows.answer(example.answer)] for example in asked])
        found += [-float(score.mean[0]) for score in scores]
    return np.array(found)


class _ConnectorTrainer(TrainableWeightsMixin, Trainer):
    """The stock Trainer; its checkpoints hold the connector alone."""


class _Rows(Dataset[dict[str, Any]]):
    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._rows[index]


def _arguments(settings: ConnectorTraining, folder: Path, *, on_cpu: bool) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(settings.warmup * settings.steps),
        weight_decay=0.0,
        save_strategy="steps",
        save_steps=settings.save_every,
        save_total_limit=2,
        logging_steps=max(1, settings.steps // 40),
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        seed=settings.seed,
        data_seed=settings.seed,
        use_cpu=on_cpu,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )


def _finite(module: nn.Module) -> bool:
    return all(bool(torch.isfinite(cast(torch.Tensor, weight)).all()) for weight in module.parameters())
