"""Small image-text models, pre-trained one a seed, and what becomes of them when they learn the target by each arm."""

import copy
import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import Cache, LlavaForConditionalGeneration, Trainer, TrainingArguments

from armillary.methods.mdgd import (
    MDGDSettings,
    MDGDTrainer,
    VisualRank,
    VisualRankCallback,
    decouple,
    interpolate_,
    keep_patch_,
    relative_drift,
    trainable_weights,
    visual_hidden_states,
)
from armillary.methods.mdgd.baselines import DistillationTrainer, L2SPTrainer, language_lora, orthogonal_subspace
from armillary.models.quiet import quiet
from armillary.models.vision import find_vision_anatomy
from armillary.runs.parts import Parts
from reproductions.images.dataset import ImageDataset, Shape, WordRow
from reproductions.images.training import Readings, little_to_collect, train, unsaved
from reproductions.mdgd.grafts import Accuracies, Quiz
from reproductions.mdgd.off_images import OffImagesTrainer, image_spans
from reproductions.mdgd.scale import ARMS, BOTH, OLD_TASKS, PLAIN, SHARES, TARGET, Arm, Scale

REPLAY_BATCHES = 16
"""Of learning without forgetting, gone through by turns: more would hold more old questions, and take more memory."""

SPANNED = 256
"""Training images from whose tokens the span of image inputs is taken: 4,096 rows for some hundred dimensions."""

ROUNDS = 5
"""Timings of each kind, by turns."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A model at one moment of its training."""

    accuracies: Accuracies
    new_eyes: Accuracies
    """Old tasks, image states by this model and answers by the pre-trained one; empty where it was not asked."""

    old_eyes: Accuracies
    """Old tasks, image states by the pre-trained model and answers by this one; empty where it was not asked."""

    cosine: float = 0.0
    """Of task and drift gradient, on the same batch in every arm."""

    drift: float = 0.0
    """``relative_drift`` of the image states, mean over all layers but the last."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """A pre-trained model."""

    accuracies: Accuracies
    majority: Accuracies
    """What the most frequent answer would score."""

    ranks: tuple[VisualRank, ...]
    read_outs: dict[str, list[float]]


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """One way of learning the target, over its training and at its end."""

    steps: list[int]
    evaluations: list[Evaluation]
    ranks: tuple[VisualRank, ...]
    """Effective rank of the image states and their drift, by layer; empty at a rate that is not judged."""

    read_outs: dict[str, list[float]]
    """Empty at a rate that is not judged."""

    afterwards: dict[str, list[Accuracies]] = field(default_factory=dict)
    """Of fine-tuning: what can be made of the weights that it ends with, over the share of the way."""


@dataclass(frozen=True, kw_only=True)
class SeedResult:
    """All of one seed."""

    start: Start
    arms: dict[str, ArmResult]
    """At the rate that is judged."""

    swept: dict[str, dict[str, ArmResult]]
    """By rate, the judged one among them: the arms that are trained at every rate."""


@dataclass(frozen=True, eq=False)
class Observer:
    """Reads models while they are tuned, against the pre-trained one that they began as."""

    quiz: Quiz
    old: nn.Module
    seen: Cache
    """What the old model makes of the quiz's images."""

    trainer: MDGDTrainer
    """Of the model that is read: it only gives the two gradients of a batch."""

    batch: dict[str, Tensor]

    def read(self, model: nn.Module, *, old_reader: bool = True, old_eyes: bool = True) -> Evaluation:
        """Answers, the two gradients compared, and the grafts that are wanted."""
        model.eval()
        seen = self.quiz.seen(model)
        return Evaluation(
            accuracies=self.quiz.answers(model, seen),
            new_eyes=self.quiz.answers(self.old, seen, OLD_TASKS) if old_reader else {},
            old_eyes=self.quiz.answers(model, self.seen, OLD_TASKS) if old_eyes else {},
            cosine=self._cosine(model),
            drift=self._drift(model),
        )

    def _cosine(self, model: nn.Module) -> float:
        task, visual = self.trainer.gradients(model, dict(self.batch))
        parameters = self.trainer.trainable()
        both = [[of_loss.get(parameter) for parameter in parameters] for of_loss in (task, visual)]
        return float(decouple(*both, mode="none")[1].cosine)

    def _drift(self, model: nn.Module) -> float:
        prefix = {name: value[: len(self.batch["input_ids"])] for name, value in self.quiz.prefix_of_images.items()}
        now, before = (
            visual_hidden_states(which, prefix, self.trainer.layers, find_vision_anatomy(which))
            for which in (model, self.old)
        )
        return float(np.mean([relative_drift(x, y) for x, y in zip(now, before, strict=True)]))


@dataclass(frozen=True, eq=False)
class Context:
    """One data set at one scale and seed. What is slow is computed once and kept as parts of the run."""

    dataset: ImageDataset
    scale: Scale
    seed: int
    parts: Parts

    @cached_property
    def quiz(self) -> Quiz:
        """Questions about test images, of the old tasks and of the target."""
        return Quiz(self.dataset, self.scale.images, self.seed)

    def ranks(self, model: nn.Module, baseline: nn.Module | None = None) -> tuple[VisualRank, ...]:
        """Effective ranks of a model's image states, and their drift from another's."""
        examples = self.quiz.examples[TARGET][: self.scale.ranked]
        callback = VisualRankCallback([self.quiz.prefix(examples)])
        if baseline is not None:
            callback.take_baseline(baseline)
        return callback.measure(model)

    @cached_property
    def target_rows(self) -> list[WordRow]:
        """Rows of the target's whole training split."""
        return self.rows((TARGET,))

    @cached_property
    def old_rows(self) -> list[WordRow]:
        """Rows of the old tasks' whole training split."""
        return self.rows(OLD_TASKS)

    def rows(self, tasks: Sequence[Any]) -> list[WordRow]:
        """Rows of the whole training split, task after task."""
        examples = (example for task in tasks for example in self.dataset.examples(task, "train", seed=0))
        return [self.dataset.row(example) for example in examples]

    def arguments(self, steps: int, batch: int, rate: float, **more: Any) -> TrainingArguments:
        """Of a training that leaves no file."""
        on_cpu = not torch.cuda.is_available()
        return unsaved(steps, batch, rate, self.seed, on_cpu=on_cpu, logging_steps=max(1, steps), **more)

    @cached_property
    def pretrained(self) -> LlavaForConditionalGeneration:
        """A model that has learned the old tasks; to be copied before it is trained."""
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
                train_dataset=cast(Any, self.old_rows),
                data_collator=self.dataset.collate,
            )
            train(trainer, f"pre-training, seed {self.seed}", scale.pretrain_steps)
            return {name: value.detach().numpy() for name, value in model.state_dict().items()}

        kept = self.parts.arrays(f"pretrained {self.seed}", trained)
        model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in kept.items()})
        model.eval()
        return model

    def trainer_of(self, arm: Arm, model: nn.Module, rate: float, steps: int) -> Trainer:
        """A trainer of this arm at a rate; the model is changed in place."""
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("vision_tower" not in name)
        settings = dict(arm.settings)
        if arm.kind in ("lora", "osf"):
            model = self._adapted(arm, model)
            settings = dict(PLAIN)
        given: dict[str, Any] = {
            "model": model,
            "args": self.arguments(steps, self.scale.tune_batch, rate * arm.rate, lr_scheduler_type="constant"),
            "train_dataset": self.old_rows if arm.kind == "old_tasks" else self.target_rows,
            "data_collator": self.dataset.collate,
        }
        if arm.kind == "l2sp":
            return L2SPTrainer(**given, **settings)
        if arm.kind == "lwf":
            return DistillationTrainer(**given, replay=self._replay(), **settings)
        if arm.kind == "off_images":
            examples = self.dataset.examples(TARGET, "train", limit=SPANNED, seed=0)
            return OffImagesTrainer(**given, spans=image_spans(model, self.quiz.prefix(examples)))
        return MDGDTrainer(**given, settings=MDGDSettings(**(settings or PLAIN)))

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
        rows, size = self.old_rows, self.scale.tune_batch
        order = np.random.default_rng(self.seed).permutation(len(rows))
        batches = [
            self.dataset.collate([rows[i] for i in order[start : start + size]])
            for start in range(0, REPLAY_BATCHES * size, size)
        ]
        return [{name: value for name, value in batch.items() if name != "image_key"} for batch in batches]

    def observer(self, model: nn.Module) -> Observer:
        """Of a model that begins as the pre-trained one."""
        rows, size = self.target_rows, self.scale.cosine_rows
        order = np.random.default_rng(self.seed).permutation(len(rows))
        batch = self.dataset.collate([rows[i] for i in order[:size]])
        trainer = MDGDTrainer(
            model=model,
            args=self.arguments(1, size, 0.0),
            data_collator=self.dataset.collate,
            settings=MDGDSettings(**BOTH),
            reference_model=self.pretrained,
        )
        return Observer(self.quiz, self.pretrained, self.quiz.seen(self.pretrained), trainer, batch)

    def tuned(self, arm: Arm, rate: float, steps: int) -> tuple[list[int], list[Evaluation], nn.Module]:
        """Moments, what was read at them while a copy of the model learned the target by an arm, and the copy."""
        steps = round(steps * arm.longer)
        trainer = self.trainer_of(arm, copy.deepcopy(self.pretrained), rate, steps)
        model = cast(nn.Module, trainer.model)
        observer = self.observer(model)

        def read() -> Evaluation:
            # Grafts are half of the work: at the end of every arm, and all along where sight is compared.
            ended = trainer.state.global_step == steps
            return observer.read(model, old_reader=ended or arm.sighted, old_eyes=ended)

        readings = Readings(read, max(1, steps // self.scale.evaluations), first=False)
        trainer.add_callback(readings)
        with little_to_collect():
            train(trainer, f"{arm.title} at {rate:g}, seed {self.seed}", steps)
        return readings.steps, readings.values, model


def inputs_of(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What of a batch a model takes, without labels and keys."""
    return {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values")}


# The stages: the pilot, the start and every arm of one seed, and the cost of a step.


def pilot(context: Context) -> dict[str, list[float]]:
    """By rate: target accuracy of plain fine-tuning at each moment, on a seed that is not judged."""
    by_rate = {}
    for rate, steps in context.scale.rates:
        _, evaluations, _ = context.tuned(ARMS["fine_tuning"], rate, steps)
        by_rate[f"{rate:g}"] = [evaluation.accuracies[TARGET] for evaluation in evaluations]
    return by_rate


def start(context: Context) -> Start:
    """What the pre-trained model can do."""
    model, quiz = context.pretrained, context.quiz
    accuracies = quiz.answers(model, quiz.seen(model))
    return Start(
        accuracies=accuracies,
        majority=quiz.majority,
        ranks=context.ranks(model),
        read_outs=quiz.read_outs(model),
    )


def arm(context: Context, name: str, rate: float, steps: int, *, judged: bool) -> ArmResult:
    """One arm at one rate; at the ``judged`` one also ranks and read-outs at its end, and what comes afterwards."""
    moments, evaluations, model = context.tuned(ARMS[name], rate, steps)
    afterwards = SHARES if judged and name == "fine_tuning" else {}
    return ArmResult(
        steps=moments,
        evaluations=evaluations,
        ranks=context.ranks(model, context.pretrained) if judged else (),
        read_outs=context.quiz.read_outs(model) if judged else {},
        afterwards={other: _shares(context, model, other) for other in afterwards},
    )


def _shares(context: Context, tuned: nn.Module, name: str) -> list[Accuracies]:
    before = trainable_weights(context.pretrained)
    accuracies = []
    for share in SHARES[name]:
        model = copy.deepcopy(tuned)
        if name == "wise":
            interpolate_(model, before, share)
        else:
            keep_patch_(model, before, ratio=share)
        accuracies.append(context.quiz.answers(model, context.quiz.seen(model)))
    return accuracies


def cost(context: Context) -> dict[str, list[float]]:
    """Seconds of some steps by each arm, in turn: plain, with a frozen copy, with cached states, text only."""
    scale = context.scale
    arms = {
        "plain": Arm(title="", settings=PLAIN),
        "copy": Arm(title="", settings={**BOTH, "reference": "copy"}),
        "cached": Arm(title="", settings={**BOTH, "reference": "cache"}),
        "text_gradient": ARMS["text_gradient"],
    }
    rate, steps = scale.rates[0][0], scale.timed_steps
    trainers = {
        name: context.trainer_of(of_arm, copy.deepcopy(context.pretrained), rate, steps)
        for name, of_arm in arms.items()
    }
    for trainer in trainers.values():
        trainer.train_dataset = cast(Any, context.target_rows[: steps * scale.tune_batch])
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    gc.collect()
    with little_to_collect():  # else the Trainer's garbage collection would make plain and ours more alike
        for turn in range(1 + ROUNDS):
            for name, trainer in trainers.items():
                started = time.perf_counter()
                train(trainer, f"timing: {name}", steps)
                if turn:  # the first turn warms up, and fills the cache
                    seconds[name].append(time.perf_counter() - started)
    return seconds
