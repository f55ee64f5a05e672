"""A scatter of points by group, the most extreme of them named."""

import math
from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes

from armillary.records.sections import Points, names
from armillary.report.canvas import FONT, INK, MARKERS, MUTED, NARROW, SERIES, THEME, Canvas, grid, text_width
from armillary.report.wording import shortened

Box = tuple[float, float, float, float]
_LEGEND_ROW, _SIZE, _NAMED = 20.0, 34.0, 14


def layout(points: Points, width: float) -> tuple[float, Callable[[Canvas], None]]:
    """Height of the picture and the drawing of it."""
    groups = list(dict.fromkeys(names(points.groups)))
    rows = _rows(groups, width) if len(groups) > 1 else []
    head = 12 + _LEGEND_ROW * len(rows) + (18 if points.y_label else 0)
    plot_height = 280.0 if width <= NARROW else 380.0

    def draw(canvas: Canvas) -> None:
        plot_width = width - 50 - 16
        axes = canvas.axes(50, head, plot_width, plot_height)
        _marks(axes, points, groups)
        if points.y_label:
            canvas.text(4, head - 14, points.y_label, color=MUTED)
        axes.set_xlabel(points.x_label, labelpad=6)
        _name_extremes(axes, points, plot_width, plot_height, _NAMED if width > NARROW else _NAMED // 2)
        for row, entries in enumerate(rows):
            for group, left in entries:
                _legend_entry(canvas, groups.index(group), shortened(group, 30), left, 10 + _LEGEND_ROW * row)

    return head + plot_height + 46, draw


def _known(points: Points) -> list[tuple[int, float, float]]:
    pairs = zip(points.x, points.y, strict=True)
    return [(index, x, y) for index, (x, y) in enumerate(pairs) if x is not None and y is not None]


def _marks(axes: Axes, points: Points, groups: list[str]) -> None:
    group_of = names(points.groups)
    for order, group in enumerate(groups or [""]):
        own = [(x, y) for index, x, y in _known(points) if not groups or group_of[index] == group]
        axes.scatter(
            [x for x, _ in own], [y for _, y in own], s=_SIZE, color=SERIES[order % len(SERIES)],
            marker=MARKERS[order % len(MARKERS)], alpha=0.8, linewidths=0,
        )  # fmt: skip
    axes.margins(0.08)
    grid(axes, "both")
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def _name_extremes(axes: Axes, points: Points, width: float, height: float, most: int) -> None:
    labels = [shortened(label, 24) for label in names(points.labels)]
    known = _known(points)
    if not labels or not known:
        return
    left, right, low, high = map(float, (*axes.get_xlim(), *axes.get_ylim()))
    # Pixels from the top left, where labels must not meet each other or a point.
    pixels = {i: ((x - left) / (right - left) * width, (high - y) / (high - low) * height) for i, x, y in known}
    taken: list[Box] = [(x - 4, y - 4, x + 4, y + 4) for x, y in pixels.values()]
    middle = (sum(x for x, _ in pixels.values()) / len(pixels), sum(y for _, y in pixels.values()) / len(pixels))
    named = 0
    for index in sorted(pixels, key=lambda i: -math.dist(pixels[i], middle)):
        box = _free_box(pixels[index], text_width(labels[index], FONT - 1), taken, width, height)
        if box is None:
            continue
        taken.append(box)
        axes.text(box[0] / width, 1 - (box[1] + box[3]) / 2 / height, labels[index], fontsize=FONT - 1,
                  transform=axes.transAxes, verticalalignment="center", color=INK)  # fmt: skip
        named += 1
        if named == most:
            return


def _free_box(point: tuple[float, float], wide: float, taken: list[Box], width: float, height: float) -> Box | None:
    x, y = point
    tall = FONT + 3
    corners = [
        (x + 7, y - tall / 2),
        (x - 7 - wide, y - tall / 2),
        (x - wide / 2, y - 7 - tall),
        (x - wide / 2, y + 7),
    ]
    for left, top in corners:
        box = (left, top, left + wide, top + tall)
        inside = left >= 0 and top >= 0 and box[2] <= width and box[3] <= height
        if inside and not any(
            box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3] for other in taken
        ):
            return box
    return None


def _rows(groups: list[str], width: float) -> list[list[tuple[str, float]]]:
    rows: list[list[tuple[str, float]]] = [[]]
    left = 4.0
    for group in groups:
        wide = 18 + text_width(shortened(group, 30), FONT - 1) + 16
        if left + wide > width and rows[-1]:
            rows.append([])
            left = 4.0
        rows[-1].append((group, left))
        left += wide
    return rows


def _legend_entry(canvas: Canvas, order: int, label: str, left: float, middle: float) -> None:
    axes = canvas.axes(left, middle - 6, 12, 12)
    axes.scatter([0], [0], s=_SIZE, color=SERIES[order % len(SERIES)], marker=MARKERS[order % len(MARKERS)],
                 linewidths=0)  # fmt: skip
    axes.set_axis_off()
    canvas.text(left + 18, middle, label, fontsize=FONT - 1)


def chart(altair: Any, points: Points) -> Any:
    """The same as an Altair chart, in which each point says what it is."""
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
