"""The claims of Model-diff (arXiv 2412.12177) with the rules that decide them at laptop scale, set before the runs.

The paper's result tables could not be read, so no figure of its own stands here. Quantities, thresholds, nulls and
controls are ours, and so are the claims that say so. A rule reads intervals only.
"""

from itertools import pairwise

from armillary.numerics.intervals import Interval
from armillary.records.claims import Claim, Verdict, above, every, reading, settled

PAIRS = ("perturbed", "independent")
STEPS = (
    ("noise 0.01", "fine-tuned"),
    ("fine-tuned", "other seed"),
    ("other seed", "other corpus"),
)
"""Each nearer than the next."""

KINSHIP = tuple(f"zoo/{what}, {far} minus {near}" for near, far in STEPS for what in ("spread", "private share"))
TEMPERING = {"tempering/error of ln Z": 0.02, "tempering/error of ln count": 0.03, "tempering/distance": 0.03}
"""The largest errors at which the claim holds."""


@reading(*(f"{pair}/{what}" for what in ("coverage", "bias of the total") for pair in PAIRS))
def _exact(*intervals: Interval) -> Verdict:
    coverages, biases = intervals[: len(PAIRS)], intervals[len(PAIRS) :]
    return settled(
        holds=all(0.93 <= coverage.estimate <= 0.97 for coverage in coverages)
        and all(bias.lower > -0.01 and bias.upper < 0.01 for bias in biases),
        fails=any(coverage.upper < 0.9 for coverage in coverages)
        or any(bias.lower > 0.01 or bias.upper < -0.01 for bias in biases),
    )


@reading(*(f"{pair}/{what}" for what in ("raw distance", "weighted distance") for pair in PAIRS))
def _weights(*distances: Interval) -> Verdict:
    plain, weighed = distances[: len(PAIRS)], distances[len(PAIRS) :]
    return settled(
        holds=all(distance.lower >= 0.05 for distance in plain)
        and all(distance.estimate <= 0.01 for distance in weighed),
        fails=any(distance.upper < 0.05 for distance in plain) or any(distance.lower > 0.01 for distance in weighed),
    )


@reading(*(f"{pair}/overlap from A over overlap from B" for pair in PAIRS))
def _overlap(*gaps: Interval) -> Verdict:
    return settled(
        holds=all(not gap.excludes(1.0) for gap in gaps),
        fails=any(gap.excludes(1.0) and abs(gap.estimate - 1) > 0.05 for gap in gaps),
    )


@reading(*TEMPERING)
def _tempering(*errors: Interval) -> Verdict:
    limited = list(zip(errors, TEMPERING.values(), strict=True))
    return settled(
        holds=all(error.estimate <= limit for error, limit in limited),
        fails=any(error.lower > limit for error, limit in limited),
    )


@reading("zoo/AUC of copies against independent models")
def _copies(auc: Interval) -> Verdict:
    return settled(holds=auc.lower >= 0.95, fails=auc.upper < 0.95)


@reading(
    "zoo/verdicts for the better model", "zoo/verdicts with shuffled ratings", "zoo/precision, better minus worse"
)
def _raters(better: Interval, null: Interval, gap: Interval) -> Verdict:
    return settled(holds=better.estimate == 1 and null.estimate == 0 and gap.lower > 0, fails=gap.upper <= 0)


@reading("hot/right over exact", "hot/wrong over exact", "hot/wrong distance minus right")
def _hot(right: Interval, wrong: Interval, shape: Interval) -> Verdict:
    return settled(
        holds=not right.excludes(1.0) and abs(right.estimate - 1) < 0.01 and wrong.upper < 0.5 and shape.lower > 0,
        fails=right.excludes(1.0) and abs(right.estimate - 1) > 0.01,
    )


@reading(*(f"effective samples/{where}" for where in ("independent tokens", "first-order Markov", "zoo", "real")))
def _effective(*ratios: Interval) -> Verdict:
    return settled(
        holds=all(0.5 <= ratio.estimate <= 2 for ratio in ratios),
        fails=any(ratio.upper < 0.5 or ratio.lower > 2 for ratio in ratios),
    )


@reading(*(f"copies/spread, noise {size}" for size in ("0.003", "0.01", "0.03", "0.1")))
def _noise(*spreads: Interval) -> Verdict:
    return settled(
        holds=all(low.upper < high.lower for low, high in pairwise(spreads)),
        fails=any(low.estimate >= high.estimate for low, high in pairwise(spreads)),
    )


CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="exact",
        statement="Where the inputs can be enumerated, the estimated counts by difference match the exact ones.",
        quantity="Share of repeated runs in which the 95 % interval of a bin that holds 2 % or more covers the exact "
        "count, and the mean error of the estimated number of plausible inputs; tables of 6 tokens and length 7.",
        rule="Holds if the coverage is 0.93 to 0.97 for both pairs of tables and the error's interval within 1 %; "
        "fails if a coverage lies below 0.9 or an error beyond 1 % with its interval.",
        decide=_exact,
    ),
    Claim(
        id="weights-matter",
        statement="Samples must be weighed by what they stand for: their plain histogram of the difference is wrong.",
        quantity="Total variation between the mean histogram over repeated runs and the exact one, plain and weighed.",
        rule="Holds if the plain one is 0.05 or more with its interval and the weighed one at most 0.01, for both "
        "pairs; fails if a plain one lies below 0.05 or a weighed one above 0.01 with its interval.",
        decide=_weights,
    ),
    Claim(
        id="one-overlap",
        statement="Both directions see the same overlap: its size from A's samples is its size from B's.",
        quantity="Mean estimate of the overlap from A's samples over that from B's, bootstrap over repeated runs.",
        rule="Holds if the interval contains 1 for both pairs; fails if it excludes 1 by more than 5 %.",
        decide=_overlap,
    ),
    Claim(
        id="tempering",
        statement="Parallel tempering with histogram reweighting gives the same counts and curves.",
        quantity="Largest error of ln Z of a rung, error of the log number of plausible inputs, and total variation "
        "of the histogram of the difference from the exact one; absolute, mean over seeds.",
        rule="Holds if they are at most 0.02, 0.03 and 0.03; fails if one is above with its interval.",
        decide=_tempering,
    ),
    Claim(
        id="kinship",
        statement="The nearer two models are in lineage, the narrower their difference and the larger their overlap.",
        quantity="Spread of the difference per character and share of private inputs: noise of 0.01 below a "
        "fine-tuned copy below another seed below another corpus; character models, paired over seeds.",
        rule="Holds if all six gaps lie above 0 with their interval; fails if one lies at or below 0.",
        decide=every(*map(above, KINSHIP)),
    ),
    Claim(
        id="copies",
        statement="A copied and perturbed model can be told from one trained independently on the same kind of data.",
        quantity="AUC of the spread of the difference: six derivations of each base model against models trained from "
        "other seeds; bootstrap over base models.",
        rule="Holds if the interval lies at 0.95 or above; fails if it lies below.",
        decide=_copies,
    ),
    Claim(
        id="ratings",
        statement="With rated inputs, the model that agrees better with the raters is found.",
        quantity="Verdict at 0.25 nat per character for a fully trained model against one trained a quarter as long, "
        "the grammar as the rater; share of seeds with a verdict for the better, and with shuffled ratings.",
        rule="Holds if every seed's verdict is for the better model, none is with shuffled ratings, and the gap of "
        "precision lies above 0; fails if that gap lies at or below 0.",
        decide=_raters,
    ),
    Claim(
        id="exact-proposal",
        statement="Ours: samples drawn token by token at a temperature must be weighed by their exact probability; "
        "exp(NLL / T) is biased.",
        quantity="Estimated over exact number of plausible inputs at T = 1.6 with either weight, and how much further "
        "the histogram of the difference is from the exact one with the wrong weight.",
        rule="Holds if the right ratio's interval contains 1 and is within 1 %, the wrong one lies below 0.5 and its "
        "shape is further off with its interval; fails if the right one excludes 1 by more than 1 %.",
        decide=_hot,
    ),
    Claim(
        id="effective-samples",
        statement="Ours: the effective samples follow 2 N h(z+), the density of the NLL at the window's upper edge.",
        quantity="Effective samples over 2 N h(z+) on grid models, character models and real weights.",
        rule="Holds if every ratio is between 0.5 and 2; fails if one lies outside with its interval.",
        decide=_effective,
    ),
    Claim(
        id="noise-ladder",
        statement="Ours: on real weights the spread of the difference grows with the size of weight noise.",
        quantity="Standard deviation of the difference per token over the model's own inputs, noise of 0.003 to 0.1.",
        rule="Holds if each size's interval lies below the next one's; fails if an estimate does not rise.",
        decide=_noise,
    ),
)
