"""Section, findings and measures of one relation, from its scores alone: no model, no map."""

from armillary.methods.lincorr.result import HitRate, RelationScores
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
    columns = [
        "direction", "N", "weights", "fit", "hit@N", "low", "high", "answers exchanged", "excess", "low", "high",
    ]  # fmt: skip
    precision: list[list[Cell]] = [
        [hit.direction, hit.n, hit.weights, hit.fit, hit.rate.estimate, hit.rate.low, hit.rate.high, hit.chance,
         hit.excess.estimate, hit.excess.low, hit.excess.high]
        for hit in scores.hits
    ]  # fmt: skip
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
        summary=headline(scores),
        meaning="For each target word, the logit predicted from the source prompt is correlated with the real one "
        "over subjects that the map has not seen. The precision table asks whether the largest weights name right "
        "answers.",
        caution="A high correlation alone says that two prompts put the model in a similar state. Compare with "
        "random words under the same prompt, and precision with what the same weights hit when the right answers are "
        "exchanged between the words: a few answers that the map favours everywhere are right for some words by "
        "chance.",
        figures=[interval_bars(f"{scores.relation}: correlation beside its baselines", bars, "mean test correlation")],
        tables=[
            Table(
                title="Do the weights name right answers?",
                columns=columns,
                rows=precision,
                note="Exact binomial intervals of hit@N; the excess is hit@N less what exchanged answers hit, its "
                "interval where 95 % of the exchanges leave it.",
            ),
            Table(
                title="Examples",
                columns=["word", "right answers", "largest weights", "first one right"],
                rows=examples,
            ),
            Table(title="Words left out", columns=["side", "word", "why"], rows=left_out),
        ],
    )


def headline(scores: RelationScores) -> str:
    """What is shown of the relation, in a sentence or two: never more than its two nulls leave standing.

    The map must predict the target words better than random words under the same prompt and, where right answers are
    known, its largest weights must name them more often than they name exchanged answers.
    """
    hit, excess = scores.precision, scores.excess
    beyond = excess is None or excess.lower > 0
    precise = hit is None or hit.excess.lower > 0
    over = "" if excess is None else f", {_signed(excess)} against random words under the same prompt"
    fitted = f"a mean test correlation of {scores.correlation.estimate:.3f}{over}"
    prompts = f"{scores.source_template!r} to {scores.target_template!r}"
    opening = (
        f"One linear map carries {prompts} with {fitted}"
        if beyond and precise
        else f"No linear map of this relation is shown from {prompts}: {fitted}"
    )
    rows = f"{scores.fit_rows:,} subjects fitted it, {scores.test_rows:,} tested it"
    return f"{opening}; {rows}. {_precision(hit)}".rstrip()


def _precision(hit: HitRate | None) -> str:
    if hit is None:
        return ""
    weights = "largest weight names" if hit.n == 1 else f"{hit.n} largest weights name"
    more = "" if hit.excess.lower > 0 else ", so no more than chance"
    return (
        f"The {weights} a right answer for {hit.rate.estimate:.0%} of the words; with the answers exchanged between "
        f"the words {hit.chance:.0%} ({_signed(hit.excess)}){more}."
    )


def _signed(value: Interval) -> str:
    return f"{value.estimate:+.3f} [{value.lower:+.3f}, {value.upper:+.3f}]"


def measures(scores: RelationScores) -> dict[str, Interval]:
    """Every number of the relation that has an interval, by name."""
    rates = {f"{hit.direction} hit@{hit.n}, {hit.weights}, {hit.fit}": hit.rate for hit in scores.hits}
    excess = {f"{name}, excess": hit.excess for name, hit in zip(rates, scores.hits, strict=True)}
    return {**scores.intervals(), **rates, **excess}


def findings(scores: RelationScores) -> list[Finding]:
    """The headline, with the precision, and the notes."""
    texts = [(headline(scores), 0.7)]
    if scores.dropped_words:
        text = (
            f"{scores.dropped_words} words were left out because this tokenizer can't say them in one token; the "
            "report lists them."
        )
        texts.append((text, 0.3))
    texts += [(note, 0.5) for note in scores.notes]
    return [Finding(text=text, interest=interest, section="relation") for text, interest in texts]
