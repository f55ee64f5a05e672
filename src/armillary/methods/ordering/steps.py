"""Samples as steps that support one another: what an order is about.

Intuitively sequential and purely logical order: section 1 of "Next-Token Prediction Task Assumes Optimal Data Ordering
for LLM Training in Proof Generation" (An et al., 2024, arXiv 2411.00863). The graph is our formal reading of it: an
edge from u to v where u is intermediate supervision for v, that is, helps to find v.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from armillary.errors import UsageError

GraphKind = Literal["discovery", "logical"]
"""discovery: what helps to find a step; logical: what a step follows from."""

Supports = tuple[tuple[int, ...], ...]
"""For each step, in the order of the sample, the positions of its supports, without repetitions."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a sample. UsageError where ``deps`` or ``premises`` are no collection of ids, such as one text."""

    id: str
    """Different from that of every other step of the sample."""

    text: str
    kind: str = "step"
    """What sort of step it is ("state", "action"): an audit counts by it."""

    deps: tuple[str, ...] = ()
    """Ids of steps that help to find this one (the discovery graph)."""

    premises: tuple[str, ...] | None = None
    """Ids of steps that this one follows from (the logical graph); None where they are the same as ``deps``."""

    inferred: bool = False
    """Whether the ids in ``deps`` were guessed by a reader, from names or numbers in the text."""

    def __post_init__(self) -> None:
        # A text is a sequence of texts to the type checker, too: its letters would be taken for ids.
        given: tuple[object, object] = (self.deps, () if self.premises is None else self.premises)
        for ids in given:
            if type(ids) is not tuple and (isinstance(ids, str) or not isinstance(ids, Collection)):
                raise UsageError(f"the deps and premises of step {self.id!r} must be lists of ids, got {ids!r:.40}.")


@dataclass(frozen=True)
class Sample:
    """A prompt and the steps that answer it, in the order in which they are written.

    Raises:
        UsageError: two steps of one id, a support that is no step of the sample, or steps that support one another in
            a circle, in either graph.
    """

    prompt: str
    steps: tuple[Step, ...]
    key: str = ""
    """What a seed is joined with where an order is drawn; empty for a digest of the texts."""

    def __post_init__(self) -> None:
        given: object = self.steps
        if not isinstance(given, tuple | list):
            raise UsageError(f"the steps{self._named} must be a tuple of Steps, got {type(given).__name__}.")
        if len({step.id for step in self.steps}) < len(self.steps):
            ids = [step.id for step in self.steps]
            twice = next(name for name in ids if ids.count(name) > 1)
            raise UsageError(f"two steps{self._named} have the id {twice!r}; each step needs an id of its own.")
        graphs = (self.discovery,) if self.logical is self.discovery else (self.discovery, self.logical)
        for supports in graphs:
            # Steps whose supports all stand to the left can't form a circle, and most samples are such.
            ordered = all(at > place for at, places in enumerate(supports) for place in places)
            if not ordered and (circle := _circle(supports)):
                around = " <- ".join(repr(self.steps[at].id) for at in circle)
                raise UsageError(
                    f"the steps {around}{self._named} depend on one another in a circle, so that no order has every "
                    "support first; take one of these dependencies out."
                )

    @cached_property
    def discovery(self) -> Supports:
        """Positions of what helps to find each step."""
        return self._supports("discovery")

    @cached_property
    def logical(self) -> Supports:
        """Positions of what each step follows from."""
        if all(step.premises is None for step in self.steps):
            return self.discovery
        return self._supports("logical")

    def supports(self, kind: GraphKind = "discovery") -> Supports:
        """Positions of the supports of each step in either graph. UsageError for another word."""
        if kind not in get_args(GraphKind):
            raise UsageError(f"there is no graph {kind!r}; accepted are {' and '.join(get_args(GraphKind))}.")
        return self.logical if kind == "logical" else self.discovery

    def edges(self, kind: GraphKind = "discovery") -> Iterator[tuple[int, int]]:
        """Pairs of positions (support, step), the steps in order."""
        return ((place, at) for at, places in enumerate(self.supports(kind)) for place in places)

    @property
    def _named(self) -> str:
        return f" of sample {self.key!r}" if self.key else ""

    def _supports(self, kind: GraphKind) -> Supports:
        places = {step.id: at for at, step in enumerate(self.steps)}
        supports = []
        for step in self.steps:
            ids = step.deps if kind == "discovery" or step.premises is None else step.premises
            try:
                supports.append(tuple(dict.fromkeys([places[name] for name in ids])) if ids else ())
            except KeyError as unknown:
                raise UsageError(
                    f"step {step.id!r}{self._named} depends on {unknown.args[0]!r}, which is no step of its sample."
                ) from None
        return tuple(supports)


def _circle(supports: Supports) -> list[int]:
    """Positions along a circle, each followed by a support of it, the first again at the end; empty if there is none.

    Depth first with a stack of our own: a chain may be longer than Python's recursion is deep.
    """
    done = [False] * len(supports)
    for start in range(len(supports)):
        path, open_, waiting = list[int](), set[int](), [iter((start,))]
        while waiting:
            at = next(waiting[-1], None)
            if at is None:
                waiting.pop()
                if path:
                    open_.discard(path[-1])
                    done[path.pop()] = True
            elif at in open_:
                return [*path[path.index(at) :], at]
            elif not done[at]:
                path.append(at)
                open_.add(at)
                waiting.append(iter(supports[at]))
    return []
