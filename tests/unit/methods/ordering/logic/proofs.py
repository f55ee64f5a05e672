"""What the tests of proofs share: theorems over many rules, by size."""

from functools import cache
from itertools import islice

from armillary.methods.ordering.logic.config import LogicConfig
from armillary.methods.ordering.logic.generator import Theorem, theorems


@cache
def some_theorems(count: int = 120) -> tuple[Theorem, ...]:
    """Proofs of 3 to 20 steps in which every rule occurs."""
    config = LogicConfig(atoms=3, truth=True, nodes=(3, 12), steps=(3, 20))
    return tuple(islice(theorems(config, seed=5), count))
