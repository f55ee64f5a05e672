"""Stages of the Model-diff reproduction: known answers (E1 tables, E2 tempering, E3 grids), real weights (E5).

Legend: N sequences, D bins of the difference, P points of a known pair.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from armillary.methods.modeldiff import CompareConfig, Comparison, Direction, InputSpace, compare
from armillary.methods.modeldiff.ancestry import noisy
from armillary.methods.modeldiff.config import Bounds
from armillary.methods.modeldiff.core import Draws, Floats, Side, effective_size, log_sum
from armillary.methods.modeldiff.curves import Bins, CountTable, log_count, ratio, spread
from armillary.methods.modeldiff.source import sources_of
from armillary.methods.modeldiff.tempering import parallel_tempering
from armillary.methods.modeldiff.window import drawn_pilot
from armillary.models import LoadedModel
from armillary.numerics.intervals import Interval, bootstrap
from armillary.runs.parts import Arrays, Store, kept
from reproductions.modeldiff.claims import PAIRS, SIZES
from reproductions.modeldiff.known_models import GridModel, KnownPair, TableModel, TemperedTable, known_grid
from reproductions.modeldiff.scale import Scale

VOCABULARY, LENGTH = 6, 7
"""Of the tables: 280,000 sequences, which are enumerated in a second."""

LEAST_SHARE = 0.02
"""Bins that hold less of the exact count are left out of the coverage: too few samples fall there."""

HOT = 1.6
"""Temperature at which wrong weights are shown."""

TINY = 1e-300
"""Stands for a share of 0 where a logarithm is taken."""

SIDES: tuple[Side, Side] = ("a", "b")
Known = TableModel | GridModel


@dataclass(frozen=True, kw_only=True)
class Histograms:
    """Shares of plausible inputs at each difference ``[D]``."""

    centres: list[float]
    """Middle of each bin, nats."""

    exact: list[float]
    estimated: list[float]
    """Weighed as they should be."""

    wrong: list[float]
    """Not weighed, or weighed wrongly."""

    def distance(self, shares: list[float]) -> float:
        """Total variation from the exact shares."""
        return float(np.abs(np.subtract(shares, self.exact)).sum() / 2)


@dataclass(frozen=True, kw_only=True)
class Edge:
    """Effective samples with the window's upper edge at the lower quartile, the median and the upper one; means."""

    ratio: float
    """Log to base 2 of the effective samples over ``2 N h(z+)``."""

    by_number: float
    """The same of the number of samples."""


@dataclass(frozen=True, kw_only=True)
class CountedPair:
    """One pair of models whose counts are known, compared by default windows; A's direction and B's."""

    total: list[float]
    """Estimated over exact number of plausible inputs."""

    plain_total: list[float]
    """The same with every draw standing for as many sequences."""

    overlap: list[float]
    """Estimated size of the overlap over the exact one."""

    plain_overlap: list[float]
    """Share of the draws that lie in the overlap."""

    histograms: list[Histograms]
    edge: Edge


@dataclass(frozen=True, kw_only=True)
class CoveredPair:
    """Share of 95 % intervals that cover the exact figure over repeated runs of one pair, by figure and windows."""

    shares: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class HotPair:
    """Draws at a temperature, weighed by their exact probability and by ``exp(z / T)``: estimated over exact count."""

    right: float
    wrong: float
    histograms: Histograms


@dataclass(frozen=True, kw_only=True)
class TemperedRun:
    """One run of parallel tempering beside the exact numbers."""

    log_z_error: float
    """Largest error of ln Z of a rung, without its sign."""

    total: float
    """Estimated over exact number of plausible inputs."""

    plain_total: float
    """The same with every draw of every rung standing for as many sequences."""

    distance: float
    """Total variation between the estimated histogram of the difference and the exact one."""

    lowest_swap_rate: float


@dataclass(frozen=True, kw_only=True)
class RealResult:
    """A real model against itself and against noisy copies, by default windows."""

    itself: list[Interval]
    """Share of the overlap, from its samples as A and as B."""

    edge: dict[str, Interval]
    """``Edge`` by the names of its fields."""

    spreads: dict[str, list[float]]
    """Spread (nats per token) by size of noise, a number a seed."""


def pair_seed(seed: int, number: int) -> int:
    """A seed of its own for each pair."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def known_tables(kind: str, seed: int) -> tuple[TableModel, TableModel, KnownPair]:
    """A and B of a pair of tables with their exact counts: B is A with noise on its logits, or a table of its own."""
    a, other = (TableModel.random(VOCABULARY, LENGTH, seed=own) for own in (seed, seed + 2))
    b = a.perturbed(0.5, seed=seed + 1) if kind == "perturbed" else other
    return a, b, KnownPair.of_tables(a, b)


def known_pair(kind: str, seed: int) -> tuple[Known, Known, KnownPair]:
    """A and B of a pair of tables or grids with their exact counts."""
    if kind in PAIRS:
        return known_tables(kind, seed)
    # U3: independent tokens of length 64; U4: a first-order Markov model.
    independent = kind == "independent tokens"
    grid = GridModel.independent(50, 64, seed=seed) if independent else GridModel.markov(8, 24, seed=seed)
    near = grid.perturbed(3 if independent else 1, seed=seed + 1)
    return grid, near, known_grid(grid, near)


def exact_windows(known: KnownPair) -> dict[Side, Bounds]:
    """The 5 % quantile and the median of each model's own NLL at temperature 1: what an endless pilot would give."""
    windows: dict[Side, Bounds] = {}
    for side, nll_P in zip(SIDES, (known.nll_a_P, known.nll_b_P), strict=True):
        order = np.argsort(nll_P)
        mass = np.cumsum(np.exp(-nll_P[order] + known.log_count_P[order]))
        low, high = (float(nll_P[order][np.searchsorted(mass, level * mass[-1])]) for level in (0.05, 0.5))
        # A hair outside, so that rounding of a sum can't put a point on the edge out of the window.
        windows[side] = (low - 1e-9, high + 1e-9)
    return windows


@dataclass(frozen=True, kw_only=True)
class Exact:
    """What is known of a pair in given windows, by side."""

    windows: dict[Side, Bounds]
    log_total: dict[Side, float]
    """Log of the number of each model's plausible inputs."""

    log_overlap: float
    bins: dict[Side, Bins]
    """Ten on each side of 0, as far out as all but a thousandth of the model's plausible inputs go."""

    shares_D: dict[Side, Floats]

    @classmethod
    def of(cls, known: KnownPair, windows: dict[Side, Bounds]) -> "Exact":
        """By summation over the pair."""
        bins: dict[Side, Bins] = {}
        shares_D: dict[Side, Floats] = {}
        for side, nll_P in zip(SIDES, (known.nll_a_P, known.nll_b_P), strict=True):
            low, high = windows[side]
            inside = (nll_P >= low) & (nll_P <= high)
            far_P, log_P = np.abs(known.nll_a_P - known.nll_b_P)[inside], known.log_count_P[inside]
            order = np.argsort(far_P)
            share = np.cumsum(np.exp(log_P[order] - log_sum(log_P)))
            # Off the round numbers, so that no point of a grid lies on an edge.
            bins[side] = Bins(width=float(far_P[order][np.searchsorted(share, 0.999)]) / 10.1, half=10)
            edges = bins[side].width * (np.arange(-bins[side].half, bins[side].half) + 0.5)
            log_D = known.log_histogram(side, edges, windows[side])
            shares_D[side] = np.exp(log_D - log_sum(log_D))
        return cls(
            windows=windows,
            log_total={side: known.log_size(side, window) for side, window in windows.items()},
            log_overlap=known.log_overlap(windows["a"], windows["b"]),
            bins=bins,
            shares_D=shares_D,
        )

    def histograms(self, side: Side, difference_N: Floats, log_right_N: Floats, log_wrong_N: Floats) -> Histograms:
        """Those of samples inside the window, weighed in two ways."""
        index_N = self.bins[side].index(difference_N)
        right, wrong = (
            np.bincount(index_N, np.exp(log_N - log_N.max()), minlength=2 * self.bins[side].half + 1)
            for log_N in (log_right_N, log_wrong_N)
        )
        return Histograms(
            centres=self.bins[side].centres_D.tolist(),
            exact=self.shares_D[side].tolist(),
            estimated=(right / right.sum()).tolist(),
            wrong=(wrong / wrong.sum()).tolist(),
        )


def counted(kind: str, scale: Scale, seed: int) -> list[CountedPair]:
    """E1, E3: pairs of one kind, many draws of each, beside the exact counts in the windows of a pilot."""
    tables = kind in PAIRS
    numbers = range(scale.pairs if tables else scale.grid_pairs)
    return [_counted(kind, pair_seed(seed, number), scale.draws if tables else scale.grid_draws) for number in numbers]


def _counted(kind: str, seed: int, samples: int) -> CountedPair:
    a, b, known = known_pair(kind, seed)
    config = CompareConfig(samples=samples, block=samples, seed=seed)
    comparison = compare(a, b, InputSpace(length=a.length), config)
    exact = Exact.of(known, {"a": comparison.a.window, "b": comparison.b.window})
    totals, plain_totals, overlaps, plain_overlaps, histograms = [], [], [], [], []
    for side in SIDES:
        direction = comparison.direction(side)
        inside_N, overlap_N, log_weight_N = direction.inside_N, direction.overlap_N, direction.log_weight_N
        totals.append(math.exp(log_sum(log_weight_N[inside_N]) - exact.log_total[side]))
        # Every draw for the same number of sequences: their share is that of all sequences.
        log_share = exact.log_total[side] - a.length * math.log(a.vocabulary)
        plain_totals.append(float(inside_N.mean()) / math.exp(log_share))
        overlaps.append(math.exp(log_sum(log_weight_N[overlap_N]) - exact.log_overlap))
        plain_overlaps.append(float(overlap_N.mean()))
        log_N = log_weight_N[inside_N]
        histograms.append(exact.histograms(side, direction.difference_N[inside_N], log_N, np.zeros_like(log_N)))
    return CountedPair(
        total=totals,
        plain_total=plain_totals,
        overlap=overlaps,
        plain_overlap=plain_overlaps,
        histograms=histograms,
        edge=edge(comparison.a.own_N),
    )


def covered(kind: str, scale: Scale, seed: int) -> list[CoveredPair]:
    """E1: repeated estimates of pairs of tables, whose intervals should cover the exact figures."""
    # Other pairs than those of ``counted``.
    seeds = [pair_seed(seed, 1000 + number) for number in range(scale.pairs)]
    return [_covered(kind, own, scale) for own in seeds]


def _covered(kind: str, seed: int, scale: Scale) -> CoveredPair:
    a, b, known = known_tables(kind, seed)
    exact = Exact.of(known, exact_windows(known))
    spaces = {
        "given": InputSpace(length=a.length, window=dict(exact.windows.items())),
        "by pilot": InputSpace(length=a.length),
    }
    shares: dict[str, list[float]] = {}
    for repeat in range(scale.repeats):
        # The second space, whose windows differ, rests on the same samples.
        config = CompareConfig(samples=scale.table_samples, replicates=scale.replicates, seed=pair_seed(seed, repeat))
        for windows, space in spaces.items():
            comparison = compare(a, b, space, config)
            for side in SIDES:
                for figure, covers in _covers(comparison, exact, side).items():
                    shares.setdefault(figure if "pilot" in figure else f"{figure}, {windows}", []).append(covers)
    return CoveredPair(shares={name: float(np.mean(values)) for name, values in shares.items()})


def _covers(comparison: Comparison, exact: Exact, side: Side) -> dict[str, float]:
    """Whether the intervals of one direction cover the exact figures; of bins, the share of those that do."""
    table = replace(comparison.count_table(side), bins=exact.bins[side])
    _, value_RD = table.count()
    exact_D = np.exp(np.log(np.maximum(exact.shares_D[side], TINY)) + exact.log_total[side] - table.log_scale)
    low_D, high_D = np.quantile(value_RD, [0.025, 0.975], axis=0)
    filled = exact.shares_D[side] >= LEAST_SHARE
    total, level = exact.log_total[side], comparison.config.level

    def within(value: float, interval: Interval) -> float:
        return float(interval.lower <= value <= interval.upper)

    shares = ratio(table.overlap(), table.total(), level, table)
    covers = {
        "bins": float(((low_D <= exact_D) & (exact_D <= high_D))[filled].mean()),
        "totals": within(total, log_count(table.total(), level, table)),
        "overlap shares": within(math.exp(exact.log_overlap - total), shares),
    }
    if comparison.pilot is not None:
        fixed = replace(table, windows_R22=None)
        covers["totals, pilot held fixed"] = within(total, log_count(fixed.total(), level, fixed))
    return covers


def hot(scale: Scale, seed: int) -> list[HotPair]:
    """Tables sampled token by token at T = 1.6, weighed rightly and by ``exp(z / T)``."""
    pairs: list[HotPair] = []
    for number in range(scale.pairs):
        own = pair_seed(seed, 2000 + number)
        a, b, known = known_tables("perturbed", own)
        exact = Exact.of(known, _pilot_windows(a, b, own))
        draws = replace(a, temperatures=(HOT,)).sample(scale.draws, seed=own)
        direction = Direction.from_draws(
            draws,
            side="a",
            window=exact.windows["a"],
            other_window=exact.windows["b"],
            own_N=a.score(draws.ids_NL),
            other_N=b.score(draws.ids_NL),
        )
        inside_N = direction.inside_N
        right_N, wrong_N = direction.log_weight_N[inside_N], (direction.own_N / HOT - np.log(len(inside_N)))[inside_N]
        right, wrong = (math.exp(log_sum(log_N) - exact.log_total["a"]) for log_N in (right_N, wrong_N))
        histograms = exact.histograms("a", direction.difference_N[inside_N], right_N, wrong_N)
        pairs.append(HotPair(right=right, wrong=wrong, histograms=histograms))
    return pairs


def _pilot_windows(a: Known, b: Known, seed: int) -> dict[Side, Bounds]:
    """The default windows of a pair."""
    pilot = drawn_pilot({"a": a, "b": b}, InputSpace(length=a.length), CompareConfig(), {"a": seed, "b": seed + 1})
    return dict(zip(SIDES, pilot.windows, strict=True))


def tempered(scale: Scale, seed: int) -> list[TemperedRun]:
    """E2: parallel tempering with reweighting on perturbed pairs, beside the exact counts."""
    runs: list[TemperedRun] = []
    for number in range(scale.tempering_pairs):
        own = pair_seed(seed, 3000 + number)
        a, b, known = known_tables("perturbed", own)
        exact = Exact.of(known, _pilot_windows(a, b, own))
        low, high = exact.windows["a"]
        chains = parallel_tempering(
            TemperedTable(a),
            length=LENGTH,
            chains=scale.chains,
            sweeps=scale.sweeps,
            burn_in=scale.sweeps // 4,
            seed=own,
            # What did not mix is a matter of the control.
            allow_unmixed=True,
        )
        inside_N = (chains.nll_N >= low) & (chains.nll_N <= high)
        log_N = chains.log_weights_N[inside_N] - np.log(len(inside_N))
        difference_N = (chains.nll_N - b.score(chains.ids_NL))[inside_N]
        histograms = exact.histograms("a", difference_N, log_N, np.zeros_like(log_N))
        exact_log_z_K = np.array([a.log_partition(temperature) for temperature in chains.temperatures])
        share = math.exp(exact.log_total["a"] - LENGTH * math.log(VOCABULARY))
        runs.append(
            TemperedRun(
                log_z_error=float(np.abs(chains.log_z_K - exact_log_z_K).max()),
                total=math.exp(log_sum(log_N) - exact.log_total["a"]),
                plain_total=float(inside_N.mean()) / share,
                distance=histograms.distance(histograms.estimated),
                lowest_swap_rate=float(chains.swap_rates.min()),
            )
        )
    return runs


def itself(scale: Scale, seed: int) -> list[Interval]:
    """Share of the overlap of tables with themselves, as A and as B, by default settings."""
    shares: list[Interval] = []
    for number in range(scale.pairs):
        own = pair_seed(seed, 4000 + number)
        table = TableModel.random(VOCABULARY, LENGTH, seed=own)
        comparison = compare(table, table, InputSpace(length=LENGTH), CompareConfig(seed=own))
        shares += comparison.overlap_share.values()
    return shares


def expected_effective_size(nll_N: Floats, high: float) -> float:
    """Effective samples at temperature 1 with the window's upper edge at ``high``: ``2 N h(high)``.

    ``h`` is the density of the NLL, by a Gaussian kernel. Holds where the edge lies inside the sampled range.
    """
    from scipy.stats import gaussian_kde

    return float(2 * len(nll_N) * gaussian_kde(nll_N)(high)[0])


def edge(own_N: Floats) -> Edge:
    """Effective samples of draws at temperature 1 beside what Eq. 5 expects, from their NLL."""
    ratios, by_number = [], []
    for quantile in (0.25, 0.5, 0.75):
        low, high = np.quantile(own_N, [0.05, quantile])
        inside_N = own_N[(own_N >= low) & (own_N <= high)]
        expected = expected_effective_size(own_N, float(high))
        ratios.append(math.log2(effective_size(inside_N) / expected))
        by_number.append(math.log2(len(own_N) / expected))
    return Edge(ratio=float(np.mean(ratios)), by_number=float(np.mean(by_number)))


# Real weights against themselves and against copies with noise.


def real(loaded: LoadedModel, scale: Scale, seed: int, store: Store) -> RealResult:
    """E5: the model against itself, and noisy copies over its own inputs, in the same default windows."""
    space, config = InputSpace(length=scale.real_length), CompareConfig(samples=scale.real_samples, seed=seed)
    comparison = compare(loaded, loaded, space, config, store=lambda name, compute: store(f"real {name}", compute))
    drawn, own_N = comparison.a, comparison.a.own_N
    rows = slice(scale.ladder_samples)
    spreads: dict[str, list[float]] = {}
    for size in SIZES:
        for noise_seed in range(scale.noise_seeds):

            def score(size: str = size, noise_seed: int = noise_seed) -> Arrays:
                copy = noisy(loaded, float(size), seed=seed + noise_seed)
                return {"nll": sources_of([copy], space, config)[0][0].score(drawn.ids_NL[rows])}

            other_N = kept(store, f"noise {size} {noise_seed}", score)["nll"]
            direction = Direction.from_draws(
                Draws.single(drawn.ids_NL[rows], -own_N[rows]),
                side="a",
                window=drawn.window,
                other_window=drawn.window,
                own_N=own_N[rows],
                other_N=other_N,
            )
            bins = Bins.spanning(config.bin_width * space.length, [direction.difference_N])
            table = CountTable(direction=direction, bins=bins, replicates=20, seed=seed)
            spreads.setdefault(size, []).append(spread(table, config.level).deviation.estimate)

    # All of them are draws of the one model: the pilot's and the samples of either side.
    pilot_N = np.empty(0) if comparison.pilot is None else comparison.pilot.nll_MN[0]
    drawn_N = np.concatenate([pilot_N, own_N, comparison.b.own_N])

    def edges(field: str) -> Interval:
        def logs(rows_RN: NDArray[np.int64]) -> list[float]:
            return [getattr(edge(drawn_N[row]), field) for row in rows_RN]

        return bootstrap(logs, len(drawn_N), seed=0, replicates=500, how=f"bootstrap over {len(drawn_N)} sequences")

    return RealResult(
        itself=list(comparison.overlap_share.values()),
        edge={"ratio": edges("ratio"), "by_number": edges("by_number")},
        spreads=spreads,
    )
