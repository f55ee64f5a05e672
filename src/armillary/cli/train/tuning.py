"""What ``armillary train mdgd`` and ``armillary train commit`` share: the options, and the TOML file they read."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import tyro

from armillary.cli.command import execute, print_summary
from armillary.cli.options import RunOptions, default_folder, read
from armillary.errors import UsageError
from armillary.files import read_toml
from armillary.finetuning.config import TuningConfig
from armillary.runs.run import Job, Outcome, Run

if TYPE_CHECKING:
    from armillary.finetuning.data import TuningQuestions
    from armillary.models.image_text import ImageTextModel

SettingsT = TypeVar("SettingsT", bound="TuningSettings")

MODEL = "model"
"""Folder, in that of the run, in which the trained model is left."""


@dataclass(frozen=True, kw_only=True)
class TuningSettings(TuningConfig):
    """The settings with the questions that they name."""

    @cached_property
    def questions(self) -> "TuningQuestions":
        """Read once, for ``check`` and for the work. UsageError where a file or the images are not there."""
        from armillary.finetuning.data import tuning_questions

        return tuning_questions(self)

    def check(self) -> None:
        """Refuse wrong training arguments, missing packages and wrong files before the model is opened."""
        from armillary.finetuning.arguments import check_training

        check_training(self)
        _ = self.questions


@dataclass(frozen=True, kw_only=True)
class TuneOptions(RunOptions):
    """Tune an image-text model on a new task and tell what it learned and forgot.

    A run that was stopped goes on where it was when the same command is given again (docs/train.md).
    """

    config: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CONFIG.toml")] = tyro.MISSING
    """Settings of the run: model, output, [data], [training] and the method's own table (docs/train.md)."""

    set: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="KEY=VALUE")] = ()
    """A setting in place of the file's, such as training.max_steps=50; may be given several times."""

    seed: int | None = None
    """Seed of every draw, in place of the file's (0 where it has none)."""


def open_model(name: str, settings: TuningSettings) -> "ImageTextModel":
    """The image-text model of a folder or the hub."""
    from armillary.models.image_text import open_image_text_model

    return open_image_text_model(name, dtype=settings.dtype)


def has_model(out: Path, settings: TuningSettings) -> bool:
    """Whether the tuned model of a finished run is still in its folder."""
    return (out / MODEL / "config.json").is_file()


def tune(run: Run[Any]) -> Outcome:
    """The tuned model, and what it learned and forgot."""
    from armillary.finetuning.run import tune

    return tune(run.settings, run.settings.questions, cast("ImageTextModel", run.model), run.folder)


def run_tuning(job: Job[SettingsT], options_type: type[TuneOptions], arguments: Sequence[str]) -> int:
    """The command of a job: read the file, run, and print where the report and the model are."""
    command, method = job.settings.command, job.settings.method
    options = read(options_type, arguments, command)
    table = dict(read_toml(options.config))
    for change in options.set:
        _change(table, change)
    settings = job.settings.from_file(method, table, "The configuration", seed=options.seed)
    output = table.get("output")
    if output is not None and not (isinstance(output, str) and output):
        raise UsageError(f"output must be the name of a folder; got {output!r}.")
    out = options.out or (None if output is None else Path(output))
    if options.dry_run:  # what the file names may hold a real model
        settings = settings.dry()
        out = options.out or default_folder(*command.split(), options.config.stem, "dry")
    out = out or default_folder(*command.split(), options.config.stem)
    record, out = execute(job, settings, replace(options, out=out))
    print_summary(record, out, as_json=options.json)
    if not options.json:
        print(f"\nModel: {out / MODEL}")
    return 0


def _change(table: dict[str, Any], change: str) -> None:
    """Put a ``key.key=value`` into the table. UsageError where it is no such pair or leads through a plain value."""
    key, sign, text = change.partition("=")
    names = key.strip().split(".")
    if not sign or not all(names):
        raise UsageError(f"--set takes KEY=VALUE, such as training.max_steps=50; got {change!r}.")
    for name in names[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise UsageError(f"--set {change}: {name!r} is no table of the configuration.")
    try:
        table[names[-1]] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:  # a word without its quotes, which a shell takes off
        table[names[-1]] = text.strip()
