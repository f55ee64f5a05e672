"""From what the stages leave to named measures with intervals. Needs no model.

Where a row has a projector of each seed, with its own draws, a value of each seed is one thing and the interval is
Student's over these; in R1 texts are resampled and in R3 functions. Arms of a seed were asked the same queries.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from armillary.numerics.intervals import Interval, across_seeds, binomial, bootstrap_mean, paired_difference
from reproductions.vector_icl import captions
from reproductions.vector_icl.captions import CaptionRow
from reproductions.vector_icl.carrier import ArmRow
from reproductions.vector_icl.episodes import NAMES, NAMES_SHUFFLED
from reproductions.vector_icl.few_shot import LOGISTIC_OF_ALL, TUNED_TEXT
from reproductions.vector_icl.numbers import MEAN, NumberRow
from reproductions.vector_icl.setup import NEIGHBOUR, RANDOM, SHUFFLED, SOFT, TEXT, VECTORS
from reproductions.vector_icl.stages import GATED, LINEAR, PRETRAINED, Results, TopicRow, middle
from reproductions.vector_icl.texts import PAPER, TRUE, WARM, GlossRow, Losses

Array = NDArray[np.float64]
Measures = dict[str, Interval]

UNCALIBRATED = ", uncalibrated"


def measures(results: Results) -> Measures:
    """Every measure by name; what could not be measured is absent."""
    return {
        **text_measures(results.texts),
        **number_measures(results.numbers),
        **class_measures("digits", results.digits),
        **_digits(results.digits),
        **series_measures(results.series),
        **class_measures("topics", results.topics.best),
        **_topics(results.topics),
        **class_measures("graphs", results.graphs),
        **caption_measures(results.molecules),
    }


def class_measures(name: str, rows: Sequence[ArmRow]) -> Measures:
    """Balanced accuracy of every arm at every number of shots, calibrated and as it is, what vectors have over
    controls at the most shots, ceilings, and whether the training had ended."""
    first, most = rows[0], rows[0].shots[-1]
    out = {}
    for suffix, table in (("", "scores"), (UNCALIBRATED, "raw")):
        for arm, by_shots in getattr(first, table).items():
            for shots in by_shots:
                values = [_mean_of(getattr(row, table)[arm][shots]) for row in rows]
                out[f"{name}/accuracy at {shots}, {arm}{suffix}"] = across_seeds(values, within=(0, 1))
    for arm in first.whole:
        out[f"{name}/accuracy, {arm}"] = across_seeds([_mean_of(row.whole[arm]) for row in rows], within=(0, 1))
    for baseline in (SHUFFLED, RANDOM, TEXT, NEIGHBOUR):
        if str(most) in first.scores.get(baseline, {}):
            out[f"{name}/vectors minus {baseline}"] = _gain(rows, most, baseline)
    chance = first.chance
    for arm in [arm for arm in (VECTORS, NAMES) if str(most) in first.scores.get(arm, {})]:
        values = [_mean_of(row.scores[arm][str(most)]) - chance for row in rows]
        out[f"{name}/{arm} minus chance"] = across_seeds(values)
    if LOGISTIC_OF_ALL in first.whole:
        values = [_mean_of(row.whole[LOGISTIC_OF_ALL]) - chance for row in rows]
        out[f"{name}/{LOGISTIC_OF_ALL} minus chance"] = across_seeds(values)
    out[f"{name}/chance"] = Interval(estimate=chance, how="one in the classes")
    out[f"{name}/loss still falling"] = still_falling([row.losses for row in rows])
    return out


def still_falling(curves: Sequence[Sequence[float]]) -> Interval:
    """Mean loss of the third quarter of the steps less that of the last, nats a token: about 0 once learning ended.

    Batches of all trainings are resampled: they are what was drawn for a loss.
    """
    halves = [np.array_split(np.array(losses[len(losses) // 2 :], dtype=float), 2) for losses in curves]
    third, last = (np.concatenate(parts) for parts in zip(*halves, strict=True))
    generator = np.random.default_rng(0)
    means = np.array([[generator.choice(part, len(part)).mean() for part in (third, last)] for _ in range(2000)])
    low, high = np.quantile(means[:, 0] - means[:, 1], (0.025, 0.975))
    how = f"bootstrap over {len(third)} and {len(last)} steps"
    estimate = float(third.mean() - last.mean())
    return Interval(estimate=estimate, low=float(low), high=float(high), n=len(third) + len(last), how=how)


def _gain(rows: Sequence[ArmRow], shots: int, baseline: str, arm: str = VECTORS) -> Interval:
    """Over seeds; in each the arm and the baseline were asked the same queries."""
    return across_seeds(
        [_mean_of(row.scores[arm][str(shots)]) - _mean_of(row.scores[baseline][str(shots)]) for row in rows]
    )


def _digits(rows: Sequence[ArmRow]) -> Measures:
    most = rows[0].shots[-1]
    weights = _slope_weights(rows[0].shots)
    slopes = {
        arm: [float(weights @ [_mean_of(row.scores[arm][str(k)]) for k in row.shots]) for row in rows]
        for arm in (VECTORS, SHUFFLED)
    }
    episodic = [_share(row, VECTORS, SHUFFLED, most) for row in rows]
    fixed = [_share(row, NAMES, NAMES_SHUFFLED, most) for row in rows]
    return {
        "digits/slope in shots": across_seeds(slopes[VECTORS]),
        "digits/slope in shots, shuffled labels": across_seeds(slopes[SHUFFLED]),
        "digits/fixed names minus shuffled": _gain(rows, most, NAMES_SHUFFLED, NAMES),
        "digits/gain over shuffled, episodic minus fixed": across_seeds(np.subtract(episodic, fixed)),
    }


def _share(row: ArmRow, arm: str, shuffled: str, shots: int) -> float:
    """What right labels gain over shuffled ones, of what the arm has above chance (at least a tenth)."""
    own, mixed = (_mean_of(row.scores[name][str(shots)]) for name in (arm, shuffled))
    return (own - mixed) / max(own - row.chance, 0.1)


def series_measures(rows: Sequence[ArmRow]) -> Measures:
    """R5: each set, and of each seed the mean over the sets."""
    out: Measures = {}
    names = list(dict.fromkeys(row.task for row in rows))
    seeds = [rows[start : start + len(names)] for start in range(0, len(rows), len(names))]
    for index, name in enumerate(names):
        out |= class_measures(f"series, {name}", [of_seed[index] for of_seed in seeds])
    most = str(rows[0].shots[-1])

    accuracy: dict[str, Array] = {}
    for arm in (VECTORS, TEXT, SHUFFLED, RANDOM, NEIGHBOUR, TUNED_TEXT, LOGISTIC_OF_ALL):
        of_rows = [[_mean_of(row.whole.get(arm) or row.scores[arm][most]) for row in of_seed] for of_seed in seeds]
        accuracy[arm] = np.mean(of_rows, axis=1)
        out[f"series/accuracy at {most}, {arm}"] = across_seeds(accuracy[arm], within=(0, 1))
    chance = _mean_of([row.chance for row in seeds[0]])
    out["series/vectors minus chance"] = across_seeds(accuracy[VECTORS] - chance)
    for baseline in (TEXT, SHUFFLED, RANDOM, NEIGHBOUR):
        out[f"series/vectors minus {baseline}"] = across_seeds(accuracy[VECTORS] - accuracy[baseline])
    out["series/tuned vectors minus tuned text"] = across_seeds(accuracy[VECTORS] - accuracy[TUNED_TEXT])
    out["series/loss still falling"] = still_falling([of_seed[0].losses for of_seed in seeds])
    ratio = _mean_of([row.tokens[TEXT] / row.tokens[VECTORS] for row in seeds[0]])
    return out | {"series/tokens, text over vectors": Interval(estimate=ratio, how="means of examples")}


def _topics(row: TopicRow) -> Measures:
    best, worst = row.best, row.worst
    few, most = middle(best[0].shots), best[0].shots[-1]
    gains = [
        _mean_of(a.scores[LINEAR][str(few)]) - _mean_of(b.scores[VECTORS][str(few)])
        for a, b in zip(best, worst, strict=True)
    ]
    probes = [
        _mean_of(a.whole[LOGISTIC_OF_ALL]) - _mean_of(b.whole[LOGISTIC_OF_ALL])
        for a, b in zip(best, worst, strict=True)
    ]
    linear = [_mean_of(a.scores[LINEAR][str(few)]) - a.chance for a in best]
    better = [max(_mean_of(a.scores[arm][str(most)]) for arm in (PRETRAINED, TEXT)) - a.chance for a in best]
    return {
        "topics/tuned minus pretrained": _gain(best, few, PRETRAINED),
        "topics/linear minus chance": across_seeds(linear),
        "topics/better of pretrained and text minus chance": across_seeds(better),
        "topics/mlp minus linear": _gain(best, few, LINEAR, GATED),
        "topics/pretrained minus text": _gain(best, most, TEXT, PRETRAINED),
        "encoders/better minus worse": across_seeds(gains),
        "encoders/better minus worse, probes": across_seeds(probes),
    }


def text_measures(row: GlossRow) -> Measures:
    """R1."""
    out, nll = {}, row.nll
    for start in (PAPER, WARM):
        before = nll[f"untrained {start}"]
        out[f"texts/shuffled minus true, {start}"] = _gap(nll[start])
        out[f"texts/soft prompt minus true, {start}"] = _difference(nll[SOFT][TRUE], nll[start][TRUE])
        out[f"texts/shuffled minus true, untrained {start}"] = _gap(before)
        out[f"texts/untrained minus trained, {start}"] = _difference(before[TRUE], nll[start][TRUE])
        out[f"texts/loss still falling, {start}"] = still_falling([row.losses[start]])
    for name, losses in nll.items():
        out |= {f"texts/loss, {name}, {slot} box": _mean(values) for slot, values in losses.items()}
    return out | {
        "texts/loss, no box": _mean(row.none),
        f"texts/loss still falling, {SOFT}": still_falling([row.losses[SOFT]]),
    }


def number_measures(row: NumberRow) -> Measures:
    """R3, over the episodes of all seeds, each of which has a function of its own. The sign of a slope is turned, so
    that above 0 is better."""
    out, most = {}, str(row.shots[-1])
    pooled = {
        arm: {k: np.concatenate([np.array(seed.errors[arm][k], dtype=float) for seed in row.seeds]) for k in by_shots}
        for arm, by_shots in row.seeds[0].errors.items()
    }
    for arm, by_shots in pooled.items():
        missing = sum(seed.missing[arm] for seed in row.seeds)
        out[f"numbers/missing, {arm}"] = binomial(missing, sum(seed.answers[arm] for seed in row.seeds))
        out |= {f"numbers/error at {k}, {arm}": _mean(errors, "functions") for k, errors in by_shots.items()}
    own, text, mean = (pooled[arm][most] for arm in (VECTORS, TEXT, MEAN))
    better = own if own.mean() < text.mean() else text
    for baseline in (TEXT, SHUFFLED, RANDOM, MEAN, NEIGHBOUR):
        out[f"numbers/{baseline} minus vectors at {most}"] = _difference(pooled[baseline][most], own, "functions")
    out[f"numbers/mean minus text at {most}"] = _difference(mean, text, "functions")
    out[f"numbers/mean minus better of vectors and text at {most}"] = _difference(mean, better, "functions")
    table = np.stack([pooled[VECTORS][str(k)] for k in row.shots], axis=1)
    out["numbers/slope of error"] = _mean(-table @ _slope_weights(row.shots), "functions")
    out["numbers/loss still falling"] = still_falling([seed.losses for seed in row.seeds])
    return out


def caption_measures(rows: Sequence[CaptionRow]) -> Measures:
    """R6. Differences are those with the most shots."""
    out, most = {}, str(rows[0].shots[-1])
    for arm, by_shots in rows[0].f1.items():
        for shots in by_shots:
            values = [_mean_of(row.f1[arm][shots]) for row in rows]
            out[f"molecules/F1 at {shots}, {arm}"] = across_seeds(values, within=(0, 1))
    pairs = {f"vectors minus {arm}": (arm, most) for arm in (TEXT, SHUFFLED, RANDOM)}
    pairs |= {
        "tuned vectors minus tuned text": (captions.TUNED_TEXT, "0"),
        f"vectors minus {captions.FREQUENT}": (captions.FREQUENT, "0"),
    }
    for name, (arm, shots) in pairs.items():
        values = [_mean_of(row.f1[VECTORS][most]) - _mean_of(row.f1[arm][shots]) for row in rows]
        out[f"molecules/{name}"] = across_seeds(values)
    out["molecules/loss still falling"] = still_falling([row.losses for row in rows])
    ratio = rows[0].tokens[TEXT] / rows[0].tokens[VECTORS]
    out["molecules/tokens, text over vectors"] = Interval(estimate=ratio, how="means of training molecules")
    return out


def _slope_weights(shots: Sequence[int]) -> Array:
    """Whose sum with the mean scores is their slope in log2 of the shots."""
    x = np.log2(np.array(shots, dtype=float))
    weights: Array = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    return weights


def _mean_of(values: Sequence[float]) -> float:
    return float(np.mean(np.array(values, dtype=float)))


def _gap(losses: Losses) -> Interval:
    return _difference(losses[SHUFFLED], losses[TRUE])


def _difference(a: Sequence[float] | Array, b: Sequence[float] | Array, things: str = "texts") -> Interval:
    return paired_difference(a, b, seed=0, how=f"paired bootstrap over {len(a):,} {things}")


def _mean(values: Sequence[float] | Array, things: str = "texts") -> Interval:
    return bootstrap_mean(values, seed=0, how=f"percentile bootstrap over {len(values):,} {things}")
