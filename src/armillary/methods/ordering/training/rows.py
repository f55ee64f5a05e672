"""Samples in one order as token ids of 16 bits, with what each token belongs to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from armillary.errors import UsageError
from armillary.methods.ordering.worlds import TaskProblem, World, Written

PAD, END = 0, 1
"""Token ids of every world: filler, and the end of a completion."""

SPECIAL = ("<pad>", "<end>")
END_PART = "end"
"""What the end of a completion belongs to."""


@dataclass(frozen=True)
class OrderedRow:
    """Token ids of one sample."""

    ids: tuple[int, ...]
    given: int
    """Tokens of the prompt, which are not learned."""


@dataclass(frozen=True)
class OrderedRows(Sequence[OrderedRow]):
    """Rows R of N tokens together, all in one order."""

    tokens_N: NDArray[np.int16] | NDArray[np.int32]
    bounds: NDArray[np.int64]
    """Where each row begins, and the end of the last one ``[R + 1]``."""

    given_R: NDArray[np.int64]
    parts_N: NDArray[np.int16]
    """Place in ``part_names`` of what each learned token belongs to; -1 in prompts."""

    part_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.given_R)

    def __getitem__(self, index: int) -> OrderedRow:  # type: ignore[override]  # slices are not needed
        ids = self.tokens_N[self.bounds[index] : self.bounds[index + 1]]
        return OrderedRow(tuple(ids.tolist()), int(self.given_R[index]))

    def parts(self, index: int) -> NDArray[np.int16]:
        """Of the learned tokens of a row."""
        return self.parts_N[self.bounds[index] + self.given_R[index] : self.bounds[index + 1]]

    @property
    def longest(self) -> int:
        """Learned tokens of the longest completion."""
        return int((np.diff(self.bounds) - self.given_R).max(initial=0))


def joined_rows(
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    parts: Sequence[Sequence[int]],
    part_names: Sequence[str],
    vocabulary: int,
) -> OrderedRows:
    """Rows of token ids, each completion with the place of what every token belongs to."""
    rows = [[*prompt, *completion] for prompt, completion in zip(prompts, completions, strict=True)]
    labels = [[*(-1 for _ in prompt), *own] for prompt, own in zip(prompts, parts, strict=True)]
    tokens = list(chain.from_iterable(rows))
    small = vocabulary <= np.iinfo(np.int16).max
    return OrderedRows(
        tokens_N=np.array(tokens, np.int16) if small else np.array(tokens, np.int32),
        bounds=np.cumsum([0, *map(len, rows)], dtype=np.int64),
        given_R=np.array([len(prompt) for prompt in prompts], np.int64),
        parts_N=np.array(list(chain.from_iterable(labels)), np.int16),
        part_names=tuple(part_names),
    )


@dataclass(frozen=True)
class WorldTokens:
    """A world's tokens as ids: its vocabulary behind filler and end."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, world: World) -> "WorldTokens":
        """Of every order alike."""
        return cls((*SPECIAL, *world.vocabulary))

    def ids(self, tokens: Sequence[str]) -> list[int]:
        """UsageError naming a token that the world does not have."""
        try:
            return [self._places[token] for token in tokens]
        except KeyError as missing:
            raise UsageError(f"the world has no token {missing.args[0]!r}.") from None

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Up to the end token, which is left out."""
        whole = ids[: ids.index(END)] if END in ids else ids
        return [self.names[token] for token in whole]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}


def world_rows(
    world: World,
    problems: Sequence[TaskProblem],
    order: str,
    *,
    seed: int = 0,
    shown: Sequence[TaskProblem] | None = None,
) -> OrderedRows:
    """The problems' solutions in one order, each with its end; ``shown``: problems whose prompts stand in their place.

    Solutions behind the prompts of other problems are a null: nothing of a prompt helps to write them.
    """
    known = WorldTokens.of(world)
    written: Iterator[Written] = (world.write(problem, order, seed=seed) for problem in problems)
    prompts, completions, parts = [], [], []
    names: dict[str, int] = {END_PART: 0}
    for solution, problem in zip(written, shown or problems, strict=True):
        prompts.append(known.ids(problem.prompt))
        completions.append([*known.ids(solution.completion), END])
        parts.append([*(names.setdefault(part, len(names)) for part in solution.parts), names[END_PART]])
    return joined_rows(prompts, completions, parts, list(names), len(known.names))


def require_same_tokens(one: OrderedRows, other: OrderedRows, names: tuple[str, str]) -> None:
    """UsageError naming the first row whose prompt, or whose tokens in any order, are not the same in both.

    Orders are compared on equal tokens; an address or a separator in one of them alone would break that.
    """
    if len(one) != len(other):
        raise UsageError(f"{names[0]} has {len(one)} rows and {names[1]} {len(other)}; they must be the same samples.")
    same = (
        np.array_equal(one.bounds, other.bounds)
        and np.array_equal(one.given_R, other.given_R)
        and np.array_equal(_sorted(one), _sorted(other))
    )
    if same:
        return
    for number, (a, b) in enumerate(zip(one, other, strict=True), 1):
        if a.ids[: a.given] != b.ids[: b.given] or sorted(a.ids) != sorted(b.ids):
            raise UsageError(
                f"row {number} has other tokens in {names[0]} than in {names[1]}; orders must share them."
            )


def _sorted(rows: OrderedRows) -> NDArray[np.int16] | NDArray[np.int32]:
    """Tokens of each row: the prompt as it is, then what is learned by size."""
    row_N = np.repeat(np.arange(len(rows)), np.diff(rows.bounds))
    place_N = np.arange(len(rows.tokens_N)) - rows.bounds[row_N]
    prompt_N = place_N < rows.given_R[row_N]
    key_N = np.where(prompt_N, place_N - len(rows.tokens_N), rows.tokens_N)
    return rows.tokens_N[np.lexsort((key_N, row_N))]
