"""A mixin for any Trainer: weights of a checkpoint are read under the names that they were written under.

Image-text models such as LLaVA, Qwen2-VL and Gemma 3 are saved under other names than their parameters have. The
Trainer of transformers 5.23 reads a checkpoint without turning the names back: it warns of missing keys and goes on
with the weights that the model had.
"""

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerState

from armillary.errors import UsageError
from armillary.progress import Counter

BESIDES = "trained_besides_adapter.safetensors"


class CheckpointWeightsMixin(Trainer):
    """Put before a Trainer class; resuming and the best model of a run get the weights of their checkpoint.

    What is trained beside an adapter (a connector unfrozen by hand), which PEFT leaves out of its checkpoints, stands
    in a file of its own there.
    """

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        besides = trained_besides(cast(nn.Module, self.accelerator.unwrap_model(self.model)))
        if besides:
            kept = {name: weight.detach().cpu().contiguous() for name, weight in besides.items()}
            save_file(kept, Path(output_dir or str(self.args.output_dir)) / BESIDES)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        target = cast(nn.Module, self.model if model is None else model)
        besides, file = trained_besides(target), Path(resume_from_checkpoint) / BESIDES
        if besides and not file.exists():
            raise UsageError(
                f"the checkpoint {resume_from_checkpoint} holds an adapter alone, but {next(iter(besides))} is "
                "trained too; train from the beginning."
            )
        if besides:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            _fill(besides, file)
            return
        whole = os.path.isfile(os.path.join(resume_from_checkpoint, "config.json"))
        if not whole or not isinstance(target, PreTrainedModel) or self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        saved = type(target).from_pretrained(resume_from_checkpoint, dtype="auto")
        target.load_state_dict(saved.state_dict())

    def _load_best_model(self) -> None:
        super()._load_best_model()
        if self.state.best_model_checkpoint is not None and not self.is_deepspeed_enabled:
            self._load_from_checkpoint(self.state.best_model_checkpoint)


def train_or_resume(trainer: Trainer, checkpoint: Path | None) -> None:
    """Trains, from a checkpoint if there is one; one that has all steps already is only read.

    Resumed from its last checkpoint the Trainer of transformers 5.23 takes one step too many, unless an epoch ends
    there.
    """
    if checkpoint is not None:
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        if state.global_step >= (trainer.args.max_steps if trainer.args.max_steps > 0 else state.max_steps):
            trainer._load_from_checkpoint(str(checkpoint))
            trainer.state = state
            return
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))


# A progress bar of ours that moves with a Trainer's steps.


class StepBar(TrainerCallback):
    """Moves a bar with the steps, from where a resumed run begins."""

    def __init__(self, bar: Counter) -> None:
        self._bar = bar

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """To the step that the run begins with."""
        self._bar.advance(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One further."""
        self._bar.advance()


# Which parameters get gradients, for a while.


@contextmanager
def without_adapter(model: nn.Module) -> Iterator[None]:
    """Inside, a PEFT model's adapter is off; after it every ``requires_grad`` is as before.

    PEFT alone makes all of an adapter trainable when it is switched on again, also what its user had frozen.
    """
    kept = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        with cast(Any, model).disable_adapter():
            yield
    finally:
        for parameter, needed in kept:
            parameter.requires_grad_(needed)


def trained_besides(model: nn.Module) -> dict[str, nn.Parameter]:
    """Name -> trainable parameter of a PEFT model that is there without its adapter too: a connector, biases."""
    if not hasattr(model, "disable_adapter"):
        return {}
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PEFT, about biases: what is looked for here
        with without_adapter(model):  # which freezes what is the adapter's
            return {name: parameter for name, parameter in trained if parameter.requires_grad}


@contextmanager
def only_trainable(model: nn.Module, chosen: Sequence[nn.Parameter]) -> Iterator[None]:
    """Inside, only these parameters get gradients; after it, every ``requires_grad`` and ``grad`` is as before."""
    kept = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    wanted = {id(parameter) for parameter in chosen}
    try:
        for parameter, _, _ in kept:
            parameter.grad = None
            parameter.requires_grad_(id(parameter) in wanted)
        yield
    finally:
        for parameter, needed, gradient in kept:
            parameter.requires_grad_(needed)
            parameter.grad = gradient


# A mixin for any Trainer: checkpoints hold the weights that train, and nothing of what is frozen.
#
# For a small trained part of a large model: the connector of an image-text model is a hundredth of it. A run is
# resumed on the same model as it was begun on.

WEIGHTS = "trainable.safetensors"
_STATE = "trainer_state.json"  # the Trainer writes it last


class TrainableWeightsMixin(Trainer):
    """Put before a Trainer class. For one device a process; parameters are known by their names."""

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        kept = {name: weight.detach().cpu().contiguous() for name, weight in self._trainable().items()}
        save_file(kept, folder / WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        _fill(self._trainable(), Path(resume_from_checkpoint) / WEIGHTS)

    def _trainable(self) -> dict[str, nn.Parameter]:
        model = self.accelerator.unwrap_model(self.model)
        return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


@torch.no_grad()
def _fill(parameters: Mapping[str, nn.Parameter], file: Path) -> None:
    """Give the parameters the values of a file. UsageError where it is of others."""
    saved = load_file(file)
    if saved.keys() != parameters.keys():
        differing = ", ".join(sorted(saved.keys() ^ parameters.keys())[:5])
        raise UsageError(f"the checkpoint {file.parent} is of other trained weights: {differing}.")
    for name, weight in parameters.items():
        weight.copy_(saved[name])


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a Trainer in ``folder``; one that a kill cut short is passed over."""
    checkpoints = [path for path in folder.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()]
    for path in sorted(checkpoints, key=lambda path: -int(path.name.rpartition("-")[2])):
        try:
            json.loads((path / _STATE).read_bytes())
        except (OSError, ValueError):
            continue
        return path
    return None
