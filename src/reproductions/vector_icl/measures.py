"""From what the stages leave to named measures with intervals. Needs no model.

Resampled are queries (of all seeds together), texts (R1, R9) or episodes (R3); what was measured on the same ones is
compared in pairs.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from armillary.numerics.intervals import Interval, binomial, bootstrap, bootstrap_mean, paired_difference
from reproductions.vector_icl.captions import CaptionRow
from reproductions.vector_icl.carrier import ArmRow, Scores
from reproductions.vector_icl.episodes import SYMBOLS
from reproductions.vector_icl.numbers import NumberRow
from reproductions.vector_icl.setup import NEIGHBOUR, SHUFFLED, SOFT, TEXT, VECTORS
from reproductions.vector_icl.stages import DigitRow, Results, SeriesRow, TopicRow, middle
from reproductions.vector_icl.texts import PAPER, TRUE, WARM, GlossRow, Losses, SignalRow

Array = NDArray[np.float64]
Measures = dict[str, Interval]


def measures(results: Results) -> Measures:
    """Every measure by name; what could not be measured is absent."""
    return {
        **text_measures(results.texts),
        **signal_measures(results.signals),
        **number_measures(results.numbers),
        **caption_measures(results.molecules),
        **few_shot_measures("topics", [results.topics.few_shot]),
        **few_shot_measures("emoji", [results.emoji]),
        **few_shot_measures("graphs", [results.graphs]),
        **few_shot_measures("tables", [results.tables]),
        **few_shot_measures("brain", [results.brain]),
        **_topics(results.topics),
        **_digits(results.digits),
        **_series(results.series),
    }


def few_shot_measures(name: str, rows: Sequence[ArmRow]) -> Measures:
    """Accuracy of every arm at every number of shots, differences to controls, ceilings, lengths of prompts."""
    out = _means(f"{name}/accuracy", [row.scores for row in rows])
    most = rows[0].shots[-1]
    for baseline in (SHUFFLED, TEXT, NEIGHBOUR):
        having = [row for row in rows if str(most) in row.scores.get(baseline, {})]
        if having:
            out[f"{name}/vectors minus {baseline}"] = _paired(having, baseline, most)
    for baseline in rows[0].whole:
        out[f"{name}/accuracy, {baseline}"] = _mean([score for row in rows for score in row.whole[baseline]])
    if TEXT in rows[0].tokens:
        ratios = [row.tokens[TEXT] / row.tokens[VECTORS] for row in rows]
        out[f"{name}/tokens, text over vectors"] = Interval(estimate=float(np.mean(ratios)), how="means of examples")
    return out


def _episodes(name: str, rows: Sequence[ArmRow]) -> Measures:
    """The same over all episodes of all seeds; arms that show text have fewer of them."""
    out = _means(f"{name}/accuracy", [row.scores for row in rows])
    most = rows[0].shots[-1]
    for baseline in (SHUFFLED, NEIGHBOUR, TEXT):
        pairs = [_pair(row.scores, baseline, most) for row in rows if baseline in row.scores]
        if pairs:
            out[f"{name}/vectors minus {baseline}"] = _mean(np.concatenate([ours - theirs for ours, theirs in pairs]))
    out[f"{name}/symbols"] = _mean(_pooled([row.scores for row in rows], SYMBOLS, most))
    chance = float(np.mean([row.chance for row in rows]))
    out[f"{name}/chance"] = Interval(estimate=chance, how="one in the classes")
    return out


def _topics(row: TopicRow) -> Measures:
    few, shots = row.few_shot, middle(row.few_shot.shots)
    out = {
        "topics/tuned minus pretrained": _paired([few], "pretrained", shots),
        "topics/mlp minus linear": _paired([few], "linear", shots, "mlp"),
        "topics/pretrained minus text": _paired([few], TEXT, few.shots[-1], "pretrained"),
    }
    for encoder in row.encoders:
        out[f"encoders/accuracy, {encoder}"] = _mean(row.encoders[encoder])
        out[f"encoders/probe, {encoder}"] = _mean(row.probes[encoder])
    tables = [np.array(list(scores.values())) for scores in (row.encoders, row.probes)]
    out["encoders/rank correlation"] = bootstrap(_rank(*tables), tables[0].shape[1], seed=0)
    return out


def _rank(accuracy: Array, probe: Array) -> Callable[[NDArray[np.int64]], Array]:
    """Spearman's over encoders, of the queries drawn; 0 where all encoders are alike."""
    from scipy.stats import rankdata

    def of_draws(indices_RN: NDArray[np.int64]) -> Array:
        out = []
        for chosen in indices_RN:
            a, b = (rankdata(table[:, chosen].mean(1)) for table in (accuracy, probe))
            spread = a.std() * b.std()
            out.append(((a - a.mean()) * (b - b.mean())).mean() / spread if spread > 0 else 0.0)
        return np.array(out)

    return of_draws


def _digits(row: DigitRow) -> Measures:
    fixed, episodes = row.fixed, row.episodes
    out = few_shot_measures("digits, fixed labels", [fixed]) | _episodes("digits", episodes)
    slopes = [_slope(episode.scores[VECTORS], episode.shots, "queries") for episode in episodes]
    out |= {f"digits/slope in shots, seed {number}": slope for number, slope in enumerate(slopes)}
    out["digits/slope in shots, least of the seeds"] = min(slopes, key=lambda slope: slope.lower)
    # Of what is possible above chance: episodes have fewer classes.
    gains = [_gain_over_shuffled(episode) for episode in episodes]
    out["digits/gain over shuffled, episodic minus fixed"] = _unpaired(
        np.concatenate(gains), _gain_over_shuffled(fixed)
    )
    return out


def _gain_over_shuffled(row: ArmRow) -> Array:
    ours, theirs = _pair(row.scores, SHUFFLED, row.shots[-1])
    return (ours - theirs) / (1 - row.chance)


def _series(row: SeriesRow) -> Measures:
    out = few_shot_measures("series", row.fixed)
    for name in dict.fromkeys(fixed.task for fixed in row.fixed):
        out |= few_shot_measures(f"series, {name}", [fixed for fixed in row.fixed if fixed.task == name])
    return out | {f"{name}, episodes": value for name, value in _episodes("series", row.episodes).items()}


def text_measures(row: GlossRow) -> Measures:
    """R1."""
    out, nll = {}, row.nll
    for start in (PAPER, WARM):
        out[f"texts/shuffled minus true, {start}"] = _gap(nll[start])
        out[f"texts/soft prompt minus true, {start}"] = _difference(nll[SOFT][TRUE], nll[start][TRUE], "texts")
        out[f"texts/shuffled minus true, untrained {start}"] = _gap(nll[f"untrained {start}"])
        out[f"texts/shuffled minus true, {start}, behind pairs"] = _gap(row.packed[start])
    out["texts/none minus true, warm start"] = _difference(row.none, nll[WARM][TRUE], "texts")
    for name, losses in nll.items():
        out |= {f"texts/loss, {name}, {slot} box": _mean(values, "texts") for slot, values in losses.items()}
    out["texts/loss, no box"] = _mean(row.none, "texts")
    out |= {f"texts/token F1, {slot} box": _mean(scores, "texts") for slot, scores in row.f1.items()}
    return out


def signal_measures(row: SignalRow) -> Measures:
    """R9."""
    out = {}
    for snr, signals in row.snr.items():
        out[f"signals/gap at SNR {snr}"] = _gap(signals.nll)
        out[f"signals/decoder top-1 at SNR {snr}"] = _mean(signals.top1, "texts")
    return out


def number_measures(row: NumberRow) -> Measures:
    """R3. The sign of the worst slope is turned, so that above 0 is better."""
    errors = [seed.errors for seed in row.seeds]
    out = _means("numbers/error", errors, "episodes")
    for arm in errors[0]:
        missing = sum(seed.missing[arm] for seed in row.seeds)
        out[f"numbers/missing, {arm}"] = binomial(missing, sum(seed.answers[arm] for seed in row.seeds))
    for shots in row.shots:
        ours = _pooled(errors, VECTORS, shots)
        for baseline in (TEXT, SHUFFLED):
            theirs = _pooled(errors, baseline, shots)
            out[f"numbers/{baseline} minus vectors at {shots}"] = _difference(theirs, ours, "episodes")
    slopes = [_slope(of[VECTORS], row.shots, "episodes") for of in errors]
    out |= {f"numbers/slope of error, seed {number}": slope for number, slope in enumerate(slopes)}
    worst = max(slopes, key=lambda slope: slope.upper)
    out["numbers/slope of error, worst of the seeds"] = Interval(
        estimate=-worst.estimate, low=-worst.upper, high=-worst.lower, n=worst.n, level=worst.level, how=worst.how
    )
    return out


def caption_measures(row: CaptionRow) -> Measures:
    """R6. The claims read the difference to text with the most shots."""
    out = _means("molecules/F1", [row.f1]) | _means("molecules/word F1", [row.words])
    for name, baseline in (("vectors minus text", TEXT), ("shuffled below vectors", SHUFFLED)):
        for shots in row.f1[baseline]:
            out[f"molecules/{name} at {shots}"] = _difference(*_pair(row.f1, baseline, shots), "queries")
    out["molecules/vectors minus text"] = out[f"molecules/vectors minus text at {row.shots[-1]}"]
    ratio = row.tokens[TEXT] / row.tokens[VECTORS]
    out["molecules/tokens, text over vectors"] = Interval(estimate=ratio, how="means of training molecules")
    return out


def _means(name: str, rows: Sequence[Scores], things: str = "queries") -> Measures:
    """Of every arm at every number of shots, over the rows that have it."""
    cells = dict.fromkeys((shots, arm) for row in rows for arm in row for shots in row[arm])
    return {f"{name} at {shots}, {arm}": _mean(_pooled(rows, arm, shots), things) for shots, arm in cells}


def _pooled(rows: Sequence[Scores], arm: str, shots: int | str) -> Array:
    """Over rows that have the arm with so many shots."""
    return np.concatenate(
        [np.array(row[arm][str(shots)], dtype=float) for row in rows if str(shots) in row.get(arm, {})]
    )


def _pair(row: Scores, baseline: str, shots: int | str, arm: str = VECTORS) -> tuple[Array, Array]:
    """Scores of the arm and of the baseline, of the queries that both were asked."""
    theirs = np.array(row[baseline][str(shots)], dtype=float)
    return np.array(row[arm][str(shots)], dtype=float)[: len(theirs)], theirs


def _paired(rows: Sequence[ArmRow], baseline: str, shots: int, arm: str = VECTORS) -> Interval:
    pairs = [_pair(row.scores, baseline, shots, arm) for row in rows]
    ours, theirs = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return paired_difference(ours, theirs, seed=0)


def _slope(by_shots: Mapping[str, Sequence[float]], shots: Sequence[int], things: str) -> Interval:
    """Of the mean score in log2 of the shots; the same queries or episodes stand at every number of shots."""
    x = np.log2(np.array(shots, dtype=float))
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    table = np.stack([np.array(by_shots[str(k)], dtype=float) for k in shots], axis=1)
    return _mean(table @ weights, things)


def _unpaired(a: Array, b: Array) -> Interval:
    """Difference of two means, each resampled by itself."""
    generator = np.random.default_rng(0)
    draws = [generator.choice(a, len(a)).mean() - generator.choice(b, len(b)).mean() for _ in range(2000)]
    low, high = np.quantile(draws, (0.025, 0.975))
    return Interval(
        estimate=float(a.mean() - b.mean()),
        low=float(low),
        high=float(high),
        n=len(a) + len(b),
        how="bootstrap of two means",
    )


def _gap(losses: Losses) -> Interval:
    return _difference(losses[SHUFFLED], losses[TRUE], "texts")


def _difference(a: Sequence[float] | Array, b: Sequence[float] | Array, things: str) -> Interval:
    return paired_difference(a, b, seed=0, how=f"paired bootstrap over {len(a):,} {things}")


def _mean(values: Sequence[float] | Array, things: str = "queries") -> Interval:
    return bootstrap_mean(values, seed=0, how=f"percentile bootstrap over {len(values):,} {things}")
