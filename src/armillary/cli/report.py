"""``armillary report RECORD``: draw a record's report again; needs no model and no torch."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from armillary.cli.options import Folder, read
from armillary.records.plain import dumps
from armillary.records.record import RunRecord


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Draw the report of a record again: the HTML page beside the record, and the tables in the terminal."""

    record: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RECORD")]
    """A record.json, or the folder of a run."""

    out: Folder = None
    """Folder for report.html; by default the record's own."""

    json: bool = False
    """Print the record as JSON on stdout."""


def run(arguments: Sequence[str]) -> int:
    """The command."""
    options = read(ReportOptions, arguments, "report")
    record = RunRecord.load(options.record)

    from armillary.files import write_atomic
    from armillary.report.html import render_html
    from armillary.runs.folder import REPORT_NAME

    out = options.out or (options.record if options.record.is_dir() else options.record.parent)
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / REPORT_NAME, render_html(record))
    if options.json:
        sys.stdout.write(dumps(record.to_dict(), indent=1) + "\n")
        return 0

    from rich.console import Console

    from armillary.report.terminal import render_terminal

    Console().print(render_terminal(record))
    print(f"Report: {out / REPORT_NAME}")
    return 0
