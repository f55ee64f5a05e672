"""The blocks of a multiplication as tokens in each order, and read back.

A product is ``+`` and its digits, a sum is its digits in brackets, so that all orders of all blocks are the same
tokens. Digits stand least significant first, in "msb" most significant first. With addresses a block begins with its
index.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from armillary.errors import UsageError
from armillary.methods.ordering.multiplication.blocks import Block, blocks, digit_name, digits_of, number_of, value

ORDERS = (
    "seq",
    "msb",
    "parts_then_sums",
    "sumfirst",
    "revsteps",
    "answer_first",
    "noscratch",
    "seq@",
    "shuffle",
)
"""[derived] Names and layouts are ours: the paper's could not be read."""

ADDRESSED = frozenset({"seq@", "shuffle"})
DIGITS = tuple("0123456789")
MARKS = ("*", "=", "+", "(", ")")
MARK = "mark"
"""The part that marks and addresses belong to; a digit's part is its name."""

MOST_DIGITS = 6
"""Of a factor: twelve-digit products are far beyond what small models learn, and each index is a token."""


def address(index: int) -> str:
    """The token of a block's index."""
    return f"#{index}"


VOCABULARY = (*DIGITS, *MARKS, *(address(index) for index in range(MOST_DIGITS)))


@dataclass(frozen=True)
class BlockLayout:
    """How the blocks of one problem are written."""

    blocks: tuple[Block, ...]
    most_first: bool = False
    addressed: bool = False

    def places(self, width: int) -> list[int]:
        """Of a block's digits, as they are written."""
        return list(reversed(range(width))) if self.most_first else list(range(width))


def layout(order: str, digits: int, draw: random.Random) -> BlockLayout:
    """Of factors with so many digits; only "shuffle" draws. UsageError for an order that there is not."""
    computed = blocks(digits)
    products, sums = ([block for block in computed if block.kind == kind] for kind in ("P", "C"))
    pairs = list(zip(products, sums, strict=True))
    last = sums[-1]
    match order:
        case "seq" | "seq@" | "msb":
            chosen = computed
        case "parts_then_sums":
            chosen = [*products, *sums]
        case "sumfirst":
            chosen = [block for product, total in pairs for block in (total, product)]
        case "revsteps":
            chosen = computed[::-1]
        case "answer_first":
            chosen = [last, *(block for block in computed if block != last)]
        case "noscratch":
            chosen = [last]
        case "shuffle":
            chosen = draw.sample(computed, len(computed))
        case _:
            raise UsageError(f"multiplication has no order {order!r}; it has {', '.join(ORDERS)}.")
    return BlockLayout(tuple(chosen), most_first=order == "msb", addressed=order in ADDRESSED)


def written(block: Block, number: int, width: int, how: BlockLayout) -> tuple[list[str], list[str]]:
    """Tokens of a block that holds this number, and the part of each."""
    digits = digits_of(number, width)
    inner = [str(digits[place]) for place in how.places(width)]
    parts = [digit_name(block, place) for place in how.places(width)]
    start = [address(block.index)] if how.addressed else []
    if block.kind == "P":
        return [*start, "+", *inner], [*(MARK for _ in start), MARK, *parts]
    return [*start, "(", *inner, ")"], [*(MARK for _ in start), MARK, *parts, MARK]


def solution(a: int, b: int, digits: int, how: BlockLayout) -> tuple[list[str], list[str]]:
    """Tokens of the blocks in order, and the part of each."""
    tokens: list[str] = []
    parts: list[str] = []
    for block in how.blocks:
        own, labels = written(block, value(block, a, b), 2 * digits, how)
        tokens += own
        parts += labels
    return tokens, parts


def read(tokens: Sequence[str], digits: int, how: BlockLayout) -> list[tuple[Block, int]] | None:
    """The blocks and what they hold, as far as they can be read; None where a text is not of this layout at all.

    Without addresses a block is known by its place in the order; with them by its own index and mark, wherever it
    stands.
    """
    width, at, numbers = 2 * digits, 0, []
    for expected in how.blocks:
        block = expected
        if how.addressed:
            index = tokens[at][1:] if at + 1 < len(tokens) and tokens[at].startswith("#") else ""
            if not index.isdigit() or int(index) >= digits:
                return None
            at += 1
            block = Block("P" if tokens[at] == "+" else "C", int(index))
        opening, closing = ("+", []) if block.kind == "P" else ("(", [")"])
        inner = list(tokens[at + 1 : at + 1 + width])
        end = at + 1 + width + len(closing)
        whole = end <= len(tokens) and tokens[at] == opening and list(tokens[at + 1 + width : end]) == closing
        if not whole or not all(token in DIGITS for token in inner):
            return None
        by_place = dict(zip(how.places(width), map(int, inner), strict=True))
        numbers.append((block, number_of([by_place[place] for place in range(width)])))
        at = end
    if at != len(tokens) or len({block for block, _ in numbers}) != len(how.blocks):
        return None
    return numbers
