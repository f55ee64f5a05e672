"""The README's table of methods and each page's table of claims, made from the cards and the committed records.

``python -m armillary.cli.docs`` rewrites the tables; a test fails while one is stale.
"""

import json
import sys
from pathlib import Path

from armillary.cards import CARDS
from armillary.cli.methods import measured, verdict_counts
from armillary.errors import UsageError
from armillary.files import write_atomic
from armillary.numerics.intervals import Interval

CLAIMS_BEGIN = "<!-- claims: begin (made by python -m armillary.cli.docs) -->"

CLAIMS_END = "<!-- claims: end -->"

RATIOS_BEGIN = "<!-- ratios: begin (made by python -m armillary.cli.docs) -->"

RATIOS_END = "<!-- ratios: end -->"

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


def claims_table(method: str, results: Path) -> str:
    """A Markdown table with a row for each claim and model: verdict, rule and measures with their intervals."""
    records = measured(method, results)
    if not records:
        return "No record is committed yet."
    rows = ["| claim | paper | model | verdict | measured | rule |", "|---|---|---|---|---|---|"]
    for number in range(max(len(record.claims) for record in records.values())):
        for model, record in records.items():
            claim = record.claims[number]
            told = "<br>".join(f"{name}: {shown(value)}" for name, value in claim.measured.items())
            note = f"<br>{claim.note}" if claim.note else ""
            rows.append(
                f"| {claim.statement} | {claim.paper} | {model} | **{claim.verdict}** | {told}{note} | {claim.rule} |"
            )
    return "\n".join(rows)


def benchmarks_table(results: Path) -> str:
    """A Markdown table with a row for each thing that a committed benchmark measured: the peer over us."""
    rows = ["| benchmark | model | what | peer | ours | peer / ours | range |", "|---|---|---|---|---|---|---|"]
    for path in sorted(results.glob("*.json")):
        record = json.loads(path.read_text("utf-8"))
        for row in record["rows"]:
            times, script = row["ratio"], f"../benchmarks/{record['benchmark'].split('-')[0]}.py"
            rows.append(
                f"| [`{record['benchmark']}`]({script}) | {record['model']} "
                f"| {row['what']} | {row['peer']:.3g} | {row['ours']:.3g} | **{times['median']:.2f}x** "
                f"| {times['low']:.2f} to {times['high']:.2f}, {times['repeats']} repeats |"
            )
    return "\n".join(rows)


def shown(value: Interval) -> str:
    """ "0.812 [0.790, 0.833]" """
    if value.low is None or value.high is None or value.low == value.high:
        return f"{value.estimate:.3f}"
    return f"{value.estimate:.3f} [{value.low:.3f}, {value.high:.3f}]"


def with_table(text: str, table: str, markers: tuple[str, str] = (BEGIN, END)) -> str:
    """``text`` with ``table`` between the two markers. Raises UsageError where they are missing."""
    begin, end = markers
    if text.count(begin) != 1 or text.count(end) != 1:
        raise UsageError("The page must hold each marker of its table once.")
    head, rest = text.split(begin)
    return f"{head}{begin}\n{table}\n{end}{rest.split(end)[1]}"


def pages(root: Path) -> dict[Path, str]:
    """Every page with a table, by path, as it should read."""
    readme = root / "README.md"
    found = {readme: with_table(readme.read_text("utf-8"), methods_table(root / "results"))}
    benchmarks = root / "docs" / "benchmarks.md"
    found[benchmarks] = with_table(
        benchmarks.read_text("utf-8"), benchmarks_table(root / "benchmarks" / "results"), (RATIOS_BEGIN, RATIOS_END)
    )
    for card in CARDS:
        page = root / "docs" / "methods" / f"{card.name}.md"
        text = with_table(
            page.read_text("utf-8"), claims_table(card.name, root / "results"), (CLAIMS_BEGIN, CLAIMS_END)
        )
        for name in card.experiments:
            text = with_table(text, claims_table(name, root / "results"), markers_of(name))
        found[page] = text
    return found


def markers_of(experiment: str) -> tuple[str, str]:
    """Around the claims of a further experiment in its method's page."""
    return CLAIMS_BEGIN.replace("claims:", f"claims of {experiment}:"), f"<!-- claims of {experiment}: end -->"


def main(root: Path) -> int:
    """Rewrite the tables in the checkout ``root``."""
    for path, text in pages(root).items():
        write_atomic(path, text)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))
