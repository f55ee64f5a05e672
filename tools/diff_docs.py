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

SAME = ("identity", "neurons permuted")
"""Pairs of the comparison that compute the same."""


Spread = tuple[float, float, float]
"""Least, median and most over pairs."""


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
    rows: list[list[str]] = []
    costs_of: dict[str, tuple[Spread, Spread]] = {}
    for tool, named in settings["named"].items():
        minutes, memory = by_what[f"{tool}, processor minutes a pair"], by_what[f"{tool}, peak memory, MB"]
        costs_of[tool] = (_ours_over_its(minutes["ratio"]), _ours_over_its(memory["ratio"]))
        times, space = (_spread(one) for one in costs_of[tool])
        rows.append([tool, named, _called_changed(settings, tool), settings["false alarms"][tool],
                     number(minutes["peer"]), number(memory["peer"]), times, space])  # fmt: skip
    columns = ["tool", "named", "said that something changed", "false alarms", "processor minutes a pair, mean",
               "peak memory, MB, mean", "ours / its by pair: time", "ours / its by pair: memory"]  # fmt: skip
    lines = [f"| {' | '.join(row)} |" for row in (columns, *rows)]
    text = "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]])
    return (
        f"{text}\n\n{goal(rows, costs_of)}\n\nPairs: {', '.join(settings['pairs'])}; {record['model']}, one core. "
        "By pair: least, median and most. Less time and half the memory count as met where every pair meets them."
    )


def _called_changed(settings: Mapping[str, Any], tool: str) -> str:
    """Of the pairs that differ, on how many the tool called anything changed, whatever it was: "2 of 2"."""
    said: Mapping[str, Sequence[str]] = settings["said"][tool]
    planted = [pair for pair in said if pair not in SAME]
    return f"{sum(bool(said[pair]) for pair in planted)} of {len(planted)}"


def _ours_over_its(ratio: Mapping[str, float]) -> Spread:
    """Least, median and most of what ours needs over what the peer needs; the file has the peer over ours."""
    return 1 / ratio["high"], 1 / ratio["median"], 1 / ratio["low"]


def _spread(values: Spread) -> str:
    return ", ".join(number(value) for value in values)


def goal(rows: Sequence[Sequence[str]], costs_of: Mapping[str, tuple[Spread, Spread]]) -> str:
    """In what ours is ahead of each: more named, no more false alarms, less time, half the memory; in what not.

    Rows are those of the table; ``costs_of`` has ours over its by tool, of time and of memory. These count where the
    worst pair meets the goal: a mean over pairs would let one slow pair of a peer stand for all.
    """
    ours, *others = rows
    sentences = []
    for peer in others:
        named, own = (int(row[1].split(" ")[0]) for row in (peer, ours))
        alarms, own_alarms = (int(row[3].split(" ")[0]) for row in (peer, ours))
        (_, _, slowest), (_, _, largest) = costs_of[peer[0]]
        held = {
            "more named": own > named,
            "no more false alarms": own_alarms <= alarms,
            "less time": slowest < 1,
            "half the memory": largest <= GOAL_MEMORY,
        }
        met = ", ".join(what for what, so in held.items() if so) or "nothing"
        unmet = ", ".join(what for what, so in held.items() if not so)
        sentences.append(
            f"Against {peer[0]} the goal is met in: {met}" + (f"; **not met in: {unmet}**." if unmet else ".")
        )
    return " ".join(sentences)
