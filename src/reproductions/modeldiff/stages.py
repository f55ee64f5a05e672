"""Stages of the Model-diff reproduction with a known answer: tables (E1), parallel tempering (E2), grids (E3).

Legend: N sequences, D bins of the difference.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from armillary.data.texts.corpora import texts
from armillary.errors import NumericError
from armillary.methods.modeldiff import CompareConfig, Comparison, Direction, InputSpace, compare
from armillary.methods.modeldiff.ancestry import lineage
from armillary.methods.modeldiff.config import Bounds
from armillary.methods.modeldiff.core import effective_size, expected_effective_size, log_sum
from armillary.methods.modeldiff.curves import Bins
from armillary.methods.modeldiff.derivations import finetuned, known_derivations
from armillary.methods.modeldiff.draws import Floats
from armillary.methods.modeldiff.tempering import parallel_tempering
from armillary.methods.modeldiff.text_mode import compare_texts
from armillary.models import LoadedModel
from reproductions.modeldiff.known_models import GridModel, KnownPair, TableModel, TemperedTable, known_grid
from reproductions.modeldiff.scale import Scale
from reproductions.modeldiff.zoo import Keep, curves, effective

Found = dict[str, Any]
VOCABULARY, LENGTH = 6, 7
LEAST_SHARE = 0.02
"""Bins that hold less of the exact count are left out of the coverage: too few samples fall there."""

HOT = 1.6
"""Temperature at which wrong weights are shown."""


def tables(pair: str, seed: int) -> tuple[TableModel, TableModel]:
    """A and B of a pair: "perturbed" (B is A with noise on its logits) or "independent"."""
    a = TableModel.random(VOCABULARY, LENGTH, seed=seed)
    if pair == "perturbed":
        return a, a.perturbed(0.5, seed=seed + 1)
    return a, TableModel.random(VOCABULARY, LENGTH, seed=seed + 2)


def exact_windows(known: KnownPair) -> dict[str, Bounds]:
    """The 5 % quantile and the median of each model's own NLL at temperature 1, by enumeration."""
    found = {}
    for side, nll_N in (("a", known.nll_a_P), ("b", known.nll_b_P)):
        order = np.argsort(nll_N)
        mass = np.cumsum(np.exp(-nll_N[order] + known.log_count_P[order]))
        low, high = (float(nll_N[order][np.searchsorted(mass, level * mass[-1])]) for level in (0.05, 0.5))
        # A hair outside, so that rounding of a sum can't put a point on the edge out of the window.
        found[side] = (low - 1e-9, high + 1e-9)
    return found


def enumerated(pair: str, scale: Scale, seed: int) -> Found:
    """E1: repeated estimates of one pair of tables beside the exact counts."""
    a, b = tables(pair, seed)
    known = KnownPair.of_tables(a, b)
    windows = exact_windows(known)
    space = InputSpace(length=LENGTH, window=windows)
    return {"windows": windows, **_repeated(a, b, known, space, scale.repeats, scale.table_samples, scale, seed)}


def gridded(kind: str, scale: Scale, seed: int) -> Found:
    """E3: independent tokens of length 64 (U3), or a first-order Markov model (U4), whose counts are exact."""
    a = (
        GridModel.independent(50, 64, seed=seed)
        if kind == "independent tokens"
        else GridModel.markov(8, 24, seed=seed)
    )
    b = a.perturbed(3 if kind == "independent tokens" else 1, seed=seed + 1)
    known = known_grid(a, b)
    windows = exact_windows(known)
    found = _repeated(
        a, b, known, InputSpace(length=a.length, window=windows), scale.grid_repeats, scale.grid_samples, scale, seed
    )
    high = windows["a"][1]
    inside = known.log_size("a", windows["a"])
    found["top nat"] = math.exp(known.log_size("a", (max(windows["a"][0], high - 1), high)) - inside)
    return found


def _repeated(
    a: Any, b: Any, known: KnownPair, space: InputSpace, repeats: int, samples: int, scale: Scale, seed: int
) -> Found:
    config = CompareConfig(samples=samples, replicates=scale.replicates, bin_width=0.1, block=samples)
    windows = space.bounds()
    exact = {"a": known.log_size("a", windows["a"]), "b": known.log_size("b", windows["b"])}
    exact_overlap = known.log_overlap(windows["a"], windows["b"])
    rows, shares, raw = [], [], []
    bins = exact_bins(known, windows["a"])
    exact_D = _exact_share(known, "a", bins, windows)
    for repeat in range(repeats):
        seeds = np.random.SeedSequence([seed, repeat]).generate_state(2).tolist()
        result = compare(a, b, space, config, seeds={"a": seeds[0], "b": seeds[1]})
        covered, weighted, plain = _bins(result, known, windows, bins, exact_D)
        shares.append(weighted)
        raw.append(plain)
        low, high = windows["a"]
        rows.append(
            {
                "covered": covered,
                "total": {side: result.log_total[side].estimate - exact[side] for side in ("a", "b")},
                "overlap": {side: result.log_overlap[side].estimate - exact_overlap for side in ("a", "b")},
                "total covered": [
                    result.log_total[side].lower <= exact[side] <= result.log_total[side].upper for side in ("a", "b")
                ],
                "ess": result.reliability["a"].effective,
                "expected ess": expected_effective_size(result.a.own_N, high),
                "exact ess": samples * known.effective_share("a", (low, high)),
            }
        )
    return {
        "repeats": rows,
        "samples": samples,
        "exact": {**exact, "overlap": exact_overlap},
        "shares": {"exact": exact_D, "weighted": shares, "raw": raw},
        "centres": bins.centres_D,
    }


def exact_bins(known: KnownPair, window: Bounds) -> Bins:
    """Ten bins on each side of 0, as far out as all but a thousandth of A's plausible inputs go."""
    inside = (known.nll_a_P >= window[0]) & (known.nll_a_P <= window[1])
    far_P = np.abs(known.nll_a_P - known.nll_b_P)[inside]
    log_P = known.log_count_P[inside]
    order = np.argsort(far_P)
    share = np.cumsum(np.exp(log_P[order] - log_sum(log_P)))
    # Off the round numbers, so that no point of a grid lies on an edge.
    return Bins(width=float(far_P[order][np.searchsorted(share, 0.999)]) / 10.1, half=10)


def _bins(
    result: Comparison, known: KnownPair, windows: dict[str, Bounds], bins: Bins, exact_D: Floats
) -> tuple[list[bool], Floats, Floats]:
    """Whether each well-filled bin of A's direction covers the exact count; weighted and raw shares."""
    table = replace(result.tables[0], bins=bins)
    value_D, value_RD = table.count()
    log_exact_D = np.log(np.maximum(exact_D, 1e-300)) + known.log_size("a", windows["a"]) - table.log_scale
    low_D, high_D = np.quantile(value_RD, [0.025, 0.975], axis=0)
    filled = np.flatnonzero(exact_D >= LEAST_SHARE)
    scaled = np.exp(log_exact_D)
    covered = [bool(low_D[k] <= scaled[k] <= high_D[k]) for k in filled]
    inside = result.a.inside_N
    plain_D = np.bincount(bins.index(result.a.difference_N[inside]), minlength=2 * bins.half + 1) / inside.sum()
    return covered, value_D / value_D.sum(), plain_D


def _exact_share(known: KnownPair, side: Any, bins: Bins, windows: dict[str, Bounds]) -> Floats:
    inner = bins.width * (np.arange(-bins.half, bins.half) + 0.5)
    log_D = known.log_histogram(side, inner, windows[side])
    return np.exp(log_D - log_sum(log_D))


def distance(one: Floats, other: Floats) -> float:
    """Total variation between two histograms."""
    return float(np.abs(one - other).sum() / 2)


def wrong_weights(scale: Scale, seed: int) -> Found:
    """Claim 8: tables sampled token by token at T = 1.6, weighed rightly and by ``exp(z / T)``."""
    a, b = tables("perturbed", seed)
    known = KnownPair.of_tables(a, b)
    windows = exact_windows(known)
    hot = TableModel(a.logits, a.length, (HOT,))
    bins = exact_bins(known, windows["a"])
    exact_D = _exact_share(known, "a", bins, windows)
    exact_total = known.log_size("a", windows["a"])
    rows: dict[str, list[Any]] = {"right": [], "wrong": [], "right shape": [], "wrong shape": []}
    for repeat in range(scale.repeats):
        draws = hot.sample(scale.table_samples, seed=int(np.random.SeedSequence([seed, repeat]).generate_state(1)[0]))
        own_N, other_N = a.score(draws.ids_NL), b.score(draws.ids_NL)
        right = Direction.from_draws(
            draws, side="a", window=windows["a"], other_window=windows["b"], own_N=own_N, other_N=other_N
        )
        index_N, inside = bins.index(right.difference_N), right.inside_N
        for name, log_weight_N in (("right", right.log_weight_N), ("wrong", own_N / HOT - np.log(len(own_N)))):
            kept = log_weight_N[inside]
            rows[name].append(log_sum(kept) - exact_total)
            sums_D = np.bincount(index_N[inside], np.exp(kept - kept.max()), minlength=2 * bins.half + 1)
            rows[f"{name} shape"].append(sums_D / sums_D.sum())
    return {
        "right": rows["right"],
        "wrong": rows["wrong"],
        "shares": {"exact": exact_D, "right": rows["right shape"], "wrong": rows["wrong shape"]},
    }


def tempered(scale: Scale, seed: int) -> Found:
    """E2: parallel tempering with reweighting on the perturbed pair, beside the exact counts."""
    a, b = tables("perturbed", seed)
    known = KnownPair.of_tables(a, b)
    windows = exact_windows(known)
    exact_total = known.log_size("a", windows["a"])
    bins = exact_bins(known, windows["a"])
    exact_D = _exact_share(known, "a", bins, windows)
    rows: list[Found] = []
    for offset in range(scale.tempering_seeds):
        try:
            chains = parallel_tempering(
                TemperedTable(a),
                length=LENGTH,
                chains=scale.chains,
                sweeps=scale.sweeps,
                burn_in=scale.sweeps // 4,
                seed=seed + offset,
                allow_unmixed=True,
            )
        except NumericError as error:
            rows.append({"error": str(error)})
            continue
        inside = (chains.nll_N >= windows["a"][0]) & (chains.nll_N <= windows["a"][1])
        kept = chains.log_weights_N[inside] - np.log(len(inside))
        difference_N = chains.nll_N - b.score(chains.ids_NL)
        sums_D = np.bincount(bins.index(difference_N[inside]), np.exp(kept - kept.max()), minlength=2 * bins.half + 1)
        rows.append(
            {
                "log z": [
                    float(found - a.log_partition(value))
                    for found, value in zip(chains.log_z_K, chains.temperatures, strict=True)
                ],
                "total": log_sum(kept) - exact_total,
                "distance": distance(sums_D / sums_D.sum(), exact_D),
                "ess": effective_size(kept),
                "swap rates": chains.swap_rates,
                "round trips": chains.round_trips,
                "r hat": chains.r_hat_K,
                "unmixed": list(chains.unmixed),
            }
        )
    return {"seeds": rows, "temperatures": [1.0, 1.5, 2.0, 3.0]}


# Stages E5 and E6 of the Model-diff reproduction: real weights against copies, and against another tokenizer.

FINETUNE_TOKENS = 64
FINETUNE_RATE = 2e-5
CORPUS = "python-reference"


def trained_on(loaded: LoadedModel, scale: Scale, seed: int) -> LoadedModel:
    """A copy really fine-tuned: some steps of AdamW on the texts of one corpus."""
    needed = scale.finetune_steps * scale.finetune_batch
    rows: list[list[int]] = []
    for text in texts(CORPUS, seed=seed):
        ids = loaded.tokenizer(text)["input_ids"]
        rows += [
            ids[start : start + FINETUNE_TOKENS] for start in range(0, len(ids) - FINETUNE_TOKENS, FINETUNE_TOKENS)
        ]
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


def copies(loaded: LoadedModel, changed: LoadedModel, scale: Scale, seed: int, keep: Keep) -> Found:
    """E5: features of noisy, rounded and fine-tuned copies over the model's own inputs."""
    found = lineage(
        loaded,
        changed,
        InputSpace(length=scale.real_length),
        CompareConfig(samples=scale.real_samples, weighting="profile", replicates=scale.replicates, seed=seed),
        derivations=known_derivations(),
        store=lambda name, make: keep(f"copies {name}", make),
    )
    return {
        one.name: {
            "kind": one.kind,
            "mean": one.spread.mean.to_dict(),
            "deviation": one.spread.deviation.to_dict(),
            "overlap": one.spread.overlap.to_dict(),
        }
        for one in found.relatives
    }


def both_ways(loaded: LoadedModel, changed: LoadedModel, scale: Scale, seed: int, keep: Keep) -> Found:
    """The model and its fine-tuned copy in both directions: curves, examples, effective samples."""
    result = compare(
        loaded,
        changed,
        InputSpace(length=scale.real_length),
        CompareConfig(samples=scale.real_samples, weighting="profile", replicates=scale.replicates, seed=seed),
        store=lambda name, make: keep(f"both ways {name}", make),
    )
    far = float("inf")
    return {
        "curves": curves(result),
        "effective": effective(result),
        "reliability": {side: one.sentence() for side, one in result.reliability.items()},
        "profile ess": result.ess,
        "identities": result.identities(),
        "examples": [
            {"text": one.text, "difference": one.difference, "from": one.drawn_from}
            for d in ((-far, 0.0), (0.0, far))
            for one in result.examples(d, 4)
        ],
    }


def other_tokenizer(loaded: LoadedModel, partner: LoadedModel, scale: Scale, seed: int, keep: Keep) -> Found:
    """E6: the model and one with another tokenizer, compared on text."""
    return compare_texts(
        loaded,
        partner,
        length=scale.text_length,
        samples=scale.text_samples,
        batch_size=32,
        seed=seed,
        replicates=scale.replicates,
        store=lambda name, make: keep(f"texts {name}", make),
    ).to_dict()
