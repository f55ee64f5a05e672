"""Tiny models with chains about cities, whose steps differ in number and length."""

import copy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.trainer_callback import PrinterCallback

from armillary.methods.ocean.trainer import OceanConfig, OceanTrainer
from armillary.models.anatomy import find_anatomy
from armillary.models.loaded import LoadedModel
from armillary.models.tiny_models import tiny

CITIES = ("Paris", "Rome", "Madrid", "Berlin", "London", "Lisbon", "Vienna", "Athens")
COUNTRIES = ("France", "Italy", "Spain", "Germany", "England", "Portugal", "Austria", "Greece")


def chain(index: int, logging: str | None = None) -> dict[str, Any]:
    city, country = CITIES[index % 8], COUNTRIES[index % 8]
    steps = [f"{city} is in {country}.", f"So {country} it is, and no other place."][: 1 + index % 2]
    spans = [[(step.index(name), step.index(name) + len(name)) for name in (city, country) if name in step]
             for step in steps]  # fmt: skip
    row = {"prompt": f"Where is {city}?", "steps": steps, "entity_spans": spans, "answer": country}
    return row if logging is None else {**row, "logging": logging}


def chains(count: int = 8) -> list[dict[str, Any]]:
    return [chain(index) for index in range(count)]


@cache
def _made(seed: int) -> LoadedModel:
    return tiny("llama", seed=seed, layers=1)


def model(seed: int = 0) -> LoadedModel:
    """A copy: making a model costs as much as training it."""
    made = _made(seed)
    copied = copy.deepcopy(made.model)
    return replace(made, model=copied, anatomy=find_anatomy(copied))


def spelling(seed: int = 3) -> LoadedModel:
    """A model whose tokens are single bytes."""
    bytes_of = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    spelled = Tokenizer(models.BPE(vocab=bytes_of, merges=[]))
    spelled.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    spelled.decoder = decoders.ByteLevel()
    return replace(model(seed), tokenizer=PreTrainedTokenizerFast(tokenizer_object=spelled))


def arguments(folder: Path, **changes: Any) -> OceanConfig:
    fixed: dict[str, Any] = {
        "output_dir": str(folder), "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "max_steps": 4,
        "learning_rate": 1e-3, "weight_decay": 0.1, "lr_scheduler_type": "constant", "logging_steps": 1,
        "save_strategy": "no", "disable_tqdm": True, "use_cpu": True, "dataloader_pin_memory": False,
        "report_to": [],
    }  # fmt: skip
    return OceanConfig(**{**fixed, **changes})


def make(folder: Path, *, data: list[dict[str, Any]] | None = None, extra: dict[str, Any] | None = None,
         own: Any = None, **changes: Any) -> OceanTrainer:  # fmt: skip
    given = {"kg_policy": model(1).model, "processing_class": model().tokenizer, **(extra or {})}
    trainer = OceanTrainer(
        own or model().model, args=arguments(folder, **changes), train_dataset=data or chains(), **given
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def run(folder: Path, **settings: Any) -> OceanTrainer:
    trainer = make(folder, **settings)
    trainer.train()
    return trainer


def weights(trainer: OceanTrainer) -> torch.Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in trainer.model.parameters()])


def logged(trainer: OceanTrainer, name: str) -> list[float]:
    return [line[name] for line in trainer.state.log_history if name in line]
