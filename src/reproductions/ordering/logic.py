"""Proofs as an experiment: what it measures beside success."""

from armillary.methods.ordering.logic.world import LogicWorld
from armillary.models.loaded import LoadedModel
from reproductions.ordering.arms import Experiment
from reproductions.ordering.scale import Scale


def logic(scale: Scale, seed: int) -> Experiment:
    """The experiment."""

    def more(experiment: Experiment, model: LoadedModel, order: str, seed: int) -> dict[str, list[float]]:
        return {}

    return Experiment(world=LogicWorld(scale.logic_config), scale=scale.logic, part_of=str, more=more, seed=seed)
