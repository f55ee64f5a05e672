"""Trainings that leave no file: their arguments, a bar of ours, and something read every so many steps."""

import gc
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar, cast

from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from armillary.progress import counted
from armillary.training.checkpoints import StepBar

Reading = TypeVar("Reading")


def unsaved(steps: int, batch: int, rate: float, seed: int, *, on_cpu: bool, **more: Any) -> TrainingArguments:
    """Arguments of a training that leaves no file: no checkpoint, no report."""
    return TrainingArguments(
        output_dir=tempfile.gettempdir(),  # nothing is written there
        max_steps=steps,
        per_device_train_batch_size=batch,
        learning_rate=rate,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=seed,
        data_seed=seed,
        use_cpu=on_cpu,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        **more,
    )


class Readings(TrainerCallback, Generic[Reading]):
    """What ``read`` gives before training (if ``first``), every so many steps, and at the end."""

    def __init__(self, read: Callable[[], Reading], every: int, *, first: bool = True) -> None:
        self.read, self.every, self.first = read, every, first
        self.steps: list[int] = []
        self.values: list[Reading] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The first reading."""
        if self.first:
            self._read(0, kwargs["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A reading where it is time."""
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            self._read(state.global_step, kwargs["model"])

    def _read(self, step: int, model: nn.Module) -> None:
        training = model.training
        self.steps.append(step)
        self.values.append(self.read())
        model.train(training)


def train(trainer: Trainer, title: str, steps: int) -> None:
    """The whole training, with a bar of ours where there is a title; the model ends in evaluation mode."""
    # It would print its own summary on stdout, where --json leaves nothing but the record.
    trainer.remove_callback(PrinterCallback)
    with counted(title, steps) as bar:
        advancing = StepBar(bar)
        trainer.add_callback(advancing)
        trainer.train()
        trainer.remove_callback(advancing)
    cast(nn.Module, trainer.model).eval()


@contextmanager
def little_to_collect() -> Iterator[None]:
    """Inside, what exists is no garbage to look through: the Trainer collects before every training, for seconds."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
