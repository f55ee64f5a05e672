"""CoMMIT on the given language model, made into an image-text model: does the plumbing work on real weights?

[derived] DINOv2-small, a new connector as the feature encoder, LoRA on the last layers as what is trained of the
language model, from rates of which the encoder's is a hundred times the lower. Too short for statistics.

Shapes: Q held-out questions.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import TrainerCallback, TrainingArguments

from armillary.data.picture_tasks import picture_examples
from armillary.experiments.commit_lab import Payload
from armillary.experiments.commit_scale import ARMS, FACTOR, MODEL_ARMS, RATE, TASKS, Scale
from armillary.experiments.commit_trainer import WatchedTrainer, trained, trainer_of
from armillary.experiments.connector_training import answer_nats
from armillary.experiments.picture_ground import PictureGround, picture_ground
from armillary.methods.commit import CoMMITConfig
from armillary.methods.commit.rivals import FixedMultipliers
from armillary.models import LoadedModel
from armillary.models.quiet import quiet
from armillary.models.stored_states import stored_states
from armillary.models.vision import find_vision_anatomy
from armillary.runs.parts import Parts
from armillary.training.component_groups import FEATURE_ENCODER, LLM, RatesLog

INTERVAL = 5
START = {FEATURE_ENCODER: RATE / FACTOR, LLM: RATE}


def on_given_model(loaded: LoadedModel, scale: Scale, seed: int, parts: Parts) -> Payload:
    """``runs``: arm -> what the run of each seed left; all arms of a seed begin with the same weights and rows.

    ``before`` has for each seed the loss of every held-out question before training, ``parameters`` the number of
    trained parameters of each component. Every run is kept as a part.
    """
    given = _GivenModel(loaded, scale, seed, parts)
    seeds = [seed + offset for offset in range(scale.model_seeds)]
    before = [given.before(one) for one in seeds]
    runs = {arm: [given.run(arm, one) for one in seeds] for arm in MODEL_ARMS}
    return {"before": before, "parameters": runs["lift"][0]["parameters"], "runs": runs}


@dataclass(frozen=True, eq=False)
class _GivenModel:
    """Trains it from the same weights as often as is asked for. The questions held out are those of ``seed``."""

    loaded: LoadedModel
    scale: Scale
    seed: int
    parts: Parts

    def before(self, seed: int) -> list[float]:
        """Nats a token of each held-out answer ``[Q]`` with the untrained connector of a seed."""

        def read() -> list[float]:
            ground = self._ground(seed)
            with stored_states(ground.model):
                return self._asked(ground)

        found: list[float] = self.parts.json(f"model before, seed {seed}", read)
        return found

    def run(self, arm: str, seed: int) -> Payload:
        """Of one training: its record, multipliers by probe, loss by step, and ``after``, like ``before``."""
        found: Payload = self.parts.json(f"model {arm}, seed {seed}", lambda: self._run(arm, seed))
        return found

    def _run(self, arm: str, seed: int) -> Payload:
        scale, settings = self.scale, ARMS[arm].commit
        gamma = {"gamma": 0.0} if settings is None else settings
        ground = self._ground(seed)
        with stored_states(ground.model):
            trainer = trainer_of(
                with_lora(ground, scale, seed),
                _arguments(scale, seed, on_cpu=self.loaded.device.type == "cpu"),
                _rows(ground, scale, seed),
                partial(_collated, ground),
                (START[FEATURE_ENCODER], START[LLM]),
                CoMMITConfig(interval=min(INTERVAL, scale.interval), first_probe=scale.first_probe, **gamma),
                watched_only=settings is None,
                callbacks=self._rival(arm, seed),
            )
            record = trained(trainer, f"{self.loaded.name} with pictures, {arm}, seed {seed}")
            return {**record, **_told(trainer), "after": self._asked(ground)}

    def _rival(self, arm: str, seed: int) -> list[TrainerCallback]:
        """Multipliers of an arm that takes those of the lift run of the same seed, which is made first."""
        if arm not in ("matched", "exchanged"):
            return []
        mean = self.run("lift", seed)["mean_multipliers"]
        return [FixedMultipliers(exchanged(mean) if arm == "exchanged" else mean)]

    def _ground(self, seed: int) -> PictureGround:
        return picture_ground(self.loaded, "made-up" if self.scale.made_up else "emoji", seed=seed)

    def _asked(self, ground: PictureGround) -> list[float]:
        limit = self.scale.model_asked
        examples = [
            one
            for task in TASKS
            for one in picture_examples(ground.emoji, task, "validation", limit=limit, seed=self.seed)
        ]
        return [float(nats) for nats in answer_nats(ground.model, ground.rows, examples)]


def exchanged(multipliers: dict[str, float]) -> dict[str, float]:
    """Each component gets the other's."""
    return {FEATURE_ENCODER: multipliers[LLM], LLM: multipliers[FEATURE_ENCODER]}


def _told(trainer: WatchedTrainer) -> Payload:
    """What a finished training leaves beside its record; mean multipliers are of the rates of all steps."""
    rates = next(one for one in trainer.callback_handler.callbacks if isinstance(one, RatesLog))
    controller = trainer.monitor.controller
    assert controller is not None
    return {
        "multipliers": [list(probe.multipliers) for probe in controller.trace],
        "mean_multipliers": {
            name: fmean(step[f"learning_rate/{name}"] for step in rates.steps) / start for name, start in START.items()
        },
        "loss": [line["loss"] for line in trainer.state.log_history if "loss" in line],
        "parameters": {
            name: sum(parameter.numel() for parameter in part.values()) for name, part in controller.parts.items()
        },
    }


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
