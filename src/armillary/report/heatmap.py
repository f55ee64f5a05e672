"""A table of values as colour: numbers in the cells where they fit, hatching where a value is missing."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_rgb
from matplotlib.patches import Rectangle

from armillary.records.sections import Heatmap, names
from armillary.report.canvas import FONT, MUTED, PAPER, THEME, WIDE, Canvas, text_width
from armillary.report.wording import MINUS, number, shortened, tick

# Each runs evenly in lightness, so that it reads in grey and with any colour vision, on light paper and on dark.
_SEQUENTIAL = ("#edf1d3", "#abd7a8", "#55b09c", "#2d8196", "#2a5288", "#29295f")
_DIVERGING = ("#23539a", "#86afda", "#e9e7e2", "#eba872", "#ad4a18")
ANNOTATED, _VECTOR_CELLS, _LABEL_LIMIT, _LEGEND = 15, 3000, 26, 34.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where the cells stand, in pixels."""

    cell_width: float
    cell_height: float
    left: float
    top: float
    slanted: bool
    width: float
    height: float


def layout(heatmap: Heatmap, width: float) -> tuple[float, float, Callable[[Canvas], None]]:
    """Width and height of the picture (as wide as its cells need, at most ``width``) and the drawing of it."""
    plan = planned(heatmap, width)

    def draw(canvas: Canvas) -> None:
        rows, columns = len(heatmap.rows), len(heatmap.columns)
        axes = canvas.axes(plan.left, plan.top, plan.cell_width * columns, plan.cell_height * rows)
        low, high = color_range(heatmap)
        cmap = _cmap(low, high)
        _cells(axes, heatmap, cmap, low, high)
        if rows <= ANNOTATED and columns <= ANNOTATED and plan.cell_width >= 30:
            _annotate(axes, heatmap, low, high)
        _labels(canvas, heatmap, plan)
        _legend(canvas, cmap, low, high, heatmap.unit)

    return plan.width, plan.height, draw


def color_range(heatmap: Heatmap) -> tuple[float, float]:
    """Values of the first and the last colour: as given, else of the data; symmetric where both signs occur."""
    known = [value for row in heatmap.values for value in row if value is not None] or [0.0]
    low = min(known) if heatmap.low is None else heatmap.low
    high = max(known) if heatmap.high is None else heatmap.high
    if low < 0 < high:
        low, high = -max(-low, high), max(-low, high)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def colors(low: float, high: float) -> tuple[str, ...]:
    """The anchors of the colour map for that range: two-sided where zero lies inside."""
    return _DIVERGING if low < 0 < high else _SEQUENTIAL


def ink(value: float, low: float, high: float) -> str:
    """Colour of text on the cell of ``value``: the one with the higher contrast."""
    red, green, blue, _ = _cmap(low, high)((value - low) / (high - low))
    cell = _luminance((red, green, blue))

    def contrast(color: str) -> float:
        dark, light = sorted((cell, _luminance(to_rgb(color))))
        return (light + 0.05) / (dark + 0.05)

    return max("#12151a", "#ffffff", key=contrast)


def _luminance(color: tuple[float, float, float]) -> float:
    """Relative luminance of an sRGB colour (WCAG 2.1)."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in map(float, color))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _cmap(low: float, high: float) -> Colormap:

    return LinearSegmentedColormap.from_list("cells", list(colors(low, high)))


def planned(heatmap: Heatmap, width: float) -> Plan:
    """Cells as large as fit the width, within reason; labels slanted where they are wider than a cell."""
    row_names, column_names = _shown(heatmap.rows), _shown(heatmap.columns)
    left = max(map(text_width, row_names), default=0.0) + 12
    widest = max(map(text_width, column_names), default=0.0)
    cell = min(max((width - left - 8) / max(len(column_names), 1), 3.0), 60.0)
    # Numbers stand upright, and some are left out where all don't fit.
    numbered = all(isinstance(column, (int, float)) for column in heatmap.columns)
    slanted = widest + 8 > cell and not numbered
    over = widest * math.cos(math.radians(40)) if slanted else 0.0
    cell = min(cell, max((width - left - over) / max(len(column_names), 1), 3.0))
    tall = min(max(cell * 0.62, 5.0), 34.0) if len(row_names) > 2 * ANNOTATED else min(max(cell * 0.7, 20.0), 34.0)
    head = widest * math.sin(math.radians(40)) + 18 if slanted else 24.0
    return Plan(
        cell_width=cell, cell_height=tall, left=left, top=_LEGEND + head, slanted=slanted,
        width=max(left + cell * len(column_names) + over, left + 200.0),
        height=_LEGEND + head + tall * len(row_names) + 8,
    )  # fmt: skip


def _shown(labels: list[str | int | float]) -> list[str]:
    return [shortened(label, _LABEL_LIMIT) for label in names(labels)]


def _cells(axes: Axes, heatmap: Heatmap, cmap: Colormap, low: float, high: float) -> None:

    values = np.array([[math.nan if v is None else v for v in row] for row in heatmap.values], dtype=float)
    values = values.reshape(len(heatmap.rows), len(heatmap.columns))
    fine = values.size > _VECTOR_CELLS
    axes.pcolormesh(
        np.ma.masked_invalid(values), cmap=cmap, vmin=low, vmax=high, rasterized=fine,
        edgecolors="none" if fine else PAPER, linewidth=0 if fine else 1,
    )  # fmt: skip
    for row, column in zip(*np.nonzero(np.isnan(values)), strict=True):
        axes.add_patch(Rectangle((column, row), 1, 1, facecolor="none", edgecolor=MUTED, hatch="////", linewidth=0))
    axes.set_ylim(max(len(heatmap.rows), 1), 0)
    axes.set_xlim(0, max(len(heatmap.columns), 1))
    axes.set_axis_off()


def _annotate(axes: Axes, heatmap: Heatmap, low: float, high: float) -> None:
    for row, values in enumerate(heatmap.values):
        for column, value in enumerate(values):
            if value is None:
                continue
            color = ink(value, low, high)
            axes.text(column + 0.5, row + 0.52, short(value), horizontalalignment="center",
                      verticalalignment="center", fontsize=FONT - 1, color=color)  # fmt: skip


def short(value: float) -> str:
    """A value as it stands in a cell: two decimals below ten."""
    if abs(value) < 10:
        return f"{value:.2f}".replace("-0.00", "0.00").replace("-", MINUS)
    return number(value)


def _labels(canvas: Canvas, heatmap: Heatmap, plan: Plan) -> None:
    step = max(1, math.ceil(14 / plan.cell_height))
    for index, name in list(enumerate(_shown(heatmap.rows)))[::step]:
        middle = plan.top + plan.cell_height * (index + 0.5)
        canvas.text(plan.left - 8, middle, name, horizontalalignment="right")
    column_names = _shown(heatmap.columns)
    room = 14.0 if plan.slanted else max(map(text_width, column_names), default=0.0) + 6
    step = max(1, math.ceil(room / plan.cell_width))
    for index, name in list(enumerate(column_names))[::step]:
        middle = plan.left + plan.cell_width * (index + 0.5)
        if plan.slanted:
            canvas.text(middle, plan.top - 6, name, rotation=40, rotation_mode="anchor",
                        verticalalignment="baseline")  # fmt: skip
        else:
            canvas.text(middle, plan.top - 11, name, horizontalalignment="center")


def _legend(canvas: Canvas, cmap: Colormap, low: float, high: float, unit: str) -> None:

    first, last = tick(round(low, 3)), tick(round(high, 3))
    # Whole pixels, so that no seams show between the steps.
    left, steps, step = float(math.ceil(4 + text_width(first, FONT - 1) + 6)), 24, 5
    right = left + steps * step + 6
    axes = canvas.axes(left, 5, steps * step, 10)
    axes.pcolormesh(np.linspace(low, high, steps)[None, :], cmap=cmap, vmin=low, vmax=high)
    axes.set_axis_off()
    canvas.text(left - 6, 10, first, fontsize=FONT - 1, color=MUTED, horizontalalignment="right")
    canvas.text(right, 10, last, fontsize=FONT - 1, color=MUTED)
    canvas.text(right + text_width(last, FONT - 1) + 10, 10, shortened(unit, 40), fontsize=FONT - 1, color=MUTED)


def chart(altair: Any, heatmap: Heatmap) -> Any:
    """The same as an Altair chart, in which each cell gives its exact value."""
    low, high = color_range(heatmap)
    anchors = list(colors(low, high))
    stops = [low + (high - low) * index / (len(anchors) - 1) for index in range(len(anchors))]
    rows, columns = _distinct(names(heatmap.rows)), _distinct(names(heatmap.columns))
    unit, plan = heatmap.unit or "value", planned(heatmap, WIDE)
    cells: list[dict[str, Any]] = [
        {"row": row, "column": column, "value": value, "exact": number(value),
         "shown": number(value) if value is None else short(value),
         "ink": THEME[MUTED] if value is None else ink(value, low, high)}
        for row, values in zip(rows, heatmap.values, strict=True)
        for column, value in zip(columns, values, strict=True)
    ]  # fmt: skip
    angle = -40 if plan.slanted else 0
    base = altair.Chart(altair.InlineData(values=cells)).encode(
        x=altair.X("column:N", sort=columns, title=None, axis=altair.Axis(orient="top", labelAngle=angle)),
        y=altair.Y("row:N", sort=rows, title=None),
        tooltip=[altair.Tooltip("row:N", title="row"), altair.Tooltip("column:N", title="column"),
                 altair.Tooltip("exact:N", title=unit)],
    )  # fmt: skip
    scale = altair.Scale(type="linear", domain=stops, range=anchors, clamp=True, interpolate="rgb")
    shade = altair.Color("value:Q", scale=scale, legend=altair.Legend(title=heatmap.unit or None, gradientLength=140))
    layers = base.mark_rect(stroke="#8882").encode(
        color=altair.condition("isValid(datum.value)", shade, altair.value("transparent"))
    )
    if max(len(rows), len(columns)) <= ANNOTATED:
        layers = layers + base.mark_text(fontSize=11).encode(text="shown:N", color=altair.Color("ink:N", scale=None))
        # The ink is a colour already; on one scale with the values it would be taken for a value.
        layers = layers.resolve_scale(color="independent")
    return layers.properties(width=plan.cell_width * len(columns), height=plan.cell_height * len(rows))


def _distinct(labels: list[str]) -> list[str]:
    """Labels in order, a count after each repeated one: Vega would put equal ones into one row."""
    counts: Counter[str] = Counter()
    distinct = []
    for label in labels:
        counts[label] += 1
        distinct.append(label if counts[label] == 1 else f"{label} ({counts[label]})")
    return distinct
