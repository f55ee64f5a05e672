"""Trainings killed by SIGKILL in the middle resume, and end with the weights of an uninterrupted run."""

import time
from pathlib import Path
from typing import Any

import pytest

from armillary.cli.console import guarded
from armillary.cli.train import commit as train_commit, mdgd as train_mdgd
from armillary.records.record import RunRecord
from processes import content, start_command

from .image_run import same, tables, write_model, write_toml

OWN: dict[str, dict[str, Any]] = {
    "mdgd": {"preset": "paper"},
    "commit": {"aux_weight": 0.1, "interval": 2, "first_probe": 1},
}
RUN = {"mdgd": train_mdgd.run, "commit": train_commit.run}
_PATIENCE = 120.0


@pytest.mark.parametrize("method", OWN)
def test_a_killed_training_ends_with_the_same_weights(method: str, tmp_path: Path) -> None:
    write_model(tmp_path / "vlm")
    config = str(write_toml(tmp_path / "run.toml", tables(tmp_path, method, OWN[method], max_steps=8)))
    assert guarded(RUN[method], [config, "--out", str(tmp_path / "whole")]) == 0
    killed = tmp_path / "killed"
    process = start_command(["train", method, config, "--out", str(killed)], tmp_path, interactive=False)
    until = time.monotonic() + _PATIENCE
    while not list(killed.rglob("checkpoint-*/trainer_state.json")) and time.monotonic() < until:
        time.sleep(0.005)
    process.kill()
    process.join()
    assert process.exitcode == -9 and not (killed / "record.json").exists()
    assert guarded(RUN[method], [config, "--out", str(killed)]) == 0
    assert same(killed, tmp_path / "whole")
    assert content(RunRecord.load(killed)) == content(RunRecord.load(tmp_path / "whole"))
