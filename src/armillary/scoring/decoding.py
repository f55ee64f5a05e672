"""Rows of a batch that grow by one token a step on one key-value cache; finished rows leave it in time."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import Cache

from armillary.models.batches import run_body
from armillary.models.loaded import LoadedModel
from armillary.scoring.kv_cache import select_rows

LEAVE = 0.75
"""Dropping finished rows copies the cache, so it waits until no more than this share is unfinished."""


class DecodingRows:
    """Rows being decoded. ``held`` are their indices at the start, ``alive`` which are not finished."""

    def __init__(
        self,
        loaded: LoadedModel,
        cache: Cache,
        mask_BS: Int[Tensor, "b s"],
        hidden_BD: Float[Tensor, "b d"],
        stops: Int[Tensor, " k"],
    ) -> None:
        """``hidden`` is the last hidden state of the ``s`` cached tokens; a row ends with a token of ``stops``."""
        self.loaded, self.cache, self.stops = loaded, cache, stops
        self.mask_BS, self.hidden_BD = mask_BS, hidden_BD
        self.padded = not bool(mask_BS.all())
        self.held = torch.arange(len(mask_BS), device=mask_BS.device)
        self.alive = torch.ones(len(mask_BS), dtype=torch.bool, device=mask_BS.device)

    def advance(self, token_B: Int[Tensor, " b"]) -> bool:
        """Append these tokens and read them: ``hidden_BD`` is new, and held and alive may have shrunk.

        False, and nothing is computed, when every row has ended.
        """
        self.alive &= ~torch.isin(token_B, self.stops)
        remaining = int(self.alive.sum())
        if remaining == 0:
            return False
        if remaining <= LEAVE * len(self.alive):
            keep = self.alive.nonzero()[:, 0]
            select_rows(self.cache, keep)
            self.held, self.alive, token_B = self.held[keep], self.alive[keep], token_B[keep]
            self.mask_BS = self.mask_BS[keep]
        self.mask_BS = torch.cat([self.mask_BS, self.mask_BS.new_ones((len(self.held), 1))], dim=1)
        mask_BS = self.mask_BS if self.padded else None
        self.hidden_BD = run_body(self.loaded, token_B[:, None], mask_BS, cache=self.cache)[:, -1]
        return True
