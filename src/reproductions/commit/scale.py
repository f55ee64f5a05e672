"""How large each preset of the CoMMIT reproduction is, its starts and its arms; importable without torch.

[derived] Tasks, model, rates, starts and arms are ours: no figure of the paper's set-up could be had, and its models
(BLIP-2, InternVL2, LLaVA, SALMONN on four A100) are out of reach. Names of emoji and four keywords to choose from,
which mirror its captions and questions better, are not learned by models of this size in some hundred steps.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

from armillary.cli.reproduce import Preset

TASKS: tuple[Literal["group", "style", "colour"], ...] = ("group", "style", "colour")
"""Questions with one right word; style and colour are to be seen only."""

Start = Literal["equal", "slow encoder", "slow llm", "low", "middle", "best"]
Rates = tuple[float, float]
"""Of feature encoder and language model."""

RATE, FACTOR = 1e-3, 100.0
STARTS: dict[Start, Rates] = {
    "equal": (RATE, RATE),
    "slow encoder": (RATE / FACTOR, RATE),
    "slow llm": (RATE, RATE / FACTOR),
    "low": (RATE / FACTOR**0.5, RATE / FACTOR**0.5),
}
"""As much is taken from both rates in "low" as from one in the slow starts. Beside them stand two that are chosen on a
seed that is not judged, by the lowest loss: "best", a pair of the grid, and "middle", one between the slow starts."""

SLOW: tuple[Start, ...] = ("slow encoder", "slow llm")


def at_fixed_mean(ratio: float) -> Rates:
    """Rates of this log10 ratio whose geometric mean is that of the slow starts."""
    middle = RATE / FACTOR**0.5
    return middle * 10 ** (ratio / 2), middle * 10 ** (-ratio / 2)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to set the two rates from a start."""

    title: str
    commit: dict[str, Any] | None = None
    """Settings of ``CoMMITConfig`` beside how often is probed; None for the baselines, which are only watched."""


AUX_WEIGHTS = (0.01, 0.1, 0.3, 1.0)
"""Of our regulariser: from the one it was first tried with, at which it does nothing, to where it hurts."""

LEAST_MOVED = 0.1
"""Relative rise of the output's movement a step by which a weight is taken to act (ours)."""

ARMS: dict[str, Arm] = {
    "constant": Arm(title="rates left alone"),
    "balanced": Arm(title="balanced rates left alone"),
    "feature_cd": Arm(title="Feature CD"),
    "language_cd": Arm(title="Language CD"),
    "fixed_ratio": Arm(title="encoder's rate times 8"),
    "lift": Arm(title="CoMMIT-CLR (lift)", commit={"mode": "lift"}),
    "clip_100": Arm(title="CoMMIT-CLR (lift), clip 100", commit={"mode": "lift", "clip": 100.0}),
    "matched": Arm(title="lift's mean rates from the first step"),
    "exchanged": Arm(title="lift's mean multipliers, exchanged"),
    "random": Arm(title="lift's multipliers, drawn at random"),
    **{
        f"weight {weight:g}": Arm(
            title=f"lift with our regulariser of weight {weight:g}", commit={"mode": "lift", "aux_weight": weight}
        )
        for weight in AUX_WEIGHTS
    },
}
"""Exchanged and random are the nulls: as much rate, given to the wrong component or without looking at the balance."""

BASELINES = ("constant", "feature_cd", "language_cd")
"""What the paper compares with."""

NULLS = ("exchanged", "random")
_SLOW_ARMS = ("constant", "lift", "clip_100", "matched", *NULLS)

RUNS: dict[Start, tuple[str, ...]] = {
    "equal": (*BASELINES, "lift"),
    "slow encoder": _SLOW_ARMS,
    "slow llm": (*_SLOW_ARMS, "fixed_ratio"),
    "low": ("constant",),
    "middle": ("constant",),
    "best": ("constant", "lift"),
}
"""Arms that are run from each start, those that a claim reads; beside them, from equal rates, the regulariser's."""

MODEL_ARMS = ("balanced", "constant", "lift", "exchanged")
"""Of the given model: rates at which its balance is near 1, and from a slow encoder."""

MODEL_STARTS: dict[str, Rates] = {"balanced": (RATE / FACTOR, RATE), "slow encoder": (RATE / FACTOR**2, RATE)}
"""Of the given model, by pilots of it on a seed that is not judged: at equal rates its new connector moves the output
far more than LoRA, which begins at zero (log kappa about -4); a rate a hundred times lower is what balances them."""

SOUND_RUNS: dict[Start, tuple[str, ...]] = {
    "equal": (*BASELINES, "lift"),
    "slow encoder": ("constant", "lift", "matched", *NULLS),
    "slow llm": ("constant", "lift", "matched", *NULLS),
}
"""Arms that are run on sounds from each start."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of one preset; numbers of questions are for each task. The defaults are laptop's.

    There a step takes about 25 ms of one core and the whole about 125 runs of 200 steps: the model is the smallest
    that answers well above chance after so many.
    """

    seeds: int = 5
    """Each with its own random weights and order of rows; the grid is searched on one more."""

    steps: int = 200
    batch: int = 32
    layers: int = 2
    width: int = 64
    heads: int = 4
    inner: int = 176
    grid: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    """Rates of either component among which the best pair is sought; it must not lie at an end."""

    ratios: tuple[float, ...] = (-1.0, 0.0, 1.0)
    """log10 of encoder's over language model's rate among which "middle" is sought; slow starts are at -2 and 2."""

    weights: tuple[float, ...] = AUX_WEIGHTS
    """Of the regulariser, from equal rates."""

    interval: int = 10
    """Steps from one probe to the next, in every arm."""

    first_probe: int = 5
    block: int = 50
    """Steps of a block of coordinate descent."""

    watch_every: int = 10
    watched: int = 32
    """Validation questions read every so many steps."""

    questions: int = 200
    """Validation questions read at the end."""

    law_steps: int = 60
    """Steps of training before the law of rates is measured."""

    halves: int = 10
    """Random divisions of the parameters in two, whose balance is measured beside that of the components."""

    timed_rounds: int = 20
    """Pairs of ten steps, one plain and one with a probe."""

    model_steps: int = 21
    """Of the given model with its new connector; the last one may be probed."""

    model_batch: int = 4
    model_seeds: int = 3
    model_questions: int = 16
    """Held-out questions of the given model, for each task."""

    lora_rank: int = 8
    lora_layers: int = 6
    """Last layers of the given model that are trained, by LoRA."""

    synthetic: bool = False
    """Synthetic images and sounds instead of real ones: for CI, which has no network."""


SCALES: dict[Preset, Scale] = {
    "quick": Scale(
        seeds=1, steps=8, batch=4, layers=1, width=16, heads=2, inner=24, grid=(RATE,), ratios=(0.0,), weights=(0.3,),
        halves=2, interval=2, first_probe=2, block=3, watch_every=4, watched=2, questions=3, law_steps=2,
        timed_rounds=2, model_steps=4, model_seeds=2, model_batch=2, model_questions=2, lora_rank=2, lora_layers=1,
        synthetic=True,
    ),
    "laptop": Scale(),
    "gpu": Scale(
        seeds=10, steps=800, batch=64, layers=4, width=128, inner=344, grid=(3e-4, 1e-3, 3e-3, 1e-2), watch_every=20,
        watched=64, questions=400, law_steps=100, timed_rounds=40, model_steps=200, model_batch=16,
        model_questions=100,
    ),
}  # fmt: skip

_ALL = 1000
"""Questions; there are fewer sounds."""

SOUND_SCALES: dict[Preset, Scale] = {
    "quick": replace(SCALES["quick"], steps=6, watch_every=3, watched=_ALL, questions=_ALL),
    "laptop": replace(SCALES["laptop"], steps=60, block=10, watch_every=5, watched=_ALL, questions=_ALL),
    "gpu": replace(SCALES["gpu"], steps=240, block=20, layers=2, width=64, inner=176, watched=_ALL, questions=_ALL),
}
"""Sounds are few, and longer training learns them by heart."""
