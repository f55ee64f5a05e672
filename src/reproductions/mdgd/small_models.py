"""Pre-trained small image-text models, one a seed, and what becomes of them when they learn the target task.

Shapes: T evaluations, A accuracies of the old tasks.
"""

import copy
import gc
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import LlavaForConditionalGeneration, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from armillary.data.images.questions import ImageExample
from armillary.methods.mdgd import (
    MDGDSettings as MDGDSettings,
    MDGDTrainer as MDGDTrainer,
    VisualRankCallback as VisualRankCallback,
    interpolate_,
    keep_patch_,
    visual_hidden_states,
)
from armillary.methods.mdgd.baselines import DistillationTrainer, L2SPTrainer, language_lora, orthogonal_subspace
from armillary.models.quiet import quiet
from armillary.models.vision import find_vision_anatomy
from armillary.progress import counted
from armillary.runs.parts import Parts
from armillary.training.checkpoints import StepBar
from reproductions.images.dataset import ImageDataset, Shape
from reproductions.mdgd.scale import AFTERWARDS, ARMS, OLD_TASKS, PLAIN, PURELY_VISUAL, TARGET, Arm, Scale

Payload = dict[str, Any]
REPLAY_BATCHES = 16


@dataclass(frozen=True, eq=False)
class Context:
    """One course at one scale and seed. What is slow is computed once and kept as parts of the run."""

    dataset: ImageDataset
    scale: Scale
    seed: int
    parts: Parts

    @cached_property
    def asked(self) -> dict[str, list[ImageExample]]:
        """Questions about pictures of the test split: of the old tasks and of the target."""
        limit = self.scale.asked
        return {
            task: self.dataset.examples(task, "test", limit=limit, seed=self.seed) for task in (*OLD_TASKS, TARGET)
        }

    @cached_property
    def watched(self) -> list[dict[str, torch.Tensor]]:
        """Batches of test pictures over which rank and drift are taken, one question for all."""
        examples = self.dataset.examples("style", "test", limit=self.scale.images, seed=self.seed)
        rows = [self.dataset.row(example, answered=False) for example in examples]
        batches = [self.dataset.collate(rows[start : start + 64]) for start in range(0, len(rows), 64)]
        return [{name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values")} for batch in batches]

    def accuracies(self, model: nn.Module) -> dict[str, float]:
        """Share of right answers a task."""
        return {task: float(self.dataset.right(model, asked).mean()) for task, asked in self.asked.items()}

    def pretrained(self) -> LlavaForConditionalGeneration:
        """A model that has learned the old tasks."""
        scale = self.scale
        shape = Shape(layers=scale.layers, width=scale.width, heads=scale.heads, inner=scale.inner)
        model = self.dataset.new_model(shape, self.seed)

        def trained() -> dict[str, NDArray[Any]]:
            rows = self.rows(OLD_TASKS)
            trainer = Trainer(
                model=model,
                args=self.arguments(
                    max_steps=scale.pretrain_steps,
                    per_device_train_batch_size=scale.pretrain_batch,
                    learning_rate=scale.pretrain_rate,
                    lr_scheduler_type="cosine",
                    warmup_steps=scale.pretrain_steps // 20,
                    weight_decay=0.01,
                ),
                train_dataset=rows,
                data_collator=self.dataset.collate,
            )
            advanced(trainer, f"pre-training, seed {self.seed}", scale.pretrain_steps)
            return {name: value.detach().numpy() for name, value in model.state_dict().items()}

        kept = self.parts.arrays(f"pretrained {self.seed}", trained)
        model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in kept.items()})
        model.eval()
        return model

    def tuned(self, name: str, model: LlavaForConditionalGeneration) -> tuple[Payload, nn.Module]:
        """A copy of the model after learning the target by an arm, and what was seen on the way."""
        arm = ARMS[name]
        trainer = self.trainer_of(arm, copy.deepcopy(model))
        tuned = cast(nn.Module, trainer.model)
        watcher = _Watcher(self, tuned)
        ranks = VisualRankCallback(self.watched, every=self.scale.evaluate_every)
        ranks.take_baseline(model)
        trainer.add_callback(watcher)
        trainer.add_callback(ranks)
        advanced(trainer, f"{arm.title}, seed {self.seed}", self.scale.tune_steps)
        seen: Payload = {
            "steps": watcher.steps,
            "accuracies": watcher.accuracies,
            "ranks": [[reading.to_dict() for reading in readings] for _, readings in ranks.history],
            "log": [
                {key: float(value) for key, value in line.items() if key.startswith(("gradient_", "visual_drift"))}
                for line in trainer.state.log_history
                if "gradient_cosine" in line
            ],
        }
        return seen, tuned

    def trainer_of(self, arm: Arm, model: nn.Module) -> Trainer:
        """A trainer of this arm; the model is changed in place."""
        scale = self.scale
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("vision_tower" not in name)
        settings = dict(arm.settings)
        if arm.kind in ("lora", "osf"):
            model = self._adapted(arm, model)
            settings = dict(PLAIN)
        arguments = self.arguments(
            max_steps=scale.tune_steps,
            per_device_train_batch_size=scale.tune_batch,
            learning_rate=scale.tune_rate * arm.rate,
            lr_scheduler_type="constant",
        )
        given: dict[str, Any] = {
            "model": model,
            "args": arguments,
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
        """Old questions about the pictures of the target's training: the old model answers them."""
        rows = self.rows(OLD_TASKS)
        order = np.random.default_rng(self.seed).permutation(len(rows))
        size = self.scale.tune_batch
        batches = [
            self.dataset.collate([rows[i] for i in order[start : start + size]])
            for start in range(0, REPLAY_BATCHES * size, size)
        ]
        return [{name: value for name, value in batch.items() if name != "image_key"} for batch in batches]

    def rows(self, tasks: Sequence[Any]) -> Any:
        found = [
            self.dataset.row(example) for task in tasks for example in self.dataset.examples(task, "train", seed=0)
        ]
        return found

    def arguments(self, **settings: Any) -> TrainingArguments:
        """Of a training that leaves no file."""
        return TrainingArguments(
            output_dir=tempfile.gettempdir(),  # nothing is written: no checkpoint, no log
            save_strategy="no",
            logging_steps=self.scale.evaluate_every,
            report_to="none",
            disable_tqdm=True,
            seed=self.seed,
            data_seed=self.seed,
            use_cpu=not torch.cuda.is_available(),
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            **settings,
        )


class _Watcher(TrainerCallback):
    """Accuracies before training, every so many steps, and at the end."""

    def __init__(self, context: Context, model: nn.Module) -> None:
        self.context, self.model = context, model
        self.steps: list[int] = []
        self.accuracies: list[dict[str, float]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._look(0)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.context.scale.evaluate_every == 0 or state.global_step == state.max_steps:
            self._look(state.global_step)

    def _look(self, step: int) -> None:
        was = self.model.training
        self.steps.append(step)
        self.accuracies.append(self.context.accuracies(self.model))
        self.model.train(was)


def advanced(trainer: Trainer, title: str, steps: int) -> None:
    """Train, with a bar of ours."""
    # It would print its own summary on stdout, where --json leaves nothing but the record.
    trainer.remove_callback(PrinterCallback)
    with counted(title, steps) as bar:
        advancing = StepBar(bar)
        trainer.add_callback(advancing)
        trainer.train()
        trainer.remove_callback(advancing)
    cast(nn.Module, trainer.model).eval()


# The stages of the MDGD reproduction: every arm on one seed, probes of the image states, the cost of a step.
#
# Shapes: P pictures, D hidden size.

PROBED = ("fine_tuning", "align", "paper", "recommended")
ROUNDS = 5


def arm(context: Context, name: str) -> Payload:
    """One arm; from what fine-tuning ends with, also the arms that come afterwards."""
    model = context.pretrained()
    seen, tuned = context.tuned(name, model)
    if name in PROBED:
        seen["probe"] = probes(context, tuned)
    if name == "fine_tuning":
        seen["afterwards"] = {other: _afterwards(context, other, model, tuned) for other in AFTERWARDS}
    return seen


def start(context: Context) -> Payload:
    """What the pre-trained model can do, and what the most frequent answer would score."""
    model = context.pretrained()
    majority = {}
    for task, asked in context.asked.items():
        answers = [example.answer for example in asked]
        majority[task] = max(answers.count(answer) for answer in answers) / len(answers)
    ranks = VisualRankCallback(context.watched)
    return {
        "accuracies": context.accuracies(model),
        "majority": majority,
        "ranks": [reading.to_dict() for reading in ranks.measure(model)],
        "probe": probes(context, model),
    }


def _afterwards(context: Context, name: str, before: nn.Module, tuned: nn.Module) -> Payload:
    model = copy.deepcopy(tuned)
    old = {key: value.detach().clone() for key, value in before.named_parameters()}
    if name == "wise":
        interpolate_(model, old, 0.5)
    else:
        keep_patch_(model, old, ratio=0.1)
    ranks = VisualRankCallback(context.watched)
    ranks.take_baseline(before)
    readings = [reading.to_dict() for reading in ranks.measure(model)]
    return {"accuracies": context.accuracies(model), "ranks": readings}


def probes(context: Context, model: nn.Module) -> dict[str, list[float]]:
    """Accuracy of a linear read-out of style and colour from the mean image state of each layer, test pictures.

    What the states still tell, whatever the answers have become.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found: dict[str, list[float]] = {}
    for task in PURELY_VISUAL:
        train = context.dataset.examples(task, "train", limit=4 * context.scale.images, seed=context.seed)
        asked = context.asked[task]
        fitted, tested = _pooled(context, model, train), _pooled(context, model, asked)
        answers, right = [example.answer for example in train], [example.answer for example in asked]
        found[task] = [
            float(
                make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.1))
                .fit(x_PD, answers)
                .score(y_PD, right)
            )
            for x_PD, y_PD in zip(fitted, tested, strict=True)
        ]
    return found


def _pooled(context: Context, model: nn.Module, examples: Sequence[ImageExample]) -> list[NDArray[np.float64]]:
    """Mean image state of each picture, one array ``[P, D]`` a layer."""
    anatomy = find_vision_anatomy(model)
    layers = range(anatomy.num_layers)
    rows = [context.dataset.row(example, answered=False) for example in examples]
    found: list[list[NDArray[np.float64]]] = [[] for _ in layers]
    for first in range(0, len(rows), 128):
        batch = context.dataset.collate(rows[first : first + 128])
        given = {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values")}
        with torch.no_grad():
            for place, states in zip(found, visual_hidden_states(model, given, layers, anatomy), strict=True):
                pooled = states.double().view(len(batch["input_ids"]), context.dataset.image_tokens, -1).mean(1)
                place.append(pooled.cpu().numpy())
    return [np.concatenate(parts) for parts in found]


def cost(context: Context) -> Payload:
    """Seconds of training some steps by each arm, in turn: plain, with a frozen copy, with cached states."""
    settings: dict[str, MDGDSettings] = {
        "plain": MDGDSettings(projection="none", visual_align_weight=0.0),
        "copy": MDGDSettings(preset="paper", reference="copy"),
        "cached": MDGDSettings(preset="paper", reference="cache"),
    }
    rows = context.rows((TARGET,))[: context.scale.timed_steps * context.scale.tune_batch]
    trainers = {
        name: MDGDTrainer(
            model=copy.deepcopy(context.pretrained()),
            args=context.arguments(
                max_steps=context.scale.timed_steps,
                per_device_train_batch_size=context.scale.tune_batch,
                learning_rate=context.scale.tune_rate,
            ),
            train_dataset=rows,
            data_collator=context.dataset.collate,
            settings=one,
        )
        for name, one in settings.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    gc.collect()
    gc.freeze()  # a Trainer collects garbage before every training, which would make plain and ours more alike
    for turn in range(1 + ROUNDS):
        for name, trainer in trainers.items():
            started = time.perf_counter()
            advanced(trainer, f"timing: {name}", context.scale.timed_steps)
            if turn:  # the first turn warms up, and fills the cache
                seconds[name].append(time.perf_counter() - started)
    gc.unfreeze()
    return seconds
