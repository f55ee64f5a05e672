"""Row R3 of the Vector-ICL reproduction: unknown functions of two numbers from points that are shown. [derived]

``F = aA + bB`` for whole numbers of three digits, with a and b from 0.1 to 1.0 by tenths, never rounded away, and F
rounded. A number is one box of one-hot digits, or its decimal text. Functions of the test are none of the training's.

Legend: P points, S shots.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache

from armillary.methods.vector_icl.answers import digit_tokens, encode_digits, first_integer
from armillary.methods.vector_icl.baselines import Vectors
from armillary.methods.vector_icl.config import FUNCTION, TrainingConfig
from armillary.methods.vector_icl.decoding import ReadQueries, continue_queries
from armillary.methods.vector_icl.embedding import embed_tokens, run_embeds
from armillary.methods.vector_icl.projector import Projector
from armillary.methods.vector_icl.projector_fit import tune_projector
from armillary.methods.vector_icl.prompts import Layout, text_ids, text_of
from armillary.methods.vector_icl.training import TrainingCurve
from armillary.progress import track
from armillary.scoring.decoding import end_tokens
from armillary.scoring.kv_cache import copy_cache, growing_cache, select_rows
from reproductions.vector_icl.few_shot import Carrier
from reproductions.vector_icl.setup import Context, Payload

VECTORS, SHUFFLED, RANDOM, TEXT = "vectors", "shuffled", "random projector", "text"
MEAN, LEAST_SQUARES, NEIGHBOUR = "mean", "least squares", "1-NN"

DIGITS, TENTHS = 3, 10
LONGEST = 5
"""Tokens of an answer."""

ASKED = 4
"""New points asked in an episode, each behind the same demonstrations; their mean error is the episode's."""

_POINTS = 20
_TEST_FUNCTIONS = 20
Pair = tuple[int, int]


@dataclass(frozen=True)
class Points:
    """Pairs of numbers and the values of one function there."""

    pairs: tuple[Pair, ...]
    values: tuple[int, ...]

    @classmethod
    def drawn(cls, function: Pair, count: int, generator: np.random.Generator) -> "Points":
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
    mixed = [grid[place] for place in np.random.default_rng(seed).permutation(len(grid))]
    return mixed[_TEST_FUNCTIONS:], mixed[:_TEST_FUNCTIONS]


def number_rows(context: Context) -> Payload:
    """R3: by seed, arm and number of shots the mean relative error of each episode, ``|error| / (value + 1)``.

    Arms of an episode share demonstrations and queries. An answer without a number counts as an error of 1 (ours) and
    is counted in ``missing``, of ``asked`` answers. ``random projector`` is asked at the most shots alone.
    """
    seeds = [context.seed + offset for offset in range(context.scale.seeds)]
    rows = [_of_seed(context, seed) for seed in track(seeds, "numbers")]
    return {"shots": list(context.scale.number_shots), "seeds": rows, "tokens": _tokens_per_example(context)}


def _of_seed(context: Context, seed: int) -> Payload:
    projector, losses = _trained(context, seed)
    blind = context.new_projector(digit_vectors(range(10**DIGITS)), seed=seed + 1000)
    shots, most = context.scale.number_shots, context.scale.number_shots[-1:]
    errors: dict[str, dict[str, list[float]]] = {}
    missing: dict[str, int] = {}
    generator = np.random.default_rng(1000 + seed)
    test = functions(seed)[1]
    for number in range(context.scale.number_episodes):
        points = Points.drawn(test[number % len(test)], shots[-1] + ASKED, generator)
        told = {
            VECTORS: Reader.of_vectors(context, points, projector).answers(shots),
            SHUFFLED: Reader.of_vectors(context, points, projector).answers(shots, exchanged=True),
            RANDOM: Reader.of_vectors(context, points, blind).answers(most),
            TEXT: Reader.of_text(context, points).answers(shots),
            **{name: {k: guess(points, k) for k in shots} for name, guess in WITHOUT_MODEL.items()},
        }
        for arm, by_shots in told.items():
            for k, answers in by_shots.items():
                missing[arm] = missing.get(arm, 0) + answers.count(None)
                errors.setdefault(arm, {}).setdefault(str(k), []).append(
                    relative_error(answers, points.values[-ASKED:])
                )
    asked = {arm: ASKED * sum(map(len, by_shots.values())) for arm, by_shots in errors.items()}
    return {"errors": errors, "missing": missing, "asked": asked, "losses": losses}


def relative_error(answers: Sequence[int | None], values: Sequence[int]) -> float:
    """Mean of ``|error| / (value + 1)`` as in the paper; 1 for no answer (ours)."""
    pairs = zip(answers, values, strict=True)
    return float(np.mean([1.0 if told is None else abs(told - value) / (value + 1) for told, value in pairs]))


def _trained(context: Context, seed: int) -> tuple[Projector, list[float]]:
    """A projector tuned on packs of points of one function each; no point is seen twice where steps allow."""
    training = context.scale.numbers
    generator = np.random.default_rng(seed)
    known = functions(seed)[0]
    count = max(2, -(-training.steps * training.batch * 3 // (2 * _POINTS)))  # packs overfill a batch
    drawn = [Points.drawn(known[int(generator.integers(len(known)))], _POINTS, generator) for _ in range(count)]
    targets = [str(value) for points in drawn for value in points.values]
    groups = [number for number, points in enumerate(drawn) for _ in points.pairs]
    vectors = np.concatenate([points.vectors for points in drawn])

    def train(projector: Projector, table_NE: Tensor, config: TrainingConfig) -> TrainingCurve:
        return tune_projector(context.loaded, projector, table_NE, targets, FUNCTION, config, groups=groups)

    return context.trained(
        f"numbers {seed}", lambda: context.new_projector(vectors, seed=seed), vectors, train, training, seed=seed
    )


@dataclass(frozen=True, eq=False)
class Reader:
    """One episode in one arm: the demonstrations are read once, and cut back for fewer shots."""

    carrier: Carrier
    points: Points

    @classmethod
    def of_vectors(cls, context: Context, points: Points, projector: Projector) -> "Reader":
        return cls(Carrier.of_vectors(context.loaded, FUNCTION, projector, points.vectors), points)

    @classmethod
    def of_text(cls, context: Context, points: Points) -> "Reader":
        texts = [(str(a), str(b)) for a, b in points.pairs]
        return cls(Carrier.of_texts(context.loaded, FUNCTION, texts), points)

    @torch.inference_mode()
    def answers(self, shots: Sequence[int], *, exchanged: bool = False) -> dict[int, list[int | None]]:
        """Numbers told for the asked points by number of shots; ``exchanged``: neighbours swap their answers."""
        loaded = self.carrier.loaded
        parts = self._demonstrations(shots[-1], exchanged)
        cache = growing_cache()
        run_embeds(loaded, torch.cat(parts)[None], cache=cache)
        found = {}
        for k in sorted(shots, reverse=True):
            if (more := cache.get_seq_length() - sum(map(len, parts[: k + 1]))) > 0:
                cache.crop(-more)
            found[k] = self._told(cache)
        return {k: found[k] for k in shots}

    def _demonstrations(self, count: int, exchanged: bool) -> list[Tensor]:
        """Embeddings of what a sequence begins with, then of each point with its answer."""
        layout, loaded = self.carrier.layout, self.carrier.loaded
        parts = [self._embedded(layout.begin)]
        for place in range(count):
            value = self.points.values[place ^ 1 if exchanged else place]
            answer = self._embedded(text_ids(loaded, str(value)) + layout.separator)
            parts.append(torch.cat([self.carrier.question(place), answer]))
        return parts

    def _embedded(self, ids: Sequence[int]) -> Tensor:
        return embed_tokens(
            self.carrier.loaded, torch.tensor(ids, dtype=torch.long, device=self.carrier.loaded.device)
        )

    def _told(self, cache: Cache) -> list[int | None]:
        """Greedy numbers for the asked points, of digits alone; points of equal length are asked together."""
        loaded = self.carrier.loaded
        stops = [*end_tokens(loaded), *self.carrier.layout.separator]
        places = range(len(self.points.pairs) - ASKED, len(self.points.pairs))
        found: dict[int, int | None] = {}
        for length in sorted({self.carrier.length(place) for place in places}):
            some = [place for place in places if self.carrier.length(place) == length]
            held = copy_cache(cache)
            select_rows(held, torch.zeros(len(some), dtype=torch.long, device=loaded.device))
            embeds_BTD = torch.stack([self.carrier.question(place) for place in some])
            asked = ReadQueries(run_embeds(loaded, embeds_BTD, cache=held)[:, -1], held)
            told = continue_queries(
                loaded, asked, max_new_tokens=LONGEST, stop_ids=stops, allowed=digit_tokens(loaded)
            )
            found |= {place: first_integer(text_of(loaded, ids)) for place, ids in zip(some, told, strict=True)}
        return [found[place] for place in places]


def _mean(points: Points, shots: int) -> list[int | None]:
    return [round(float(np.mean(points.values[:shots])))] * ASKED


def _least_squares(points: Points, shots: int) -> list[int | None]:
    """A specialist, which knows that the function is linear without a constant."""
    pairs = np.array(points.pairs, dtype=float)
    weights = np.linalg.lstsq(pairs[:shots], np.array(points.values[:shots], dtype=float), rcond=None)[0]
    return [round(float(value)) for value in pairs[-ASKED:] @ weights]


def _nearest(points: Points, shots: int) -> list[int | None]:
    pairs = np.array(points.pairs, dtype=float)
    distances = np.linalg.norm(pairs[-ASKED:, None] - pairs[None, :shots], axis=2)
    return [points.values[place] for place in distances.argmin(1).tolist()]


WITHOUT_MODEL: dict[str, Callable[[Points, int], list[int | None]]] = {
    MEAN: _mean,
    LEAST_SQUARES: _least_squares,
    NEIGHBOUR: _nearest,
}
"""Answers for the asked points from so many shown ones."""


def _tokens_per_example(context: Context) -> dict[str, float]:
    """Of a demonstration with a value of three digits."""
    points = Points(((123, 456),), (789,))
    answer = len(text_ids(context.loaded, "789" + FUNCTION.separator))
    asked = {
        VECTORS: len(Layout.of(context.loaded, FUNCTION).question(0)),
        TEXT: Reader.of_text(context, points).carrier.length(0),
    }
    return {name: float(length + answer) for name, length in asked.items()}
