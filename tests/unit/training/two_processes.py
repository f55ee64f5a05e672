"""What two processes do with gloo, to be compared with one: run as a script, once a process."""

import os
import socket
import sys
from pathlib import Path
from typing import Any

import torch

from processes import start_script


def run_two(folder: Path, script: Path) -> list[dict[str, Any]]:
    """The results of both processes of ``script FOLDER``, which each writes to ``FOLDER/<rank>.pt``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true"}
    places = [folder / f"process-{rank}" for rank in range(2)]
    for place in places:
        place.mkdir()
    processes = [
        start_script(script, [str(folder)], place, place, {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank, place in enumerate(places)
    ]
    try:
        for process in processes:
            process.join(timeout=180)
    finally:
        for process in processes:
            process.kill()
    told = [(place / "stderr").read_text("utf-8") for place in places]
    assert all(process.exitcode == 0 for process in processes), "\n".join(told)
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
