"""One model of one order and seed: trained from the same start as its peers, then asked and judged."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from armillary.methods.ordering.measures import metrics
from armillary.methods.ordering.training.config import LearningConfig
from armillary.methods.ordering.training.evaluation import answers, best_of, judged, part_nats
from armillary.methods.ordering.training.learning import Reading, learn
from armillary.methods.ordering.training.rows import OrderedRows, WorldTokens, require_same_tokens, world_rows
from armillary.methods.ordering.training.start import small_decoder, world_tokenizer
from armillary.methods.ordering.worlds import TaskProblem, World
from armillary.models.loaded import LoadedModel
from reproductions.ordering.scale import NULL, SAMPLES, SEQ, SEQ_ADDRESSED, TEMPERATURE, WorldScale

ROOM = 1.1
"""Longest training completion times this is what a model may write: one that has not ended by then will not."""


@dataclass(frozen=True, kw_only=True)
class SolvedAt:
    """Which test problems were solved after so many steps: a 1 or 0 a problem."""

    step: int
    lenient: str
    strict: str


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """What one model learned and solves."""

    start: str
    """Fingerprint of the weights at the start."""

    steps: int
    losses: list[tuple[int, float]]
    solved: list[SolvedAt]
    errors: dict[str, int]
    """How many answers at the end fall in each class of error; "" those without one."""

    drawn: list[int]
    """Right ones of ``SAMPLES`` drawn solutions of each of the first problems."""

    nats: dict[str, list[float]]
    """By part, nats a token of each problem's right solution, given what stands to the left; empty for the null."""

    vf: float | None
    """Mean share of violated edges over the test problems; None of an order that has none."""

    more: dict[str, list[float]] = field(default_factory=dict)
    """What only this world measures."""


@dataclass
class Experiment:
    """One world at one scale: its problems, which all orders and seeds share."""

    world: World
    scale: WorldScale
    part_of: Callable[[str], str]
    """What a token's part is counted as."""

    more: Callable[["Experiment", LoadedModel, str, int], dict[str, list[float]]]
    """Measures of this world alone: of a model, its order and seed."""

    turned: Callable[[TaskProblem], Sequence[TaskProblem]] = lambda problem: (problem,)
    """The forms in which a training problem is shown."""

    seed: int = 0
    """Of the problems."""

    _rows: dict[tuple[str, int], OrderedRows] = field(default_factory=dict)

    @cached_property
    def test(self) -> list[TaskProblem]:
        """Held out, drawn first; the same for every order and seed, so that tests are paired."""
        return self.world.problems(self.scale.test, seed=2 * self.seed)

    @cached_property
    def train(self) -> list[TaskProblem]:
        """Disjoint from the test problems by key."""
        keys = {problem.key for problem in self.test}
        drawn = self.world.problems(self.scale.train, seed=2 * self.seed + 1, exclude=keys)
        return [form for problem in drawn for form in self.turned(problem)]

    @cached_property
    def known(self) -> WorldTokens:
        """Ids of the world's tokens."""
        return WorldTokens.of(self.world)

    def rows(self, order: str, seed: int) -> OrderedRows:
        """What is learned, held for the seed at hand; the tokens are checked to be those of "seq" in its framing.

        The null has another problem's prompt before each solution.
        """
        if order == NULL:
            shown = list(self.train)
            random.Random(f"null {seed}").shuffle(shown)
            return world_rows(self.world, self.train, SEQ, seed=seed, shown=shown)
        rows = world_rows(self.world, self.train, order, seed=seed)
        reference = SEQ_ADDRESSED if order in self.world.addressed else SEQ
        if order not in (reference, *FEWER_TOKENS):
            if (reference, seed) not in self._rows:
                self._rows = {(reference, seed): world_rows(self.world, self.train, reference, seed=seed)}
            require_same_tokens(self._rows[reference, seed], rows, (reference, order))
        return rows


FEWER_TOKENS = ("actions_only", "noscratch")
"""Controls, which leave something out."""


def arm(experiment: Experiment, order: str, seed: int, *, times: int = 1) -> ArmResult:
    """The order's model; ``times``: its training takes so many times the steps."""
    world, scale, test = experiment.world, experiment.scale, experiment.test
    written_order = SEQ if order == NULL else order
    rows = experiment.rows(order, seed)
    model = small_decoder(world_tokenizer(experiment.known), scale.shape, seed=seed)
    most = round(ROOM * rows.longest)

    def read() -> Reading:
        judgements = judged(world, test, written_order, answers(model, world, test, most=most))
        return {
            "lenient": _marks(judgement.lenient for judgement in judgements),
            "strict": _marks(judgement.strict for judgement in judgements),
            "errors": "\n".join(judgement.error.partition(" at depth")[0] for judgement in judgements),
        }

    config = LearningConfig(
        steps=times * scale.steps, batch_size=scale.batch, learning_rate=scale.rate, seed=seed,
        warmup_steps=min(100, max(1, scale.steps // 5)),
    )  # fmt: skip
    learned = learn(model, rows, config, read_at=[times * step for step in scale.read_at()], read=read)
    solved = [
        SolvedAt(step=step, lenient=str(reading["lenient"]), strict=str(reading["strict"]))
        for step, reading in learned.readings
    ]
    drawn = best_of(
        model,
        world,
        test[: scale.drawn],
        written_order,
        samples=SAMPLES,
        temperature=TEMPERATURE,
        most=most,
        seed=seed,
    )
    return ArmResult(
        start=learned.start,
        steps=learned.steps,
        losses=learned.losses,
        solved=solved,
        errors=dict(Counter(str(learned.readings[-1][1]["errors"]).split("\n"))),
        drawn=drawn,
        nats={} if order == NULL else _nats(experiment, model, order, seed),
        vf=violated(world, test, written_order, seed),
        more={} if order == NULL else experiment.more(experiment, model, order, seed),
    )


def _marks(right: Iterable[bool]) -> str:
    return "".join("1" if one else "0" for one in right)


def _nats(experiment: Experiment, model: LoadedModel, order: str, seed: int) -> dict[str, list[float]]:
    """Nats a token by part, a mean over each problem's own tokens of that part."""
    given = part_nats(model, world_rows(experiment.world, experiment.test, order, seed=seed))
    by_part: dict[str, list[int]] = {}
    for place, name in enumerate(given.names):
        by_part.setdefault(experiment.part_of(name), []).append(place)
    return {
        name: (given.nats_RK[:, places].sum(1) / np.maximum(given.tokens_RK[:, places].sum(1), 1)).tolist()
        for name, places in by_part.items()
    }


def violated(world: World, problems: Sequence[TaskProblem], order: str, seed: int) -> float | None:
    """Mean VF over problems whose graph has edges."""
    shares = [metrics(world.sample(problem, order, seed=seed)).vf for problem in problems]
    known = [share for share in shares if share is not None]
    return float(np.mean(known)) if known else None


@dataclass(frozen=True, kw_only=True)
class WorldResult:
    """Every model of one world."""

    sizes: list[int]
    """Of the test problems."""

    arms: dict[str, list[ArmResult]]
    """By order, one a seed."""

    oracle: list[float]
    """Share of the test problems that their own solutions solve, an order each."""

    constant: float
    """Share that one and the same text solves: the solution of the first training problem."""


def controls(experiment: Experiment, orders: Sequence[str]) -> tuple[list[float], float]:
    """What the judge says of right solutions in every order, and of one text for all."""
    world, test = experiment.world, experiment.test
    shares = []
    for order in orders:
        written = [list(world.write(problem, order).completion) for problem in test]
        shares.append(float(np.mean([judgement.strict for judgement in judged(world, test, order, written)])))
    one = list(world.write(experiment.train[0], SEQ).completion)
    constant = judged(world, test, SEQ, [one] * len(test))
    return shares, float(np.mean([judgement.lenient for judgement in constant]))


def require_equal_starts(arms: Mapping[str, Sequence[ArmResult]]) -> None:
    """AssertionError unless all orders of a seed began with the same weights and took the same steps."""
    seeds = max(len(results) for results in arms.values())
    for seed in range(seeds):
        same = {(results[seed].start, results[seed].steps) for results in arms.values() if len(results) > seed}
        assert len(same) == 1, f"the orders of seed {seed} differ in more than their order: {sorted(same)}"
