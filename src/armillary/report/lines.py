"""Lines over one x, each with its interval as a band and its name at its end."""

import math
from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from armillary.records.sections import Lines, Series, names
from armillary.report.canvas import DASHES, FONT, MARKERS, MUTED, NARROW, SERIES, Canvas, grid, text_width
from armillary.report.wording import shortened, tick

_NAME_LIMIT, _LEGEND_ROW, _MANY_POINTS, _FEW_POINTS = 26, 20.0, 40, 8


def layout(lines: Lines, width: float) -> tuple[float, Callable[[Canvas], None]]:
    """Height of the picture and the drawing of it."""
    labels = [shortened(series.name, _NAME_LIMIT) for series in lines.series]
    named = len(labels) > 1
    # A narrow picture has no room beside the lines, and many names can't all stand at their lines' ends.
    beside = named and width > NARROW and len(labels) <= 6
    rows = _legend_rows(labels, width) if named and not beside else []
    head = 10 + _LEGEND_ROW * len(rows) + (18 if lines.y_label else 0)
    plot_height = 230.0 if width <= NARROW else 280.0
    height = head + plot_height + 46

    def draw(canvas: Canvas) -> None:
        right = max(map(text_width, labels)) + 18 if beside else 12
        axes = canvas.axes(46, head, width - 46 - right, plot_height)
        positions = _positions(axes, lines)
        for index, series in enumerate(lines.series):
            _line(axes, positions, series, index)
        _finish(axes, lines)
        if lines.y_label:
            canvas.text(4, head - 14, lines.y_label, color=MUTED)
        if beside:
            _names_beside(axes, positions, lines.series, labels, plot_height)
        _legend(canvas, rows)

    return height, draw


def _positions(axes: Axes, lines: Lines) -> list[float]:
    if all(isinstance(x, (int, float)) for x in lines.x):
        return [float(x) for x in lines.x]
    positions = list(range(len(lines.x)))
    step = max(1, math.ceil(len(positions) / 12))
    axes.set_xticks(positions[::step], [shortened(name, 12) for name in names(lines.x)[::step]])
    return [float(position) for position in positions]


def _line(axes: Axes, x: list[float], series: Series, index: int) -> None:
    color = SERIES[index % len(SERIES)]
    # A value whose neighbours are missing shows only by its marker.
    marker = MARKERS[index % len(MARKERS)] if len(x) <= _MANY_POINTS else "."
    if series.low is not None and series.high is not None:
        axes.fill_between(x, _numbers(series.low), _numbers(series.high), color=color, alpha=0.18, linewidth=0)
    axes.plot(
        x, _numbers(series.y), color=color, linewidth=1.8, linestyle=DASHES[index % len(DASHES)], marker=marker,
        markersize=4 if len(x) <= _MANY_POINTS else 1.5, markeredgewidth=0,
    )  # fmt: skip


def _numbers(values: list[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _finish(axes: Axes, lines: Lines) -> None:
    if lines.log_x:
        axes.set_xscale("log")
        if len(lines.x) <= _FEW_POINTS:  # powers of ten alone would leave "1, 4, 8" with one mark or none
            axes.xaxis.set_major_locator(FixedLocator([float(x) for x in lines.x]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    elif all(isinstance(x, int) for x in lines.x):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
    axes.margins(x=0.02)
    axes.set_xlabel(lines.x_label, labelpad=6)
    axes.spines["left"].set_visible(False)
    grid(axes, "y")


def _names_beside(axes: Axes, x: list[float], series: list[Series], labels: list[str], plot_height: float) -> None:
    low, high = map(float, axes.get_ylim())
    wanted = []
    for index, line in enumerate(series):
        known = [y for y in line.y if y is not None]
        if known:
            wanted.append(((known[-1] - low) / (high - low) * plot_height, index))
    heights = spread([at for at, _ in sorted(wanted)], plot_height)
    for (at, index), height in zip(sorted(wanted), heights, strict=True):
        color = SERIES[index % len(SERIES)]
        axes.annotate(
            labels[index], xy=(1, at / plot_height), xytext=(1, height / plot_height), xycoords="axes fraction",
            textcoords="axes fraction", color=color, verticalalignment="center",
            horizontalalignment="left", annotation_clip=False,
        ).set_x(1 + 8 / axes.get_window_extent().width)  # fmt: skip


def spread(wanted: list[float], height: float, gap: float = 16.0) -> list[float]:
    """Sorted positions moved apart to ``gap``, as little as a push up and a push down need."""
    placed: list[float] = []
    for at in wanted:
        placed.append(max(at, placed[-1] + gap if placed else gap / 2))
    ceiling = height
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], ceiling)
        ceiling = placed[index] - gap
    return placed


def _legend_rows(labels: list[str], width: float) -> list[list[tuple[int, str, float]]]:
    """Legend entries (series, label, left) in rows that fit the width."""
    rows: list[list[tuple[int, str, float]]] = [[]]
    left = 4.0
    for index, label in enumerate(labels):
        wide = 34 + text_width(label, FONT - 1) + 14
        if left + wide > width and rows[-1]:
            rows.append([])
            left = 4.0
        rows[-1].append((index, label, left))
        left += wide
    return rows


def _legend(canvas: Canvas, rows: list[list[tuple[int, str, float]]]) -> None:
    for row, entries in enumerate(rows):
        middle = 10 + _LEGEND_ROW * row
        for index, label, left in entries:
            axes = canvas.axes(left, middle - 6, 26, 12)
            axes.plot([0, 1, 2], [0, 0, 0], color=SERIES[index % len(SERIES)], linewidth=1.8,
                      linestyle=DASHES[index % len(DASHES)])  # fmt: skip
            axes.plot([1], [0], color=SERIES[index % len(SERIES)], marker=MARKERS[index % len(MARKERS)], markersize=5)
            axes.set_axis_off()
            canvas.text(left + 34, middle, label, fontsize=FONT - 1)
