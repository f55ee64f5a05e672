"""Lines over the steps of a training, read from the Trainer's log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from armillary.runs.sections import Figure


@dataclass(frozen=True)
class Series:
    """One name of the log: at which steps, and its values."""

    x: list[int]
    y: list[float]


def series_named(log: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> dict[str, Series]:
    """For each name in the log, under the word given, its values by step; names that are not there are left out.

    A resumed run may have two lines for the step it resumed at: the first counts.
    """
    found = {}
    for name, word in names.items():
        values: dict[int, float] = {}
        for line in log:
            if line.get(name) is not None and "step" in line:
                values.setdefault(int(line["step"]), float(line[name]))
        if values:
            found[word] = Series(sorted(values), [values[step] for step in sorted(values)])
    return found


def curve(title: str, series: Mapping[str, Series], y_label: str) -> Figure | None:
    """The series in one figure over all their steps; None for no series."""
    if not series:
        return None
    steps = sorted({step for one in series.values() for step in one.x})
    drawn = []
    for name, one in series.items():
        known = dict(zip(one.x, one.y, strict=True))
        drawn.append({"name": name, "y": [known.get(step) for step in steps]})
    said = ", ".join(f"{name} from {one.y[0]:.3g} to {one.y[-1]:.3g}" for name, one in series.items())
    data = {"x": steps, "series": drawn, "x_label": "step", "y_label": y_label}
    return Figure(kind="lines", title=title, data=data, alt=f"Lines over {steps[-1]} steps: {said}.")
