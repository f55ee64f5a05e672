"""The two stages of training on TRL's own trainers: reconstruction (supervised) and preferences (DPO).

Nothing of TRL's is rewritten here: rows in its columns go in, a tuned model and the trainer's log come out. Rows are
plain text or messages; a reference model is never held, since its log-probabilities are computed once beforehand.
"""

import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import nn
from transformers import PreTrainedModel, Trainer
from transformers.trainer_callback import PrinterCallback

from armillary.errors import NumericError, UsageError
from armillary.extras import optional
from armillary.methods.ultragen.config import PreferenceConfig, ReconstructionConfig, StageConfig
from armillary.models.anatomy import find_anatomy
from armillary.models.loaded import LoadedModel
from armillary.models.prompts import bare_ids, framed_ids, templated
from armillary.models.quiet import quiet, reason
from armillary.progress import counted
from armillary.training.checkpoints import StepBar, last_checkpoint, train_or_resume

if TYPE_CHECKING:
    import datasets

ENDING = 4
"""Tokens allowed for what a template or trainer puts behind a completion: an end-of-turn mark and a line end."""

FALL = 20.0
"""Nats by which the chosen responses may lose likelihood before it is told: more, and both answers are unlearned."""

_LINES = 50
"""Lines of the log over a whole training: each costs next to nothing, and fifty make a curve."""


@dataclass(frozen=True, kw_only=True)
class TrainedStage:
    """A model after one stage."""

    loaded: LoadedModel
    """The tuned model; an adapter is merged."""

    log: list[dict[str, float]]
    """The trainer's lines: step, loss, and of preferences also rewards and log-probabilities."""

    rows: int
    """Rows that were learned from."""

    left_out: int
    """Rows that were longer than ``max_tokens``."""

    chosen_fall: float | None = None
    """Nats that the chosen responses of the last line have lost to the reference; None without preferences."""

    @property
    def losses(self) -> list[float]:
        """Mean loss since the line before, in order."""
        return [line["loss"] for line in self.log if "loss" in line]


def reconstruct(
    loaded: LoadedModel,
    rows: "datasets.Dataset",
    config: ReconstructionConfig | None = None,
    *,
    checkpoints: Path | None = None,
    label: str | None = None,
) -> TrainedStage:
    """Stage 1: the model tuned to write each completion behind its prompt, loss on the completion alone (equation 1).

    ``rows`` have the columns prompt and completion, as ``build_ar_dataset`` makes them. A training that was killed
    goes on from the last checkpoint in the folder ``checkpoints``. The model that is given is changed; the result
    holds it. UsageError without TRL, or where every row is too long; NumericError where training diverges.
    """
    config = config or ReconstructionConfig()
    trl = optional("trl", "trl")

    def trainer(arguments: Mapping[str, Any], data: object, **more: Any) -> Trainer:
        own = trl.SFTConfig(**arguments, completion_only_loss=True)
        return cast(Trainer, trl.SFTTrainer(args=own, train_dataset=data, **more))

    return _train(loaded, rows, config, trainer, ("completion",), checkpoints, label)


def prefer(
    loaded: LoadedModel,
    pairs: "datasets.Dataset",
    config: PreferenceConfig | None = None,
    *,
    checkpoints: Path | None = None,
    label: str | None = None,
) -> TrainedStage:
    """Stage 2: the model tuned to prefer chosen to rejected responses (equation 3); it is its own reference.

    ``pairs`` have the columns prompt, chosen and rejected, as ``build_preferences`` makes them. Resuming and errors as
    ``reconstruct``; warns where the chosen responses lost more than ``FALL`` nats.
    """
    config = config or PreferenceConfig()
    trl = optional("trl", "trl")
    losses: dict[str, Any] = {"loss_type": ["sigmoid"]}
    if config.sft_weight:
        losses = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, config.sft_weight]}

    def trainer(arguments: Mapping[str, Any], data: object, **more: Any) -> Trainer:
        own = trl.DPOConfig(**arguments, **losses, beta=config.beta, precompute_ref_log_probs=True)
        return cast(Trainer, trl.DPOTrainer(args=own, train_dataset=data, **more))

    stage = _train(loaded, pairs, config, trainer, ("chosen", "rejected"), checkpoints, label)
    # Against the reference on the same rows: likelihoods of one line and another are of different responses.
    rewards = [line["rewards/chosen"] for line in stage.log if "rewards/chosen" in line]
    if rewards:
        stage = replace(stage, chosen_fall=-rewards[-1] / config.beta)
    if stage.chosen_fall is not None and stage.chosen_fall > FALL:
        warnings.warn(
            f"the chosen responses lost {stage.chosen_fall:.0f} nats; an sft_weight of 0.1 to 1 holds them.",
            stacklevel=2,
        )
    return stage


def row_tokens(loaded: LoadedModel, row: Mapping[str, Any], columns: Sequence[str]) -> int:
    """Tokens of a row's prompt with the longest of its completions, endings included."""
    prompt = row["prompt"]
    text = prompt if isinstance(prompt, str) else templated(loaded.tokenizer, prompt, loaded.name)
    completions = [row[name] if isinstance(row[name], str) else row[name][-1]["content"] for name in columns]
    longest = max(len(ids) for ids in bare_ids(loaded.tokenizer, completions))
    return len(framed_ids(loaded.tokenizer, [text])[0]) + longest + ENDING


def _train(
    loaded: LoadedModel,
    rows: "datasets.Dataset",
    config: StageConfig,
    make: Callable[..., Trainer],
    columns: Sequence[str],
    checkpoints: Path | None,
    label: str | None,
) -> TrainedStage:
    missing = sorted({"prompt", *columns} - set(rows.column_names))
    if missing:
        raise UsageError(f"the rows have no column {missing[0]!r}; they have {', '.join(rows.column_names)}.")
    limit = min(config.max_tokens, loaded.max_positions or config.max_tokens)
    lengths = [row_tokens(loaded, row, columns) for row in rows]
    kept = [index for index, tokens in enumerate(lengths) if tokens <= limit]
    if not kept:
        shortest = f"the shortest of {len(lengths)} has {min(lengths):,}" if lengths else "there is none"
        raise UsageError(f"no row has at most {limit:,} tokens ({shortest}); raise max_tokens or shorten the texts.")
    data = rows.select(kept).select_columns(["prompt", *columns])
    with tempfile.TemporaryDirectory() as scratch:
        folder = checkpoints if checkpoints is not None else Path(scratch)
        steps = _steps(config, len(kept))
        arguments = {
            **_arguments(loaded, config, steps),
            "output_dir": str(folder),
            "save_strategy": "no" if checkpoints is None else "steps",
        }
        with _own_forward(loaded.model), _heard(), counted(label, steps) as bar:
            try:
                trainer = make(
                    arguments,
                    data,
                    model=loaded.model,
                    processing_class=loaded.tokenizer,
                    peft_config=_adapter(config),
                    callbacks=[StepBar(bar)],
                )
            except (ValueError, TypeError) as error:
                raise UsageError(f"TRL does not accept the training ({reason(error)}).") from error
            trainer.remove_callback(PrinterCallback)
            train_or_resume(trainer, None if checkpoints is None else last_checkpoint(folder))
        log = [
            {
                name: float(value)
                for name, value in cast(Mapping[str, Any], line).items()
                if isinstance(value, int | float)
            }
            for line in trainer.state.log_history
        ]
        network = cast(nn.Module, trainer.model)
    if any(not math.isfinite(line.get("loss", 0.0)) for line in log):
        raise NumericError("the loss is not finite: the training diverged; give a lower learning_rate.")
    merge = getattr(network, "merge_and_unload", None)
    model = cast(PreTrainedModel, network if merge is None else merge()).eval()
    # Anew: the fingerprint of the model that was given is kept with it and is no longer true.
    tuned = replace(loaded, model=model, anatomy=find_anatomy(model), source=f"{loaded.source}, tuned")
    return TrainedStage(loaded=tuned, log=log, rows=len(kept), left_out=len(lengths) - len(kept))


def _steps(config: StageConfig, rows: int) -> int:
    """Optimiser steps of the training on one process."""
    if config.max_steps > 0:
        return config.max_steps
    a_round = max(1, math.ceil(math.ceil(rows / config.batch_size) / config.accumulation))
    return max(1, math.ceil(config.epochs * a_round))


def _arguments(loaded: LoadedModel, config: StageConfig, steps: int) -> dict[str, object]:
    """What both trainers are given."""
    return {
        "learning_rate": config.learning_rate,
        "num_train_epochs": config.epochs,
        "max_steps": config.max_steps,
        "per_device_train_batch_size": config.batch_size,
        "gradient_accumulation_steps": config.accumulation,
        "warmup_steps": config.warmup_steps,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.clip,
        "lr_scheduler_type": "cosine",
        "seed": config.seed,
        "max_length": None,  # longer rows are left out above: cutting a text would break what it satisfies
        "bf16": False,  # the weights' own format: mixed precision would make results depend on the machine
        "gradient_checkpointing": config.gradient_checkpointing,
        "use_cpu": loaded.device.type == "cpu",
        "dataloader_pin_memory": loaded.device.type == "cuda",
        "report_to": [],
        "disable_tqdm": True,
        "logging_steps": max(1, steps // _LINES),
        "logging_nan_inf_filter": False,
        "save_steps": config.save_steps,
        "save_total_limit": 2,
    }


def _adapter(config: StageConfig) -> object:
    """PEFT's settings of an adapter on all linear layers, or None where every weight is trained."""
    if config.lora_rank is None:
        return None
    peft = optional("peft", "adapters")
    rank = config.lora_rank
    # alpha of twice the rank, without dropout, as is usual; a resumed run would draw dropout anew.
    return cast(
        object,
        peft.LoraConfig(
            r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )


@contextmanager
def _own_forward(model: PreTrainedModel) -> Iterator[None]:
    """After the block ``forward`` is the model's own again: TRL puts one there that skips the prompt's logits."""
    own = model.__dict__.get("forward")
    try:
        yield
    finally:
        model.__dict__.pop("forward", None)
        if own is not None:
            model.__dict__["forward"] = own


@contextmanager
def _heard() -> Iterator[None]:
    """Inside, the libraries' bars and advice are silent; what they raise is not."""
    shown, hushed = optional("datasets", "trl").is_progress_bar_enabled(), os.environ.get("TQDM_DISABLE")
    optional("datasets", "trl").disable_progress_bar()
    os.environ["TQDM_DISABLE"] = "1"  # TRL's bar over the reference's log-probabilities asks for nothing else
    try:
        with quiet():
            yield
    finally:
        if shown:
            optional("datasets", "trl").enable_progress_bar()
        if hushed is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = hushed
