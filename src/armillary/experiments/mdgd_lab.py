"""Pre-trained small image-text models, one a seed, and what becomes of them when they learn the target task.

Shapes: T evaluations, A accuracies of the old tasks.
"""

import copy
import tempfile
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

from armillary.data.picture_tasks import PictureExample
from armillary.experiments.mdgd_scale import ARMS, OLD_TASKS, PLAIN, TARGET, Arm, Scale
from armillary.experiments.picture_course import Course, Shape
from armillary.methods.mdgd.config import MDGDSettings
from armillary.methods.mdgd.rank_callback import VisualRankCallback
from armillary.methods.mdgd.rivals import DistillationTrainer, L2SPTrainer, language_lora, orthogonal_subspace
from armillary.methods.mdgd.trainer import MDGDTrainer
from armillary.models.quiet import quiet
from armillary.progress import counted
from armillary.runs.parts import Parts
from armillary.training.step_bar import StepBar

Payload = dict[str, Any]
REPLAY_BATCHES = 16


@dataclass(frozen=True, eq=False)
class Laboratory:
    """One course at one scale and seed. What is slow is computed once and kept as parts of the run."""

    course: Course
    scale: Scale
    seed: int
    parts: Parts

    @cached_property
    def asked(self) -> dict[str, list[PictureExample]]:
        """Questions about pictures of the test split: of the old tasks and of the target."""
        limit = self.scale.asked
        return {task: self.course.examples(task, "test", limit=limit, seed=self.seed) for task in (*OLD_TASKS, TARGET)}

    @cached_property
    def watched(self) -> list[dict[str, torch.Tensor]]:
        """Batches of test pictures over which rank and drift are taken, one question for all."""
        examples = self.course.examples("style", "test", limit=self.scale.pictures, seed=self.seed)
        rows = [self.course.row(example, answered=False) for example in examples]
        batches = [self.course.collate(rows[start : start + 64]) for start in range(0, len(rows), 64)]
        return [{name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values")} for batch in batches]

    def accuracies(self, model: nn.Module) -> dict[str, float]:
        """Share of right answers a task."""
        return {task: float(self.course.right(model, asked).mean()) for task, asked in self.asked.items()}

    def pretrained(self) -> LlavaForConditionalGeneration:
        """A model that has learned the old tasks."""
        scale = self.scale
        shape = Shape(layers=scale.layers, width=scale.width, heads=scale.heads, inner=scale.inner)
        model = self.course.new_model(shape, self.seed)

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
                data_collator=self.course.collate,
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
            "data_collator": self.course.collate,
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
            self.course.collate([rows[i] for i in order[start : start + size]])
            for start in range(0, REPLAY_BATCHES * size, size)
        ]
        return [{name: value for name, value in batch.items() if name != "image_key"} for batch in batches]

    def rows(self, tasks: Sequence[Any]) -> Any:
        found = [self.course.row(example) for task in tasks for example in self.course.examples(task, "train", seed=0)]
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

    def __init__(self, lab: Laboratory, model: nn.Module) -> None:
        self.lab, self.model = lab, model
        self.steps: list[int] = []
        self.accuracies: list[dict[str, float]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._look(0)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.lab.scale.evaluate_every == 0 or state.global_step == state.max_steps:
            self._look(state.global_step)

    def _look(self, step: int) -> None:
        was = self.model.training
        self.steps.append(step)
        self.accuracies.append(self.lab.accuracies(self.model))
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
