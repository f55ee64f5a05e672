"""CoMMIT on the given language model, made into an image-text model: does the plumbing work on real weights?

[derived] DINOv2-small, a new connector as the feature encoder, LoRA on the last layers as what is trained of the
language model, from rates of which the encoder's is a hundred times below what balances the two. Too short for more
than the direction.

Shapes: Q held-out questions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from armillary.data.images.questions import image_examples
from armillary.finetuning.image_setup import ImageTextSetup, image_text_setup
from armillary.methods.commit import CoMMITConfig
from armillary.methods.commit.baselines import FixedMultipliers
from armillary.models import LoadedModel
from armillary.models.quiet import quiet
from armillary.models.vision import find_vision_anatomy, stored_states
from armillary.runs.parts import Parts
from armillary.scoring.answers import answer_log_probabilities
from armillary.training.components import FEATURE_ENCODER, LLM
from reproductions.commit.scale import ARMS, MODEL_ARMS, MODEL_STARTS, RATE, TASKS, Scale
from reproductions.commit.trainer import TrainingRecord, exchanged, trained, trainer_of
from reproductions.images.training import unsaved

INTERVAL = 5
"""Steps between probes at most: a short training should have some."""

_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the model makes of the questions held out."""

    nats: list[float]
    """Nats a token of each right answer with its end ``[Q]``."""

    right: list[float]
    """1 where it is the likeliest of the choices, a token, else 0 ``[Q]``."""


@dataclass(frozen=True, kw_only=True)
class ModelRun:
    """One training of the given model."""

    record: TrainingRecord
    mean_multipliers: dict[str, float]
    """Component -> mean over the rates of all steps."""

    parameters: dict[str, int]
    """Component -> trained numbers."""

    after: Answers


@dataclass(frozen=True, kw_only=True)
class ModelResult:
    """All arms of all seeds; those of a seed begin with the same weights and rows."""

    before: list[Answers]
    """Of each seed, with the untrained connector."""

    runs: dict[str, list[ModelRun]]
    """Arm -> the run of each seed."""


@dataclass(frozen=True, eq=False)
class GivenModel:
    """Trains it from the same weights as often as is asked for. The questions held out are those of ``seed``."""

    loaded: LoadedModel
    scale: Scale
    seed: int
    parts: Parts

    def result(self) -> ModelResult:
        """Every run, each kept as a part."""
        seeds = [self.seed + offset for offset in range(self.scale.model_seeds)]
        before = [
            self.parts.decoded(Answers, f"model before, seed {seed}", partial(self._before, seed)) for seed in seeds
        ]
        return ModelResult(before=before, runs={arm: [self.run(arm, seed) for seed in seeds] for arm in MODEL_ARMS})

    def run(self, arm: str, seed: int) -> ModelRun:
        """One training."""
        return self.parts.decoded(ModelRun, f"model {arm}, seed {seed}", lambda: self._run(arm, seed))

    def _before(self, seed: int) -> Answers:
        setup = self._setup(seed)
        with stored_states(setup.model):
            return self._answers(setup)

    def _run(self, arm: str, seed: int) -> ModelRun:
        scale, settings, setup = self.scale, ARMS[arm].commit, self._setup(seed)
        rates = MODEL_STARTS["balanced" if arm == "balanced" else "slow encoder"]
        limit = max(2, scale.model_steps * scale.model_batch // len(TASKS) + 1)
        examples = [
            example for task in TASKS for example in image_examples(setup.emoji, task, "train", limit=limit, seed=seed)
        ]

        def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
            # Without the numbers of the images, which are for caches.
            return {name: value for name, value in setup.rows.collate(rows).items() if name != "image_key"}

        with stored_states(setup.model):
            trainer = trainer_of(
                with_lora(setup, scale, seed),
                unsaved(
                    scale.model_steps,
                    scale.model_batch,
                    RATE,
                    seed,
                    on_cpu=self.loaded.device.type == "cpu",
                    lr_scheduler_type="constant",
                    weight_decay=0.0,
                    logging_strategy="no",
                ),
                [setup.rows.row(example) for example in examples],
                collate,
                rates,
                CoMMITConfig(
                    interval=min(INTERVAL, scale.interval),
                    first_probe=scale.first_probe,
                    **({"gamma": 0.0} if settings is None else settings),
                ),
                watched_only=settings is None,
                callbacks=self._baseline(arm, seed),
            )
            record = trained(trainer, f"{self.loaded.name} with pictures, {arm}, seed {seed}")
            after = self._answers(setup)
        return ModelRun(
            record=record,
            mean_multipliers={
                name: fmean(step[f"learning_rate/{name}"] for step in trainer.rates) / start
                for name, start in zip((FEATURE_ENCODER, LLM), rates, strict=True)
            },
            parameters={
                name: sum(parameter.numel() for parameter in part.values())
                for name, part in trainer.controller.parts.items()
            },
            after=after,
        )

    def _baseline(self, arm: str, seed: int) -> list[TrainerCallback]:
        """The multipliers, exchanged, of the lift run of the same seed, which is made first."""
        return [FixedMultipliers(exchanged(self.run("lift", seed).mean_multipliers))] if arm == "exchanged" else []

    def _setup(self, seed: int) -> ImageTextSetup:
        return image_text_setup(self.loaded, "synthetic" if self.scale.synthetic else "emoji", seed=seed)

    def _answers(self, setup: ImageTextSetup) -> Answers:
        limit, rows = self.scale.model_questions, setup.rows
        examples = [
            example
            for task in TASKS
            for example in image_examples(setup.emoji, task, "validation", limit=limit, seed=self.seed)
        ]
        answers = Answers(nats=[], right=[])
        for start in range(0, len(examples), _AT_ONCE):
            batch = examples[start : start + _AT_ONCE]
            prompts = rows.collate([rows.row(example, answered=False) for example in batch])
            choices = [example.choices or () for example in batch]
            tokens = [[rows.answer(choice) for choice in names] for names in choices]
            scores = answer_log_probabilities(setup.model, prompts, tokens, nameless=rows.nameless)
            for example, names, score in zip(batch, choices, scores, strict=True):
                right = names.index(example.answer)
                answers.nats.append(-float(score.mean[right]))
                answers.right.append(float(int(score.mean.argmax()) == right))
        return answers


def with_lora(setup: ImageTextSetup, scale: Scale, seed: int) -> nn.Module:
    """The model with LoRA on attention's queries and values of its last layers; these and the connector are trained.

    Call it inside ``stored_states``.
    """
    from peft import LoraConfig, get_peft_model

    anatomy = find_vision_anatomy(setup.model)
    inside = {module for layer in anatomy.layers[-scale.lora_layers :] for module in layer.modules()}
    targets = [
        name
        for name, module in setup.model.named_modules()
        if module in inside and name.rsplit(".", 1)[-1] in ("q_proj", "v_proj")
    ]
    config = LoraConfig(r=scale.lora_rank, lora_alpha=2 * scale.lora_rank, target_modules=targets)
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(seed)
        model = cast(nn.Module, get_peft_model(setup.model, config))
    assert anatomy.connector is not None
    anatomy.connector.requires_grad_(True)
    return model
