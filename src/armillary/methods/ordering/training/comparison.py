"""Models that differ in nothing but the order of what they learned, measured on the same held-out rows."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from armillary.errors import UsageError
from armillary.methods.ordering.measures import metrics
from armillary.methods.ordering.orders import permutation
from armillary.methods.ordering.training.config import LearningConfig
from armillary.methods.ordering.training.evaluation import answers, judged, part_nats
from armillary.methods.ordering.training.learning import learn
from armillary.methods.ordering.training.rows import OrderedRows, require_same_tokens, world_rows
from armillary.methods.ordering.training.samples import StepTokens, own_surprise, sample_rows, unsupported
from armillary.methods.ordering.worlds import TaskProblem, World
from armillary.models.loaded import LoadedModel
from armillary.runs.parts import Parts

ROOM = 1.1
"""The longest completion times this is what a model may write: one that has not ended by then will not."""


@dataclass(frozen=True, kw_only=True)
class TrainedOrder:
    """One model of one order and seed, on held-out rows R with parts K."""

    start: str
    """Fingerprint of the weights at the start."""

    steps: int
    losses: list[tuple[int, float]]
    parts: list[str]
    nats: list[list[float]]
    """[R][K], summed over a part's tokens."""

    tokens: list[list[int]]
    """[R][K]."""

    late: list[list[bool]]
    """[R][K], whether a support of the step stands to its right; empty where steps are not told apart."""

    vf: float | None
    """Share of supports to the right, mean over the held-out samples that have any."""

    own: float
    """Nats a token at most that the draw of the order itself costs."""

    solved: list[bool] = field(default_factory=list)
    """By problem of a world."""

    strict: list[bool] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class OrderTask(Protocol):
    """What is learned, in any order."""

    def learned(self, order: str, seed: int) -> OrderedRows:
        """Rows to learn."""

    def measured(self, model: LoadedModel, order: str, seed: int, longest: int) -> TrainedOrder:
        """What the held-out rows show; how the training went is filled in by ``compare``."""


@dataclass(frozen=True)
class SampleTask:
    """A user's samples."""

    train: Sequence[StepTokens]
    held_out: Sequence[StepTokens]
    vocabulary: int

    def learned(self, order: str, seed: int) -> OrderedRows:
        """The training samples in this order."""
        return sample_rows(self.train, order, self.vocabulary, seed=seed)

    def measured(self, model: LoadedModel, order: str, seed: int, longest: int) -> TrainedOrder:
        """Surprise at every step."""
        rows = sample_rows(self.held_out, order, self.vocabulary, seed=seed)
        given = part_nats(model, rows)
        samples = [tokens.sample for tokens in self.held_out]
        moved = [
            replace(sample, steps=tuple(sample.steps[at] for at in permutation(sample, order, seed=seed)))
            for sample in samples
        ]
        return TrainedOrder(
            start="", steps=0, losses=[], parts=list(given.names), nats=given.nats_RK.tolist(),
            tokens=given.tokens_RK.tolist(), late=[unsupported(sample, order, seed=seed) for sample in samples],
            vf=_mean([metrics(sample).vf for sample in moved]),
            own=sum(own_surprise(sample, order) for sample in samples) / int(given.tokens_RK.sum()),
        )  # fmt: skip


@dataclass(frozen=True)
class WorldTask:
    """Problems of a world."""

    world: World
    train: Sequence[TaskProblem]
    held_out: Sequence[TaskProblem]

    def learned(self, order: str, seed: int) -> OrderedRows:
        """The training problems' solutions in this order."""
        return world_rows(self.world, self.train, order, seed=seed)

    def measured(self, model: LoadedModel, order: str, seed: int, longest: int) -> TrainedOrder:
        """Surprise at every part of a right solution, and what the model solves."""
        given = part_nats(model, world_rows(self.world, self.held_out, order, seed=seed))
        written = answers(model, self.world, self.held_out, most=round(ROOM * longest))
        judgements = judged(self.world, self.held_out, order, written)
        shares = [metrics(self.world.sample(problem, order, seed=seed)).vf for problem in self.held_out]
        return TrainedOrder(
            start="", steps=0, losses=[], parts=list(given.names), nats=given.nats_RK.tolist(),
            tokens=given.tokens_RK.tolist(), late=[], vf=_mean(shares), own=0.0,
            solved=[judgement.lenient for judgement in judgements],
            strict=[judgement.strict for judgement in judgements],
            errors=[judgement.error.partition(" at depth")[0] for judgement in judgements],
        )  # fmt: skip


def compare(
    task: OrderTask,
    orders: Sequence[str],
    start: Callable[[int], LoadedModel],
    config: LearningConfig,
    parts: Parts,
    *,
    seeds: int,
) -> dict[str, list[TrainedOrder]]:
    """By order, a model a seed: the same start, the same steps, rows of the same tokens in batches of the same rows.

    ``start`` gives the model of a seed with the weights that all its orders begin with. A killed run goes on with the
    first training that is not finished, from its last checkpoint. UsageError where an order has other tokens than the
    first, and where ``start`` does not give the same weights again.
    """
    trained: dict[str, list[TrainedOrder]] = {order: [] for order in orders}
    for seed in range(config.seed, config.seed + seeds):
        reference: OrderedRows | None = None
        for order in orders:

            def work(order: str = order, seed: int = seed) -> TrainedOrder:
                nonlocal reference
                rows = task.learned(order, seed)
                reference = task.learned(orders[0], seed) if reference is None else reference
                require_same_tokens(reference, rows, (orders[0], order))
                model = start(seed)
                folder = None if parts.folder is None else parts.folder / f"checkpoints-{seed}-{orders.index(order)}"
                learned = learn(
                    model, rows, replace(config, seed=seed), checkpoints=folder, label=f"{order}, seed {seed} (steps)"
                )
                measured = task.measured(model, order, seed, rows.longest)
                if folder is not None:
                    shutil.rmtree(folder, ignore_errors=True)  # checkpoints, each as large as the model
                return replace(measured, start=learned.start, steps=learned.steps, losses=learned.losses)

            trained[order].append(parts.decoded(TrainedOrder, f"trained {order} {seed}", work))
        starts = {trained[order][-1].start for order in orders}
        if len(starts) > 1 or len({trained[order][-1].steps for order in orders}) > 1:
            raise UsageError(f"the orders of seed {seed} did not begin with the same weights: {sorted(starts)}.")
    return trained


def _mean(shares: Sequence[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return float(np.mean(known)) if known else None
