"""Models whose FFNs are known: sums of FFNs on input subspaces of their own, neurons in any order."""

import numpy as np
import torch
from numpy.typing import NDArray

from armillary.models import LoadedModel
from armillary.models.feed_forward import ffn_functions, weight_OI
from armillary.models.tiny_models import tiny

TEXTS = [
    "Paris is the capital of France and red is a colour",
    "Berlin lies in Germany, one two three four five",
    "Madrid and Rome, blue and green, Spain and Italy",
    "seven eight nine; Tokyo in Japan; black and white",
]


def direct_sum(blocks: int, *, seed: int = 0) -> tuple[LoadedModel, NDArray[np.int64]]:
    """A Llama whose FFNs are sums of ``blocks`` FFNs, each reading its own share of the hidden dimensions.

    With it the block of each neuron, ``[layers, neurons]``. Rows of a block are positive on its dimensions, so that
    they share a direction.
    """
    loaded = tiny("llama", seed=seed, intermediate=48)
    generator = np.random.default_rng(seed)
    torch_generator = torch.Generator().manual_seed(seed)
    owner = []
    for function in ffn_functions(loaded):
        block_M = generator.permutation(np.repeat(np.arange(blocks), 48 // blocks))
        own_MD = torch.from_numpy(block_M[:, None] == np.arange(32)[None] * blocks // 32)
        for read in function.reads:
            rows = torch.randn(48, 32, generator=torch_generator).abs()
            with torch.no_grad():
                weight_OI(read).copy_(rows * own_MD)
        owner.append(block_M)
    return loaded, np.stack(owner)


def in_subspace(block: int, blocks: int, count: int, *, seed: int = 0) -> torch.Tensor:
    """Inputs ``[n, d]`` that lie in one block's subspace."""
    x = torch.randn(count, 32, generator=torch.Generator().manual_seed(seed))
    return x * (torch.arange(32) * blocks // 32 == block)


def same_groups(labels_LM: NDArray[np.int64], owner_LM: NDArray[np.int64]) -> bool:
    """Every group of each layer lies within one block."""
    return all(
        len(set(owner_M[labels_M == group])) == 1
        for labels_M, owner_M in zip(labels_LM, owner_LM, strict=True)
        for group in set(labels_M.tolist())
    )


def ids(loaded: LoadedModel, rows: int = 2, length: int = 7) -> torch.Tensor:
    """Token ids by lot, ``[rows, length]``, always the same."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(3, loaded.anatomy.vocabulary_size, (rows, length), generator=generator)


@torch.no_grad()
def logits(loaded: LoadedModel, tokens: torch.Tensor) -> torch.Tensor:
    """Of the model as it is now."""
    result: torch.Tensor = loaded.model(input_ids=tokens).logits
    return result
