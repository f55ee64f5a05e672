"""Rows of a data set: what is accepted, and which tokens are steps and entities."""

from typing import Any

import pytest

from armillary.errors import UsageError
from armillary.methods.ocean.rows import read_chains, token_rows
from armillary.models.tiny_models import tiny

from .ocean_toy import chain

TOKENIZER = tiny("llama").tokenizer


def tokens(*rows: dict[str, Any], **settings: Any) -> Any:
    return token_rows(TOKENIZER, read_chains(rows), **settings)


def texts(row: Any, ids: list[int], number: int) -> str:
    return str(TOKENIZER.decode([t for t, i in zip(row.input_ids, ids, strict=True) if i == number]))


def test_every_character_of_a_step_is_in_its_tokens_and_nothing_of_the_prompt() -> None:
    row = tokens(chain(1)).rows[0]
    assert texts(row, row.step_ids, 0).strip() == "Rome is in Italy."
    assert texts(row, row.step_ids, 1).strip() == "So Italy it is, and no other place."
    assert texts(row, row.step_ids, -1).split() == ["Where", "is", "Rome?"]
    assert [texts(row, row.span_ids, n).strip() for n in range(3)] == ["Rome", "Italy", "Italy"]
    assert max(row.span_ids) == 2 and row.logging == "base"


def test_empty_steps_are_dropped_and_their_place_is_not_kept() -> None:
    row = {**chain(1), "steps": ["", *chain(1)["steps"], "  "], "entity_spans": [[], *chain(1)["entity_spans"], []]}
    assert tokens(row).rows[0].step_ids == tokens(chain(1)).rows[0].step_ids


def test_a_cut_token_is_widened_and_counted() -> None:
    rows = [chain(index) for index in range(8)]
    rows[0]["entity_spans"] = [[(0, 3), rows[0]["entity_spans"][0][1]]]  # "Par"
    with pytest.warns(UserWarning, match="1 of 20 entity spans end inside a token and were widened"):
        result = tokens(*rows)
    assert result.widened == 1 and texts(result.rows[0], result.rows[0].span_ids, 0).strip() == "Paris"
    rows[1]["entity_spans"][0][0] = (0, 2)
    rows[3]["entity_spans"][0][0] = (0, 3)
    with pytest.raises(UsageError, match="3 of 20 entity spans end inside a token, more than 10%"):
        tokens(*rows)


def test_long_rows_are_left_out_and_counted() -> None:
    both = tokens(chain(0), chain(1), max_length=None)
    lengths = [len(row.input_ids) for row in both.rows]
    short = tokens(chain(0), chain(1), max_length=min(lengths))
    assert short.left_out == 1 and short.kept == [lengths.index(min(lengths))]
    with pytest.raises(UsageError, match="no chain has at most 3 tokens, the shortest has"):
        tokens(chain(0), max_length=3)


STEP: dict[str, Any] = {"prompt": "Where?", "steps": ["Paris is in France."], "entity_spans": [[(0, 5)]]}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "a", "steps": ["b"]}, "row 0 has no column 'entity_spans'; it has prompt, steps"),
        (STEP | {"steps": [], "entity_spans": []}, "row 0 has no step with words"),
        (STEP | {"steps": ["", " "], "entity_spans": [[], []]}, "row 0 has no step with words"),
        (STEP | {"steps": "Paris is in France."}, "steps must be a list of texts"),
        (STEP | {"entity_spans": []}, "a list for each of the 1 steps; got 0 lists"),
        (STEP | {"entity_spans": [[(0, 50)]]}, r"row 0, step 0: an entity span must lie within the step's 19"),
        (STEP | {"entity_spans": [[(5, 5)]]}, r"must lie within the step's 19 characters; got \(5, 5\)"),
        (STEP | {"entity_spans": [[(5, 6)]]}, "holds blanks only"),
        (STEP | {"entity_spans": [[(0, 5), (3, 8)]]}, "begins at 3 overlaps the one that ends at 5"),
        (STEP | {"logging": "gold"}, "row 0: logging must be one of base, lambda, unknown; got 'gold'"),
        (STEP | {"prompt": [{"role": "user", "content": "a"}]}, "must be a text, or messages and a tokenizer"),
        (STEP | {"prompt": ""}, "nothing before its first step"),
    ],
)
def test_bad_rows_are_one_sentence(row: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        tokens(row, separator="")


def test_no_rows_are_refused() -> None:
    with pytest.raises(UsageError, match="there is no chain"):
        read_chains([])
