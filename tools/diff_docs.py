"""Tables of the diff's page in the docs: cards, sizes and pages without a change, and the peers beside it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.diff_cards import cards

from armillary.diff.calibration import card_table
from armillary.records.record import RunRecord
from armillary.records.sections import Cell, Table
from armillary.report.wording import number

PEERS = "diff_peers.json"
GOAL_MEMORY = 0.5
"""Of a peer's peak memory, that the goal allows."""


def recorded(results: Path) -> RunRecord | None:
    """The committed record of the calibration."""
    paths = sorted(results.glob("diff_calibration-*.json"))
    return RunRecord.load(paths[-1]) if paths else None


def calibration_parts(results: Path) -> dict[str, str]:
    """The generated parts of the page that tell of the calibration, by name."""
    record = recorded(results)
    if record is None:
        return dict.fromkeys(("cards", "sizes", "pages without a change", "limits", "cost"), "Not recorded yet.")
    known = cards(record)
    shown = card_table(known, [card.instrument for card in known.cards])
    tables = {table.title: table for section in record.sections for table in section.tables}
    return {
        "cards": markdown(shown),
        "sizes": markdown(tables["From which size on a change is named"]),
        "pages without a change": markdown(tables["Pages without a change"]),
        "limits": markdown(tables["What each comparison can see"]),
        "cost": costs(tables["What each page cost"]),
    }


def markdown(table: Table) -> str:
    """A table of a record, with its note below."""
    rows = [[shown(cell) for cell in row] for row in table.rows]
    lines = [f"| {' | '.join(row)} |" for row in (table.columns, *rows)]
    text = "\n".join([lines[0], "|" + "---|" * len(table.columns), *lines[1:]])
    return f"{text}\n\n{table.note}" if table.note else text


def shown(cell: Cell) -> str:
    """A cell as the pages show it."""
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else str(cell) if isinstance(cell, int) else number(cell)


def costs(table: Table) -> str:
    """The least, the median and the most of each column of costs, over pages."""
    rows = []
    for index, name in enumerate(table.columns[1:], 1):
        values = sorted(float(value) for row in table.rows if isinstance(value := row[index], int | float))
        if values:
            rows.append([name, *(number(value) for value in (values[0], values[len(values) // 2], values[-1]))])
    lines = [f"| {' | '.join(row)} |" for row in (["what", "least", "median", "most"], *rows)]
    return "\n".join([lines[0], "|---|---|---|---|", *lines[1:], "", table.note])


def peers_part(results: Path) -> str:
    """A row a tool: what it named, its false alarms, its time and its memory; then whether the goal is met."""
    path = results / PEERS
    if not path.exists():
        return "Not measured yet."
    record: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
    settings = record["settings"]
    by_what = {row["what"]: row for row in record["rows"]}
    rows = []
    for tool, named in settings["named"].items():
        minutes, memory = by_what[f"{tool}, processor minutes a pair"], by_what[f"{tool}, peak memory, MB"]
        share = memory["ours"] / memory["peer"]
        rows.append(
            [tool, named, settings["false alarms"][tool], number(minutes["peer"]), number(memory["peer"]),
             number(minutes["ours"] / minutes["peer"]), number(share)]
        )  # fmt: skip
    columns = ["tool", "named", "false alarms", "processor minutes a pair", "peak memory, MB", "ours / its: time",
               "ours / its: memory"]  # fmt: skip
    lines = [f"| {' | '.join(row)} |" for row in (columns, *rows)]
    text = "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]])
    return f"{text}\n\n{goal(rows)}\n\nPairs: {', '.join(settings['pairs'])}; {record['model']}, one core."


def goal(rows: Sequence[Sequence[str]]) -> str:
    """In what ours is ahead of each: more named, no more false alarms, less time, half the memory; in what not."""
    ours, *others = rows
    sentences = []
    for peer in others:
        named, own = (int(row[1].split(" ")[0]) for row in (peer, ours))
        alarms, own_alarms = (int(row[2].split(" ")[0]) for row in (peer, ours))
        held = {
            "more named": own > named,
            "no more false alarms": own_alarms <= alarms,
            "less time": float(peer[5].replace(",", "")) < 1,
            "half the memory": float(peer[6].replace(",", "")) <= GOAL_MEMORY,
        }
        met = ", ".join(what for what, so in held.items() if so) or "nothing"
        unmet = ", ".join(what for what, so in held.items() if not so)
        sentences.append(
            f"Against {peer[0]} the goal is met in: {met}" + (f"; **not met in: {unmet}**." if unmet else ".")
        )
    return " ".join(sentences)
