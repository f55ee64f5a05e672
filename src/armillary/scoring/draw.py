"""One token from each row of logits by the inverse of the cumulative distribution, with its exact log-probability.

Shapes: B rows, V vocabulary, K blocks of the vocabulary, S entries of a block.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK = 256


def draw(
    logits_BV: Float[Tensor, "b v"], uniform_B: Float[Tensor, "b"], temperature: float | Float[Tensor, "b"] = 1.0
) -> tuple[Int[Tensor, "b"], Float[Tensor, "b"]]:
    """Token ids and their log-probabilities (nats, float64) under ``softmax(logits / temperature)``.

    ``temperature`` is one number, or one a row. The token is the first whose cumulative probability exceeds
    ``uniform`` (float64, in [0, 1)). One pass of exponentials: sums of blocks find the block, a cumulative sum inside
    it finds the token; both in float64, since a float32 cumulative sum over a large vocabulary would move the
    boundaries. The logits are overwritten where they are float32. A row with NaN or infinite logits gets a
    log-probability of NaN.
    """
    weights_BV = logits_BV.float().div_(temperature if isinstance(temperature, float) else temperature[:, None])
    weights_BV = weights_BV.sub_(weights_BV.amax(dim=-1, keepdim=True)).exp_()
    blocks_BK = _block_sums(weights_BV).double()
    upto_BK = blocks_BK.cumsum(dim=-1)
    total_B1 = upto_BK[:, -1:]
    wanted_B1 = uniform_B.double()[:, None] * total_B1
    block_B1 = _first_above(upto_BK, wanted_B1)
    columns_BS = block_B1 * BLOCK + torch.arange(BLOCK, device=weights_BV.device)
    outside_BS = columns_BS >= weights_BV.shape[1]
    inside_BS = weights_BV.gather(1, columns_BS.masked_fill(outside_BS, 0)).double().masked_fill_(outside_BS, 0.0)
    before_B1 = upto_BK.gather(1, block_B1) - blocks_BK.gather(1, block_B1)
    place_B1 = _first_above(inside_BS.cumsum(dim=-1), wanted_B1 - before_B1)
    log_probability_B = (inside_BS.gather(1, place_B1).log() - total_B1.log())[:, 0]
    return (block_B1 * BLOCK + place_B1)[:, 0].clamp_max(weights_BV.shape[1] - 1), log_probability_B


def _block_sums(weights_BV: Tensor) -> Tensor:
    whole = weights_BV.shape[1] // BLOCK * BLOCK
    sums = [weights_BV[:, :whole].unflatten(1, (-1, BLOCK)).sum(dim=-1)] if whole else []
    if whole < weights_BV.shape[1]:
        sums.append(weights_BV[:, whole:].sum(dim=-1, keepdim=True))
    return torch.cat(sums, dim=1)


def _first_above(upto_BK: Tensor, wanted_B1: Tensor) -> Tensor:
    # Rounding may leave ``wanted`` at or above the last sum; the last entry with weight is then the one meant.
    last_B1 = torch.searchsorted(upto_BK, upto_BK[:, -1:].contiguous())
    last_B1 = last_B1.clamp_max_(upto_BK.shape[1] - 1)
    return torch.minimum(torch.searchsorted(upto_BK, wanted_B1, right=True), last_B1)
