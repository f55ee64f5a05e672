"""Multiplication as an experiment: what it measures beside success, and its models."""

from collections.abc import Mapping

from armillary.methods.ordering.multiplication.post_hoc import agreement, post_hoc_cases
from armillary.methods.ordering.multiplication.world import MultiplicationWorld, turned
from armillary.methods.ordering.training.decoding import complete
from armillary.methods.ordering.training.rows import END
from armillary.methods.ordering.worlds import TaskProblem
from armillary.models.loaded import LoadedModel
from reproductions.ordering.arms import Experiment
from reproductions.ordering.scale import ANSWERS_FIRST, SEQ, Scale

PARTS: Mapping[str, str] = {"P": "product", "C": "sum"}
"""What a digit's part is counted as; marks, addresses and the end as themselves."""


def multiplication(scale: Scale, seed: int) -> Experiment:
    """The experiment; a training pair is shown in both orders of its factors."""
    world = MultiplicationWorld(scale.digits)

    def both(problem: TaskProblem) -> tuple[TaskProblem, ...]:
        return problem, turned(world, problem)

    def more(experiment: Experiment, model: LoadedModel, order: str, seed: int) -> dict[str, list[float]]:
        return _post_hoc(world, experiment, model, order, seed) if order in (SEQ, *ANSWERS_FIRST) else {}

    return Experiment(
        world, scale.multiplication, lambda part: PARTS.get(part[0], part) if "." in part else part, more, both, seed
    )


def _post_hoc(
    world: MultiplicationWorld, experiment: Experiment, model: LoadedModel, order: str, seed: int
) -> dict[str, list[float]]:
    """How many products written behind a wrong sum agree with it, with the truth, with neither."""
    cases = [case for problem in experiment.test for case in post_hoc_cases(world, problem, order, seed=seed)]
    known = experiment.known
    prompts = [known.ids((*case.problem.prompt, *case.prefix)) for case in cases]
    # The longest rest is what stands behind a wrong sum at the very beginning.
    most = max((case.rest for case in cases), default=0) * (2 * world.digits + 2) + 1
    written = complete(model, prompts, most=most, end=END)
    agreements = [agreement(world, case, known.tokens(ids)) for case, ids in zip(cases, written, strict=True)]
    return {f"agrees with {what}": [float(agreements.count(what))] for what in ("conclusion", "truth", "neither")}
