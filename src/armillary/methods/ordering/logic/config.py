"""What theorems are drawn, and how much of a sequent each step of a proof shows."""

from dataclasses import dataclass
from typing import Literal

from armillary.errors import UsageError

MOST_STEPS = 31
"""A step adds two hypotheses at most, and there are tokens for 64."""

Law = Literal["mixture", "uniform"]
"""How a formula is drawn from a range of sizes: the size uniform, or every formula equally likely (mostly large)."""


@dataclass(frozen=True, kw_only=True)
class LogicConfig:
    """Which theorems make the world. UsageError where a range is empty or out of bounds.

    [derived] The sizes of the note's pilot, in which a small model passes a third of the theorems within minutes;
    uniform formulas of any size are mostly trivial, so that a band of proof lengths is kept.
    """

    atoms: int = 2
    """Different atoms, 1 to 5."""

    falsum: bool = True
    """Whether F occurs."""

    truth: bool = False
    """Whether T occurs."""

    nodes: tuple[int, int] = (3, 6)
    """Fewest and most connectives."""

    law: Law = "mixture"
    """How sizes are drawn; with one size both laws are PropL's."""

    steps: tuple[int, int] = (3, 7)
    """Shortest and longest proof that is kept."""

    shortest: bool = False
    """Take the shortest proof over all choices of rules, not the first that is found."""

    full_state: bool = False
    """Each state shows every hypothesis, as PropL's do, not only what the step has added."""

    def __post_init__(self) -> None:
        for name, (least, most), lowest in (("nodes", self.nodes, 0), ("steps", self.steps, 1)):
            if not lowest <= least <= most:
                raise UsageError(f"{name} must be a range from {lowest} on, least first; got {least} to {most}.")
        if self.steps[1] > MOST_STEPS:
            raise UsageError(f"proofs of {self.steps[1]} steps were asked for; {MOST_STEPS} is the longest.")
