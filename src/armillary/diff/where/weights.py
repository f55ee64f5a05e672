"""Instrument: where the weights moved, tensor by tensor, from the models' files before any forward pass.

``changes`` reads the files; here is what they tell.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from itertools import accumulate

from armillary.diff.effect import Described, Effect, Instrument
from armillary.diff.where.changes import TensorChange, WeightChanges, measure
from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Figure, Heatmap, Section, Table
from armillary.report.wording import number

FLOOR = 0.1
"""Percent of the weights' norm: what re-saving in bfloat16 moves (2^-9 at most of each number, 0.08 % on average)."""

MOST = 0.8
"""Share of the squared change that a region of layers must hold to be named."""


def total(tensors: Iterable[TensorChange]) -> tuple[float, float]:
    """Norm of all changes together that no rounding explains, and of the weights."""
    listed = list(tensors)
    return math.hypot(*(one.moved for one in listed)), math.hypot(*(one.norm for one in listed))


def region(tensors: Iterable[TensorChange]) -> tuple[int, int, float] | None:
    """The fewest neighbouring layers that hold ``MOST`` of the squared change, first and last, and their share; None
    where that is more than half of the layers, or less of it lies in layers at all."""
    squares: dict[int, float] = {}
    whole = 0.0
    for one in tensors:
        whole += one.moved**2
        if one.layer is not None:
            squares[one.layer] = squares.get(one.layer, 0.0) + one.moved**2
    layers = sorted(squares)
    upto = [0.0, *accumulate(squares[layer] for layer in layers)]
    # For each last layer the nearest first one that leaves enough between them; neither ever goes back.
    enough: list[tuple[int, float, int]] = []
    first = 0
    for last in range(len(layers)):
        while first < last and upto[last + 1] - upto[first + 1] >= MOST * whole:
            first += 1
        held = upto[last + 1] - upto[first]
        if whole and held >= MOST * whole:
            enough.append((last - first, -held, first))
    if not enough:
        return None
    width, held, first = min(enough)
    return None if width + 1 > len(layers) // 2 else (layers[first], layers[first + width], -held / whole)


def describe(result: WeightChanges) -> Described:
    """How far the weights moved, where, and in how many directions."""
    moved = [one for one in result.tensors if one.moved > 0]
    change, norm = total(result.tensors)
    ratio = 100 * change / norm if norm else 0.0
    effects = _depth(result)
    if moved:
        value = Interval(estimate=ratio, low=ratio, high=ratio, n=len(result.tensors), how="exact, over all tensors")
        effects.append(
            Effect(
                id="weights/moved",
                kind="where",
                sentence=_moved_sentence(result, moved, ratio),
                value=value,
                unit="% of the weights' norm",
                # The weights are all there: nothing is drawn, so chance has no part in it.
                p=0.0 if ratio > FLOOR else 1.0,
                floor=FLOOR,
                section="weights",
            )
        )
    section = Section(
        id="weights",
        title="Where the weights moved",
        summary=_summary(result, moved, ratio),
        meaning="The norm ratio is the length of a tensor's change against the tensor's own. The stable rank says in "
        "how many directions a matrix changed: near 1 it is a single one, as an edit makes; some tens are a training; "
        "a good part of the matrix's width is noise, as quantisation makes. The overlap says whether the change "
        "writes along the directions that the matrix already wrote along most; by chance it would be the last column.",
        caution="A large change of weights can leave every answer as it was, and a small one can change them all: "
        "this says where to look, and the sections above say what it did.",
        figures=_figures(result),
        tables=_tables(result),
    )
    return Described(section=section, effects=effects, measures={one.id: one.value for one in effects})


def _depth(result: WeightChanges) -> list[Effect]:
    """Layers that only one of the two has."""
    return [
        Effect(
            id=f"weights/layers that after {what}",
            kind="where",
            sentence=f"It {what} {_layers(layers)}.",
            value=Interval(estimate=len(layers), low=len(layers), high=len(layers), how="exact, from the files"),
            unit="layers",
            p=0.0,
            floor=0.0,
            section="weights",
        )
        for layers, what in ((result.missing, "lacks"), (result.extra, "has besides"))
        if layers
    ]


def _moved_sentence(result: WeightChanges, moved: list[TensorChange], ratio: float) -> str:
    words = f"Its weights moved by {number(ratio)} % of their norm, in {len(moved)} of {len(result.tensors)} tensors"
    part = region(result.tensors)
    if part is None:
        return f"{words}, over the whole depth."
    first, last, share = part
    return f"{words}; {share:.0%} of the change lies in {_layers([*range(first, last + 1)])}."


def _layers(layers: Sequence[int]) -> str:
    """ "layer 3", "layers 3 to 7", "layers 3 and 9"."""
    if len(layers) == 1:
        return f"layer {layers[0]}"
    if len(layers) > 2 and [*layers] == [*range(layers[0], layers[-1] + 1)]:
        return f"layers {layers[0]} to {layers[-1]}"
    return f"layers {', '.join(map(str, layers[:-1]))} and {layers[-1]}"


def _summary(result: WeightChanges, moved: list[TensorChange], ratio: float) -> str:
    if result.problem:
        return f"The weights were not compared: {result.problem}"
    sentences = [f"After is {result.adapter}."] if result.adapter else []
    rounded = sorted({one.rounded for one in result.tensors if one.rounded})
    if moved:
        sentences.append(_moved_sentence(result, moved, ratio))
    elif not rounded:
        sentences.append(f"All {len(result.tensors)} tensors are the same numbers.")
    if rounded:
        count = sum(bool(one.rounded) for one in result.tensors)
        differ = "1 tensor differs" if count == 1 else f"{count} tensors differ"
        sentences.append(f"{differ} only by rounding to {' or '.join(rounded)}.")
    if result.reordered:
        count = len(result.reordered)
        sentences.append(
            f"In {count} layer{'s' * (count > 1)} the FFN neurons stand in another order, which changes nothing that "
            "the model says; they were laid over each other before anything was compared."
        )
    sentences += [effect.sentence for effect in _depth(result)]
    others = [
        (result.added, "only after has"),
        (result.removed, "only base has"),
        (result.reshaped, "of another shape"),
    ]
    sentences += [f"{len(names)} tensors {what} ({names[0]})." for names, what in others if names]
    return " ".join(sentences)


def _figures(result: WeightChanges) -> list[Figure]:
    inside = [one for one in result.tensors if one.layer is not None]
    if not any(one.moved for one in inside):
        return []
    layers, kinds = (
        sorted({one.layer for one in inside if one.layer is not None}),
        list(dict.fromkeys(one.kind for one in inside)),
    )
    ratios = {(one.kind, one.layer): 100 * one.moved / one.norm if one.norm else None for one in inside}
    most = max(inside, key=lambda one: one.moved / one.norm if one.norm else 0.0)
    return [
        Figure(
            title="Change of each tensor, % of its norm",
            data=Heatmap(
                rows=list(kinds),
                columns=list(layers),
                values=[[ratios.get((kind, layer)) for layer in layers] for kind in kinds],
                low=0.0,
                unit="%",
            ),
            alt=f"Largest in {most.name}, {number(100 * most.moved / most.norm)} %.",
            interactive=True,
        )
    ]


def _tables(result: WeightChanges) -> list[Table]:
    rows: list[list[Cell]] = []
    by_kind: dict[str, list[TensorChange]] = {}
    for one in result.tensors:
        by_kind.setdefault(one.kind, []).append(one)
    for kind, of_kind in by_kind.items():
        moved = [one for one in of_kind if one.moved > 0]
        if not moved:
            continue
        change, norm = total(of_kind)
        middle = [
            statistics.median(known)
            if (known := [value for one in moved if (value := getattr(one, name)) is not None])
            else None
            for name in ("stable_rank", "overlap", "chance")
        ]
        rows.append([kind, len(moved), len(of_kind), 100 * change / norm if norm else None, *middle])
    if not rows:
        return []
    rows.sort(key=lambda row: -float(row[3] or 0.0))
    columns = ["tensor", "moved", "of", "change, % of norm", "stable rank", "overlap", "by chance"]
    return [Table(title="By kind of tensor", columns=columns, rows=rows, note="Stable rank and overlap are medians.")]


WEIGHTS = Instrument(
    name="weights",
    result=WeightChanges,
    needs="files",
    measure=measure,
    describe=describe,
    cost=lambda sizes: 0.0,  # ``identity`` has read the files
)
