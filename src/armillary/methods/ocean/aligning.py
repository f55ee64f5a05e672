"""Alignment of a model on logged chains as one piece of work that a killed run goes on with, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from transformers import PreTrainedModel
from transformers.trainer_callback import PrinterCallback

from armillary.errors import NumericError, UsageError
from armillary.extras import optional
from armillary.files import whole_folder
from armillary.methods.ocean.config import Objective
from armillary.methods.ocean.estimate import Estimate
from armillary.methods.ocean.offline import ChainRow
from armillary.methods.ocean.trainer import OceanConfig, OceanTrainer
from armillary.models.loaded import LoadedModel
from armillary.models.quiet import quiet
from armillary.numerics.intervals import Interval, paired_difference
from armillary.progress import counted
from armillary.runs.parts import Parts
from armillary.training.checkpoints import StepBar, last_checkpoint, train_or_resume

MODEL = "model"
"""Folder of the aligned model or its adapter, within that of the run."""


@dataclass(frozen=True, kw_only=True)
class AlignPlan:
    """Everything that decides what is trained."""

    objective: Objective
    learning_rate: float
    epochs: float
    max_steps: int
    batch_size: int
    accumulation: int
    lora_rank: int
    """0 for none: every weight is trained."""

    beta_kl: float
    weight_clip: float
    propensity_floor: float | None
    max_length: int | None
    save_steps: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """How the training went."""

    log: tuple[dict[str, float], ...]
    """The trainer's lines with a value."""

    before: Estimate
    after: Estimate
    """Values of the chains held out, before and after."""

    gain: Interval
    """After minus before, over the held-out chains."""

    rows: tuple[int, int]
    """Chains of training and held out."""


def split_by_prompt(rows: Sequence[ChainRow], held_out: float, seed: int) -> tuple[list[ChainRow], list[ChainRow]]:
    """Training and held-out rows, no prompt in both. UsageError for fewer than two prompts."""
    prompts = list(dict.fromkeys(str(row["prompt"]) for row in rows))
    if len(prompts) < 2:
        raise UsageError(f"alignment holds out prompts and needs two at least; the chains have {len(prompts)}.")
    count = min(max(1, round(held_out * len(prompts))), len(prompts) - 1)
    away = {prompts[place] for place in np.random.default_rng(seed).permutation(len(prompts))[:count]}
    return [row for row in rows if row["prompt"] not in away], [row for row in rows if row["prompt"] in away]


def aligned(
    loaded: LoadedModel,
    kg: LoadedModel,
    train: Sequence[ChainRow],
    held_out: Sequence[ChainRow],
    plan: AlignPlan,
    parts: Parts,
    folder: Path,
) -> Alignment:
    """Trains, leaves the model or its adapter in ``folder/model``, and tells what came of it.

    UsageError for rows and set-ups that ``OceanTrainer`` refuses; NumericError where the training diverges.
    """
    assert parts.folder is not None
    checkpoints = parts.folder / "checkpoints"
    model = loaded.model
    if plan.lora_rank:
        peft = optional("peft", "adapters")
        adapter = peft.LoraConfig(r=plan.lora_rank, lora_alpha=2 * plan.lora_rank, target_modules="all-linear")
        # Drawn by the seed, whether the graph's policy was trained in this process or before a kill.
        with torch.random.fork_rng(), quiet():
            torch.manual_seed(plan.seed)
            model = peft.get_peft_model(model, adapter)
    trainer = OceanTrainer(
        model,
        kg_policy=kg.model,
        args=_arguments(plan, checkpoints, loaded),
        train_dataset=train,
        eval_dataset=held_out,
        processing_class=loaded.tokenizer,
    )
    trainer.remove_callback(PrinterCallback)

    def value(split: Literal["train", "eval"]) -> Estimate:
        return trainer.estimate(split, propensity_floor=plan.propensity_floor)

    before = parts.decoded(Estimate, "before", lambda: value("eval"))
    with quiet(), counted("align", plan.max_steps if plan.max_steps > 0 else None) as bar:
        trainer.add_callback(StepBar(bar))
        train_or_resume(trainer, last_checkpoint(checkpoints))
    lines = [line for line in trainer.state.log_history if "ocean/value" in line]
    if not lines or not np.isfinite([line["ocean/value"] for line in lines]).all():
        raise NumericError("the value is not finite: the training diverged; give a lower learning_rate.")
    after = value("eval")
    with quiet(), whole_folder(folder / MODEL, replace=True) as target:
        cast(PreTrainedModel, trainer.model).save_pretrained(target)
        loaded.tokenizer.save_pretrained(target)
    return Alignment(
        log=tuple({name: float(value) for name, value in line.items()} for line in lines),
        before=before,
        after=after,
        gain=paired_difference(
            after.per_chain, before.per_chain, seed=plan.seed, how=f"paired bootstrap over {after.chains:,} chains"
        ),
        rows=(len(train), len(held_out)),
    )


def _arguments(plan: AlignPlan, folder: Path, loaded: LoadedModel) -> OceanConfig:
    return OceanConfig(
        output_dir=str(folder),
        objective=plan.objective,
        learning_rate=plan.learning_rate,
        num_train_epochs=plan.epochs,
        max_steps=plan.max_steps,
        per_device_train_batch_size=plan.batch_size,
        gradient_accumulation_steps=plan.accumulation,
        beta_kl=plan.beta_kl,
        weight_clip=plan.weight_clip,
        propensity_floor=plan.propensity_floor,
        max_length=plan.max_length,
        seed=plan.seed,
        use_cpu=loaded.device.type == "cpu",
        dataloader_pin_memory=loaded.device.type == "cuda",
        report_to=[],
        disable_tqdm=True,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=plan.save_steps,
        save_total_limit=2,
    )
