"""From the plain data of the classification rows to named measures with intervals. Needs no model.

Arms of one query are compared in pairs; where a row has several seeds, all their queries are resampled together.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.numerics.intervals import Interval, binomial, bootstrap, bootstrap_mean, paired_difference
from reproductions.vector_icl.scale import SNRS

Found = dict[str, Any]
Array = NDArray[np.float64]
VECTORS, SHUFFLED, TEXT, NEIGHBOUR, SYMBOLS = "vectors", "shuffled", "text", "1-NN", "symbols"
PLAIN = ("topics", "emoji", "graphs", "tables", "brain")


def measures(found: Found, text_measures: dict[str, Interval]) -> dict[str, Interval]:
    """Every measure by name; what could not be measured is absent. ``text_measures`` are those of the other rows."""
    out = dict(text_measures)
    gains = [name for name in out if name.startswith("molecules/vectors minus text at ")]
    if gains:  # the claims read the one with the most shots
        out["molecules/vectors minus text"] = out[max(gains, key=lambda name: int(name.rsplit(" ", 1)[1]))]
    for name in PLAIN:
        out |= plain_measures(name, [found[name]])
    out |= _topics(found["topics"]) | _digits(found["digits"]) | _series(found["series"])
    out |= _worst_slope(out)
    return out


def right(row: Found, arm: str, shots: int | str) -> Array:
    """1 for each query that the arm answered rightly, else 0."""
    predicted = row["arms"][arm][str(shots)]
    found: Array = (np.array(predicted) == np.array(row["truth"][: len(predicted)])).astype(np.float64)
    return found


def pooled(rows: Sequence[Found], arm: str, shots: int | str) -> Array:
    """Over rows that have the arm with so many shots."""
    return np.concatenate([right(row, arm, shots) for row in rows if str(shots) in row["arms"].get(arm, {})])


def plain_measures(name: str, rows: Sequence[Found]) -> dict[str, Interval]:
    """Accuracy of every arm at every number of shots, differences to controls, ceilings, lengths of prompts."""
    out = {}
    for arm in dict.fromkeys(arm for row in rows for arm in row["arms"]):
        for shots in dict.fromkeys(k for row in rows for k in row["arms"].get(arm, {})):
            out[f"{name}/accuracy at {shots}, {arm}"] = _mean(pooled(rows, arm, shots))
    most = rows[0]["shots"][-1]
    for rival, told in ((SHUFFLED, "shuffled"), (TEXT, "text"), (NEIGHBOUR, "1-NN")):
        having = [row for row in rows if str(most) in row["arms"].get(rival, {})]
        if having:
            out[f"{name}/vectors minus {told}"] = _difference(having, rival, most)
    truth = [(row["truth"], row["words"], row["majority"], row["whole"]) for row in rows]
    majority = [float(words[answer] == usual) for answers, words, usual, _ in truth for answer in answers]
    whole = [
        float(a == b) for answers, _, _, all_data in truth for a, b in zip(answers, *all_data.values(), strict=True)
    ]
    out[f"{name}/accuracy, most frequent class"] = _mean(majority)
    out[f"{name}/accuracy, logistic regression on all"] = _mean(whole)
    if TEXT in rows[0]["tokens"]:
        ratios = [row["tokens"][TEXT] / row["tokens"][VECTORS] for row in rows]
        out[f"{name}/tokens, text over vectors"] = Interval(estimate=float(np.mean(ratios)), how="means of examples")
    return out


def _difference(rows: Sequence[Found], rival: str, shots: int | str, arm: str = VECTORS) -> Interval:
    ours, theirs = [], []
    for row in rows:
        other = right(row, rival, shots)
        ours.append(right(row, arm, shots)[: len(other)])
        theirs.append(other)
    return paired_difference(np.concatenate(ours), np.concatenate(theirs), seed=0)


def _mean(values: Array | Sequence[float]) -> Interval:
    return bootstrap_mean(values, seed=0, how=f"percentile bootstrap over {len(values):,} queries")


def _topics(row: Found) -> dict[str, Interval]:
    shots = 4 if 4 in row["shots"] else row["shots"][-1]
    out = {
        "topics/tuned minus pretrained": _difference([row], "pretrained", shots),
        "topics/mlp minus linear": _difference([row], "linear", shots, "mlp"),
        "topics/pretrained minus text": _difference([row], TEXT, row["shots"][-1], "pretrained"),
    }
    truth = np.array(row["truth"])
    tables = {kind: np.stack([np.array(one[kind]) == truth for one in row["encoders"].values()]) for kind in _KINDS}
    for place, name in enumerate(row["encoders"]):
        out[f"encoders/accuracy, {name}"] = _mean(tables["predicted"][place].astype(float))
        out[f"encoders/probe, {name}"] = _mean(tables["probe"][place].astype(float))
    out["encoders/rank correlation"] = bootstrap(_rank(tables), len(truth), seed=0)
    return out


_KINDS = ("predicted", "probe")


def _rank(tables: dict[str, NDArray[np.bool_]]) -> Callable[[NDArray[np.int64]], Array]:
    """Spearman's over encoders, of the queries drawn; 0 where all encoders are alike."""
    from scipy.stats import rankdata

    def of_draws(indices_RN: NDArray[np.int64]) -> Array:
        out = []
        for chosen in indices_RN:
            a, b = (rankdata(table[:, chosen].mean(1)) for table in tables.values())
            spread = a.std() * b.std()
            out.append(((a - a.mean()) * (b - b.mean())).mean() / spread if spread > 0 else 0.0)
        return np.array(out)

    return of_draws


def _digits(found: Found) -> dict[str, Interval]:
    rows, fixed = found["episodes"], found["fixed"]
    out = plain_measures("digits, fixed labels", [fixed]) | _episodes("digits", rows)
    most = rows[0]["shots"][-1]
    for place, row in enumerate(rows):
        out[f"digits/slope in shots, seed {place}"] = _slope(row)
    # Of what is possible above chance: episodes have fewer classes.
    gain = np.concatenate(
        [(_right(row, VECTORS, most) - _right(row, SHUFFLED, most)) / (1 - row["chance"]) for row in rows]
    )
    flat = right(fixed, VECTORS, fixed["shots"][-1]) - right(fixed, SHUFFLED, fixed["shots"][-1])
    flat /= 1 - 1 / len(fixed["words"])
    out["digits/gain over shuffled, episodic minus fixed"] = _unpaired(gain, flat)
    return out


def _series(found: Found) -> dict[str, Interval]:
    out = plain_measures("series", found["fixed"])
    for name in dict.fromkeys(row["task"] for row in found["fixed"]):
        out |= plain_measures(f"series, {name}", [row for row in found["fixed"] if row["task"] == name])
    return out | {f"{name}, episodes": value for name, value in _episodes("series", found["episodes"]).items()}


def _right(row: Found, arm: str, shots: int) -> Array:
    return np.array(row["arms"][arm][str(shots)], dtype=float)


def _episodes(name: str, rows: Sequence[Found]) -> dict[str, Interval]:
    """Accuracy by arm and shots over all episodes of all rows; arms that show text have fewer episodes."""
    out = {}
    shots = rows[0]["shots"]
    for arm in dict.fromkeys(arm for row in rows for arm in row["arms"]):
        having = [row for row in rows if arm in row["arms"]]
        for k in shots:
            out[f"{name}/accuracy at {k}, {arm}"] = _mean(np.concatenate([_right(row, arm, k) for row in having]))
    for rival in (SHUFFLED, NEIGHBOUR, TEXT):
        having = [row for row in rows if rival in row["arms"]]
        if having:
            pairs = [(_right(row, VECTORS, shots[-1]), _right(row, rival, shots[-1])) for row in having]
            gains = [ours[: len(theirs)] - theirs for ours, theirs in pairs]
            out[f"{name}/vectors minus {rival}"] = _mean(np.concatenate(gains))
    symbols = [_right(row, SYMBOLS, shots[-1]) for row in rows if SYMBOLS in row["arms"]]
    out[f"{name}/symbols"] = _mean(np.concatenate(symbols))
    out[f"{name}/chance"] = Interval(
        estimate=float(np.mean([row["chance"] for row in rows])), how="one in the classes"
    )
    return out


def _slope(row: Found) -> Interval:
    """Of accuracy in log2 of the shots; the same queries stand in every column."""
    shots = np.log2(np.array(row["shots"], dtype=float))
    weights = (shots - shots.mean()) / ((shots - shots.mean()) ** 2).sum()
    table = np.stack([_right(row, VECTORS, k) for k in row["shots"]], axis=1)
    return _mean(table @ weights)


def _worst_slope(out: dict[str, Interval]) -> dict[str, Interval]:
    """The seed with the least gain by shots; the sign of errors is turned, so that above 0 is better in both."""
    digits = [value for name, value in out.items() if name.startswith("digits/slope in shots, seed")]
    numbers = [value for name, value in out.items() if name.startswith("numbers/slope of error, seed")]
    found = {"digits/slope in shots, least of the seeds": min(digits, key=lambda value: value.lower)}
    if numbers:
        worst = max(numbers, key=lambda value: value.upper)
        found["numbers/slope of error, worst of the seeds"] = Interval(
            estimate=-worst.estimate, low=-worst.upper, high=-worst.lower, n=worst.n, level=worst.level, how=worst.how
        )
    return found


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


# From the plain data of rows R1, R3, R6 and R9 to named measures with intervals. Needs no model.
#
# Resampled are texts (R1, R9), episodes of all seeds together (R3) and queries (R6); what was measured on the same
# ones is compared in pairs.

VECTORS_ROW, SHUFFLED_ROW, TEXT_ROW, SOFT = (
    "vectors",
    "shuffled",
    "text",
    "soft prompt",
)

STARTS = ("paper's start", "warm start")


def text_measures(found: Found) -> dict[str, Interval]:
    """Every measure of the four rows by name; what a row has no data for is absent."""
    return {
        **_texts(found["texts"]),
        **_signals(found["signals"]),
        **_numbers(found["numbers"]),
        **_molecules(found["molecules"]),
    }


def _texts(row: Found) -> dict[str, Interval]:
    nll, out = row["nll"], {}
    for start in STARTS:
        out[f"texts/shuffled minus true, {start}"] = _gap(nll[start])
        out[f"texts/soft prompt minus true, {start}"] = _text_difference(
            nll[SOFT]["true"], nll[start]["true"], "texts"
        )
        out[f"texts/shuffled minus true, untrained {start}"] = _gap(nll[f"untrained {start}"])
        out[f"texts/shuffled minus true, {start}, behind pairs"] = _gap(row["packed"][start])
    out["texts/none minus true, warm start"] = _text_difference(row["none"], nll["warm start"]["true"], "texts")
    for name, slots in nll.items():
        out |= {f"texts/loss, {name}, {box} box": _text_mean(values, "texts") for box, values in slots.items()}
    out["texts/loss, no box"] = _text_mean(row["none"], "texts")
    for box, scores in row["said"]["f1"].items():
        out[f"texts/token F1, {box} box"] = _text_mean(scores, "texts")
    return out


def _signals(row: Found) -> dict[str, Interval]:
    out = {}
    for snr in SNRS:
        one = row["snr"][snr]
        out[f"signals/gap at SNR {snr}"] = _gap(one["nll"])
        out[f"signals/decoder top-1 at SNR {snr}"] = _text_mean(one["top1"], "texts")
    return out


def pooled_texts(row: Found, arm: str, shots: int | str) -> Array:
    """Errors of the episodes of all seeds."""
    return np.concatenate([np.array(one["errors"][arm][str(shots)], dtype=float) for one in row["seeds"]])


def _numbers(row: Found) -> dict[str, Interval]:
    out, first = {}, row["seeds"][0]
    for arm, by_shots in first["errors"].items():
        for shots in by_shots:
            out[f"numbers/error at {shots}, {arm}"] = _text_mean(pooled_texts(row, arm, shots), "episodes")
        missing, asked = (sum(one[name][arm] for one in row["seeds"]) for name in ("missing", "asked"))
        out[f"numbers/missing, {arm}"] = binomial(missing, asked)
    for shots in row["shots"]:
        ours = pooled_texts(row, VECTORS_ROW, shots)
        for rival in (TEXT_ROW, SHUFFLED_ROW):
            out[f"numbers/{rival} minus vectors at {shots}"] = _text_difference(
                pooled_texts(row, rival, shots), ours, "episodes"
            )
    for place, one in enumerate(row["seeds"]):
        out[f"numbers/slope of error, seed {place}"] = _text_slope(one["errors"][VECTORS_ROW], row["shots"])
    return out


def _text_slope(by_shots: Mapping[str, Sequence[float]], shots: Sequence[int]) -> Interval:
    """Of the mean error in log2 of the shots: a mean over episodes of each one's slope, since all have all shots."""
    x = np.log2(np.array(shots, dtype=float))
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    table = np.stack([np.array(by_shots[str(k)], dtype=float) for k in shots], axis=1)
    return _text_mean(table @ weights, "episodes")


def _molecules(row: Found) -> dict[str, Interval]:
    scores, out = row["f1"], {}
    for arm, by_shots in scores.items():
        for shots, values in by_shots.items():
            out[f"molecules/F1 at {shots}, {arm}"] = _text_mean(values, "queries")
            out[f"molecules/word F1 at {shots}, {arm}"] = _text_mean(row["words"][arm][shots], "queries")
    for name, rival in (
        ("vectors minus text", TEXT_ROW),
        ("shuffled below vectors", SHUFFLED_ROW),
    ):
        for shots, values in scores[rival].items():
            ours = scores[VECTORS_ROW][shots][: len(values)]
            out[f"molecules/{name} at {shots}"] = _text_difference(ours, values, "queries")
    ratio = row["tokens"][TEXT_ROW] / row["tokens"][VECTORS_ROW]
    out["molecules/tokens, text over vectors"] = Interval(estimate=ratio, how="means of training molecules")
    return out


def _gap(slots: Mapping[str, Sequence[float]]) -> Interval:
    return _text_difference(slots["shuffled"], slots["true"], "texts")


def _text_difference(a: Sequence[float] | Array, b: Sequence[float] | Array, things: str) -> Interval:
    return paired_difference(a, b, seed=0, how=f"paired bootstrap over {len(a):,} {things}")


def _text_mean(values: Sequence[float] | Array, things: str) -> Interval:
    return bootstrap_mean(values, seed=0, how=f"percentile bootstrap over {len(values):,} {things}")
