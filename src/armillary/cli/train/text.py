"""``armillary train text ROWS --model M``: a language model tuned on rows of text."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from armillary.cli.command import execute, print_summary
from armillary.cli.options import RunOptions, read_run
from armillary.finetuning.text.config import TextConfig, leaves, look
from armillary.runs.run import Job, Outcome, Run

if TYPE_CHECKING:
    from armillary.models import LoadedModel


def tune(run: Run[TextConfig]) -> Outcome:
    """The tuned model; the code needs torch, which help and wrong settings do not wait for."""
    from armillary.finetuning.text.work import tune_text

    return tune_text(run)


def open_model(name: str, settings: TextConfig) -> "LoadedModel":
    """The model in the number format of the settings."""
    from armillary.finetuning.text.work import open_model

    return open_model(name, settings)


def has_model(out: Path, settings: TextConfig) -> bool:
    """Whether what a finished run made is still in its folder."""
    return (out / leaves(settings)).is_dir()


JOBS = {"train text": Job(settings=TextConfig, work=tune, is_complete=has_model, open_model=open_model)}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    settings, options = read_run(TextConfig, arguments, RunOptions)
    record, out = execute(JOBS["train text"], settings, options)
    print_summary(record, out, as_json=options.json)
    if not options.json:
        print(f"\n{leaves(settings).capitalize()}: {out / leaves(settings)}\nNext: {look(out, settings)}")
    return 0
