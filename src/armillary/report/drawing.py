"""A figure's data as one SVG element that follows the page: its fonts, its width, its light or dark colours."""

import hashlib
import re
from xml.etree import ElementTree as ET

from armillary.errors import UsageError
from armillary.records.plain import digest
from armillary.records.sections import AnswerPairs, Bars, Figure, Heatmap, Lines, MarkedTexts, OrderPairs, Tokens
from armillary.report import bars, heatmap, lines, points
from armillary.report.canvas import NARROW, THEME, WIDE, drawn
from armillary.report.figure_data import drawable
from armillary.report.wording import visible

# matplotlib's SVG made fit for a page: themed, described, and without anything that leaks into the page around it.

_HEX = re.compile(r"#[0-9a-f]{6}\b")
_REFERENCE = re.compile(r"#([\w-]+)")
_FAMILY = re.compile(r"(?:;\s*)?font-family: [^;]+|(?<=px) '[^;]+")
_NUMBER = re.compile(r"-?\d+\.\d{3,}")


def themed(svg: str, *, title: str, description: str, prefix: str) -> str:
    """One ``<svg>`` element: text as text, colours by CSS variable, ids that start with ``prefix``."""
    source = ET.fromstring(svg)
    _plain_names(source)
    _, _, width, height = source.attrib["viewBox"].split()
    root = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {width} {height}",
            "width": width,
            "height": height,
            "role": "img",
            "aria-labelledby": f"{prefix}title {prefix}desc",
            "stroke-linejoin": "round",
            "font-family": "system-ui, sans-serif",
        },
    )
    ET.SubElement(root, "title", {"id": f"{prefix}title"}).text = title
    ET.SubElement(root, "desc", {"id": f"{prefix}desc"}).text = description
    root.extend(child for child in source if child.tag != "metadata")
    # matplotlib's style sheet would reach every element of the page.
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag == "style"]:
            parent.remove(child)
    _without_empty(root)
    _prefix_ids(root, prefix)
    for element in root.iter():
        _theme(element)
    return ET.tostring(root, encoding="unicode")


def _plain_names(root: ET.Element) -> None:
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for name in [name for name in element.attrib if name.startswith("{")]:
            element.set(name.rpartition("}")[2], element.attrib.pop(name))
        if element.tail:
            element.tail = "\n" if element.tail.isspace() else element.tail
        if element.text and element.text.isspace() and len(element):
            element.text = None


def _prefix_ids(root: ET.Element, prefix: str) -> None:
    used = {name for element in root.iter() for value in element.attrib.values() for name in _REFERENCE.findall(value)}
    for element in root.iter():
        for name, value in element.attrib.items():
            if name == "href" or "url(#" in value:
                element.set(name, _REFERENCE.sub(rf"#{prefix}\1", value, count=1))
        # Groups are numbered by matplotlib for editors; only what is referred to needs a name.
        identity = element.get("id")
        if identity is not None and not identity.startswith(prefix):
            if identity in used:
                element.set("id", prefix + identity)
            else:
                del element.attrib["id"]


def _theme(element: ET.Element) -> None:
    style = element.get("style")
    if style is not None:
        style = _HEX.sub(lambda color: THEME.get(color[0], color[0]), style)
        # The page's own font draws the text.
        element.set("style", _FAMILY.sub("", style) if element.tag == "text" else style)
    if element.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]
    for name in ("d", "x", "y", "transform"):
        if name in element.attrib:
            element.set(name, " ".join(_NUMBER.sub(_rounded, element.attrib[name]).split()))


def _rounded(digits: re.Match[str]) -> str:
    return f"{float(digits[0]):.2f}"


def _without_empty(parent: ET.Element) -> None:
    for child in list(parent):
        _without_empty(child)
        unseen = child.tag == "path" and child.get("style") == "fill: none"
        if unseen or (child.tag in ("g", "defs") and not len(child)):
            parent.remove(child)


def svg(figure: Figure, *, narrow: bool = False, prefix: str = "") -> str:
    """The figure as an ``<svg>`` element, the same bytes for the same data.

    Text stays text, in the font of the page; colours are CSS variables with a light default (``report.canvas.THEME``);
    ``title`` and ``alt`` describe it to a screen reader. ``narrow`` draws for a phone's width (a heat map is never
    narrowed: its page lets it scroll). ids start with ``prefix``, or with a digest of the data.

    Raises:
        UsageError: the data is not what the kind of figure needs, or the figure is one of text (``report.tokens``).
    """
    data = drawable(figure)
    width: float = NARROW if narrow else WIDE
    if isinstance(data, Heatmap):
        width, height, draw = heatmap.layout(data, WIDE)
    elif isinstance(data, Bars):
        height, draw = bars.layout(data, width)
    elif isinstance(data, Lines):
        height, draw = lines.layout(data, width)
    elif isinstance(data, (AnswerPairs, MarkedTexts, OrderPairs, Tokens)):
        raise UsageError(f"Figure {figure.title!r} is of kind {figure.kind!r}, which is text and not a drawing.")
    else:
        height, draw = points.layout(data, width)
    prefix = prefix or f"figure-{hashlib.sha256(f'{digest(figure)}{narrow}'.encode()).hexdigest()[:10]}-"
    return themed(
        drawn(width, height, draw), title=visible(figure.title), description=visible(figure.alt), prefix=prefix
    )
