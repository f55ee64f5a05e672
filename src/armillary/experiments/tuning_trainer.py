"""A trainer for each arm: the method, or what it is compared with, on the same model, data and arguments."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from armillary.errors import UsageError
from armillary.experiments.tuning_arguments import method_settings
from armillary.experiments.tuning_config import TuningConfig, TuningLora
from armillary.methods.commit import CoMMITConfig, CoMMITTrainer
from armillary.methods.commit.rivals import CoordinateDescent, feature_cd, language_cd
from armillary.methods.mdgd.config import MDGDSettings
from armillary.methods.mdgd.rivals import L2SPTrainer, language_lora
from armillary.methods.mdgd.trainer import MDGDTrainer
from armillary.models.picture_folder import PictureModel
from armillary.models.quiet import quiet
from armillary.models.vision import find_vision_anatomy
from armillary.training.component_groups import Components, vision_components
from armillary.training.component_norms import ComponentNorms
from armillary.training.component_trainer import ComponentTrainer
from armillary.training.question_rows import QuestionEncoder, QuestionRows

_CD = {"feature_cd": feature_cd, "language_cd": language_cd}


def trained_network(config: TuningConfig, opened: PictureModel) -> nn.Module:
    """The model with frozen parts frozen, and with adapters where they are asked for."""
    for name, parameter in opened.model.named_parameters():
        if opened.anatomy.component(name) in config.freeze:
            parameter.requires_grad_(False)
    return opened.model if config.lora is None else _with_lora(opened.model, config.lora, config.seed)


def _with_lora(model: PreTrainedModel, lora: TuningLora, seed: int) -> nn.Module:
    from peft import get_peft_model

    more = {"lora_dropout": lora.dropout, **({} if lora.alpha is None else {"lora_alpha": lora.alpha})}
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(seed)
        return cast(nn.Module, get_peft_model(model, language_lora(model, lora.rank, **more)))


def arm_trainer(
    config: TuningConfig,
    network: nn.Module,
    arguments: TrainingArguments,
    encoder: QuestionEncoder,
    rows: QuestionRows,
    callbacks: Sequence[TrainerCallback],
) -> Trainer:
    """The trainer of the settings' arm. UsageError where nothing is left to be trained."""
    common: dict[str, Any] = {
        "model": network,
        "args": arguments,
        "train_dataset": rows,
        "data_collator": encoder.collate,
    }
    settings = method_settings(config)
    _refuse_all_frozen(network, isinstance(settings, MDGDSettings) and settings.freeze_vision)
    if isinstance(settings, MDGDSettings):
        trainer: Trainer = _mdgd(config, settings, common, callbacks, encoder)
    else:
        trainer = _commit(config, settings, common, callbacks)
    # It would print its lines on stdout, where --json leaves nothing but the record.
    trainer.remove_callback(PrinterCallback)
    return trainer


def _refuse_all_frozen(network: nn.Module, freeze_vision: bool) -> None:
    """UsageError where no part is left to be trained; each part is named."""
    anatomy = find_vision_anatomy(network)
    parts = {anatomy.component(name): False for name, _ in network.named_parameters()}
    for name, parameter in network.named_parameters():
        part = anatomy.component(name)
        parts[part] |= parameter.requires_grad and not (freeze_vision and part == "vision_tower")
    if not any(parts.values()):
        also = " (freeze_vision stands for vision_tower)" if freeze_vision else ""
        raise UsageError(f"freeze leaves nothing to be trained: {', '.join(parts)} are frozen{also}.")


def _mdgd(
    config: TuningConfig,
    settings: MDGDSettings,
    common: dict[str, Any],
    callbacks: Sequence[TrainerCallback],
    encoder: QuestionEncoder,
) -> Trainer:
    if config.arm != "l2_sp":
        return MDGDTrainer(**common, callbacks=list(callbacks), processor_marks=encoder.marks)
    if settings.freeze_vision:
        anatomy = find_vision_anatomy(common["model"])
        for name, parameter in common["model"].named_parameters():
            if anatomy.component(name) == "vision_tower":
                parameter.requires_grad_(False)
    return L2SPTrainer(**common, callbacks=list(callbacks))


def _commit(
    config: TuningConfig, settings: CoMMITConfig, common: dict[str, Any], callbacks: Sequence[TrainerCallback]
) -> Trainer:
    patterns = {name: list(expressions) for name, expressions in config.components.items()} or None
    parts: Components = patterns or vision_components(common["model"])
    grouped = {**common, "components": patterns, "learning_rates": config.learning_rates or None}
    if config.arm in _CD:
        descent: CoordinateDescent = _CD[config.arm]()
        # The norms come first: the descent drops the gradients of the part that rests.
        return ComponentTrainer(**grouped, callbacks=[ComponentNorms(parts), descent, *callbacks])
    return CoMMITTrainer(**grouped, commit=settings, callbacks=[ComponentNorms(parts), *callbacks])
