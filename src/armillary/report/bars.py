"""Horizontal bars with interval whiskers and a tick for the reference (null or chance) of each."""

from collections.abc import Callable

from matplotlib.axes import Axes

from armillary.records.sections import Bars, names
from armillary.report.canvas import FONT, INK, MUTED, PAPER, SERIES, Canvas, grid, text_width
from armillary.report.wording import number, shortened

_ROW, _STACKED_ROW, _THICKNESS, _FOOT = 25.0, 40.0, 12.0, 42.0
_LABEL_LIMIT = 46


def layout(bars: Bars, width: float) -> tuple[float, Callable[[Canvas], None]]:
    """Height of the picture and the drawing of it."""
    labels = [shortened(label, _LABEL_LIMIT) for label in names(bars.labels)]
    label_width = max((text_width(label) for label in labels), default=0.0) + 14
    # Labels that would take the room of the bars stand above them instead.
    stacked = label_width > 0.38 * width
    row = _STACKED_ROW if stacked else _ROW
    head = 28.0 if bars.reference is not None else 6.0
    height = head + row * len(labels) + _FOOT

    def draw(canvas: Canvas) -> None:
        values_width = max((text_width(number(value)) for value in bars.values), default=0.0) + 18
        left = 4.0 if stacked else label_width
        axes = canvas.axes(left, head, width - left - values_width, row * len(labels))
        _marks(axes, bars, row, stacked)
        for index, (label, value) in enumerate(zip(labels, bars.values, strict=True)):
            middle = head + row * index + _middle(row, stacked)
            if stacked:
                canvas.text(left, middle - 17, label, bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1})
            else:
                canvas.text(left - 10, middle, label, horizontalalignment="right")
            canvas.text(width - 2, middle, number(value), horizontalalignment="right", color=INK if value is not None
                        else MUTED)  # fmt: skip
        axes.set_xlabel(bars.x_label, labelpad=6)
        if bars.reference is not None:
            _legend(canvas, bars.reference_name)

    return height, draw


def _middle(row: float, stacked: bool) -> float:
    return row - 11 if stacked else row / 2


def _marks(axes: Axes, bars: Bars, row: float, stacked: bool) -> None:
    half = _THICKNESS / 2
    for index, value in enumerate(bars.values):
        middle = row * index + _middle(row, stacked)
        if value is not None:
            axes.barh(middle, value, height=_THICKNESS, color=SERIES[0], alpha=0.85, linewidth=0)
        low, high = (ends[index] if ends is not None else None for ends in (bars.low, bars.high))
        if low is not None and high is not None:
            axes.plot([low, high], [middle, middle], color=INK, linewidth=1.4, solid_capstyle="butt")
            axes.vlines([low, high], middle - 3, middle + 3, color=INK, linewidth=1.4)
        reference = bars.reference[index] if bars.reference is not None else None
        if reference is not None:
            axes.vlines([reference], middle - half - 4, middle + half + 4, color=SERIES[1], linewidth=2)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.set_ylim(row * max(len(bars.values), 1), 0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=6)
    grid(axes, "x")


def _legend(canvas: Canvas, name: str) -> None:
    label = shortened(name, 40)
    left = canvas.width - 2 - text_width(label, FONT - 1)
    axes = canvas.axes(left - 10, 4, 4, 14)
    axes.axvline(0, color=SERIES[1], linewidth=2)
    axes.set_axis_off()
    canvas.text(left, 11, label, fontsize=FONT - 1, color=MUTED)
