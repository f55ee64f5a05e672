"""The trainer on two processes, to be compared with one: run as a script, once a process."""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ARMS: dict[str, dict[str, Any]] = {"kg_ips": {"objective": "kg_ips"}, "kg_ips_stable": {}}


def both_arms(folder: Path, size: int) -> dict[str, Tensor]:
    """Weights and logged figures after three steps of each objective, with ``size`` rows a process."""
    from unit.methods.ocean.ocean_toy import logged, run, weights

    found = {}
    for name, changes in ARMS.items():
        sizes = {"per_device_train_batch_size": size, "gradient_accumulation_steps": 1, "max_steps": 3}
        trainer = run(folder / name, adam_epsilon=1e-3, **sizes, **changes)
        found[name] = weights(trainer)
        for figure in ("value", "ess", "kl", "entity_ratio_mean"):
            found[f"{name}'s {figure}"] = torch.tensor(logged(trainer, f"ocean/{figure}"))
    return found


if __name__ == "__main__":
    place = Path(sys.argv[1])
    torch.save(both_arms(place / "two", 2), place / f"{os.environ['RANK']}.pt")
