"""Goes when the last command has a Job: what commands shared before."""

import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from armillary.cli.console import progress_shown
from armillary.cli.options import Folder
from armillary.records.plain import dumps
from armillary.records.record import FILE_NAME, RunRecord
from armillary.runs.folder import REPORT_NAME, RunFolder
from armillary.runs.parts import HIDDEN

EarlierModel = Annotated[str | None, tyro.conf.arg(metavar="MODEL")]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where a run goes and how it is told."""

    seed: int = 0
    """Seed of every draw: the same seed gives the same record."""

    out: Folder = None
    """Folder of the run (record.json, report.html); by default one under armillary-runs, named for what is run."""

    json: bool = False
    """Print the record as JSON on stdout, all else on stderr."""

    dry_run: bool = False
    """Take the whole path with a tiny random model and few prompts: seconds, no download, no meaning."""

    fresh: bool = False
    """Begin anew: forget what an earlier run left in the folder."""


# A run from the command line: folder, bars, work; then where the report is and what to read first.


def run_in(out: Path, work: Callable[[], RunRecord], *, fresh: bool) -> RunRecord:
    """The record that ``work`` makes in the folder ``out``, with progress on stderr; ``fresh`` begins anew."""
    if fresh:
        forget(out)
    with progress_shown():
        return work()


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


def settings_of(record_config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a record was made with, without the name of the command."""
    return {name: value for name, value in record_config.items() if name != "command"}


def tell(record: RunRecord, out: Path, *, as_json: bool) -> None:
    """The record on stdout as JSON; or, for a reader, where the report is and the three most interesting findings."""
    if as_json:
        sys.stdout.write(dumps(record.to_dict(), indent=1) + "\n")
        return
    print(f"Report: {out / REPORT_NAME}")
    findings = sorted(record.findings, key=lambda finding: -finding.interest)[:3]
    if findings:
        print("\nMost interesting:")
    for number, finding in enumerate(findings, 1):
        print(f"  {number}. {finding.text}")
