"""What multiplying two numbers by hand writes down, and which digit each of its digits is found from.

[derived] For factors ``a`` and ``b`` of ``n`` digits, ``b_i`` the i-th digit of ``b`` from the right:

    P_i = a b_i 10^i        C_i = P_0 + ... + P_i        a b = C_(n-1)

each in ``2 n`` digits. The computation runs forward, so that the discovery graph is the logical one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["P", "C"]
"""A partial product, a running sum."""


@dataclass(frozen=True, order=True)
class Block:
    """A number that is written down."""

    kind: Kind
    index: int

    @property
    def name(self) -> str:
        """As "P1"."""
        return f"{self.kind}{self.index}"


def blocks(digits: int) -> list[Block]:
    """Of factors with so many digits, as they are computed: P0, C0, P1, C1, ..."""
    kinds: tuple[Kind, ...] = ("P", "C")
    return [Block(kind, index) for index in range(digits) for kind in kinds]


def value(block: Block, a: int, b: int) -> int:
    """Of a block when ``a`` is multiplied by ``b``."""
    power = int(10**block.index)
    if block.kind == "P":
        return a * (b // power % 10) * power
    return a * (b % (10 * power))


def digits_of(number: int, width: int) -> list[int]:
    """Least significant first, ``width`` of them."""
    return [number // 10**place % 10 for place in range(width)]


def number_of(digits: list[int]) -> int:
    """Of digits, the least significant first."""
    return sum(digit * 10**place for place, digit in enumerate(digits))


def digit_name(block: Block, place: int) -> str:
    """As "P1.3": the digit of 10^3 of P1."""
    return f"{block.name}.{place}"


def found_from(block: Block, place: int) -> Iterator[tuple[Block, int]]:
    """The digits that help to find this one; those of the factors, which stand in the prompt, are left out.

    A digit of C_i needs the digits up to its own of C_(i-1) and of P_i. Within any number the carry comes from the
    digit before.
    """
    if block.kind == "C":
        for support in (Block("C", block.index - 1), Block("P", block.index)):
            if support.index >= 0:
                yield from ((support, lower) for lower in range(place + 1))
    if place:
        yield block, place - 1
