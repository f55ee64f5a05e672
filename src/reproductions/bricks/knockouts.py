"""The stage of the Bricks reproduction that switches sets of neurons off, the first token of a text left alone.

A set is compared with others of equal output magnitude, drawn several times: those are its null. Intervals are over
texts and over drawn sets, and hold for all capabilities at once. Legend: N texts, K matched sets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from armillary.methods.bricks.losses import Losses, changes
from armillary.methods.bricks.neurons.ablation import AblationTable, ablate
from armillary.methods.bricks.neurons.config import CAPABILITIES
from armillary.methods.bricks.neurons.sets import magnitude_matched, random_like, resident, without, without_as_many
from armillary.numerics.intervals import Array, Drawn, Interval, resampled
from reproductions.bricks.setup import Context

RESIDENT = 0.5
"""A neuron that fires at this share of all tokens counts as resident: at 95 % there are next to none."""

CLEANED = 2
"""Sets of largest collateral from which resident neurons are taken out: each costs more passes over all texts."""

LEVEL = 1 - 0.05 / len(CAPABILITIES)
"""Of each capability's interval, so that all hold at once in 95 of 100 runs (Bonferroni)."""


@dataclass(frozen=True, kw_only=True)
class Knockouts:
    """What switching off each capability's neurons costs, beside what nothing to do with it costs."""

    measures: dict[str, Interval]
    effects: dict[str, dict[str, float]]
    """Rise of the loss by set, then by capability, nats per token."""


def knockouts(context: Context) -> Knockouts:
    """Each capability's neurons switched off on its own texts beside matched sets, and on a few texts of all."""
    scale, loaded, sets = context.scale, context.loaded, context.sets(0)
    seen, texts = context.profile(0), context.texts("test", scale.knockout_texts)
    few = {name: rows[: scale.other_texts] for name, rows in texts.items()}
    randoms = {
        f"random {number}": random_like(sets[CAPABILITIES[0]], seen.width, seed=context.seed + number)
        for number in range(scale.random_sets)
    }
    table = ablate(loaded, {**sets, **randoms}, few, **context.reading)
    measures: dict[str, Interval] = {}
    above: dict[str, Interval] = {}
    effects = {row: {name: table.effect(row, name).delta_nll.estimate for name in CAPABILITIES} for row in table.after}
    for name in CAPABILITIES:
        matched = {
            f"matched {number}": magnitude_matched(sets[name], seen.magnitude(name), seed=context.seed + number)
            for number in range(scale.matched_sets)
        }
        own = ablate(loaded, {name: sets[name], **matched}, {name: texts[name]}, **context.reading)
        above[name] = own.own_against_one_more(name, name, list(matched), level=LEVEL)
        measures[f"knockout/{name}, own effect"] = own.effect(name, name).delta_nll
        measures[f"knockout/{name}, own minus matched sets"] = above[name]
        effects.setdefault("matched sets (own texts)", {})[name] = float(
            np.mean([own.effect(row, name).delta_nll.estimate for row in matched])
        )
        random = table.own_against_controls(name, name, list(randoms), measure="nats")
        measures[f"knockout/{name}, own minus random sets"] = random
    measures["knockout/capabilities above matched sets"] = simultaneous(list(above.values()))
    largest = [max(CAPABILITIES, key=lambda column: effects[row][column]) == row for row in CAPABILITIES]
    measures["knockout/own effect is the largest of its row"] = Interval(
        estimate=float(np.mean(largest)), n=len(largest), how=f"{sum(largest)} of {len(largest)} capabilities"
    )
    return Knockouts(measures=measures | without_residents(context, few, table), effects=effects)


def simultaneous(intervals: Sequence[Interval]) -> Interval:
    """Share of the intervals that lie above 0, up to the share that do not lie at or below it."""
    count = len(intervals)
    above, not_below = sum(row.lower > 0 for row in intervals), sum(row.upper > 0 for row in intervals)
    how = f"{above} of {count} surely above, {count - not_below} surely not; intervals that hold at once"
    return Interval(estimate=above / count, low=above / count, high=not_below / count, n=count, how=how)


def without_residents(
    context: Context, texts: Mapping[str, Sequence[str]], table: AblationTable
) -> dict[str, Interval]:
    """The sets of largest collateral that have resident neurons, without them and without as many others.

    Shares of what all these sets do together, over resampled texts; no measure where no set has residents.
    """
    sets = context.sets(0)
    residents = resident(context.profile(0).firing_share(), RESIDENT)
    less = {name: without(chosen, residents) for name, chosen in sets.items()}
    hit = [name for name in CAPABILITIES if less[name].size < sets[name].size]
    hit.sort(key=lambda name: -table.collateral(name, name, measure="nats", replicates=2).estimate)
    hit = hit[:CLEANED]
    if not hit:
        return {}
    draws = range(context.scale.random_sets)
    reduced = {f"{name} without residents": less[name] for name in hit}
    reduced |= {
        f"{name} without others {draw}": without_as_many(sets[name], residents, seed=context.seed + draw)
        for name in hit
        for draw in draws
    }
    after = ablate(context.loaded, reduced, texts, **context.reading).after

    def rise(drawn: Drawn, name: str, row: Losses, *, own: bool) -> Array:
        columns = [name] if own else [column for column in CAPABILITIES if column != name]
        return np.asarray(np.mean([changes(table.before, row, drawn, [column]) for column in columns], axis=0))

    def whole(drawn: Drawn, *, own: bool) -> Array:
        return np.asarray(np.mean([rise(drawn, name, table.after[name], own=own) for name in hit], axis=0))

    def kept(rows: Sequence[str], *, own: bool) -> Interval:
        def share(drawn: Drawn) -> Array:
            left = [rise(drawn, name, after[f"{name} without {row}"], own=own) for name in hit for row in rows]
            return np.asarray(np.mean(left, axis=0) / whole(drawn, own=own))

        return resampled(share, table.before.sizes, seed=0)

    others = [f"others {draw}" for draw in draws]
    return {
        "residents/collateral": resampled(lambda drawn: whole(drawn, own=False), table.before.sizes, seed=0),
        "residents/own effect kept": kept(["residents"], own=True),
        "residents/collateral kept": kept(["residents"], own=False),
        "residents/own effect kept without as many others": kept(others, own=True),
        "residents/collateral kept without as many others": kept(others, own=False),
    }
