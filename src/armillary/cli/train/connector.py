"""``armillary train connector MODEL``: a language model gets a vision tower and a trained connector, and is asked."""

from collections.abc import Sequence
from pathlib import Path

from armillary.cli.command import execute, print_summary
from armillary.cli.options import RunOptions, read_run
from armillary.cli.train.tuning import MODEL
from armillary.finetuning.config import ConnectorConfig
from armillary.runs.run import Job, Outcome, Run


def train(run: Run[ConnectorConfig]) -> Outcome:
    """The trained model, and what it sees; the code needs torch, which help and wrong settings do not wait for."""
    from armillary.finetuning.connector.work import train

    return train(run)


def has_model(out: Path, settings: ConnectorConfig) -> bool:
    """Whether the model of a finished run is still in its folder."""
    return (out / MODEL).is_dir()


JOBS = {"train connector": Job(settings=ConnectorConfig, work=train, is_complete=has_model)}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    settings, options = read_run(ConnectorConfig, arguments, RunOptions)
    record, out = execute(JOBS["train connector"], settings, options)
    print_summary(record, out, as_json=options.json)
    if not options.json:
        print(f"\nModel: {out / MODEL}")
    return 0
