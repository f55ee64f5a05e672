"""What the page of a Bricks reproduction shows beside the bars of its claims: maps, curves and examples."""

from collections.abc import Mapping

import numpy as np

from armillary.methods.bricks.neurons.config import CAPABILITIES
from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Figure, Heatmap, Table, interval_bars
from reproductions.bricks.adapters import best_rate
from reproductions.bricks.claims import LEFT_OUT, configuration
from reproductions.bricks.measures import BricksStages


def notes(results: BricksStages) -> dict[str, str]:
    """A sentence to a claim where a stage has something to say."""
    sentences: dict[str, str] = {}
    pairs = list(results.neurons[0].overlaps)
    shares = {pair: np.mean([draw.overlaps[pair] for draw in results.neurons]) for pair in pairs}
    null = max(value for draw in results.neurons for value in draw.permuted["overlap/mean of pairs"])
    if above := [pair for pair, share in shares.items() if share > null]:
        sentences["sets-are-apart"] = f"Above the mean of pairs under permuted labels: {', '.join(above)}."
    if results.edits.table is None:
        sentences["editing-is-local"] = f"The model knows {results.edits.known} of the capitals: too few to edit."
    sentences["merging"] = f"Rate {best_rate(results.adapter_pilot):g}, {falls(results.adapter_pilot)}."
    sentences["growing"] = f"Rate {best_rate(results.growth_pilot):g}, {falls(results.growth_pilot)}."
    if "saving/time ratio at equal quality" not in results.saving:
        sentences["saves-computation"] = "The best configuration does not keep the quality, so its time was not taken."
    return sentences


def falls(pilot: Mapping[str, float]) -> str:
    """What each rate of a pilot taught, in words."""
    each = ", ".join(f"{value:+.3f} at {rate}" for rate, value in pilot.items())
    return f"falls of the loss in the pilot {each} nats per token"


def figures(results: BricksStages, measures: Mapping[str, Interval]) -> dict[str, Figure]:
    """By claim, the figures that say more than the bars of its measures."""
    best = np.mean([[draw.best[name] for name in CAPABILITIES] for draw in results.neurons], axis=0).T
    rows = list(results.knockouts.effects)
    effects: list[list[float | None]] = [
        [results.knockouts.effects[row][name] for name in CAPABILITIES] for row in rows
    ]

    def group(title: str, prefix: str, x_label: str) -> Figure:
        chosen = {name.removeprefix(prefix): value for name, value in measures.items() if name.startswith(prefix)}
        return interval_bars(title, chosen, x_label)

    return {
        "masking-is-free": group("Relative rise of the loss", "masking/loss at ", "share of the loss"),
        "functional-neurons": Figure(
            title="Best score of each layer",
            data=Heatmap(
                rows=[f"layer {layer}" for layer in range(len(best))],
                columns=[*CAPABILITIES],
                values=best.tolist(),
                low=0.0,
                high=1.0,
            ),
            alt=f"Table of colours, {len(best)} layers by {len(CAPABILITIES)} capabilities.",
        ),
        "knockout-is-specific": Figure(
            title="Rise of the loss without a set of neurons (rows)",
            data=Heatmap(rows=[*rows], columns=[*CAPABILITIES], values=effects, unit="nats per token"),
            alt=f"Table of colours, {len(rows)} sets by {len(CAPABILITIES)} capabilities.",
        ),
        "sets-are-apart": group("Overlap of two sets", "overlap/", "share of neurons in common"),
        "routing-keeps-quality": group("Relative rise of the loss", "routing/loss at ", "share of the loss"),
        **(
            {"editing-is-local": group("What edits do, by direction of the key", "edits/", "share")}
            if results.edits.table
            else {}
        ),
    }


def tables(results: BricksStages) -> dict[str, list[Table]]:
    """By claim, the examples that a reader should see."""
    grown: list[list[Cell]] = [
        [name, way.prefill, way.decode, way.rounding] for name, way in results.preserved.items()
    ]
    return {
        "editing-is-local": [] if results.edits.table is None else [results.edits.table],
        "saves-computation": [saving_table(results.saving)],
        "growing": [
            Table(
                title="Largest difference of a logit before training",
                columns=["grown by", "at once", "with a cache", "the base against itself"],
                rows=grown,
            )
        ],
    }


def saving_table(saving: Mapping[str, Interval]) -> Table:
    """Every configuration with what it costs and, where a time was taken, what it gains."""

    def cells(name: str) -> list[Cell]:
        value = saving.get(name)
        return [None, None, None] if value is None else [value.estimate, value.lower, value.upper]

    return Table(
        title="What is left out, what it costs and what it gains",
        columns=["left out", "rise of the loss", "low", "high", "time, dense over it", "low", "high"],
        rows=[
            [name, *cells(f"saving/loss, {name}"), *cells(f"saving/time ratio, {name}")]
            for name in (configuration(kind, share) for kind, shares in LEFT_OUT.items() for share in (*shares, 0))
        ],
        note="Rise as a share of the loss. Times are taken of what keeps the quality, and of the same code with "
        "nothing left out.",
    )
