"""Endings that share their first tokens, as a tree: each shared run of tokens is computed once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class TokenTree:
    """A run of tokens, the endings that stop after it, and the branches that go on from it."""

    run: tuple[int, ...]
    ends: tuple[int, ...]
    """Indices of the endings whose last token is the last of ``run``."""

    branches: tuple["TokenTree", ...] = field(default=())

    def cost(self) -> int:
        """Tokens computed for a whole walk."""
        return len(self.run) + sum(branch.cost() for branch in self.branches)


def token_tree(endings: Mapping[int, Sequence[int]]) -> TokenTree:
    """The tree of these endings (index -> tokens); the root's run is what all of them begin with, maybe nothing."""
    run = _shared(list(endings.values()))
    ends = tuple(index for index, tokens in endings.items() if len(tokens) == len(run))
    groups: dict[int, dict[int, Sequence[int]]] = {}
    for index, tokens in endings.items():
        if len(tokens) > len(run):
            groups.setdefault(tokens[len(run)], {})[index] = tokens[len(run) :]
    return TokenTree(run=run, ends=ends, branches=tuple(token_tree(group) for group in groups.values()))


def _shared(rows: list[Sequence[int]]) -> tuple[int, ...]:
    shared: list[int] = []
    for column in zip(*rows, strict=False):
        if len(set(column)) > 1:
            break
        shared.append(column[0])
    return tuple(shared)
