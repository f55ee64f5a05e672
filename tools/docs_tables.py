"""Every table and list in README and docs that tells what exists, made from the code and the committed records.

``python -m tools.docs_tables`` rewrites them; a test fails while one is stale.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from armillary.cards import CARDS
from armillary.cli.dispatch import Command
from armillary.cli.main import COMMANDS
from armillary.cli.methods import measured, verdict_counts
from armillary.errors import UsageError
from armillary.files import write_atomic
from armillary.models.packaged import PACKAGED
from armillary.numerics.intervals import Interval

Rows = Sequence[Sequence[str]]


def markers(name: str) -> tuple[str, str]:
    """The lines around the part of a page that has this name."""
    return f"<!-- {name}: begin (made by python -m tools.docs_tables) -->", f"<!-- {name}: end -->"


def with_part(text: str, name: str, part: str) -> str:
    """``text`` with ``part`` between the markers of that name. Raises UsageError where they are missing."""
    begin, end = markers(name)
    if text.count(begin) != 1 or text.count(end) != 1:
        raise UsageError(f"The page must hold each marker of {name!r} once.")
    head, rest = text.split(begin)
    return f"{head}{begin}\n{part}\n{end}{rest.split(end)[1]}"


def table(columns: Sequence[str], rows: Rows) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(row)} |" for row in (columns, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]])


def methods_table(results: Path) -> str:
    """A row a method: the paper's claim, what we found, and how many claims hold on which model."""
    rows = []
    for card in CARDS:
        records = measured(card.name, results)
        counts = "; ".join(f"{name}: {verdict_counts(record)}" for name, record in records.items())
        paper = f"[{card.authors}]({card.link})"
        rows.append(
            [f"[`{card.name}`](docs/methods/{card.name}.md)", card.claim, card.finding, paper, counts or "not yet"]
        )
    return table(["method", "the paper's claim", "what we found", "paper", "its claims, measured"], rows)


def claims_table(method: str, results: Path) -> str:
    """A row for each claim and model: verdict, rule and measures with their intervals."""
    records = measured(method, results)
    if not records:
        return "No record is committed yet."
    rows = []
    for number in range(max(len(record.claims) for record in records.values())):
        for model, record in records.items():
            claim = record.claims[number]
            numbers = "<br>".join(f"{name}: {shown(value)}" for name, value in claim.measured.items())
            note = f"<br>{claim.note}" if claim.note else ""
            rows.append([claim.statement, claim.paper, model, f"**{claim.verdict}**", numbers + note, claim.rule])
    return table(["claim", "paper", "model", "verdict", "measured", "rule"], rows)


def benchmarks_table(results: Path) -> str:
    """A row for each thing that a committed benchmark measured: the peer over us."""
    rows = []
    for path in sorted(results.glob("*.json")):
        record = json.loads(path.read_text("utf-8"))
        for row in record["rows"]:
            times, script = row["ratio"], f"../benchmarks/{record['benchmark'].split('-')[0]}.py"
            spread = f"{times['low']:.2f} to {times['high']:.2f}, {times['repeats']} repeats"
            rows.append(
                [f"[`{record['benchmark']}`]({script})", record["model"], row["what"], f"{row['peer']:.3g}",
                 f"{row['ours']:.3g}", f"**{times['median']:.2f}x**", spread]
            )  # fmt: skip
    return table(["benchmark", "model", "what", "peer", "ours", "peer / ours", "range"], rows)


def commands_table() -> str:
    """A row for each command and each of its actions."""
    rows = []
    for command in COMMANDS:
        rows.append([f"`armillary {command.name}`", command.summary])
        actions: Sequence[Command] = getattr(command.load(), "ACTIONS", ())
        rows += [[f"`armillary {command.name} {action.name}`", action.summary] for action in actions]
    return table(["command", "what it does"], rows)


def models_table() -> str:
    """A row for each model whose weights a package of the Python registry carries."""
    rows = [
        [f"`{model.name}`", model.title, f"{model.parameters / 1e6:.0f} M", f"{model.download_mb} MB", model.licence]
        for model in PACKAGED
    ]
    return table(["model", "what it is", "parameters", "download", "licence"], rows)


def pages_list(docs: Path) -> str:
    """A line for each page: those of the methods with their titles, then the others with their headings."""
    titles = {f"methods/{card.name}.md": card.title for card in CARDS}
    for path in sorted(docs.glob("*.md")):
        if path.name != "index.md":
            titles[path.name] = path.read_text("utf-8").splitlines()[0].removeprefix("# ")
    return "\n".join(f"- [{name}]({name}): {title[0].lower()}{title[1:]}." for name, title in titles.items())


def shown(value: Interval) -> str:
    """ "0.812 [0.790, 0.833]" """
    if value.low is None or value.high is None or value.low == value.high:
        return f"{value.estimate:.3f}"
    return f"{value.estimate:.3f} [{value.low:.3f}, {value.high:.3f}]"


def pages(root: Path) -> dict[Path, str]:
    """Every page with a generated part, by path, as it should read."""
    docs, results = root / "docs", root / "results"
    parts: dict[Path, dict[str, str]] = {
        root / "README.md": {"methods": methods_table(results)},
        docs / "index.md": {"pages": pages_list(docs), "commands": commands_table(), "models": models_table()},
        docs / "benchmarks.md": {"ratios": benchmarks_table(root / "benchmarks" / "results")},
    }
    for card in CARDS:
        further = {f"claims of {name}": claims_table(name, results) for name in card.experiments}
        parts[docs / "methods" / f"{card.name}.md"] = {"claims": claims_table(card.name, results), **further}
    texts = {}
    for path, named in parts.items():
        text = path.read_text("utf-8")
        for name, part in named.items():
            text = with_part(text, name, part)
        texts[path] = text
    return texts


def main(root: Path) -> int:
    """Rewrite the generated parts of the checkout ``root``."""
    for path, text in pages(root).items():
        write_atomic(path, text)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))
