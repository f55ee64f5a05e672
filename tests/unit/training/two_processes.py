"""What two processes do with gloo, to be compared with one: run as a script, once a process."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch


def run_two(folder: Path, script: Path) -> list[dict[str, Any]]:
    """The results of both processes of ``script FOLDER``, which each writes to ``FOLDER/<rank>.pt``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    common |= {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(Path(__file__).parents[2])}
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(folder)],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    told = []
    try:
        told = [process.communicate(timeout=180)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode == 0 for process in processes), "\n".join(told)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def main(folder: Path) -> None:
    from transformers import Trainer

    from unit.training.test_second_gradient import LogitsShrunk, Plain, trained, weights

    stock = trained(Trainer, folder / "stock", per_device_train_batch_size=1)
    plain = trained(Plain, folder / "plain", per_device_train_batch_size=1)
    sizes = {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2, "max_steps": 1}
    second = trained(LogitsShrunk, folder / "second", **sizes)
    assert stock.accelerator.num_processes == 2 and isinstance(second, LogitsShrunk)
    found = {"stock": weights(stock), "plain": weights(plain), "second": second.kept[0]}
    torch.save(found, folder / f"{os.environ['RANK']}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
