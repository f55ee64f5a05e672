"""A mixin for any Trainer: checkpoints hold the weights that train, and nothing of what is frozen.

For a small trained part of a large model: the connector of an image-text model is a hundredth of it. A run is resumed
on the same model as it was begun on.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Trainer

from armillary.errors import UsageError

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
        saved, wanted = load_file(Path(resume_from_checkpoint) / WEIGHTS), self._trainable()
        if saved.keys() != wanted.keys():
            differing = ", ".join(sorted(saved.keys() ^ wanted.keys())[:5])
            raise UsageError(f"the checkpoint {resume_from_checkpoint} is of other trained weights: {differing}.")
        with torch.no_grad():
            for name, weight in wanted.items():
                weight.copy_(saved[name])

    def _trainable(self) -> dict[str, nn.Parameter]:
        model = self.accelerator.unwrap_model(self.model)
        return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a Trainer in ``folder``; one that a kill cut short is passed over."""
    found = [path for path in folder.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()]
    for path in sorted(found, key=lambda path: -int(path.name.rpartition("-")[2])):
        try:
            json.loads((path / _STATE).read_bytes())
        except (OSError, ValueError):
            continue
        return path
    return None
