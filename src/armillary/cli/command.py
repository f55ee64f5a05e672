"""What a command does around its work: folder, progress bars, and what is printed at the end."""

import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from armillary.cli.bars import progress_shown
from armillary.cli.options import RunOptions, default_folder, read_run
from armillary.records.plain import dumps
from armillary.records.record import FILE_NAME, RunRecord
from armillary.runs.folder import REPORT_NAME, RunFolder
from armillary.runs.parts import HIDDEN
from armillary.runs.run import Job
from armillary.runs.settings import RunSettings

SettingsT = TypeVar("SettingsT", bound=RunSettings)


def run_job(job: Job[SettingsT], arguments: Sequence[str]) -> int:
    """The whole command of a job that takes no options but those of every run."""
    settings, options = read_run(job.settings, arguments, RunOptions)
    print_summary(*execute(job, settings, options), as_json=options.json)
    return 0


def execute(job: Job[SettingsT], settings: SettingsT, options: RunOptions) -> tuple[RunRecord, Path]:
    """The record of the job and its folder, with progress on stderr; ``--fresh`` forgets what was in the folder."""
    out = options.out or default_folder(*settings.command.split(), *settings.names())
    if options.fresh:
        forget(out)
    with progress_shown():
        return job.run(settings, out, fresh=options.fresh), out


def forget(out: Path) -> None:
    """Remove what an earlier run left in ``out``: record, report and unfinished parts; nothing else.

    Raises:
        StorageError: another run is using the folder.
    """
    with RunFolder.open(out, {}):
        for name in (FILE_NAME, REPORT_NAME):
            with suppress(FileNotFoundError):
                (out / name).unlink()
        shutil.rmtree(out / HIDDEN, ignore_errors=True)


def print_summary(record: RunRecord, out: Path, *, as_json: bool) -> None:
    """The record on stdout as JSON; or, for a reader, where the report is and what to know first."""
    if as_json:
        sys.stdout.write(dumps(record.to_dict(), indent=1) + "\n")
        return
    from armillary.report.terminal import summary

    print(f"Report: {out / REPORT_NAME}")
    if record.findings:
        print("\nWhat changed:" if record.findings[0].label else "\nMost interesting:")
    for line in summary(record):
        print(f"  {line}")
