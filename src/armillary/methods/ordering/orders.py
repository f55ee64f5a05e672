"""The orders in which the steps of one sample can be written.

``seq`` is intuitively sequential, ``logical`` purely logical in the words of An et al. (2024, arXiv 2411.00863); that
both are linear extensions of a graph, and the other orders, are ours. An order is drawn once per sample and seed and
stays for all epochs: drawn anew each epoch it would be augmentation, another treatment.
"""

import hashlib
import random
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from armillary.errors import UsageError
from armillary.methods.ordering.steps import Sample, Supports

OrderFunction = Callable[[Sample], Sequence[int]]
"""From a sample to the positions of its steps in the wanted order: a permutation of 0 to n - 1."""

ORDERS = ("seq", "bfs", "logical", "reversed", "random", "swap:P")
"""Orders that have a name; P is a number from 0 to 1."""


def order(sample: Sample, order: str | OrderFunction = "seq", *, seed: int = 0) -> Sample:
    """The sample with its steps in another order, the same steps and texts.

    seq: every support before what it supports, else as the sample has it (a step whose support stands to the right
    waits for it: the support is moved before it). bfs: level by level, a step right below its deepest support.
    logical: premises before what follows from them. reversed: seq from its end. random: a uniform permutation.
    swap:P: each step of seq is picked with probability P, and the picked ones change places at random. A function
    gets the sample and returns the positions of its steps in the wanted order.

    What is drawn depends on ``seed`` and the sample alone (its key, or a digest of its texts), so that any number of
    processes draw the same. A sample without steps stays as it is; one without dependencies warns, since every order
    of it is sequential.

    Raises:
        UsageError: there is no such order, or the function returned no permutation.
    """
    if len(sample.steps) > 1 and not any(sample.discovery):
        warnings.warn("a sample has no dependencies between its steps, so that every order of it is sequential.",
                      UserWarning, stacklevel=2)  # fmt: skip
    return replace(sample, steps=tuple(sample.steps[at] for at in permutation(sample, order, seed=seed)))


def permutation(sample: Sample, order: str | OrderFunction = "seq", *, seed: int = 0) -> list[int]:
    """Positions of the steps in the wanted order; see ``order``."""
    if callable(order):
        return _checked(order(sample), len(sample.steps))
    name, colon, number = str(order).partition(":")
    share = _share(order, number) if name == "swap" and colon else None
    if share is None and (colon or name not in ORDERS):
        raise UsageError(
            f"there is no order {order!r}; accepted are {', '.join(ORDERS)} (P from 0 to 1) or a function."
        )
    sequential = extension(sample.discovery)
    if name == "bfs":
        return _levels(sample.discovery, sequential)
    if name == "logical":
        return extension(sample.logical, sequential)
    if name == "reversed":
        return sequential[::-1]
    if name == "random":
        _generator(sample, seed).shuffle(sequential)
    elif share is not None:
        generator = _generator(sample, seed)
        picked = [place for place in range(len(sequential)) if generator.random() < share]
        moved = [sequential[place] for place in picked]
        generator.shuffle(moved)
        for place, at in zip(picked, moved, strict=True):
            sequential[place] = at
    return sequential


def extension(supports: Supports, base: Iterable[int] | None = None) -> list[int]:
    """The linear extension of a graph that is nearest to ``base`` (by default the order as it is).

    Steps are written in the order of ``base``, each behind those of its supports that were not written yet, which
    come in the order of ``base`` too. Of a tree whose edges point from parent to child this is the preorder, of one
    whose edges point from child to parent the postorder. ``supports`` must be free of circles.
    """
    steps = range(len(supports)) if base is None else list(base)
    rank = list(range(len(supports)))
    for place, at in enumerate(steps):
        rank[at] = place
    written = [False] * len(supports)
    result = list[int]()
    for start in steps:
        waiting = [start]
        # Depth first with a stack of our own: a chain may be longer than Python's recursion is deep.
        while waiting:
            at = waiting[-1]
            missing = () if written[at] else [place for place in supports[at] if not written[place]]
            if missing:
                waiting.extend(sorted(missing, key=rank.__getitem__, reverse=True))
                continue
            waiting.pop()
            if not written[at]:
                written[at] = True
                result.append(at)
    return result


def _levels(supports: Supports, sequential: list[int]) -> list[int]:
    """Level by level: a step stands one below its deepest support, and a level keeps the sequential order."""
    level = [0] * len(supports)
    for at in sequential:
        level[at] = max((level[place] + 1 for place in supports[at]), default=0)
    return sorted(sequential, key=level.__getitem__)


def _share(order: str, number: str) -> float:
    try:
        share = float(number)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UsageError(f"the order {order!r} needs a number from 0 to 1 behind the colon, such as swap:0.25.")
    return share


def _checked(places: object, count: int) -> list[int]:
    returned = list(places) if isinstance(places, Iterable) else []
    given = [place.__index__() for place in returned if hasattr(place, "__index__")]
    if len(given) < len(returned) or sorted(given) != list(range(count)) or not isinstance(places, Iterable):
        shown = repr(returned or places)
        raise UsageError(
            f"an order function must return each position from 0 to {count - 1} once, it returned {shown:.120}."
        )
    return given


def _generator(sample: Sample, seed: int) -> random.Random:
    """A generator of its own for each seed and sample, whatever process asks."""
    digest = hashlib.blake2b(digest_size=16)
    texts = (sample.key,) if sample.key else (sample.prompt, *(step.text for step in sample.steps))
    for text in (str(seed), *texts):
        # Lengths between the texts, so that no two lists of texts give one stream of bytes.
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(encoded) + encoded)
    return random.Random(digest.digest())
