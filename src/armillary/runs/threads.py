"""How many threads a command computes with, chosen by what else the machine is doing, before torch is imported.

PyTorch's workers wait for one another by spinning. Where another process has the core that one of them needs, the
others spin away their turns, and two threads on two busy cores are several times slower than one. What a user set in
the environment is never touched.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

NUMBERS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
VARIABLES = (*NUMBERS, *WAITING)

SPINS = "10000"
"""Turns that a waiting worker spins before it sleeps: on idle cores as fast as the 300,000 that GNU's OpenMP has by
default, and less is lost if another process comes later."""

SPARE = 0.5
"""Cores that others may keep busy before a thread is taken away: less is what an editor or a browser takes."""

SECONDS = 0.1
"""How long the load is watched: ten ticks of the system's counters of processor time."""


_free: list[float] = []
"""Cores that were free for this process when it began: its own less those that others kept busy, or its container's
limit. Empty where nothing was chosen."""


def choose_threads() -> None:
    """Set the number of threads and how they wait, once; nothing where torch is there already and has read its own."""
    if _free or "torch" in sys.modules:
        return
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [*range(os.cpu_count() or 1)]
    shares = psutil.cpu_percent(interval=SECONDS, percpu=True)
    busy = sum(shares[core] for core in cores if core < len(shares)) / 100
    free = min(container_limit(), len(cores) - busy)
    _free.append(free)
    os.environ.update(thread_settings(len(cores), free, os.environ))


def thread_settings(cores: int, free: float, environment: Mapping[str, str]) -> dict[str, str]:
    """Environment variables for a process with ``free`` of its ``cores``; none that the user has a say in.

    With all of them free, the number of threads stays torch's own. Else there are as many as free cores, and waiting
    threads sleep, since those who share the cores come and go.
    """
    crowded = free < cores - SPARE
    settings = {}
    if crowded and not any(name in environment for name in NUMBERS):
        settings["OMP_NUM_THREADS"] = str(max(1, int(free + 0.5)))
    if not any(name in environment for name in WAITING):
        settings |= {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"} if crowded else {"GOMP_SPINCOUNT": SPINS}
    return settings


def container_limit(path: Path = Path("/sys/fs/cgroup/cpu.max")) -> float:
    """Cores that a container may use on average; infinite where none are counted."""
    try:
        quota, period = path.read_text().split()
        return float(quota) / float(period)
    except (OSError, ValueError):  # no such file, or the word "max"
        return float("inf")


def thread_facts() -> dict[str, str | int | float]:
    """For a record: the cores that were free at the start, and the variables that decide about threads, whoever set
    them."""
    facts: dict[str, str | int | float] = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    if _free:
        facts["cores_free"] = round(max(0.0, _free[0]), 1)
    return facts
