"""The docs' tables of the diff tell what the records say, and where the goal is not met."""

import json
from pathlib import Path

from tools.diff_docs import PEERS, costs, goal, markdown, peers_part

from armillary.records.sections import Table


def test_a_table_is_told_with_its_note_and_gaps() -> None:
    table = Table(title="", columns=["what", "n", "share"], rows=[["a", 1200, 0.25], ["b", None, 0.5]], note="Why.")
    assert markdown(table).splitlines() == [
        "| what | n | share |", "|---|---|---|", "| a | 1200 | 0.250 |", "| b |  | 0.500 |", "", "Why.",
    ]  # fmt: skip


def test_costs_are_told_by_their_ends_and_middle() -> None:
    table = Table(title="", columns=["planted", "page, s"], rows=[["a", 3.0], ["b", 1.0], ["c", None], ["d", 2.0]])
    assert "| page, s | 1.00 | 2.00 | 3.00 |" in costs(table)


def test_the_goal_is_met_only_where_all_of_it_is() -> None:
    ours, worse = ["ours", "3 of 3: a, b, c", "3 of 3", "0 of 2"], ["x", "1 of 3: a", "3 of 3", "0 of 2"]
    assert "met in: more named, no more false alarms, less time, half the memory." in goal(
        [ours, worse], {"x": ((0.2, 0.3, 0.9), (0.1, 0.4, 0.5))}
    )
    unmet = goal([["ours", "1 of 3: a", "1 of 3", "1 of 2"], worse], {"x": ((0.5, 2.0, 2.0), (0.3, 0.9, 0.9))})
    assert unmet.endswith("nothing; **not met in: more named, no more false alarms, less time, half the memory**.")
    one_slow_pair = goal([ours, worse], {"x": ((0.2, 1.3, 5.0), (0.1, 0.4, 0.5))})
    assert "not met in: less time" in one_slow_pair, "in most pairs ours takes longer, whatever the mean"


def test_peers_are_told_from_their_file(tmp_path: Path) -> None:
    assert peers_part(tmp_path) == "Not measured yet."
    rows = [
        {"what": f"{tool}, {what}", "peer": value, "ratio": {"low": value / ours, "median": value / ours, "high": 8.0}}
        for tool, minutes, memory in (("armillary", 2.0, 900.0), ("other", 4.0, 1500.0))
        for what, value, ours in (("processor minutes a pair", minutes, 2.0), ("peak memory, MB", memory, 900.0))
    ]
    settings = {
        "pairs": ["identity", "german"],
        "named": {"armillary": "1 of 1: german", "other": "0 of 1"},
        "false alarms": {"armillary": "0 of 1", "other": "1 of 1"},
        "said": {
            "armillary": {"identity": [], "german": ["texts/German"]},
            "other": {"identity": ["kl"], "german": ["kl"]},
        },
    }
    (tmp_path / PEERS).write_text(json.dumps({"model": "m", "settings": settings, "rows": rows}), "utf-8")
    text = peers_part(tmp_path)
    assert "| other | 0 of 1 | 1 of 1 | 1 of 1 | 4.00 | 1,500 | 0.125, 0.500, 0.500 | 0.125, 0.600, 0.600 |" in text
    assert "met in: more named, no more false alarms, less time; **not met in: half the memory**" in text
