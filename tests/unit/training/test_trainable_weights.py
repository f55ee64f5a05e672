"""Checkpoints that hold the trained weights alone, and the one that a run goes on from."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import Trainer, TrainingArguments

from armillary.errors import UsageError
from armillary.training.checkpoints import WEIGHTS, TrainableWeightsMixin, last_checkpoint


class _Own(TrainableWeightsMixin, Trainer):
    pass


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.trained = nn.Linear(2, 2), nn.Linear(2, 2)
        self.frozen.requires_grad_(False)


def trainer(folder: Path) -> _Own:
    return _Own(model=_Net(), args=TrainingArguments(output_dir=str(folder), use_cpu=True, report_to="none"))


def test_only_what_trains_is_kept_and_read_back(tmp_path: Path) -> None:
    first, second = trainer(tmp_path), trainer(tmp_path)
    first.save_model(str(tmp_path / "one"))
    assert {path.name for path in (tmp_path / "one").iterdir()} == {WEIGHTS}
    assert set(load_file(tmp_path / "one" / WEIGHTS)) == {"trained.weight", "trained.bias"}
    frozen = second.model.frozen.weight.clone()
    second._load_from_checkpoint(str(tmp_path / "one"))
    assert torch.equal(second.model.trained.weight, first.model.trained.weight)
    assert torch.equal(second.model.frozen.weight, frozen)


def test_a_checkpoint_of_other_weights_is_refused(tmp_path: Path) -> None:
    made = trainer(tmp_path)
    made.save_model(str(tmp_path / "one"))
    made.model.frozen.weight.requires_grad_(True)
    with pytest.raises(UsageError, match=r"other trained weights: frozen\.weight"):
        made._load_from_checkpoint(str(tmp_path / "one"))


def test_the_last_whole_checkpoint(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path / "nothing") is None
    for step, state in ((9, "{}"), (10, "{}"), (11, '{"cut'), (12, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    (tmp_path / "checkpoint-best").mkdir()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
