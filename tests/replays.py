"""Records of ``tests/records`` run again, once a session: one test compares, others look at what the run left."""

import json
import os
import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from filelock import FileLock

from armillary.cli.main import main
from armillary.records.record import RunRecord

RECORDS = Path(__file__).parent / "records"
TOLERANCE = 1e-5
"""Relative difference that another machine may make."""


def replay(name: str, factory: pytest.TempPathFactory) -> tuple[RunRecord, list[str]]:
    """The record that ``armillary replay`` of ``NAME.json`` leaves, and the differences that it tells.

    All workers of a session share the run. It is without the pictures of its report, which take longer than many a
    tiny run.
    """
    place = factory.getbasetemp()
    place = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / f"replay-{name}"
    place.mkdir(exist_ok=True)
    verdict = place / "verdict.json"
    with FileLock(place / "lock"):
        if not verdict.exists():
            # The file that a record names lies where the command is called.
            for file in RECORDS.glob("*.csv"):
                shutil.copy(file, place)
            record = str(RECORDS / f"{name}.json")
            with pytest.MonkeyPatch.context() as patched, redirect_stdout(StringIO()) as printed:
                patched.chdir(place)
                patched.setattr("armillary.report.html.render_html", lambda record: record.title)
                code = main(["replay", record, "--out", "run", "--tolerance", str(TOLERANCE), "--json"])
            assert code < 2, f"{name} does not run; what it said on stderr is captured"
            verdict.write_text(printed.getvalue(), "utf-8")
    return RunRecord.load(place / "run"), json.loads(verdict.read_text("utf-8"))["differences"]
