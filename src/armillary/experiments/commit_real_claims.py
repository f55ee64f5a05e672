"""What CoMMIT claims, judged on sounds and on real weights: quantities and rules, written before any judged run.

[derived] On sounds five seeds of small models; on the given language model two seeds, where intervals are over
questions or, for what a run has one of, the range over seeds: they say that the path works and in which direction it
goes. The length of the trainings was chosen by what constant rates learn in it. Needs no torch.
"""

from armillary.experiments.commit_claims import BALANCED, HARM, NOTHING, SHARE, faster, gains
from armillary.experiments.commit_scale import BASELINES, SLOW
from armillary.runs.claims import Claim, Verdict
from armillary.runs.rules import Measures, below, every

_AGAINST = tuple(f"audio/loss/equal, full over {name}" for name in BASELINES)
_BUDGET = "audio/budget/lift over matched"
_LAG, _CLOSER = "model/late log kappa of rates left alone", "model/late |log kappa|, lift minus constant"
_LEARNED, _GAIN, _CONTROL, _RATES = (
    f"model/loss, {pair}"
    for pair in ("constant minus before", "lift minus constant", "lift minus exchanged", "lift minus matched")
)


def _rebalances(m: Measures) -> Verdict:
    if m[_LAG].lower <= BALANCED:
        return "undecided"
    return "holds" if m[_CLOSER].upper < 0 else "fails" if m[_CLOSER].lower >= 0 else "undecided"


def _repairs(m: Measures) -> Verdict:
    if m[_LEARNED].upper >= 0:
        return "undecided"
    if m[_GAIN].lower >= 0:
        return "fails"
    return "holds" if m[_GAIN].upper < 0 and m[_CONTROL].upper < 0 else "undecided"


def _beyond_rates(m: Measures) -> Verdict:
    return "undecided" if m[_LEARNED].upper >= 0 else below(_RATES)(m)


_SOUNDS = tuple(
    Claim(
        id=f"sounds-repairs-{start.replace(' ', '-')}",
        statement=f"With sounds, from rates of which the {told}'s is a hundred times too low, the scheduler gets to "
        "the constant run's final loss in 70 % of the steps.",
        paper="Faster on audio tasks too (SALMONN); no figure could be had.",
        quantity="Share of the steps after which CoMMIT-CLR (lift) has a held-out loss as low as the constant run's "
        "last; a run that never gets there counts as one reading more than it had. Over seeds; the control gives "
        "lift's mean multipliers to the wrong component.",
        rule=f"Undecided unless the constant run is worse than equal rates by more than {HARM:.0%} (ours; interval). "
        f"Holds if the interval ends at {SHARE} (ours) or below, and below the control; fails if it begins above "
        f"{SHARE}.",
        decide=faster(start, "audio/"),
        needs=tuple(
            f"audio/{name}" for name in (f"harm/{start}", f"speed/{start}, lift", f"speed/{start}, exchanged")
        ),
    )
    for start, told in zip(SLOW, ("encoder", "language model"), strict=True)
)

CLAIMS: tuple[Claim, ...] = (
    *_SOUNDS,
    Claim(
        id="sounds-more-than-larger-rates",
        statement="With sounds, the scheduler gains more than the larger rates that it ends up with.",
        paper="The factor greater than one in its convergence bound is all that is proved; no such control is known.",
        quantity="Final loss of lift relative to constant rates equal to lift's own means over time (hindsight), less "
        "1; mean of the two slow starts, paired by seed.",
        rule=f"Fails if all of the interval is above -{NOTHING:.0%} (ours), which is to gain nothing; else holds if "
        "it lies below 0.",
        decide=gains(_BUDGET),
        needs=(_BUDGET,),
    ),
    Claim(
        id="sounds-beats-baselines",
        statement="With sounds, from equal rates, CoMMIT ends at a lower loss than constant rates, Feature CD and "
        "Language CD.",
        paper="Faster and to lower loss on image and audio tasks; no figure could be had.",
        quantity="Final loss of full CoMMIT relative to each of the three, less 1, paired by seed; blocks of "
        "coordinate descent are of 20 steps (ours).",
        rule="Holds if all three intervals lie below 0; fails if one lies at or above.",
        decide=every(*map(below, _AGAINST)),
        needs=_AGAINST,
    ),
    Claim(
        id="real-rebalances",
        statement="On real weights, where the encoder's rate is a hundred times too low, the scheduler brings the "
        "balance nearer to 1.",
        paper="What the scheduler is for; no figure could be had.",
        quantity="Mean |log kappa| over the second half of the probes, lift less rates left alone; range over seeds.",
        rule=f"Undecided unless log kappa of rates left alone lies above {BALANCED} (ours) in each seed. Holds if the "
        "difference is below 0 in each seed; fails if it is 0 or above in each.",
        decide=_rebalances,
        needs=(_LAG, _CLOSER),
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
        decide=_repairs,
        needs=(_LEARNED, _GAIN, _CONTROL),
    ),
    Claim(
        id="real-more-than-larger-rates",
        statement="On real weights, the scheduler gains more than the larger rates that it ends up with.",
        paper="As with sounds.",
        quantity="The same loss, lift less constant rates equal to lift's own means over time (hindsight).",
        rule="Undecided where rates left alone do not learn. Holds if the interval lies below 0; fails if it lies at "
        "or above.",
        decide=_beyond_rates,
        needs=(_LEARNED, _RATES),
    ),
)
