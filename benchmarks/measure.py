"""What the benchmarks share: hardware, the clock, interleaved arms, ratios with their spread, a table and a file."""

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console
from rich.table import Table

from armillary.runs.environment import machine, versions

if TYPE_CHECKING:
    import torch

    from armillary.models import LoadedModel
    from armillary.models.loading import Ready

RESULTS = Path(__file__).parent / "results"
DEVICES = ("cpu", "cuda", "mps")
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Where the models of a benchmark run, and in which number format."""

    device: str = "cpu"
    dtype: str = "float32"

    def load(self, name: "str | Ready", *, trained: bool = False) -> "LoadedModel":
        """A model there. One that is to be ``trained`` has float32 weights, beside which ``training`` computes."""
        import armillary

        return armillary.load(name, device=self.device, dtype="float32" if trained else self.dtype)

    @property
    def training(self) -> dict[str, Any]:
        """The fields of ``TrainingArguments`` that say the same, for every side alike: in bfloat16 mixed precision,
        which keeps the weights and the optimiser's state in float32, as our pages recommend."""
        return {"use_cpu": self.device == "cpu", "bf16": self.dtype == "bfloat16", "dataloader_pin_memory": False}

    @property
    def clock(self) -> str:
        """Which measurement of ``timed`` tells the time of work that one thread does: the processor's, which other
        processes hardly touch; on a card the wall's, since the processor only waits for it."""
        return "cpu" if self.device == "cpu" else "seconds"

    @property
    def flags(self) -> list[str]:
        """For a process of its own that measures on the same."""
        return ["--device", self.device, "--dtype", self.dtype]

    @property
    def plain(self) -> bool:
        """Whether this is the processor in float32; parts without a model are measured there only."""
        return self == Hardware()

    def resting_mb(self) -> float:
        """Memory in use now, MB, where the models are. On a card ``peak_mb`` counts from here on."""
        if self.device == "cpu":
            return current_mb()
        import torch

        if self.device == "mps":
            torch.mps.empty_cache()  # which leaves what is in use
            return self.peak_mb()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20

    def peak_mb(self) -> float:
        """The most memory, MB: of the process on the processor, on a card of the tensors that lay there."""
        if self.device == "cpu":
            return peak_mb()
        import torch

        # Metal counts no peak; what its driver holds for us grows with it and is given back only when we ask.
        used = torch.mps.driver_allocated_memory() if self.device == "mps" else torch.cuda.max_memory_allocated()
        return used / 2**20

    def card_mb(self) -> float:
        """Memory in use on the card by whatever process, MB; 0 where there is none that counts it."""
        if self.device != "cuda":
            return 0.0
        import torch

        free, whole = torch.cuda.mem_get_info()
        return (whole - free) / 2**20

    def facts(self) -> dict[str, str]:
        """The card, for the record's machine."""
        if self.device != "cuda":
            return {}
        import torch

        return {"card": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}


def add_hardware(parser: argparse.ArgumentParser) -> None:
    """Declare ``--device`` and ``--dtype``."""
    parser.add_argument("--device", choices=DEVICES, default="cpu", help="where the models run (default: cpu)")
    words = "number format (default: float32 on the processor, bfloat16 on a card)"
    parser.add_argument("--dtype", choices=DTYPES, default=None, help=words)


def hardware_of(options: argparse.Namespace) -> Hardware:
    """What the options say. Ends the process with 2 and one sentence where the device isn't there, or is several."""
    if options.device != "cpu":
        import torch

        cards = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
        there = ", ".join(["cpu", *(name for name, count in cards.items() if count)])
        if not cards[options.device]:
            refuse(f"The device {options.device} is not on this machine; it has {there}.")
        if cards[options.device] > 1:  # a Trainer would spread its rows over all of them
            refuse(f"A benchmark takes one card and sees {cards['cuda']}; name one by CUDA_VISIBLE_DEVICES.")
    return Hardware(device=options.device, dtype=options.dtype or usual_dtype(options.device))


def usual_dtype(device: str) -> str:
    """The number format where none is asked for: what people run models in there."""
    return "float32" if device == "cpu" else "bfloat16"


def refuse(sentence: str) -> NoReturn:
    """End the process with 2, as for a wrong option."""
    print(sentence, file=sys.stderr)
    raise SystemExit(2)


@contextmanager
def timed(device: "torch.device | str") -> Iterator[dict[str, float]]:
    """Wall and processor time of a block, s, as "seconds" and "cpu", filled in at its end.

    The one place where a benchmark reads a clock: a card works on after a call returns, so it is waited for before
    each reading.
    """
    spent: dict[str, float] = {}
    _wait(device)
    started, cpu = time.perf_counter(), time.process_time()
    yield spent
    _wait(device)
    spent["seconds"], spent["cpu"] = time.perf_counter() - started, time.process_time() - cpu


def _wait(device: "torch.device | str") -> None:
    kind = str(device).partition(":")[0]
    if kind == "cpu":
        return
    import torch

    (torch.mps if kind == "mps" else torch.cuda).synchronize()


def per(spent: Mapping[str, float], count: float) -> dict[str, float]:
    """Measurements of one of ``count`` equal things."""
    return {name: value / count for name, value in spent.items()}


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
    name: str,
    title: str,
    model: str,
    settings: Mapping[str, object],
    rows: list[dict[str, object]],
    *,
    hardware: Hardware | None = None,
    quick: bool = False,
) -> None:
    """Print the rows (``what``, ``peer``, ``ours``, ``ratio``) and ``save`` them."""
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
    save(name, model, settings, hardware=hardware, quick=quick, rows=rows)


def save(
    name: str,
    model: str,
    settings: Mapping[str, object],
    *,
    hardware: Hardware | None = None,
    quick: bool = False,
    **measured: object,
) -> None:
    """Write ``results/<name>.json``: what was measured, under its names, with the machine and the versions.

    Other hardware than the processor in float32 has a file beside it (``<name>-cuda.json``), and so has a quick run,
    neither of which may take the place of the committed figures. ``hardware`` is None where no model is run.
    """
    RESULTS.mkdir(exist_ok=True)
    record = {
        "benchmark": name,
        "model": model,
        "settings": {**settings, **({} if hardware is None else {"device": hardware.device, "dtype": hardware.dtype})},
        **measured,
        "threads": int(os.environ.get("OMP_NUM_THREADS", 0)) or os.cpu_count(),
        "machine": {**machine(), **({} if hardware is None else hardware.facts())},
        "versions": versions(),
    }
    (RESULTS / f"{file_stem(name, hardware, quick=quick)}.json").write_text(json.dumps(record, indent=2) + "\n")


def file_stem(name: str, hardware: Hardware | None, *, quick: bool = False) -> str:
    """The name of a record's file: "nll", "nll-cuda", "nll-cuda-float32", "nll-bfloat16", "nll-quick"."""
    parts = [name]
    if hardware is not None:
        parts += [hardware.device] * (hardware.device != "cpu")
        parts += [hardware.dtype] * (hardware.dtype != usual_dtype(hardware.device))
    return "-".join([*parts, *(["quick"] if quick else [])])


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
