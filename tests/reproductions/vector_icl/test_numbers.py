"""Row R3 at the quick scale on a tiny model: functions, readers of vectors and text, guesses without a model."""

import numpy as np
import pytest
import torch

from armillary.methods.vector_icl.answers import decode_digits, digit_tokens, first_integer
from armillary.methods.vector_icl.config import FUNCTION
from armillary.models import load
from armillary.runs.parts import Parts
from reproductions.vector_icl.few_shot import Carrier, Prompt
from reproductions.vector_icl.numbers import (
    ASKED,
    LONGEST,
    WITHOUT_MODEL,
    Points,
    Reader,
    digit_vectors,
    functions,
    number_rows,
    relative_error,
)
from reproductions.vector_icl.scale import SCALES
from reproductions.vector_icl.setup import Context


@pytest.fixture(scope="module")
def context() -> Context:
    return Context.of(load("tiny-llama"), SCALES["quick"], 0, Parts(None, "numbers"))


def _points(function: tuple[int, int], count: int = 12) -> Points:
    return Points.drawn(function, count, np.random.default_rng(1))


def test_functions_of_training_and_test_share_none() -> None:
    train, test = functions(3)
    assert len({*train, *test}) == len(train) + len(test) == 100
    assert min(map(min, train + test)) == 1 and max(map(max, train + test)) == 10


def test_values_are_exact_on_the_grid() -> None:
    points = _points((3, 10))
    assert all(abs(value - (0.3 * a + b)) <= 0.5 for (a, b), value in zip(points.pairs, points.values, strict=True))
    assert all(100 <= number <= 999 for pair in points.pairs for number in pair)
    assert Points.drawn((5, 10), 200, np.random.default_rng(0)).values == tuple(
        (a + 1) // 2 + b for a, b in Points.drawn((5, 10), 200, np.random.default_rng(0)).pairs
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
def test_cut_back_demonstrations_are_those_read_anew(context: Context, exchanged: bool) -> None:
    points = _points((3, 7))
    projector = context.new_projector(digit_vectors(range(1000)))
    texts = [(str(a), str(b)) for a, b in points.pairs]
    both = {
        Reader.of_vectors(context, points, projector): Carrier.of_vectors(
            context.loaded, FUNCTION, projector, points.vectors
        ),
        Reader.of_text(context, points): Carrier.of_texts(context.loaded, FUNCTION, texts),
    }
    for reader, carrier in both.items():
        found = reader.answers((2, 4, 8), exchanged=exchanged)
        for shots, numbers in found.items():
            answers = [str(points.values[place ^ 1 if exchanged else place]) for place in range(shots)]
            prompt = Prompt.of(carrier, range(shots), answers)
            asked = range(len(points.pairs) - ASKED, len(points.pairs))
            told = prompt.answers(carrier, asked, LONGEST, allowed=digit_tokens(context.loaded))
            assert numbers == [first_integer(text) for text in told]


def test_row_of_numbers(context: Context) -> None:
    row = number_rows(context)
    (one,) = row["seeds"]
    assert {"vectors", "shuffled", "random projector", "text", "mean", "least squares", "1-NN"} == set(one["errors"])
    assert set(one["errors"]["text"]) == {str(k) for k in context.scale.number_shots}
    lengths = {len(values) for by_shots in one["errors"].values() for values in by_shots.values()}
    assert lengths == {context.scale.number_episodes}
    assert max(one["errors"]["least squares"][str(context.scale.number_shots[-1])]) < 0.05
    assert one["asked"]["text"] == ASKED * context.scale.number_episodes * len(context.scale.number_shots)
    assert len(one["losses"]) == context.scale.numbers.steps
    assert row["tokens"]["text"] > row["tokens"]["vectors"]
