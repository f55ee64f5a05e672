"""What a trained model solves, and how surprising each part of a right solution is to it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from armillary.methods.ordering.training.decoding import complete
from armillary.methods.ordering.training.rows import END, OrderedRows, WorldTokens
from armillary.methods.ordering.worlds import Judgement, TaskProblem, World
from armillary.models.batches import padded_batches
from armillary.models.loaded import LoadedModel
from armillary.training.completions import collated, token_nats

SCORED_AT_ONCE = 8192
"""Tokens of a forward pass that only reads."""

NO_END = "no end"
"""The error of a text that has not ended where it had to."""


def answers(
    loaded: LoadedModel,
    world: World,
    problems: Sequence[TaskProblem],
    *,
    most: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[list[str] | None]:
    """Tokens that the model writes for each problem, None where it does not end within ``most``."""
    known = WorldTokens.of(world)
    prompts = [known.ids(problem.prompt) for problem in problems]
    written = complete(loaded, prompts, most=most, end=END, temperature=temperature, seed=seed)
    return [known.tokens(ids) if END in ids else None for ids in written]


def judged(
    world: World, problems: Sequence[TaskProblem], order: str, written: Sequence[list[str] | None]
) -> list[Judgement]:
    """A judgement for each problem."""
    unended = Judgement(lenient=False, strict=False, error=NO_END)
    return [
        unended if tokens is None else world.judge(problem, order, tokens)
        for problem, tokens in zip(problems, written, strict=True)
    ]


def best_of(
    loaded: LoadedModel,
    world: World,
    problems: Sequence[TaskProblem],
    order: str,
    *,
    samples: int,
    temperature: float,
    most: int,
    seed: int,
) -> list[int]:
    """How many of so many drawn solutions of each problem are (leniently) right."""
    repeated = [problem for problem in problems for _ in range(samples)]
    drawn = answers(loaded, world, repeated, most=most, temperature=temperature, seed=seed)
    right = [judgement.lenient for judgement in judged(world, repeated, order, drawn)]
    return [sum(right[at : at + samples]) for at in range(0, len(right), samples)]


@dataclass(frozen=True)
class PartNats:
    """Negative log-likelihood of right solutions, by what tokens belong to: rows R, parts K."""

    names: tuple[str, ...]
    nats_RK: NDArray[np.float64]
    """Summed over a row's tokens of that part, teacher-forced."""

    tokens_RK: NDArray[np.int64]


@torch.no_grad()
def part_nats(loaded: LoadedModel, rows: OrderedRows) -> PartNats:
    """Of each row and part, given the right tokens to the left."""
    count = len(rows.part_names)
    nats_RK, tokens_RK = np.zeros((len(rows), count)), np.zeros((len(rows), count), np.int64)
    for batch in padded_batches([row.ids for row in rows], SCORED_AT_ONCE):
        inputs = {name: value.to(loaded.device) for name, value in collated([rows[i] for i in batch]).items()}
        del inputs["attention_mask"]  # padding stands behind
        nats_N = token_nats(loaded, inputs).double().cpu().numpy()
        at = 0
        for index in batch:
            parts = rows.parts(index)
            own = nats_N[at : at + len(parts)]
            at += len(parts)
            nats_RK[index] = np.bincount(parts, weights=own, minlength=count)
            tokens_RK[index] = np.bincount(parts, minlength=count)
    return PartNats(rows.part_names, nats_RK, tokens_RK)
