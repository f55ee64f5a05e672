"""Stages of the Model-diff reproduction: known answers (E1 tables, E2 tempering, E3 grids), real weights (E5, E6).

Legend: N sequences, D bins of the difference, S repeated runs, P points of a known pair.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from armillary.data.texts.corpora import corpus_texts
from armillary.methods.modeldiff import CompareConfig, Comparison, Direction, InputSpace, SampleExample, compare
from armillary.methods.modeldiff.ancestry import Lineage, lineage
from armillary.methods.modeldiff.config import Bounds
from armillary.methods.modeldiff.core import Floats, Side, effective_size, log_sum
from armillary.methods.modeldiff.curves import Bins
from armillary.methods.modeldiff.figures import Naming, curves
from armillary.methods.modeldiff.tempering import parallel_tempering
from armillary.methods.modeldiff.text_mode import TextComparison, compare_texts
from armillary.models import LoadedModel
from armillary.models.prompts import text_ids, windows
from armillary.records.sections import Figure
from armillary.runs.parts import Store
from reproductions.modeldiff.known_models import GridModel, KnownPair, TableModel, TemperedTable, known_grid
from reproductions.modeldiff.scale import Scale
from reproductions.modeldiff.training import finetuned

VOCABULARY, LENGTH = 6, 7
"""Of the tables: 280,000 sequences, which are enumerated in a second."""

LEAST_SHARE = 0.02
"""Bins that hold less of the exact count are left out of the coverage: too few samples fall there."""

HOT = 1.6
"""Temperature at which wrong weights are shown."""

TINY = 1e-300
"""Stands for a share of 0 where a logarithm is taken."""

FINETUNE_TOKENS = 64
FINETUNE_RATE = 2e-5
CORPUS = "python-reference"


@dataclass(frozen=True, kw_only=True)
class Histograms:
    """Shares of A's plausible inputs at each difference: the exact ones and those of every run."""

    centres: list[float]
    """Middle of each bin, nats ``[D]``."""

    exact: list[float]
    estimated: list[list[float]]
    """Weighed as they should be ``[S, D]``."""

    wrong: list[list[float]]
    """Not weighed, or weighed wrongly ``[S, D]``."""

    @classmethod
    def beside(cls, exact: "Exact", estimated: list[list[float]], wrong: list[list[float]]) -> "Histograms":
        """Those of every run with the exact ones."""
        centres, shares = exact.bins.centres_D.tolist(), exact.shares_D.tolist()
        return cls(centres=centres, exact=shares, estimated=estimated, wrong=wrong)


@dataclass(frozen=True, kw_only=True)
class KnownRun:
    """One comparison of two models whose counts are known."""

    covered: list[bool]
    """Whether the interval of each well-filled bin of A's direction covers the exact count."""

    total_covered: list[bool]
    """The same of the number of plausible inputs, A's and B's."""

    total: float
    """A's estimated number of plausible inputs over the exact one."""

    overlap: list[float]
    """Estimated over exact size of the overlap, from A's samples and from B's."""

    effective: float
    expected_effective: float
    """``2 N h(z+)``."""


@dataclass(frozen=True, kw_only=True)
class KnownRuns:
    """Repeated comparisons of one pair."""

    runs: list[KnownRun]
    histograms: Histograms


@dataclass(frozen=True, kw_only=True)
class HotRuns:
    """Draws at a temperature, weighed by their exact probability and by ``exp(z / T)``: estimated over exact count."""

    right: list[float]
    wrong: list[float]
    histograms: Histograms


@dataclass(frozen=True, kw_only=True)
class TemperedRun:
    """One run of parallel tempering beside the exact numbers."""

    log_z_error: float
    """Largest error of ln Z of a rung, without its sign."""

    total: float
    """Error of the log number of plausible inputs."""

    distance: float
    """Total variation between the estimated histogram of the difference and the exact one."""

    lowest_swap_rate: float
    unmixed: list[str]


@dataclass(frozen=True, kw_only=True)
class WindowEdge:
    """Effective samples with the window's upper edge at a quantile of the NLL."""

    quantile: float
    effective: float
    expected: float
    """``2 N h(z+)``."""


@dataclass(frozen=True, kw_only=True)
class BothWays:
    """A real model and its fine-tuned copy in both directions."""

    curves: Figure
    edges: list[WindowEdge]
    examples: list[SampleExample]


def tables(pair: str, seed: int) -> tuple[TableModel, TableModel]:
    """A and B of a pair: "perturbed" (B is A with noise on its logits) or "independent"."""
    a = TableModel.random(VOCABULARY, LENGTH, seed=seed)
    if pair == "perturbed":
        return a, a.perturbed(0.5, seed=seed + 1)
    return a, TableModel.random(VOCABULARY, LENGTH, seed=seed + 2)


def exact_windows(known: KnownPair) -> dict[Side, Bounds]:
    """The 5 % quantile and the median of each model's own NLL at temperature 1, by enumeration."""
    windows: dict[Side, Bounds] = {}
    sides: tuple[tuple[Side, Floats], ...] = (("a", known.nll_a_P), ("b", known.nll_b_P))
    for side, nll_P in sides:
        order = np.argsort(nll_P)
        mass = np.cumsum(np.exp(-nll_P[order] + known.log_count_P[order]))
        low, high = (float(nll_P[order][np.searchsorted(mass, level * mass[-1])]) for level in (0.05, 0.5))
        # A hair outside, so that rounding of a sum can't put a point on the edge out of the window.
        windows[side] = (low - 1e-9, high + 1e-9)
    return windows


@dataclass(frozen=True, kw_only=True)
class Exact:
    """What is known of a pair in the windows of ``exact_windows``, A's direction in bins of the difference."""

    windows: dict[Side, Bounds]
    log_total: dict[Side, float]
    """Log of the number of each model's plausible inputs."""

    log_overlap: float
    bins: Bins
    """Ten on each side of 0, as far out as all but a thousandth of A's plausible inputs go."""

    shares_D: Floats

    @classmethod
    def of(cls, known: KnownPair) -> "Exact":
        """By summation over the pair."""
        windows = exact_windows(known)
        low, high = windows["a"]
        inside = (known.nll_a_P >= low) & (known.nll_a_P <= high)
        far_P, log_P = np.abs(known.nll_a_P - known.nll_b_P)[inside], known.log_count_P[inside]
        order = np.argsort(far_P)
        share = np.cumsum(np.exp(log_P[order] - log_sum(log_P)))
        # Off the round numbers, so that no point of a grid lies on an edge.
        bins = Bins(width=float(far_P[order][np.searchsorted(share, 0.999)]) / 10.1, half=10)
        edges = bins.width * (np.arange(-bins.half, bins.half) + 0.5)
        log_D = known.log_histogram("a", edges, windows["a"])
        return cls(
            windows=windows,
            log_total={side: known.log_size(side, window) for side, window in windows.items()},
            log_overlap=known.log_overlap(windows["a"], windows["b"]),
            bins=bins,
            shares_D=np.exp(log_D - log_sum(log_D)),
        )


def enumerated(pair: str, scale: Scale, seed: int) -> KnownRuns:
    """E1: repeated estimates of one pair of tables beside the exact counts."""
    a, b = tables(pair, seed)
    return _repeated(a, b, KnownPair.of_tables(a, b), scale.repeats, scale.table_samples, scale, seed)


def gridded(kind: str, scale: Scale, seed: int) -> KnownRuns:
    """E3: independent tokens of length 64 (U3), or a first-order Markov model (U4), whose counts are exact."""
    if kind == "independent tokens":
        a = GridModel.independent(50, 64, seed=seed)
        b = a.perturbed(3, seed=seed + 1)
    else:
        a = GridModel.markov(8, 24, seed=seed)
        b = a.perturbed(1, seed=seed + 1)
    return _repeated(a, b, known_grid(a, b), scale.grid_repeats, scale.grid_samples, scale, seed)


def _repeated(
    a: TableModel | GridModel,
    b: TableModel | GridModel,
    known: KnownPair,
    repeats: int,
    samples: int,
    scale: Scale,
    seed: int,
) -> KnownRuns:
    config = CompareConfig(samples=samples, replicates=scale.replicates, bin_width=0.1, block=samples)
    exact = Exact.of(known)
    space = InputSpace(length=a.length, window=dict(exact.windows.items()))
    runs: list[KnownRun] = []
    weighed, plain = [], []
    for repeat in range(repeats):
        seeds = np.random.SeedSequence([seed, repeat]).generate_state(2).tolist()
        comparison = compare(a, b, space, config, seeds={"a": seeds[0], "b": seeds[1]})
        covered, weighed_D, plain_D = _bins(comparison, exact)
        weighed.append(weighed_D.tolist())
        plain.append(plain_D.tolist())
        total, overlap = comparison.log_total, comparison.log_overlap
        runs.append(
            KnownRun(
                covered=covered,
                total_covered=[total[side].lower <= log <= total[side].upper for side, log in exact.log_total.items()],
                total=math.exp(total["a"].estimate - exact.log_total["a"]),
                overlap=[math.exp(overlap[side].estimate - exact.log_overlap) for side in exact.windows],
                effective=comparison.reliability["a"].effective,
                expected_effective=expected_effective_size(comparison.a.own_N, exact.windows["a"][1]),
            )
        )
    return KnownRuns(runs=runs, histograms=Histograms.beside(exact, weighed, plain))


def _bins(comparison: Comparison, exact: Exact) -> tuple[list[bool], Floats, Floats]:
    """Whether each well-filled bin of A's direction covers the exact count; its weighed and its plain shares."""
    table = replace(comparison.count_table("a"), bins=exact.bins)
    value_D, value_RD = table.count()
    exact_D = np.exp(np.log(np.maximum(exact.shares_D, TINY)) + exact.log_total["a"] - table.log_scale)
    low_D, high_D = np.quantile(value_RD, [0.025, 0.975], axis=0)
    filled = np.flatnonzero(exact.shares_D >= LEAST_SHARE)
    covered = [bool(low_D[index] <= exact_D[index] <= high_D[index]) for index in filled]
    difference_N = comparison.a.difference_N[comparison.a.inside_N]
    return covered, value_D / value_D.sum(), _shares(difference_N, np.zeros(len(difference_N)), exact.bins)


def _shares(difference_N: Floats, log_weight_N: Floats, bins: Bins) -> Floats:
    """Share of the weight in each bin."""
    weight_N = np.exp(log_weight_N - log_weight_N.max())
    sums_D = np.bincount(bins.index(difference_N), weight_N, minlength=2 * bins.half + 1)
    return np.asarray(sums_D / sums_D.sum())


def wrong_weights(scale: Scale, seed: int) -> HotRuns:
    """Claim 8: tables sampled token by token at T = 1.6, weighed rightly and by ``exp(z / T)``."""
    a, b = tables("perturbed", seed)
    exact = Exact.of(KnownPair.of_tables(a, b))
    hot = TableModel(a.logits, a.length, (HOT,))
    counts: dict[str, list[float]] = {"right": [], "wrong": []}
    shares: dict[str, list[list[float]]] = {"right": [], "wrong": []}
    for repeat in range(scale.repeats):
        draws = hot.sample(scale.table_samples, seed=int(np.random.SeedSequence([seed, repeat]).generate_state(1)[0]))
        own_N, other_N = a.score(draws.ids_NL), b.score(draws.ids_NL)
        low, high = exact.windows["a"]
        right = Direction.from_draws(
            draws, side="a", window=(low, high), other_window=exact.windows["b"], own_N=own_N, other_N=other_N
        )
        inside = right.inside_N
        for name, log_weight_N in (("right", right.log_weight_N), ("wrong", own_N / HOT - np.log(len(own_N)))):
            counts[name].append(math.exp(log_sum(log_weight_N[inside]) - exact.log_total["a"]))
            shares[name].append(_shares(right.difference_N[inside], log_weight_N[inside], exact.bins).tolist())
    histograms = Histograms.beside(exact, shares["right"], shares["wrong"])
    return HotRuns(right=counts["right"], wrong=counts["wrong"], histograms=histograms)


def tempered(scale: Scale, seed: int) -> list[TemperedRun]:
    """E2: parallel tempering with reweighting on the perturbed pair, beside the exact counts; a run a seed."""
    a, b = tables("perturbed", seed)
    exact = Exact.of(KnownPair.of_tables(a, b))
    low, high = exact.windows["a"]
    runs: list[TemperedRun] = []
    for offset in range(scale.tempering_seeds):
        chains = parallel_tempering(
            TemperedTable(a),
            length=LENGTH,
            chains=scale.chains,
            sweeps=scale.sweeps,
            burn_in=scale.sweeps // 4,
            seed=seed + offset,
            # What did not mix counts as it is: the claim is about the numbers.
            allow_unmixed=True,
        )
        inside = (chains.nll_N >= low) & (chains.nll_N <= high)
        log_weight_N = chains.log_weights_N[inside] - np.log(len(inside))
        difference_N = (chains.nll_N - b.score(chains.ids_NL))[inside]
        exact_log_z_K = np.array([a.log_partition(temperature) for temperature in chains.temperatures])
        runs.append(
            TemperedRun(
                log_z_error=float(np.abs(chains.log_z_K - exact_log_z_K).max()),
                total=log_sum(log_weight_N) - exact.log_total["a"],
                distance=float(np.abs(_shares(difference_N, log_weight_N, exact.bins) - exact.shares_D).sum() / 2),
                lowest_swap_rate=float(chains.swap_rates.min()),
                unmixed=list(chains.unmixed),
            )
        )
    return runs


def expected_effective_size(nll_N: Floats, high: float) -> float:
    """Effective samples at temperature 1 with the window's upper edge at ``high``: ``2 N h(high)``.

    ``h`` is the density of the NLL, by a Gaussian kernel. Holds where the edge lies inside the sampled range.
    """
    from scipy.stats import gaussian_kde

    return float(2 * len(nll_N) * gaussian_kde(nll_N)(high)[0])


def window_edges(comparison: Comparison) -> list[WindowEdge]:
    """Effective samples of A's direction with the window's upper edge at three quantiles, and what Eq. 5 expects."""
    own_N, edges = comparison.a.own_N, []
    for quantile in (0.25, 0.5, 0.75):
        low, high = np.quantile(own_N, [0.05, quantile])
        inside_N = own_N[(own_N >= low) & (own_N <= high)]
        expected = expected_effective_size(own_N, float(high))
        edges.append(WindowEdge(quantile=quantile, effective=effective_size(inside_N), expected=expected))
    return edges


# Real weights against copies of them, and against another tokenizer.


def trained_on(loaded: LoadedModel, scale: Scale, seed: int) -> LoadedModel:
    """A copy really fine-tuned: some steps of AdamW on the texts of one corpus."""
    needed = scale.finetune_steps * scale.finetune_batch
    rows: list[list[int]] = []
    for text in corpus_texts(CORPUS, seed=seed):
        rows += windows(loaded, text_ids(loaded, text), FINETUNE_TOKENS)
        if len(rows) >= needed:
            break
    return finetuned(
        loaded,
        torch.tensor(rows[:needed]),
        steps=scale.finetune_steps,
        learning_rate=FINETUNE_RATE,
        seed=seed,
        batch_size=scale.finetune_batch,
    )


def _real_config(scale: Scale, seed: int) -> CompareConfig:
    return CompareConfig(samples=scale.real_samples, weighting="profile", replicates=scale.replicates, seed=seed)


def copies(loaded: LoadedModel, changed: LoadedModel, scale: Scale, seed: int, store: Store) -> Lineage:
    """E5: features of noisy, rounded and fine-tuned copies over the model's own inputs."""
    return lineage(
        loaded,
        changed,
        InputSpace(length=scale.real_length),
        _real_config(scale, seed),
        store=lambda name, compute: store(f"copies {name}", compute),
        weights=False,
    )


def both_ways(loaded: LoadedModel, changed: LoadedModel, scale: Scale, seed: int, store: Store) -> BothWays:
    """The model and its fine-tuned copy in both directions: curves, examples, effective samples."""
    comparison = compare(
        loaded,
        changed,
        InputSpace(length=scale.real_length),
        _real_config(scale, seed),
        store=lambda name, compute: store(f"both ways {name}", compute),
    )
    preferred = [example for d in ((-math.inf, 0.0), (0.0, math.inf)) for example in comparison.examples(d, 4)]
    naming = Naming(a="the model", b="its copy", inputs_a="the model's inputs", inputs_b="its copy's inputs")
    return BothWays(curves=curves(comparison, "profile", naming), edges=window_edges(comparison), examples=preferred)


def other_tokenizer(
    loaded: LoadedModel, partner: LoadedModel, scale: Scale, seed: int, store: Store
) -> TextComparison:
    """E6: the model and one with another tokenizer, compared on text."""
    return compare_texts(
        loaded,
        partner,
        length=scale.text_length,
        samples=scale.text_samples,
        batch_size=32,
        seed=seed,
        replicates=scale.replicates,
        store=lambda name, compute: store(f"texts {name}", compute),
    )
