"""Keys that need no data: the input direction that a low-rank change answers most (Arrow).

As in PEFT's Arrow. The direction is the top right singular vector of ``B A``; power
iteration finds it, and so does the SVD of the small core, which is exact. Its sign is arbitrary, so scores are
magnitudes.

Legend: B bricks, I inputs of a module, N tokens.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from armillary.errors import UsageError
from armillary.methods.bricks.brick import Brick
from armillary.methods.bricks.low_rank_sums import first_input_direction
from armillary.methods.bricks.payloads import LowRank
from armillary.methods.bricks.sites import matrix
from armillary.models.batches import encode, run_body
from armillary.models.loaded import LoadedModel


def arrow_prototypes(brick: Brick) -> dict[str, Tensor]:
    """Unit vector ``[in]`` of each module that a low-rank brick changes, float64; UsageError for another payload."""
    if not isinstance(brick.payload, LowRank):
        raise UsageError(f"{brick.name!r} is no low-rank change, so it has no direction that it answers most.")
    return {path: first_input_direction(*factors) for path, factors in brick.payload.factors.items()}


@torch.inference_mode()
def arrow_scores(
    loaded: LoadedModel, texts: Sequence[str], bricks: Sequence[Brick], *, max_tokens: int = 128
) -> NDArray[np.float64]:
    """Mean over modules and tokens of ``|v . x| / |x|``, ``[texts, bricks]``, between 0 and 1.

    Read while the base runs alone; the first token is left out where there are others. Compare bricks within a text
    only.
    """
    prototypes = [arrow_prototypes(brick) for brick in bricks]
    found = np.zeros((len(texts), len(bricks)))
    for place, row in enumerate(encode(loaded, texts, max_tokens=max_tokens)):
        seen: dict[str, Tensor] = {}
        with _inputs(loaded, sorted({path for one in prototypes for path in one}), seen):
            run_body(loaded, torch.tensor([row], device=loaded.device))
        for which, one in enumerate(prototypes):
            found[place, which] = np.mean([_answer(seen[path], vector_I) for path, vector_I in one.items()])
    return found


def arrow_weights(scores_B: NDArray[np.float64], k: int, temperature: float = 1.0) -> NDArray[np.float64]:
    """Softmax over the ``k`` highest scores, 0 for the others; UsageError for k outside 1 to the number of bricks."""
    if not 1 <= k <= len(scores_B) or temperature <= 0:
        raise UsageError(f"k is 1 to {len(scores_B)} and the temperature above 0; got {k} and {temperature}.")
    kept = np.argsort(-scores_B, kind="stable")[:k]
    raw = np.exp((scores_B[kept] - scores_B[kept[0]]) / temperature)
    weights = np.zeros_like(scores_B)
    weights[kept] = raw / raw.sum()
    return weights


@contextmanager
def _inputs(loaded: LoadedModel, paths: Sequence[str], seen: dict[str, Tensor]) -> Iterator[None]:
    with ExitStack() as hooks:
        for path in paths:
            hook = _recorder(path, seen)
            hooks.callback(matrix(loaded.model, path).register_forward_pre_hook(hook).remove)
        yield


def _recorder(path: str, seen: dict[str, Tensor]) -> Any:
    def record(_module: nn.Module, args: tuple[Any, ...]) -> None:
        x_NI = args[0].detach().reshape(-1, args[0].shape[-1])
        seen[path] = x_NI[1:] if len(x_NI) > 1 else x_NI

    return record


def _answer(x_NI: Tensor, vector_I: Tensor) -> float:
    wide = x_NI.double()
    sizes = wide.norm(dim=1).clamp_min(torch.finfo(torch.float64).tiny)
    return float(((wide @ vector_I.to(wide)).abs() / sizes).mean())
