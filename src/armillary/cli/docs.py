"""The README's table of methods, made from the cards and the committed records.

``python -m armillary.cli.docs`` rewrites the table; a test fails while it is stale.
"""

import sys
from pathlib import Path

from armillary.cards import CARDS
from armillary.cli.measured import measured, verdict_counts
from armillary.errors import UsageError
from armillary.runs.atomic import write_atomic

BEGIN, END = "<!-- methods: begin (made by python -m armillary.cli.docs) -->", "<!-- methods: end -->"


def methods_table(results: Path) -> str:
    """A Markdown table with one row a method."""
    rows = ["| method | what it shows | paper | measured |", "|---|---|---|---|"]
    for card in CARDS:
        told = "; ".join(f"{name}: {verdict_counts(record)}" for name, record in measured(card.name, results).items())
        rows.append(
            f"| [`{card.name}`](docs/methods/{card.name}.md) | {card.claim} | [{card.authors}]({card.link}) "
            f"| {told or 'not yet'} |"
        )
    return "\n".join(rows)


def with_table(text: str, table: str) -> str:
    """``text`` with ``table`` between the two markers. Raises UsageError where they are missing."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise UsageError("README.md must hold each marker of the table of methods once.")
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}"


def main(root: Path) -> int:
    """Rewrite the table in the README of the checkout ``root``."""
    readme = root / "README.md"
    write_atomic(readme, with_table(readme.read_text("utf-8"), methods_table(root / "results")))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))
