"""Which low-rank brick fits an input, without keys: by the input direction that its change answers most (Arrow).

"Towards Modular LLMs by Building and Reusing a Library of LoRAs", Ostapenko and others, 2024, arXiv 2405.11157; as in
PEFT's Arrow. The direction is the top right singular vector of ``B A``; power iteration finds it, and so does the SVD
of the small core, which is exact. Its sign is arbitrary, so scores are magnitudes.

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
from armillary.methods.bricks.library.mounting import check_base
from armillary.methods.bricks.library.retrieval import Retrieval, best_scored
from armillary.methods.bricks.low_rank import first_input_direction
from armillary.methods.bricks.payloads import LowRank, matrix
from armillary.models.batches import encode, run_body
from armillary.models.loaded import LoadedModel

MAX_TOKENS = 128
"""Of a query that are read: more cost time in proportion."""


def arrow_prototypes(brick: Brick) -> dict[str, Tensor]:
    """Unit vector ``[in]`` of each module that a low-rank brick changes, float64; UsageError for another payload."""
    if not isinstance(brick.payload, LowRank):
        raise UsageError(f"{brick.name!r} is no low-rank change, so it has no direction that it answers most.")
    return {path: first_input_direction(*factors) for path, factors in brick.payload.factors.items()}


@torch.inference_mode()
def arrow_scores(loaded: LoadedModel, texts: Sequence[str], bricks: Sequence[Brick]) -> NDArray[np.float64]:
    """Mean over modules and tokens of ``|v . x| / |x|``, ``[texts, bricks]``, between 0 and 1.

    Read while the base runs alone; the first token is left out where there are others. Compare bricks within a text
    only.
    """
    prototypes = [arrow_prototypes(brick) for brick in bricks]
    paths = sorted({path for vectors in prototypes for path in vectors})
    scores = np.zeros((len(texts), len(bricks)))
    for text, row in enumerate(encode(loaded, texts, max_tokens=MAX_TOKENS)):
        inputs: dict[str, Tensor] = {}
        with _recorded_inputs(loaded, paths, inputs):
            run_body(loaded, torch.tensor([row], device=loaded.device))
        for brick, vectors in enumerate(prototypes):
            alignments = []
            for path, vector_I in vectors.items():
                x_NI = inputs[path].double()
                # A token whose input is zero points nowhere and counts as 0.
                sizes_N = x_NI.norm(dim=1).clamp_min(torch.finfo(torch.float64).tiny)
                alignments.append(float(((x_NI @ vector_I.to(x_NI)).abs() / sizes_N).mean()))
            scores[text, brick] = np.mean(alignments)
    return scores


def arrow_retrieve(
    loaded: LoadedModel, queries: Sequence[str], bricks: Sequence[Brick], *, k: int = 1, threshold: float = 0.0
) -> list[Retrieval]:
    """For each query the ``k`` low-rank bricks of highest score, those below ``threshold`` left out.

    Weights are a softmax of the scores over a temperature of 1 (Arrow's). Scores say which brick fits a query
    better than another, not how well: a threshold that suits one model need not suit another. UsageError for no query
    or brick, k outside 1 to the number of bricks, bricks of another base or that are not
    low-rank.
    """
    if not queries or not bricks:
        raise UsageError(f"Arrow needs queries and low-rank bricks; got {len(queries)} and {len(bricks)}.")
    if not 1 <= k <= len(bricks):
        raise UsageError(f"k is 1 to {len(bricks)}, the number of bricks; got {k}.")
    for brick in bricks:
        check_base(brick, loaded)
    ids = [brick.id for brick in bricks]
    scores = arrow_scores(loaded, queries, bricks)
    return [best_scored(score_B, ids, k, threshold, 1.0) for score_B in scores]


@contextmanager
def _recorded_inputs(loaded: LoadedModel, paths: Sequence[str], inputs: dict[str, Tensor]) -> Iterator[None]:
    """Inside, each module's last input is kept in ``inputs`` as ``[N, I]``, without the first of several tokens."""

    def recorder(path: str) -> Any:
        def record(_module: nn.Module, args: tuple[Any, ...]) -> None:
            x_NI = args[0].detach().reshape(-1, args[0].shape[-1])
            inputs[path] = x_NI[1:] if len(x_NI) > 1 else x_NI

        return record

    with ExitStack() as hooks:
        for path in paths:
            hooks.enter_context(matrix(loaded.model, path).register_forward_pre_hook(recorder(path)))
        yield
