"""Row R3 of the Vector-ICL reproduction: unknown functions of two numbers from points that are shown. (ours)

``F = aA + bB`` for whole numbers of three digits, with a and b from 0.1 to 1.0 by tenths, never rounded away, and F
rounded. A number is one slot of one-hot digits, or its decimal text. Functions of the test are none of the training's.

Legend: P points, S shots.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from armillary.methods.vector_icl.answers import digit_tokens, encode_digits, first_integer
from armillary.methods.vector_icl.baselines import Vectors
from armillary.methods.vector_icl.config import SlotTemplate
from armillary.methods.vector_icl.projector_fit import tune_projector
from armillary.progress import track
from reproductions.vector_icl.carrier import Carrier, Prompt
from reproductions.vector_icl.setup import NEIGHBOUR, RANDOM, SHUFFLED, TEXT, VECTORS, Context, Trained

MEAN, LEAST_SQUARES = "mean", "least squares"

TEMPLATE = SlotTemplate(("", ",", "="))
"""The official "A= B= , function(A, B) equals to (digits): " takes three times the tokens; text does no worse by this
(in a pilot on other functions a relative error of 0.43 and 0.49 at 8 shots)."""

DIGITS, TENTHS = 3, 10
LONGEST = 5
"""Tokens of an answer: a value has four digits at most."""

ASKED = 4
"""New points asked in an episode, each behind the same demonstrations; their mean error is the episode's."""

_POINTS = 24
"""Points of each function of the training."""

_TEST_FUNCTIONS = 30
"""Of a hundred."""

Pair = tuple[int, int]
Answers = list[int | None]


@dataclass(frozen=True, kw_only=True)
class NumberSeed:
    """One training and its episodes."""

    errors: dict[str, dict[str, list[float]]]
    """Arm -> number of shots -> mean relative error of each episode, ``|error| / (value + 1)``."""

    missing: dict[str, int]
    """By arm the answers without a number, which count as an error of 1 (ours)."""

    answers: dict[str, int]
    """By arm all answers."""

    losses: list[float]
    """Of the projector's training, nats a learned token before each step."""


@dataclass(frozen=True, kw_only=True)
class NumberRow:
    """R3."""

    shots: list[int]
    seeds: list[NumberSeed]


@dataclass(frozen=True)
class FunctionPoints:
    """Pairs of numbers and the values of one function there."""

    pairs: tuple[Pair, ...]
    values: tuple[int, ...]

    @classmethod
    def drawn(cls, function: Pair, count: int, generator: np.random.Generator) -> "FunctionPoints":
        """Points of ``(10 a, 10 b)`` at numbers of three digits; halves are rounded up."""
        pairs = [(int(a), int(b)) for a, b in generator.integers(100, 1000, size=(count, 2))]
        values = [(function[0] * a + function[1] * b + TENTHS // 2) // TENTHS for a, b in pairs]
        return cls(tuple(pairs), tuple(values))

    @property
    def vectors(self) -> Vectors:
        """One-hot digits, the two numbers of a point in neighbouring rows: ``[2 p, 30]``."""
        return digit_vectors([number for pair in self.pairs for number in pair])


def digit_vectors(numbers: Sequence[int]) -> Vectors:
    """``[n, 30]`` float32."""
    encoded: Vectors = encode_digits(numbers, digits=DIGITS).numpy()
    return encoded


def functions(seed: int) -> tuple[list[Pair], list[Pair]]:
    """Tenths of a and b of the training's functions and of the test's: together the whole grid."""
    grid = [(a, b) for a in range(1, TENTHS + 1) for b in range(1, TENTHS + 1)]
    mixed = [grid[index] for index in np.random.default_rng(seed).permutation(len(grid))]
    return mixed[_TEST_FUNCTIONS:], mixed[:_TEST_FUNCTIONS]


def number_row(context: Context) -> NumberRow:
    """R3. Arms of an episode share demonstrations and queries; controls and text have the most shots alone."""
    return NumberRow(
        shots=list(context.scale.number_shots),
        seeds=[_of_seed(context, seed) for seed in track(context.seeds[: context.scale.number_seeds], "numbers")],
    )


def _of_seed(context: Context, seed: int) -> NumberSeed:
    trained = _trained(context, seed)
    projector = trained.projector
    blind = context.blind_projector(digit_vectors(range(10**DIGITS)), seed)
    shots, most = context.scale.number_shots, context.scale.number_shots[-1:]
    errors: dict[str, dict[str, list[float]]] = {}
    missing: dict[str, int] = {}
    generator = np.random.default_rng(1000 + seed)
    test = functions(seed)[1]
    for number in range(context.scale.number_episodes):
        points = FunctionPoints.drawn(test[number % len(test)], shots[-1] + ASKED, generator)
        by_vectors = Carrier.of_vectors(context.loaded, TEMPLATE, projector, points.vectors)
        by_blind = Carrier.of_vectors(context.loaded, TEMPLATE, blind, points.vectors)
        by_text = Carrier.of_texts(context.loaded, TEMPLATE, [(str(a), str(b)) for a, b in points.pairs])
        answers = {
            VECTORS: {k: numbers_behind(by_vectors, points, k) for k in shots},
            SHUFFLED: {k: numbers_behind(by_vectors, points, k, exchanged=True) for k in most},
            RANDOM: {k: numbers_behind(by_blind, points, k) for k in most},
            TEXT: {k: numbers_behind(by_text, points, k) for k in most},
            **{name: {k: guess(points, k) for k in shots} for name, guess in WITHOUT_MODEL.items()},
        }
        for arm, by_shots in answers.items():
            for k, numbers in by_shots.items():
                missing[arm] = missing.get(arm, 0) + numbers.count(None)
                error = relative_error(numbers, points.values[-ASKED:])
                errors.setdefault(arm, {}).setdefault(str(k), []).append(error)
    counts = {arm: ASKED * sum(map(len, by_shots.values())) for arm, by_shots in errors.items()}
    return NumberSeed(errors=errors, missing=missing, answers=counts, losses=trained.losses)


def numbers_behind(carrier: Carrier, points: FunctionPoints, shots: int, *, exchanged: bool = False) -> Answers:
    """Greedy numbers, of digits alone, for the last points behind the first; ``exchanged``: neighbours swap theirs."""
    values = [str(points.values[index ^ 1 if exchanged else index]) for index in range(shots)]
    queries = range(len(points.pairs) - ASKED, len(points.pairs))
    prompt = Prompt.of(carrier, range(shots), values)
    texts = prompt.answers(carrier, queries, LONGEST, allowed=digit_tokens(carrier.loaded))
    return [first_integer(text) for text in texts]


def relative_error(answers: Sequence[int | None], values: Sequence[int]) -> float:
    """Mean of ``|error| / (value + 1)`` as in the paper; 1 for no answer (ours)."""
    pairs = zip(answers, values, strict=True)
    return float(np.mean([1.0 if answer is None else abs(answer - value) / (value + 1) for answer, value in pairs]))


def _trained(context: Context, seed: int) -> Trained:
    """A projector tuned on packs of points of one function each; no point is seen twice where steps allow."""
    training = context.scale.numbers
    generator = np.random.default_rng(seed)
    known = functions(seed)[0]
    count = max(2, -(-training.steps * training.batch * 3 // (2 * _POINTS)))  # packs overfill a batch
    drawn = [
        FunctionPoints.drawn(known[int(generator.integers(len(known)))], _POINTS, generator) for _ in range(count)
    ]
    targets = [str(value) for points in drawn for value in points.values]
    groups = [number for number, points in enumerate(drawn) for _ in points.pairs]
    vectors = np.concatenate([points.vectors for points in drawn])
    start = partial(context.new_projector, vectors, seed=seed)
    train = partial(tune_projector, targets=targets, template=TEMPLATE, groups=groups)
    return context.trained(f"numbers {seed}", start, vectors, train, training, seed=seed)


def _mean(points: FunctionPoints, shots: int) -> Answers:
    return [round(float(np.mean(points.values[:shots])))] * ASKED


def _least_squares(points: FunctionPoints, shots: int) -> Answers:
    """A specialist, which knows that the function is linear without a constant."""
    pairs = np.array(points.pairs, dtype=float)
    weights = np.linalg.lstsq(pairs[:shots], np.array(points.values[:shots], dtype=float), rcond=None)[0]
    return [round(float(value)) for value in pairs[-ASKED:] @ weights]


def _nearest(points: FunctionPoints, shots: int) -> Answers:
    pairs = np.array(points.pairs, dtype=float)
    distances = np.linalg.norm(pairs[-ASKED:, None] - pairs[None, :shots], axis=2)
    return [points.values[index] for index in distances.argmin(1).tolist()]


WITHOUT_MODEL: dict[str, Callable[[FunctionPoints, int], Answers]] = {
    MEAN: _mean,
    LEAST_SQUARES: _least_squares,
    NEIGHBOUR: _nearest,
}
"""Answers for the asked points from so many shown ones."""
