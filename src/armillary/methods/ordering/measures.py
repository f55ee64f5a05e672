"""How far an order is from having every support on its left: numbers from the data alone, no model.

The metrics are ours, made for the hypothesis of An et al. (2024, arXiv 2411.00863). With pos(s) the position of a
step, E the edges (support u, step v) and n the number of steps::

    VF  = |{(u, v) in E : pos(u) > pos(v)}| / |E|        0 exactly where the order is intuitively sequential
    WVF = the same with each edge weighted by the tokens of u
    LAG = mean over E of max(0, pos(u) - pos(v)) / (n - 1)
    tau = Kendall's tau between the order and the canonical one
"""

from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from armillary.errors import UsageError
from armillary.methods.ordering.orders import extension
from armillary.methods.ordering.steps import GraphKind, Sample, Step


@dataclass(frozen=True, slots=True)
class OrderMetrics:
    """Metrics of one sample's order; None where it has no edge (``tau``: fewer than two steps)."""

    vf: float | None
    """Share of the edges whose support stands to the right, from 0 to 1."""

    wvf: float | None
    """The same, each edge weighted by the length of its support; None, too, where all supports are empty."""

    lag: float | None
    """How far to the right supports stand, as a share of the sample's length, mean over all edges."""

    tau: float | None
    """Agreement with the canonical order, from -1 (reversed) to 1 (the same)."""


def word_count(text: str) -> int:
    """Words between white space."""
    return len(text.split())


def metrics(
    sample: Sample,
    kind: GraphKind = "discovery",
    *,
    count: Callable[[str], int] = word_count,
    canonical: Sequence[str] | None = None,
) -> OrderMetrics:
    """Metrics of the order in which the sample is written.

    Args:
        sample: Steps in the order that is measured.
        kind: Which graph: what helps to find a step, or what it follows from.
        count: Length of a text, such as its number of tokens; WVF is weighted by it.
        canonical: Ids of all steps in the order that ``tau`` compares with; by default the linear extension of the
            graph that is nearest to the sample's own order (``order(sample, "seq")``).

    Raises:
        UsageError: ``canonical`` does not name each step once.
    """
    edges = right = 0
    weight = right_weight = distance = 0.0
    lengths = dict[int, int]()
    for support, step in sample.edges(kind):
        if support not in lengths:
            lengths[support] = count(sample.steps[support].text)
        edges += 1
        weight += lengths[support]
        if support > step:
            right += 1
            right_weight += lengths[support]
            distance += support - step
    tau = _tau(sample, kind, canonical)
    if not edges:
        return OrderMetrics(vf=None, wvf=None, lag=None, tau=tau)
    return OrderMetrics(
        vf=right / edges,
        wvf=right_weight / weight if weight else None,
        # A sample with an edge has two steps at least.
        lag=distance / edges / (len(sample.steps) - 1),
        tau=tau,
    )


def violations(sample: Sample, kind: GraphKind = "discovery") -> list[tuple[int, int]]:
    """Pairs of positions (step, support) whose support stands to the right, the steps in order."""
    return [(step, support) for support, step in sample.edges(kind) if support > step]


def find_order_issues(sample: Sample, kind: GraphKind = "discovery") -> list[tuple[Step, Step]]:
    """Pairs (step, support) whose support is written only after the step, the steps in order."""
    return [(sample.steps[step], sample.steps[support]) for step, support in violations(sample, kind)]


def _tau(sample: Sample, kind: GraphKind, canonical: Sequence[str] | None) -> float | None:
    count = len(sample.steps)
    if canonical is None:
        wanted = extension(sample.supports(kind))
    else:
        places = {step.id: at for at, step in enumerate(sample.steps)}
        if len(canonical) != count or {*canonical} != {*places}:
            raise UsageError(f"the canonical order must name each of the {count} steps once.")
        wanted = [places[name] for name in canonical]
    return None if count < 2 else 1 - 4 * inversions(wanted) / (count * (count - 1))


def inversions(places: Sequence[int]) -> int:
    """Pairs of different numbers of which the larger stands first."""
    seen, wrong = list[int](), 0
    for place in places:
        at = bisect(seen, place)
        wrong += len(seen) - at
        seen.insert(at, place)
    return wrong
