"""Threads follow the free cores; what a user set is never touched, and the record says what was in force."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from armillary.runs.threads import NUMBERS, SPINS, WAITING, container_limit, thread_settings

SLEEP = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


@pytest.mark.parametrize(
    ("cores", "free", "threads"),
    [
        (2, 2.0, None), (2, 1.6, None), (2, 1.4, 1), (2, 0.0, 1), (2, -0.1, 1), (1, 0.9, None), (1, 0.2, 1),
        (16, 15.8, None), (16, 12.6, 13), (64, 2.0, 2), (64, 0.5, 1), (4, 2.5, 3),
    ],
)  # fmt: skip
def test_as_many_threads_as_free_cores(cores: int, free: float, threads: int | None) -> None:
    settings = thread_settings(cores, free, {})
    if threads is None:
        assert settings == {"GOMP_SPINCOUNT": SPINS}
    else:
        assert settings == {"OMP_NUM_THREADS": str(threads), **SLEEP}


@pytest.mark.parametrize("free", [0.0, 2.0])
@pytest.mark.parametrize("name", [*NUMBERS, *WAITING])
def test_what_the_user_set_is_left(name: str, free: float) -> None:
    settings = thread_settings(2, free, {name: "7"})
    assert not set(settings) & set(NUMBERS if name in NUMBERS else WAITING)


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000\n", float("inf")), ("150000 100000\n", 1.5), ("", float("inf"))]
)
def test_a_containers_limit(text: str, cores: float, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert container_limit(tmp_path / "cpu.max") == cores
    assert container_limit(tmp_path / "none") == float("inf")


BUSY = """
import sys
import psutil
psutil.cpu_percent = lambda interval, percpu: [100.0] * 512
from armillary.cli.main import main
assert main(["list"]) == 0 and "torch" not in sys.modules
import torch
assert torch.get_num_threads() == 1
from armillary.runs.environment import machine
facts = machine()
assert facts["cores_free"] == 0 and facts["OMP_NUM_THREADS"] == "1" and facts["OMP_WAIT_POLICY"] == "PASSIVE", facts
"""


def test_a_command_on_a_busy_machine() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in (*NUMBERS, *WAITING)}
    subprocess.run([sys.executable, "-c", BUSY], check=True, env=environment)
