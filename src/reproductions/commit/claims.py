"""The claims of CoMMIT (arXiv 2407.20454) with the rules that decide them at laptop scale, written before the runs.

No figure of the paper could be had: of its claims only the direction is known, and the quantities, thresholds and
controls are ours throughout. A rule reads intervals only.
"""

from armillary.numerics.intervals import Interval
from armillary.records.claims import Claim, Rule, Verdict, above, at_most, below, every, reading, settled
from reproductions.commit.scale import BASELINES, SLOW, Start

LAW = 0.15
"""Deviation of kappa's change from the square of the rate's change that is still the law."""

BALANCED = 0.2
"""|log kappa| of components that move the output alike: less than a fifth apart."""

HARM = 0.05
"""Relative loss to the best pair below which a start has nothing that could be repaired."""

SHARE = 0.7
"""Of the steps, in which a scheduled run must reach the constant run's final loss."""

NO_HARM = 0.02
NOTHING = 0.01
"""Relative gain of the loss below which there is none to speak of."""

OVERHEAD = 1.15


@reading("kappa/log kappa at equal rates")
def _apart(kappa: Interval) -> Verdict:
    return settled(
        holds=kappa.lower > BALANCED or kappa.upper < -BALANCED,
        fails=kappa.lower >= -BALANCED and kappa.upper <= BALANCED,
    )


def faster(start: str, prefix: str = "") -> Rule:
    """Undecided where the start does no harm, or the control does as well. Names of measures begin with ``prefix``."""

    @reading(f"{prefix}harm/{start}", f"{prefix}speed/{start}, lift", f"{prefix}speed/{start}, exchanged")
    def decide(harm: Interval, share: Interval, control: Interval) -> Verdict:
        if harm.lower <= HARM:
            return "undecided"
        return settled(fails=share.lower > SHARE, holds=share.upper <= SHARE and control.estimate > share.upper)

    return decide


def gains(name: str) -> Rule:
    """Fails where next to nothing is gained; else holds when the whole interval is below 0."""
    return Rule((name,), lambda m: settled(fails=m[name].lower >= -NOTHING, holds=m[name].upper < 0))


@reading("regulariser/loss, full over lift", "regulariser/oscillation, full minus lift")
def _regularised(loss: Interval, spread: Interval) -> Verdict:
    return settled(fails=loss.lower >= -NOTHING or spread.lower >= 0, holds=loss.upper < 0 and spread.upper < 0)


# Claims that are judged on images and, with ``audio/`` before the names of their measures, on sounds.


def _repairs(start: Start, prefix: str = "") -> Claim:
    component = "encoder" if start == "slow encoder" else "language model"
    opening, loss, other, harm = (
        ("With sounds, from", "held-out", "equal rates", f"{HARM:.0%}")
        if prefix
        else ("From", "validation", "the best pair", "5 %")
    )
    return Claim(
        id=f"{'sounds-' if prefix else ''}repairs-{start.replace(' ', '-')}",
        statement=f"{opening} rates of which the {component}'s is a hundred times too low, the scheduler gets to the "
        "constant run's final loss in 70 % of the steps.",
        paper="Faster on audio tasks too (SALMONN); no figure could be had."
        if prefix
        else "CoMMIT-CLR converges faster than constant rates; no figure could be had.",
        quantity=f"Share of the steps after which CoMMIT-CLR (lift) has a {loss} loss as low as the constant run's "
        "last; a run that never gets there counts as one reading more than it had. Over seeds; the control gives "
        "lift's mean multipliers to the wrong component.",
        rule=f"Undecided unless the constant run is worse than {other} by more than {harm} (ours; interval). Holds if "
        f"the interval ends at {SHARE} (ours) or below, and below the control; fails if it begins above {SHARE}.",
        decide=faster(start, prefix),
    )


def _more_than_larger_rates(prefix: str = "") -> Claim:
    measure = f"{prefix}budget/lift over matched"
    opening, nothing = ("With sounds, the", f"{NOTHING:.0%}") if prefix else ("The", "1 %")
    return Claim(
        id=f"{'sounds-' if prefix else ''}more-than-larger-rates",
        statement=f"{opening} scheduler gains more than the larger rates that it ends up with.",
        paper="The factor greater than one in its convergence bound is all that is proved; no such control is known.",
        quantity="Final loss of lift relative to constant rates equal to lift's own means over time (hindsight), less "
        "1; mean of the two slow starts, paired by seed.",
        rule=f"Fails if all of the interval is above -{nothing} (ours), which is to gain nothing; else holds if it "
        "lies below 0.",
        decide=gains(measure),
    )


def _beats_baselines(prefix: str = "", *, blocks: int) -> Claim:
    measures = tuple(f"{prefix}loss/equal, full over {name}" for name in BASELINES)
    subject = "With sounds, from equal rates, CoMMIT" if prefix else "From equal rates CoMMIT"
    return Claim(
        id=f"{'sounds-' if prefix else ''}beats-baselines",
        statement=f"{subject} ends at a lower loss than constant rates, Feature CD and Language CD.",
        paper="Faster and to lower loss on image and audio tasks; no figure could be had.",
        quantity="Final loss of full CoMMIT relative to each of the three, less 1, paired by seed; blocks of "
        f"coordinate descent are of {blocks} steps (ours).",
        rule="Holds if all three intervals lie below 0; fails if one lies at or above.",
        decide=every(*map(below, measures)),
    )


_DEVIATION = "law/largest deviation, small steps"
_ENDS = {
    path: tuple(f"ratio/{path}, rise to slow {name}" for name in ("encoder", "llm"))
    for path in ("one lowered", "fixed mean")
}
_STARVED = ("gradient/encoder, slow over equal", "gradient/llm, slow over equal")

CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="kappa-follows-rates",
        statement="The balance coefficient answers to the rates: scaling one component's rate by a scales it by a "
        "squared, or one over that.",
        paper="Adjusting both rates by the coefficient is the method; the square is our theory of small steps.",
        quantity="Kappa of one step of AdamW with one rate times 3 or 1/3, over kappa of the same step, over the "
        "square of the factor (encoder: its inverse), less 1; the largest of the four in size, over seeds.",
        rule="Holds if the interval ends at 15 % (ours) or below; fails if it begins above.",
        decide=at_most(_DEVIATION, LAW),
    ),
    Claim(
        id="unbalanced-at-equal-rates",
        statement="At equal rates one component moves the output more than the other.",
        paper="The language model dominates in BLIP-2 on TextVQA (empirical study).",
        quantity="Mean log kappa of training at equal constant rates, over seeds.",
        rule="Holds if the interval lies above 0.2 or below -0.2 (ours); fails if it lies between.",
        decide=_apart,
    ),
    Claim(
        id="imbalance-hurts",
        statement="Learning that is slowed in one of the two components ends at a higher loss.",
        paper="Insufficient and biased learning of one component slows convergence; no figure could be had.",
        quantity="Final loss with one rate a hundred times below the other, relative to the best pair between the two "
        "ends, less 1; the larger rate is the same for all; paired by seed.",
        rule="Holds if both intervals lie above 0; fails if one lies at or below.",
        decide=every(*map(above, _ENDS["one lowered"])),
    ),
    Claim(
        id="ratio-has-an-optimum",
        statement="After as many steps the loss is U-shaped in the ratio of the rates.",
        paper="Follows from its bound, in which either extreme starves one component.",
        quantity="The same at a fixed geometric mean of the two rates, so that only their ratio changes.",
        rule="Holds if both intervals lie above 0; fails if one lies at or below.",
        decide=every(*map(above, _ENDS["fixed mean"])),
    ),
    Claim(
        id="lagging-gradients-diminish",
        statement="The component that lags behind gets smaller gradients than in balanced learning.",
        paper="Gradient diminishing, in its theory and its empirical study.",
        quantity="Mean log gradient norm of the component whose rate is a hundred times lower, less that at equal "
        "rates, second half of training; paired by seed.",
        rule="Holds if both intervals (encoder, language model) lie below 0; fails if one lies at or above.",
        decide=every(*map(below, _STARVED)),
    ),
    *(_repairs(start) for start in SLOW),
    Claim(
        id="no-harm",
        statement="From well-chosen rates the scheduler does no harm.",
        paper="It is recommended throughout; no experiment from tuned rates is known.",
        quantity="Final loss of lift from the best pair of the grid, relative to that pair left alone, less 1; paired "
        "by seed.",
        rule="Holds if the interval ends at 2 % (ours) or below; fails if it begins above.",
        decide=at_most("loss/best, lift over constant", NO_HARM),
    ),
    _more_than_larger_rates(),
    Claim(
        id="oscillation-shrinks",
        statement="With the scheduler the balance oscillates less than at constant rates.",
        paper="Oscillation is one of the two failures that it sets out to cure.",
        quantity="Standard deviation of log kappa over the second half of the probes, lift less constant, mean over "
        "all starts, paired by seed.",
        rule="Holds if the interval lies below 0; fails if it lies at or above.",
        decide=below("kappa/oscillation, lift minus constant"),
    ),
    Claim(
        id="regulariser-adds",
        statement="The auxiliary regulariser lowers the loss further and steadies the balance.",
        paper="CoMMIT does better than CoMMIT-CLR; no figure could be had, and the regulariser is rebuilt by us.",
        quantity="Final loss of full CoMMIT relative to lift, less 1, and standard deviation of log kappa less "
        "lift's; means over the starts that have both, paired by seed.",
        rule="Fails if the first interval is all above -1 % (ours) or the second lies at or above 0; else holds if "
        "both lie below 0.",
        decide=_regularised,
    ),
    _beats_baselines(blocks=50),
    Claim(
        id="overhead",
        statement="Measuring the balance every ten steps costs little.",
        paper="Rates are refreshed every few steps to limit the cost; no figure of time is known.",
        quantity="Time of ten steps with one probe over ten plain ones, by turns; on a CPU the time of this process.",
        rule="Holds if the interval ends at 1.15 (ours) or below; fails if it begins above.",
        decide=at_most("overhead/time ratio", OVERHEAD),
    ),
)

# What CoMMIT claims, judged on sounds and on real weights: quantities and rules, written before any judged run.
#
# [derived] On sounds five seeds of small models; on the given language model two seeds, where intervals are over
# questions or, for what a run has one of, the range over seeds: they say that the path works and in which direction it
# goes. The length of the trainings was chosen by what constant rates learn in it. Needs no torch.


_LEARNED = "model/loss, constant minus before"


@reading("model/late log kappa of rates left alone", "model/late |log kappa|, lift minus constant")
def _rebalances(lag: Interval, closer: Interval) -> Verdict:
    return "undecided" if lag.lower <= BALANCED else settled(holds=closer.upper < 0, fails=closer.lower >= 0)


@reading(_LEARNED, "model/loss, lift minus constant", "model/loss, lift minus exchanged")
def _real_repairs(learned: Interval, gain: Interval, control: Interval) -> Verdict:
    if learned.upper >= 0:
        return "undecided"
    return settled(fails=gain.lower >= 0, holds=gain.upper < 0 and control.upper < 0)


@reading(_LEARNED, "model/loss, lift minus matched")
def _beyond_rates(learned: Interval, gain: Interval) -> Verdict:
    return "undecided" if learned.upper >= 0 else settled(holds=gain.upper < 0, fails=gain.lower >= 0)


REAL_CLAIMS: tuple[Claim, ...] = (
    *(_repairs(start, "audio/") for start in SLOW),
    _more_than_larger_rates("audio/"),
    _beats_baselines("audio/", blocks=20),
    Claim(
        id="real-rebalances",
        statement="On real weights, where the encoder's rate is a hundred times too low, the scheduler brings the "
        "balance nearer to 1.",
        paper="What the scheduler is for; no figure could be had.",
        quantity="Mean |log kappa| over the second half of the probes, lift less rates left alone; range over seeds.",
        rule=f"Undecided unless log kappa of rates left alone lies above {BALANCED} (ours) in each seed. Holds if the "
        "difference is below 0 in each seed; fails if it is 0 or above in each.",
        decide=_rebalances,
    ),
    Claim(
        id="real-repairs-slow-encoder",
        statement="On real weights, from the same start, the scheduler ends at a lower loss, and lower than with its "
        "multipliers given to the wrong component.",
        paper="Converges faster than constant rates; no figure could be had.",
        quantity="Loss (nats a token) on questions about pictures held out, lift less rates left alone and less its "
        "mean multipliers exchanged; questions resampled in pairs, each the mean of the seeds.",
        rule="Undecided where rates left alone do not learn. Holds if both intervals lie below 0; fails if the first "
        "lies at or above.",
        decide=_real_repairs,
    ),
    Claim(
        id="real-more-than-larger-rates",
        statement="On real weights, the scheduler gains more than the larger rates that it ends up with.",
        paper="As with sounds.",
        quantity="The same loss, lift less constant rates equal to lift's own means over time (hindsight).",
        rule="Undecided where rates left alone do not learn. Holds if the interval lies below 0; fails if it lies at "
        "or above.",
        decide=_beyond_rates,
    ),
)
