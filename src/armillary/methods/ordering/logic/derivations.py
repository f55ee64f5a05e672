"""The proof tree that prover, checker and texts share: a rule, the hypotheses it names, the proofs of its premises.

Only data: what a rule means stands twice, once in the prover, once in ``rules``, which share no code.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

RULES: dict[str, tuple[int, int]] = {
    "botL": (1, 0),
    "ax": (1, 0),
    "topR": (0, 0),
    "impR": (0, 1),
    "andL": (1, 1),
    "drop": (1, 1),
    "unit": (1, 1),
    "curry": (1, 1),
    "split": (1, 1),
    "mp": (2, 1),
    "andR": (0, 2),
    "orL": (1, 2),
    "orR1": (0, 1),
    "orR2": (0, 1),
    "impimp": (1, 2),
}
"""Every rule of G4ip with the hypotheses that it names and the premises that it leaves."""

CHOICES = frozenset({"orR1", "orR2", "impimp"})
"""The rules that can be the wrong move; all others keep a provable sequent provable."""

Address = tuple[int, ...]
"""Which premise was taken at each node from the root."""


@dataclass(frozen=True, slots=True)
class Derivation:
    """A proof, or what claims to be one."""

    rule: str
    arguments: tuple[int, ...]
    """Numbers of hypotheses."""
    children: "tuple[Derivation, ...]"
    size: int = field(init=False, compare=False)
    """Nodes: the length of the proof in steps."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", 1 + sum(child.size for child in self.children))

    def walk(self) -> "Iterator[tuple[Address, Derivation]]":
        """Every node with its address, parents before children, depth first."""
        waiting: list[tuple[Address, Derivation]] = [((), self)]
        while waiting:
            address, node = waiting.pop()
            yield address, node
            for which in range(len(node.children) - 1, -1, -1):
                waiting.append(((*address, which), node.children[which]))

    @property
    def skeleton(self) -> tuple[str, ...]:
        """Its rules in preorder without their hypotheses: what two proofs of different theorems can share."""
        return tuple(node.rule for _, node in self.walk())

    @property
    def has_choice(self) -> bool:
        """Whether some step could have been the wrong one."""
        return any(node.rule in CHOICES for _, node in self.walk())
