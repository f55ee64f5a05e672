"""What the stages of the CoMMIT reproduction share: lessons, rows, questions to be asked, and one run of an arm.

Shapes: T steps at which something was read.
"""

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from armillary.experiments.commit_scale import ARMS, Rates, Scale
from armillary.experiments.commit_trainer import WatchedTrainer, trained, trainer_of
from armillary.experiments.picture_course import Shape
from armillary.methods.commit import CoMMITConfig
from armillary.methods.commit.rivals import FixedMultipliers, feature_cd, fixed_ratio, language_cd, mean_multipliers
from armillary.runs.parts import Parts
from armillary.training.answer_loss import answer_loss, with_answer_positions
from armillary.training.component_groups import FEATURE_ENCODER, LLM

Payload = dict[str, Any]
_AT_ONCE = 128


class Lessons(Protocol):
    """Questions about pictures or sounds, as data for a small model that reads them: what a laboratory needs."""

    @property
    def tasks(self) -> Sequence[Any]: ...

    @property
    def words(self) -> Mapping[str, int]: ...

    def examples(self, task: Any, split: str, *, limit: int | None = None, seed: int = 0) -> list[Any]: ...

    def row(self, example: Any, *, answered: bool = True) -> dict[str, Any]: ...

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]: ...

    def new_model(self, shape: Shape, seed: int) -> PreTrainedModel: ...

    def right(self, model: nn.Module, examples: Sequence[Any]) -> NDArray[np.float64]: ...


@dataclass(frozen=True, eq=False)
class Laboratory:
    """One course at one scale. Every run is kept as a part of the whole."""

    course: Lessons
    scale: Scale
    seed: int
    parts: Parts
    device: torch.device
    named: str = ""
    """What the names of its parts begin with, where there is another laboratory beside it."""

    @property
    def judged(self) -> list[int]:
        """Seeds of the runs that claims are judged by; the lab's own is left to the search for the best pair."""
        return [self.seed + 1 + offset for offset in range(self.scale.seeds)]

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Every question about the training split, with its answer."""
        return [self.course.row(one) for task in self.course.tasks for one in self.course.examples(task, "train")]

    @cached_property
    def asked(self) -> list[Any]:
        """Validation questions, the tasks by turns, so that a beginning has as many of each."""
        limit = self.scale.asked
        found = [self.course.examples(task, "validation", limit=limit, seed=self.seed) for task in self.course.tasks]
        shortest = min(len(examples) for examples in found)
        return [examples[place] for place in range(shortest) for examples in found]

    @property
    def watched(self) -> list[Any]:
        """The first of the validation questions."""
        return self.asked[: self.scale.watched * len(self.course.tasks)]

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """A batch as the model takes it."""
        return {name: value for name, value in self.course.collate(rows).items() if name != "image_key"}

    @torch.inference_mode()
    def loss(self, model: nn.Module, examples: Sequence[Any]) -> float:
        """Mean negative log-likelihood of the answers' tokens, nats; that of chance where it is not finite."""
        was = model.training
        model.eval()
        device = next(model.parameters()).device
        total, tokens = 0.0, 0
        collate = with_answer_positions(self.course.collate)
        for start in range(0, len(examples), _AT_ONCE):
            batch = collate([self.course.row(example) for example in examples[start : start + _AT_ONCE]])
            labels = batch.pop("labels").to(device)
            outputs = model(**{name: value.to(device) for name, value in batch.items()})
            total += float(answer_loss(outputs, labels, 1))
            tokens += int((labels[:, 1:] != -100).sum())
        model.train(was)
        return total / tokens if math.isfinite(total) else math.log(len(self.course.words))

    def new_model(self, seed: int) -> PreTrainedModel:
        """A random model of this scale, where the lab trains."""
        scale = self.scale
        shape = Shape(layers=scale.layers, width=scale.width, heads=scale.heads, inner=scale.inner)
        model = self.course.new_model(shape, seed)
        model.to(self.device)  # type: ignore[arg-type]
        return model

    def arguments(self, steps: int, batch: int, seed: int) -> TrainingArguments:
        """AdamW without weight decay, cosine behind a short warm-up, nothing written."""
        return TrainingArguments(
            output_dir=tempfile.gettempdir(),  # nothing is written: no checkpoint, no log
            max_steps=steps,
            per_device_train_batch_size=batch,
            learning_rate=1e-3,  # each component has its own
            lr_scheduler_type="cosine",
            warmup_steps=max(1, steps // 20),
            weight_decay=0.0,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=seed,
            data_seed=seed,
            use_cpu=self.device.type == "cpu",
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        )

    def probing(self, **settings: Any) -> CoMMITConfig:
        """Settings of the method with this scale's probes."""
        return CoMMITConfig(interval=self.scale.interval, first_probe=self.scale.first_probe, **settings)

    def run(self, arm: str, rates: Rates, seed: int) -> Payload:
        """What a run of an arm left, from this pair of rates; see ``_run``."""
        name = f"{self.named}run {arm} {rates[0]:.3g} {rates[1]:.3g} seed {seed}"
        found: Payload = self.parts.json(name, lambda: self._run(arm, rates, seed))
        return found

    def _run(self, arm: str, rates: Rates, seed: int) -> Payload:
        """Losses on the way and at the end, share of right answers, probes, rates and gradient norms.

        A run whose multipliers are those of a lift run from the same start and seed makes that run first.
        """
        model, settings = self.new_model(seed), ARMS[arm].commit
        watcher = _Watcher(self, model)
        trainer = trainer_of(
            model,
            self.arguments(self.scale.steps, self.scale.batch, seed),
            self.rows,
            self.collate,
            rates,
            self.probing(**({"gamma": 0.0} if settings is None else settings)),
            watched_only=settings is None,
            callbacks=[watcher, *self._rival(arm, rates, seed)],
        )
        record = trained(trainer, "")
        return {
            "watch": {"steps": watcher.steps, "loss": watcher.losses},
            "final": self.loss(model, self.asked),
            "right": float(self.course.right(model, self.asked).mean()),
            "record": record,
            "multipliers": self._mean_multipliers(trainer),
        }

    def _rival(self, arm: str, rates: Rates, seed: int) -> list[TrainerCallback]:
        if arm == "feature_cd":
            return [feature_cd(self.scale.block)]
        if arm == "language_cd":
            return [language_cd(self.scale.block)]
        if arm == "fixed_ratio":
            return [fixed_ratio(8.0, FEATURE_ENCODER)]
        if arm not in ("matched", "exchanged"):
            return []
        mean = self.run("lift", rates, seed)["multipliers"]
        if arm == "exchanged":
            mean = {FEATURE_ENCODER: mean[LLM], LLM: mean[FEATURE_ENCODER]}
        return [FixedMultipliers(mean)]

    def _mean_multipliers(self, trainer: WatchedTrainer) -> dict[str, float]:
        controller = trainer.monitor.controller
        assert controller is not None
        return mean_multipliers(controller.trace, controller.names, self.scale.steps)


class _Watcher(TrainerCallback):
    """The loss on the watched questions before training, every so many steps, and at the end."""

    def __init__(self, lab: Laboratory, model: nn.Module) -> None:
        self.lab, self.model = lab, model
        self.steps: list[int] = []
        self.losses: list[float] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._look(0)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.lab.scale.watch_every == 0 or state.global_step == state.max_steps:
            self._look(state.global_step)

    def _look(self, step: int) -> None:
        self.steps.append(step)
        self.losses.append(self.lab.loss(self.model, self.lab.watched))
