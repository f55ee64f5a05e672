"""``armillary train commit CONFIG.toml``: tune an image-text model with encoder and language model in balance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from armillary.cli.train.tuning import TuneOptions, TuningSettings, has_model, open_model, run_tuning, tune
from armillary.runs.run import Job


@dataclass(frozen=True, kw_only=True)
class CoMMITOptions(TuneOptions):
    """Tune an image-text model while the learning rates of its encoder and its language model follow their balance.

    A run that was stopped goes on where it was when the same command is given again (docs/train.md).
    """


@dataclass(frozen=True, kw_only=True)
class CoMMITTuning(TuningSettings):
    """What the file of a run says."""

    command: ClassVar[str] = "train commit"

    method: Literal["commit"] = "commit"


JOBS = {"train commit": Job(settings=CoMMITTuning, work=tune, is_complete=has_model, open_model=open_model)}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    return run_tuning(JOBS["train commit"], CoMMITOptions, arguments)
