"""A short, real fine-tune on other text by the stock Trainer."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset
from transformers import Trainer

from armillary.models import LoadedModel, load
from armillary.models.prompts import bare_ids, windows
from reproductions.images.training import train, unsaved


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig:
    """Full fine-tuning with AdamW at a constant rate; all numbers are ours, as the paper gives none."""

    steps: int = 300
    batch_size: int = 2
    tokens: int = 64
    learning_rate: float = 5e-5
    seed: int = 0


class _Windows(Dataset[dict[str, torch.Tensor]]):
    """Windows of equal length cut from the texts joined by the end-of-text token, so that nothing is padded.

    Each begins as the model expects a text to begin.
    """

    def __init__(self, loaded: LoadedModel, texts: Sequence[str], tokens: int) -> None:
        end = loaded.tokenizer.eos_token_id
        rows = bare_ids(loaded.tokenizer, texts)
        joined = [token for row in rows for token in [*row, *([] if end is None else [end])]]
        self.rows = [torch.tensor(row) for row in windows(loaded, joined, tokens)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.rows[index], "labels": self.rows[index]}


def fine_tune(loaded: LoadedModel, texts: Sequence[str], config: FineTuneConfig) -> LoadedModel:
    """A fine-tuned copy; the given model is left as it was."""
    model = copy.deepcopy(loaded.model).train()
    arguments = unsaved(
        config.steps,
        config.batch_size,
        config.learning_rate,
        config.seed,
        on_cpu=loaded.device.type == "cpu",
        lr_scheduler_type="constant",
        logging_strategy="no",
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=_Windows(loaded, texts, config.tokens))
    train(trainer, "Fine-tuning on other text", config.steps)
    return load((model.eval(), loaded.tokenizer))


def relative_change(before: LoadedModel, after: LoadedModel) -> float:
    """Norm of the change of all parameters over their norm before."""
    changed = total = 0.0
    for old, new in zip(before.model.parameters(), after.model.parameters(), strict=True):
        changed += float((new.detach() - old.detach()).double().square().sum())
        total += float(old.detach().double().square().sum())
    return float((changed / total) ** 0.5)
