"""Proofs as an experiment: what it measures beside success."""

from armillary.methods.ordering.logic.layouts import END
from armillary.methods.ordering.logic.search import StepwiseProof
from armillary.methods.ordering.logic.world import LogicWorld
from armillary.methods.ordering.training.decoding import complete
from armillary.models.loaded import LoadedModel
from reproductions.ordering.arms import Experiment
from reproductions.ordering.scale import SEQ, Scale

ACTION_TOKENS = 4
"""A rule, two hypotheses at most, and the mark behind them."""

MOST_TIMES = 3
"""A search is stopped after so many times the steps of the longest training proof: it has lost its way."""


def logic(scale: Scale, seed: int) -> Experiment:
    """The experiment; models of "seq" are also asked for one action at a time."""
    world = LogicWorld(scale.logic_config)

    def more(experiment: Experiment, model: LoadedModel, order: str, seed: int) -> dict[str, list[float]]:
        return {"searched": searched(world, experiment, model)} if order == SEQ else {}

    return Experiment(world=world, scale=scale.logic, part_of=str, more=more, seed=seed)


def searched(world: LogicWorld, experiment: Experiment, model: LoadedModel) -> list[float]:
    """1 or 0 a test problem: proved by a model that names actions while the checker writes the true states."""
    known, config = experiment.known, world.config
    proofs = [StepwiseProof(world.formula(problem), full_state=config.full_state) for problem in experiment.test]
    (mark,) = known.ids([END])
    for _ in range(MOST_TIMES * config.steps[1]):
        pairs = zip(proofs, experiment.test, strict=True)
        going = [(proof, problem) for proof, problem in pairs if not proof.ended]
        prompts = [known.ids((*problem.prompt, *proof.tokens)) for proof, problem in going]
        if not prompts:
            break
        for (proof, _), ids in zip(going, complete(model, prompts, most=ACTION_TOKENS, end=mark), strict=True):
            proof.advance([known.names[token] for token in ids if token != mark])
    return [float(proof.proved) for proof in proofs]
