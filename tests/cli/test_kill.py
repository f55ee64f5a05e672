"""A check-up and a reproduction killed by SIGKILL at random instants resume and end with the identical record."""

import os
import random
import shutil
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from armillary.records.record import RunRecord
from processes import content, start_command

COMMANDS = {
    "checkup": ["checkup"],
    "reproduce": ["reproduce", "lincorr"],
    "reproduce icn": ["reproduce", "icn"],
    "modeldiff": ["modeldiff", "one-model", "another"],
    "bricks": ["bricks", "partition", "any-model"],
}
SHARED = {"checkup": "checked", "reproduce": "reproduced"}
"""Runs that other tests look at too."""

KILLS = int(os.environ.get("ARMILLARY_KILLS", "1"))
"""How many kills each command has to survive; by hand more: ARMILLARY_KILLS=20."""

MODEL = os.environ.get("ARMILLARY_KILL_MODEL", "")
"""By hand: a real model for the check-up, in place of the tiny one."""


def start(name: str, out: Path) -> BaseProcess:
    command = [*COMMANDS[name]]
    command += [MODEL] if MODEL and name == "checkup" else ["any-model"] if name == "checkup" else []
    command += [] if MODEL and name == "checkup" else ["--dry-run"]
    return start_command([*command, "--out", str(out)], out.parent, interactive=False)


def finish(name: str, out: Path) -> None:
    process = start(name, out)
    process.join()
    assert process.exitcode == 0, (out.parent / "stderr").read_text("utf-8")


@pytest.fixture
def whole(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The folder of a run that nothing disturbed."""
    if MODEL and name != "checkup":
        pytest.skip("a real model is for the check-up")
    if name in SHARED and not MODEL:
        shared: Path = request.getfixturevalue(SHARED[name])
        return shared
    finish(name, tmp_path / "whole")
    return tmp_path / "whole"


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_runs_end_alike(name: str, whole: Path, tmp_path: Path) -> None:
    record, length = RunRecord.load(whole), seconds(whole)
    instants, kills, finished = random.Random(7), 0, 0
    killed = tmp_path / "killed"
    while kills < KILLS:
        process = start(name, killed)
        # The report is drawn when the record is there, which takes about a quarter as long again.
        process.join(timeout=length * instants.uniform(0.2, 1.2))
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
            assert not (killed / "report.html").exists() or (killed / "record.json").exists()
        else:
            # Kills saw it to its end, or the machine was busier with the run before than with this one.
            assert process.exitcode == 0
            compare(killed, record)
            length = min(length, seconds(killed))
            shutil.rmtree(killed)
            finished += 1
            assert finished <= KILLS + 9, "the runs are done before they can be killed"
    finish(name, killed)
    compare(killed, record)


def seconds(run: Path) -> float:
    """From the start of the run's process to its record."""
    return (run / "record.json").stat().st_mtime - (run.parent / "began").stat().st_mtime


def compare(folder: Path, whole: RunRecord) -> None:
    """The record is the uninterrupted run's, and nothing else is left."""
    assert content(RunRecord.load(folder)) == content(whole)
    left = {path.name for path in folder.iterdir()}
    assert left - {"samples.npz", "brick"} == {"record.json", "report.html", ".lock"}
