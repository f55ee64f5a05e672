"""Small low-rank bricks for the tests of mounting, merging and keeping them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from armillary.methods.bricks.brick import Brick
from armillary.methods.bricks.payloads import LowRank
from armillary.models import LoadedModel

KINDS = ("llama", "gemma3", "gpt2", "opt")


def matrices(loaded: LoadedModel) -> dict[str, tuple[int, int]]:
    """(in, out) of every Linear and Conv1D inside the blocks, by path."""
    result: dict[str, tuple[int, int]] = {}
    for path, module in loaded.model.named_modules():
        if isinstance(module, nn.Linear | Conv1D) and any(step.isdigit() for step in path.split(".")):
            rows, columns = module.weight.shape
            result[path] = (rows, columns) if isinstance(module, Conv1D) else (columns, rows)
    return result


def lora(
    loaded: LoadedModel, seed: int, *, rank: int = 2, paths: Sequence[str] | None = None, size: float = 0.1
) -> LowRank:
    """Random factors on the given modules, by default on all matrices of all blocks."""
    generator = torch.Generator().manual_seed(seed)
    shapes = matrices(loaded)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * size

    return LowRank({path: (draw(rank, shapes[path][0]), draw(shapes[path][1], rank)) for path in paths or shapes})


def lora_brick(loaded: LoadedModel, seed: int, **settings: Any) -> Brick:
    """A brick of ``lora``."""
    return Brick.of(loaded, lora(loaded, seed, **settings), name=f"lora-{seed}")


def snapshot(loaded: LoadedModel) -> dict[str, Tensor]:
    """Copies of all parameters."""
    return {name: value.detach().clone() for name, value in loaded.model.named_parameters()}


def bit_equal(loaded: LoadedModel, kept: Mapping[str, Tensor]) -> bool:
    """True where every parameter has the bytes it had."""
    return all(
        torch.equal(value.detach().view(torch.int32), kept[name].view(torch.int32))
        for name, value in loaded.model.named_parameters()
    )


@torch.no_grad()
def logits(loaded: LoadedModel, text: str = "The capital of France is Paris and the sky is blue") -> Tensor:
    """Logits of a text."""
    result: Tensor = loaded.model(**loaded.tokenizer(text, return_tensors="pt")).logits
    return result
