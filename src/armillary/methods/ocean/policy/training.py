"""The graph's policy as a causal model: verbalised paths learned by what each is worth."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from transformers import PreTrainedModel, Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from armillary.errors import NumericError, UsageError
from armillary.methods.ocean.objectives import weighted_likelihood
from armillary.methods.ocean.policy.verbalising import VerbalisedPath
from armillary.methods.ocean.rows import ChainRow, LoggedChain, read_chains, token_rows
from armillary.methods.ocean.scores import ChainBatch, token_log_probs
from armillary.models.loaded import LoadedModel
from armillary.models.quiet import quiet
from armillary.progress import counted
from armillary.training.checkpoints import StepBar, last_checkpoint, train_or_resume


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """How the graph's policy is trained; no source gives the paper's settings, all are ours."""

    learning_rate: float = 1e-4
    epochs: float = 3
    max_steps: int = -1
    """Optimiser steps in place of ``epochs``; -1 leaves it to them."""

    batch_size: int = 8
    accumulation: int = 1
    warmup_steps: int = 0
    weight_decay: float = 0.01
    separator: str = "\n"
    """Between question and steps; the same as in ``OceanSettings``."""

    max_length: int | None = 1024
    save_steps: int = 50
    """Optimiser steps between checkpoints from which a killed training goes on."""

    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulation", "save_steps"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more, got {getattr(self, name)}.")
        if not self.learning_rate > 0 or not self.epochs > 0:
            raise UsageError(f"learning_rate and epochs must be above 0, got {self.learning_rate} and {self.epochs}.")
        if self.max_steps != -1 and self.max_steps < 1:
            raise UsageError(f"max_steps must be 1 or more, or -1 for none, got {self.max_steps}.")


@dataclass(frozen=True)
class TrainedPolicy:
    """The trained model, and what the training saw."""

    model: PreTrainedModel
    losses: list[float]
    """Weighted nats a token of each logged step."""

    paths: int
    """Paths with a reward above 0."""

    reward: float
    """Mean reward of all paths."""


@dataclass(frozen=True)
class _Weighted:
    row: ChainRow
    reward: float


def train_kg_policy(
    loaded: LoadedModel,
    paths: Sequence[VerbalisedPath],
    rewards: ArrayLike,
    config: PolicyConfig = PolicyConfig(),
    *,
    checkpoints: Path | None = None,
    label: str = "OCEAN: graph policy",
) -> TrainedPolicy:
    """Reward-weighted maximum likelihood of the chains behind their questions; ``loaded.model`` is trained in place.

    ``rewards`` are ``consistency``'s, one a path. Each path is read behind each of its questions in turn. With
    ``checkpoints`` a killed training goes on from its last one. UsageError for rewards outside 0 to 1, another number
    of them, and where all are 0: then nothing says which path is better. NumericError where the training diverges.
    """
    worth = np.asarray(rewards, np.float64)
    if worth.shape != (len(paths),) or not ((worth >= 0) & (worth <= 1)).all():
        raise UsageError(f"rewards must be one number between 0 and 1 for each of the {len(paths)} paths.")
    if not worth.any():
        raise UsageError(
            "every reward is 0, so there is no signal to train the graph's policy by: the reader answers no question "
            "rightly with its chain; give other sentences, or another reader."
        )
    chains: list[LoggedChain] = []
    repeated: list[float] = []
    for path, reward in zip(paths, worth, strict=True):
        if reward > 0:
            chains += read_chains(path.row(question) for question in range(len(path.questions)))
            repeated += [float(reward)] * len(path.questions)
    tokens = token_rows(loaded.tokenizer, chains, separator=config.separator, max_length=config.max_length)
    rows = [_Weighted(row, repeated[kept]) for row, kept in zip(tokens.rows, tokens.kept, strict=True)]
    with nullcontext(checkpoints) if checkpoints is not None else tempfile.TemporaryDirectory() as folder:
        trainer = _PolicyTrainer(
            model=loaded.model,
            args=_arguments(config, Path(folder), loaded, keeps=checkpoints is not None),
            train_dataset=cast(Any, rows),
            data_collator=cast(Any, _collated),
        )
        trainer.loss_is_scaled_for_ga = True  # by the weight of the step's tokens, summed below
        trainer.remove_callback(PrinterCallback)
        with quiet(), counted(label, trainer.args.max_steps if config.max_steps > 0 else None) as bar:
            trainer.add_callback(StepBar(bar))
            train_or_resume(trainer, None if checkpoints is None else last_checkpoint(checkpoints))
    losses = [float(line["loss"]) for line in trainer.state.log_history if "loss" in line]
    if not np.isfinite(losses).all():
        raise NumericError(
            "the loss of the graph's policy is not finite: the training diverged; give a lower learning rate."
        )
    return TrainedPolicy(loaded.model.eval(), losses, int((worth > 0).sum()), float(worth.mean()))


class _PolicyTrainer(Trainer):
    """A step's loss is a mean over its tokens, weighted by their chains' rewards."""

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        weights = [((batch["step_ids"] >= 0).sum(1) * batch["reward"]).sum() for batch in batches]
        total = torch.stack(weights).sum().to(device) if weights else torch.zeros((), device=device)
        if self.accelerator.num_processes > 1:
            total = cast(Tensor, self.accelerator.reduce(total, reduction="sum"))
        return batches, total

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        batch = ChainBatch(*(inputs[name] for name in ("input_ids", "attention_mask", "step_ids", "span_ids")))
        loss = weighted_likelihood(token_log_probs(model, batch), batch.scored_BL, inputs["reward"])
        if num_items_in_batch is not None:
            own = (batch.scored_BL.sum(1) * inputs["reward"]).sum()
            loss = loss * own / num_items_in_batch * self.accelerator.num_processes
        return (loss, None) if return_outputs else loss


def _collated(rows: Sequence[_Weighted]) -> dict[str, Tensor]:
    batch = ChainBatch.of([row.row for row in rows])
    return {
        "input_ids": batch.input_ids_BL,
        "attention_mask": batch.attention_mask_BL,
        "step_ids": batch.step_ids_BL,
        "span_ids": batch.span_ids_BL,
        "reward": torch.tensor([row.reward for row in rows]),
    }


def _arguments(config: PolicyConfig, folder: Path, loaded: LoadedModel, *, keeps: bool) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        learning_rate=config.learning_rate,
        num_train_epochs=config.epochs,
        max_steps=config.max_steps,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation,
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        lr_scheduler_type="cosine",
        seed=config.seed,
        use_cpu=loaded.device.type == "cpu",
        dataloader_pin_memory=loaded.device.type == "cuda",
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
        logging_steps=10,
        logging_nan_inf_filter=False,
        save_strategy="steps" if keeps else "no",
        save_steps=config.save_steps,
        save_total_limit=2,
    )
