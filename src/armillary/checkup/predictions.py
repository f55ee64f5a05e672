"""Diagnosis: how well the model predicts plain texts, in bits per byte, comparable across tokenizers."""

import math

from armillary.checkup.diagnosis import CORPORA, Context, Diagnosed, Diagnosis, Payload
from armillary.numerics.intervals import Interval, bootstrap_mean, paired_difference
from armillary.records.sections import Figure, Finding, Section
from armillary.scoring import sequence_nll

CHARACTERS = 600


def measure(context: Context) -> Payload:
    """Bits per byte of each text (its first 600 characters, whole words)."""
    corpus = [(name, text[:CHARACTERS].rsplit(" ", 1)[0]) for name, text in context.corpus()]
    scored = sequence_nll(context.loaded, [text for _, text in corpus], max_tokens=CHARACTERS)
    bits = [float(nll) / math.log(2) / len(text.encode()) for nll, (_, text) in zip(scored.nll, corpus, strict=True)]
    return {"corpus": [name for name, _ in corpus], "bits": bits, "opening": [text[:60] for _, text in corpus]}


def _of(payload: Payload, corpus: str) -> list[float]:
    return [bits for name, bits in zip(payload["corpus"], payload["bits"], strict=True) if name == corpus]


def _bars(title: str, intervals: dict[str, Interval], x_label: str, alt: str) -> Figure:
    return Figure(
        kind="bars",
        title=title,
        data={
            "labels": list(intervals),
            "values": [interval.estimate for interval in intervals.values()],
            "low": [interval.low for interval in intervals.values()],
            "high": [interval.high for interval in intervals.values()],
            "x_label": x_label,
        },
        alt=alt,
    )


def describe(payload: Payload) -> Diagnosed:
    """Mean bits per byte by corpus."""
    means = {name: bootstrap_mean(_of(payload, name), seed=0) for name in CORPORA}
    said = ", ".join(f"{mean.estimate:.2f} on {name}" for name, mean in means.items())
    section = Section(
        id="predictions",
        title="Prediction of plain texts",
        summary=f"Bits needed for one byte of text: {said}. Eight is no knowledge at all.",
        meaning="The model reads a text and pays, for each token, the surprise it felt. Per byte, the sum is "
        "comparable "
        "between models with different vocabularies. Lower is better.",
        caution="These corpora may have been part of the training data, which makes the number better than the "
        "model. The "
        "first token of a text is not scored where the tokenizer adds no start token.",
        figures=[_bars("Bits per byte", means, "bits per byte (lower is better)", f"Bars: {said}.")],
    )
    best, worst = min(means, key=lambda name: means[name].estimate), max(means, key=lambda name: means[name].estimate)
    text = (
        f"It predicts {best} at {means[best].estimate:.2f} bits per byte and {worst} at {means[worst].estimate:.2f}."
    )
    return Diagnosed(
        section=section,
        measures={f"bits per byte/{name}": mean for name, mean in means.items()},
        findings=[Finding(text=text, interest=0.2, section="predictions")],
    )


def compare(before: Payload, after: Payload) -> Diagnosed:
    """Paired change of bits per byte, text by text."""
    changes = {name: paired_difference(_of(after, name), _of(before, name), seed=0) for name in CORPORA}
    said = "; ".join(f"{name} {_signed(change)}" for name, change in changes.items())
    section = Section(
        id="predictions-change",
        title="Prediction of plain texts: what changed",
        summary=f"Change in bits per byte after against before, paired text by text: {said}.",
        meaning="Below zero the newer model predicts the same texts better; above zero it forgot something.",
        caution="Only the two corpora named here were read; a change elsewhere does not show.",
        figures=[_bars("Change in bits per byte", changes, "after minus before (bits per byte)", f"Bars: {said}.")],
    )
    worst = max(changes.values(), key=lambda change: abs(change.estimate))
    interest = 0.9 if worst.excludes(0.0) else 0.3
    return Diagnosed(
        section=section,
        measures={f"bits per byte change/{name}": change for name, change in changes.items()},
        findings=[Finding(text=section.summary, interest=interest, section="predictions-change")],
    )


def _signed(change: Interval) -> str:
    if change.low is None or change.high is None:
        return f"{change.estimate:+.3f}"
    return f"{change.estimate:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"


PREDICTIONS = Diagnosis(
    name="predictions", title="Prediction of plain texts", measure=measure, describe=describe, compare=compare
)
