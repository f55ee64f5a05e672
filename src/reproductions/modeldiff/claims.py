"""The claims of Model-diff (arXiv 2412.12177) with the rules that decide them at laptop scale, set before the runs.

The paper's result tables could not be read, so no figure of its own stands here. Quantities, bounds, nulls and
controls are ours, and so are the claims that say so. Windows are chosen by the default rule, as a user gets them,
unless a quantity says otherwise.
"""

from itertools import pairwise

from armillary.records.claims import (
    Claim,
    Control,
    above,
    above_each,
    below,
    below_each,
    beyond,
    equal,
    equal_each,
    no_control,
)

PAIRS = ("perturbed", "independent")
"""Pairs of tables: B is A with noise on its logits, or another table."""

GRIDS = ("independent tokens", "first-order Markov")
STEPS = (
    ("noise 0.01", "fine-tuned"),
    ("fine-tuned", "other seed"),
    ("other seed", "other corpus"),
)
"""Each nearer than the next."""

FIGURES = ("bins", "totals", "overlap shares")
"""Figures of a comparison whose intervals are checked."""

MODELS = ("tables", "character models", "the model given")
"""What is compared with itself."""

EDGES = (*GRIDS, "character models", "the model given")
SIZES = ("0.003", "0.01", "0.03", "0.1")

RIGHT = 0.01
"""Share of the exact count by which an estimate may be off."""

_MISSES = "a stated 5 % of misses is at most doubled"
_WRONG_COUNT = Control(
    what="a wrong count is seen: draws counted as if all sequences were equally likely are off by 5 % or more",
    rule=above_each([f"{pair}/error of the plain count" for pair in PAIRS], 0.05),
    otherwise="control failed",
)
_LEARNED = Control(
    what="the models learned the language: within 0.1 nat per character of the least possible, the grammar's own",
    rule=below("zoo/held-out loss, base minus the grammar", 0.1),
    otherwise="model too small",
)
_ALIKE = Control(
    what="models of another seed learned it as well: within 0.05 nat per character",
    rule=equal("zoo/held-out loss, other seed minus base", 0.05),
    otherwise="control failed",
)
_TUNED = Control(
    what="the fine-tuned copy learned from its texts",
    rule=above("zoo/shifted loss, base minus fine-tuned"),
    otherwise="control failed",
)
_STRANGERS = "Models of another seed in the copies' place, against those of still other seeds: 0.5 but for chance."
_COPIES = "copies against independent models"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="exact",
        statement="Where the inputs can be counted exactly, the estimated number of plausible inputs is right.",
        quantity="Estimated over exact number, A's and B's, in the windows of a pilot: tables of 6 tokens and length "
        "7 that are enumerated, grid models of length 64 and 24 whose counts a transfer matrix gives; every pair has "
        "models and draws of its own, t interval over pairs.",
        rule="All eight ratios are 1 within 0.01: a tenth of the error of the fewest samples that are shown.",
        decide=equal_each(
            [f"{kind}/count over exact, {side}" for kind in (*PAIRS, *GRIDS) for side in "AB"], RIGHT, 1.0
        ),
        controls=(_WRONG_COUNT,),
        null="The same draws without weights, each standing for the same number of sequences.",
    ),
    Claim(
        id="intervals",
        statement="With windows given, the intervals of counts and shares cover the exact ones as often as they say.",
        quantity="Share of 95 % intervals that cover: bins that hold 2 % or more, the number of plausible inputs, "
        "the share of overlap; both directions, pairs of tables with several runs each; t interval over pairs.",
        rule=f"All six coverages lie above 0.9: {_MISSES}.",
        decide=above_each([f"{pair}/coverage of {what}, given" for pair in PAIRS for what in FIGURES], 0.9),
        controls=no_control("coverage is counted against enumeration, and any interval can miss"),
        null="Nothing to draw: an interval that knew nothing would cover as often as it is wide.",
    ),
    Claim(
        id="default-windows",
        statement="Ours: with the default windows, the intervals cover what an endless pilot would have given.",
        quantity="The same coverages where a pilot of 256 sequences a model chooses the windows anew in each run, "
        "against the exact counts between the exact 5 % quantile and median.",
        rule=f"All six coverages lie above 0.9: {_MISSES}.",
        decide=above_each([f"{pair}/coverage of {what}, by pilot" for pair in PAIRS for what in FIGURES], 0.9),
        controls=(
            Control(
                what="a fault is seen: intervals that take the pilot's windows as given cover below 0.9 of the totals",
                rule=below_each([f"{pair}/coverage of totals, pilot held fixed" for pair in PAIRS], 0.9),
                otherwise="control failed",
            ),
        ),
        null="The intervals that hold the windows fixed, as they were before pilots entered them.",
    ),
    Claim(
        id="itself",
        statement="Ours: a model compared with itself by default settings has all plausible inputs in common.",
        quantity="Share of its plausible inputs that lie in the overlap, both directions; mean, with the lowest and "
        "highest end of any interval, over tables, over character models, and for the model given, of 128 samples.",
        rule="1 within 0.01, the error that counts may have, for each kind of model.",
        decide=equal_each([f"itself/overlap, {models}" for models in MODELS], RIGHT, 1.0),
        controls=(
            Control(
                what="another model is seen: one trained alike from another seed shares less than 0.99",
                rule=below("itself/overlap, another seed", 1 - RIGHT),
                otherwise="control failed",
            ),
        ),
        null="A character model trained alike from another seed, by the same settings.",
    ),
    Claim(
        id="weights-matter",
        statement="Samples must be weighed by what they stand for: their plain histogram of the difference is wrong.",
        quantity="Total variation from the exact histogram, plain minus weighed, mean of both directions; a million "
        "sequences a model, so that chance hardly counts; t interval over pairs of tables.",
        rule="The difference lies above 0.01 for both kinds of pairs: more inputs in a wrong bin than a count may be "
        "off by.",
        decide=above_each([f"{pair}/distance, plain minus weighed" for pair in PAIRS], RIGHT),
        controls=(
            Control(
                what="the exact histogram can be reached: the weighed one is within 0.01 of it",
                rule=below_each([f"{pair}/distance, weighed" for pair in PAIRS], RIGHT),
                otherwise="control failed",
            ),
        ),
        null="The weighed histogram of the same draws: what chance and bins alone put in a wrong bin.",
        needs=tuple(f"{pair}/distance, plain" for pair in PAIRS),
    ),
    Claim(
        id="one-overlap",
        statement="Both directions see the same overlap: its size from A's samples is its size from B's.",
        quantity="Estimate from A's samples over that from B's in the windows of a pilot; t interval over pairs.",
        rule="1 within 0.05 for both kinds of pairs: half of what a count shown from 100 effective samples is off by.",
        decide=equal_each([f"{pair}/overlap from A over overlap from B" for pair in PAIRS], 0.05, 1.0),
        controls=(
            Control(
                what="two different numbers are seen: the plain shares of draws in the overlap are off by 5 % or more",
                rule=above_each([f"{pair}/error of the plain overlap" for pair in PAIRS], 0.05),
                otherwise="control failed",
            ),
        ),
        null="The same ratio from draws without weights.",
    ),
    Claim(
        id="tempering",
        statement="Parallel tempering with histogram reweighting gives the same counts.",
        quantity="Estimated over exact number of A's plausible inputs in the windows of a pilot; pairs of tables with "
        "ladders of their own, t interval over them.",
        rule="1 within 0.03, three times the error of direct draws: the constants of the rungs are estimated too.",
        decide=equal("tempering/count over exact", 0.03, 1.0),
        controls=(
            Control(
                what="the ladders mixed: the rarest swap is accepted in a fifth of the tries or more",
                rule=above("tempering/lowest swap rate", 0.2),
                otherwise="control failed",
            ),
        ),
        null="The draws of all rungs counted alike, as if all sequences were equally likely.",
        needs=("tempering/plain count over exact", "tempering/distance", "tempering/error of ln Z"),
    ),
    Claim(
        id="kinship",
        statement="The nearer two models are in lineage, the narrower their difference and the larger their overlap.",
        quantity="Spread of the difference per character and share of private inputs: noise of 0.01 below a "
        "fine-tuned copy below another seed below another corpus; character models, paired over families.",
        rule="All six gaps lie above 0.",
        decide=above_each(
            [f"zoo/{what}, {far} minus {near}" for near, far in STEPS for what in ("spread", "private share")]
        ),
        controls=(_LEARNED, _TUNED),
        null="Two models of equal kin, trained alike from other seeds: their gap is 0 but for chance.",
        needs=("zoo/spread, second stranger minus first",),
    ),
    Claim(
        id="copies",
        statement="A copied and perturbed model can be told from one trained independently on the same kind of data.",
        quantity="AUC of the spread of the difference: eight derivations of each base model against models trained "
        "from other seeds; mean and range over base models, each trained on its own.",
        rule="The range lies above 0.95: one mistake in twenty pairs.",
        decide=above(f"zoo/AUC by spread, {_COPIES}", 0.95),
        controls=(_LEARNED, _ALIKE, _TUNED),
        null=_STRANGERS,
        needs=("zoo/AUC by spread, other seed against strangers", "zoo/AUC by spread, fine-tuned alone"),
    ),
    Claim(
        id="lineage",
        statement="Ours: by their weights, copies are told from models trained independently.",
        quantity="AUC of the share of matrices related beyond chance, by `lineage`: the same copies and independent "
        "models; mean and range over base models.",
        rule="The range lies above 0.95, as for the spread.",
        decide=above(f"zoo/AUC by weights, {_COPIES}", 0.95),
        controls=(_LEARNED, _ALIKE, _TUNED),
        null=_STRANGERS,
        needs=(
            "zoo/AUC by weights, other seed against strangers",
            "zoo/copies that lineage calls derived or identical",
            "zoo/independent models in which lineage sees no descent",
        ),
    ),
    Claim(
        id="ratings",
        statement="With rated inputs, the model that agrees better with the raters is found.",
        quantity="Precision of private inputs at 0.25 nat per character, a fully trained model less one trained a "
        "quarter as long, the grammar as the rater; paired over families.",
        rule="The gap lies beyond that of shuffled ratings.",
        decide=beyond("zoo/precision, better minus worse", "zoo/precision, better minus worse, shuffled"),
        controls=(
            Control(
                what="the better model is better: held-out text costs it 0.01 nat per character less",
                rule=above("zoo/held-out loss, trained less minus base", 0.01),
                otherwise="control failed",
            ),
        ),
        null="The same ratings handed out at random over both models' samples.",
        needs=("zoo/verdicts for the better model", "zoo/verdicts with shuffled ratings"),
    ),
    Claim(
        id="exact-proposal",
        statement="Ours: draws made token by token at a temperature count rightly by their exact probability, which "
        "exp(NLL / T) does not replace.",
        quantity="Estimated over exact number of A's plausible inputs from draws at T = 1.6; t interval over pairs.",
        rule="By the exact probability it is 1 within 0.01.",
        decide=equal("hot/right over exact", RIGHT, 1.0),
        controls=(
            Control(
                what="a wrong weight is seen: by exp(NLL / T) less than half of the inputs are counted",
                rule=below("hot/wrong over exact", 0.5),
                otherwise="control failed",
            ),
        ),
        null="The same draws weighed by exp(NLL / T).",
        needs=("hot/distance, wrong minus right",),
    ),
    Claim(
        id="effective-samples",
        statement="Ours: the effective samples follow 2 N h(z+), the density of the NLL at the window's upper edge.",
        quantity="Effective samples over 2 N h(z+), as its log to base 2: grid models (t interval over models), "
        "character models (t interval over families), real weights (bootstrap over sequences).",
        rule="0 within 1 for each, a factor of 2: what a user needs to choose the number of samples.",
        decide=equal_each([f"effective samples/{where}, log2 of the ratio" for where in EDGES], 1.0),
        controls=(
            Control(
                what="a wrong rule is seen: the number of samples itself is off by more than a factor of 2",
                rule=above_each([f"effective samples/{where}, log2 by number" for where in EDGES], 1.0),
                otherwise="control failed",
            ),
        ),
        null="The number of samples, as if all weighed alike.",
    ),
    Claim(
        id="noise-ladder",
        statement="Ours: on real weights the spread of the difference grows with the size of weight noise.",
        quantity="Log of the spread per token over the model's own inputs, each size of noise (0.003 to 0.1) less the "
        "next smaller one; t interval over seeds of the noise.",
        rule="Every step lies above 0.",
        decide=above_each([f"copies/ln spread, noise {high} less {low}" for low, high in pairwise(SIZES)]),
        controls=(
            Control(
                what="the smallest noise is no rounding: its spread lies above 0.0001 nat per token",
                rule=above("copies/spread, noise 0.003", 1e-4),
                otherwise="control failed",
            ),
        ),
        null="Noise of the same size from the next seed less the first: 0 but for chance.",
        needs=("copies/ln spread, the same size from another seed",),
    ),
)
