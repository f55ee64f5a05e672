"""The quantities that UltraGen's claims are judged by, over seeds of the toy world.

A seed has its own texts, weights and order of training. Where the note asks for an interval over prompts, each seed
has a paired bootstrap over its held-out sets, and the widest ends of all seeds are shown; where it asks for as many
seeds as there are, the range over them.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from armillary.methods.ultragen.analyse.position import PlacedVerdicts, PositionBias, position_bias
from armillary.numerics.intervals import Interval, across_seeds, range_over_seeds
from armillary.numerics.seeds import widest
from reproductions.ultragen.scale import COUNTS, DENSE, FEW, MOST
from reproductions.ultragen.small_models import ARMS, SAMPLED, ArmResult, SeedResult, Selectivity
from reproductions.ultragen.world import SOFT

Array = NDArray[np.float64]
Which = Literal["all", "hard", "asked for"]
"""All attributes, those that are checked, or all but those that forbid, which pass for free."""

PREFERRED = ("gpo", "gpo_random", "any_pairs", "wide_pairs", "chosen")
MANY = (DENSE, MOST)
"""Counts at which reconstruction is judged."""


def csr(seed: SeedResult, arm: str, count: int, which: Which = "all") -> Array:
    """Satisfaction of each held-out set of that count, NaN where it has no attribute of that sort ``[S]``."""
    return _shares(seed.kinds, seed.arms[arm].local[str(count)].verdicts, which)


def wide(seed: SeedResult, arm: str, strategy: str, which: Which = "all") -> Array:
    """The same of the global sets ``[S]``."""
    return _shares(seed.wide_kinds[strategy], seed.arms[arm].wide[strategy].verdicts, which)


def _shares(kinds: Sequence[Sequence[str]], verdicts: Sequence[Sequence[bool]], which: Which) -> Array:
    left_out: tuple[str, ...] = {"all": (), "hard": SOFT, "asked for": ("exclude",)}[which]
    rows = [
        [met for kind, met in zip(names, row, strict=False) if kind not in left_out]
        for names, row in zip(kinds, verdicts, strict=True)
    ]
    return np.array([np.mean(row) if row else np.nan for row in rows])


def measures(seeds: Sequence[SeedResult]) -> dict[str, Interval]:
    """Every measure by name; shares and differences of shares are between -1 and 1."""
    measured: dict[str, Interval] = {}
    for arm in ARMS:
        measured |= _of_arm(seeds, arm)
    for count in COUNTS:
        means = [_mean(s.shuffled[str(count)]) for s in seeds]
        measured[f"another set's text/{count} attributes"] = range_over_seeds(means)
    measured["untrained/selectivity"] = range_over_seeds([selectivity(s.untrained) for s in seeds])
    measured["few/beyond another set's text"] = widest(
        [csr(s, "few", FEW) - np.array(s.shuffled[str(FEW)]) for s in seeds]
    )
    sorts: tuple[tuple[Which, str], ...] = (("hard", ""), ("asked for", ", without what forbids"))
    for which, words in sorts:
        falls = [csr(s, "few", FEW, which) - csr(s, "few", MOST, which) for s in seeds]
        measured[f"few/fall from {FEW} to {MOST}{words}"] = widest(falls)
    for count in MANY:
        measured[f"ar/hard beyond few, {count}"] = widest(
            [csr(s, "ar", count, "hard") - csr(s, "few", count, "hard") for s in seeds]
        )
        measured[f"ar/beyond the best of 8 of few, {count}"] = widest(
            [csr(s, "ar", count) - np.array(s.arms["few"].best[str(count)]) for s in seeds]
        )
    measured["ar/overlap beyond few"] = widest([_overlap(s, "ar") - _overlap(s, "few") for s in seeds])
    measured |= _positions(seeds)
    measured["ar/selectivity over few's"] = range_over_seeds(
        [selectivity(s.arms["ar"].attention) / selectivity(s.arms["few"].attention) - 1 for s in seeds]
    )
    for arm in PREFERRED:
        measured[f"{arm}/global beyond ar"] = _beyond(seeds, arm, "ar", "hclr")
        measured[f"{arm}/global random beyond ar"] = _beyond(seeds, arm, "ar", "random")
        local = [_mean(csr(s, arm, DENSE) - csr(s, "ar", DENSE)) for s in seeds]
        measured[f"{arm}/local beyond ar"] = range_over_seeds(local)
    measured["gpo/global beyond the best of 8 of ar"] = widest(
        [wide(s, "gpo", "hclr") - np.array(s.arms["ar"].wide_best["hclr"]) for s in seeds]
    )
    measured["gpo/global beyond chosen"] = _beyond(seeds, "gpo", "chosen", "hclr")
    measured["wide_pairs/global beyond any_pairs"] = _beyond(seeds, "wide_pairs", "any_pairs", "hclr")
    # 80 %, so that its lower end above 0 is the note's one-sided p below 0.1.
    by_choice = [
        float(np.mean([_mean(wide(s, "gpo", kind) - wide(s, "gpo_random", kind)) for kind in ("hclr", "random")]))
        for s in seeds
    ]
    measured["gpo/global of both kinds beyond gpo_random"] = across_seeds(by_choice, level=0.8)
    return measured | _pairs(seeds) | _noise(seeds)


def _of_arm(seeds: Sequence[SeedResult], arm: str) -> dict[str, Interval]:
    """What an arm meets at every count and on global sets, with what tells how it was bought."""
    own = [seed.arms[arm] for seed in seeds]
    values = {
        "overlap with the source": [_mean(result.local[str(DENSE)].overlap) for result in own],
        "repeated 4-grams": [_mean(result.wide["hclr"].repeated) for result in own],
        "selectivity": [selectivity(result.attention) for result in own],
        "attention to an attribute": [_mean(result.attention.mean) for result in own],
    }
    for count in COUNTS:
        values[f"{count} attributes"] = [_mean(csr(seed, arm, count)) for seed in seeds]
    for count in MANY:
        values[f"hard, {count}"] = [_mean(csr(seed, arm, count, "hard")) for seed in seeds]
    for strategy in ("hclr", "random"):
        values[f"global {strategy}"] = [_mean(wide(seed, arm, strategy)) for seed in seeds]
    if arm in SAMPLED:
        for count in MANY:
            values[f"best of 8, {count}"] = [_mean(result.best[str(count)]) for result in own]
        values["global hclr, best of 8"] = [_mean(result.wide_best["hclr"]) for result in own]
    return {f"{arm}/{name}": range_over_seeds(numbers) for name, numbers in values.items()}


def _beyond(seeds: Sequence[SeedResult], arm: str, other: str, strategy: str) -> Interval:
    """By how much an arm meets more of the global sets than another does."""
    return range_over_seeds([_mean(wide(seed, arm, strategy) - wide(seed, other, strategy)) for seed in seeds])


def selectivity(attention: Selectivity) -> float:
    """Attention where an attribute is realised over attention elsewhere; 1 of a model that does not tell."""
    return _mean(attention.realising) / max(_mean(attention.elsewhere), 1e-9)


def placed(seed: SeedResult, arm: str) -> PositionBias:
    """How satisfaction depends on the place among the most attributes."""
    answers: ArmResult = seed.arms[arm]
    rows = [
        PlacedVerdicts(kinds=tuple(kinds), satisfied=tuple(met))
        for kinds, met in zip(seed.kinds, answers.local[str(MOST)].verdicts, strict=True)
    ]
    return position_bias(rows, replicates=200)


def _positions(seeds: Sequence[SeedResult]) -> dict[str, Interval]:
    """Slopes and ranges of the reference model and of AR, and by how much they shrink."""
    by_arm = {arm: [placed(seed, arm) for seed in seeds] for arm in ("few", "ar")}
    sizes = {arm: [abs(bias.slope.estimate) for bias in biases] for arm, biases in by_arm.items()}
    # What each slope's interval leaves of its size: 0 where it holds 0.
    slopes = [bias.slope for bias in by_arm["few"]]
    surely = [min(abs(slope.lower), abs(slope.upper)) if slope.excludes(0) else 0.0 for slope in slopes]
    pairs = list(zip(by_arm["few"], by_arm["ar"], strict=True))
    measured = {
        "position/few, size of the slope, surely": range_over_seeds(surely),
        "position/smaller slope by ar": range_over_seeds(
            [a - b for a, b in zip(sizes["few"], sizes["ar"], strict=True)]
        ),
        "position/smaller range by ar": range_over_seeds([a.range.estimate - b.range.estimate for a, b in pairs]),
    }
    for arm, biases in by_arm.items():
        measured[f"position/{arm}, slope"] = range_over_seeds([bias.slope.estimate for bias in biases])
        measured[f"position/{arm}, range"] = range_over_seeds([bias.range.estimate for bias in biases])
        measured[f"position/{arm}, range by chance"] = range_over_seeds([bias.range_by_chance for bias in biases])
        for fifth in range(5):
            shares = [bias.fifths[fifth].estimate for bias in biases]
            measured[f"position/{arm}, fifth {fifth + 1}"] = range_over_seeds(shares)
    return measured


def _pairs(seeds: Sequence[SeedResult]) -> dict[str, Interval]:
    measured = {}
    for how in ("hclr", "random", "any"):
        counts = [seed.pairs[how] for seed in seeds]
        measured[f"pairs/{how}, kept"] = range_over_seeds([count.kept for count in counts])
        dropped = [1 - count.kept / max(1, count.all_pairs) for count in counts]
        measured[f"pairs/{how}, share dropped"] = range_over_seeds(dropped)
    return measured


def _noise(seeds: Sequence[SeedResult]) -> dict[str, Interval]:
    """What false attributes cost, what correction brings back, and how well it sees them."""

    def dense(seed: SeedResult, arm: str) -> float:
        return float(np.mean([_mean(csr(seed, arm, count, "hard")) for count in MANY]))

    lost = [dense(seed, "ar") - dense(seed, "noisy") for seed in seeds]
    back = [dense(seed, "corrected") - dense(seed, "noisy") for seed in seeds]
    detections, plants = [seed.detection for seed in seeds], [seed.planted for seed in seeds]
    return {
        "noise/lost by false attributes": range_over_seeds(lost),
        "noise/won back by correction": range_over_seeds(back),
        "noise/won back beyond half": range_over_seeds([b - a / 2 for a, b in zip(lost, back, strict=True)]),
        "flagged/precision, all": range_over_seeds([f.right / max(1, f.flagged) for f in detections]),
        "flagged/recall, all": range_over_seeds([f.right / max(1, f.injected) for f in detections]),
        "flagged/precision, soft": range_over_seeds([f.right_soft / max(1, f.flagged_soft) for f in detections]),
        "flagged/recall, soft": range_over_seeds([f.right_soft / max(1, f.injected_soft) for f in detections]),
        "flagged/soft attributes judged": range_over_seeds([f.judged / max(1, f.soft) for f in detections]),
        "never met/precision": range_over_seeds([p.right / max(1, p.flagged) for p in plants]),
        "never met/recall": range_over_seeds([p.right / max(1, p.planted) for p in plants]),
        "never met/suspected of those that can be met": range_over_seeds(
            [p.suspected / max(1, p.tested) for p in plants]
        ),
    }


def _overlap(seed: SeedResult, arm: str) -> Array:
    return np.array(seed.arms[arm].local[str(DENSE)].overlap)


def _mean(values: Sequence[float] | Array) -> float:
    return float(np.nanmean(values))
