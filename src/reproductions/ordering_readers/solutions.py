"""Worked solutions of word problems: GSM-Symbolic, with numbers drawn anew, and GSM8K, of which some were read."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from armillary.errors import UsageError
from armillary.files import read_text
from armillary.methods.ordering.readers.calculator import CalculatorReader, line_of
from armillary.methods.ordering.readers.messages import MessagesReader
from armillary.methods.ordering.readers.values import flow, given_in
from armillary.numerics.intervals import Interval, binomial
from reproductions.ordering_readers.score import Edges, Score

AGREED = 0.5
"""Share of a problem's variants in which an edge must be inferred to be the problem's: one that rests on numbers which
happen to be equal comes and goes with the numbers."""

READ = 60
"""Solutions of which one edge was read by a person: an interval of some ten points."""


def variants(path: Path, edges_of: Callable[[dict[str, str]], tuple[int, Edges]], *, odd: bool) -> Score:
    """Edges of each variant of a problem against those that most of its variants have.

    ``path``: ``generated_data/GSM_p2.jsonl`` of github.com/apple/ml-gsm-symbolic, some 50 variants of each problem. Of
    ``odd`` problems: how values are followed was chosen on the others. ``edges_of`` gives the number of steps of a
    solution and its edges. What is wrong in all variants is not seen.
    """
    inferred: dict[int, list[tuple[int, Edges]]] = defaultdict(list)
    for line in read_text(path).splitlines():
        row = json.loads(line)
        if row["id"] % 2 == int(odd):
            inferred[row["id"]].append(edges_of(row))
    score = Score()
    for several in inferred.values():
        usual = Counter(length for length, _ in several).most_common(1)[0][0]
        alike = [edges for length, edges in several if length == usual]
        counts = Counter(edge for edges in alike for edge in edges)
        true = {edge for edge, count in counts.items() if count >= AGREED * len(alike)}
        score.add(_side_by_side(alike, usual), _side_by_side([true] * len(alike), usual))
    return score


def by_values(row: dict[str, str]) -> tuple[int, Edges]:
    """Lines and edges of a solution by its values alone, as the reader of calculator traces follows them."""
    lines = [part for part in row["answer"].splitlines() if part.strip()]
    suppliers = flow([line_of(part) for part in lines], given_in(row["question"]))
    return len(lines), {(source, place) for place, sources in enumerate(suppliers) for source in sources}


def as_messages(row: dict[str, str]) -> tuple[int, Edges]:
    """Steps and edges of a solution that an assistant gives in a conversation."""
    turns = [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]
    sample = MessagesReader()({"messages": turns})
    return (0, ()) if sample is None else (len(sample.steps), {*sample.edges()})


def _side_by_side(variants_edges: Sequence[Edges], length: int) -> Edges:
    """The edges of all variants, one behind the other: the problem is what is drawn, and so one unit."""
    return {(at * length + u, at * length + v) for at, edges in enumerate(variants_edges) for u, v in edges}


@dataclass(frozen=True)
class Reading:
    """What a person found of a sample of inferred edges."""

    precision: Interval


def read_by_a_person(path: Path, checked: Path) -> Reading:
    """Share of the sampled edges that were found true. UsageError where the sample is not the one that was read."""
    known = json.loads(read_text(checked))
    rows = [json.loads(line) for line in read_text(path).splitlines()]
    drawn = sampled(rows)
    if [row for row, _ in drawn] != known["rows"]:
        raise UsageError(f"{path} gives another sample than the one that was read ({known['file']}).")
    wrong = {(int(row), tuple(edge)) for row, edge in known["false"].items()}
    true = sum((row, edge) not in wrong for row, edge in drawn)
    if true != len(drawn) - len(wrong):
        raise UsageError(f"the reader infers other edges than those that were read ({known['file']}); read them anew.")
    how = f"exact binomial over {len(drawn)} edges of as many solutions, read by a person"
    return Reading(binomial(true, len(drawn), how=how))


def sampled(rows: Sequence[dict[str, str]]) -> list[tuple[int, tuple[int, int]]]:
    """Rows in a drawn order, each with one of its edges; rows without any are passed over."""
    reader, draw = CalculatorReader(), Random(0)
    order = list(range(len(rows)))
    draw.shuffle(order)
    sample = list[tuple[int, tuple[int, int]]]()
    for at in order:
        solution = reader(rows[at])
        edges = [] if solution is None else sorted(solution.edges())
        if edges:
            sample.append((at, draw.choice(edges)))
        if len(sample) == READ:
            break
    return sample
