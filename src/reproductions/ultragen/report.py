"""What the toy world's page shows beside the bars of a claim: satisfaction by count and by place, and every arm."""

from collections.abc import Mapping, Sequence

import numpy as np

from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Figure, Heatmap, Lines, Series, Table
from reproductions.ultragen.measures import csr
from reproductions.ultragen.scale import COUNTS, MOST
from reproductions.ultragen.small_models import ARMS, SeedResult
from reproductions.ultragen.world import KINDS

DRAWN = ("few", "ar", "noisy", "corrected", "gpo")
"""More lines than these can't be told apart in one figure."""

WATCHED = ("few", "ar", "noisy", "corrected", "gpo", "gpo_random", "chosen")


def figures(seeds: Sequence[SeedResult]) -> dict[str, Figure]:
    """By claim: satisfaction against the number of attributes, by place in the prompt, and by kind."""
    return {"degrades": _by_count(seeds), "ar-helps": _by_kind(seeds), "ar-position": _by_place(seeds)}


def _by_count(seeds: Sequence[SeedResult]) -> Figure:
    series = [
        Series(
            name=ARMS[arm], y=[float(np.mean([csr(seed, arm, count).mean() for seed in seeds])) for count in COUNTS]
        )
        for arm in DRAWN
    ]
    null = [float(np.mean([np.mean(seed.shuffled[str(count)]) for seed in seeds])) for count in COUNTS]
    return Figure(
        title="Satisfaction against the number of attributes",
        data=Lines(
            x=[*COUNTS],
            series=[*series, Series(name="another set's text", y=[*null])],
            x_label="attributes in the prompt",
            y_label="share met",
        ),
        alt="Lines: share of attributes met by each arm as prompts grow.",
    )


def _by_kind(seeds: Sequence[SeedResult]) -> Figure:
    values: list[list[float | None]] = []
    for arm in WATCHED:
        met: dict[str, list[bool]] = {kind: [] for kind in KINDS}
        for seed in seeds:
            for kinds, verdicts in zip(seed.kinds, seed.arms[arm].local[str(MOST)].verdicts, strict=True):
                for kind, verdict in zip(kinds, verdicts, strict=True):
                    met[kind].append(verdict)
        values.append([float(np.mean(met[kind])) if met[kind] else None for kind in KINDS])
    return Figure(
        title=f"Share met by kind, {MOST} attributes",
        data=Heatmap(rows=[ARMS[arm] for arm in WATCHED], columns=[*KINDS], values=values, low=0, high=1),
        alt="Table of colours: share met by arm and kind of attribute.",
    )


def _by_place(seeds: Sequence[SeedResult]) -> Figure:
    series = []
    for arm in ("few", "ar", "gpo"):
        rows = np.concatenate([np.array(seed.arms[arm].local[str(MOST)].verdicts, float) for seed in seeds])
        series.append(Series(name=ARMS[arm], y=[float(fifth.mean()) for fifth in np.array_split(rows, 5, axis=1)]))
    return Figure(
        title=f"Share met by place in a prompt of {MOST}",
        data=Lines(x=[1, 2, 3, 4, 5], series=series, x_label="fifth of the prompt", y_label="share met"),
        alt="Lines: share of attributes met from the first to the last fifth of the prompt.",
    )


def tables(seeds: Sequence[SeedResult], measures: Mapping[str, Interval]) -> dict[str, list[Table]]:
    """By claim: every arm with what it meets, and what was detected."""
    columns = [
        "arm",
        *(f"{count}" for count in COUNTS),
        f"best of 8 at {MOST}",
        "global",
        "global, random",
        "best of 8",
        "F1",
    ]
    rows: list[list[Cell]] = [
        [
            title,
            *(measures[f"{arm}/{count} attributes"].estimate for count in COUNTS),
            _estimate(measures, f"{arm}/best of 8, {MOST}"),
            measures[f"{arm}/global hclr"].estimate,
            measures[f"{arm}/global random"].estimate,
            _estimate(measures, f"{arm}/global hclr, best of 8"),
            measures[f"{arm}/overlap with the source"].estimate,
        ]
        for arm, title in ARMS.items()
    ]
    note = f"Shares met, means of {len(seeds)} seeds; numbers count the attributes of one text."
    return {"gpo-generalises": [Table(title="Every arm", columns=columns, rows=rows, note=note)]}


def _estimate(measures: Mapping[str, Interval], name: str) -> float | None:
    return measures[name].estimate if name in measures else None
