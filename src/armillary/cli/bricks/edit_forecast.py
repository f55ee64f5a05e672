"""LinCorr's forecast of where an edit spills over, beside what it did: for facts asked in the words of a relation.

If the fact is asked by the source prompt of a relation ("Amanda lives in the city of"), the map fitted on other
subjects foretells from the changed source logits how those of the target prompt ("Amanda lives in the country of")
change with it. Beside it stands the simplest forecast: that a word changes there as it did at the source prompt.

Shapes: S source words, T target words, P permutations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from armillary.data import relation, relation_ids
from armillary.errors import UsageError
from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Section, Table

if TYPE_CHECKING:
    from armillary.methods.bricks.brick import Brick
    from armillary.methods.bricks.editing.facts import Fact
    from armillary.methods.lincorr import RelationFit
    from armillary.models import LoadedModel

PERMUTATIONS = 200
"""Of the null: the 95 % range that is shown then rests on five draws at each end."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """One relation whose source prompt the edit changed."""

    relation: str
    prompt: str
    """The target prompt, subject filled in."""

    agreement: Interval
    """Spearman of predicted and measured change over target words; no interval: it is one edit."""

    null: Interval
    """The same with the changes of the source words exchanged: 95 % of such draws."""

    same_tokens: Interval
    """Spearman of the measured change with that of the same target words under the source prompt: needs no map."""

    predicted: str
    raised: str
    measured: str
    """Target words most raised by the map's forecast, under the source prompt, and by the edit."""


def forecasts(loaded: "LoadedModel", fact: "Fact", brick: "Brick", *, subjects: int, seed: int) -> list[Forecast]:
    """A forecast for every shipped relation that asks as the fact does; none where no relation does.

    Reads the two prompts of each relation for ``subjects`` words, before the edit, and the fact's own before and
    after.
    """
    from armillary.methods.lincorr import LinCorrConfig, study

    try:
        chosen = [id for id in relation_ids() if relation(id).source_template == fact.prompt]
    except UsageError:  # the lists of words are not installed
        return []
    if not chosen:
        return []
    results = study(loaded, chosen, LinCorrConfig(n=subjects, seed=seed)).results
    return [forecast(loaded, results[id].fit, fact.subject, brick, seed) for id in chosen if id in results]


def forecast(loaded: "LoadedModel", fit: "RelationFit", subject: str, brick: "Brick", seed: int) -> Forecast:
    """The change at the target prompt as the map foretells it from that at the source prompt, and as it is."""
    import torch

    from armillary.methods.bricks.library.mounting import mounted
    from armillary.numerics import spearman
    from armillary.scoring import next_token_logits

    source, target = (text.replace("{}", subject) for text in (fit.source_template, fit.target_template))

    def read() -> list[torch.Tensor]:
        reads = ((source, fit.source.ids), (target, fit.target.ids), (source, fit.target.ids))
        return [torch.from_numpy(next_token_logits(loaded, [prompt], ids)[0]).double() for prompt, ids in reads]

    before = read()
    with mounted(loaded, [brick]):
        change_S, measured_T, same_T = (edited - old for edited, old in zip(read(), before, strict=True))
    predicted_T = change_S @ fit.weight_ST
    generator = np.random.default_rng(seed)
    orders_PS = np.stack([generator.permutation(len(change_S)) for _ in range(PERMUTATIONS)])
    null_PT = change_S[torch.from_numpy(orders_PS)] @ fit.weight_ST
    null = [float(spearman(row_T, measured_T)) for row_T in null_PT]
    low, high = np.quantile(null, [0.025, 0.975])
    labels = fit.target.labels
    return Forecast(
        relation=fit.relation,
        prompt=target,
        agreement=Interval(estimate=float(spearman(predicted_T, measured_T)), n=1, how="one edit: no interval"),
        same_tokens=Interval(estimate=float(spearman(same_T, measured_T)), n=1, how="one edit: no interval"),
        null=Interval(
            estimate=float(np.mean(null)),
            low=float(low),
            high=float(high),
            n=PERMUTATIONS,
            how=f"{PERMUTATIONS} permutations of the source words",
        ),
        predicted=labels[int(predicted_T.argmax())],
        raised=labels[int(same_T.argmax())],
        measured=labels[int(measured_T.argmax())],
    )


def forecast_section(forecasts: Sequence[Forecast]) -> Section:
    """The section of the report."""
    beyond = [forecast for forecast in forecasts if forecast.agreement.estimate > forecast.null.upper]
    better = [row for row in forecasts if row.agreement.estimate > row.same_tokens.estimate]
    rows: list[list[Cell]] = [
        [row.relation, row.prompt, row.predicted, row.raised, row.measured, row.agreement.estimate, row.null.lower,
         row.null.upper, row.same_tokens.estimate]
        for row in forecasts
    ]  # fmt: skip
    return Section(
        id="forecast",
        title="Where the edit spills over, and whether that was foretold",
        summary=f"Of {len(forecasts)} relations that begin with this prompt, {len(beyond)} changed as the linear map "
        f"between their two prompts foretells, beyond permuted changes; in {len(better)} it foretells better than the "
        "simplest forecast, that a word changes there as it did at this prompt.",
        meaning="The map (LinCorr) was fitted on other subjects before the edit. From what the edit changed at the "
        "prompt it predicts the change at a related prompt of the same subject; the table holds both, and how well "
        "their order over all target words agrees. Beside it stands what needs no map: the change of the same target "
        "words at this prompt.",
        caution="One edit is one case. A map that predicts well does not mean that the change is right.",
        tables=[
            Table(
                title="Changes at related prompts",
                columns=["relation", "prompt", "raised most, map", "here", "there", "Spearman, map", "permuted: low",
                         "high", "Spearman, same words here"],
                rows=rows,
            )
        ],
    )  # fmt: skip


def forecast_measures(forecasts: Sequence[Forecast]) -> dict[str, Interval]:
    """The agreement, its null and the baseline, by relation."""
    measures = {}
    for row in forecasts:
        measures[f"forecast/{row.relation}"] = row.agreement
        measures[f"forecast/{row.relation}, permuted"] = row.null
        measures[f"forecast/{row.relation}, same words"] = row.same_tokens
    return measures
