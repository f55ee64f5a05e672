"""Which examples stand in front of a query: drawn by a seed, equally of each class, and as many as fit."""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

import torch

from armillary.errors import UsageError
from armillary.methods.vector_icl.embedding import positions_of
from armillary.methods.vector_icl.layout import check_room
from armillary.models.loaded import LoadedModel

Draw = Callable[[int], list[int]]
"""Indices of demonstrations for so many shots, the same at every call."""


def draw_of_each(classes: Sequence[str], seed: int, *, strict: bool = False) -> Draw:
    """``shots`` examples of each class, shuffled. Fewer shots are a part of more.

    Where a class has fewer, what it has is used, with a warning; with ``strict`` that is a UsageError.
    """

    def draw(shots: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(classes), generator=generator).tolist()
        chosen: list[int] = []
        counts = Counter(classes)
        smallest = min(counts, key=lambda one: (counts[one], one))
        if counts[smallest] < shots:
            sentence = f"class {smallest!r} has {counts[smallest]} examples, fewer than the {shots} shots asked for."
            if strict:
                raise UsageError(sentence)
            warnings.warn(sentence, UserWarning, stacklevel=3)
        for one in sorted(set(classes)):
            members = [index for index in order if classes[index] == one]
            chosen += members[:shots]
        return [chosen[place] for place in torch.randperm(len(chosen), generator=generator).tolist()]

    return draw


def draw_any(examples: int, seed: int, *, strict: bool = False) -> Draw:
    """``shots`` examples in all, in random order; where there are fewer, as ``draw_of_each``."""

    def draw(shots: int) -> list[int]:
        if examples < shots:
            sentence = f"there are {examples} examples, fewer than the {shots} shots asked for."
            if strict:
                raise UsageError(sentence)
            warnings.warn(sentence, UserWarning, stacklevel=3)
        return torch.randperm(examples, generator=torch.Generator().manual_seed(seed)).tolist()[:shots]

    return draw


def fitting(
    loaded: LoadedModel,
    draw: Draw,
    shots: int,
    tokens: Callable[[list[int]], int],
    *,
    truncate: Literal["error", "demos"] = "error",
) -> tuple[int, list[int]]:
    """Shots and their demonstrations: the ``shots`` asked for, or with ``truncate="demos"`` the most that fit.

    ``tokens`` counts a whole prompt with these demonstrations and the longest answer. UsageError where it does not
    fit, saying how many shots do.
    """
    given: object = shots  # an estimator hands on what it got
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise UsageError(f"shots must be a whole number of 0 or more, got {given!r}.")
    if truncate not in ("error", "demos"):
        raise UsageError(f"truncate is 'error' or 'demos'; got {truncate!r}.")
    wanted, room = draw(shots), positions_of(loaded)
    needed = tokens(wanted)
    if room is None or needed <= room:
        return shots, wanted
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of small classes: said once above
        for fewer in range(shots - 1, -1, -1):
            chosen = draw(fewer)
            if tokens(chosen) <= room:
                if truncate == "error":
                    check_room(loaded, needed, fits=fewer)
                return fewer, chosen
    check_room(loaded, tokens([]))
    return 0, []
