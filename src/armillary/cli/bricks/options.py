"""The options of ``armillary bricks``: one class an action. Fields named as in the action's settings mean the same."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from armillary.cli.old_run import RunOptions
from armillary.runs.settings import ModelName

Splitting = Literal["weights", "coactivation", "random"]
Method = Literal["average", "task_arithmetic", "ties_global", "ties_tensor", "ties_peft", "dare", "dare_ties"]
Names = Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="NAME ...")]


@dataclass(frozen=True, kw_only=True)
class ModelOptions(RunOptions):
    """What every action on a model takes."""

    model: ModelName
    """Packaged name, folder, .gguf file or hub id of the model."""

    trust_remote_code: bool = False
    """Run Python code that a hub repository ships with its weights; only for repositories that you trust."""
