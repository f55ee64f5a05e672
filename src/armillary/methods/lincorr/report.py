"""Section, findings and measures of one relation, from its scores alone: no model, no map."""

from armillary.methods.lincorr.result import RelationScores
from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Finding, Section, Table, interval_bars

_BARS = {
    "correlation": "correlation",
    "correlation_ols": "least squares (the paper's fit)",
    "centred": "rows centred",
    "random_domain": "random words, same prompt",
    "rank_one": "mean source logit only",
    "permuted": "shuffled pairing",
}


def section(scores: RelationScores) -> Section:
    """Scores beside their baselines, precision of the weights, examples, and the words that were left out."""
    known = scores.intervals()
    bars = {label: known[name] for name, label in _BARS.items() if name in known}
    over = (
        "" if scores.excess is None else f", {scores.excess.estimate:+.2f} against random words under the same prompt"
    )
    precision: list[list[Cell]] = [
        [hit.direction, hit.n, hit.weights, hit.fit, hit.rate.estimate, hit.rate.low, hit.rate.high, hit.chance]
        for hit in scores.hits
    ]
    examples: list[list[Cell]] = [
        [
            example.source,
            ", ".join(example.gold),
            ", ".join(f"{word} {weight:.2f}" for word, weight in example.top),
            "yes" if example.hit else "no",
        ]
        for example in scores.examples
    ]
    left_out: list[list[Cell]] = [
        [side, word, reason]
        for side, words in (("source", scores.source_words), ("target", scores.target_words))
        for word, reason in words.dropped.items()
    ]
    return Section(
        id="relation",
        title=scores.relation,
        summary=f"One linear map carries {scores.source_template!r} to {scores.target_template!r} with a mean test "
        f"correlation of {scores.correlation.estimate:.3f}{over}; {scores.fit_rows:,} subjects fitted it, "
        f"{scores.test_rows:,} tested it.",
        meaning="For each target word, the logit predicted from the source prompt is correlated with the real one "
        "over subjects that the map has not seen. The precision table asks whether the largest weights name right "
        "answers.",
        caution="A high correlation alone says that two prompts put the model in a similar state. Compare with "
        "random words under the same prompt, and read precision against its chance.",
        figures=[interval_bars(f"{scores.relation}: correlation beside its baselines", bars, "mean test correlation")],
        tables=[
            Table(
                title="Do the weights name right answers?",
                columns=["direction", "N", "weights", "fit", "hit@N", "low", "high", "chance"],
                rows=precision,
                note="Exact binomial intervals.",
            ),
            Table(
                title="Examples",
                columns=["word", "right answers", "largest weights", "first one right"],
                rows=examples,
            ),
            Table(title="Words left out", columns=["side", "word", "why"], rows=left_out),
        ],
    )


def measures(scores: RelationScores) -> dict[str, Interval]:
    """Every number of the relation that has an interval, by name."""
    rates = {f"{hit.direction} hit@{hit.n}, {hit.weights}, {hit.fit}": hit.rate for hit in scores.hits}
    return {**scores.intervals(), **rates}


def findings(scores: RelationScores) -> list[Finding]:
    """The correlation, the precision and the notes; precision is the most interesting, since it is what spreads."""
    texts = [(section(scores).summary, 0.6)]
    hit = scores.hit(5)
    if hit is not None:
        rate = hit.rate
        text = (
            f"The five largest weights name a right answer for {rate.estimate:.0%} of the words "
            f"[{rate.low:.0%}, {rate.high:.0%}]; chance is {hit.chance:.0%}."
        )
        texts.append((text, 0.7))
    if scores.dropped_words:
        text = (
            f"{scores.dropped_words} words were left out because this tokenizer can't say them in one token; the "
            "report lists them."
        )
        texts.append((text, 0.3))
    texts += [(note, 0.5) for note in scores.notes]
    return [Finding(text=text, interest=interest, section="relation") for text, interest in texts]
