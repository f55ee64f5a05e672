"""What the benchmarks share: interleaved arms, ratios with their spread, a table and a JSON file."""

import json
import os
import resource
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from armillary.runs.environment import machine, versions

RESULTS = Path(__file__).parent / "results"


def interleaved(
    arms: Mapping[str, Callable[[int], dict[str, float]]], repeats: int
) -> dict[str, list[dict[str, float]]]:
    """Measurements of each arm; arms take turns, and the first one changes from repeat to repeat."""
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
    names = list(arms)
    for repeat in range(repeats):
        for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
            measured[name].append(arms[name](repeat))
    return measured


def ratio(peer: Sequence[float], ours: Sequence[float]) -> dict[str, float | int]:
    """Peer over ours, repeat by repeat: median, least and greatest. Above 1 we need less."""
    ratios = [theirs / own for theirs, own in zip(peer, ours, strict=True)]
    return {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios), "repeats": len(ratios)}


def show_and_save(
    name: str, title: str, model: str, settings: Mapping[str, object], rows: list[dict[str, object]]
) -> None:
    """Print the rows (``what``, ``peer``, ``ours``, ``ratio``) and write ``results/<name>.json``."""
    table = Table("what", "peer", "ours", "peer / ours", "min to max", title=title)
    for row in rows:
        spread = row["ratio"]
        assert isinstance(spread, dict)
        table.add_row(
            str(row["what"]),
            f"{row['peer']:.3g}",
            f"{row['ours']:.3g}",
            f"{spread['median']:.2f}x",
            f"{spread['low']:.2f} to {spread['high']:.2f}",
        )
    Console().print(table)
    RESULTS.mkdir(exist_ok=True)
    record = {
        "benchmark": name,
        "model": model,
        "settings": dict(settings),
        "rows": rows,
        "threads": int(os.environ.get("OMP_NUM_THREADS", 0)) or os.cpu_count(),
        "machine": machine(),
        "versions": versions(),
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")


def medians(runs: Sequence[Mapping[str, float]], key: str) -> float:
    """Median of one measurement over the repeats."""
    return statistics.median(run[key] for run in runs)


def current_mb() -> float:
    """Memory of this process now, MB; the most it ever had where the system does not tell."""
    return _status_mb("VmRSS") or peak_mb()


def peak_mb() -> float:
    """The most memory this process ever had, MB."""
    # On Linux ru_maxrss of a child begins at its parent's, VmHWM does not.
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return _status_mb("VmHWM") or used / (2**20 if sys.platform == "darwin" else 2**10)


def _status_mb(name: str) -> float | None:
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    return float(next(line.split()[1] for line in status.read_text().splitlines() if name in line)) / 1024
