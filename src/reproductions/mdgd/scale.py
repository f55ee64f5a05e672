"""How large each preset of the MDGD reproduction is, and its arms; importable without torch."""

from dataclasses import dataclass, field
from typing import Any, Literal

from armillary.cli.reproduce import Preset
from armillary.methods.mdgd.config import MDGDSettings

Task = Literal["style", "colour", "group", "code"]
OLD_TASKS: tuple[Task, ...] = ("style", "colour", "group")
"""Visual knowledge that pre-training gives; the first two can be told from the image alone.

Keywords are left out: a small model trained here answers them by chance on new images."""

PURELY_VISUAL: tuple[Task, ...] = ("style", "colour")
TARGET: Task = "code"
"""The new task: an arbitrary word for an image's group, with no word about style or colour."""

Kind = Literal["mdgd", "l2sp", "lwf", "lora", "osf"]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to learn the target task."""

    title: str
    kind: Kind = "mdgd"
    settings: dict[str, Any] = field(default_factory=dict)
    """Of ``MDGDSettings``, or of the baseline."""

    rate: float = 1.0
    """Factor on the learning rate."""

    def mdgd(self, **more: Any) -> MDGDSettings:
        """The settings of an arm of the method's own trainer."""
        return MDGDSettings(**self.settings, **more)


PLAIN = {"projection": "none", "visual_align_weight": 0.0}
ARMS: dict[str, Arm] = {
    "fine_tuning": Arm(title="fine-tuning", settings=PLAIN),
    "lower_rate": Arm(title="fine-tuning at a fifth of the rate", settings=PLAIN, rate=0.2),
    "l2sp": Arm(title="L2-SP", kind="l2sp", settings={"weight": 0.05}),
    "lwf": Arm(title="learning without forgetting (KL)", kind="lwf", settings={"weight": 1.0}),
    "lora": Arm(title="LoRA, rank 4", kind="lora", settings={"rank": 4}, rate=2.0),
    "osf": Arm(title="OSF, half of each matrix's directions fixed", kind="osf", settings={"keep": 0.5}),
    "align": Arm(title="alignment only", settings={"projection": "none", "visual_align_weight": 1.0}),
    "full": Arm(title="full projection only", settings={"projection": "full", "visual_align_weight": 0.0}),
    "conflict": Arm(title="signed projection only", settings={"projection": "conflict", "visual_align_weight": 0.0}),
    "random": Arm(
        title="projection along a random direction",
        settings={"projection": "full", "projection_direction": "random", "visual_align_weight": 0.0},
    ),
    "paper": Arm(title="MDGD (full projection and alignment)", settings={"preset": "paper"}),
    "recommended": Arm(title="MDGD with signed projection", settings={"preset": "recommended"}),
    "masked": Arm(title="MDGD-GM, 10 % of the entries", settings={"preset": "paper", "mask_ratio": 0.1}, rate=2.0),
    "random_mask": Arm(
        title="10 % of the entries at random",
        settings={"preset": "paper", "mask_ratio": 0.1, "mask_score": "random"},
        rate=2.0,
    ),
}
"""Rates of the arms that train few parameters are raised, since they learn slower; all are compared at equal accuracy
on the target."""

AFTERWARDS = {"wise": "half-way back (WiSE-FT)", "patch": "a patch of 10 % of the entries (after Model Tailor)"}
"""Arms made of the weights that fine-tuning ends with."""

REAL_ARMS: dict[str, Arm] = {
    name: ARMS[name] for name in ("fine_tuning", "lower_rate", "align", "full", "paper", "recommended")
}
"""Of the given model: those that its claims read, since its trainings are long."""


def title(name: str) -> str:
    """An arm in words."""
    return AFTERWARDS[name] if name in AFTERWARDS else ARMS[name].title


@dataclass(frozen=True, kw_only=True)
class RealScale:
    """Sizes of one preset on the given model; the batch is the same in all trainings. The defaults are laptop's."""

    start_steps: int = 200
    """The new connector alone, as in ``armillary train connector``, by whose recipe the model learns to see."""

    see_steps: int = 60
    """Connector and adapters of all layers, each image with all its questions."""

    see_batch: int = 8
    """Images in one step."""

    bfloat16: bool = True
    """Multiply in bfloat16 while it learns to see."""

    tune_steps: int = 40
    """Last layers alone, on the target task."""

    batch: int = 8
    layers: int = 6
    """Last layers of the language model that are trained."""

    tune_rate: float = 3e-4
    """Chosen on a pilot with another seed: of 1e-4 and 3e-4, at which the target was learned alike (55 and 48 % of 40
    questions, 3 % before), the one at which something was forgotten, since else nothing can be kept."""

    evaluate_every: int = 40
    questions: int = 48
    """Questions of each task, from the test split."""

    images: int = 16
    """Of the test split, over which effective rank and drift are taken."""

    seeds: int = 2
    """Few, since trainings of real weights are long: the small models carry the statistics."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of one preset; the defaults are laptop's."""

    seeds: int = 5
    """Each with a model pre-trained from its own random weights, its own invented words and its own order."""

    layers: int = 3
    width: int = 96
    heads: int = 4
    inner: int = 256
    pretrain_steps: int = 500
    pretrain_batch: int = 64
    pretrain_rate: float = 2e-3
    tune_steps: int = 100
    tune_batch: int = 32
    tune_rate: float = 2e-3
    """Chosen on a seed that is not judged: fine-tuning forgets something at 1e-3 and more at 2e-3, where the arms can
    be told apart."""

    evaluate_every: int = 10
    questions: int = 240
    """Questions a task at each evaluation, from the test split."""

    images: int = 240
    """Of the test split, over which effective rank and drift are taken."""

    timed_steps: int = 12
    synthetic: bool = False
    """Synthetic images instead of emoji: for CI, which has no network."""

    real: RealScale = RealScale()
    """Of the experiment on the given model."""


SCALES: dict[Preset, Scale] = {
    "quick": Scale(
        seeds=2, layers=2, width=32, heads=2, inner=48, pretrain_steps=6, pretrain_batch=8,
        tune_steps=4, tune_batch=4, tune_rate=5e-4, evaluate_every=2, questions=8, images=8, timed_steps=1,
        synthetic=True,
        real=RealScale(
            start_steps=2, see_steps=2, see_batch=2, tune_steps=2, batch=2, layers=2, tune_rate=1e-3, evaluate_every=1,
            questions=3, images=3,
        ),
    ),
    "laptop": Scale(),
    "gpu": Scale(
        layers=6, width=256, heads=8, inner=704, pretrain_steps=4000, pretrain_batch=128, pretrain_rate=1e-3,
        tune_steps=300, tune_batch=64, tune_rate=5e-4, evaluate_every=25, questions=600, images=600, timed_steps=40,
        real=RealScale(
            start_steps=600, see_steps=3000, see_batch=32, tune_steps=300, batch=32, layers=12, tune_rate=1e-4,
            evaluate_every=50, questions=400, images=200, seeds=5,
        ),
    ),
}  # fmt: skip
