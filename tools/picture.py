"""Pictures for the docs, drawn from records alone, in light colours.

python -m tools.picture RECORD docs/images/diff.png            a page's top, for the README; needs Chromium
python -m tools.picture RECORD docs/images/curve.svg TITLE     the figure of that title
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from armillary.errors import UsageError
from armillary.records.record import RunRecord
from armillary.report.drawing import svg
from armillary.report.html import render_html

WIDTH, HEIGHT = 1120, 1080
"""Pixels: as wide as a page whose contents stand beside it, as high as a verdict of eight lines."""


def main(record: Path, picture: Path) -> int:
    """Writes ``picture``. UsageError where the browser leaves none."""
    with tempfile.TemporaryDirectory() as scratch:
        page, drawn = Path(scratch) / "page.html", Path(scratch) / "page.png"
        page.write_text(render_html(RunRecord.load(record)), "utf-8")
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                   f"--user-data-dir={scratch}/browser", f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={drawn}",
                   f"{page.as_uri()}#light"]  # fmt: skip
        subprocess.run(command, capture_output=True, timeout=120, check=False)
        if not drawn.exists():
            raise UsageError("The page could not be drawn; is Chromium installed?")
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(drawn.read_bytes())
    return 0


def figure(record: Path, picture: Path, title: str) -> int:
    """Writes the record's figure of that title as SVG. UsageError where there is none, naming those there are."""
    figures = [figure for section in RunRecord.load(record).sections for figure in section.figures]
    chosen = next((figure for figure in figures if figure.title == title), None)
    if chosen is None:
        raise UsageError(f"No figure is called {title!r}; there are {'; '.join(figure.title for figure in figures)}.")
    # A page in dark colours would leave dark letters on dark ground: the picture brings its own.
    picture.write_text(svg(chosen).replace("<svg ", '<svg style="background: #fff; color: #1b1f24" ', 1), "utf-8")
    return 0


if __name__ == "__main__":
    arguments = sys.argv[3:]
    task = figure if arguments else main
    sys.exit(task(Path(sys.argv[1]), Path(sys.argv[2]), *arguments))
