"""The claims of LinCorr (arXiv 2502.04520) with the rules that decide them at laptop scale, written before the runs.

The claims are the paper's; the quantities, thresholds and controls are ours, because the paper gives neither intervals
nor a null (its only baselines are chance rates and a shuffled vocabulary mapping). A rule reads intervals only.
"""

from armillary.numerics.intervals import Interval
from armillary.records.claims import Claim, Verdict, above, reading, settled


@reading("city-country/correlation minus rank one", "city-country/permuted", "city-country/excess over random words")
def _fit_exists(gain: Interval, permuted: Interval, excess: Interval) -> Verdict:
    return settled(
        fails=gain.lower <= 0 or excess.upper < 0,
        holds=gain.estimate >= 0.05 and abs(permuted.estimate) <= 0.05 and excess.lower > 0,
    )


@reading("city-country/centred", "city-color/centred")
def _graded(related: Interval, control: Interval) -> Verdict:
    return settled(fails=control.estimate >= related.estimate, holds=related.lower > control.upper)


@reading("city-country/influenced hit@5", "city-country/chance hit@5")
def _mirrors(hit: Interval, chance: Interval) -> Verdict:
    return settled(fails=hit.lower <= chance.estimate, holds=hit.estimate >= 3 * chance.estimate)


@reading("add1-add2/correlation", "city-country/correlation", "add1-add2/influenced hit@1", "add1-add2/chance hit@1")
def _imprecise(math: Interval, city: Interval, hit: Interval, chance: Interval) -> Verdict:
    twice = 2 * chance.estimate
    return settled(
        fails=hit.lower > twice or math.upper < city.lower,
        holds=hit.estimate <= twice and math.estimate >= city.estimate,
    )


@reading("resilience/before", "resilience/after", "resilience/permuted")
def _resilient(before: Interval, after: Interval, null: Interval) -> Verdict:
    drop = before.estimate - after.estimate
    near = abs(after.estimate - null.estimate) >= 3 * abs(drop)
    return settled(fails=after.lower <= null.upper, holds=drop <= 0.15 and near)


@reading("edits/predicted against measured", "edits/permuted weights", "edits/success", "edits/chance")
def _causal(predicted: Interval, permuted: Interval, success: Interval, chance: Interval) -> Verdict:
    good = predicted.estimate > 0.3 and abs(permuted.estimate) <= 0.1 and predicted.lower > permuted.upper
    return settled(fails=predicted.upper <= permuted.upper, holds=good and success.lower > chance.estimate)


@reading("edits add1-add2/success", "edits/chance add1-add2")
def _imprecise_edits(success: Interval, chance: Interval) -> Verdict:
    twice = 2 * chance.estimate
    return settled(fails=success.lower > twice, holds=success.upper <= 0.5 and success.estimate <= twice)


@reading("vocabulary/true minus shuffled", "vocabulary/true minus shuffled, random embeddings")
def _vocabulary(real: Interval, random: Interval) -> Verdict:
    return settled(
        fails=real.upper < 0.15 or real.upper <= random.lower,
        holds=real.estimate >= 0.15 and real.lower > 0 and random.estimate < 0.10,
    )


CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="fit-exists",
        statement="One linear map, fitted on half of the subjects, predicts the target logits of the other half.",
        paper="City to country on LLaMA-3-8B: mean test Pearson correlation 0.89 (Table 4).",
        quantity="Mean test Pearson of city-country (GCV ridge), against the rank-one baseline, permuted pairing, "
        "and random words in place of the countries under the same prompt.",
        rule="Holds if it beats the rank-one baseline by 0.05 or more (interval above 0), permuted pairing is within "
        "0.05 of 0, and the excess over random words is above 0 with its interval; fails if either interval contains "
        "0 or lies below.",
        decide=_fit_exists,
        needs=("city-country/correlation",),
    ),
    Claim(
        id="graded",
        statement="Related prompts correlate more than unrelated ones.",
        paper="City-country 0.89 against fruit-color 0.48 and CEO-company 0.55 (Table 4).",
        quantity="Centred correlation (each row's mean over its words removed) of city-country against the "
        "favourite-colour control.",
        rule="Holds if the intervals do not overlap with city-country above; fails if the control is as high.",
        decide=_graded,
    ),
    Claim(
        id="mirrors-world",
        statement="The weights of the map partly mirror the real relation.",
        paper="City-country, influenced target: hit@1/3/5 .42/.45/.48 (Table 2).",
        quantity="Influenced hit@5 of city-country (ridge, raw weights) against exact chance.",
        rule="Holds if three times chance or more with the interval above chance; fails if the interval reaches "
        "chance.",
        decide=_mirrors,
    ),
    Claim(
        id="correlation-without-precision",
        statement="A pair can correlate highly while its weights are wrong: X+1 and X+2.",
        paper="X+1 to X+2: correlation 0.93, influenced hit@1 .00 (Tables 2 and 4).",
        quantity="Correlation and influenced hit@1 of add1-add2 against city-country and chance.",
        rule="Holds if hit@1 is at most twice chance and the correlation is at least that of city-country; fails if "
        "hit@1's interval is above twice chance or the correlation's interval is below that of city-country.",
        decide=_imprecise,
    ),
    Claim(
        id="resilient",
        statement="The map fitted before fine-tuning keeps predicting after it.",
        paper="Figures 8, 9, 19 and 21 (drop mostly small, larger in smaller models).",
        quantity="city-country: correlation of the old map on the base and on a copy really fine-tuned on other text.",
        rule="Holds if the drop is at most 0.15 and the value after is three times nearer to the value before than "
        "to permuted pairing; fails if it falls to the level of permuted pairing.",
        decide=_resilient,
    ),
    Claim(
        id="gradients",
        statement="The correlation of gradients follows the correlation of logits over relations.",
        paper="Table 4: 0.79 against 0.89 for city-country, 0.47 against 0.55 for CEO-company.",
        quantity="Spearman correlation over relations between logit correlation and gradient correlation.",
        rule="Holds if the bootstrap interval over relations is above 0, fails if it is at or below 0 (rule ours).",
        decide=above("gradients/rank correlation with logits"),
    ),
    Claim(
        id="causal-transfer",
        statement="Teaching a source fact moves the target logits along the map.",
        paper="City-country: 53.70 % of updates generalise, chance 0.78 % (Table 5).",
        quantity="Spearman of predicted and measured change of the country logits after an edit of the city only, "
        "beside permuted weights; success rate against chance (exact binomial).",
        rule="Holds if above 0.3, above permuted weights (which stay within 0.1 of 0), and success is above chance; "
        "fails if no better than permuted weights.",
        decide=_causal,
    ),
    Claim(
        id="no-transfer-without-precision",
        statement="For a pair with high correlation and low precision the taught fact does not generalise.",
        paper="X+1 to X+2: 0.00 % of updates generalise, chance 9.09 % (Table 5).",
        quantity="Success rate of edits of X+1 read off at X+2.",
        rule="Holds if the rate is at most twice chance and its interval ends below one half; fails if its interval "
        "is above twice chance (rule ours).",
        decide=_imprecise_edits,
    ),
    Claim(
        id="hallucination",
        statement="Success grows with the weight of the right target; where it is not the top weight, a wrong one is "
        "told.",
        paper="Tables 5 and 6, Figure 5.",
        quantity="Slope of a logistic regression of success on the standardised weight of the right target, over "
        "edits.",
        rule="Holds if the bootstrap interval of the slope is above 0, fails if it is at or below 0.",
        decide=above("edits/logistic slope"),
    ),
    Claim(
        id="vocabulary",
        statement="One feed-forward block over vocabulary embeddings composes the true mapping, not a shuffled one.",
        paper="True mapping 97.66 %, shuffled 22.66 % (Table 7).",
        quantity="Held-out accuracy of true minus shuffled mapping, with pretrained and with random embeddings.",
        rule="Holds if 15 points or more (interval above 0) with pretrained and under 10 with random embeddings; "
        "fails if under 15 with its interval, or no larger than with random embeddings.",
        decide=_vocabulary,
    ),
    Claim(
        id="scaling",
        statement="The precision of the map grows with the size of the model.",
        paper="Figure 4, LLaMA family.",
        quantity="hit@5 of two models of one family; the two models within reach are of different families.",
        rule="Needs two sizes of one family; otherwise undecided. The values of both models stand side by side in "
        "the docs.",
        decide=above("scaling/larger minus smaller hit@5"),
    ),
    Claim(
        id="completeness",
        statement="Whole words have higher precision than first words of a phrase, at equal correlation.",
        paper="hit@5 .49 for whole words, .10 for first words of a phrase (Table 18).",
        quantity="Influenced hit@5 of cities that are one token minus cities known by the first word of their name.",
        rule="Holds if the interval of the difference is above 0, fails if it is at or below 0 (rule ours).",
        decide=above("completeness/whole minus first word hit@5"),
    ),
)
