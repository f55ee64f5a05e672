"""Rows hold every token of every solution, and what is no permutation of them is refused."""

from collections.abc import Sequence

import numpy as np
import pytest

from armillary.errors import UsageError
from armillary.methods.ordering.multiplication.world import MultiplicationWorld
from armillary.methods.ordering.steps import Sample, Step
from armillary.methods.ordering.training.rows import END, WorldTokens, joined_rows, require_same_tokens, world_rows
from armillary.methods.ordering.training.samples import (
    own_surprise,
    sample_rows,
    split_samples,
    step_tokens,
    unsupported,
)
from armillary.models import load

WORLD = MultiplicationWorld(2)
PROBLEMS = WORLD.problems(12, seed=0)
CHAIN = Sample(
    "count", (Step("a", "one"), Step("b", "two and two", kind="late", deps=("a",)), Step("c", "six", deps=("b",)))
)


def test_rows_are_the_tokens_of_each_solution_and_its_end() -> None:
    known, rows = WorldTokens.of(WORLD), world_rows(WORLD, PROBLEMS, "sumfirst")
    assert rows.tokens_N.dtype == np.int16
    for problem, row in zip(PROBLEMS, rows, strict=True):
        written = WORLD.write(problem, "sumfirst")
        assert known.tokens(row.ids[: row.given]) == list(problem.prompt)
        assert known.tokens(row.ids[row.given :]) == list(written.completion) and row.ids[-1] == END
    names = [rows.part_names[part] for part in rows.parts(3)]
    assert names == [*WORLD.write(PROBLEMS[3], "sumfirst").parts, "end"]
    assert rows.longest == len(names)


def test_orders_share_their_tokens_and_what_does_not_is_named() -> None:
    reference = world_rows(WORLD, PROBLEMS, "seq")
    require_same_tokens(reference, world_rows(WORLD, PROBLEMS, "revsteps"), ("seq", "revsteps"))
    with pytest.raises(UsageError, match=r"row 1 .* seq than in seq@"):
        require_same_tokens(reference, world_rows(WORLD, PROBLEMS, "seq@"), ("seq", "seq@"))
    with pytest.raises(UsageError, match="11"):
        require_same_tokens(reference, world_rows(WORLD, PROBLEMS[:-1], "seq"), ("seq", "short"))
    shuffled = world_rows(WORLD, PROBLEMS, "seq", shown=[*PROBLEMS[1:], PROBLEMS[0]])
    with pytest.raises(UsageError, match="row 1"):
        require_same_tokens(reference, shuffled, ("seq", "null"))

    def rows(completions: Sequence[Sequence[int]]) -> object:
        return joined_rows([[5], [5]], completions, [[0] * len(c) for c in completions], ["x"], 40_000)

    # The same tokens over all rows, but not row by row.
    with pytest.raises(UsageError, match="row 1"):
        require_same_tokens(rows([[1, 2], [3, 4]]), rows([[1, 3], [2, 4]]), ("one", "other"))  # type: ignore[arg-type]


def test_steps_have_the_same_tokens_wherever_they_stand() -> None:
    loaded = load("tiny-llama")
    (tokens,) = step_tokens(loaded, [CHAIN], 200)
    rows = {order: sample_rows([tokens], order, len(loaded.tokenizer), seed=0) for order in ("seq", "reversed")}
    require_same_tokens(rows["seq"], rows["reversed"], ("seq", "reversed"))
    text = loaded.tokenizer.decode(list(rows["reversed"][0].ids), skip_special_tokens=True)
    assert text == "count\nsix\ntwo and two\none\n"
    assert list(dict.fromkeys(rows["reversed"].parts(0).tolist())) == [2, 1, 0, 3], "each step's own number, the end"
    assert unsupported(CHAIN, "reversed", seed=0) == [False, True, True]
    assert unsupported(CHAIN, "seq", seed=0) == [False, False, False]
    assert own_surprise(CHAIN, "random") == pytest.approx(np.log(6)) and own_surprise(CHAIN, "bfs") == 0
    with pytest.raises(UsageError, match="at most 3 tokens"):
        step_tokens(loaded, [CHAIN], 3)


def test_a_twin_is_on_one_side_alone() -> None:
    samples = [Sample(str(number % 20), CHAIN.steps) for number in range(60)]
    learned, held_out = split_samples(samples, 0.3, seed=1)
    assert len(held_out) == 6 and {sample.prompt for sample in learned}.isdisjoint(s.prompt for s in held_out)
    assert len(learned) + len(held_out) == 20
    assert split_samples(samples, 0.3, seed=1) == (learned, held_out)
    with pytest.raises(UsageError, match="holds out 2; 5 are needed"):
        split_samples(samples, 0.1, seed=1)
    with pytest.raises(UsageError, match=r"the sample '\\ud83d.*' holds half a surrogate pair"):
        split_samples([*samples, Sample("\ud83d", CHAIN.steps)], 0.3, seed=1)
