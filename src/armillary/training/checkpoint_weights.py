"""A mixin for any Trainer: weights of a checkpoint are read under the names that they were written under.

Image-text models such as LLaVA, Qwen2-VL and Gemma 3 are saved under other names than their parameters have. The
Trainer of transformers 5.23 reads a checkpoint without turning the names back: it warns of missing keys and goes on
with the weights that the model had.
"""

import os
from pathlib import Path

from torch import nn
from transformers import PreTrainedModel, Trainer, TrainerState


class CheckpointWeightsMixin(Trainer):
    """Put before a Trainer class; resuming and the best model of a run get the weights of their checkpoint."""

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        target = self.model if model is None else model
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
