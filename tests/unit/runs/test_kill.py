"""A run killed by SIGKILL at random instants resumes and ends with the identical record."""

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from armillary.records import RunRecord
from processes import content

RUN = """
import sys, time
import numpy as np
from armillary.numerics.intervals import Interval
from armillary.records import RunRecord
from armillary.runs import RunFolder, versions

CONFIG, MODELS = {"parts": 12}, {"model": "ab"}

def slow(index):
    time.sleep(0.02)
    rng = np.random.default_rng(index)
    return {"a": rng.normal(size=(200, 300)), "b": rng.normal(size=7).astype(np.float32)}

with RunFolder.open(sys.argv[1], CONFIG, MODELS) as folder:
    if folder.finished() is None:
        measures = {}
        for index in range(CONFIG["parts"]):
            arrays = folder.parts.arrays(f"arrays {index}", lambda: slow(index))
            pair = folder.parts.json(f"json {index}", lambda: (float(arrays["a"].sum()), float(arrays["b"].sum())))
            measures[f"m{index}"] = Interval(estimate=pair[0], high=pair[1] if index % 2 else float("nan"))
        folder.finish(RunRecord(
            kind="test", title="Killed", config=CONFIG, models={"model": {"fingerprint": "ab"}}, seed=0,
            measures=measures, versions=versions(), started=folder.started, seconds=folder.seconds,
        ))
"""


def test_killed_runs_end_with_the_identical_record(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RUN]
    begun = time.monotonic()
    subprocess.run([*command, str(tmp_path / "whole")], check=True)
    whole_seconds = time.monotonic() - begun
    instants = random.Random(time.time_ns())
    killed = finished = 0
    while killed < 4:
        process, begun = subprocess.Popen([*command, str(tmp_path / "killed")]), time.monotonic()
        try:
            process.wait(timeout=instants.uniform(0.3, 1.0) * whole_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
        else:
            # Kills saw it to its end, or the machine was busier with the run before than with this one.
            assert process.returncode == 0
            whole_seconds = min(whole_seconds, time.monotonic() - begun)
            shutil.rmtree(tmp_path / "killed")
            finished += 1
            assert finished <= 12, "the runs are done before they can be killed"
    subprocess.run([*command, str(tmp_path / "killed")], check=True)
    assert content(RunRecord.load(tmp_path / "killed")) == content(RunRecord.load(tmp_path / "whole"))
    assert (tmp_path / "killed" / "report.html").exists()
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == sorted(
        path.name for path in (tmp_path / "whole").iterdir()
    )
