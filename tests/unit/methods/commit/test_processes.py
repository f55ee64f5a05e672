"""Two processes with different data, one of them without answers for a while, keep the same multipliers."""

import json
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD

from armillary.methods.commit import CoMMITConfig, CoMMITController
from armillary.training.components import component_groups
from processes import start

from .commit_toy import TWO, Batch, Modules, loss_of, modules_batch

STEPS = 6


def batch_of(rank: int, step: int) -> Batch:
    """Rank 1 has more answers, and in step 2 none; in step 4 neither has."""
    batch = modules_batch(rows=4 + rank, seed=10 * step + rank)
    if step == 4 or (step == 2 and rank == 1):
        batch["labels"] = torch.full_like(batch["labels"], -100)
    return batch


def train(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    wait = timedelta(seconds=120)
    place = f"file://{folder}/meeting"
    distributed.init_process_group("gloo", init_method=place, rank=rank, world_size=2, timeout=wait)
    try:
        train_together(rank, folder)
    finally:
        distributed.destroy_process_group()


def train_together(rank: int, folder: str) -> None:
    model = Modules().eval()
    shell = DistributedDataParallel(model)
    optimizer = SGD(component_groups(model, TWO, {"feature_encoder": 1e-3, "llm": 1e-1}))
    config = CoMMITConfig(interval=1, first_probe=0, ema=0.5)
    controller = CoMMITController(model, config, TWO, optimizer=optimizer)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss_of(shell, modules_batch(seed=step + 100 * rank)).backward()
        controller.before_step(batch_of(rank, step))
        optimizer.step()
        controller.after_step()
    weights = [value.flatten().tolist() for value in model.state_dict().values()]
    told = {"state": controller.state_dict(), "weights": weights}
    Path(folder, f"rank{rank}.json").write_text(json.dumps(told), "utf-8")


def test_both_processes_have_the_same_multipliers(tmp_path: Path) -> None:
    other = start(train, 1, str(tmp_path))
    train(0, str(tmp_path))
    other.join()
    assert other.exitcode == 0
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text("utf-8")) for rank in (0, 1))
    assert first == second
    state = first["state"]
    assert [probe["step"] for probe in state["trace"]] == [0, 1, 2, 3, 5] and state["skipped"] == 1
    assert [probe["tokens"] for probe in state["trace"]] == [18, 18, 8, 18, 18]
    assert state["multipliers"]["feature_encoder"] > 1
