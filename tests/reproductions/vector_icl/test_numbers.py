"""Row R3 at the quick scale on a tiny model: functions, readers of vectors and text, guesses without a model."""

import numpy as np
import pytest
import torch

from armillary.methods.vector_icl.answers import decode_digits, digit_tokens, first_integer
from reproductions.vector_icl.carrier import Carrier, Prompt
from reproductions.vector_icl.numbers import (
    ASKED,
    LONGEST,
    TEMPLATE,
    WITHOUT_MODEL,
    FunctionPoints,
    digit_vectors,
    functions,
    number_row,
    numbers_behind,
    relative_error,
)
from reproductions.vector_icl.setup import Context


def _points(function: tuple[int, int], count: int = 12) -> FunctionPoints:
    return FunctionPoints.drawn(function, count, np.random.default_rng(1))


def test_functions_of_training_and_test_share_none() -> None:
    train, test = functions(3)
    assert len({*train, *test}) == len(train) + len(test) == 100
    assert min(map(min, train + test)) == 1 and max(map(max, train + test)) == 10


def test_values_are_exact_on_the_grid() -> None:
    points = _points((3, 10))
    assert all(abs(value - (0.3 * a + b)) <= 0.5 for (a, b), value in zip(points.pairs, points.values, strict=True))
    assert all(100 <= number <= 999 for pair in points.pairs for number in pair)
    assert FunctionPoints.drawn((5, 10), 200, np.random.default_rng(0)).values == tuple(
        (a + 1) // 2 + b for a, b in FunctionPoints.drawn((5, 10), 200, np.random.default_rng(0)).pairs
    )


def test_vectors_hold_the_digits_of_both_numbers() -> None:
    points = _points((1, 1))
    assert points.vectors.shape == (24, 30)
    numbers = [number for pair in points.pairs for number in pair]
    assert decode_digits(torch.from_numpy(points.vectors)) == numbers


def test_guesses_without_a_model() -> None:
    points = _points((10, 10))
    truth = points.values[-ASKED:]
    assert relative_error(WITHOUT_MODEL["least squares"](points, 2), truth) == 0
    assert WITHOUT_MODEL["mean"](points, 2) == [round((points.values[0] + points.values[1]) / 2)] * ASKED
    near = WITHOUT_MODEL["1-NN"](points, 8)
    for (a, b), told in zip(points.pairs[-ASKED:], near, strict=True):
        distances = [(a - c) ** 2 + (b - d) ** 2 for c, d in points.pairs[:8]]
        assert told == points.values[int(np.argmin(distances))]


def test_error_counts_a_missing_answer_as_one() -> None:
    assert relative_error([None, 5], [9, 4]) == pytest.approx((1 + 1 / 5) / 2)


@pytest.mark.parametrize("exchanged", [False, True])
def test_neighbours_swap_their_answers(context: Context, exchanged: bool) -> None:
    points = _points((3, 7))
    projector = context.new_projector(digit_vectors(range(1000)))
    texts = [(str(a), str(b)) for a, b in points.pairs]
    for carrier in (
        Carrier.of_vectors(context.loaded, TEMPLATE, projector, points.vectors),
        Carrier.of_texts(context.loaded, TEMPLATE, texts),
    ):
        answers = [str(points.values[index ^ 1 if exchanged else index]) for index in range(4)]
        queries = range(len(points.pairs) - ASKED, len(points.pairs))
        told = Prompt.of(carrier, range(4), answers).answers(
            carrier, queries, LONGEST, allowed=digit_tokens(context.loaded)
        )
        assert numbers_behind(carrier, points, 4, exchanged=exchanged) == [first_integer(text) for text in told]


def test_row_of_numbers(context: Context) -> None:
    row = number_row(context)
    (one,) = row.seeds
    assert {"vectors", "shuffled", "random projector", "text", "mean", "least squares", "1-NN"} == set(one.errors)
    assert set(one.errors["vectors"]) == {str(k) for k in context.scale.number_shots}
    lengths = {len(values) for by_shots in one.errors.values() for values in by_shots.values()}
    assert lengths == {context.scale.number_episodes}
    assert max(one.errors["least squares"][str(context.scale.number_shots[-1])]) < 0.05
    assert one.answers["text"] == ASKED * context.scale.number_episodes
