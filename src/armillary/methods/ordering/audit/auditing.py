"""Samples of a piece read, measured and counted, with the ones that show best what is out of order."""

from bisect import bisect
from collections import Counter
from dataclasses import dataclass, replace

from armillary.errors import UsageError
from armillary.methods.ordering.audit.examples import Shown
from armillary.methods.ordering.audit.sources import AuditPiece, records
from armillary.methods.ordering.audit.tally import BINS, SENTENCES, OrderTally, bin_name, limited
from armillary.methods.ordering.audit.writing import change
from armillary.methods.ordering.measures import metrics
from armillary.methods.ordering.orders import permutation
from armillary.methods.ordering.readers.interface import Reader, Record
from armillary.methods.ordering.steps import GraphKind, Sample
from armillary.numerics.ratios import RatioSums


@dataclass(frozen=True, kw_only=True)
class AuditPlan:
    """How samples are audited; the same in every process."""

    reader: Reader
    order: str = "seq"
    """The order that is proposed."""

    graph: GraphKind = "discovery"
    seed: int = 0
    examples: int = 6
    rewrite: bool = False
    """Whether the records are written in the proposed order."""


def audit_piece(piece: AuditPiece, plan: AuditPlan) -> OrderTally:
    """The counts of a piece. UsageError for a row that can't be read at all; one that is no sample is counted."""
    tally = OrderTally()
    for number, (where, record) in enumerate(records(piece, plan.reader)):
        try:
            if isinstance(record, UsageError):
                raise record
            sample = plan.reader(record)
        except UsageError as error:
            tally.refused += 1
            if len(tally.refusals) < SENTENCES:
                tally.refusals.append(f"{where}: {error}")
            continue
        if sample is None or not sample.steps:
            tally.unread += 1
            continue
        late = _count(tally, sample, plan.graph)
        if plan.rewrite or late:
            _propose(tally, sample, record, (number, where), plan, late)
    return tally


def _count(tally: OrderTally, sample: Sample, graph: GraphKind) -> list[tuple[int, int]]:
    """Count one sample; its pairs (step, support) whose support stands to the right."""
    supports, steps = sample.supports(graph), sample.steps
    tally.samples += 1
    tally.steps += len(steps)
    edges, late = 0, list[tuple[int, int]]()
    by_kind = dict[str, list[int]]()
    for at, places in enumerate(supports):
        if not places:
            continue
        edges += len(places)
        if steps[at].inferred:
            tally.inferred += len(places)
        counted = by_kind.setdefault(steps[at].kind, [0, 0])
        counted[1] += 1
        if max(places) > at:
            counted[0] += 1
            late += [(at, place) for place in places if place > at]
    tally.edges += edges
    if not edges:
        tally.free += 1
        return late
    for kind, (late_steps, supported) in by_kind.items():
        tally.kinds.setdefault(limited(tally.kinds, kind), RatioSums()).add(late_steps, supported)
    if not late:
        for sums, value in ((tally.vf, 0.0), (tally.wvf, 0.0), (tally.lag, 0.0), (tally.tau, 1.0)):
            sums.add(value)
        return late
    measured = metrics(sample, graph)
    for sums, measure in ((tally.vf, measured.vf), (tally.wvf, measured.wvf), (tally.lag, measured.lag),
                          (tally.tau, measured.tau)):  # fmt: skip
        if measure is not None:
            sums.add(measure)
    tally.late += 1
    tally.late_edges += len(late)
    lengths = [place - at for at, place in late]
    tally.longest = max(tally.longest, *lengths)
    bins = Counter(bisect(_LOWS, length) - 1 for length in lengths)
    for index, name in enumerate(_BIN_NAMES):
        tally.distances.setdefault(name, RatioSums()).add(bins[index], len(late))
    for at, place in late:
        pair = limited(tally.pairs, f"{steps[at].kind}\t{steps[place].kind}")
        tally.pairs[pair] = tally.pairs.get(pair, 0) + 1
    return late


_LOWS = [low for low, _ in BINS]
_BIN_NAMES = [bin_name(low, high) for low, high in BINS]


def _propose(
    tally: OrderTally, sample: Sample, record: Record, place: tuple[int, str], plan: AuditPlan,
    late: list[tuple[int, int]],
) -> None:  # fmt: skip
    """The sample in the proposed order: written where that is asked for, and kept if it is a good example."""
    number, where = place
    proposed = permutation(sample, plan.order, seed=plan.seed)
    if plan.rewrite and proposed != list(range(len(proposed))):
        written = plan.reader.rewritten(record, replace(sample, steps=tuple(sample.steps[at] for at in proposed)))
        if written is None:
            tally.unwritten += 1
        else:
            tally.changed[str(number)] = change(record, written)
    if not late or not plan.examples:
        return
    shown = Shown.of(sample, proposed, late)
    if len(tally.examples) < plan.examples or shown.rank < tally.examples[-1].rank:
        example = shown.example(where, sum(map(len, sample.supports(plan.graph))))
        tally.examples = sorted([*tally.examples, example], key=lambda kept: kept.rank)[: plan.examples]
