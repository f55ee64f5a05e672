"""Diagnosis: how well the model predicts plain texts, in bits per byte, comparable across tokenizers."""

import math
from dataclasses import dataclass

from armillary.checkup.diagnosis import CORPORA, Context, Diagnosed, Diagnosis
from armillary.numerics.intervals import bootstrap_mean
from armillary.records.sections import Finding, Section, interval_bars
from armillary.scoring import sequence_nll

CHARACTERS = 600
"""Of each text: more steadies each number and costs time in proportion."""


@dataclass(frozen=True, kw_only=True)
class TextPredictions:
    """How well each text is predicted, text by text."""

    corpus: list[str]
    bits: list[float]
    """Bits per byte."""

    opening: list[str]
    """First characters of the text."""

    def of(self, corpus: str) -> list[float]:
        """Bits per byte of the texts of a corpus."""
        return [bits for name, bits in zip(self.corpus, self.bits, strict=True) if name == corpus]


def measure(context: Context) -> TextPredictions:
    """Bits per byte of each text (its first 600 characters, whole words)."""
    corpus = [(name, text[:CHARACTERS].rsplit(" ", 1)[0]) for name, text in context.corpus()]
    scored = sequence_nll(context.loaded, [text for _, text in corpus], max_tokens=CHARACTERS)
    bits = [float(nll) / math.log(2) / len(text.encode()) for nll, (_, text) in zip(scored.nll, corpus, strict=True)]
    names, openings = [name for name, _ in corpus], [text[:60] for _, text in corpus]
    return TextPredictions(corpus=names, bits=bits, opening=openings)


def describe(predictions: TextPredictions) -> Diagnosed:
    """Mean bits per byte by corpus."""
    means = {name: bootstrap_mean(predictions.of(name), seed=0) for name in CORPORA}
    numbers = ", ".join(f"{mean.estimate:.2f} on {name}" for name, mean in means.items())
    section = Section(
        id="predictions",
        title="Prediction of plain texts",
        summary=f"Bits needed for one byte of text: {numbers}. Eight is no knowledge at all.",
        meaning="The model reads a text and pays, for each token, the surprise it felt. Per byte, the sum is "
        "comparable "
        "between models with different vocabularies. Lower is better.",
        caution="These corpora may have been part of the training data, which makes the number better than the "
        "model. The "
        "first token of a text is not scored where the tokenizer adds no start token.",
        figures=[interval_bars("Bits per byte", means, "bits per byte (lower is better)")],
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


PREDICTIONS = Diagnosis(
    name="predictions",
    result=TextPredictions,
    # 4.5 s for 8 texts.
    cost=lambda config: 0.56 * config.texts,
    measure=measure,
    descriptions=(describe,),
)
