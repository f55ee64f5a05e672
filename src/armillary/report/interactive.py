"""Figures that answer to pointing: a Vega-Lite specification by Altair, and the scripts that draw it offline."""

import json
from collections import Counter
from functools import lru_cache
from typing import Any

from armillary.records.sections import Figure, Heatmap, Points, names
from armillary.report.canvas import MUTED, SERIES, THEME, WIDE
from armillary.report.figure_data import drawable
from armillary.report.heatmap import ANNOTATED, color_range, colors, ink, planned, short
from armillary.report.wording import number

_CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {"labelColor": "currentColor", "titleColor": "currentColor", "titleFontWeight": "normal",
             "labelFontSize": 12, "titleFontSize": 12, "gridColor": "#8884", "domain": False, "ticks": False,
             "labelPadding": 6},
    "legend": {"labelColor": "currentColor", "titleColor": "currentColor", "orient": "top", "labelFontSize": 12,
               "labelLimit": 260, "title": None, "titleFontWeight": "normal", "titleFontSize": 12},
}  # fmt: skip


def specification(figure: Figure) -> str | None:
    """The figure as Vega-Lite JSON that may stand inside a ``<script>`` element; None where none can be made.

    That is so for a kind whose still picture says as much, and where Altair is not installed. Words of a model are
    values of the data, never HTML, and no character of the result can end the element.
    """
    if not figure.interactive:
        return None
    data = drawable(figure)
    if not isinstance(data, (Heatmap, Points)):
        return None
    try:
        import altair
    except ImportError:
        return None
    chart = _points(altair, data) if isinstance(data, Points) else _heatmap(altair, data)
    specified: dict[str, Any] = chart.to_dict()
    return script_safe({**specified, "config": _CONFIG, "usermeta": {"embedOptions": {"actions": False}}})


@lru_cache(maxsize=1)
def scripts() -> str | None:
    """Vega, Vega-Lite and Vega-Embed as one script (0.9 MB); None where vl-convert is not installed."""
    try:
        import vl_convert
    except ImportError:
        return None
    # A carriage return would be read as a newline, and the checksum in the page's policy would not fit.
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("\r", "")
    return bundle.replace("</script", r"<\/script").replace("<!--", r"<\!--")


def script_safe(data: Any) -> str:
    """``data`` as JSON in which no character means anything to an HTML reader."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False)
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _points(altair: Any, points: Points) -> Any:
    labels, groups = names(points.labels), names(points.groups)
    rows: list[dict[str, Any]] = [
        {"x": x, "y": y, "label": labels[index] if labels else "", "group": groups[index] if groups else ""}
        for index, (x, y) in enumerate(zip(points.x, points.y, strict=True))
        if x is not None and y is not None
    ]
    x_label, y_label = points.x_label, points.y_label
    tips = [altair.Tooltip("x:Q", title=x_label or "x", format=".3~g"),
            altair.Tooltip("y:Q", title=y_label or "y", format=".3~g")]  # fmt: skip
    chart = altair.Chart(altair.InlineData(values=rows), width="container", height=360).mark_point(
        filled=True, size=70, opacity=0.8
    )
    scale = altair.Scale(zero=False, nice=False, padding=16)
    encoding: dict[str, Any] = {
        "x": altair.X("x:Q", title=x_label, scale=scale, axis=altair.Axis(tickCount=6)),
        "y": altair.Y("y:Q", title=y_label, scale=scale, axis=altair.Axis(tickCount=6)),
        "color": altair.value(THEME[SERIES[0]]),
    }
    if len(set(groups)) > 1:
        distinct = list(dict.fromkeys(groups))
        shades = [THEME[SERIES[index % len(SERIES)]] for index in range(len(distinct))]
        encoding["color"] = altair.Color("group:N", scale=altair.Scale(domain=distinct, range=shades))
        encoding["shape"] = altair.Shape("group:N", scale=altair.Scale(domain=distinct))
    tips = [altair.Tooltip("group:N", title="group"), *tips] if groups else tips
    tips = [altair.Tooltip("label:N", title="name"), *tips] if labels else tips
    return chart.encode(tooltip=tips, **encoding)


def _heatmap(altair: Any, heatmap: Heatmap) -> Any:
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
