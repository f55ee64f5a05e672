"""How one relation is told: plain data of a ``RelationResult`` to a section and findings."""

from typing import TYPE_CHECKING, Any

from armillary.numerics.intervals import Interval
from armillary.records.sections import Figure, Finding, Section, Table

if TYPE_CHECKING:
    from armillary.methods.lincorr.result import RelationResult

_BARS = {
    "correlation": "correlation",
    "correlation_ols": "least squares (the paper's fit)",
    "centred": "rows centred",
    "random_domain": "random words, same prompt",
    "rank_one": "mean source logit only",
    "permuted": "shuffled pairing",
}


def section(payload: dict[str, Any]) -> Section:
    """Scores beside their baselines, precision of the weights, examples, and the words that were left out."""
    known = {name: Interval.from_dict(payload[name]) for name in _BARS if payload.get(name)}
    best = known["correlation"]
    excess = Interval.from_dict(payload["excess"]) if payload.get("excess") else None
    over = "" if excess is None else f", {excess.estimate:+.2f} against random words under the same prompt"
    summary = (
        f"One linear map carries {payload['source_template']!r} to {payload['target_template']!r} with a mean test "
        f"correlation of {best.estimate:.3f}{over}; {payload['fit_rows']:,} subjects fitted it, "
        f"{payload['test_rows']:,} tested it."
    )
    return Section(
        id="relation",
        title=payload["relation"],
        summary=summary,
        meaning="For each target word, the logit predicted from the source prompt is correlated with the real one "
        "over "
        "subjects that the map has not seen. The precision table asks whether the largest weights name right answers.",
        caution="A high correlation alone says that two prompts put the model in a similar state. Compare with "
        "random words "
        "under the same prompt, and read precision against its chance.",
        figures=[_bars(known, payload)],
        tables=[_precision(payload), _examples(payload), _left_out(payload)],
    )


def measures(result: "RelationResult") -> dict[str, Interval]:
    """Every number of the relation that has an interval, by name."""
    rates = {f"{hit.direction} hit@{hit.n}, {hit.weights}, {hit.fit}": hit.rate for hit in result.hits}
    return {**result.intervals(), **rates}


def findings(payload: dict[str, Any]) -> list[Finding]:
    """The correlation, the precision and the notes, most telling first."""
    told = [Finding(text=section(payload).summary, interest=0.6, section="relation")]
    for hit in payload["hits"]:
        if (hit["n"], hit["direction"], hit["weights"]) == (5, "influenced", "raw") and hit["fit"] == _fit(payload):
            rate = Interval.from_dict(hit["rate"])
            text = (
                f"The five largest weights name a right answer for {rate.estimate:.0%} of the words "
                f"[{rate.low:.0%}, {rate.high:.0%}]; chance is {hit['chance']:.0%}."
            )
            told.append(Finding(text=text, interest=0.7, section="relation"))
    dropped = len(payload["source_words"]["dropped"]) + len(payload["target_words"]["dropped"])
    if dropped:
        text = (
            f"{dropped} words were left out because this tokenizer can't say them in one token; the report lists them."
        )
        told.append(Finding(text=text, interest=0.3, section="relation"))
    told += [Finding(text=note, interest=0.5, section="relation") for note in payload["notes"]]
    return told


def _fit(payload: dict[str, Any]) -> str:
    return "ridge" if payload["ridge"] else "ols"


def _bars(known: dict[str, Interval], payload: dict[str, Any]) -> Figure:
    return Figure(
        kind="bars",
        title=f"{payload['relation']}: correlation beside its baselines",
        data={
            "labels": [_BARS[name] for name in known],
            "values": [value.estimate for value in known.values()],
            "low": [value.low for value in known.values()],
            "high": [value.high for value in known.values()],
            "x_label": "mean test correlation",
        },
        alt="Bars: " + ", ".join(f"{_BARS[name]} {value.estimate:.2f}" for name, value in known.items()),
    )


def _precision(payload: dict[str, Any]) -> Table:
    rows = [
        [
            hit["direction"],
            hit["n"],
            hit["weights"],
            hit["fit"],
            hit["rate"]["estimate"],
            hit["rate"]["low"],
            hit["rate"]["high"],
            hit["chance"],
        ]
        for hit in payload["hits"]
    ]
    columns = ["direction", "N", "weights", "fit", "hit@N", "low", "high", "chance"]
    return Table(
        title="Do the weights name right answers?", columns=columns, rows=rows, note="Exact binomial intervals."
    )


def _examples(payload: dict[str, Any]) -> Table:
    rows = [
        [
            one["source"],
            ", ".join(one["gold"]),
            ", ".join(f"{word} {weight:.2f}" for word, weight in one["top"]),
            "yes" if one["hit"] else "no",
        ]
        for one in payload["examples"]
    ]
    columns = ["word", "right answers", "largest weights", "first one right"]
    return Table(title="Examples", columns=columns, rows=rows)


def _left_out(payload: dict[str, Any]) -> Table:
    rows = [
        [side, word, reason]
        for side in ("source_words", "target_words")
        for word, reason in payload[side]["dropped"].items()
    ]
    rows = [[side.replace("_words", ""), word, reason] for side, word, reason in rows]
    return Table(title="Words left out", columns=["side", "word", "why"], rows=rows)
