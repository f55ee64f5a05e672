"""A mixin for any Trainer: weights of a checkpoint are read under the names that they were written under.

Image-text models such as LLaVA, Qwen2-VL and Gemma 3 are saved under other names than their parameters have. The
Trainer of transformers 5.23 reads a checkpoint without turning the names back: it warns of missing keys and goes on
with the weights that the model had.
"""

import os

from torch import nn
from transformers import PreTrainedModel, Trainer


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
