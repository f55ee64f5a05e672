"""What the page of the tuned model shows beside the bars of a claim: satisfaction before and after, and answers."""

from collections.abc import Mapping

import numpy as np

from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Figure, Heatmap, Lines, Series, Table
from reproductions.ultragen.scale import TUNED_BEST_OF, TunedScale
from reproductions.ultragen.tuned.answers import ModelResult
from reproductions.ultragen.tuned.making import HeldOut
from reproductions.ultragen.tuned.measures import MODELS, QUALITIES, csr

TITLES = {"untuned": "untuned", "ar": "after AR", "gpo": "after AR and GPO"}


def tuned_figures(results: Mapping[str, ModelResult], scale: TunedScale) -> dict[str, Figure]:
    """By claim: satisfaction against the number of attributes, and by kind."""
    series = [
        Series(
            name=TITLES[name],
            y=[float(csr(results[name].local[str(count)]).mean()) for count in scale.counts],
        )
        for name in MODELS
    ]
    return {
        "tuned-ar-helps": Figure(
            title="Satisfaction against the number of attributes",
            data=Lines(x=[*scale.counts], series=series, x_label="attributes in the prompt", y_label="share met"),
            alt="Lines: share of attributes met before and after tuning as prompts grow.",
        ),
        "tuned-ar-follows": _by_kind(results, scale),
    }


def _by_kind(results: Mapping[str, ModelResult], scale: TunedScale) -> Figure:
    met: dict[str, dict[str, list[bool]]] = {name: {} for name in MODELS}
    for name in MODELS:
        for count in scale.counts:
            for own in results[name].local[str(count)].sets:
                for response in own.responses:
                    for kind, passed in zip(response.kinds, response.satisfied, strict=True):
                        if passed is not None:
                            met[name].setdefault(kind, []).append(passed)
    kinds = sorted({kind for by_kind in met.values() for kind in by_kind})
    values: list[list[float | None]] = [
        [float(np.mean(met[name][kind])) if kind in met[name] else None for name in MODELS] for kind in kinds
    ]
    return Figure(
        title="Share met by kind",
        data=Heatmap(rows=[*kinds], columns=[TITLES[name] for name in MODELS], values=values, low=0, high=1),
        alt="Table of colours: share met by kind of attribute before and after tuning.",
    )


def tuned_tables(
    results: Mapping[str, ModelResult], measures: Mapping[str, Interval], held: HeldOut, scale: TunedScale
) -> dict[str, list[Table]]:
    """By claim: every model with what it meets and what its answers are like, and one prompt with its answers."""
    met = [
        *(f"{count} attributes" for count in scale.counts),
        f"{scale.dense} attributes, best of {TUNED_BEST_OF}",
        "global",
        f"global, best of {TUNED_BEST_OF}",
    ]
    like = [*QUALITIES, "overlap with the source", "match with the source", "nats a token for the reader"]
    rows: list[list[Cell]] = [
        [TITLES[name], *(measures[f"{name}/{what}"].estimate for what in (*met, *like))] for name in MODELS
    ]
    first = held.local[scale.dense][0]
    texts: list[list[Cell]] = [["prompt", first.prompt]]
    for name in MODELS:
        texts.append([TITLES[name], results[name].local[str(scale.dense)].sets[0].responses[0].text])
    texts.append(["source", first.text])
    return {
        "tuned-ar-helps": [
            Table(title="Every model", columns=["model", *met, *like], rows=rows),
            Table(title="One prompt and its answers", columns=["", "text"], rows=texts),
        ]
    }
