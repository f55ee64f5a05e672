"""From the plain data of rows R1, R3, R6 and R9 to named measures with intervals. Needs no model.

Resampled are texts (R1, R9), episodes of all seeds together (R3) and queries (R6); what was measured on the same ones
is compared in pairs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.experiments.vector_icl_scale import SNRS
from armillary.numerics.intervals import Interval, binomial, bootstrap_mean, paired_difference

Found = dict[str, Any]
Array = NDArray[np.float64]
VECTORS, SHUFFLED, TEXT, SOFT = "vectors", "shuffled", "text", "soft prompt"
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
        out[f"texts/soft prompt minus true, {start}"] = _difference(nll[SOFT]["true"], nll[start]["true"], "texts")
        out[f"texts/shuffled minus true, untrained {start}"] = _gap(nll[f"untrained {start}"])
        out[f"texts/shuffled minus true, {start}, behind pairs"] = _gap(row["packed"][start])
    out["texts/none minus true, warm start"] = _difference(row["none"], nll["warm start"]["true"], "texts")
    for name, boxes in nll.items():
        out |= {f"texts/loss, {name}, {box} box": _mean(values, "texts") for box, values in boxes.items()}
    out["texts/loss, no box"] = _mean(row["none"], "texts")
    for box, scores in row["said"]["f1"].items():
        out[f"texts/token F1, {box} box"] = _mean(scores, "texts")
    return out


def _signals(row: Found) -> dict[str, Interval]:
    out = {}
    for snr in SNRS:
        one = row["snr"][snr]
        out[f"signals/gap at SNR {snr}"] = _gap(one["nll"])
        out[f"signals/decoder top-1 at SNR {snr}"] = _mean(one["top1"], "texts")
    return out


def pooled(row: Found, arm: str, shots: int | str) -> Array:
    """Errors of the episodes of all seeds."""
    return np.concatenate([np.array(one["errors"][arm][str(shots)], dtype=float) for one in row["seeds"]])


def _numbers(row: Found) -> dict[str, Interval]:
    out, first = {}, row["seeds"][0]
    for arm, by_shots in first["errors"].items():
        for shots in by_shots:
            out[f"numbers/error at {shots}, {arm}"] = _mean(pooled(row, arm, shots), "episodes")
        missing, asked = (sum(one[name][arm] for one in row["seeds"]) for name in ("missing", "asked"))
        out[f"numbers/missing, {arm}"] = binomial(missing, asked)
    for shots in row["shots"]:
        ours = pooled(row, VECTORS, shots)
        for rival in (TEXT, SHUFFLED):
            out[f"numbers/{rival} minus vectors at {shots}"] = _difference(pooled(row, rival, shots), ours, "episodes")
    for place, one in enumerate(row["seeds"]):
        out[f"numbers/slope of error, seed {place}"] = _slope(one["errors"][VECTORS], row["shots"])
    return out


def _slope(by_shots: Mapping[str, Sequence[float]], shots: Sequence[int]) -> Interval:
    """Of the mean error in log2 of the shots: a mean over episodes of each one's slope, since all have all shots."""
    x = np.log2(np.array(shots, dtype=float))
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    table = np.stack([np.array(by_shots[str(k)], dtype=float) for k in shots], axis=1)
    return _mean(table @ weights, "episodes")


def _molecules(row: Found) -> dict[str, Interval]:
    scores, out = row["f1"], {}
    for arm, by_shots in scores.items():
        for shots, values in by_shots.items():
            out[f"molecules/F1 at {shots}, {arm}"] = _mean(values, "queries")
            out[f"molecules/word F1 at {shots}, {arm}"] = _mean(row["words"][arm][shots], "queries")
    for name, rival in (("vectors minus text", TEXT), ("shuffled below vectors", SHUFFLED)):
        for shots, values in scores[rival].items():
            ours = scores[VECTORS][shots][: len(values)]
            out[f"molecules/{name} at {shots}"] = _difference(ours, values, "queries")
    ratio = row["tokens"][TEXT] / row["tokens"][VECTORS]
    out["molecules/tokens, text over vectors"] = Interval(estimate=ratio, how="means of training molecules")
    return out


def _gap(boxes: Mapping[str, Sequence[float]]) -> Interval:
    return _difference(boxes["shuffled"], boxes["true"], "texts")


def _difference(a: Sequence[float] | Array, b: Sequence[float] | Array, things: str) -> Interval:
    return paired_difference(a, b, seed=0, how=f"paired bootstrap over {len(a):,} {things}")


def _mean(values: Sequence[float] | Array, things: str) -> Interval:
    return bootstrap_mean(values, seed=0, how=f"percentile bootstrap over {len(values):,} {things}")
