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

Kind = Literal["mdgd", "l2sp", "lwf", "lora", "osf", "off_images", "old_tasks"]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to learn the target task."""

    title: str
    kind: Kind = "mdgd"
    settings: dict[str, Any] = field(default_factory=dict)
    """Of ``MDGDSettings``, or of the baseline."""

    rate: float = 1.0
    """Factor on the learning rate."""

    longer: float = 1.0
    """Factor on the number of steps, for arms that learn slowly."""

    sighted: bool = False
    """Whether the old reader answers from its image states all along, for comparisons of sight at equal target."""

    def mdgd(self, **more: Any) -> MDGDSettings:
        """The settings of an arm of the method's own trainer."""
        return MDGDSettings(**self.settings, **more)


PLAIN: dict[str, Any] = {"projection": "none", "visual_align_weight": 0.0}
BOTH: dict[str, Any] = {"projection": "full", "visual_align_weight": 1.0}
"""The literal reading of the paper."""

ARMS: dict[str, Arm] = {
    "fine_tuning": Arm(title="fine-tuning", settings=PLAIN, sighted=True),
    "old_tasks": Arm(title="the old tasks trained on", kind="old_tasks"),
    "lower_rate": Arm(title="fine-tuning at a third of the rate, twice as long", settings=PLAIN, rate=1 / 3, longer=2),
    "l2sp": Arm(title="L2-SP", kind="l2sp", settings={"weight": 0.05}),
    "lwf": Arm(title="learning without forgetting (KL)", kind="lwf", settings={"weight": 1.0}),
    "lora": Arm(title="LoRA, rank 4", kind="lora", settings={"rank": 4}, rate=3.0),
    "osf": Arm(title="OSF, half of each matrix's directions fixed", kind="osf", settings={"keep": 0.5}),
    "text_gradient": Arm(
        title="no task gradient through image tokens", settings={**PLAIN, "task_gradient": "text"}, sighted=True
    ),
    "off_images": Arm(title="gradients orthogonal to the span of image inputs", kind="off_images", sighted=True),
    "align": Arm(title="alignment only", settings={"projection": "none", "visual_align_weight": 1.0}, sighted=True),
    "full": Arm(title="full projection only", settings={"projection": "full", "visual_align_weight": 0.0}),
    "conflict": Arm(title="signed projection only", settings={"projection": "conflict", "visual_align_weight": 0.0}),
    "random": Arm(
        title="projection along a random direction",
        settings={"projection": "full", "projection_direction": "random", "visual_align_weight": 0.0},
    ),
    "paper": Arm(title="MDGD (full projection and alignment)", settings=BOTH, sighted=True),
    "signed": Arm(
        title="MDGD with signed projection",
        settings={"projection": "conflict", "visual_align_weight": 1.0},
        sighted=True,
    ),
    "masked": Arm(title="MDGD-GM, 10 % of the entries", settings={**BOTH, "mask_ratio": 0.1}, rate=3.0),
    "random_mask": Arm(
        title="10 % of the entries at random",
        settings={**BOTH, "mask_ratio": 0.1, "mask_score": "random"},
        rate=3.0,
    ),
}
"""Rates of the arms that train few parameters are raised, since they learn slower; the factor is ours and not tuned.
All are compared at equal accuracy on the target."""

SWEPT = ("fine_tuning", "full", "conflict")
"""Arms that are trained at every rate: what projection does by itself."""

AFTERWARDS = {"wise": "half-way back (WiSE-FT)", "patch": "a patch of some entries (after Model Tailor)"}
"""Arms made of the weights that fine-tuning ends with: curves over the share of the way, and over that of entries."""

SHARES = {"wise": (0.2, 0.4, 0.6, 0.8, 1.0), "patch": (0.02, 0.05, 0.1, 0.3, 1.0)}

REAL_ARMS: dict[str, Arm] = {
    "fine_tuning": ARMS["fine_tuning"],
    "lower_rate": Arm(title="fine-tuning at a fifth of the rate", settings=PLAIN, rate=0.2),
    "align": ARMS["align"],
    "full": ARMS["full"],
    "paper": ARMS["paper"],
    "signed": ARMS["signed"],
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

    tune_rate: float = 1e-3
    """Chosen on a pilot with another seed (1000), of 3e-4 and 1e-3: at both the target was learned in 40 steps (67 and
    62 % of 48 questions; 8 % before, 27 % by the most frequent answer), and the old tasks fell from 79 % to 62 at the
    larger, to 78 at the smaller: where nothing is forgotten nothing can be kept."""

    evaluate_every: int = 40
    questions: int = 48
    """Questions of each task, from the test split."""

    images: int = 16
    """Of the test split, over which effective rank and drift are taken."""

    seeds: int = 3
    """Few, since trainings of real weights are long: the small models carry the statistics."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of one preset; the defaults are laptop's."""

    seeds: int = 4
    """Each with a model pre-trained from its own random weights, its own invented words and its own order."""

    layers: int = 3
    width: int = 96
    heads: int = 4
    inner: int = 256
    pretrain_steps: int = 500
    pretrain_batch: int = 64
    pretrain_rate: float = 2e-3
    tune_batch: int = 32
    rates: tuple[tuple[float, int], ...] = ((1e-4, 160), (3e-4, 80), (1e-3, 48), (2e-3, 40))
    """Learning rates of the target's training with the steps of each: enough that the curve is flat at its end.

    All are shown. One is judged: that at which plain fine-tuning learns the target best on a pilot seed that is not
    judged. The last is the peak rate of the models' own pre-training, at which image states drift by their own length
    in ten steps."""

    evaluations: int = 8
    """Moments of each training at which it is read, at equal distances."""

    images: int = 320
    """Of the test split: each task asks one question about each."""

    ranked: int = 240
    """Images over which effective rank and drift are taken."""

    cosine_rows: int = 32
    """Training rows on which task and drift gradients are compared, the same in every arm."""

    timed_steps: int = 12
    synthetic: bool = False
    """Synthetic images instead of emoji: for CI, which has no network."""

    real: RealScale = RealScale()
    """Of the experiment on the given model."""


SCALES: dict[Preset, Scale] = {
    "quick": Scale(
        seeds=2, layers=2, width=32, heads=2, inner=48, pretrain_steps=6, pretrain_batch=8, tune_batch=4,
        rates=((5e-4, 3), (2e-3, 3)), evaluations=2, images=8, ranked=8, cosine_rows=4, timed_steps=1,
        synthetic=True,
        real=RealScale(
            start_steps=2, see_steps=2, see_batch=2, tune_steps=2, batch=2, layers=2, tune_rate=1e-3, evaluate_every=1,
            questions=3, images=3,
        ),
    ),
    "laptop": Scale(),
    "gpu": Scale(
        layers=6, width=256, heads=8, inner=704, pretrain_steps=4000, pretrain_batch=128, pretrain_rate=1e-3,
        tune_batch=64, rates=((3e-5, 600), (1e-4, 400), (3e-4, 300), (1e-3, 200)), images=550, timed_steps=40,
        real=RealScale(
            start_steps=600, see_steps=3000, see_batch=32, tune_steps=300, batch=32, layers=12, tune_rate=1e-4,
            evaluate_every=50, questions=400, images=200, seeds=5,
        ),
    ),
}  # fmt: skip
