"""What a reader is told of models that differ in nothing but order: loss, which steps, what is solved."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from armillary.methods.ordering.steps import Sample
from armillary.methods.ordering.training.comparison import TrainedOrder
from armillary.numerics.intervals import Array, Interval, range_over_seeds
from armillary.numerics.permutation import holm, sign_flip_p
from armillary.numerics.seeds import widest
from armillary.records.sections import Cell, Figure, Finding, Lines, Section, Series, Table, interval_bars

SAMPLES = "held-out samples"


@dataclass(frozen=True, kw_only=True)
class TrainingPage:
    """The parts of a record of a comparison of orders."""

    measures: dict[str, Interval]
    findings: list[Finding]
    sections: list[Section]


def training_page(trained: Mapping[str, Sequence[TrainedOrder]], samples: Sequence[Sample], what: str) -> TrainingPage:
    """``samples``: the held-out ones, for the kinds of their steps; none of a world, whose parts have names.

    The first order is the one that the others are compared with. ``what`` was learned, in words.
    """
    first = next(iter(trained))
    others = [order for order in trained if order != first]
    measures: dict[str, Interval] = {}
    for order, models in trained.items():
        measures[f"{order}/nats a token"] = range_over_seeds([per_sample(model).mean() for model in models])
        if models[0].solved:
            measures[f"{order}/solved"] = range_over_seeds([float(np.mean(model.solved)) for model in models])
            measures[f"{order}/solved, all right on the way"] = range_over_seeds(
                [float(np.mean(model.strict)) for model in models]
            )
    level = 1 - 0.05 / max(1, len(others))
    surplus = {order: _paired(trained[order], trained[first], per_sample, level) for order in others}
    measures |= {f"{order} beyond {first}/nats a token": interval for order, interval in surplus.items()}
    sections = [_loss(trained, first, surplus, what), _steps(trained, first, samples), _curves(trained)]
    findings = [_loss_finding(order, first, interval, trained[order][0]) for order, interval in surplus.items()]
    if trained[first][0].solved:
        gained = {order: _paired(trained[order], trained[first], _solved, level) for order in others}
        measures |= {f"{order} beyond {first}/solved": interval for order, interval in gained.items()}
        sections.insert(0, _success(trained, first, gained))
        findings = [_success_finding(order, first, interval) for order, interval in gained.items()] + findings
    return TrainingPage(measures=measures, findings=findings, sections=sections)


def per_sample(model: TrainedOrder) -> Array:
    """Nats a token of each held-out sample."""
    nats: Array = np.array(model.nats).sum(1) / np.array(model.tokens).sum(1)
    return nats


def _solved(model: TrainedOrder) -> Array:
    return np.array(model.solved, np.float64)


def _paired(
    models: Sequence[TrainedOrder],
    reference: Sequence[TrainedOrder],
    of: Callable[[TrainedOrder], Array],
    level: float,
) -> Interval:
    """The difference by sample; each seed has a bootstrap of its own, and the furthest ends are shown."""
    pairs = zip(models, reference, strict=True)
    return widest([of(model) - of(base) for model, base in pairs], level=level, of=SAMPLES)


def _p_values(
    trained: Mapping[str, Sequence[TrainedOrder]], first: str, of: Callable[[TrainedOrder], Array]
) -> dict[str, float]:
    """Of no difference from the first order, by turning signs of each sample's mean over seeds; Holm corrected."""
    others = [order for order in trained if order != first]

    def mean(order: str) -> Array:
        averaged: Array = np.mean([of(model) for model in trained[order]], axis=0)
        return averaged

    raw = [sign_flip_p(mean(order) - mean(first), seed=0) for order in others]
    return dict(zip(others, holm(raw), strict=True))


def _loss(
    trained: Mapping[str, Sequence[TrainedOrder]], first: str, surplus: Mapping[str, Interval], what: str
) -> Section:
    p_by_order = _p_values(trained, first, per_sample)
    rows: list[list[Cell]] = []
    for order, models in trained.items():
        mean = float(np.mean([per_sample(model).mean() for model in models]))
        own = float(np.mean([model.own for model in models]))
        vf = [model.vf for model in models if model.vf is not None]
        rows.append([order, float(np.mean(vf)) if vf else None, mean, own, p_by_order.get(order)])
    lowest = min(trained, key=lambda order: float(np.mean([per_sample(model).mean() for model in trained[order]])))
    seeds = len(trained[first])
    return Section(
        id="loss",
        title="Which order is learned best",
        summary=f"After as many steps on the same {what}, {lowest} has the lowest loss on held-out samples "
        f"(mean of {seeds} {'seed' if seeds == 1 else 'seeds'}).",
        meaning="The negative log-likelihood of the same held-out samples, each written in the order that the model "
        f"has learned, in nats a token. The bars are what an order costs more than {first}, paired by sample; the "
        "interval is corrected for the number of orders, and reaches to the furthest ends of the seeds.",
        caution="A drawn order has to be foretold too: the column of the draw bounds what that may cost, and a "
        "surplus within it says nothing of learning. Orders without a draw are compared without that.",
        figures=[interval_bars(f"Nats a token beyond {first}", dict(surplus), "nats a token")] if surplus else [],
        tables=[
            Table(
                title="Held-out loss",
                columns=["order", "VF", "nats a token", "of the draw at most", "p, Holm"],
                rows=rows,
                note="VF: share of supports to the right of what they support. p: against the first order.",
            )
        ],
    )


def _steps(trained: Mapping[str, Sequence[TrainedOrder]], first: str, samples: Sequence[Sample]) -> Section:
    """What each kind of step, or part of a solution, costs more."""
    rows: list[list[Cell]] = []
    late_rows: list[list[Cell]] = []
    for order, models in trained.items():
        if order == first:
            continue
        by_kind: dict[str, list[float]] = {}
        split: dict[bool, list[float]] = {True: [], False: []}
        for model, base in zip(models, trained[first], strict=True):
            for label, value in _by_kind(model, base, samples).items():
                by_kind.setdefault(label, []).append(value)
            for late, value in _by_support(model, base).items():
                split[late].append(value)
        rows += [[order, label, float(np.mean(values))] for label, values in sorted(by_kind.items())]
        if split[True]:
            late_rows.append(
                [order, float(np.mean(split[True])), float(np.mean(split[False])) if split[False] else None]
            )
    tables = [
        Table(
            title="By kind of step",
            columns=["order", "kind", f"nats a token beyond {first}"],
            rows=rows,
            note="Means over seeds of all tokens of the kind.",
        )
    ]
    if late_rows:
        tables.insert(
            0,
            Table(
                title="By where the support stands",
                columns=["order", "a support to the right", "all support to the left"],
                rows=late_rows,
                note=f"Nats a token beyond {first}, means over seeds of the tokens of such steps.",
            ),
        )
    most = max(late_rows, key=lambda row: float(row[1] or 0), default=None)
    summary = (
        f"In {most[0]} steps with a support on their right cost {float(most[1] or 0):+.3f} nats a token."
        if most is not None
        else "What each part of a text costs more in each order."
    )
    return Section(
        id="steps",
        title="Which steps it costs",
        summary=summary,
        meaning="Each step's own negative log-likelihood in an order less that of the same step in the first order. "
        "Where order is the cause, the surplus sits on steps whose support comes only later.",
        caution="Steps that come after their consequences are often predicted better: they can be read off them. A "
        "sum over all steps is what the section on loss compares.",
        tables=tables,
    )


def _by_kind(model: TrainedOrder, base: TrainedOrder, samples: Sequence[Sample]) -> dict[str, float]:
    """Nats a token more, by the kind of a user's step, or by the name of a world's part."""
    more, tokens = defaultdict[str, float](float), Counter[str]()
    places = [base.parts.index(name) for name in model.parts]  # a world names parts as they first come
    aligned = [[nats[place] for place in places] for nats in base.nats]
    for row, (nats, other, counts) in enumerate(zip(model.nats, aligned, model.tokens, strict=True)):
        for place, name in enumerate(model.parts):
            label = name
            if samples and place < len(samples[row].steps):
                label = samples[row].steps[place].kind
            if counts[place]:
                more[label] += nats[place] - other[place]
                tokens[label] += counts[place]
    return {label: more[label] / tokens[label] for label in tokens}


def _by_support(model: TrainedOrder, base: TrainedOrder) -> dict[bool, float]:
    """Nats a token more of steps with a support to their right, and of all others."""
    more, tokens = {True: 0.0, False: 0.0}, {True: 0, False: 0}
    for nats, other, counts, late in zip(model.nats, base.nats, model.tokens, model.late, strict=False):
        for place, is_late in enumerate(late):
            more[is_late] += nats[place] - other[place]
            tokens[is_late] += counts[place]
    return {late: more[late] / tokens[late] for late in tokens if tokens[late]}


def _success(trained: Mapping[str, Sequence[TrainedOrder]], first: str, gained: Mapping[str, Interval]) -> Section:
    p_by_order = _p_values(trained, first, _solved)
    classes = sorted({error for models in trained.values() for model in models for error in model.errors if error})
    rows: list[list[Cell]] = []
    for order, models in trained.items():
        errors = Counter(error for model in models for error in model.errors)
        total = errors.total()
        solved, strict = (float(np.mean([np.mean(of) for of in by])) for by in (
            [model.solved for model in models], [model.strict for model in models]))  # fmt: skip
        rows.append([order, solved, strict, p_by_order.get(order), *(errors[name] / total for name in classes)])
    best = max(rows, key=lambda row: float(row[1] or 0))
    return Section(
        id="success",
        title="What is solved",
        summary=f"{best[0]} solves most: {float(best[1] or 0):.1%} of the held-out problems.",
        meaning=f"Share of problems solved by greedy writing. The bars are what an order solves beyond {first}, "
        "paired by problem, corrected for the number of orders.",
        caution="Between about 30 % and 95 % for the best order a comparison tells something; outside, train longer "
        "or shorter.",
        figures=[interval_bars(f"Solved beyond {first}", dict(gained), "share")] if gained else [],
        tables=[
            Table(
                title="Solved, and what is first wrong",
                columns=["order", "solved", "all right on the way", "p, Holm", *classes],
                rows=rows,
                note="Means over seeds. p: against the first order.",
            )
        ],
    )


def _curves(trained: Mapping[str, Sequence[TrainedOrder]]) -> Section:
    first = next(iter(trained.values()))[0]
    series = []
    for order, models in trained.items():
        losses = np.mean([[loss for _, loss in model.losses] for model in models], axis=0)
        series.append(Series(name=order, y=[*map(float, losses)]))
    return Section(
        id="curves",
        title="The trainings",
        summary=f"{first.steps:,} steps each, from the same weights in every order of a seed.",
        meaning="The training loss, nats a learned token, mean over seeds.",
        caution="Losses of different orders are of different texts: only the held-out comparison is paired.",
        figures=[
            Figure(
                title="Training loss",
                data=Lines(
                    x=[step for step, _ in first.losses], series=series, x_label="step", y_label="nats a token"
                ),
                alt="Lines: training loss of each order over the steps.",
            )
        ],
        folded=True,
    )


def _loss_finding(order: str, first: str, interval: Interval, model: TrainedOrder) -> Finding:
    interest = 0.3
    if interval.estimate == interval.lower == interval.upper == 0:
        text = f"{order} writes these samples as {first} does."
    elif not interval.excludes(0):
        text = f"{order} does not clearly cost more or less than {first}: {interval.estimate:+.3f} nats a token."
    elif 0 < interval.lower <= model.own:
        text = (
            f"{order} costs {interval.estimate:.3f} nats a token more than {first}; the draw of the order alone may "
            f"cost {model.own:.3f}."
        )
    else:
        word, interest = "more" if interval.estimate > 0 else "less", 0.7
        text = f"{order} costs {abs(interval.estimate):.3f} nats a token {word} than {first}."
    return Finding(text=text, interest=interest, section="loss", basis=_basis(interval))


def _success_finding(order: str, first: str, interval: Interval) -> Finding:
    points = 100 * interval.estimate
    text = f"{order} does not clearly solve more or less than {first}: {points:+.1f} points."
    if interval.excludes(0):
        text = f"{order} solves {abs(points):.1f} points {'more' if points > 0 else 'less'} than {first}."
    interest = 0.9 if interval.excludes(0) else 0.4
    return Finding(text=text, interest=interest, section="success", basis=_basis(interval))


def _basis(interval: Interval) -> str:
    return f"[{interval.lower:.3f}, {interval.upper:.3f}], {interval.how}"
