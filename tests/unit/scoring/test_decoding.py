"""Prompts that change between readings, and greedy branches: equal to computing everything afresh."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from armillary.errors import NumericError, UsageError
from armillary.models import KINDS, LoadedModel, tiny
from armillary.models.batches import run_body
from armillary.scoring.decoding import CachedPrompts, greedy


@pytest.fixture(scope="module", params=KINDS)
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    return tiny(request.param)


def afresh(loaded: LoadedModel, rows: list[list[int]]) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([run_body(loaded, torch.tensor([row]))[:, -1] for row in rows])


def tokens(length: int, seed: int) -> list[int]:
    return torch.randint(3, 200, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


READINGS = [
    [tokens(5, 0), tokens(9, 1), tokens(3, 2)],
    [tokens(5, 0) + tokens(4, 3), tokens(9, 1) + tokens(70, 4), tokens(3, 2) + tokens(1, 5)],
    [tokens(5, 0) + tokens(2, 3), tokens(9, 1) + tokens(70, 4), tokens(8, 9)],
    [tokens(5, 0), tokens(2, 1), tokens(8, 9) + tokens(90, 6)],
    [tokens(4, 20), tokens(1, 21), tokens(2, 22)],
]
"""Appending unequal lengths (longer than the sliding window of 64), cutting back, standing still, starting anew."""


def test_readings_equal_reading_afresh(loaded: LoadedModel) -> None:
    prompts = CachedPrompts(loaded)
    for rows in READINGS:
        torch.testing.assert_close(prompts.read(rows), afresh(loaded, rows), atol=2e-4, rtol=1e-3)


def test_only_new_tokens_are_read() -> None:
    prompts = CachedPrompts(tiny())
    prompts.read(READINGS[0])
    assert prompts.computed == 5 + 9 + 3
    prompts.read(READINGS[1])
    assert prompts.computed == 17 + 4 + 70 + 1
    prompts.read(READINGS[1])
    assert prompts.computed == 92 + 3, "standing still reads the last token of each row"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.lists(st.integers(3, 9), min_size=1, max_size=12), min_size=2, max_size=2), min_size=2))
def test_any_sequence_of_readings(readings: list[list[list[int]]]) -> None:
    loaded = tiny("gemma3", settings={"sliding_window": 4})
    prompts = CachedPrompts(loaded)
    for rows in readings:
        torch.testing.assert_close(prompts.read(rows), afresh(loaded, rows), atol=2e-4, rtol=1e-3)


def test_a_copy_leaves_the_first_alone(loaded: LoadedModel) -> None:
    prompts = CachedPrompts(loaded)
    prompts.read(READINGS[0])
    other = prompts.copy()
    other.read(READINGS[1])
    torch.testing.assert_close(prompts.read(READINGS[2]), afresh(loaded, READINGS[2]), atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(other.read(READINGS[3]), afresh(loaded, READINGS[3]), atol=2e-4, rtol=1e-3)


@torch.inference_mode()
def one_by_one(loaded: LoadedModel, row: list[int], first: int, count: int, stop: int) -> list[int]:
    new = [first]
    while len(new) < count and new[-1] != stop:
        new.append(int(loaded.anatomy.logits(afresh(loaded, [row + new])).argmax()))
    return new


def test_branches_equal_decoding_one_by_one(loaded: LoadedModel) -> None:
    prompts = CachedPrompts(loaded)
    prompts.read(READINGS[0])
    hidden = prompts.read(READINGS[1])
    owners, first = [0, 0, 1, 2, 2, 2, 1], [5, 9, 5, 7, 100, 40, 11]
    free = greedy(prompts, hidden, owners, first, max_new_tokens=7, stop_ids=[])
    stop = free[3][3]
    held = greedy(prompts, hidden, owners, first, max_new_tokens=7, stop_ids=[stop])
    for owner, token, branch in zip(owners, first, held, strict=True):
        assert branch == one_by_one(loaded, READINGS[1][owner], token, 7, stop)
    assert len(held[3]) <= 4 and min(map(len, held)) < 7
    # The branches did not touch the prompts they grew from.
    torch.testing.assert_close(prompts.read(READINGS[2]), afresh(loaded, READINGS[2]), atol=2e-4, rtol=1e-3)


def test_without_first_tokens_it_is_plain_greedy_decoding(loaded: LoadedModel) -> None:
    row = READINGS[0][1]
    prompts = CachedPrompts(loaded)
    hidden = prompts.read([row])
    plain = loaded.model.generate(
        torch.tensor([row]), do_sample=False, max_new_tokens=8, eos_token_id=None, pad_token_id=0
    )
    assert greedy(prompts, hidden, [0], max_new_tokens=8, stop_ids=[])[0] == plain[0, len(row) :].tolist()


def test_wrong_use() -> None:
    prompts = CachedPrompts(tiny())
    with pytest.raises(UsageError, match="at least one token"):
        prompts.read([[3], []])
    hidden = prompts.read([[3], [4, 5]])
    with pytest.raises(UsageError, match="Give 2 rows"):
        prompts.read([[3]])
    with pytest.raises(UsageError, match="max_new_tokens"):
        greedy(prompts, hidden, [0], max_new_tokens=0, stop_ids=[])
    assert greedy(prompts, hidden, [], max_new_tokens=3, stop_ids=[]) == []
    with pytest.raises(NumericError, match="NaN"):
        greedy(prompts, hidden * float("nan"), [0], max_new_tokens=3, stop_ids=[])
