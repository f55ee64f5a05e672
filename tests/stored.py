"""A reducer that keeps every value seen, for tests that compare summaries with the values themselves."""

import torch
from jaxtyping import Float
from torch import Tensor

from armillary.errors import UsageError


class Keep:
    """Every value seen, as one tensor a layer, up to ``limit`` tokens."""

    def __init__(self, limit: int = 10_000) -> None:
        self.limit = limit
        self._parts: dict[int, list[Tensor]] = {}

    def update(self, layer: int, x_ND: Float[Tensor, "n d"]) -> None:
        """Store a copy. Raises ``UsageError`` past the limit."""
        parts = self._parts.setdefault(layer, [])
        if sum(map(len, parts)) + len(x_ND) > self.limit:
            raise UsageError(f"Keep holds at most {self.limit} tokens; use a reducer that sums, or raise the limit.")
        parts.append(x_ND.cpu().clone())

    def values(self, layer: int) -> Float[Tensor, "n d"]:
        """The stored values of one layer, in the order seen."""
        return torch.cat(self._parts[layer])
