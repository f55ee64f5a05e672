"""``armillary train mdgd CONFIG.toml``: tune an image-text model while its image states stay where they were."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from armillary.cli.train.tuning import TuneOptions, TuningSettings, has_model, open_model, run_tuning, tune
from armillary.runs.run import Job


@dataclass(frozen=True, kw_only=True)
class MDGDOptions(TuneOptions):
    """Tune an image-text model on a new task while what it sees stays as it was, and report what it forgot.

    A run that was stopped goes on where it was when the same command is given again (docs/train.md).
    """


@dataclass(frozen=True, kw_only=True)
class MDGDTuning(TuningSettings):
    """What the file of a run says."""

    command: ClassVar[str] = "train mdgd"

    method: Literal["mdgd"] = "mdgd"


JOBS = {"train mdgd": Job(settings=MDGDTuning, work=tune, is_complete=has_model, open_model=open_model)}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    return run_tuning(JOBS["train mdgd"], MDGDOptions, arguments)
