"""The trainer on two processes, to be compared with one: run as a script, once a process."""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ARMS: dict[str, dict[str, Any]] = {
    "paper": {"preset": "paper", "reference": "copy"},
    "random": {"projection": "full", "projection_direction": "random", "reference": "cache"},
    "mask": {"mask_ratio": 0.2, "mask_score": "random", "reference": "cache"},
}
"""Among the rows are some without an image, so that a process may have none in a step."""


def both_arms(folder: Path, size: int) -> dict[str, Tensor]:
    """Weights and logged drift after three steps of every arm, with ``size`` rows a process."""
    from unit.methods.mdgd.mdgd_toy import logged, make, mixed_rows, padded, weights

    found = {}
    for name, changes in ARMS.items():
        sizes = {"per_device_train_batch_size": size, "gradient_accumulation_steps": 1, "optim": "adamw_torch"}
        trainer = make(folder / name, data=mixed_rows(), adam_epsilon=1e-3, **sizes, **changes)
        trainer.data_collator = padded
        trainer.train()
        found[name] = weights(trainer)
        found[f"{name}'s drift"] = torch.tensor(logged(trainer, "visual_drift"))
    return found


if __name__ == "__main__":
    place = Path(sys.argv[1])
    torch.save(both_arms(place / "two", 2), place / f"{os.environ['RANK']}.pt")
