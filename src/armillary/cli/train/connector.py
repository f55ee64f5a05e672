"""``armillary train connector``: a language model gets a vision tower and a trained connector, and is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from armillary.cli.old_run import RunOptions, run_in, settings_of, tell
from armillary.cli.options import default_folder, read
from armillary.records.record import RunRecord
from armillary.runs.settings import DRY_MODEL

if TYPE_CHECKING:
    from armillary.finetuning.connector import ConnectorConfig


@dataclass(frozen=True, kw_only=True)
class ConnectorOptions(RunOptions):
    """Join a language model with DINOv2-small and train the connector between them on questions about emoji pictures.

    Leaves the model in DIR/model, and a report of what it sees beside the same with shuffled pictures. A run that was
    killed goes on from its last checkpoint. `armillary data emoji` fetches the pictures.
    """

    model: Annotated[str, tyro.conf.arg(metavar="MODEL")]
    """Packaged name, folder, .gguf file or hub id of the language model."""

    steps: int = 500
    """Optimiser steps."""

    batch_size: int = 8
    """Questions in one step."""

    learning_rate: float = 1e-3
    """Highest rate of the schedule, a cosine."""

    questions: int = 150
    """Questions of each kind that are asked of the test pictures, at most."""


def settings(options: ConnectorOptions) -> "ConnectorConfig":
    """What the run itself has to know."""
    from armillary.finetuning.connector import ConnectorConfig

    return ConnectorConfig(
        model=DRY_MODEL if options.dry_run else options.model,
        steps=min(options.steps, 4) if options.dry_run else options.steps,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        questions=min(options.questions, 6) if options.dry_run else options.questions,
        pictures="made-up" if options.dry_run else "emoji",
        seed=options.seed,
    )


def execute(config: "ConnectorConfig", out: Path, *, fresh: bool) -> RunRecord:
    """The record of one training in the folder ``out``."""
    from armillary.finetuning.connector import run_connector

    return run_in(out, lambda: run_connector(config, out, fresh=fresh), fresh=fresh)


def again(config: Mapping[str, Any], out: Path) -> RunRecord:
    """The same training with the settings of a record."""
    from armillary.finetuning.connector import ConnectorConfig

    return execute(ConnectorConfig(**settings_of(config)), out, fresh=True)


def run(arguments: Sequence[str]) -> int:
    """The action."""
    options = read(ConnectorOptions, arguments, "train connector")
    config = settings(options)
    out = options.out or default_folder("train-connector", config.model)
    tell(execute(config, out, fresh=options.fresh), out, as_json=options.json)
    if not options.json:
        from armillary.finetuning.connector import MODEL_FOLDER

        print(f"\nModel: {out / MODEL_FOLDER}")
    return 0
