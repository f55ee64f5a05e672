"""Figures that answer to pointing: a Vega-Lite specification by Altair, and the scripts that draw it offline."""

import json
from functools import lru_cache
from typing import Any

from armillary.records.sections import Figure, Heatmap, Points
from armillary.report import heatmap, points
from armillary.report.figure_data import drawable

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
    chart = points.chart(altair, data) if isinstance(data, Points) else heatmap.chart(altair, data)
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
