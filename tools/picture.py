"""The picture of a page's top, for the README: ``python -m tools.picture RECORD docs/images/diff.png``.

Needs Chromium; the page is drawn from the record alone, in its light colours.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from armillary.errors import UsageError
from armillary.records.record import RunRecord
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


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
