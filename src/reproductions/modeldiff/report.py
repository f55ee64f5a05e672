"""The report of the Model-diff reproduction: plain sections from plain data."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from armillary.numerics.intervals import Interval
from armillary.records.claims import ClaimResult, verdict_findings
from armillary.records.sections import Figure, Finding, Section, Table, interval_bars
from reproductions.modeldiff.claims import PAIRS

Found = dict[str, Any]
Measured = Mapping[str, Interval]

_SECTIONS = {
    **dict.fromkeys(("exact", "weights-matter", "one-overlap", "tempering", "exact-proposal"), "exact"),
    **dict.fromkeys(("kinship", "copies", "ratings"), "zoo"),
    **dict.fromkeys(("noise-ladder", "effective-samples"), "real"),
}
_AXIS = "A prefers  <-  difference (nats)  ->  B prefers"


def findings(claims: Sequence[ClaimResult]) -> list[Finding]:
    """One sentence a claim, each with the section that shows it."""
    return verdict_findings(claims, _SECTIONS, "exact")


def sections(found: Found, measured: Measured) -> list[Section]:
    """The report in order."""
    return [_exact(found, measured), _zoo(found, measured), _real(found, measured), _texts(found)]


def _exact(found: Found, measured: Measured) -> Section:
    rows: list[list[Any]] = [
        [name, _told(one), one.how]
        for name, one in measured.items()
        if name.split("/")[0] in (*PAIRS, "independent tokens", "first-order Markov", "hot", "tempering")
    ]
    coverage = measured["perturbed/coverage"]
    return Section(
        id="exact",
        title="Against exact counts",
        summary=f"Intervals of 95 % cover the exact count in {coverage.estimate:.0%} of the bins over "
        f"{coverage.n} repeated runs on tables; samples that are only counted, not weighed, are off by "
        f"{measured['perturbed/raw distance'].estimate:.2f} in total variation.",
        meaning="Language models that are tables of a few tokens: every sequence is enumerated, so that the number of "
        "plausible inputs at each difference is known. The weighed samples should lie on the exact line, the plain "
        "ones need not.",
        caution="Exactness here says that the method is right, not that a real model was sampled enough: that is what "
        "effective samples are for.",
        figures=[_shares(found[pair], f"{pair.capitalize()} pair of tables") for pair in PAIRS],
        tables=[Table(title="Every measure with a known answer", columns=["measure", "value", "over"], rows=rows)],
    )


def _shares(one: Found, title: str) -> Figure:
    series = []
    for name in ("exact", "weighted", "raw"):
        values = np.array(one["shares"][name])
        entry: dict[str, Any] = {"name": name if name != "raw" else "not weighed"}
        if values.ndim == 1:
            entry |= {"y": values.tolist()}
        else:
            low, high = np.quantile(values, [0.025, 0.975], axis=0)
            entry |= {"y": values.mean(axis=0).tolist(), "low": low.tolist(), "high": high.tolist()}
        series.append(entry)
    return Figure(
        kind="lines",
        title=title,
        data={"x": one["centres"], "series": series, "x_label": _AXIS, "y_label": "share of A's plausible inputs"},
        alt="Lines: the weighed histogram lies on the exact one; the plain one is shifted.",
    )


def _zoo(found: Found, measured: Measured) -> Section:
    bars = {
        name.removeprefix("zoo/spread, "): one
        for name, one in measured.items()
        if name.startswith("zoo/spread, ") and " minus " not in name
    }
    quality = [one["quality"] for one in found["zoo"]["seeds"]]
    rows: list[list[Any]] = [[kind, float(np.mean([one[kind] for one in quality]))] for kind in quality[0]]
    judged = [
        [seed, threshold, one["a"]["precision"] and one["a"]["precision"]["estimate"],
         one["b"]["precision"] and one["b"]["precision"]["estimate"], one["verdict"], null["verdict"]]
        for seed, family in enumerate(found["zoo"]["seeds"])
        for threshold, one, null in zip(
            family["rated"]["thresholds"], family["rated"]["judged"], family["rated"]["null"], strict=True
        )
    ]  # fmt: skip
    auc = measured["zoo/AUC of copies against independent models"]
    return Section(
        id="zoo",
        title="Kinship of models",
        summary=f"The spread of the difference is {bars['noise 0.01'].estimate:.3f} nats per character for a copy "
        f"with 1 % noise and {bars['other seed'].estimate:.3f} for a model trained from another seed; AUC of copies "
        f"against independent models {auc.estimate:.2f}.",
        meaning="Character models of one architecture, trained here on a small artificial language: copies that were "
        "disturbed, rounded or tuned further on shifted text, beside models trained anew on the same language, less "
        "long, or on another language, all over the base model's own plausible inputs.",
        caution="Small models and an artificial language: where the line between a copy and a sibling lies has to be "
        "calibrated for each model. Few seeds, hence wide intervals.",
        figures=[interval_bars("Spread of the difference by kin", bars, "nats per character")],
        tables=[
            Table(title="Held-out text of the base language", columns=["model", "nats per character"], rows=rows),
            Table(
                title="Rated by the grammar: fully trained (A) against trained less (B)",
                columns=["seed", "threshold", "precision of A", "precision of B", "verdict", "shuffled ratings"],
                rows=judged,
            ),
        ],
    )


def _real(found: Found, measured: Measured) -> Section:
    bars = {
        name.removeprefix("copies/spread, "): one
        for name, one in measured.items()
        if name.startswith("copies/spread, ")
    }
    both = found["both ways"]
    curves = both["curves"]
    series = [{"name": f"{side.upper()}'s inputs", **_plain(curves[side])} for side in ("a", "b")]
    examples: list[list[Any]] = [[one["difference"], one["text"], one["from"].upper()] for one in both["examples"]]
    effective: list[list[Any]] = [[row["quantile"], row["seen"], row["expected"]] for row in both["effective"]["rows"]]
    return Section(
        id="real",
        title="Copies of a real model",
        summary=f"Spread of the difference: {bars['noise 0.003'].estimate:.3f} nats per token with 0.3 % noise, "
        f"{bars['noise 0.1'].estimate:.3f} with 10 %, {bars['fine-tuned'].estimate:.3f} after a short fine-tune. "
        f"By count: {both['reliability']['a']}",
        meaning="The model against copies of it, over sequences that it finds plausible itself: noise on each matrix, "
        "weights rounded to 8 and 4 bits, and a short fine-tune on Python documentation.",
        caution="Flat over the NLL window (the profile). By count nearly all inputs lie at the window's upper edge, "
        "and the number of effective samples says how little a count rests on.",
        figures=[
            interval_bars("Spread of the difference", bars, "nats per token"),
            Figure(
                kind="lines",
                title="The model (A) and its fine-tuned copy (B), both directions",
                data={
                    "x": curves["difference"],
                    "series": series,
                    "x_label": "A prefers  <-  difference, nats per token  ->  B prefers",
                    "y_label": "share, flat over the NLL",
                },
                alt="Two histograms of the difference, one over each model's inputs.",
            ),
        ],
        tables=[
            Table(title="Inputs", columns=["difference (nats)", "text", "drawn from"], rows=examples),
            Table(
                title="Effective samples by the window's upper edge",
                columns=["quantile of the NLL", "seen", "2 N h(z+)"],
                rows=effective,
            ),
        ],
    )


def _plain(curve: Found) -> Found:
    return {"y": curve["value"], "low": curve["low"], "high": curve["high"]}


def _texts(found: Found) -> Section:
    one = found["texts"]
    rows: list[list[Any]] = []
    for side in ("a", "b"):
        for name, value in one[side].items():
            if isinstance(value, dict) and "estimate" in value:
                rows.append([one[f"model_{side}"], name.replace("_", " "), _told(Interval.from_dict(value))])
    ordered = sorted(one["rows"], key=lambda row: row["nll_a"] / row["bytes"] - row["nll_b"] / row["bytes"])
    examples: list[list[Any]] = [
        [row["nll_a"] / row["bytes"] - row["nll_b"] / row["bytes"], row["text"], row["side"].upper()]
        for row in (*ordered[:4], *ordered[-4:])
    ]
    mean = Interval.from_dict(one["a"]["difference_per_byte"])
    return Section(
        id="texts",
        title="Another tokenizer",
        summary=f"Over what {one['model_a']} writes, {one['model_b']} needs {-mean.estimate:+.3f} nats more per byte.",
        meaning="Models with different tokenizers share no input space of tokens, but they do share texts: each "
        "model's samples that its tokenizer writes in one way are scored by both, per byte.",
        caution="The other model's probability of a text is a lower bound: it could be written with other tokens too.",
        tables=[
            Table(title="Both ways", columns=["written by", "measure", "value"], rows=rows),
            Table(title="Texts", columns=["difference (nats per byte)", "text", "written by"], rows=examples),
        ],
    )


def _told(one: Interval) -> str:
    ends = "" if one.low is None or one.high is None else f" [{one.low:.4f}, {one.high:.4f}]"
    return f"{one.estimate:.4f}{ends}"
