"""Samples of a piece read, measured and counted, with the ones that show best what is out of order."""

from bisect import bisect
from collections import Counter
from dataclasses import dataclass, replace

from armillary.errors import UsageError
from armillary.methods.ordering.audit.sources import AuditPiece, records
from armillary.methods.ordering.audit.tally import BINS, SENTENCES, OrderExample, OrderTally, bin_name, limited
from armillary.methods.ordering.audit.writing import change
from armillary.methods.ordering.measures import metrics
from armillary.methods.ordering.orders import permutation
from armillary.methods.ordering.readers.interface import Reader, Record
from armillary.methods.ordering.steps import GraphKind, Sample
from armillary.numerics.ratios import RatioSums
from armillary.records.sections import PlacedStep

MOST_STEPS = 16
"""Steps of an example that fit a screen beside each other; of longer ones only what moves is shown."""

MOST_LETTERS = 280
"""Letters of a step that are shown: some four lines of a column."""

MOST_NAMED = 4
"""Supports of a step that are named beside it."""


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
    farthest = max(support - at for at, support in late)
    # Of samples that reach equally far the one with the fewest late supports shows it most clearly.
    rank = (int(len(sample.steps) > MOST_STEPS), -farthest, len(late), sum(len(step.text) for step in sample.steps))
    if len(tally.examples) < plan.examples or rank < tally.examples[-1].rank:
        before, after = _columns(sample, proposed, late)
        example = OrderExample(
            where=where, prompt=shortened(sample.prompt, 2 * MOST_LETTERS), late=len(late),
            edges=sum(map(len, sample.supports(plan.graph))), farthest=farthest, rank=rank, before=before, after=after,
        )  # fmt: skip
        tally.examples = sorted([*tally.examples, example], key=lambda kept: kept.rank)[: plan.examples]


def _columns(
    sample: Sample, proposed: list[int], late: list[tuple[int, int]]
) -> tuple[list[PlacedStep], list[PlacedStep]]:
    """The steps as they are and as they are proposed; of many only what moves, what it moves for, and neighbours."""
    count = len(proposed)
    places = [0] * count
    for place, at in enumerate(proposed):
        places[at] = place
    kept = stayed(proposed)
    moved = {at for at in range(count) if at not in kept}
    needs = dict[int, list[int]]()
    for at, support in late:
        needs.setdefault(at, []).append(support)
    shown = {*moved, *needs, *(support for _, support in late)} if count > MOST_STEPS else set(range(count))

    def column(line: list[int], own: list[int], other: list[int]) -> list[PlacedStep]:
        result, skipped = list[PlacedStep](), 0
        for at in line:
            if at not in shown:
                skipped += 1
                continue
            if skipped:
                result.append(PlacedStep(skipped=skipped))
            skipped = 0
            result.append(
                PlacedStep(
                    text=shortened(sample.steps[at].text, MOST_LETTERS), place=own[at] + 1, other=other[at] + 1,
                    moved=at in moved, note="" if line is proposed else _note(at, needs.get(at, [])),
                )
            )  # fmt: skip
        return [*result, PlacedStep(skipped=skipped)] if skipped else result

    written = list(range(count))
    return column(written, written, places), column(proposed, places, written)


def _note(at: int, supports: list[int]) -> str:
    """What a step lacks where it stands, in words."""
    if not supports:
        return ""
    far = max(supports) - at
    if len(supports) == 1:
        return f"needs step {supports[0] + 1}, {far} below"
    shown = ", ".join(str(support + 1) for support in supports[:MOST_NAMED])
    others = f" and {len(supports) - MOST_NAMED} more" if len(supports) > MOST_NAMED else ""
    return f"needs steps {shown}{others}, up to {far} below"


def stayed(proposed: list[int]) -> set[int]:
    """The most steps that keep their order among themselves: a longest increasing subsequence. The others moved."""
    tails, previous = list[int](), dict[int, int]()
    for at in proposed:
        place = bisect(tails, at)
        if place:
            previous[at] = tails[place - 1]
        if place == len(tails):
            tails.append(at)
        tails[place] = at
    kept = set(tails[-1:])
    while tails and tails[-1] in previous:
        tails.append(previous[tails[-1]])
        kept.add(tails[-1])
    return kept


def shortened(text: str, most: int) -> str:
    """A text of no more than some ``most`` letters: what is left out of its middle is an ellipsis."""
    if len(text) <= most:
        return text
    return f"{text[: most * 3 // 4].rstrip()} … {text[-(most // 4) :].lstrip()}"
