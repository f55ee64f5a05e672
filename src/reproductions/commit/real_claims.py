"""What CoMMIT claims, judged on sounds and on real weights: quantities and rules, written before any judged run.

[derived] On sounds five seeds of small models; on the given language model three seeds of a short training, where
intervals are over questions or, for what a run has one of, the range over seeds: they say that the path works and in
which direction it goes. Its rates were chosen on pilots of it. Needs no torch.
"""

from armillary.records.claims import Claim, Control, above, below, below_each, beyond
from reproductions.commit.claims import ABOVE_FLOOR, beats_baselines, more_than_larger_rates, repairs
from reproductions.commit.scale import SLOW

_CONTROLS = (
    Control(
        what="the imbalance is there: log kappa of the slow encoder beyond that of balanced rates, in each seed",
        rule=beyond("model/late log kappa, constant", "model/late log kappa, balanced"),
    ),
    Control(
        what=f"probes (float32) stand above rounding, {ABOVE_FLOOR:.0%} of them at least",
        rule=above("model/probes above the floor, constant", ABOVE_FLOOR),
    ),
)

REAL_CLAIMS: tuple[Claim, ...] = (
    *(repairs(start, "audio/") for start in SLOW),
    more_than_larger_rates("audio/"),
    beats_baselines("audio/", blocks=10),
    Claim(
        id="real-rebalances",
        statement="On real weights, where the encoder's rate is a hundred times below what balances it, the scheduler "
        "brings the balance nearer to 1.",
        paper="What the scheduler is for; no figure could be had.",
        quantity="Mean size of log kappa over the second half of the probes, lift less rates left alone; range over "
        "seeds.",
        rule="Holds if the difference is below 0 in each seed; fails if it is 0 or above in each.",
        decide=below("model/size of late log kappa, lift minus constant"),
        controls=_CONTROLS,
        null="The same multipliers given to the wrong component.",
        needs=(
            "model/size of late log kappa, exchanged minus constant",
            "model/late log kappa, lift",
            "model/mean multiplier of encoder, lift",
        ),
    ),
    Claim(
        id="real-repairs-slow-encoder",
        statement="On real weights, from the same start, the scheduler ends at a lower loss than rates left alone and "
        "than with its multipliers given to the wrong component.",
        paper="Converges faster than constant rates; no figure could be had.",
        quantity="Loss (nats a token) on questions about pictures held out, lift less rates left alone and less its "
        "mean multipliers exchanged; questions resampled in pairs, each the mean of the seeds; right answers beside.",
        rule="Holds if both intervals lie below 0; fails if one lies at or above. Loss decides: the claim is on "
        "speed, and so short a training answers hardly more questions.",
        decide=below_each(["model/loss, lift minus constant", "model/loss, lift minus exchanged"]),
        controls=(
            *_CONTROLS,
            Control(
                what="rates left alone learn to answer: the loss falls by a nat",
                rule=below("model/loss, constant minus before", -1.0),
                otherwise="model too small",
            ),
            Control(
                what="there is something to repair: rates left alone end above balanced rates in loss",
                rule=above("model/loss, constant minus balanced"),
            ),
        ),
        null="Exchanged: as much rate given to the wrong component, from the same weights and rows.",
        needs=(
            "model/right, lift minus constant",
            "model/right, lift minus exchanged",
            *(f"model/right, {name}" for name in ("before", "constant", "lift", "exchanged", "balanced")),
        ),
    ),
)
