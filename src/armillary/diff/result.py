"""What a diff gives in Python: its verdict, its comparisons as a data frame, its figures, its page."""

import html
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from armillary.diff.page import EFFECTS, HOW_SURE
from armillary.errors import UsageError
from armillary.extras import optional
from armillary.files import write_atomic
from armillary.records.record import FILE_NAME, RunRecord
from armillary.records.sections import Cell, Figure, Finding
from armillary.runs.folder import REPORT_NAME

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Picture:
    """A figure of a page: a notebook shows it, ``save`` writes it."""

    figure: Figure
    record: RunRecord
    """The record that it is from."""

    def page(self) -> str:
        """The figure alone as a whole HTML page."""
        from armillary.report.html import render_html

        section = next(section for section in self.record.sections if self.figure in section.figures)
        alone = replace(section, figures=[self.figure], tables=[], folded=False)
        return render_html(replace(self.record, title=self.figure.title, sections=[alone], findings=[], measures={}))

    def save(self, path: Path | str) -> None:
        """Write it as .svg or .html, by the file's ending. UsageError for another one, or text as .svg."""
        from armillary.report.drawing import svg

        ending = Path(path).suffix.lower()
        if ending not in (".svg", ".html"):
            raise UsageError(f"A figure is saved as .svg or .html; got {str(path)!r}.")
        write_atomic(path, svg(self.figure) if ending == ".svg" else self.page())

    def _repr_html_(self) -> str:
        # A frame of its own: the page's style sheet would reach the notebook around it.
        return f'<iframe srcdoc="{html.escape(self.page())}" style="width: 100%; height: 40rem; border: 0"></iframe>'


@dataclass(frozen=True)
class DiffResult:
    """A finished diff. ``print(result)`` tells its verdict."""

    record: RunRecord

    @property
    def verdict(self) -> list[Finding]:
        """The verdict's lines in their order, "not seen" last."""
        return sorted(self.record.findings, key=lambda finding: -finding.interest)

    def comparisons(self) -> list[dict[str, Cell]]:
        """Every comparison of the page: change, interval, corrected p, noise floor, whether it is in the verdict."""
        section = next(section for section in self.record.sections if section.id == HOW_SURE)
        return [dict(zip(EFFECTS, row, strict=True)) for row in section.tables[0].rows]

    def to_frame(self) -> "pandas.DataFrame":
        """``comparisons`` as a pandas data frame, a row each. UsageError where pandas is not installed."""
        frame: pandas.DataFrame = optional("pandas").DataFrame(self.comparisons(), columns=EFFECTS)
        return frame

    def figure(self, name: str) -> Picture:
        """The figure of that title, or the first of the section of that id. UsageError names those that are near."""
        named = {figure.title: figure for section in self.record.sections for figure in section.figures}
        named |= {section.id: section.figures[0] for section in self.record.sections if section.figures}
        if name not in named:
            near = get_close_matches(name, named, n=2, cutoff=0.5) or list(named)
            raise UsageError(f"There is no figure {name!r}; there are {', '.join(near)}.")
        return Picture(named[name], self.record)

    def save(self, folder: Path | str) -> Path:
        """Write record.json and report.html into ``folder``, which is made if need be; the path of the page."""
        from armillary.report.html import render_html

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.record.save(folder / FILE_NAME)
        write_atomic(folder / REPORT_NAME, render_html(self.record))
        return folder / REPORT_NAME

    def __str__(self) -> str:
        from armillary.report.terminal import summary

        return "\n".join(summary(self.record))
