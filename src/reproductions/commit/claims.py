"""The claims of CoMMIT (arXiv 2407.20454) with the rules that decide them at laptop scale, written before the runs.

No figure of the paper could be had: of its claims only the direction is known, and the quantities, thresholds and
controls are ours throughout. A rule reads intervals only.

Loss or accuracy: what the paper says of speed and convergence is decided by the loss at equal steps, since that is
what converges; what it says of quality ("downstream") by the share of right answers. The other stands beside it.
"""

import math

from armillary.records.claims import (
    Claim,
    Control,
    above,
    above_each,
    at_most,
    below,
    below_each,
    beyond,
    no_control,
    short_of,
)
from reproductions.commit.scale import BASELINES, NULLS, SLOW, Start

LAW = 0.15
"""Deviation of kappa's change from the square of the rate's change that is still the law."""

BALANCED = 0.2
"""Size of log kappa of components that move the output alike: less than a fifth apart."""

LEARNED = 0.1
"""Share of right answers above the most frequent ones from which a task is learned."""

ABOVE_FLOOR = 0.9
"""Share of probes that must stand above what rounding alone reads as."""

HARM = 0.05
"""Relative loss to the best pair below which a start has nothing that could be repaired."""

COST = 0.02
"""The same in right answers; also what may be lost and is still no harm."""

SHARE = 0.7
"""Of the steps, in which a scheduled run must reach the constant run's final loss."""

MENDED = 0.9
"""Of a planted imbalance, in log kappa: all but a tenth is taken back."""

NOTHING = 0.01
"""Relative gain of the loss below which there is none to speak of."""

ALIKE = 0.1
"""Nats of training loss that two trainings must have gone through both, to be compared at equal loss."""

OVERHEAD = 1.15


def _learned(prefix: str = "") -> Control:
    rates = "equal rates" if prefix else "the best constant pair"
    return Control(
        what=f"the task is learned by {rates}: {100 * LEARNED:.0f} points above the most frequent answers",
        rule=above(f"{prefix}ground/right, best pair less majority", LEARNED),
        otherwise="model too small",
    )


def _planted(start: Start, prefix: str = "") -> Control:
    ends = [f"{prefix}kappa/late log kappa, {name}, constant" for name in (start, "equal")]
    compare = beyond if start == "slow encoder" else short_of
    return Control(what=f"the imbalance is there: log kappa of a {start} beyond equal rates'", rule=compare(*ends))


def _seen(start: Start, prefix: str = "") -> Control:
    return Control(
        what=f"probes (float32) stand above rounding, {ABOVE_FLOOR:.0%} of them from {start} at least",
        rule=above(f"{prefix}floor/probes above it, {start}", ABOVE_FLOOR),
    )


def _harmed(start: Start, prefix: str = "") -> Control:
    best = "equal rates" if prefix else "the best pair"
    what = f"there is something to repair: rates left alone end more than {HARM:.0%} in loss above {best}"
    return Control(what=what, rule=above(f"{prefix}harm/{start}", HARM))


def _component(start: Start) -> str:
    return "encoder" if start == "slow encoder" else "language model"


# Claims that are judged on images and, with ``audio/`` before the names of their measures, on sounds.


def repairs(start: Start, prefix: str = "") -> Claim:
    opening, loss = ("With sounds, from", "held-out") if prefix else ("From", "validation")
    return Claim(
        id=f"{'sounds-' if prefix else ''}repairs-{start.replace(' ', '-')}",
        statement=f"{opening} rates of which the {_component(start)}'s is a hundred times too low, the scheduler gets "
        "to the constant run's final loss in 70 % of the steps.",
        paper="Faster on audio tasks too (SALMONN); no figure could be had."
        if prefix
        else "CoMMIT-CLR converges faster than constant rates; no figure could be had.",
        quantity=f"Share of the steps after which CoMMIT-CLR (lift) has a {loss} loss as low as the constant run's "
        "last; a run that never gets there counts as one reading more than it had. Over seeds; right answers beside.",
        rule=f"Holds if the interval ends at {SHARE} (ours) or below; fails if it begins above. Loss decides: the "
        "claim is on speed.",
        decide=at_most(f"{prefix}speed/{start}, lift", SHARE),
        controls=(_learned(prefix), _planted(start, prefix), _seen(start, prefix), _harmed(start, prefix)),
        null="Exchanged: lift's mean multipliers given to the wrong component. Random: its multipliers drawn anew at "
        "each probe, for either component. Both run from the same weights and rows.",
        needs=(
            *(f"{prefix}speed/{start}, {name}" for name in NULLS),
            f"{prefix}loss/{start}, lift over constant",
            f"{prefix}right/{start}, lift less constant",
            *(f"{prefix}right/{start}, {name}" for name in ("constant", "lift", "matched", *NULLS)),
        ),
    )


def more_than_larger_rates(prefix: str = "") -> Claim:
    return Claim(
        id=f"{'sounds-' if prefix else ''}more-than-larger-rates",
        statement=f"{'With sounds, the' if prefix else 'The'} scheduler gains more than the larger rates that it ends "
        "up with.",
        paper="The factor greater than one in its convergence bound is all that is proved; no such control is known.",
        quantity="Final loss of lift relative to constant rates equal to lift's own means over time (hindsight), "
        "less 1; mean of the two slow starts, paired by seed; right answers beside.",
        rule=f"Holds if the interval lies below -{NOTHING} (ours: less is no gain to speak of); fails if it lies at "
        "or above. Loss decides, since the bound is on convergence.",
        decide=below(f"{prefix}budget/lift over matched", -NOTHING),
        controls=(_learned(prefix), *(_planted(start, prefix) for start in SLOW)),
        null="The arm compared with is the null: the same mean rates of the same run, without a schedule.",
        needs=(
            f"{prefix}budget/right, lift less matched",
            *(f"{prefix}loss/{start}, lift over matched" for start in SLOW),
        ),
    )


def beats_baselines(prefix: str = "", *, blocks: int) -> Claim:
    return Claim(
        id=f"{'sounds-' if prefix else ''}beats-baselines",
        statement=f"{'With sounds, from' if prefix else 'From'} equal rates CoMMIT-CLR ends at a lower loss than "
        "constant rates, Feature CD and Language CD.",
        paper="Faster and to lower loss on image and audio tasks; no figure could be had.",
        quantity="Final loss of lift relative to each of the three, less 1, paired by seed; blocks of coordinate "
        f"descent are of {blocks} steps (ours); right answers beside.",
        rule="Holds if all three intervals lie below 0; fails if one lies at or above. Loss decides: the claim names "
        "it.",
        decide=below_each([f"{prefix}loss/equal, lift over {name}" for name in BASELINES]),
        controls=(_learned(prefix), _seen("equal", prefix)),
        null="The three baselines, run from the same weights and rows; constant rates are lift that does nothing.",
        needs=tuple(f"{prefix}right/equal, lift less {name}" for name in BASELINES),
    )


_DEVIATION = "law/largest deviation, small steps"
_ENDS = ("rise to slow encoder", "rise to slow llm")
_GRADIENTS = ("gradient/encoder", "gradient/llm")
_BOTH = tuple(_planted(start) for start in SLOW)


def _aims(start: Start) -> Claim:
    return Claim(
        id=f"aims-{start.replace(' ', '-')}",
        statement=f"From the same rates (slow {_component(start)}) the gain "
        "comes from speeding up the component that lags, not from as much rate elsewhere.",
        paper="The coefficient says which component is to be sped up; no such control is known.",
        quantity="Final loss of lift relative to that with its multipliers exchanged and drawn at random, less 1, "
        "paired by seed; right answers beside.",
        rule="Holds if both intervals lie below 0; fails if one lies at or above. Loss decides, as in the claim on "
        "speed that it belongs to.",
        decide=below_each([f"loss/{start}, lift over {name}" for name in NULLS]),
        controls=(_learned(), _planted(start), _harmed(start)),
        null="The two arms compared with are the nulls: as much rate without looking at the balance.",
        needs=(
            *(f"right/{start}, lift less {name}" for name in NULLS),
            *(f"loss/{start}, {name} over constant" for name in ("lift", *NULLS)),
        ),
    )


def _answers_repaired(start: Start) -> Claim:
    others = ("constant", *NULLS)
    return Claim(
        id=f"answers-repaired-{start.replace(' ', '-')}",
        statement=f"From the same rates (slow {_component(start)}) the scheduler ends with more right answers than "
        "rates left alone and than its multipliers given elsewhere.",
        paper="Better downstream than the baselines; no figure could be had.",
        quantity="Share of right answers of lift less that of rates left alone, of its multipliers exchanged and "
        "drawn at random, paired by seed; losses beside.",
        rule="Holds if all three intervals lie above 0; fails if one lies at or below. Answers decide: the claim is "
        "on quality.",
        decide=above_each([f"right/{start}, lift less {name}" for name in others]),
        controls=(
            _learned(),
            _planted(start),
            Control(
                what=f"there is something to repair: rates left alone are {100 * COST:.0f} points below the best pair",
                rule=above(f"harm in answers/{start}", COST),
            ),
        ),
        null="Exchanged and random multipliers are the nulls, as much rate without looking at the balance.",
        needs=tuple(f"loss/{start}, lift over {name}" for name in others),
    )


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
        controls=(
            Control(
                what="every change read stands above rounding (float32), twofold",
                rule=above("law/least change over floor, log10", math.log10(2)),
            ),
        ),
        null="Each component's change held against the other's law.",
        needs=("law/largest deviation, components exchanged, small steps", "law/largest deviation, training steps"),
    ),
    Claim(
        id="unbalanced-at-equal-rates",
        statement="At equal rates one component moves the output more than the other.",
        paper="The language model dominates in BLIP-2 on TextVQA (empirical study).",
        quantity="Size of the mean log kappa of training at equal constant rates, over seeds.",
        rule=f"Holds if the interval lies above {BALANCED} (ours: a fifth); fails if it lies at or below.",
        decide=above("kappa/size of log kappa at equal rates", BALANCED),
        controls=(_learned(), _seen("equal")),
        null="The same parameters divided at random in two: ten divisions a seed, one step each.",
        needs=("kappa/log kappa at equal rates", "kappa/size of log kappa of random halves"),
    ),
    Claim(
        id="imbalance-hurts",
        statement="Learning that is slowed in one of the two components ends at a higher loss.",
        paper="Insufficient and biased learning of one component slows convergence; no figure could be had.",
        quantity="Final loss with one rate a hundred times below the other, relative to equal rates, less 1; the "
        "larger rate is the same for all; paired by seed; right answers beside.",
        rule="Holds if both intervals lie above 0; fails if one lies at or below. Loss decides: the claim is on "
        "convergence.",
        decide=above_each([f"ratio/one lowered, {end}" for end in _ENDS]),
        controls=(_learned(), *_BOTH),
        null="As much taken from both rates, a tenth each, so that they learn slowly but in the ratio they had.",
        needs=(
            "ratio/one lowered, rise to both lowered",
            *(f"ratio/one lowered, right, {end}" for end in (*_ENDS, "rise to both lowered")),
        ),
    ),
    Claim(
        id="ratio-has-an-optimum",
        statement="After as many steps the loss is U-shaped in the ratio of the rates.",
        paper="Follows from its bound, in which either extreme starves one component.",
        quantity="Final loss at either end relative to a pair between, less 1, all with one geometric mean, so that "
        "only the ratio changes; the pair between is chosen on a seed that is not judged; right answers beside.",
        rule="Holds if both intervals lie above 0; fails if one lies at or below. Loss decides: the bound is on it.",
        decide=above_each([f"ratio/fixed mean, {end}" for end in _ENDS]),
        controls=(_learned(), *_BOTH),
        null="A loss that knows nothing of the ratio rises by 0; the noise of it is that of the pairs over seeds.",
        needs=tuple(f"ratio/fixed mean, right, {end}" for end in _ENDS),
    ),
    Claim(
        id="lagging-gradients-diminish",
        statement="The component that lags behind gets smaller gradients than in balanced learning that has come as "
        "far.",
        paper="Gradient diminishing, in its theory and its empirical study.",
        quantity="Mean log gradient norm of the component whose rate is a hundred times lower, less that of "
        "one with an equal ratio and the same geometric mean, at equal training loss (20 levels), paired by seed.",
        rule="Holds if both intervals (encoder, language model) lie below 0; fails if one lies at or above. At equal "
        "loss, since a slower run has larger gradients for its larger loss alone.",
        decide=below_each([f"{name}, lagging over low" for name in _GRADIENTS]),
        controls=(
            *_BOTH,
            *(
                Control(
                    what=f"both trainings went through {ALIKE} nats of loss in common ({name.split('/')[1]})",
                    rule=above(f"{name}, lagging over low, shared range", ALIKE),
                )
                for name in _GRADIENTS
            ),
        ),
        null="Two trainings with an equal ratio that learn at other speeds, a tenth of both rates over equal rates.",
        needs=(
            *(f"{name}, low over equal" for name in _GRADIENTS),
            *(f"{name}, lagging over equal" for name in _GRADIENTS),
        ),
    ),
    *(repairs(start) for start in SLOW),
    *(_aims(start) for start in SLOW),
    *(_answers_repaired(start) for start in SLOW),
    Claim(
        id="mends-the-imbalance",
        statement="The scheduler takes back an imbalance of a hundred between the rates.",
        paper="Keeping the coefficient near 1 is what it is for; no figure could be had.",
        quantity="Share of the planted difference in log kappa that lift takes back, at its default clip of 10: 0 is "
        "the start left alone, 1 is equal rates left alone; second half of the probes, over seeds. A multiplier of 10 "
        "can take back a tenth of the hundred, which is half of its logarithm.",
        rule=f"Holds if both intervals lie above {MENDED} (ours: all but a tenth); fails if one lies at or below.",
        decide=above_each([f"mended/{start}, lift" for start in SLOW], MENDED),
        controls=(*_BOTH, *(_seen(start) for start in SLOW)),
        null="Exchanged and random multipliers, as large, which know nothing of the balance.",
        needs=tuple(
            f"mended/{start}, {what}"
            for start in SLOW
            for what in ("lift, late multiplier", "clip_100", "clip_100, late multiplier", *NULLS)
        ),
    ),
    Claim(
        id="no-harm",
        statement="From well-chosen rates the scheduler does no harm.",
        paper="It is recommended throughout; no experiment from tuned rates is known.",
        quantity="Share of right answers of the best pair of the grid left alone, less that of lift from it; paired "
        "by seed; loss beside.",
        rule=f"Holds if the interval ends at {100 * COST:.0f} points (ours) or below; fails if it begins above. "
        "Answers decide: they are what a user would lose.",
        decide=at_most("right/best, constant less lift", COST),
        controls=(
            _learned(),
            Control(
                what="the scheduler acts: the larger of its mean multipliers is above 1.1",
                rule=above("multiplier/best, lift, larger", 1.1),
            ),
        ),
        null="Rates left alone, from the same weights and rows: no schedule loses 0.",
        needs=("loss/best, lift over constant", "right/best, constant", "right/best, lift"),
    ),
    more_than_larger_rates(),
    Claim(
        id="oscillation-shrinks",
        statement="With the scheduler the balance oscillates less than at constant rates.",
        paper="Oscillation is one of the two failures that it sets out to cure.",
        quantity="Standard deviation of log kappa over the second half of the probes, lift less constant, mean over "
        "all starts that have both, paired by seed.",
        rule="Holds if the interval lies below 0; fails if it lies at or above.",
        decide=below("kappa/oscillation, lift minus constant"),
        controls=(*_BOTH, *(_seen(start) for start in (*SLOW, "equal", "best"))),
        null="Lift's mean rates from the first step, which can't steady anything (slow starts).",
        needs=("kappa/oscillation, matched minus constant",),
    ),
    Claim(
        id="regulariser-adds",
        statement="A regulariser that rewards movement of the output lowers the loss further.",
        paper='v2 regularises "on the gradient to promote updating with larger step sizes", and CoMMIT does better '
        "than CoMMIT-CLR; its formula could not be had, and ours is another: it acts on the output's movement.",
        quantity="Final loss of lift with our regulariser relative to lift, less 1, from equal rates, paired by seed. "
        "Of four weights from 0.01 to 1 the one with the lowest loss on a seed that is not judged, of those that move "
        "the output by a tenth more a step; right answers beside.",
        rule=f"Holds if the interval lies below -{NOTHING} (ours: less is no gain to speak of); fails if it lies at "
        "or above. Loss at equal steps decides, since larger steps are to make learning faster.",
        decide=below("regulariser/loss, with over without", -NOTHING),
        controls=(
            _learned(),
            Control(
                what="the regulariser acts: a step moves the output further than lift's",
                rule=above("regulariser/movement, with over without"),
            ),
        ),
        null="Lift alone, from the same weights and rows; at a weight of 0.01 it is lift to five digits.",
        needs=(
            "regulariser/right, with less without",
            "regulariser/oscillation, with minus without",
        ),
    ),
    beats_baselines(blocks=50),
    Claim(
        id="answers-better",
        statement="From equal rates CoMMIT-CLR ends with more right answers than constant rates, Feature CD and "
        "Language CD.",
        paper="Better downstream than the baselines; no figure could be had.",
        quantity="Share of right answers of lift less each of the three, paired by seed; losses beside.",
        rule="Holds if all three intervals lie above 0; fails if one lies at or below. Answers decide: the claim is "
        "on quality.",
        decide=above_each([f"right/equal, lift less {name}" for name in BASELINES]),
        controls=(_learned(), _seen("equal")),
        null="The three baselines, run from the same weights and rows; constant rates are lift that does nothing.",
        needs=(
            "right/equal, lift",
            "right/best, constant",
            *(f"loss/equal, lift over {name}" for name in BASELINES),
        ),
    ),
    Claim(
        id="overhead",
        statement="Measuring the balance every ten steps costs little.",
        paper="Rates are refreshed every few steps to limit the cost; no figure of time is known.",
        quantity="Time of ten steps with one probe over ten plain ones, by turns; on a CPU the time of this process.",
        rule="Holds if the interval ends at 1.15 (ours) or below; fails if it begins above.",
        decide=at_most("overhead/time ratio", OVERHEAD),
        controls=no_control("A time can be judged whatever is learned."),
        null="Ten plain steps, timed by turns with those that have a probe: a ratio of 1.",
    ),
)
