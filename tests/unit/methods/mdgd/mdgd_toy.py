"""Tiny image-text models of every kind with data sets of single rows, and trainers that run in a second."""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer
from transformers.trainer_callback import PrinterCallback

from armillary.methods.mdgd.trainer import MDGDConfig, MDGDTrainer
from armillary.models.tiny_vision_models import TinyVision, tiny_vision

Row = dict[str, Tensor]


class ToyImages(Dataset[Row]):
    """Rows of one image and one text each; with ``questions`` two texts ask of every image."""

    def __init__(self, tiny: TinyVision, count: int = 8, *, images: bool = True, questions: int = 1) -> None:
        first = [tiny.batch(1, seed=seed, images=images) for seed in range(count // questions)]
        self.rows: list[Row] = []
        for question in range(questions):
            for seed, image in enumerate(first):
                text = tiny.batch(1, seed=1000 * question + seed, images=images)
                names = ("input_ids", "labels")
                self.rows.append({**image, **{name: text[name] for name in names}})

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]


def collated(rows: Sequence[Row]) -> Row:
    """Rows of one batch put together; patches of images that are rows themselves are put one after another."""
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


def mixed_rows() -> list[Row]:
    """Five rows with an image and three without, of different lengths."""
    toy = tiny_vision()
    return [*ToyImages(toy, 5).rows, *ToyImages(toy, 3, images=False).rows]


def padded(rows: Sequence[Row]) -> Row:
    """Rows of different lengths, with images or not, padded on the right."""
    length = max(row["input_ids"].shape[1] for row in rows)
    columns: dict[str, list[Tensor]] = {}
    for row in rows:
        missing = length - row["input_ids"].shape[1]
        for name, value in row.items():
            if name != "pixel_values":
                value = nn.functional.pad(value, (0, missing), value=-100 if name == "labels" else 0)
            columns.setdefault(name, []).append(value)
    return {name: torch.cat(values) for name, values in columns.items()}


def arguments(folder: Path, **changes: Any) -> MDGDConfig:
    """Three steps of AdamW at a rate that moves the toy a little, with both of the paper's parts."""
    return MDGDConfig(
        **{
            "preset": "paper",
            "output_dir": str(folder),
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "max_steps": 3,
            "learning_rate": 1e-3,
            "weight_decay": 0.1,
            "lr_scheduler_type": "constant",
            "logging_steps": 1,
            "save_strategy": "no",
            "disable_tqdm": True,
            "use_cpu": True,
            "dataloader_pin_memory": False,
            "remove_unused_columns": False,
            **changes,
        }
    )


def make(
    folder: Path,
    *,
    kind: str = "llava",
    trainer: type[Trainer] = MDGDTrainer,
    data: Dataset[Row] | None = None,
    model: nn.Module | None = None,
    extra: dict[str, Any] | None = None,
    **changes: Any,
) -> Any:
    """A trainer on a tiny model of the kind, and data made for it."""
    gc.freeze()  # the stock trainer collects garbage when it begins, which is long with libraries loaded
    tiny = tiny_vision(kind)
    made = trainer(
        model=tiny.model if model is None else model,
        args=arguments(folder, **changes),
        train_dataset=ToyImages(tiny) if data is None else data,
        data_collator=collated,
        **(extra or {}),
    )
    made.remove_callback(PrinterCallback)
    return made


def run(folder: Path, **changes: Any) -> Any:
    """The same after training."""
    trainer = make(folder, **changes)
    trainer.train()
    return trainer


def weights(trainer: Trainer) -> Tensor:
    """All parameters as one vector."""
    model = trainer.model
    assert isinstance(model, nn.Module)
    return torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])


def logged(trainer: Trainer, name: str) -> list[float]:
    """The values of one name in the log."""
    return [line[name] for line in trainer.state.log_history if name in line]
