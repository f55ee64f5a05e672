"""A tiny image-text model in a folder, tiny pictures with questions in files, and TOML that names them."""

import gc
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file

from armillary.models import tiny
from armillary.models.image_text import tiny_image_text_model

COLOURS = {"red": (220, 20, 20), "blue": (20, 40, 220), "green": (20, 180, 40)}


def write_model(folder: Path) -> Path:
    """A random model of two layers, saved as transformers saves it."""
    gc.freeze()  # the stock trainer collects garbage when it begins, which is long with libraries loaded
    made = tiny_image_text_model()
    made.model.save_pretrained(folder)
    made.processor.save_pretrained(folder)
    return folder


def text_model(table: dict[str, Any], folder: Path) -> None:
    """The table with a model that neither sees nor hears."""
    tiny().model.save_pretrained(folder / "text")
    table["model"] = str(folder / "text")


def write_questions(folder: Path, name: str, *, count: int = 9, ask: str = "colour", start: int = 0) -> Path:
    """A file of questions about pictures of one colour, tall or wide."""
    lines = []
    for number in range(start, start + count):
        colour = list(COLOURS)[number % 3]
        wide = number % 2 == 0
        image = folder / f"{number}.png"
        if not image.exists():
            Image.new("RGB", (20 + number, 12) if wide else (12, 20 + number), COLOURS[colour]).save(image)
        asked: dict[str, Any] = {"image": image.name, "question": "Which colour is this?", "answer": colour}
        asked["choices"] = list(COLOURS)
        if ask == "shape":
            asked |= {"question": "Is it wide?", "answer": "yes" if wide else "no", "choices": ["yes", "no"]}
        if ask == "free":
            asked = {"image": image.name, "question": "What is it?", "answer": colour}
        lines.append(json.dumps(asked))
    path = folder / name
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def write_toml(path: Path, table: Mapping[str, Any]) -> Path:
    """The table as TOML: plain values first, then its tables."""
    plain = {name: value for name, value in table.items() if not isinstance(value, Mapping)}
    lines = [f"{name} = {_toml(value)}" for name, value in plain.items()]
    for name, inner in table.items():
        if isinstance(inner, Mapping):
            lines += [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in inner.items())]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value)


def tables(folder: Path, method: str, own: Mapping[str, Any], **training: Any) -> dict[str, Any]:
    """A whole configuration on files of the folder; six steps, a checkpoint every second."""
    write_questions(folder, "train.jsonl")
    write_questions(folder, "test.jsonl", start=9, count=6)
    write_questions(folder, "shape.jsonl", ask="shape", start=9, count=6)
    return {
        "model": str(folder / "vlm"),
        "output": str(folder / "tuned"),
        "data": {
            "train": str(folder / "train.jsonl"),
            "test": str(folder / "test.jsonl"),
            "target": "colour",
            "keep_files": {"shape": str(folder / "shape.jsonl")},
        },
        "training": {
            "max_steps": 6,
            "save_steps": 2,
            "logging_steps": 1,
            "learning_rate": 1e-3,
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "use_cpu": True,
            **training,
        },
        method: dict(own),
    }


def weights(run: Path, name: str = "model") -> dict[str, torch.Tensor]:
    """The weights of a model in a folder; the tuned ones of a run."""
    return load_file(run / name / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    """Whether two runs ended with the same weights, bit for bit."""
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
