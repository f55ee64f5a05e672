"""Rows in another order: the columns that come out, alone, in batches and in several processes."""

import re
import warnings
from typing import Any

import pytest

from armillary.errors import UsageError
from armillary.methods.ordering.readers.scratchpad import ScratchpadReader
from armillary.methods.ordering.reorder import Reorder

ROWS: list[dict[str, Any]] = [
    {"id": "one", "prompt": "p1", "steps": ["c", "a", "b"], "deps": [[1, 2], [], [1]]},
    {"id": "two", "prompt": "p2", "steps": ["x", "y"], "deps": [[], [0]]},
    {"id": "three", "prompt": "p3", "steps": [], "deps": []},
]


def batch(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_what_a_row_gets() -> None:
    assert Reorder()(ROWS[0]) == {"prompt": "p1", "completion": "a\nb\nc", "order": "seq", "vf": 0}
    turned = Reorder(order="reversed", sep=" | ", columns="text")(ROWS[0])
    assert turned == {"text": "p1 | c | b | a", "order": "reversed", "vf": 1}
    assert Reorder()(ROWS[2]) == {"prompt": "p3", "completion": "", "order": "seq", "vf": None}
    named = {"goal": "g", "lines": [{"id": "u", "text": "U"}, {"id": "v", "text": "V"}], "needs": {"u": ["v"]}}
    fields = Reorder(steps_field="lines", deps_field="needs", prompt_field="goal")
    assert fields(named) == {"prompt": "g", "completion": "V\nU", "order": "seq", "vf": 0}

    def backwards(sample: object) -> list[int]:
        return [2, 1, 0]

    assert Reorder(order=backwards)(ROWS[0])["order"] == "backwards"


def test_a_batch_is_its_rows() -> None:
    for change in (Reorder(), Reorder(order="random", seed=5, columns="text")):
        alone = [change(row) for row in ROWS]
        assert change(batch(ROWS)) == batch(alone)
    scratch: list[dict[str, Any]] = [
        {"question": "q", "answer": "a = b\nb = 2"},
        {"question": "q", "answer": "c = 1\nd = c"},
    ]
    read = Reorder(reader=ScratchpadReader())
    assert read(scratch[0])["completion"] == "b = 2\na = b"
    assert read(batch(scratch)) == batch([read(row) for row in scratch])


def test_rows_that_are_none_are_told() -> None:
    with pytest.raises(UsageError, match="no list of steps under 'steps'; it has text"):
        Reorder()({"text": "a"})
    with pytest.raises(UsageError, match="read as scratchpad; it has answer"):
        Reorder(reader=ScratchpadReader())({"answer": "no equation"})
    with pytest.raises(UsageError, match="in a circle"):
        Reorder()({"steps": ["a", "b"], "deps": [[1], [0]]})
    for settings, words in (
        ({"order": "sorted"}, "no order 'sorted'"), ({"columns": "all"}, "be completion or text, got 'all'"),
        ({"graph": "logic"}, "no graph 'logic'"), ({"reader": "numbered"}, r"give .* reader\('numbered'\)"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            Reorder(**settings)  # type: ignore[arg-type]


def words_and_breaks(text: str) -> list[tuple[int, int]]:
    """Tokens of a toy tokenizer, which joins a line break with an opening bracket."""
    return [match.span() for match in re.finditer(r"\n\(?|[^\n]+", text)]


def test_tokens_over_a_border_are_told() -> None:
    row = {"steps": ["a", "(b)"], "deps": [[], [0]]}
    with pytest.warns(UserWarning, match=r"a token of the tokenizer \('\\n\('\) reaches over the border of two steps"):
        Reorder(token_spans=words_and_breaks)(row)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Reorder(token_spans=words_and_breaks)({**row, "steps": ["a", "b"]})
        Reorder(token_spans=words_and_breaks, sep="\n\n")({**row, "steps": ["a", "b"]})


@pytest.mark.filterwarnings("ignore")  # forks of a process with threads are told of by newer Pythons
def test_one_process_and_two_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_list(ROWS[:2] * 8)
    change = Reorder(order="random", seed=3)
    made = [rows.map(change, num_proc=number, load_from_cache_file=False) for number in (None, 1, 2)]
    batched = rows.map(change, batched=True, batch_size=3)
    assert made[0].to_list() == made[1].to_list() == made[2].to_list() == batched.to_list()
    assert len({*made[0]["completion"]}) == 2, "drawn once for a key"
    # A function that is made again finds the cache of the first; another seed does not.
    same, other = Reorder(order="random", seed=3), Reorder(order="random", seed=4)
    assert rows.map(same)._fingerprint == rows.map(change)._fingerprint != rows.map(other)._fingerprint
    hasher = datasets.fingerprint.Hasher
    assert hasher.hash(same) == hasher.hash(change)
