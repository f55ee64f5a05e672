"""Pictures of a watched training: rates, balance and gradient norms over the steps, from plain records."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from armillary.runs.sections import Figure
from armillary.training.component_groups import FEATURE_ENCODER, LLM

Found = dict[str, Any]
Line = list[float | None]


def training_picture(records: Sequence[Found], title: str) -> Figure:
    """Rates, balance and gradient norms of both components over training, means over runs, as powers of ten."""
    parts = {FEATURE_ENCODER: "encoder", LLM: "llm"}
    lines = {f"rate, {told}": [_log10(one["rates"][name]) for one in records] for name, told in parts.items()}
    lines["kappa"] = [[None if value is None else value / math.log(10) for value in kappas(one)] for one in records]
    lines |= {f"gradient, {told}": [_log10(one["norms"][name]) for one in records] for name, told in parts.items()}
    return mean_lines(
        title,
        records[0]["noted"],
        lines,
        "power of ten",
        "Five lines over training: two learning rates, the balance coefficient and two gradient norms.",
    )


def arms_pictures(runs: Mapping[str, Sequence[Found]], where: str) -> list[Figure]:
    """Of every arm (its title: the records of its runs) balance, rates and gradient norms, a picture each."""
    noted = next(iter(runs.values()))[0]["noted"]
    lines: dict[str, tuple[str, dict[str, list[Line]]]] = {
        "balance": ("log kappa; 0 is balanced", {arm: [kappas(one) for one in some] for arm, some in runs.items()})
    }
    for part, told in ((FEATURE_ENCODER, "encoder"), (LLM, "language model")):
        for key, what in (("rates", "rate"), ("norms", "gradient norm")):
            lines[f"{what} of the {told}"] = (
                f"{what}, power of ten",
                {arm: [_log10(one[key][part]) for one in some] for arm, some in runs.items()},
            )
    return [
        mean_lines(f"{where}: {what}", noted, rows, label, f"Lines over training, one for each arm: {what}.")
        for what, (label, rows) in lines.items()
    ]


def mean_lines(
    title: str, steps: Sequence[int], lines: Mapping[str, Sequence[Line]], y_label: str, alt: str
) -> Figure:
    """Over the steps, for each name the mean of its runs."""
    return Figure(
        kind="lines",
        title=title,
        data={
            "x": list(steps),
            "series": [{"name": name, "y": _mean(rows)} for name, rows in lines.items()],
            "x_label": "step",
            "y_label": y_label,
        },
        alt=alt,
    )


def kappas(record: Found) -> Line:
    """Log kappa at each noted step, None where no probe was usable."""
    known = dict(zip(record["steps"], record["log_kappa"], strict=True))
    return [known.get(step) for step in record["noted"]]


def _log10(values: Sequence[float]) -> Line:
    return [math.log10(value) if value > 0 else None for value in values]


def _mean(lines: Sequence[Line]) -> Line:
    """Of each step over what is known there."""
    columns = [[value for value in column if value is not None] for column in zip(*lines, strict=True)]
    return [float(np.mean(column)) if column else None for column in columns]
