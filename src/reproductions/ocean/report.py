"""What the page shows beside the bars of a claim: truth against collateral damage, policies by estimate, every arm."""

from collections.abc import Mapping, Sequence

import numpy as np

from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Figure, Lines, Series, Table
from reproductions.ocean.small_models import ARMS, SeedResult


def figures(seeds: Sequence[SeedResult]) -> dict[str, Figure]:
    """By claim: the family of policies."""
    family = seeds[0].family
    order = np.argsort(np.mean([seed.family.validity for seed in seeds], axis=0))
    columns = {
        "true steps": "validity", "value": "value", "self-normalised": "normalised", "lambda's chains": "value_lambda",
        "likelihood": "likelihood",
    }  # fmt: skip
    series = []
    for title, name in columns.items():
        ranks = [np.argsort(np.argsort(getattr(seed.family, name))) + 1 for seed in seeds]
        series.append(Series(name=title, y=[float(np.mean([rank[i] for rank in ranks])) for i in order]))
    return {
        "ranks-policies": Figure(
            title="Ranks of policies, from the least true to the truest",
            data=Lines(
                x=[float(place + 1) for place in range(len(family.names))],
                series=series,
                x_label="policy, by true steps",
                y_label="mean rank over seeds",
            ),
            alt="Lines: rank of eight policies by what they say and by each estimate.",
        )
    }


def tables(seeds: Sequence[SeedResult], measures: Mapping[str, Interval]) -> dict[str, list[Table]]:
    """By claim: every arm with what it says and costs, and the family."""
    names = (
        "validity", "accuracy", "accuracy, 2 hops", "accuracy, 3 hops", "well-formed", "value",
        "self-normalised value", "unrelated nats", "unrelated accuracy", "distinct-2", "self-BLEU", "never logged",
        "divergence", "effective sample",
    )  # fmt: skip
    rows: list[list[Cell]] = [
        [ARMS[arm], *(measures[f"{arm}/{name}"].estimate for name in names)] for arm in seeds[0].arms
    ]
    missing = [title for arm, title in ARMS.items() if arm not in seeds[0].arms]
    note = f"Means of {len(seeds)} seeds, held-out questions."
    if missing:
        note += f" Not run, since TRL is not installed here: {', '.join(missing)}."
    family = seeds[0].family
    policies: list[list[Cell]] = [
        [
            name,
            *(
                float(np.mean([getattr(seed.family, column)[index] for seed in seeds]))
                for column in ("validity", "value", "normalised", "value_lambda", "likelihood")
            ),
        ]
        for index, name in enumerate(family.names)
    ]
    return {
        "faithful-stable": [Table(title="Every arm", columns=["arm", *names], rows=rows, note=note)],
        "ranks-policies": [
            Table(
                title="Policies whose truth is known",
                columns=["policy", "true steps", "value", "self-normalised", "value, lambda's chains", "likelihood"],
                rows=policies,
                note=f"Means of {len(seeds)} seeds.",
            )
        ],
    }
