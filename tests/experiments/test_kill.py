"""A check-up and a reproduction killed by SIGKILL at random instants resume and end with the identical record."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from armillary.runs.record import RunRecord

COMMANDS = {"checkup": ["checkup", "any-model"], "reproduce": ["reproduce", "lincorr"]}


def start(name: str, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "armillary", *COMMANDS[name], "--dry-run", "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_runs_end_alike(name: str, tmp_path: Path) -> None:
    began = time.monotonic()
    assert start(name, tmp_path / "whole").wait() == 0
    whole, length = RunRecord.load(tmp_path / "whole"), time.monotonic() - began
    instants, kills = random.Random(7), 0
    for _ in range(3):
        process = start(name, tmp_path / "killed")
        try:
            process.wait(timeout=length * instants.uniform(0.3, 0.9))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            assert not (tmp_path / "killed" / "report.html").exists() or (tmp_path / "killed" / "record.json").exists()
    assert kills > 0, "every run was done before it could be killed"
    assert start(name, tmp_path / "killed").wait() == 0
    assert RunRecord.load(tmp_path / "killed").comparable() == whole.comparable()
    left = {path.name for path in (tmp_path / "killed").iterdir()}
    assert left == {"record.json", "report.html", ".lock"}
