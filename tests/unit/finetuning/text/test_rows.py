"""Rows are read as they are meant: what is given, what is learned, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from armillary.errors import UsageError
from armillary.finetuning.text.rows import TuningRow, encode_rows, read_text_rows
from armillary.models import load

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}:{{ ' ' if m['role'] == 'assistant' else '' }}{{ m['content'] | trim }}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


def read(folder: Path, *rows: dict[str, Any]) -> list[TuningRow]:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return read_text_rows(str(path))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"prompt": "a", "answer": " "}, "line 1 .* has nothing to learn: its answer is empty"),
        ({"prompt": "a"}, "nothing to learn: its answer is empty"),
        ({"text": ""}, "nothing to learn: its text is empty"),
        ({"question": "a"}, "has the fields 'question'; give prompt and answer, or messages"),
        ({"prompt": "a", "text": "b"}, "has both prompt and text"),
        ({"prompt": "a", "answer": "b", "given": "c"}, "has given beside prompt"),
        ({"prompt": " ", "answer": "b"}, "has an empty prompt"),
        ({"messages": [{"role": "assistant", "content": "b"}]}, "has no request before its answer"),
        ({"messages": [{"role": "robot", "content": "b"}]}, "has a turn .* give role"),
        ({"prompt": "a", "answer": ["b"]}, "has a answer of type list"),
    ],
)
def test_what_is_no_row_is_told(row: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=told):
        read(tmp_path, row)


def test_tables_are_read_as_lines_of_json_are(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('prompt,answer,tag,more\n"a, b",c,x,1\nd,2,,\n', "utf-8")
    rows = read_text_rows(str(tmp_path / "rows.csv"))
    assert [(row.prompt, row.learned, row.tag) for row in rows] == [("a, b", "c", "x"), ("d", "2", "")]


def test_only_the_answer_is_learned() -> None:
    loaded = load("tiny-llama")
    rows = [
        TuningRow(prompt="a b", learned="c d"),
        TuningRow(learned="c d"),
        TuningRow(given="a b", learned="c d"),
        TuningRow(given="a b ", learned="c d"),
    ]
    answer, text, joined, spaced = encode_rows(loaded, rows).rows
    assert str(loaded.tokenizer.decode(answer.ids[: answer.given])).strip().endswith("a b")
    assert answer.ids[-1] == loaded.tokenizer.eos_token_id and len(answer.ids) > answer.given + 1
    assert text.given == 1 and str(loaded.tokenizer.decode(text.ids)).strip().endswith("c d")
    for row in (joined, spaced):
        assert str(loaded.tokenizer.decode(row.ids[: row.given])).strip() == "a b" and len(row.ids) > row.given + 1
        assert "a b c d" in str(loaded.tokenizer.decode(row.ids))


def test_a_chat_template_is_followed_to_the_end_of_the_turn() -> None:
    loaded = load("tiny-llama")
    loaded.tokenizer.chat_template = TEMPLATE.replace("\n{% endfor", "{{ eos_token }}\n{% endfor")
    turns = (
        {"role": "user", "content": "a b"},
        {"role": "assistant", "content": "c"},
        {"role": "user", "content": "d"},
    )
    (row,) = encode_rows(loaded, [TuningRow(messages=turns, learned=" e f ")]).rows
    given, learned = row.ids[: row.given], row.ids[row.given :]
    assert str(loaded.tokenizer.decode(given)).endswith("user:d<eos>\nassistant:")
    assert str(loaded.tokenizer.decode(learned[:-1])) in (" e f", "e f")
    assert learned[-1] == loaded.tokenizer.eos_token_id


def test_messages_need_a_template() -> None:
    loaded = load("tiny-llama")
    loaded.tokenizer.chat_template = None
    row = TuningRow(messages=({"role": "user", "content": "a"},), learned="b", where="row 3 of x.csv")
    with pytest.raises(UsageError, match=r"row 3 of x\.csv is given as messages, and tiny-llama has no chat template"):
        encode_rows(loaded, [row])


def test_long_rows_are_cut_and_counted() -> None:
    loaded = load("tiny-llama")
    rows = [TuningRow(learned="a " * 50), TuningRow(prompt="a " * 50, learned="b"), TuningRow(learned="a b")]
    encoded = encode_rows(loaded, rows, 12)
    assert [len(row.ids) for row in encoded.rows] == [12, len(encode_rows(loaded, rows[2:]).rows[0].ids)]
    (cut,) = encoded.cut
    assert cut.cut == len(encode_rows(loaded, rows[:1]).rows[0].ids) - 12
    assert encoded.left_out == 1 and encoded.room == 12
