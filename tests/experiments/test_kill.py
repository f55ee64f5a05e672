"""A check-up and a reproduction killed by SIGKILL at random instants resume and end with the identical record."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from armillary.runs.record import RunRecord

COMMANDS = {
    "checkup": ["checkup"],
    "reproduce": ["reproduce", "lincorr"],
    "reproduce icn": ["reproduce", "icn"],
    "modeldiff": ["modeldiff", "one-model", "another"],
    "bricks": ["bricks", "partition", "any-model"],
}
KILLS = int(os.environ.get("ARMILLARY_KILLS", "1"))
"""How many kills each command has to survive; by hand more: ARMILLARY_KILLS=20."""

MODEL = os.environ.get("ARMILLARY_KILL_MODEL", "")
"""By hand: a real model for the check-up, in place of the tiny one."""


def start(name: str, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "armillary", *COMMANDS[name]]
    command += [MODEL] if MODEL and name == "checkup" else ["any-model"] if name == "checkup" else []
    command += [] if MODEL and name == "checkup" else ["--dry-run"]
    return subprocess.Popen([*command, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_runs_end_alike(name: str, tmp_path: Path) -> None:
    if MODEL and name != "checkup":
        pytest.skip("a real model is for the check-up")
    began = time.monotonic()
    assert start(name, tmp_path / "whole").wait() == 0
    whole, length = RunRecord.load(tmp_path / "whole"), time.monotonic() - began
    instants, kills, finished = random.Random(7), 0, 0
    killed = tmp_path / "killed"
    while kills < KILLS:
        process = start(name, killed)
        try:
            assert process.wait(timeout=length * instants.uniform(0.1, 0.9)) == 0
            compare(killed, whole)
            shutil.rmtree(killed)
            finished += 1
            assert finished <= KILLS, "the runs are done before they can be killed"
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            assert not (killed / "report.html").exists() or (killed / "record.json").exists()
    assert start(name, killed).wait() == 0
    compare(killed, whole)


def compare(folder: Path, whole: RunRecord) -> None:
    """The record is the uninterrupted run's, and nothing else is left."""
    assert RunRecord.load(folder).comparable() == whole.comparable()
    left = {path.name for path in folder.iterdir()}
    assert left - {"samples.npz", "brick"} == {"record.json", "report.html", ".lock"}
