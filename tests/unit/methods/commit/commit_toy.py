"""Two tiny models for CoMMIT whose balance is known: a product of two numbers, and two modules in a row."""

from typing import Any

import torch
from torch import Tensor, nn

Batch = dict[str, Any]
TWO = {"feature_encoder": ["^encoder"], "llm": ["^head"]}


class Product(nn.Module):
    """p(y = 1) = sigmoid(head * encoder), read at the first of two positions; all in float64."""

    def __init__(self, encoder: float, head: float) -> None:
        super().__init__()
        self.encoder = nn.Parameter(torch.tensor(encoder, dtype=torch.float64))
        self.head = nn.Parameter(torch.tensor(head, dtype=torch.float64))

    def forward(self, input_ids: Tensor) -> Tensor:
        logit = (self.encoder * self.head).expand(input_ids.shape)
        return torch.stack([torch.zeros_like(logit), logit], dim=-1)


PRODUCT_BATCH: Batch = {"input_ids": torch.tensor([[0, 1]]), "labels": torch.tensor([[-100, 1]])}


class Modules(nn.Module):
    """Several linear maps with a batch norm and dropout between, to logits of each token."""

    def __init__(self, names: tuple[str, ...] = ("encoder", "head"), width: int = 6, seed: int = 0) -> None:
        super().__init__()
        self.order = names
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for name in names:
                self.add_module(name, nn.Linear(width, width))
        self.norm, self.dropout = nn.BatchNorm1d(width, affine=False), nn.Dropout(0.5)

    def forward(self, features: Tensor) -> Tensor:
        hidden = features
        for name in self.order:
            hidden = self.get_submodule(name)(self.dropout(hidden))
        return self.norm(hidden.transpose(1, 2)).transpose(1, 2)


def modules_batch(rows: int = 4, tokens: int = 3, width: int = 6, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, tokens, width, generator=generator)
    labels = torch.randint(width, (rows, tokens), generator=generator)
    return {"features": features, "labels": labels}


def loss_of(model: nn.Module, batch: Batch) -> Tensor:
    """Mean next-token cross entropy at the answer tokens."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    output = model(**inputs)
    logits = output if isinstance(output, Tensor) else output.logits
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
