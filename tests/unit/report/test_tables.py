"""Tables fit the page: by the rules of the style sheet none is wider than the container in which its columns stand."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from armillary import report
from armillary.records import RunRecord, Section, Table
from armillary.records.sections import Cell
from armillary.report.canvas import text_width
from armillary.report.html import render_html
from armillary.report.tables import SHORT, cell, least_width, shape

ROOT = Path(__file__).parents[3]
STYLE = (Path(report.__file__).parent / "page.css").read_text("utf-8")
REM = 16.0


def declared(selector: str, name: str) -> str:
    """The value that the style sheet gives to a property of that very selector."""
    values = re.findall(rf"(?:^|}} ?){re.escape(selector)} {{[^}}]*\b{name}: ([^;}}]+)", STYLE, re.MULTILINE)
    assert len(values) == 1, (selector, name, values)
    return str(values[0])


class Tables(HTMLParser):
    """Each table of a page: its least width in rem, and the class and text of the cells of each column."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: list[tuple[int, list[list[tuple[str, str]]]]] = []
        self.open = self.column = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        kind = dict(attrs).get("class") or ""
        if tag == "table":
            self.tables.append((int(kind.removeprefix("from-")), []))
        elif tag == "tr":
            self.column = 0
        elif tag in ("td", "th"):
            columns = self.tables[-1][1]
            if tag == "th":
                columns.append([])
            columns[self.column].append((kind if tag == "td" else "heading", ""))
            self.column, self.open = self.column + 1, 1

    def handle_endtag(self, tag: str) -> None:
        self.open = 0 if tag in ("td", "th") else self.open

    def handle_data(self, data: str) -> None:
        if self.open:
            kind, text = self.tables[-1][1][self.column - 1][-1]
            self.tables[-1][1][self.column - 1][-1] = (kind, text + data)


def unbreakable(kind: str, text: str) -> float:
    """Pixels below which a cell would be cut, from the style sheet's rules for its class."""
    size = float(declared("table", "font-size").removesuffix("rem")) * REM
    if kind == "long":
        return float(declared(".long", "min-width").removesuffix("rem")) * REM
    if kind == "heading":
        return max((text_width(word, size) for word in text.split()), default=0.0)
    return text_width(text, size)


def too_wide(page: str) -> list[tuple[float, int]]:
    """Tables whose columns need more room than the container has when they stand side by side."""
    side = float(declared("th, td", "padding").split()[1].removesuffix("rem")) * REM
    wide = []
    for least, columns in Tables(page).tables:
        pixels = sum(max(unbreakable(*known) for known in column) + 2 * side for column in columns)
        if pixels > least * REM:
            wide.append((pixels, least))
    return wide


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("*.json")), ids=lambda path: path.stem)
def test_no_table_of_a_committed_record_is_wider_than_its_container(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("armillary.report.html.svg", lambda figure, **_: "")
    page = render_html(RunRecord.load(path))
    tables = Tables(page).tables
    assert len(tables) >= 2 and too_wide(page) == []
    for least, _ in tables:
        # In a narrower container the cells stand one below the other, and none has a width of its own.
        assert f"@container (width < {least}rem) {{\n  .from-{least}, .from-{least} tbody" in page
        assert re.search(
            rf"\.from-{least} td {{[^}}]*min-width: 0;\s+max-width: none;[^}}]*overflow-wrap: anywhere", page
        )
    assert declared(".table", "container-type") == "inline-size"
    assert declared("table", "width") == "100%"


def test_every_cell_names_its_column(make_record: Callable[..., RunRecord], hostile: str) -> None:
    """It stands before the cell where the heads of the columns are not shown."""
    for word in ("plain", hostile):
        page = render_html(make_record(word))
        assert page.count("<td ") == page.count("data-column=") > 0
        assert too_wide(page) == []


def test_a_row_may_be_longer_or_shorter_than_the_heads(make_record: Callable[..., RunRecord]) -> None:
    rows: list[list[Cell]] = [[1, 2, 3], [1]]
    section = Section(id="s", title="S", summary="", meaning="", caution="", tables=[
        Table(title="T", columns=["a", "b"], rows=rows)])  # fmt: skip
    whole = make_record()
    page = render_html(RunRecord(kind="k", title="t", config={}, models={}, seed=0, started="", seconds=0.0,
                                 sections=[*whole.sections, section]))  # fmt: skip
    assert page.count('data-column="a"') == 2


def test_least_widths_grow_with_what_can_not_break() -> None:
    assert least_width(["a"], []) == least_width(["a"], [["b"]]) == 4
    assert least_width(["a"] * 9, [[1234567.0] * 9]) > least_width(["a"] * 9, [[1.0] * 9])
    assert least_width(["text"], [["word " * 4]]) == least_width(["text"], [["word " * 400]]), "long text breaks"
    assert least_width(["one two three four"], []) < least_width(["one-two-three-four"], [])


@pytest.mark.parametrize(
    ("value", "shown", "kind"),
    [
        (True, "yes", "number"), (None, "\N{EN DASH}", "number"), (0.12345, "0.123", "number"),
        ("x" * SHORT, "x" * SHORT, "short"), ("x" * (SHORT + 1), "x" * (SHORT + 1), "long"),
        ("\u202e" * 4, "\u202e" * 4, "long"), ({"a": [1]}, '{"a": [1]}', "short"),
    ],
)  # fmt: skip
def test_cells(value: object, shown: str, kind: str) -> None:
    assert (cell(value), shape(value)) == (shown, kind)
