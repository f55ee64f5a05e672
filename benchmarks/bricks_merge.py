"""Ten adapters merged: ours against PEFT's ``add_weighted_adapter`` in time, memory and error.

    python benchmarks/bricks_merge.py [--model smollm2-135m-instruct] [--quick]

Ten random LoRAs of rank 8 on all matrices of all blocks, equal weights. Each arm gets the adapters in memory and gives
the factors of the merged one. PEFT works on modules of the right shape without a base, so that none of its time or
memory is the model's. Memory is the growth of the greatest use, each arm in a process of its own that read the
adapters from a library and did a small merge first, so that neither a model nor imports count. The error is the
relative Frobenius distance from the exact sum in float64, computed outside the clock; ours also computes and reports
that error inside its time, PEFT does not. It has no ``--device``: a library's adapters are read, merged and written on
the processor, and the model lends its shapes alone.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from measure import Hardware, current_mb, interleaved, medians, peak_mb, ratio, show_and_save, timed
from peft_cat import peft_combined, read_combined
from torch import nn
from transformers.pytorch_utils import Conv1D

import armillary
from armillary.methods.bricks.brick import Brick
from armillary.methods.bricks.library.brick_library import BrickLibrary
from armillary.methods.bricks.low_rank import distance, norm, weighted_sum
from armillary.methods.bricks.merging.adapters import merge
from armillary.methods.bricks.payloads import LowRank
from armillary.models import LoadedModel

ADAPTERS, RANK = 10, 8
WEIGHTS = [1 / ADAPTERS] * ADAPTERS
FLOOR = 1e-9  # errors below it are rounding of their own measurement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None, help="smollm2-135m-instruct; tiny-llama with --quick")
    parser.add_argument("--quick", action="store_true", help="a tiny model, one repeat: shows that it runs")
    parser.add_argument("--arm", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--library", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    model = options.model or ("tiny-llama" if options.quick else "smollm2-135m-instruct")
    if options.arm:
        print(json.dumps(memory(ARMS[options.arm], Path(options.library))))
        return
    bricks = adapters(Hardware().load(model))
    with tempfile.TemporaryDirectory() as folder:
        library = BrickLibrary(folder)
        for brick in bricks:
            library.add(brick)
        runs = timings(bricks, Path(folder), 1 if options.quick else 3)
    rows = [row for peer in ("cat", "svd", "linear") for row in against(peer, runs)]
    settings = {"adapters": ADAPTERS, "rank": RANK, "modules": len(bricks[0].sites), "weights": "equal"}
    show_and_save("bricks_merge", "Ten adapters merged", Path(model).name, settings, rows, quick=options.quick)


def adapters(loaded: LoadedModel) -> list[Brick]:
    """Random LoRAs on every matrix of every block; the base is let go."""
    shapes = {
        path: module.weight.shape if isinstance(module, Conv1D) else module.weight.shape[::-1]
        for path, module in loaded.model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not loaded.anatomy.head
    }
    generator = torch.Generator().manual_seed(0)
    bricks = []
    for number in range(ADAPTERS):
        factors = {
            path: (torch.randn(RANK, inputs, generator=generator), torch.randn(outputs, RANK, generator=generator))
            for path, (inputs, outputs) in shapes.items()
        }
        bricks.append(Brick.of(loaded, LowRank(factors), name=f"adapter {number}"))
    return bricks


def ours(bricks: list[Brick]) -> LowRank:
    """Exact, rank the sum of ranks."""
    payload = merge(bricks, "task_arithmetic", weights=WEIGHTS).brick.payload
    assert isinstance(payload, LowRank)
    return payload


def ours_small(bricks: list[Brick]) -> LowRank:
    """The nearest of one adapter's rank."""
    payload = merge(bricks, "task_arithmetic", weights=WEIGHTS, rank=RANK).brick.payload
    assert isinstance(payload, LowRank)
    return payload


def peft(how: str) -> Callable[[list[Brick]], LowRank]:
    """PEFT's combination of a kind."""
    return lambda bricks: read_combined(peft_combined(bricks, WEIGHTS, how))


ARMS: dict[str, Callable[[list[Brick]], LowRank]] = {
    "ours": ours,
    "ours_small": ours_small,
    "cat": peft("cat"),
    "svd": peft("svd"),
    "linear": peft("linear"),
}


def timings(bricks: list[Brick], library: Path, repeats: int) -> dict[str, list[dict[str, float]]]:
    """Seconds, MB and error of every arm and repeat."""
    exact = exact_sums(bricks)

    def spent_on(name: str) -> Callable[[int], dict[str, float]]:
        def arm(_repeat: int) -> dict[str, float]:
            with timed("cpu") as spent:
                merged = ARMS[name](bricks)
            return {**spent, "error": max(error(merged, exact), FLOOR), "mb": isolated(name, library)}

        return arm

    for arm in ARMS.values():  # warm-up
        arm(adapters(armillary.tiny()))
    return interleaved({name: spent_on(name) for name in ARMS}, repeats)


def exact_sums(bricks: list[Brick]) -> LowRank:
    """The weighted sum as factors in float64."""
    terms = [brick.payload.factors for brick in bricks if isinstance(brick.payload, LowRank)]
    return LowRank({path: weighted_sum([factors[path] for factors in terms], WEIGHTS) for path in terms[0]})


def error(merged: LowRank, exact: LowRank) -> float:
    """Relative Frobenius distance over all modules."""
    wrong = sum(distance(merged.factors[path], factors) ** 2 for path, factors in exact.factors.items())
    return float((wrong / sum(norm(*factors) ** 2 for factors in exact.factors.values())) ** 0.5)


def isolated(name: str, library: Path) -> float:
    """MB that an arm adds at its peak, in a process of its own."""
    command = [sys.executable, __file__, "--library", str(library), "--arm", name]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(result.stdout.splitlines()[-1]))


def memory(arm: Callable[[list[Brick]], LowRank], folder: Path) -> float:
    """MB above what was in use before the arm began; one at least, so that ratios exist."""
    arm(adapters(armillary.tiny()))
    library = BrickLibrary(folder)
    bricks = [library.get(entry.id) for entry in library.entries()]
    before = current_mb()
    merged = arm(bricks)
    assert merged.factors
    return max(1.0, peak_mb() - before)


def against(peer: str, runs: dict[str, list[dict[str, float]]]) -> list[dict[str, object]]:
    """PEFT over ours of the same size: ``cat`` keeps all ranks, the others go back to one adapter's."""
    own = "ours" if peer == "cat" else "ours_small"
    kinds = (("time, s", "seconds"), ("CPU time, s", "cpu"), ("memory, MB", "mb"), ("relative error", "error"))
    return [
        {
            "what": f"{peer}, rank {ADAPTERS * RANK if peer == 'cat' else RANK}: {kind}",
            "peer": medians(runs[peer], key),
            "ours": medians(runs[own], key),
            "ratio": ratio([run[key] for run in runs[peer]], [run[key] for run in runs[own]]),
        }
        for kind, key in kinds
    ]


if __name__ == "__main__":
    main()
