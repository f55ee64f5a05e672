"""A run that goes on from a checkpoint, or ends with its best one, has that checkpoint's weights."""

from pathlib import Path

import pytest
import torch
from transformers import Trainer, TrainingArguments

from armillary.models.tiny_vision_models import VISION_KINDS, tiny_vision
from armillary.training.checkpoints import CheckpointWeightsMixin, train_or_resume


class Ours(CheckpointWeightsMixin, Trainer):
    """The stock Trainer with the mixin."""


def saved(kind: str, folder: Path) -> dict[str, torch.Tensor]:
    """The weights that stand in the folder."""
    model = tiny_vision(kind).model
    Trainer(model=model, args=TrainingArguments(output_dir=str(folder), use_cpu=True)).save_model(str(folder))
    return model.state_dict()


@pytest.mark.parametrize("kind", VISION_KINDS)
@pytest.mark.parametrize("best", [False, True])
def test_weights_of_the_checkpoint_are_in_the_model(tmp_path: Path, kind: str, best: bool) -> None:
    wanted = saved(kind, tmp_path)
    model = tiny_vision(kind, seed=1).model
    trainer = Ours(model=model, args=TrainingArguments(output_dir=str(tmp_path), use_cpu=True))
    random = torch.get_rng_state()
    if best:
        trainer.state.best_model_checkpoint = str(tmp_path)
        trainer._load_best_model()
    else:
        trainer._load_from_checkpoint(str(tmp_path))
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())


def test_the_stock_trainer_still_needs_it(tmp_path: Path) -> None:
    """If this fails, transformers has mended it and the mixin can go."""
    wanted = saved("llava", tmp_path)
    model = tiny_vision("llava", seed=1).model
    trainer = Trainer(model=model, args=TrainingArguments(output_dir=str(tmp_path), use_cpu=True))
    trainer._load_from_checkpoint(str(tmp_path))
    assert not any(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())


class _Lines(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {name: value[0] for name, value in tiny_vision("llava").batch(1, seed=index).items()}


@pytest.mark.parametrize("stopped_at", [2, 5])
def test_a_run_killed_behind_its_last_checkpoint_takes_no_step_more(tmp_path: Path, stopped_at: int) -> None:
    """Five steps of epochs of three: where the last step is no epoch's end, the stock Trainer would take a sixth."""

    def trained(checkpoint: Path | None) -> Ours:
        arguments = TrainingArguments(
            output_dir=str(tmp_path),
            max_steps=5,
            per_device_train_batch_size=2,
            save_strategy="steps",
            save_steps=1,
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Ours(model=tiny_vision("llava").model, args=arguments, train_dataset=_Lines())
        train_or_resume(trainer, checkpoint)
        return trainer

    whole = trained(None)
    resumed = trained(tmp_path / f"checkpoint-{stopped_at}")
    assert resumed.state.global_step == 5
    pairs = zip(whole.model.parameters(), resumed.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
