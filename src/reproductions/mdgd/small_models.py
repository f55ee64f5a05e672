"""Small image-text models, pre-trained one a seed, and what becomes of them when they learn the target by each arm.

Shapes: P images, D hidden size.
"""

import copy
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import LlavaForConditionalGeneration, Trainer, TrainingArguments

from armillary.data.images.questions import ImageExample
from armillary.methods.mdgd import (
    MDGDSettings,
    MDGDTrainer,
    VisualRank,
    VisualRankCallback,
    interpolate_,
    keep_patch_,
    trainable_weights,
    visual_hidden_states,
)
from armillary.methods.mdgd.baselines import DistillationTrainer, L2SPTrainer, language_lora, orthogonal_subspace
from armillary.models.quiet import quiet
from armillary.models.vision import find_vision_anatomy
from armillary.runs.parts import Parts
from reproductions.images.dataset import ImageDataset, Shape, WordRow, most_frequent
from reproductions.images.training import Readings, little_to_collect, train, unsaved
from reproductions.mdgd.scale import AFTERWARDS, ARMS, OLD_TASKS, PLAIN, PURELY_VISUAL, TARGET, Arm, Scale

REPLAY_BATCHES = 16
"""Of learning without forgetting, gone through by turns: more would hold more old questions, and take more memory."""

PROBED = ("fine_tuning", "align", "paper", "recommended")
ROUNDS = 5
"""Timings of each kind, by turns."""

Probe = dict[str, list[float]]
"""Task -> accuracy of a linear read-out of the image states, by layer."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A model at one moment."""

    accuracies: dict[str, float]
    """Share of right answers a task."""

    ranks: tuple[VisualRank, ...]
    """Effective rank and drift of the image states, by layer."""


@dataclass(frozen=True, kw_only=True)
class Start(Reading):
    """A pre-trained model."""

    majority: dict[str, float]
    """What the most frequent answer would score."""

    probe: Probe


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """One way of learning the target, over its training."""

    steps: list[int]
    accuracies: list[dict[str, float]]
    ranks: list[tuple[VisualRank, ...]]
    log: list[dict[str, float]]
    """What the method logs of its gradients."""

    probe: Probe | None = None
    afterwards: dict[str, Reading] = field(default_factory=dict)
    """Of fine-tuning: what can be made of the weights that it ends with."""


@dataclass(frozen=True, kw_only=True)
class SeedResult:
    """All of one seed."""

    start: Start
    arms: dict[str, ArmResult]

    def end(self, name: str) -> Reading:
        """The model that an arm ends with."""
        if name in AFTERWARDS:
            return self.arms["fine_tuning"].afterwards[name]
        arm = self.arms[name]
        return Reading(accuracies=arm.accuracies[-1], ranks=arm.ranks[-1])


@dataclass(frozen=True, eq=False)
class Context:
    """One data set at one scale and seed. What is slow is computed once and kept as parts of the run."""

    dataset: ImageDataset
    scale: Scale
    seed: int
    parts: Parts

    @cached_property
    def questions(self) -> dict[str, list[ImageExample]]:
        """About images of the test split: of the old tasks and of the target."""
        limit = self.scale.questions
        tasks = (*OLD_TASKS, TARGET)
        return {task: self.dataset.examples(task, "test", limit=limit, seed=self.seed) for task in tasks}

    @cached_property
    def watched(self) -> list[dict[str, torch.Tensor]]:
        """Batches of test images over which rank and drift are taken, one question for all."""
        examples = self.dataset.examples("style", "test", limit=self.scale.images, seed=self.seed)
        rows = [self.dataset.row(example, answered=False) for example in examples]
        return [inputs_of(self.dataset.collate(rows[start : start + 64])) for start in range(0, len(rows), 64)]

    def read(self, model: nn.Module, baseline: nn.Module | None = None) -> Reading:
        """Right answers and ranks of a model; drift from another."""
        ranks = VisualRankCallback(self.watched, normalise=False)  # as the paper draws them
        if baseline is not None:
            ranks.take_baseline(baseline)
        readings = ranks.measure(model)
        return Reading(accuracies=self.accuracies(model), ranks=readings)

    def accuracies(self, model: nn.Module) -> dict[str, float]:
        """Share of right answers a task."""
        return {task: float(self.dataset.right(model, some).mean()) for task, some in self.questions.items()}

    def rows(self, tasks: Sequence[Any]) -> list[WordRow]:
        """Rows of the whole training split, task after task."""
        examples = (example for task in tasks for example in self.dataset.examples(task, "train", seed=0))
        return [self.dataset.row(example) for example in examples]

    def arguments(self, steps: int, batch: int, rate: float, **more: Any) -> TrainingArguments:
        """Of a training that leaves no file."""
        every = self.scale.evaluate_every
        on_cpu = not torch.cuda.is_available()
        return unsaved(steps, batch, rate, self.seed, on_cpu=on_cpu, logging_steps=every, **more)

    def pretrained(self) -> LlavaForConditionalGeneration:
        """A model that has learned the old tasks."""
        scale = self.scale
        shape = Shape(layers=scale.layers, width=scale.width, heads=scale.heads, inner=scale.inner)
        model = self.dataset.new_model(shape, self.seed)

        def trained() -> dict[str, NDArray[Any]]:
            trainer = Trainer(
                model=model,
                args=self.arguments(
                    scale.pretrain_steps,
                    scale.pretrain_batch,
                    scale.pretrain_rate,
                    lr_scheduler_type="cosine",
                    warmup_steps=scale.pretrain_steps // 20,
                    weight_decay=0.01,
                ),
                train_dataset=cast(Any, self.rows(OLD_TASKS)),
                data_collator=self.dataset.collate,
            )
            train(trainer, f"pre-training, seed {self.seed}", scale.pretrain_steps)
            return {name: value.detach().numpy() for name, value in model.state_dict().items()}

        kept = self.parts.arrays(f"pretrained {self.seed}", trained)
        model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in kept.items()})
        model.eval()
        return model

    def trainer_of(self, arm: Arm, model: nn.Module) -> Trainer:
        """A trainer of this arm; the model is changed in place."""
        scale = self.scale
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("vision_tower" not in name)
        settings = dict(arm.settings)
        if arm.kind in ("lora", "osf"):
            model = self._adapted(arm, model)
            settings = dict(PLAIN)
        given: dict[str, Any] = {
            "model": model,
            "args": self.arguments(
                scale.tune_steps, scale.tune_batch, scale.tune_rate * arm.rate, lr_scheduler_type="constant"
            ),
            "train_dataset": self.rows((TARGET,)),
            "data_collator": self.dataset.collate,
        }
        if arm.kind == "l2sp":
            return L2SPTrainer(**given, **settings)
        if arm.kind == "lwf":
            return DistillationTrainer(**given, replay=self._replay(), **settings)
        return MDGDTrainer(**given, settings=MDGDSettings(**settings))

    def _adapted(self, arm: Arm, model: nn.Module) -> nn.Module:
        """With PEFT's adapter of this arm, the one part that is then trained."""
        from peft import get_peft_model

        made = language_lora if arm.kind == "lora" else orthogonal_subspace
        # quiet: PEFT asks a model for an attribute that transformers is about to rename.
        with torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(self.seed)
            return cast(nn.Module, get_peft_model(cast(Any, model), made(model, **arm.settings)))

    def _replay(self) -> list[dict[str, torch.Tensor]]:
        """Old questions about the images of the target's training: the old model answers them."""
        rows = self.rows(OLD_TASKS)
        order = np.random.default_rng(self.seed).permutation(len(rows))
        size = self.scale.tune_batch
        batches = [
            self.dataset.collate([rows[i] for i in order[start : start + size]])
            for start in range(0, REPLAY_BATCHES * size, size)
        ]
        return [{name: value for name, value in batch.items() if name != "image_key"} for batch in batches]

    def tuned(self, name: str, model: LlavaForConditionalGeneration) -> tuple[ArmResult, nn.Module]:
        """What was read while a copy of the model learned the target by an arm, and the copy."""
        arm = ARMS[name]
        trainer = self.trainer_of(arm, copy.deepcopy(model))
        tuned = cast(nn.Module, trainer.model)
        readings = Readings(partial(self.accuracies, tuned), self.scale.evaluate_every)
        ranks = VisualRankCallback(self.watched, every=self.scale.evaluate_every, normalise=False)
        ranks.take_baseline(model)
        trainer.add_callback(readings)
        trainer.add_callback(ranks)
        train(trainer, f"{arm.title}, seed {self.seed}", self.scale.tune_steps)
        result = ArmResult(
            steps=readings.steps,
            accuracies=readings.values,
            ranks=[layers for _, layers in ranks.history],
            log=[
                {key: float(value) for key, value in line.items() if key.startswith(("gradient_", "visual_drift"))}
                for line in trainer.state.log_history
                if "gradient_cosine" in line
            ],
        )
        return result, tuned


def inputs_of(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What of a batch a model takes, without labels and keys."""
    return {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values")}


# The stages: the start and every arm of one seed, and the cost of a step.


def start(context: Context) -> Start:
    """What the pre-trained model can do."""
    model = context.pretrained()
    reading = context.read(model)
    majority = {task: most_frequent(examples) for task, examples in context.questions.items()}
    return Start(accuracies=reading.accuracies, ranks=reading.ranks, majority=majority, probe=probes(context, model))


def arm(context: Context, name: str) -> ArmResult:
    """One arm; from what fine-tuning ends with, also the arms that come afterwards."""
    model = context.pretrained()
    result, tuned = context.tuned(name, model)
    afterwards: dict[str, Reading] = {}
    if name == "fine_tuning":
        before = trainable_weights(model)
        for other in AFTERWARDS:
            copied = copy.deepcopy(tuned)
            if other == "wise":
                interpolate_(copied, before, 0.5)
            else:
                keep_patch_(copied, before, ratio=0.1)
            afterwards[other] = context.read(copied, model)
    return ArmResult(
        steps=result.steps,
        accuracies=result.accuracies,
        ranks=result.ranks,
        log=result.log,
        probe=probes(context, tuned) if name in PROBED else None,
        afterwards=afterwards,
    )


def probes(context: Context, model: nn.Module) -> Probe:
    """Accuracy of a linear read-out of style and colour from the mean image state of each layer, test images.

    What the states still tell, whatever the answers have become.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    accuracies: Probe = {}
    for task in PURELY_VISUAL:
        examples = context.dataset.examples(task, "train", limit=4 * context.scale.images, seed=context.seed)
        questions = context.questions[task]
        train_PD, test_PD = _pooled(context, model, examples), _pooled(context, model, questions)
        answers, right = [example.answer for example in examples], [example.answer for example in questions]
        # A smaller C holds the read-out back where a layer has more dimensions than the images can fix.
        reader = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.1))
        accuracies[task] = [
            float(reader.fit(x_PD, answers).score(y_PD, right)) for x_PD, y_PD in zip(train_PD, test_PD, strict=True)
        ]
    return accuracies


def _pooled(context: Context, model: nn.Module, examples: Sequence[ImageExample]) -> list[NDArray[np.float64]]:
    """Mean image state of each image, one array ``[P, D]`` a layer."""
    anatomy = find_vision_anatomy(model)
    layers = range(anatomy.num_layers)
    rows = [context.dataset.row(example, answered=False) for example in examples]
    pooled: list[list[NDArray[np.float64]]] = [[] for _ in layers]
    for first in range(0, len(rows), 128):
        batch = context.dataset.collate(rows[first : first + 128])
        with torch.no_grad():
            every = visual_hidden_states(model, inputs_of(batch), layers, anatomy)
        for of_layer, states in zip(pooled, every, strict=True):
            mean_PD = states.double().view(len(batch["input_ids"]), context.dataset.media_tokens, -1).mean(1)
            of_layer.append(mean_PD.cpu().numpy())
    return [np.concatenate(parts) for parts in pooled]


def cost(context: Context) -> dict[str, list[float]]:
    """Seconds of training some steps by each arm, in turn: plain, with a frozen copy, with cached states."""
    settings = {
        "plain": MDGDSettings(projection="none", visual_align_weight=0.0),
        "copy": MDGDSettings(preset="paper", reference="copy"),
        "cached": MDGDSettings(preset="paper", reference="cache"),
    }
    scale = context.scale
    rows: Any = context.rows((TARGET,))[: scale.timed_steps * scale.tune_batch]
    trainers = {
        name: MDGDTrainer(
            model=copy.deepcopy(context.pretrained()),
            args=context.arguments(scale.timed_steps, scale.tune_batch, scale.tune_rate),
            train_dataset=rows,
            data_collator=context.dataset.collate,
            settings=of_arm,
        )
        for name, of_arm in settings.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    gc.collect()
    with little_to_collect():  # else the Trainer's garbage collection would make plain and ours more alike
        for turn in range(1 + ROUNDS):
            for name, trainer in trainers.items():
                started = time.perf_counter()
                train(trainer, f"timing: {name}", scale.timed_steps)
                if turn:  # the first turn warms up, and fills the cache
                    seconds[name].append(time.perf_counter() - started)
    return seconds
