"""A real language model that is given pictures, learns to see, and then learns a new task by each arm of MDGD.

[derived] DINOv2-small, a new connector and the given model. On the old tasks the connector is trained, then connector
and last layers; on the new task the last layers alone. Every training is kept as a part of the run.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from armillary.data.images.questions import ImageExample, ImageTask, image_examples
from armillary.finetuning.image_setup import ImageTextSetup, image_text_setup
from armillary.methods.mdgd import MDGDSettings, MDGDTrainer, VisualRankCallback
from armillary.models import LoadedModel
from armillary.models.vision import find_vision_anatomy, stored_states
from armillary.runs.parts import Parts
from armillary.training.checkpoints import only_trainable
from armillary.training.questions import answer_loss, with_answer_positions
from reproductions.mdgd.scale import OLD_TASKS, REAL_ARMS as ARMS, TARGET, RealScale
from reproductions.mdgd.small_models import Payload, advanced

_AT_ONCE = 16


@dataclass(eq=False)
class GivenModel:
    """One seed: its connector, its made-up words, its order of rows."""

    loaded: LoadedModel
    scale: RealScale
    seed: int
    parts: Parts

    @cached_property
    def setup(self) -> ImageTextSetup:
        """With the connector of the seed; trained in place."""
        return image_text_setup(self.loaded, "synthetic" if self.scale.synthetic else "emoji", seed=self.seed)

    @cached_property
    def asked(self) -> dict[str, list[ImageExample]]:
        """Questions about test pictures, of the old tasks and the target."""
        return {task: self.examples(task, "test", self.scale.asked) for task in (*OLD_TASKS, TARGET)}

    def examples(self, task: ImageTask, split: str, limit: int | None = None) -> list[ImageExample]:
        """The words of the target are those of the seed in every split."""
        return image_examples(self.setup.emoji, task, split, limit=limit, seed=self.seed)

    @cached_property
    def _layers(self) -> list[nn.Parameter]:
        anatomy = find_vision_anatomy(self.setup.model)
        return [parameter for layer in anatomy.layers[-self.scale.layers :] for parameter in layer.parameters()]

    @property
    def _held(self) -> str:
        """The trained layers but the last, whose image states no answer reads; those below can't drift."""
        count = find_vision_anatomy(self.setup.model).num_layers
        return ",".join(str(layer) for layer in range(count - self.scale.layers, count - 1))

    @contextmanager
    def seeing(self) -> Iterator[None]:
        """Inside, the model reads stored states and has learned the old tasks."""
        connector = find_vision_anatomy(self.setup.model).connector
        assert connector is not None
        with stored_states(self.setup.model):
            bridge = list(connector.parameters())
            stages = (
                ("connector", bridge, self.scale.connector_steps),
                ("both", [*bridge, *self._layers], self.scale.joint_steps),
            )
            for name, trained, steps in stages:
                self._kept(f"{name} {self.seed}", trained, lambda t=trained, s=steps: self._learn(t, s))
            yield

    def start(self) -> Payload:
        """Before the new task: right answers, what the most frequent answer would score, effective ranks."""
        majority = {}
        for task, asked in self.asked.items():
            answers = [example.answer for example in asked]
            majority[task] = max(map(answers.count, answers)) / len(answers)
        ranks = VisualRankCallback(self._watched).measure(self.setup.model)
        return {"right": self.right(), "majority": majority, "ranks": [reading.to_dict() for reading in ranks]}

    def arm(self, name: str) -> Payload:
        """Right answers by step and ranks at the end of one arm; the weights are put back afterwards."""
        found: Payload = self.parts.json(f"arm {name} {self.seed}", lambda: self._arm(name))
        return found

    def _arm(self, name: str) -> Payload:
        arm, model = ARMS[name], self.setup.model
        before = [parameter.detach().clone() for parameter in self._layers]
        ranks = VisualRankCallback(self._watched, every=self.scale.tune_steps)
        watcher = _Watcher(self)
        try:
            with only_trainable(model, self._layers):
                trainer = MDGDTrainer(
                    model=model,
                    args=self._arguments(self.scale.tune_steps, self.scale.tune_rate * arm.rate),
                    train_dataset=self._rows((TARGET,), self.scale.tune_steps),
                    data_collator=_answered(self.setup.rows.collate),
                    compute_loss_func=answer_loss,
                    settings=MDGDSettings(**arm.settings, visual_layers=self._held),
                    callbacks=[watcher, ranks],
                )
                advanced(trainer, f"{arm.title}, seed {self.seed}", self.scale.tune_steps)
            return {
                "steps": watcher.steps,
                "right": watcher.right,
                "ranks": [reading.to_dict() for reading in ranks.history[-1][1]],
            }
        finally:
            for parameter, kept in zip(self._layers, before, strict=True):
                parameter.data.copy_(kept)

    @torch.inference_mode()
    def right(self) -> dict[str, list[float]]:
        """Task -> 1 for each question whose right choice has the most probable first token of all choices."""
        self.setup.model.eval()
        return {
            task: [one for part in _parted(asked) for one in self._right(part)] for task, asked in self.asked.items()
        }

    def _right(self, asked: Sequence[ImageExample]) -> list[float]:
        rows = self.setup.rows
        batch = rows.collate([rows.row(example, answered=False) for example in asked])
        last_B = batch["attention_mask"].sum(1) - 1
        keep = last_B.unique()
        given = {name: batch[name].to(self.loaded.device) for name in ("input_ids", "attention_mask", "pixel_values")}
        logits_BKV = self.setup.model(**given, logits_to_keep=keep.to(self.loaded.device)).logits.float().cpu()
        logits_BV = logits_BKV[torch.arange(len(asked)), torch.searchsorted(keep, last_B)]
        found = []
        for logits_V, example in zip(logits_BV, asked, strict=True):
            choices = example.choices or ()
            best = int(logits_V[[rows.answer(choice)[0] for choice in choices]].argmax())
            found.append(float(choices[best] == example.answer))
        return found

    @cached_property
    def _watched(self) -> list[dict[str, Tensor]]:
        rows = self.setup.rows
        made = [rows.row(one, answered=False) for one in self.examples("style", "test", self.scale.images)]
        batches = [rows.collate(part) for part in _parted(made)]
        return [{name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values")} for batch in batches]

    def _rows(self, tasks: Sequence[ImageTask], steps: int) -> Any:
        each = -(-steps * self.scale.batch // len(tasks))
        made = [self.setup.rows.row(one) for task in tasks for one in self.examples(task, "train", each)]
        order = np.random.default_rng(self.seed).permutation(len(made))
        return [made[int(place)] for place in order]

    def _learn(self, trained: Sequence[nn.Parameter], steps: int) -> None:
        with only_trainable(self.setup.model, trained):
            trainer = Trainer(
                model=self.setup.model,
                args=self._arguments(steps, self.scale.learn_rate, lr_scheduler_type="cosine"),
                train_dataset=self._rows(OLD_TASKS, steps),
                data_collator=with_answer_positions(self.setup.rows.collate),
                compute_loss_func=answer_loss,
            )
            advanced(trainer, f"learning to see, seed {self.seed}", steps)

    def _kept(self, name: str, trained: Sequence[nn.Parameter], train: Any) -> None:
        """Train once; from then on the weights are read from the run's parts."""

        def compute() -> dict[str, NDArray[Any]]:
            train()
            return {str(place): one.detach().cpu().numpy() for place, one in enumerate(trained)}

        kept = self.parts.arrays(f"weights {name}", compute)
        with torch.no_grad():
            for place, parameter in enumerate(trained):
                parameter.copy_(torch.from_numpy(np.array(kept[str(place)])))
        self.setup.model.eval()

    def _arguments(self, steps: int, rate: float, lr_scheduler_type: str = "constant") -> TrainingArguments:
        return TrainingArguments(
            output_dir=tempfile.gettempdir(),  # nothing is written: no checkpoint, no log
            max_steps=steps,
            per_device_train_batch_size=self.scale.batch,
            learning_rate=rate,
            lr_scheduler_type=lr_scheduler_type,
            weight_decay=0.0,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=self.seed,
            data_seed=self.seed,
            use_cpu=self.loaded.device.type == "cpu",
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        )


def _answered(collate: Any) -> Any:
    """Batches that ask for the answers' logits alone; ``image_key`` stays, for the cache of MDGD's reference."""
    positions = with_answer_positions(collate)

    def collated(rows: Sequence[Any]) -> dict[str, Tensor]:
        return {**positions(rows), "image_key": collate(rows)["image_key"]}

    return collated


def _parted(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE)]


class _Watcher(TrainerCallback):
    """Right answers every so many steps and at the end."""

    def __init__(self, context: GivenModel) -> None:
        self.context = context
        self.steps: list[int] = []
        self.right: list[dict[str, list[float]]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.context.scale.evaluate_every == 0 or state.global_step == state.max_steps:
            self.steps.append(state.global_step)
            self.right.append(self.context.right())
            self.context.setup.model.train()
