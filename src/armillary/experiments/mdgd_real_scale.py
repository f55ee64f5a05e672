"""How large MDGD's run on real weights is, and its arms; importable without torch. [derived]"""

from dataclasses import dataclass

from armillary.experiments.config import Preset
from armillary.experiments.mdgd_scale import ARMS as SMALL_ARMS
from armillary.experiments.mdgd_scale import Arm

ARMS: dict[str, Arm] = {
    name: SMALL_ARMS[name] for name in ("fine_tuning", "lower_rate", "align", "paper", "recommended")
}
"""As on small models."""


@dataclass(frozen=True, kw_only=True)
class RealScale:
    """Sizes of one preset; the batch is the same in all trainings."""

    connector_steps: int
    """The new connector alone, on the old tasks."""

    joint_steps: int
    """Connector and last layers, on the old tasks."""

    tune_steps: int
    """Last layers alone, on the target task."""

    batch: int
    layers: int
    """Last layers of the language model that are trained."""

    learn_rate: float
    tune_rate: float
    evaluate_every: int
    asked: int
    """Questions of each task, from the test split."""

    pictures: int
    """Of the test split, over which effective rank and drift are taken."""

    seeds: int = 2
    made_up: bool = False


SCALES: dict[Preset, RealScale] = {
    "quick": RealScale(
        connector_steps=1,
        joint_steps=2,
        tune_steps=2,
        batch=2,
        layers=2,
        learn_rate=1e-3,
        tune_rate=1e-3,
        evaluate_every=1,
        asked=3,
        pictures=3,
        made_up=True,
    ),
    "laptop": RealScale(
        connector_steps=60,
        joint_steps=240,
        tune_steps=40,
        batch=8,
        layers=6,
        learn_rate=1e-3,
        tune_rate=5e-4,
        evaluate_every=20,
        asked=32,
        pictures=24,
    ),
    "gpu": RealScale(
        connector_steps=500,
        joint_steps=2000,
        tune_steps=300,
        batch=32,
        layers=12,
        learn_rate=3e-4,
        tune_rate=1e-4,
        evaluate_every=50,
        asked=400,
        pictures=200,
        seeds=5,
    ),
}
"""At laptop scale first 30 and 90 steps of learning to see were made, after which the model was hardly above the most
frequent answers; they were raised, and no rule was changed."""
