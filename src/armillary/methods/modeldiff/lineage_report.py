"""Lineage as a report shows it: what two sets of weights have in common, and how the predictions differ."""

import numpy as np

from armillary.methods.modeldiff.ancestry import Lineage
from armillary.methods.modeldiff.weights import LEVEL, PERMUTATIONS, WeightComparison
from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Section, Table, interval_bars

AUC = 0.875
"""Of the spread of D as a sign of descent: fine-tuned, noisy and rounded copies against models trained on their own
(claim "copies" of ``reproductions/modeldiff``)."""


def lineage_measures(result: Lineage) -> dict[str, Interval]:
    """What the weights have in common, then spread and overlap of every relative by name."""
    measures: dict[str, Interval] = {}
    if result.weights is not None and result.weights.matrices:
        matrices = result.weights.matrices
        numbers = {
            "share of matrices related beyond chance": len(result.weights.related) / len(matrices),
            "median cosine": float(np.median([pair.cosine for pair in matrices])),
            "share of equal entries": result.weights.equal,
            "relative norm of the difference": result.weights.difference,
        }
        if result.weights.neurons is not None:
            numbers["share of FFN neurons with a counterpart"] = result.weights.neurons
        how = f"{len(matrices)} matrices, {result.weights.compared:.0%} of the weights"
        measures = {f"weights/{name}": Interval(estimate=value, n=len(matrices), how=how)
                    for name, value in numbers.items()}  # fmt: skip
    named = {f"{relative.name} ({relative.kind})": relative.spread for relative in result.relatives}
    measures |= {f"spread of D/{name}": spread.deviation for name, spread in named.items()}
    return measures | {f"plausible to both/{name}": spread.overlap for name, spread in named.items()}


def lineage_section(result: Lineage) -> Section:
    """The verdict, the weights by kind of matrix, and the model in question among others, the nearest first."""
    ordered = sorted(result.relatives, key=lambda relative: relative.spread.deviation.estimate)
    bars = {f"{relative.name} ({relative.kind})": relative.spread.deviation for relative in ordered}
    rows: list[list[Cell]] = [
        [
            relative.name,
            f"{relative.kind}, destroyed" if relative.destroyed else relative.kind,
            relative.spread.mean.estimate,
            relative.spread.deviation.estimate,
            relative.spread.overlap.estimate,
        ]
        for relative in ordered
    ]
    predictions = Table(
        title="How the predictions differ, flat over the NLL window of A",
        columns=["model", "kind", "mean of D, nats per token", "spread of D, nats per token", "plausible to it too"],
        rows=rows,
        note="A destroyed derivation, which finds less than half of A's plausible inputs plausible, is left out of "
        "what the spread is held against.",
    )
    return Section(
        id="lineage",
        title="What the two models have in common",
        summary=result.sentence(),
        meaning="Matrices of the two models are laid over each other, layers, FFN neurons and tokens paired first. "
        "Models trained on their own have cosines around 0; a copy that was tuned, rounded, pruned or merged keeps "
        "them far above, which a permutation test tells from chance. Below, the difference of the two models' NLL "
        "over inputs that A finds plausible: near 0 for a copy, wide for a stranger, but also for a copy that was "
        "tuned on other texts.",
        caution="Weights do not tell which model came first, nor a common origin (the same initial weights count as "
        "one). No evidence is no acquittal: a rotation of the hidden state or long training hides descent. The spread "
        f"alone decides nothing: it told copies from models trained on their own with an AUC of {AUC} in our tests. "
        "Tests and rules are ours, not the paper's.",
        figures=[interval_bars("Spread of the difference", bars, "nats per token (near 0 for a copy)")]
        if bars
        else [],
        tables=[*_weights_table(result.weights), *([predictions] if rows else [])],
    )


def _weights_table(weights: WeightComparison | None) -> list[Table]:
    if weights is None or not weights.matrices:
        return []
    rows: list[list[Cell]] = []
    for name in dict.fromkeys(pair.name for pair in weights.matrices):
        pairs = [pair for pair in weights.matrices if pair.name == name]
        cosines = [pair.cosine for pair in pairs]
        related = sum(pair.p_value <= LEVEL for pair in pairs)
        largest = max(pair.p_value for pair in pairs)
        rows.append([name, f"{related} of {len(pairs)}", f"{largest:.3f}", float(np.median(cosines)), min(cosines),
                     max(cosines), f"{np.mean([pair.equal for pair in pairs]):.1%}",
                     float(np.mean([pair.difference for pair in pairs]))])  # fmt: skip
    columns = ["matrix", "related", "largest p", "median cosine", "lowest", "highest", "equal entries"]
    return [
        Table(
            title="The weights, matrix by matrix",
            columns=[*columns, "norm of B - A over A's"],
            rows=rows,
            note=f"p: of {PERMUTATIONS + 1} orders of the hidden state's coordinates, the one that stands among them, "
            "the share in which the largest standardised cosine of all matrices is as large; corrected for their "
            "number. Cosines are means over rows.",
        )
    ]
