"""A real language model that is given images, learns to see, and then learns a new task by each arm of MDGD.

[derived] DINOv2-small, a new connector and the given model, which learns to see by the recipe of ``armillary train
connector``; on the new task the last layers alone are tuned. What every training gave is kept as a part of the run.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import TrainingArguments

from armillary.data.images.questions import ImageExample, ImageTask, image_examples
from armillary.finetuning.config import ConnectorConfig
from armillary.finetuning.connector.work import see
from armillary.finetuning.image_setup import ImageTextSetup, image_text_setup, opened_setup
from armillary.methods.mdgd import MDGDTrainer, VisualRank, VisualRankCallback
from armillary.models import LoadedModel
from armillary.models.vision import find_vision_anatomy, stored_states
from armillary.runs.parts import Parts
from armillary.training.checkpoints import only_trainable
from armillary.training.questions import answer_loss, with_answer_positions
from reproductions.images.training import Readings, train, unsaved
from reproductions.mdgd.scale import OLD_TASKS, REAL_ARMS, TARGET, RealScale
from reproductions.mdgd.small_models import inputs_of

_AT_ONCE = 16

Answers = dict[str, list[float]]
"""Task -> 1 for each question that is answered rightly, else 0."""


@dataclass(frozen=True, kw_only=True)
class RealStart:
    """The model that has learned to see."""

    right: Answers
    majority: Answers
    """What the most frequent answer of each task would score."""

    images: dict[str, list[int]]
    """Of each question the number of its emoji."""

    ranks: tuple[VisualRank, ...]


@dataclass(frozen=True, kw_only=True)
class RealArm:
    """One way of learning the target."""

    steps: list[int]
    right: list[Answers]
    """At each of the steps."""

    ranks: tuple[VisualRank, ...]
    """At the end, with the drift from the start."""


@dataclass(frozen=True, kw_only=True)
class RealSeed:
    """All of one seed."""

    start: RealStart
    arms: dict[str, RealArm]

    def right(self, name: str) -> Answers:
        """At the end of an arm, or at the start."""
        return self.start.right if name == "start" else self.arms[name].right[-1]


@dataclass(eq=False)
class GivenModel:
    """One seed: its connector (where none is given), its invented words, its order of rows."""

    loaded: LoadedModel
    scale: RealScale
    seed: int
    parts: Parts
    synthetic: bool = False
    image_model: str | None = None
    """Folder of the model that sees already; None trains the seed's own."""

    @cached_property
    def setup(self) -> ImageTextSetup:
        """With the connector of the seed, which is trained in place, or the model that sees already."""
        if self.image_model is not None:
            return opened_setup(self.image_model, self.loaded)
        return image_text_setup(self.loaded, "synthetic" if self.synthetic else "emoji", seed=self.seed)

    @cached_property
    def questions(self) -> dict[str, list[ImageExample]]:
        """About test images, of the old tasks and the target."""
        return {task: self.examples(task, "test", self.scale.questions) for task in (*OLD_TASKS, TARGET)}

    def examples(self, task: ImageTask, split: str, limit: int | None = None) -> list[ImageExample]:
        """The words of the target are those of the seed in every split."""
        return image_examples(self.setup.emoji, task, split, limit=limit, seed=self.seed)

    @cached_property
    def _layers(self) -> list[nn.Parameter]:
        anatomy = find_vision_anatomy(self.setup.model)
        return [parameter for layer in anatomy.layers[-self.scale.layers :] for parameter in layer.parameters()]

    @contextmanager
    def seeing(self) -> Iterator[None]:
        """Inside, the model reads stored states and has learned to see."""
        if self.image_model is not None:
            with stored_states(self.setup.model):
                yield
            return
        scale, folder = self.scale, self.parts.folder
        recipe = ConnectorConfig(
            model=self.loaded.name,
            steps=scale.see_steps,
            batch_size=scale.see_batch,
            start_steps=scale.start_steps,
            bfloat16=scale.bfloat16,
            seed=self.seed,
        )
        with stored_states(self.setup.model), TemporaryDirectory() as scratch:
            see(self.setup, recipe, Path(scratch) if folder is None else folder / f"sees {self.seed}")
            yield

    def start(self) -> RealStart:
        """Before the new task."""
        ranks = VisualRankCallback(self._watched).measure(self.setup.model)
        majority, images = {}, {}
        for task, examples in self.questions.items():
            most = Counter(example.answer for example in examples).most_common(1)[0][0]
            majority[task] = [float(example.answer == most) for example in examples]
            images[task] = [example.image for example in examples]
        return RealStart(right=self.right(), majority=majority, images=images, ranks=ranks)

    def arm(self, name: str) -> RealArm:
        """Right answers by step and ranks at the end of one arm; the weights are put back afterwards."""
        return self.parts.decoded(RealArm, f"arm {name} {self.seed}", partial(self._arm, name))

    def _arm(self, name: str) -> RealArm:
        arm, model, scale = REAL_ARMS[name], self.setup.model, self.scale
        before = [parameter.detach().clone() for parameter in self._layers]
        ranks = VisualRankCallback(self._watched, every=scale.tune_steps)
        readings = Readings(self.right, scale.evaluate_every, first=False)
        # Of the trained layers all but the last, whose image states no answer reads; those below can't drift.
        count = find_vision_anatomy(model).num_layers
        held = ",".join(str(layer) for layer in range(count - scale.layers, count - 1))
        collate = self.setup.rows.collate
        positions = with_answer_positions(collate)

        def with_keys(rows: Sequence[Any]) -> dict[str, Tensor]:
            # ``image_key`` stays, for the cache of MDGD's reference.
            return {**positions(rows), "image_key": collate(rows)["image_key"]}

        try:
            with only_trainable(model, self._layers):
                trainer = MDGDTrainer(
                    model=model,
                    args=self._arguments(scale.tune_steps, scale.tune_rate * arm.rate, "constant"),
                    train_dataset=self._rows((TARGET,), scale.tune_steps),
                    data_collator=with_keys,
                    compute_loss_func=answer_loss,
                    settings=arm.mdgd(visual_layers=held),
                    callbacks=[readings, ranks],
                )
                train(trainer, f"{arm.title}, seed {self.seed}", scale.tune_steps)
            return RealArm(steps=readings.steps, right=readings.values, ranks=ranks.history[-1][1])
        finally:
            for parameter, kept in zip(self._layers, before, strict=True):
                parameter.data.copy_(kept)

    @torch.inference_mode()
    def right(self) -> Answers:
        """A question counts as right where the right choice has the most probable first token of all choices."""
        self.setup.model.eval()
        return {
            task: [right for part in _parted(examples) for right in self._right(part)]
            for task, examples in self.questions.items()
        }

    def _right(self, examples: Sequence[ImageExample]) -> list[float]:
        rows, device = self.setup.rows, self.loaded.device
        batch = rows.collate([rows.row(example, answered=False) for example in examples])
        last_B = batch["attention_mask"].sum(1) - 1
        keep = last_B.unique()
        given = {name: value.to(device) for name, value in inputs_of(batch).items()}
        logits_BKV = self.setup.model(**given, logits_to_keep=keep.to(device)).logits.float().cpu()
        logits_BV = logits_BKV[torch.arange(len(examples)), torch.searchsorted(keep, last_B)]
        right = []
        for logits_V, example in zip(logits_BV, examples, strict=True):
            choices = example.choices or ()
            best = int(logits_V[[rows.answer(choice)[0] for choice in choices]].argmax())
            right.append(float(choices[best] == example.answer))
        return right

    @cached_property
    def _watched(self) -> list[dict[str, Tensor]]:
        rows = self.setup.rows
        made = [rows.row(example, answered=False) for example in self.examples("style", "test", self.scale.images)]
        return [inputs_of(rows.collate(part)) for part in _parted(made)]

    def _rows(self, tasks: Sequence[ImageTask], steps: int) -> Any:
        each = -(-steps * self.scale.batch // len(tasks))
        made = [self.setup.rows.row(example) for task in tasks for example in self.examples(task, "train", each)]
        order = np.random.default_rng(self.seed).permutation(len(made))
        return [made[int(index)] for index in order]

    def _arguments(self, steps: int, rate: float, schedule: str) -> TrainingArguments:
        on_cpu = self.loaded.device.type == "cpu"
        return unsaved(
            steps, self.scale.batch, rate, self.seed, on_cpu=on_cpu, lr_scheduler_type=schedule, weight_decay=0.0
        )


def _parted(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE)]
