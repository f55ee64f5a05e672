"""CoMMIT on the given language model, made into an image-text model: does the plumbing work on real weights?

[derived] DINOv2-small, a new connector as the feature encoder, LoRA on the last layers as what is trained of the
language model, from rates of which the encoder's is a hundred times the lower. Too short for statistics.
"""

import tempfile
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import TrainingArguments

from armillary.data.picture_tasks import picture_examples
from armillary.experiments.commit_lab import Payload
from armillary.experiments.commit_scale import FACTOR, RATE, TASKS, Scale
from armillary.experiments.commit_trainer import trained, trainer_of
from armillary.experiments.picture_ground import PictureGround, picture_ground
from armillary.methods.commit import CoMMITConfig
from armillary.models import LoadedModel
from armillary.models.quiet import quiet
from armillary.models.stored_states import stored_states
from armillary.models.vision import find_vision_anatomy

INTERVAL = 5


def on_given_model(loaded: LoadedModel, scale: Scale, seed: int) -> Payload:
    """The record of a short training at constant rates and of one with CoMMIT-CLR, from the same weights.

    ``parameters`` counts what is trained of each component.
    """
    found: Payload = {}
    for arm, gamma in (("constant", 0.0), ("lift", 0.25)):
        ground = picture_ground(loaded, "made-up" if scale.made_up else "emoji", seed=seed)
        with stored_states(ground.model):
            model = with_lora(ground, scale, seed)
            config = CoMMITConfig(gamma=gamma, interval=min(INTERVAL, scale.interval), first_probe=scale.first_probe)
            trainer = trainer_of(
                model,
                _arguments(scale, seed, on_cpu=loaded.device.type == "cpu"),
                _rows(ground, scale, seed),
                partial(_collated, ground),
                (RATE / FACTOR, RATE),
                config,
                watched_only=arm == "constant",
            )
            record = trained(trainer, f"{loaded.name} with pictures, {arm}")
            controller = trainer.monitor.controller
            assert controller is not None
            found[arm] = {
                **record,
                "multipliers": [list(probe.multipliers) for probe in controller.trace],
                "loss": [line["loss"] for line in trainer.state.log_history if "loss" in line],
            }
            found["parameters"] = {
                name: sum(parameter.numel() for parameter in part.values()) for name, part in controller.parts.items()
            }
    return found


def _collated(ground: PictureGround, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """A batch without the numbers of its pictures, which are for caches."""
    return {name: value for name, value in ground.rows.collate(rows).items() if name != "image_key"}


def with_lora(ground: PictureGround, scale: Scale, seed: int) -> nn.Module:
    """The model with LoRA on attention's queries and values of its last layers; these and the connector are trained.

    Call it inside ``stored_states``.
    """
    anatomy = find_vision_anatomy(ground.model)
    inside = {module for layer in anatomy.layers[-scale.lora["layers"] :] for module in layer.modules()}
    targets = [
        name
        for name, module in ground.model.named_modules()
        if module in inside and name.rsplit(".", 1)[-1] in ("q_proj", "v_proj")
    ]
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=scale.lora["rank"], lora_alpha=2 * scale.lora["rank"], target_modules=targets)
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(seed)
        model = cast(nn.Module, get_peft_model(ground.model, config))
    assert anatomy.connector is not None
    anatomy.connector.requires_grad_(True)
    return model


def _rows(ground: PictureGround, scale: Scale, seed: int) -> list[dict[str, Any]]:
    each = max(2, scale.model_steps * scale.model_batch // len(TASKS) + 1)
    examples = [one for task in TASKS for one in picture_examples(ground.emoji, task, "train", limit=each, seed=seed)]
    return [ground.rows.row(example) for example in examples]


def _arguments(scale: Scale, seed: int, *, on_cpu: bool) -> TrainingArguments:
    return TrainingArguments(
        output_dir=tempfile.gettempdir(),  # nothing is written: no checkpoint, no log
        max_steps=scale.model_steps,
        per_device_train_batch_size=scale.model_batch,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        save_strategy="no",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        seed=seed,
        data_seed=seed,
        use_cpu=on_cpu,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
