"""Figures: one themed SVG element each, the same for the same data, with nothing that leaks or breaks a page."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib
import pytest

from armillary.errors import UsageError
from armillary.records import Figure
from armillary.records.sections import Bars, FigureData, Heatmap, Lines, Points, Series
from armillary.report.canvas import INK, SERIES
from armillary.report.drawing import svg
from armillary.report.heatmap import color_range, ink
from armillary.report.lines import spread

Figures = Callable[[str, bool], list[Figure]]
KINDS = range(4)
NARROW = [False, True]


def bars(**data: Any) -> Figure:
    return drawing(Bars(**{"labels": ["a", "b"], "values": [1.0, 2.0], **data}))


def drawing(data: FigureData) -> Figure:
    return Figure(title="T", alt="t", data=data)


def line(y: list[float | None]) -> Series:
    return Series(name="n", y=y)


def texts(image: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(image).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("narrow", NARROW)
def test_a_figure_is_one_described_element(make_figures: Figures, kind: int, narrow: bool) -> None:
    image = svg(make_figures("word", False)[kind], narrow=narrow)
    root = ET.fromstring(image)
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and root.attrib["role"] == "img"
    assert [child.text for child in root[:2]] == ["word", "word"]
    assert "<?xml" not in image and "<style" not in image and "<metadata" not in image
    assert "DejaVu" not in image
    if kind or not narrow:
        assert float(root.attrib["width"]) <= (350 if narrow else 760)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_data_gives_the_same_bytes(make_figures: Figures, kind: int) -> None:
    assert svg(make_figures("w", False)[kind]) == svg(make_figures("w", False)[kind])
    assert svg(make_figures("w", False)[kind]) != svg(make_figures("v", False)[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("narrow", NARROW)
def test_hostile_words_are_text(make_figures: Figures, hostile: str, kind: int, narrow: bool) -> None:
    image = svg(make_figures(hostile, False)[kind], narrow=narrow)
    tags = {element.tag.rpartition("}")[2] for element in ET.fromstring(image).iter()}
    assert tags <= {"svg", "title", "desc", "g", "defs", "path", "text", "clipPath", "rect", "use", "pattern"}
    assert "<script>" not in image and "\x00" not in image and "\u202e" not in image


@pytest.mark.parametrize("kind", KINDS)
def test_colours_follow_the_page(make_figures: Figures, kind: int) -> None:
    image = svg(make_figures("w", False)[kind])
    assert "currentColor" in image and INK not in image
    assert all(f"{color};" not in image.replace(f", {color})", "") for color in SERIES)


def test_global_settings_stay(make_figures: Figures) -> None:
    with matplotlib.rc_context({"font.size": 40, "axes.grid": True}):
        before = matplotlib.rcParams.copy()
        inside = svg(make_figures("w", False)[2])
        assert matplotlib.rcParams == before
    assert inside == svg(make_figures("w", False)[2])


def test_ids_are_the_figures_own(make_figures: Figures) -> None:
    first, second = (svg(make_figures("w", False)[0], prefix=prefix) for prefix in ("a-", "b-"))
    for image, prefix in ((first, "a-"), (second, "b-")):
        ids = [element.attrib["id"] for element in ET.fromstring(image).iter() if "id" in element.attrib]
        assert len(ids) == len(set(ids)) and all(one.startswith(prefix) for one in ids)
        assert image.count("url(#") == image.count(f"url(#{prefix}")


def test_missing_cells_are_hatched_and_the_others_carry_numbers(make_figures: Figures) -> None:
    image = svg(make_figures("w", False)[0])
    assert "<pattern" in image
    shown = texts(image)
    assert "0.10" in shown and "\N{MINUS SIGN}0.10" in shown and shown.count("0.90") == 1


def test_a_large_heat_map_has_no_numbers_in_its_cells() -> None:
    heatmap = Heatmap(rows=[*range(16)], columns=[*range(16)], values=[[0.25] * 16 for _ in range(16)])
    assert "0.25" not in texts(svg(drawing(heatmap)))


def test_a_huge_heat_map_stays_small() -> None:
    values: list[list[float | None]] = [[float(row * column % 7) for column in range(100)] for row in range(100)]
    assert len(svg(drawing(Heatmap(rows=[*range(100)], columns=[*range(100)], values=values)))) < 200_000


def test_the_range_is_symmetric_where_both_signs_occur() -> None:
    heatmap = Heatmap(rows=["a"], columns=["b", "c"], values=[[-0.1, 0.5]])
    assert color_range(heatmap) == (-0.5, 0.5)
    assert color_range(replace(heatmap, low=0.0, high=1.0)) == (0.0, 1.0)
    assert color_range(replace(heatmap, values=[[None, None]])) == (-0.5, 0.5)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0)])
def test_cell_numbers_can_be_read(low: float, high: float) -> None:
    import matplotlib.colors

    from armillary.report.heatmap import colors

    cmap = matplotlib.colors.LinearSegmentedColormap.from_list("cells", list(colors(low, high)))

    def luminance(color: Any) -> float:
        channels = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in matplotlib.colors.to_rgb(color)
        ]
        return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]

    for step in range(101):
        value = low + (high - low) * step / 100
        pair = sorted((luminance(cmap(step / 100)), luminance(ink(value, low, high))))
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.2, value


def test_names_at_line_ends_keep_their_distance() -> None:
    placed = spread([10.0, 11.0, 12.0, 279.0, 280.0], 280.0)
    assert all(b - a >= 15.999 for a, b in pairwise(placed))
    assert placed[-1] <= 280 and placed[0] >= 8


@pytest.mark.parametrize(
    "figure",
    [
        bars(labels=[], values=[]),
        bars(values=[None, None]),
        drawing(Lines(x=[], series=[])),
        drawing(Lines(x=["a"], series=[line([None])] * 9)),
        drawing(Points(x=[], y=[])),
        drawing(Points(x=[1.0, 1.0], y=[2.0, 2.0], labels=["a", "b"])),
        drawing(Heatmap(rows=[], columns=[], values=[])),
        drawing(Heatmap(rows=["a"], columns=["b"], values=[[3.0]])),
        drawing(Lines(x=[1, 10, 1000], log_x=True, series=[line([1e9, 2e9, 3e9])])),
    ],
)  # fmt: skip
def test_thin_data_is_drawn(figure: Figure) -> None:
    for narrow in NARROW:
        assert "mathdefault" not in svg(figure, narrow=narrow)


def test_few_places_of_a_logarithmic_axis_are_all_named() -> None:
    drawn = svg(drawing(Lines(x=[2, 4, 8], log_x=True, series=[line([0.1, 0.2, 0.3])])))
    assert all(f">{place}<" in drawn for place in (2, 4, 8))


@pytest.mark.parametrize(
    ("kind", "data", "sentence"),
    [
        ("bars", {"values": [1]}, "are 2 labels but 1 values"),
        ("bars", {"values": ["x", 1]}, r"The data of figure 'T'.values\[0\] must be"),
        ("bars", {"values": [1, 2], "colour": "red"}, "unknown fields: colour"),
        ("bars", {"values": [1, 2], "reference": [1]}, "but 1 reference"),
        ("lines", {"x": [1, 2], "series": [{"name": "n", "y": [1]}]}, "2 x but 1 y of 'n'"),
        ("points", {"x": [1]}, "lacks y"),
        ("heatmap", {"rows": ["a"], "columns": ["b"], "values": [[1, 2]]}, "Row 0 of a heat map has 2 values"),
        ("pie", {}, "is no figure of a kind that is known"),
    ],
)
def test_broken_data_gets_one_sentence(kind: str, data: dict[str, Any], sentence: str) -> None:
    """Whoever makes such a figure hears of it, and so does whoever reads it from a record."""
    labels = {"labels": ["a", "b"]} if kind == "bars" else {}
    with pytest.raises(UsageError, match=sentence):
        Figure.from_plain({"kind": kind, "title": "T", "alt": "", "data": {**labels, **data}}, "The figure")


def test_a_figure_is_checked_where_it_is_made() -> None:
    with pytest.raises(UsageError, match="2 labels but 1 low"):
        bars(low=[0.0])
    with pytest.raises(UsageError, match="Row 1 of a heat map has 0 values for 1 columns"):
        Heatmap(rows=["a", "b"], columns=["c"], values=[[1.0], []])
