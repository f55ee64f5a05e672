"""The tables [training], [mdgd] and [commit] as the objects that trainers take, every value checked."""

import math
import typing
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from armillary.errors import ArmillaryError, UsageError
from armillary.extras import optional
from armillary.finetuning.config import TuningConfig
from armillary.methods.commit.config import CoMMITConfig
from armillary.methods.mdgd.baselines import BASELINES
from armillary.methods.mdgd.config import MDGDSettings
from armillary.methods.mdgd.trainer import MDGDConfig
from armillary.models.quiet import quiet, reason
from armillary.records.plain import decode, refuse_unknown

OURS = (
    "output_dir", "remove_unused_columns", "do_train", "do_eval", "do_predict", "eval_strategy", "save_strategy",
    "load_best_model_at_end", "resume_from_checkpoint", "disable_tqdm", "push_to_hub", "save_only_model",
    "ignore_data_skip", "data_seed", "logging_strategy",
)  # fmt: skip
"""Training arguments that the command itself decides about."""

_DRY = {"max_steps": 2, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1}

# Over a whole run, where the file says nothing else. A line of the log costs next to nothing and makes a curve; a
# reading of rank and drift is a forward pass of two dozen images; a checkpoint is as large as the model and optimiser.
_SAVES, _LINES, _READINGS = 10, 50, 20


def method_settings(config: TuningConfig) -> MDGDSettings | CoMMITConfig:
    """The settings of the method or of the arm that stands in for it. UsageError for an unknown or a wrong one."""
    where = f"[{config.method}]"
    if config.method == "mdgd":
        given = {**BASELINES.get(config.arm, {}), **config.settings}
        settings = decode(MDGDSettings, given, where)
        settings.resolve()
        return settings
    fixed = {"gamma": 0.0, "aux_weight": 0.0} if config.arm != "commit" else {}
    return decode(CoMMITConfig, {**config.settings, **fixed}, where)


def training_arguments(config: TuningConfig, checkpoints: Path, rows: int) -> TrainingArguments:
    """``TrainingArguments``, for MDGD with its settings: checkpoints and log at even distances unless told otherwise.

    UsageError for a field that is unknown, is decided here, or has a value that is not accepted.
    """
    _check(config.training)
    given = dict(config.training)
    if config.dry_run:
        given |= _DRY
    steps = total_steps(given, rows)
    lines = max(1, steps // _LINES)
    saves = lines * max(1, math.ceil(steps / _SAVES / lines))
    own: dict[str, Any] = {
        "logging_steps": lines,
        "save_steps": saves,
        "save_total_limit": 2,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "logging_nan_inf_filter": False,
        **given,
        "output_dir": str(checkpoints),
        "seed": config.seed,
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "save_strategy": "steps",
        "logging_strategy": "steps",
    }
    settings = method_settings(config)
    try:
        with quiet():
            if not isinstance(settings, MDGDSettings):
                return TrainingArguments(**own)
            values = {field.name: getattr(settings, field.name) for field in fields(MDGDSettings)}
            # The readings are taken for every arm alike, by a callback of our own.
            return MDGDConfig(**own, **{**values, "log_erank_steps": 0})
    except ArmillaryError:
        raise
    except Exception as error:
        raise UsageError(f"[training] is not accepted: {reason(error)}.") from error


def total_steps(given: Mapping[str, Any], rows: int) -> int:
    """Optimiser steps of the run on one process."""
    if given.get("max_steps", -1) > 0:
        return int(given["max_steps"])
    batch = given.get("per_device_train_batch_size", 8)
    batches = math.ceil(rows / batch)
    a_round = max(1, math.ceil(batches / given.get("gradient_accumulation_steps", 1)))
    steps: int = math.ceil(given.get("num_train_epochs", 3.0) * a_round)
    return max(1, steps)


def reading_steps(config: TuningConfig, steps: int) -> int:
    """Steps between two readings of rank and drift."""
    wanted = config.settings.get("log_erank_steps", 0) if config.method == "mdgd" else 0
    return int(wanted) or max(1, steps // _READINGS)


def check_training(config: TuningConfig) -> None:
    """Refuse, before anything is loaded, what is wrong under [training] or in the method's table, or not installed.

    Raises:
        UsageError: a value is not accepted, or adapters are asked for without PEFT.
    """
    _check(config.training)
    method_settings(config)
    if config.lora is not None:
        optional("peft", "adapters")


def _check(training: Mapping[str, Any]) -> None:
    for name in training:
        if name in OURS:
            raise UsageError(f"{name} under [training] is decided by `armillary train`; leave it out.")
    hints = typing.get_type_hints(TrainingArguments)
    known = [field.name for field in fields(TrainingArguments)]
    refuse_unknown(training, known, "[training] (the fields of transformers.TrainingArguments)")
    for name, value in training.items():
        decode(hints[name], value, f"[training].{name}")
    for name in ("per_device_train_batch_size", "gradient_accumulation_steps"):
        if training.get(name, 1) < 1:
            raise UsageError(f"{name} in [training] must be 1 or more; got {training[name]}.")
    for name in ("learning_rate", "num_train_epochs", "logging_steps", "save_steps"):
        if not training.get(name, 1) > 0:
            raise UsageError(f"{name} in [training] must be above 0; got {training[name]}.")
