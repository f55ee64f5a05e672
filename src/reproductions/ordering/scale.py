"""How large each preset of the Ordering reproduction is; importable without torch.

[derived] Worlds, models, rates and sizes are ours: the paper's could not be read. Rates were chosen on a pilot seed,
on "seq" alone.
"""

from dataclasses import dataclass, field

from armillary.cli.reproduce import Preset
from armillary.methods.ordering.logic.config import LogicConfig
from armillary.methods.ordering.training.config import DecoderShape

SEQ, SEQ_ADDRESSED = "seq", "seq@"
"""The intuitively sequential orders of either framing, which others are compared with."""

SAMPLES, TEMPERATURE = 8, 0.7
"""Of pass@8, as the note asks."""

LOW, HIGH = 0.30, 0.95
"""Success of "seq" between which the note lets a comparison be judged."""

CLEAR, LITTLE = 0.05, 0.02
"""Points that the note asks of the gap between best and worst order, and those that count as nothing."""

# Proofs.

REARRANGED = ("action_first", "actions_then_states", "logical", "reversed")
"""Orders of the same tokens as "seq"."""

STATELESS = "actions_only"
"""A control of fewer tokens."""

DOSES = (SEQ_ADDRESSED, "swap:0.1", "swap:0.25", "swap:0.5", "swap:1")
"""Five levels of displacement, of the same tokens."""

LOGIC_ORDERS = (SEQ, *REARRANGED, STATELESS, *DOSES, "bfs", "random")

# Multiplication.

LADDER = (SEQ, "msb", "sumfirst", "revsteps", "noscratch")
"""From the best to the worst, as the note expects them."""

ANSWERS_FIRST = ("sumfirst", "revsteps", "answer_first")
"""Orders in which a sum stands before the product that it is made of."""

SAME_TOKENS = ("msb", "parts_then_sums", *ANSWERS_FIRST)
"""Orders of the same tokens as "seq"."""

SHUFFLED = "shuffle"
MULTIPLICATION_ORDERS = (SEQ, *SAME_TOKENS, "noscratch", SEQ_ADDRESSED, SHUFFLED)
LONGER = (SEQ, "sumfirst")
"""Trained further, to see what becomes of the gap: the order with the smallest violation that is no mere turn of
digits."""

NULL = "shuffled prompts"
"""A model of "seq" that has learned each solution behind another problem's prompt."""


@dataclass(frozen=True, kw_only=True)
class WorldScale:
    """Sizes of one world; every order has the same."""

    train: int
    test: int
    steps: int
    batch: int
    rate: float
    readings: int = 8
    """How often success is read during a training, its end included."""

    drawn: int = 100
    """Test problems of which ``SAMPLES`` solutions are drawn."""

    shape: DecoderShape = DecoderShape()

    def read_at(self) -> list[int]:
        """Steps after which success is read."""
        return sorted({max(1, self.steps * number // self.readings) for number in range(1, self.readings + 1)})


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of one preset; the defaults are laptop's."""

    seeds: int = 3
    logic_config: LogicConfig = field(default_factory=LogicConfig)
    """Theorems of the note's pilot: two atoms and falsum, 3 to 6 connectives, proofs of 3 to 7 steps."""

    logic: WorldScale = WorldScale(
        train=20_000, test=1_000, steps=500, batch=32, rate=4e-3, readings=4, shape=DecoderShape(width=64)
    )
    """On the pilot seed 600 steps took "seq" to 75 %; as much as 500 steps of a width of 96 did in half as much time
    again."""

    digits: int = 2
    multiplication: WorldScale = WorldScale(train=3_700, test=350, steps=400, batch=64, rate=3e-3)
    """All 4,095 pairs but some; on the pilot seed "seq" came to 94 % at step 400 of 600, to 51 % at 500 of 500 steps
    with a width of 64 in place of 96."""

    longer: int = 2
    """Times the steps for ``LONGER``."""


SCALES: dict[Preset, Scale] = {
    "quick": Scale(
        seeds=1,
        logic_config=LogicConfig(nodes=(1, 3), steps=(1, 2)),
        logic=WorldScale(
            train=40, test=6, steps=2, batch=4, rate=1e-3, readings=2,
            shape=DecoderShape(width=8, layers=1, heads=2),
        ),
        digits=1,
        multiplication=WorldScale(
            train=20, test=8, steps=2, batch=4, rate=1e-3, readings=2,
            shape=DecoderShape(width=8, layers=1, heads=2),
        ),
        longer=1,
    ),
    "laptop": Scale(),
    "gpu": Scale(
        seeds=5,
        logic_config=LogicConfig(atoms=3, nodes=(3, 7), steps=(3, 9)),
        logic=WorldScale(
            train=200_000, test=1_000, steps=8_000, batch=64, rate=1e-3,
            shape=DecoderShape(width=192, layers=6, heads=6),
        ),
        digits=3,
        multiplication=WorldScale(
            train=300_000, test=1_000, steps=8_000, batch=64, rate=1e-3,
            shape=DecoderShape(width=192, layers=6, heads=6),
        ),
    ),
}  # fmt: skip
